//! An event stream as a body: for HTTP/2, and for a client whose request is still on its way up.

use std::fmt;
use std::ops::Range;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;

use super::Aborted;
use super::abort::Abort;
use super::flow::{EventFlow, Sink};
use crate::sse::Manner;

/// The body of an event stream on its way to a client.
pub struct EventStreamBody {
    flow: EventFlow,
    /// What remains to be done.
    ending: Option<Ending>,
    /// The client's protocol shows a cut body only by a reset.
    resets: bool,
}

#[derive(Debug)]
enum Ending {
    Clean,
    Abort(Abort),
}

impl EventStreamBody {
    /// The body that `flow` fills. `close_delimited` is for HTTP/1.0 clients.
    pub fn new(flow: EventFlow, close_delimited: bool) -> Self {
        Self {
            flow,
            ending: None,
            resets: close_delimited,
        }
    }

    /// The next bytes, or the end.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        loop {
            match &mut self.ending {
                Some(Ending::Clean) => return Poll::Ready(None),
                Some(Ending::Abort(abort)) => {
                    return abort
                        .poll(cx, self.flow.client())
                        .map(|aborted| Some(Err(aborted)));
                }
                None => {}
            }
            let mut copy = Copy::default();
            if let Some(end) = ready!(self.flow.poll(cx, &mut copy)) {
                self.end(end.manner);
            }
            if !copy.0.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(copy.0))));
            }
        }
    }

    fn end(&mut self, manner: Manner) {
        if manner == Manner::Abort && self.resets {
            self.flow.client().reset_on_close();
        }
        self.ending = Some(match manner {
            Manner::Clean => Ending::Clean,
            Manner::Abort => Ending::Abort(Abort::new(None)),
        });
    }
}

/// One copy, of exactly the right size: what waits for a slow client pins no more memory than it is long.
#[derive(Default)]
struct Copy(Bytes);

impl Sink for Copy {
    fn whole(&mut self, buffer: &mut [u8], place: Range<usize>) {
        self.0 = Bytes::copy_from_slice(&buffer[place]);
    }

    fn parts(&mut self, parts: [&[u8]; 4]) {
        self.0 = parts.concat().into();
    }
}

impl fmt::Debug for EventStreamBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStreamBody")
            .field("flow", &self.flow)
            .field("ending", &self.ending)
            .finish_non_exhaustive()
    }
}
