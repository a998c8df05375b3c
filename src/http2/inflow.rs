//! What arrives on a stream, as a body.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};

use crate::sending::Remainder;

/// The body of a message on a stream. The peer may send on as far as this has been read.
pub struct Inflow {
    stream: RecvStream,
    /// The length that the message's head declares.
    length: Option<u64>,
    /// Bytes that were returned, and are released when more is asked for.
    handed_out: usize,
    data_ended: bool,
    /// The message has no body, whatever comes.
    is_void: bool,
    /// Asks the peer for the body.
    ask: Option<Box<dyn FnOnce()>>,
    /// The request that a response answers.
    request: Option<Box<dyn Lease>>,
}

/// A request's share of a connection, for as long as its response lives. Dropping it stops what is still being sent.
pub trait Lease: fmt::Debug {
    /// The rest of the request, which may be sent after the response's end.
    fn take_remainder(&mut self) -> Option<Remainder>;
}

impl Inflow {
    /// The body of the message with this head.
    pub fn new(stream: RecvStream, head: &HeaderMap) -> Self {
        let length = head.get(CONTENT_LENGTH);
        Self {
            stream,
            length: length.and_then(|value| value.to_str().ok()?.parse().ok()),
            handed_out: 0,
            data_ended: false,
            is_void: false,
            ask: None,
            request: None,
        }
    }

    /// The body of the response to the request that has `lease`.
    #[must_use]
    pub fn answering(mut self, lease: Box<dyn Lease>) -> Self {
        self.request = Some(lease);
        self
    }

    /// Like [`new`](Self::new), for a message without a body: frames that come all the same are dropped.
    #[must_use]
    pub fn void(mut self) -> Self {
        self.is_void = true;
        self
    }

    /// The rest of the request, if the response has ended before it.
    pub fn take_remainder(&mut self) -> Option<Remainder> {
        self.request.as_mut()?.take_remainder()
    }

    /// Has `ask` called when the body is first read, as the peer waits for that (`Expect: 100-continue`).
    pub fn ask_with(&mut self, ask: impl FnOnce() + 'static) {
        self.ask = Some(Box::new(ask));
    }

    /// The next bytes; the peer may send as many more once they are [released](Self::release).
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        if let Some(ask) = self.ask.take() {
            ask();
        }
        match ready!(self.stream.poll_data(cx)) {
            // RFC 9113, section 8.1: a server may ask for no more of a request with NO_ERROR, after "a complete response".
            Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => Poll::Ready(None),
            data => Poll::Ready(data),
        }
    }

    /// The peer may send `length` more bytes.
    pub fn release(&mut self, length: usize) {
        // It fails only for more than was received.
        let _ = self.stream.flow_control().release_capacity(length);
    }
}

impl fmt::Debug for Inflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflow")
            .field("stream", &self.stream)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

impl Body for Inflow {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if self.is_void {
            return Poll::Ready(None);
        }
        let handed_out = std::mem::take(&mut self.handed_out);
        if handed_out > 0 {
            self.release(handed_out);
        }
        while !self.data_ended {
            match ready!(self.poll_data(cx)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    self.handed_out = data.len();
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.data_ended = true,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx));
        Poll::Ready(match trailers {
            Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            Err(error) if error.reason() == Some(Reason::NO_ERROR) => None,
            Err(error) => Some(Err(error)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.is_void || self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() {
            return SizeHint::with_exact(0);
        }
        self.length.map(SizeHint::with_exact).unwrap_or_default()
    }
}
