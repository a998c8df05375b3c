//! What passes as an ordinary response and looks like a stream: reported at debug, once for a route, with what to set.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, response};
use tracing::Level;

use super::route::Route;
use crate::config::Detect;
use crate::exchange::Exchange;
use crate::wire::is_other_stream;

/// The routes of which it was reported.
static REPORTED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Inspects the first bytes of a response with this `head`, if it may be an unrecognized stream. `None` unless debug lines are
/// logged.
pub(super) fn of(
    head: &response::Parts,
    route: &Route,
) -> Option<impl FnOnce(&Exchange, &[u8]) + use<>> {
    if !tracing::enabled!(Level::DEBUG) || route.config.events.detect != Detect::Auto {
        return None;
    }
    let headers = &head.headers;
    let may_stream = head.status.is_success()
        && !headers.contains_key(CONTENT_LENGTH)
        && !headers.contains_key(CONTENT_ENCODING);
    let mut content_types = headers.get_all(CONTENT_TYPE).iter();
    let content_type = content_types
        .next()
        .map(|value| value.to_str().unwrap_or("?"));
    let is_other = is_other_stream(
        headers
            .get_all(CONTENT_TYPE)
            .iter()
            .map(HeaderValue::as_bytes),
    );
    let is_unlabelled = content_type.is_none_or(|value| {
        let media_type = value.split(';').next().unwrap_or_default().trim();
        ["", "text/plain", "application/octet-stream"]
            .iter()
            .any(|name| media_type.eq_ignore_ascii_case(name))
    });
    if !may_stream || !is_other && !is_unlabelled {
        return None;
    }
    let (route, content_type) = (route.info.route.clone(), content_type.map(str::to_owned));
    Some(move |exchange: &Exchange, data: &[u8]| {
        let set = if is_other {
            "events.streaming = true"
        } else if begins_like_events(data) {
            "events.detect = \"always\""
        } else {
            return;
        };
        let mut reported = REPORTED.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.insert(route) {
            exchange.looks_like_events(content_type.as_deref(), set);
        }
    })
}

/// Whether the first line is one of an event stream: a comment, or a field with a name that the format knows.
fn begins_like_events(data: &[u8]) -> bool {
    let data = data.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(data);
    [&b"data:"[..], b"event:", b"id:", b"retry:", b":"]
        .iter()
        .any(|field| data.starts_with(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines() {
        for yes in [
            "data: x\n\n",
            "event: x",
            ": heartbeat",
            "\u{FEFF}id:1",
            "retry:1",
        ] {
            assert!(begins_like_events(yes.as_bytes()), "{yes}");
        }
        for no in [
            "",
            "da",
            "dataset: x",
            "{\"data\": 1}",
            "<p>data:</p>",
            "data",
        ] {
            assert!(!begins_like_events(no.as_bytes()), "{no}");
        }
    }
}
