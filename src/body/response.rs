//! The one type of the bodies that go to clients.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{Aborted, EventStreamBody, PlainBody, TunnelBody};

/// The body of a response.
#[derive(Debug)]
pub enum ResponseBody {
    /// An event stream.
    Events(Box<EventStreamBody>),
    /// An upstream's response that is no event stream.
    Plain(Box<PlainBody>),
    /// One direction of a tunnel.
    Tunnel(Box<TunnelBody>),
    /// Whatever else streams.
    Foreign(ForeignBody),
    /// What the sidecar says itself.
    Own(Bytes),
    /// Nothing, of a length that only the head states: hyper leaves out `Content-Length` where a body is known to be empty.
    Unsent(u64),
}

/// A body from a module above this one.
pub struct ForeignBody(Pin<Box<dyn Body<Data = Bytes, Error = Aborted>>>);

impl ForeignBody {
    /// The body `body`.
    pub fn new(body: impl Body<Data = Bytes, Error = Aborted> + 'static) -> Self {
        Self(Box::pin(body))
    }
}

impl fmt::Debug for ForeignBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForeignBody")
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        match &mut *self {
            Self::Events(body) => body.poll_frame(cx),
            Self::Plain(body) => body.poll_frame(cx),
            Self::Tunnel(body) => Pin::new(body).poll_frame(cx),
            Self::Foreign(body) => body.0.as_mut().poll_frame(cx),
            Self::Unsent(_) => Poll::Ready(None),
            Self::Own(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Own(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Events(_) | Self::Tunnel(_) | Self::Unsent(_) => false,
            Self::Plain(body) => body.is_complete(),
            Self::Foreign(body) => body.0.is_end_stream(),
            Self::Own(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            // A stream may grow by its heartbeats: no length is ever known.
            Self::Events(_) | Self::Tunnel(_) => SizeHint::default(),
            Self::Plain(body) => body.size_hint(),
            Self::Foreign(body) => body.0.size_hint(),
            Self::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Unsent(length) => SizeHint::with_exact(*length),
        }
    }
}
