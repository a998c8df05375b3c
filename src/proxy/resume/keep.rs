//! [`Keep`]: a request whose answer, if it is an event stream, is to outlive its client.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};

use super::preflight;
use crate::body::EventSource;
use crate::client::Downstream;
use crate::exchange::Progress;
use crate::resume::{
    Began, Claim, KeptStream, Left, LocalStreams, Origin, Reader, SavedHead, Waiting,
};

/// What is needed to keep the stream that answers a request.
#[derive(Debug)]
pub(in crate::proxy) struct Keep {
    origin: Origin,
    began: Began,
    local: Rc<LocalStreams>,
    waiting: Option<Waiting>,
}

/// The same where it may be needed by one of two: whoever serves the client, or who goes on without it.
pub(in crate::proxy) type KeepCell = Rc<RefCell<Option<Box<Keep>>>>;

impl Keep {
    pub(super) fn new(
        mut origin: Origin,
        began: Began,
        local: &Rc<LocalStreams>,
        waiting: Option<Waiting>,
    ) -> Self {
        origin.claim = waiting.as_ref().map(Waiting::tag);
        Self {
            origin,
            began,
            local: local.clone(),
            waiting,
        }
    }

    /// The claim that others wait for, if they may.
    pub(super) fn claim(&self) -> Option<&Arc<Claim>> {
        self.waiting.as_ref().map(Waiting::claim)
    }

    /// `source` is kept from now on, and read by `client` first, whose response has the fields `headers`.
    pub(in crate::proxy) fn begin(
        self,
        saved: SavedHead,
        source: Box<dyn EventSource>,
        headers: Option<&mut HeaderMap>,
        client: &Rc<dyn Downstream>,
        progress: Progress,
    ) -> Box<dyn EventSource> {
        let local = self.local.clone();
        let Some(stream) = self.stream(saved) else {
            return source;
        };
        if let Some(headers) = headers {
            if let Ok(token) = HeaderValue::from_bytes(stream.token().as_bytes()) {
                headers.insert("sse-sidecar-stream", token);
            }
            preflight::expose(headers);
        }
        Box::new(Reader::first(&stream, source, &local, client, progress))
    }

    /// `source` is kept, although its client has left before there was anything to read.
    pub(super) fn begin_unread(self, saved: SavedHead, source: Box<dyn EventSource>, left: Left) {
        let local = self.local.clone();
        if let Some(stream) = self.stream(saved) {
            local.begin_unread(stream, source, left.answered());
        }
    }

    fn stream(self, saved: SavedHead) -> Option<Arc<KeptStream>> {
        let streams = self.local.streams();
        let stream = streams.begin(self.began, self.origin, saved)?;
        if let Some(waiting) = self.waiting {
            waiting.keep(&stream);
        }
        Some(stream)
    }
}

/// Whether others may turn out to have sent the same request.
pub(in crate::proxy) fn is_shared(cell: &KeepCell) -> bool {
    let keep = cell.borrow();
    keep.as_ref().is_some_and(|keep| keep.waiting.is_some())
}
