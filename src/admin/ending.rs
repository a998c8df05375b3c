//! Ending a stream from the status page: `POST /status/streams/NUMBER/end`.

use http::header::{HOST, HeaderMap, ORIGIN};
use http::uri::Authority;
use http::{HeaderName, StatusCode};

use super::status::PATIENCE;
use super::{Admin, Answer, TEXT, text};
use crate::exchange;
use crate::server::Lobby;

/// A page of another site can have a browser send a form here, but not with this field: for that the browser asks first (a CORS
/// preflight), and is given no leave.
static INTENT: HeaderName = HeaderName::from_static("x-sse-sidecar");

/// Whether a path is one of those that end a stream.
pub(super) fn is_asked(path: &str) -> bool {
    number(path).is_some()
}

fn number(path: &str) -> Option<&str> {
    path.strip_prefix("/status/streams/")?.strip_suffix("/end")
}

pub(super) async fn end(admin: &Admin, path: &str, headers: &HeaderMap) -> Answer {
    if !admin.shown.borrow().allow_ending {
        let how = "streams cannot be ended here: `admin.allow_ending` is false\n";
        return text(StatusCode::FORBIDDEN, TEXT, how);
    }
    if !headers.contains_key(&INTENT) || !is_from_here(headers) {
        let how = "only the status page can end a stream, or who sends `X-Sse-Sidecar: end`\n";
        return text(StatusCode::FORBIDDEN, TEXT, how);
    }
    let Some(number) = number(path).and_then(|number| number.parse().ok()) else {
        return text(StatusCode::NOT_FOUND, TEXT, "this is no stream\n");
    };
    let end = move |lobby: &Lobby| {
        let found = exchange::end_stream(number);
        if found {
            lobby.wake();
        }
        found
    };
    let answers = admin.workers.ask(PATIENCE, end).await;
    let (status, says) = if answers.contains(&Some(true)) {
        tracing::info!(number, "an operator ends a stream");
        (StatusCode::ACCEPTED, "it ends between two events\n")
    } else if answers.contains(&None) {
        let busy = "a worker is too busy to answer: try again\n";
        (StatusCode::SERVICE_UNAVAILABLE, busy)
    } else {
        (StatusCode::NOT_FOUND, "this stream has ended\n")
    };
    text(status, TEXT, says)
}

/// Whether no browser sent this, or one that shows our own page.
///
/// A name in `Host` may be anybody's that was made to mean this address (DNS rebinding); an address, or `localhost`, may not.
fn is_from_here(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else {
        return true;
    };
    let host = || {
        let host = headers.get(HOST)?.to_str().ok()?;
        let origin = origin.to_str().ok()?.strip_prefix("http://")?;
        (host == origin).then(|| host.parse::<Authority>().ok())?
    };
    host().is_some_and(|authority| {
        let name = authority.host();
        let address = name.trim_start_matches('[').trim_end_matches(']');
        name == "localhost" || address.parse::<std::net::IpAddr>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_our_own_page_ends_streams() {
        for (host, origin, expected) in [
            ("127.0.0.1:9901", None, true),
            ("127.0.0.1:9901", Some("http://127.0.0.1:9901"), true),
            ("localhost:9901", Some("http://localhost:9901"), true),
            ("[::1]:9901", Some("http://[::1]:9901"), true),
            ("10.0.0.7", Some("http://10.0.0.7"), true),
            ("127.0.0.1:9901", Some("http://127.0.0.1:9902"), false),
            ("127.0.0.1:9901", Some("https://127.0.0.1:9901"), false),
            ("127.0.0.1:9901", Some("http://evil.example"), false),
            ("127.0.0.1:9901", Some("null"), false),
            ("evil.example:9901", Some("http://evil.example:9901"), false),
            (
                "localhost.evil.example",
                Some("http://localhost.evil.example"),
                false,
            ),
            ("", Some("http://"), false),
        ] {
            let mut headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
            headers.extend(origin.map(|origin| (ORIGIN, HeaderValue::from_static(origin))));
            assert_eq!(is_from_here(&headers), expected, "{host} {origin:?}");
        }
    }

    #[test]
    fn paths() {
        assert_eq!(number("/status/streams/17/end"), Some("17"));
        assert_eq!(number("/status/streams//end"), Some(""));
        assert_eq!(number("/status/streams/17"), None);
        assert_eq!(number("/status"), None);
    }
}
