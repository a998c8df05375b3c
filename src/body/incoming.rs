//! The body of a message that arrives, whichever HTTP carries it.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::FileBody;
use crate::http1;
use crate::http2::Inflow;
use crate::sending::Remainder;
use crate::sse::UpstreamEnd;

/// The body of a request from a client, or of a response from an upstream.
#[derive(Debug)]
pub enum Incoming {
    /// hyper reads it from a client.
    Client(hyper::body::Incoming),
    /// Of an upstream's response.
    Http1(Box<http1::Inflow>),
    /// A stream of an HTTP/2 connection.
    Http2(Inflow),
    /// A small request's, which is sent again.
    Kept(Bytes),
    /// A request's whose beginning has been looked at.
    Begun {
        /// What was read.
        begun: Bytes,
        /// What was not.
        rest: Box<Self>,
    },
    /// What a route answers with by itself.
    File(Box<FileBody>),
}

/// Why a body broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The connection was closed before its end.
    #[error("the body was cut")]
    Closed,
    /// What came is not HTTP, or the connection failed.
    #[error("the body is not HTTP")]
    Failed,
    /// The peer reset the stream, with this code.
    #[error("the stream was reset: {0}")]
    Reset(h2::Reason),
    /// A file cannot be read, or has become shorter than the head said.
    #[error("the file could not be read to its end")]
    File,
}

impl Incoming {
    /// The rest of the request that this responds to, if the response has ended before it.
    pub fn take_remainder(&mut self) -> Option<Remainder> {
        match self {
            Self::Client(_) | Self::Kept(_) | Self::Begun { .. } | Self::File(_) => None,
            Self::Http1(body) => body.take_remainder(),
            Self::Http2(body) => body.take_remainder(),
        }
    }
}

impl From<UpstreamEnd> for Broken {
    fn from(end: UpstreamEnd) -> Self {
        match end {
            UpstreamEnd::Finished | UpstreamEnd::ShortOfLength | UpstreamEnd::WithoutLastChunk => {
                Self::Closed
            }
            UpstreamEnd::Failed | UpstreamEnd::Judged(_) => Self::Failed,
        }
    }
}

impl From<hyper::Error> for Broken {
    fn from(error: hyper::Error) -> Self {
        let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref());
        match source.map(io::Error::kind) {
            Some(ErrorKind::InvalidData | ErrorKind::InvalidInput) => Self::Failed,
            _ => Self::Closed, // in order or not, the client is gone
        }
    }
}

impl From<h2::Error> for Broken {
    fn from(error: h2::Error) -> Self {
        match error.reason() {
            Some(reason) if error.is_remote() && error.is_reset() => Self::Reset(reason),
            _ if error.get_io().map(io::Error::kind) == Some(ErrorKind::ConnectionReset) => {
                Self::Failed
            }
            _ if error.is_io() || error.is_go_away() => Self::Closed,
            _ => Self::Failed,
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut *self {
            Self::Client(body) => Pin::new(body).poll_frame(cx).map_err(Broken::from),
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map_err(Broken::from),
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map_err(Broken::from),
            Self::Kept(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Kept(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Begun { begun, rest } if begun.is_empty() => Pin::new(&mut **rest).poll_frame(cx),
            Self::Begun { begun, .. } => Poll::Ready(Some(Ok(Frame::data(std::mem::take(begun))))),
            Self::File(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Client(body) => body.is_end_stream(),
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
            Self::Kept(bytes) => bytes.is_empty(),
            Self::Begun { begun, rest } => begun.is_empty() && rest.is_end_stream(),
            Self::File(body) => body.remaining() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Client(body) => body.size_hint(),
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
            Self::Kept(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Begun { begun, rest } => {
                let begun = begun.len() as u64;
                let hint = rest.size_hint();
                let mut whole = SizeHint::new();
                whole.set_lower(begun + hint.lower());
                if let Some(upper) = hint.upper() {
                    whole.set_upper(begun + upper);
                }
                whole
            }
            Self::File(body) => SizeHint::with_exact(body.remaining()),
        }
    }
}
