//! Where an event stream's bytes come from: a connection with HTTP/1.1, or a stream of one with HTTP/2.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use crate::body::{Broken, EventSource};
use crate::http1;
use crate::http2::Inflow;
use crate::sending::Remainder;
use crate::sse::UpstreamEnd;

/// The upstream of an event stream.
#[derive(Debug)]
pub enum Source {
    /// A separate connection.
    Http1(http1::Inflow),
    /// A stream of an HTTP/2 connection.
    Http2(StreamBody),
}

/// A response's body on a stream of HTTP/2.
#[derive(Debug)]
pub struct StreamBody {
    inflow: Inflow,
    /// What arrived while the client could not accept it. The upstream sends no more than its window allows before this is
    /// forwarded.
    parked: Parked,
    end: Option<UpstreamEnd>,
}

impl EventSource for Source {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, UpstreamEnd>> {
        match self {
            Self::Http1(body) => body.poll_read(cx, buffer),
            Self::Http2(body) => body.poll_read(cx, buffer),
        }
    }

    fn park(&mut self, cx: &mut Context<'_>) -> Poll<UpstreamEnd> {
        match self {
            Self::Http1(_) => {}
            Self::Http2(body) => body.park(cx),
        }
        Poll::Pending
    }

    fn take_remainder(&mut self) -> Option<Remainder> {
        match self {
            Self::Http1(body) => body.take_remainder(),
            Self::Http2(body) => body.inflow.take_remainder(),
        }
    }
}

impl StreamBody {
    /// The body of a response.
    pub(super) fn new(inflow: Inflow) -> Self {
        Self {
            inflow,
            parked: Parked::default(),
            end: None,
        }
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, UpstreamEnd>> {
        let mut length = self.parked.take(buffer);
        // Chunks that are ready together leave together.
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

    /// Data that has arrived, other than the end.
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
        Broken::Failed | Broken::File => UpstreamEnd::Failed,
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
