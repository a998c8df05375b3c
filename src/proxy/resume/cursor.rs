//! The cursor in a request: where clients put it, and how it is taken out again, since it is nothing to the backend.

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderName, Request, Uri};

use crate::proxy::prefix::edit_raw_target;
use crate::resume::Cursor;

/// What clients send back: "If the `EventSource` object's last event ID string is not the empty string, then [...] set (`Last-Event-ID`,
/// lastEventIDValue) in request's header list."
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The parameters in which polyfills, and clients behind hops that drop the field, send it.
const PARAMETERS: [&str; 2] = ["lastEventId", "last_event_id"];

/// The cursor of ours in `request`.
pub(super) fn of<B>(request: &Request<B>) -> Option<Cursor> {
    let field = request.headers().get(LAST_EVENT_ID);
    let field = field.and_then(|value| Cursor::parse(value.as_bytes()));
    field.or_else(|| parameters(request.uri()).find_map(|value| Cursor::parse(value.as_bytes())))
}

/// An id of somebody else's.
pub(super) fn foreign<B>(request: &Request<B>) -> Option<&[u8]> {
    let field = request.headers().get(LAST_EVENT_ID)?;
    Some(field.as_bytes()).filter(|id| !id.is_empty())
}

fn parameters(uri: &Uri) -> impl Iterator<Item = &str> {
    let pairs = uri.query().unwrap_or_default().split('&');
    pairs.filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        PARAMETERS.contains(&name).then_some(value)
    })
}

/// Takes every cursor of ours out of `request`; whether its target was one of those places.
pub(super) fn remove<B>(request: &mut Request<B>) -> bool {
    let headers = request.headers_mut();
    let is_ours = |value: &http::HeaderValue| Cursor::parse(value.as_bytes()).is_some();
    if headers.get_all(LAST_EVENT_ID).iter().any(is_ours) {
        headers.remove(LAST_EVENT_ID);
    }
    let is_ours = |value: &str| Cursor::parse(value.as_bytes()).is_some();
    if !parameters(request.uri()).any(is_ours) {
        return false;
    }
    let mut parts = request.uri().clone().into_parts();
    let target = parts.path_and_query.as_ref().map(PathAndQuery::as_str);
    let target = without_cursors(target.unwrap_or("/").as_bytes());
    if let Ok(target) = PathAndQuery::from_maybe_shared(Bytes::from(target)) {
        parts.path_and_query = Some(target);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    true
}

/// The same in a request's head as its client wrote it.
pub(in crate::proxy) fn remove_from_raw_head(head: &[u8]) -> Bytes {
    edit_raw_target(head, without_cursors)
}

/// A request's target without the parameters that are cursors of ours.
pub fn without_cursors(target: &[u8]) -> Vec<u8> {
    let Some(mark) = target.iter().position(|byte| *byte == b'?') else {
        return target.to_vec();
    };
    let (path, query) = (&target[..mark], &target[mark + 1..]);
    let is_cursor = |pair: &&[u8]| {
        PARAMETERS.iter().any(|name| {
            let value = pair.strip_prefix(name.as_bytes());
            let value = value.and_then(|rest| rest.strip_prefix(b"="));
            value.is_some_and(|value| Cursor::parse(value).is_some())
        })
    };
    let rest = query.split(|byte| *byte == b'&');
    let rest: Vec<_> = rest.filter(|pair| !is_cursor(pair)).collect();
    if rest.is_empty() {
        return path.to_vec();
    }
    [path, b"?", &rest.join(&b'&')].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURSOR: &str = "_gAAAAAAAAAAAAAAAA.1z";

    fn request(target: &str, id: &str) -> Request<()> {
        let mut request = Request::builder().uri(target);
        if !id.is_empty() {
            request = request.header("Last-Event-ID", id);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn cursors_are_found_and_taken_out() {
        let query = |before: &str, after: &str| format!("/a?{before}lastEventId={CURSOR}{after}");
        for (target, id, is_found, rest, rest_id) in [
            ("/a?b=1".to_owned(), CURSOR, true, "/a?b=1", ""),
            ("/a?b=1".to_owned(), "7", false, "/a?b=1", "7"),
            (query("", ""), "", true, "/a", ""),
            (query("b=1&", "&c"), "", true, "/a?b=1&c", ""),
            (query("b=1&", ""), "7", true, "/a?b=1", "7"),
            (format!("/a?last_event_id={CURSOR}&x"), "", true, "/a?x", ""),
            (
                "/a?lastEventId=7".to_owned(),
                "",
                false,
                "/a?lastEventId=7",
                "",
            ),
            (
                format!("/a?xlastEventId={CURSOR}"),
                "",
                false,
                &format!("/a?xlastEventId={CURSOR}"),
                "",
            ),
        ] {
            let mut request = request(&target, id);
            assert_eq!(of(&request).is_some(), is_found, "{target} {id}");
            let was_in_target = remove(&mut request);
            assert_eq!(was_in_target, target != rest);
            assert_eq!(request.uri().path_and_query().unwrap(), rest);
            let id = request.headers().get("last-event-id");
            assert_eq!(id.map_or("", |id| id.to_str().unwrap()), rest_id);
            let raw = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            let expected = format!("GET {rest} HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(remove_from_raw_head(raw.as_bytes()), expected);
        }
    }
}
