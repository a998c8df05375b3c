//! Where an event stream's bytes come from: the upstream's socket, or a body that hyper reads.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::Body;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::{Upstream, http1, http2};
use crate::body::{Broken, EventSource};
use crate::http2::Inflow;
use crate::socket::Socket;
use crate::sse::UpstreamEnd;
use crate::wire::{Chunked, Length, ResponseHead};

/// How long an upstream that has sent as much as its `Content-Length` said may take to show that it did not mean it.
const LENGTH_DOUBT: Duration = Duration::from_millis(250);

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

/// The body of a response whose head has been read, straight from its socket. Dropping it before its end closes the connection.
#[derive(Debug)]
pub struct TakenBody {
    /// `None` once it was given back.
    socket: Option<Socket>,
    framing: Framing,
    /// What was read together with the head.
    rest: Vec<u8>,
    /// The upstream may send another response after this one.
    reusable: bool,
    /// Who keeps the connection then.
    keeper: Option<Rc<Upstream>>,
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
    parked: Parked,
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
            parked: Parked::default(),
            end: None,
            _lease: lease,
        }
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, UpstreamEnd>> {
        let mut length = self.parked.take(buffer);
        // What is ready together leaves together.
        while length < buffer.len()
            && let Poll::Ready(data) = self.poll_arrived(cx)
        {
            let (fits, rest) = data.split_at(data.len().min(buffer.len() - length));
            buffer[length..length + fits.len()].copy_from_slice(fits);
            length += fits.len();
            self.parked.put(rest);
        }
        if length == 0 {
            return self.end.map_or(Poll::Pending, |end| Poll::Ready(Err(end)));
        }
        self.inflow.release(length);
        Poll::Ready(Ok(length))
    }

    /// Takes what has arrived out of h2, where each frame costs far more than its bytes.
    fn park(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(data) = self.poll_arrived(cx) {
            self.parked.put(&data);
        }
    }

    /// What has arrived, other than the end.
    fn poll_arrived(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        if self.end.is_some() {
            return Poll::Pending;
        }
        match ready!(self.inflow.poll_data(cx)) {
            Some(Ok(data)) => return Poll::Ready(data),
            Some(Err(error)) => self.end = Some(end_of(Broken::from(error))),
            None => self.end = Some(UpstreamEnd::Finished),
        }
        Poll::Pending
    }
}

/// Bytes in blocks: many streams may park much, and buffers that grow leave holes behind.
#[derive(Debug, Default)]
struct Parked {
    blocks: VecDeque<Vec<u8>>,
    /// How much of the first block has been taken.
    taken: usize,
    length: usize,
}

impl Parked {
    const BLOCK: usize = 16 * 1024;

    fn put(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len();
        while !bytes.is_empty() {
            let block = match self.blocks.back_mut() {
                Some(block) if block.len() < Self::BLOCK => block,
                _ => self.blocks.push_back_mut(Vec::with_capacity(Self::BLOCK)),
            };
            let (fits, rest) = bytes.split_at(bytes.len().min(Self::BLOCK - block.len()));
            block.extend_from_slice(fits);
            bytes = rest;
        }
    }

    fn take(&mut self, buffer: &mut [u8]) -> usize {
        let mut filled = 0;
        while let Some(block) = self.blocks.front() {
            let rest = &block[self.taken..];
            let length = rest.len().min(buffer.len() - filled);
            buffer[filled..filled + length].copy_from_slice(&rest[..length]);
            filled += length;
            self.taken += length;
            if self.taken < block.len() {
                break;
            }
            self.blocks.pop_front();
            self.taken = 0;
        }
        self.length -= filled;
        filled
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
            socket: Some(socket),
            framing,
            rest,
            reusable: !head.closes,
            keeper: None,
        }
    }

    /// When the body has ended, the connection goes to `keeper`, if it can serve another request.
    pub(super) fn keep_with(&mut self, keeper: Rc<Upstream>) {
        self.keeper = Some(keeper);
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, UpstreamEnd>> {
        loop {
            if matches!(&self.framing, Framing::Chunked(chunked) if chunked.is_done()) {
                self.give_back();
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
            return match &mut self.socket {
                Some(socket) => Pin::new(socket).poll_read(cx, &mut buf),
                None => Poll::Ready(Ok(())),
            }
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
            Framing::Chunked(chunked) => {
                let length = read.len();
                let (kept, read) = chunked
                    .decode_in_place(read)
                    .map_err(|_| UpstreamEnd::Failed)?;
                self.reusable &= read == length; // nobody has asked for what comes after it
                Ok(kept)
            }
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

    fn give_back(&mut self) {
        if self.reusable
            && self.rest.is_empty()
            && let Some(keeper) = self.keeper.take()
            && let Some(socket) = self.socket.take()
        {
            keeper.keep_socket(socket);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_parked_comes_out_as_it_went_in() {
        let input: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        for (put, take) in [
            (1, 7),
            (18, 32 * 1024),
            (16 * 1024, 100),
            (70_000, 16 * 1024),
        ] {
            let mut parked = Parked::default();
            let mut output = Vec::new();
            let mut buffer = vec![0; take];
            for (index, piece) in input.chunks(put).enumerate() {
                parked.put(piece);
                if index % 3 == 0 {
                    let length = parked.take(&mut buffer);
                    output.extend_from_slice(&buffer[..length]);
                }
            }
            while parked.length > 0 {
                let length = parked.take(&mut buffer);
                output.extend_from_slice(&buffer[..length]);
            }
            assert!(output == input, "{put} in, {take} out");
            assert!(parked.blocks.is_empty());
        }
    }
}
