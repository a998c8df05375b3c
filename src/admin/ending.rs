//! Ending a stream from the status page: `POST /status/streams/NUMBER/end`, or for one without a client `/status/kept/NUMBER/end`.

use http::header::HeaderMap;
use http::{HeaderName, StatusCode};

use super::status::PATIENCE;
use super::{Admin, Answer, TEXT, host, text};
use crate::exchange;
use crate::server::ShutdownWatch;
use crate::sse::EndReason;

/// A page of another site can make a browser send a form here, but not with this field: for that the browser first asks for
/// permission (a CORS preflight), which is not given.
pub(super) static INTENT: HeaderName = HeaderName::from_static("x-sse-sidecar");

/// Whether a path is one of those that end a stream.
pub(super) fn is_asked(path: &str) -> bool {
    number(path).is_some()
}

fn number(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/status/")?;
    let rest = rest
        .strip_prefix("streams/")
        .or_else(|| rest.strip_prefix("kept/"))?;
    rest.strip_suffix("/end")
}

/// Ends a stream that nobody reads.
fn end_kept(admin: &Admin, number: u64) -> Answer {
    let streams = admin.streams.unread_streams();
    let stream = streams.iter().find(|stream| stream.number() == number);
    if stream.is_some_and(|stream| stream.stop(EndReason::Operator)) {
        tracing::info!(number, "an operator ends a stream without a client");
        text(StatusCode::ACCEPTED, TEXT, "its upstream is cancelled\n")
    } else {
        text(
            StatusCode::NOT_FOUND,
            TEXT,
            "this stream has ended, or has a client again\n",
        )
    }
}

pub(super) async fn end(admin: &Admin, path: &str, headers: &HeaderMap) -> Answer {
    if !admin.shown.borrow().allow_ending {
        let how = "streams cannot be ended here: `admin.allow_ending` is false\n";
        return text(StatusCode::FORBIDDEN, TEXT, how);
    }
    if !headers.contains_key(&INTENT) || !host::is_own_page(headers) {
        let how = "only the status page can end a stream, or who sends `X-Sse-Sidecar: end`\n";
        return text(StatusCode::FORBIDDEN, TEXT, how);
    }
    let Some(number) = number(path).and_then(|number| number.parse().ok()) else {
        return text(StatusCode::NOT_FOUND, TEXT, "this is no stream\n");
    };
    if path.starts_with("/status/kept/") {
        return end_kept(admin, number);
    }
    let end = move |shutdown: &ShutdownWatch| {
        let found = exchange::end_stream(number);
        if found {
            shutdown.wake();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(number("/status/streams/17/end"), Some("17"));
        assert_eq!(number("/status/kept/17/end"), Some("17"));
        assert_eq!(number("/status/streams//end"), Some(""));
        assert_eq!(number("/status/streams/17"), None);
        assert_eq!(number("/status"), None);
    }
}
