//! An event stream from socket to socket: what came in one read leaves in one write, hyper set aside on both sides.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use super::flow::{BACK, EventFlow, FRONT, Sink};
use crate::client::{ClientStream, Disposition};
use crate::sse::{End, EndReason, Manner};

/// Writes an event stream to the connection of an HTTP/1 client, from its head to its end.
///
/// It is a future that is ready when all of it is written; what becomes of the connection then is its output.
#[derive(Debug)]
pub struct Relay {
    flow: EventFlow,
    near: ClientStream,
    framing: RelayFraming,
    /// What the client has not taken yet. Empty, and without a buffer, while it takes everything.
    unsent: Vec<u8>,
    /// Nothing has been written yet.
    begins: bool,
    end: Option<End>,
    /// What happens to the connection if the stream ends cleanly.
    disposition: Disposition,
}

/// How the client sees the end of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayFraming {
    /// By a last chunk.
    Chunked,
    /// By the end of the connection: HTTP/1.0.
    Close,
}

/// The most of the stream that is written together with the head, if it has already arrived.
const MOST_WITH_HEAD: usize = 8 * 1024;

impl Relay {
    /// Writes `head`, and the stream after it, to `near`. If the stream ends in order, `disposition` is the connection's.
    pub fn new(
        flow: EventFlow,
        near: ClientStream,
        head: Vec<u8>,
        framing: RelayFraming,
        disposition: Disposition,
    ) -> Self {
        Self {
            flow,
            near,
            framing,
            unsent: head,
            begins: true,
            end: None,
            disposition,
        }
    }

    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let written = ready!(
                self.near
                    .poll_write_shared(cx, &[IoSlice::new(&self.unsent)])
            )?;
            self.unsent.drain(..written);
        }
        self.unsent = Vec::new();
        self.near.poll_flush_shared(cx)
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.begins) {
            // What has come with the head leaves with it.
            while self.end.is_none() && self.unsent.len() < MOST_WITH_HEAD {
                if self.poll_flow(cx).is_pending() {
                    break;
                }
            }
        }
        loop {
            let sent = self.poll_unsent(cx)?;
            if self.end.is_some() {
                return sent.map(Ok);
            }
            ready!(self.poll_flow(cx));
        }
    }

    /// Ready when some of the stream was written or is to be, or it has ended.
    fn poll_flow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut writer = Writer {
            near: &self.near,
            framing: self.framing,
            unsent: &mut self.unsent,
        };
        if let Some(end) = ready!(self.flow.poll(cx, &mut writer)) {
            self.end = Some(end);
            if matches!(end.reason, EndReason::Superseded | EndReason::Lagged) {
                self.unsent.clear(); // the client does not read, or not fast enough
            }
            match (end.manner, self.framing) {
                (Manner::Clean, RelayFraming::Chunked) => self.unsent.extend(b"0\r\n\r\n"),
                (Manner::Abort, RelayFraming::Close) => self.flow.client().reset_on_close(),
                (Manner::Clean, RelayFraming::Close) | (Manner::Abort, RelayFraming::Chunked) => {}
            }
        }
        Poll::Ready(())
    }
}

impl Future for Relay {
    type Output = Disposition;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Disposition> {
        let relay = &mut *self;
        let done = ready!(relay.poll_stream(cx));
        let ended_in_order = relay.end.is_some_and(|end| end.manner == Manner::Clean);
        Poll::Ready(match done {
            Ok(()) if ended_in_order => relay.disposition,
            Ok(()) | Err(_) => Disposition::Abort,
        })
    }
}

/// Writes as much as the client takes at once, and leaves the rest for later.
struct Writer<'a> {
    near: &'a ClientStream,
    framing: RelayFraming,
    unsent: &'a mut Vec<u8>,
}

impl Writer<'_> {
    fn write(&mut self, bytes: &[u8]) {
        let mut written = 0;
        if self.unsent.is_empty() {
            // The rest is written with the task's waker; a failure shows again then.
            let mut cx = Context::from_waker(Waker::noop());
            if let Poll::Ready(Ok(length)) =
                self.near.poll_write_shared(&mut cx, &[IoSlice::new(bytes)])
            {
                written = length;
            }
        }
        self.unsent.extend_from_slice(&bytes[written..]);
    }
}

impl Sink for Writer<'_> {
    fn whole(&mut self, buffer: &mut [u8], place: Range<usize>) {
        let framed = match self.framing {
            RelayFraming::Chunked => enclose(buffer, place),
            RelayFraming::Close => place,
        };
        self.write(&buffer[framed]);
    }

    fn parts(&mut self, parts: [&[u8]; 4]) {
        let mut bytes = vec![0; FRONT];
        bytes.extend(parts.concat());
        let place = FRONT..bytes.len();
        bytes.extend([0; BACK]);
        self.whole(&mut bytes, place);
    }
}

/// Makes a chunk of the bytes of `buffer` at `place`, in the room around them.
fn enclose(buffer: &mut [u8], place: Range<usize>) -> Range<usize> {
    let mut start = place.start - 2;
    buffer[start..place.start].copy_from_slice(b"\r\n");
    let mut size = place.len();
    while size > 0 {
        start -= 1;
        buffer[start] = b"0123456789abcdef"[size & 0xF];
        size >>= 4;
    }
    buffer[place.end..place.end + BACK].copy_from_slice(b"\r\n");
    start..place.end + BACK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_of_every_size() {
        for length in [1, 9, 10, 15, 16, 255, 256, 4096, 32 * 1024] {
            let mut buffer = vec![b'x'; FRONT + length + BACK];
            let framed = enclose(&mut buffer, FRONT..FRONT + length);
            let expected = [
                format!("{length:x}\r\n").as_bytes(),
                &vec![b'x'; length],
                b"\r\n",
            ]
            .concat();
            assert_eq!(buffer[framed], expected, "{length}");
        }
    }
}
