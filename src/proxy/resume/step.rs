//! What becomes of a request on a route whose streams are kept.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, response};

use super::{KeepCell, Resumed, preflight};
use crate::reason::Reason;
use crate::resume::KeptStream;
use crate::sse::EndReason;

/// What becomes of it.
#[derive(Debug)]
pub(in crate::proxy) enum Step {
    /// It goes to the backend.
    GoUp(GoUp),
    /// It gets a stream that is there.
    Resume(Box<Resumed>),
    /// It is refused.
    Refuse(Reason),
    /// It is answered with this status and nothing else.
    Status(StatusCode),
    /// An event stream with these bytes, and no more.
    Events(Vec<u8>),
    /// An event stream that breaks at once.
    Broken,
}

/// A request on its way to the backend.
#[derive(Debug, Default)]
pub(in crate::proxy) struct GoUp {
    /// The stream that answers it is kept.
    pub(in crate::proxy) keep: Option<KeepCell>,
    /// Its target named a cursor, which its head as the client wrote it still does.
    pub(in crate::proxy) had_cursor_in_target: bool,
    /// What is to be done with the answer besides.
    pub(in crate::proxy) after: After,
}

/// What is to be done when the answer is there.
#[derive(Debug, Default)]
pub(in crate::proxy) struct After {
    /// A preflight asked for `Last-Event-ID`, which the backend was not asked for.
    pub(super) mends_preflight: bool,
    /// If the backend says yes, this stream is to stop.
    pub(super) stops: Option<Arc<KeptStream>>,
    /// A client wanted to go on with a stream that is not there.
    pub(super) is_restart: bool,
}

impl After {
    /// The answer is there, with this `head`.
    pub(in crate::proxy) fn apply(self, head: &mut response::Parts) {
        if self.mends_preflight {
            preflight::answer(&mut head.headers);
        }
        if let Some(stream) = self.stops.filter(|_| head.status.is_success()) {
            stream.stop(EndReason::Stopped);
        }
        if self.is_restart {
            let none = HeaderValue::from_static("none");
            head.headers.insert("sse-sidecar-resumed", none);
            preflight::expose(&mut head.headers);
        }
    }
}
