//! Where an event stream's bytes come from: the upstream's socket, or a body that hyper reads.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::Body;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::{http1, http2};
use crate::body::{Broken, EventSource};
use crate::http2::Inflow;
use crate::socket::Socket;
use crate::sse::UpstreamEnd;
use crate::wire::{Chunked, Length, ResponseHead};

/// How long an upstream that has sent as much as its `Content-Length` said may take to show that it did not mean it.
const LENGTH_DOUBT: Duration = Duration::from_millis(250);

/// By how much the room for parked bytes grows.
const PARKED: usize = 16 * 1024;

/// The upstream of an event stream.
#[derive(Debug)]
pub enum Source {
    /// Its socket, hyper set aside.
    Taken(TakenBody),
    /// A body that hyper reads, because it is also still writing the request's.
    Http1(HttpBody),
    /// A stream of an HTTP/2 connection.
    Http2(StreamBody),
}

/// The body of a response whose head has been read, straight from its socket. Dropping it closes the connection.
#[derive(Debug)]
pub struct TakenBody {
    socket: Socket,
    framing: Framing,
    /// What was read together with the head.
    rest: Vec<u8>,
}

#[derive(Debug)]
enum Framing {
    Chunked(Chunked),
    /// Until the connection closes.
    Close,
    /// A length, which for an event stream may well be false.
    Length {
        left: u64,
        /// Once it is reached: until when more may come.
        doubt: Option<Pin<Box<Sleep>>>,
    },
}

/// A body that hyper reads, with the connection that it is read from.
#[derive(Debug)]
pub struct HttpBody {
    incoming: Incoming,
    /// Of a frame that was longer than the buffer.
    rest: Bytes,
    is_chunked: bool,
    /// It ended while bytes of it were still to be passed.
    end: Option<UpstreamEnd>,
    _lease: http1::Lease,
}

/// A response's body on a stream of HTTP/2.
#[derive(Debug)]
pub struct StreamBody {
    inflow: Inflow,
    /// What arrived while nobody could take it. The upstream sends no more than its window allows before this is passed on.
    parked: Vec<u8>,
    end: Option<UpstreamEnd>,
    _lease: http2::Lease,
}

impl EventSource for Source {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, UpstreamEnd>> {
        match self {
            Self::Taken(body) => body.poll_read(cx, buffer),
            Self::Http1(body) => body.poll_read(cx, buffer),
            Self::Http2(body) => body.poll_read(cx, buffer),
        }
    }

    fn park(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Taken(_) | Self::Http1(_) => {}
            Self::Http2(body) => body.park(cx),
        }
    }
}

impl StreamBody {
    /// The body of a response on `lease`.
    pub(super) fn new(inflow: Inflow, lease: http2::Lease) -> Self {
        Self {
            inflow,
            parked: Vec::new(),
            end: None,
            _lease: lease,
        }
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, UpstreamEnd>> {
        // What is ready together leaves together.
        while self.parked.len() < buffer.len() && self.poll_arrived(cx).is_ready() {}
        let length = self.parked.len().min(buffer.len());
        if length == 0 {
            return self.end.map_or(Poll::Pending, |end| Poll::Ready(Err(end)));
        }
        buffer[..length].copy_from_slice(&self.parked[..length]);
        if length == self.parked.len() {
            self.parked = Vec::new();
        } else {
            self.parked.drain(..length);
        }
        self.inflow.release(length);
        Poll::Ready(Ok(length))
    }

    /// Takes what has arrived out of h2, where each frame costs far more than its bytes.
    fn park(&mut self, cx: &mut Context<'_>) {
        while self.poll_arrived(cx).is_ready() {}
    }

    /// Ready when something has arrived, other than the end.
    fn poll_arrived(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.end.is_some() {
            return Poll::Pending;
        }
        match ready!(self.inflow.poll_data(cx)) {
            Some(Ok(data)) => {
                if self.parked.capacity() - self.parked.len() < data.len() {
                    // Not doubled: what is parked is as much as the window at the most, and there may be many such streams.
                    self.parked.reserve_exact(data.len().max(PARKED));
                }
                self.parked.extend_from_slice(&data);
                return Poll::Ready(());
            }
            Some(Err(error)) => self.end = Some(end_of(Broken::from(error))),
            None => self.end = Some(UpstreamEnd::Finished),
        }
        Poll::Pending
    }
}

fn end_of(broken: Broken) -> UpstreamEnd {
    match broken {
        Broken::Closed | Broken::Reset(_) => UpstreamEnd::WithoutLastChunk,
        Broken::Failed => UpstreamEnd::Failed,
    }
}

impl TakenBody {
    /// The body after `head`; `rest` was read together with it.
    pub fn new(socket: Socket, rest: Vec<u8>, head: &ResponseHead) -> Self {
        let framing = match head.length {
            _ if head.chunked => Framing::Chunked(Chunked::new()),
            Length::Bytes(left) => Framing::Length { left, doubt: None },
            Length::Unknown => Framing::Close,
        };
        Self {
            socket,
            framing,
            rest,
        }
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, UpstreamEnd>> {
        loop {
            if matches!(&self.framing, Framing::Chunked(chunked) if chunked.is_done()) {
                return Poll::Ready(Err(UpstreamEnd::Finished));
            }
            let read = match self.poll_raw(cx, buffer) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.closed())),
                Poll::Ready(Ok(read)) => read,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.failed(&error))),
                Poll::Pending => return self.poll_doubt(cx).map(Err),
            };
            match self.pass(&mut buffer[..read]) {
                Ok(0) => {} // framing only
                passed => return Poll::Ready(passed),
            }
        }
    }

    fn poll_raw(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.rest.is_empty() {
            let mut buf = ReadBuf::new(buffer);
            return Pin::new(&mut self.socket)
                .poll_read(cx, &mut buf)
                .map_ok(|()| buf.filled().len());
        }
        let length = self.rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.rest[..length]);
        if length == self.rest.len() {
            self.rest = Vec::new();
        } else {
            self.rest.drain(..length);
        }
        Poll::Ready(Ok(length))
    }

    /// Takes the framing out of what was read. Returns how much of it is the body, at the front of `read`.
    fn pass(&mut self, read: &mut [u8]) -> Result<usize, UpstreamEnd> {
        match &mut self.framing {
            Framing::Chunked(chunked) => chunked
                .decode_in_place(read)
                .map(|(kept, _)| kept)
                .map_err(|_| UpstreamEnd::Failed),
            Framing::Close => Ok(read.len()),
            Framing::Length { left, .. } => {
                match left.checked_sub(read.len() as u64) {
                    Some(rest) => *left = rest,
                    None => self.framing = Framing::Close, // the length was false
                }
                Ok(read.len())
            }
        }
    }

    fn closed(&self) -> UpstreamEnd {
        match &self.framing {
            Framing::Chunked(_) => UpstreamEnd::WithoutLastChunk,
            Framing::Length { left: 1.., .. } => UpstreamEnd::ShortOfLength,
            Framing::Length { left: 0, .. } | Framing::Close => UpstreamEnd::Finished,
        }
    }

    fn failed(&self, error: &io::Error) -> UpstreamEnd {
        match (error.kind(), &self.framing) {
            // Closed without `close_notify`, as many servers do. Where nothing but the close marks the end, that proves none.
            (io::ErrorKind::UnexpectedEof, Framing::Close) => UpstreamEnd::ShortOfLength,
            (io::ErrorKind::UnexpectedEof, _) => self.closed(),
            _ => UpstreamEnd::Failed,
        }
    }

    /// Nothing is there to read: is that the end?
    fn poll_doubt(&mut self, cx: &mut Context<'_>) -> Poll<UpstreamEnd> {
        match &mut self.framing {
            Framing::Length { left: 0, doubt } => {
                let doubt = doubt.get_or_insert_with(|| Box::pin(sleep(LENGTH_DOUBT)));
                doubt.as_mut().poll(cx).map(|()| UpstreamEnd::Finished)
            }
            Framing::Length { .. } | Framing::Chunked(_) | Framing::Close => Poll::Pending,
        }
    }
}

impl HttpBody {
    /// The body after `head`, on `lease`.
    pub(super) fn new(incoming: Incoming, lease: http1::Lease, head: &ResponseHead) -> Self {
        Self {
            incoming,
            is_chunked: head.chunked,
            rest: Bytes::new(),
            end: None,
            _lease: lease,
        }
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, UpstreamEnd>> {
        let mut filled = 0;
        loop {
            let length = self.rest.len().min(buffer.len() - filled);
            self.rest
                .copy_to_slice(&mut buffer[filled..filled + length]);
            filled += length;
            if filled == buffer.len() {
                return Poll::Ready(Ok(filled));
            }
            if let Some(end) = self.end.filter(|_| filled == 0) {
                return Poll::Ready(Err(end));
            }
            // What is ready together leaves together.
            match self.end.map_or_else(
                || Pin::new(&mut self.incoming).poll_frame(cx),
                |_| Poll::Pending,
            ) {
                Poll::Ready(Some(Ok(frame))) => self.rest = frame.into_data().unwrap_or_default(),
                Poll::Ready(Some(Err(error))) => self.end = Some(self.failed(&error)),
                Poll::Ready(None) => self.end = Some(UpstreamEnd::Finished),
                Poll::Pending if filled > 0 => return Poll::Ready(Ok(filled)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
    /// As [`TakenBody::failed`], of an error that hyper has wrapped.
    fn failed(&self, error: &hyper::Error) -> UpstreamEnd {
        let source = std::error::Error::source(error);
        let kind = source.and_then(|source| Some(source.downcast_ref::<io::Error>()?.kind()));
        match kind {
            Some(io::ErrorKind::UnexpectedEof) if self.is_chunked => UpstreamEnd::WithoutLastChunk,
            Some(io::ErrorKind::UnexpectedEof) => UpstreamEnd::ShortOfLength,
            _ => UpstreamEnd::Failed,
        }
    }
}
