//! The body of a response as it arrives.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use tokio::io::ReadBuf;
use tokio::time::{Sleep, sleep};

use super::trailers::Trailers;
use super::{Connection, Keeper};
use crate::alarm::Alarm;
use crate::sending::{Remainder, Sending, Unsent};
use crate::sse::UpstreamEnd;
use crate::wire::{BodyLength, Chunked, Framing};

/// A response's body, read from its connection. Dropping it before its end closes the connection, and so cancels the request.
#[derive(Debug)]
pub struct Inflow {
    /// `None` once the body has ended.
    connection: Option<Connection>,
    left: Left,
    /// Bytes that were read together with the head.
    rest: Bytes,
    /// Who gets the connection when the body has ended, if another response may come on it.
    keeper: Option<Rc<dyn Keeper>>,
    /// The request, if it is still being sent.
    sending: Option<Sending>,
    /// The trailer section; `None` where it is not wanted.
    trailers: Option<Trailers>,
    /// The length is ignored, since it is that of an event stream.
    heals: bool,
    /// Once such a length is reached: until when more may come.
    doubt: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum Left {
    Nothing,
    Chunked(Chunked),
    Bytes(u64),
    UntilClose,
}

/// How long an upstream that has sent its whole `Content-Length` has to show that the length was false.
const LENGTH_DOUBT: Duration = Duration::from_millis(250);

thread_local! {
    /// What an ordinary body is read to, before it is copied: all of a thread share it.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; 32 * 1024].into());
}

impl Inflow {
    /// The body after a head with this `framing`; `rest` was read with it. The connection goes to `keeper` afterwards. A false
    /// length of an event stream is ignored.
    pub fn new(
        mut connection: Connection,
        framing: Framing,
        rest: Bytes,
        keeper: Rc<dyn Keeper>,
        sending: Option<Sending>,
        is_event_stream: bool,
    ) -> Self {
        let left = match framing.length {
            BodyLength::None => Left::Nothing,
            BodyLength::Chunked => Left::Chunked(Chunked::lenient()),
            BodyLength::Bytes(length) => Left::Bytes(length),
            BodyLength::UntilClose => Left::UntilClose,
        };
        if is_event_stream {
            connection.alarm = Alarm::default(); // streams are many and long: a timer that none of them needs is memory
        }
        let mut inflow = Self {
            connection: Some(connection),
            left,
            rest,
            keeper: Some(keeper).filter(|_| framing.is_reusable),
            sending,
            trailers: Some(Trailers::default()).filter(|_| !is_event_stream),
            heals: is_event_stream,
            doubt: None,
        };
        if matches!(inflow.left, Left::Nothing | Left::Bytes(0)) && !is_event_stream {
            inflow.finish();
        }
        inflow
    }

    /// The rest of the request, if the response has ended before it.
    pub fn take_remainder(&mut self) -> Option<Remainder> {
        self.sending.take().map(Sending::outlive)
    }

    /// Reads what has arrived into `buffer`, which is not empty, and removes the framing. Never `Ok(0)`.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, UpstreamEnd>> {
        self.poll_sending(cx)?;
        self.poll_decoded(cx, buffer)
    }

    fn poll_decoded(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, UpstreamEnd>> {
        loop {
            if self.connection.is_none() {
                return Poll::Ready(Err(UpstreamEnd::Finished));
            }
            if let Left::Chunked(chunked) = &self.left
                && chunked.failure().is_some()
            {
                return Poll::Ready(Err(UpstreamEnd::Failed)); // what came before it has been passed on
            }
            let read = match self.poll_raw(cx, buffer) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.closed())),
                Poll::Ready(Ok(read)) => read,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.failed(&error))),
                Poll::Pending => {
                    ready!(self.poll_doubt(cx));
                    self.finish();
                    continue;
                }
            };
            match self.pass(&mut buffer[..read]) {
                Ok(0) => {} // framing only
                passed => return Poll::Ready(passed),
            }
        }
    }

    /// Drives the request: if its client did not send all of it, the response cannot be trusted.
    fn poll_sending(&mut self, cx: &mut Context<'_>) -> Result<(), UpstreamEnd> {
        let Some(sending) = &mut self.sending else {
            return Ok(());
        };
        match sending.poll(cx) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(Unsent::Refused | Unsent::Abandoned)) => self.keeper = None,
            Poll::Ready(Err(Unsent::Body)) => return Err(UpstreamEnd::Failed),
        }
        self.sending = None;
        Ok(())
    }

    fn poll_raw(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(Ok(0));
        };
        if self.rest.is_empty() {
            let mut buf = ReadBuf::new(buffer);
            ready!(connection.poll_read(cx, &mut buf))?;
            return Poll::Ready(Ok(buf.filled().len()));
        }
        let length = self.rest.len().min(buffer.len());
        self.rest.copy_to_slice(&mut buffer[..length]);
        if self.rest.is_empty() {
            self.rest = Bytes::new(); // or it holds the head
        }
        Poll::Ready(Ok(length))
    }

    /// Removes the framing from the bytes that were read. Returns how many of them are body, at the front of `read`.
    fn pass(&mut self, read: &mut [u8]) -> Result<usize, UpstreamEnd> {
        match &mut self.left {
            Left::Nothing => Ok(0),
            Left::Chunked(chunked) => {
                let length = read.len();
                let trailers = &mut self.trailers;
                let decoded = chunked.decode_in_place(read, |part| {
                    if let Some(trailers) = trailers {
                        trailers.put(part);
                    }
                });
                let (kept, taken) = decoded.map_err(|_| UpstreamEnd::Failed)?;
                if chunked.is_done() {
                    if taken < length {
                        self.keeper = None; // nothing was asked for that could come after it
                    }
                    self.finish();
                }
                Ok(kept)
            }
            Left::UntilClose => Ok(read.len()),
            Left::Bytes(left) => match left.checked_sub(read.len() as u64) {
                Some(rest) => {
                    *left = rest;
                    if rest == 0 && !self.heals {
                        self.finish();
                    }
                    Ok(read.len())
                }
                None if self.heals => {
                    self.left = Left::UntilClose; // the length was false
                    self.keeper = None;
                    Ok(read.len())
                }
                None => {
                    let length = usize::try_from(*left).unwrap_or(read.len());
                    self.keeper = None;
                    self.finish();
                    Ok(length)
                }
            },
        }
    }

    /// The body has ended: the connection is kept, if possible.
    fn finish(&mut self) {
        self.left = Left::Nothing;
        let connection = self.connection.take();
        if let Some(keeper) = self.keeper.take()
            && self.rest.is_empty()
            && self.sending.is_none()
            && let Some(connection) = connection
        {
            keeper.keep(connection);
        }
        self.rest = Bytes::new();
    }

    fn closed(&self) -> UpstreamEnd {
        match &self.left {
            Left::Chunked(_) => UpstreamEnd::WithoutLastChunk,
            Left::Bytes(1..) => UpstreamEnd::ShortOfLength,
            Left::Bytes(0) | Left::UntilClose | Left::Nothing => UpstreamEnd::Finished,
        }
    }

    fn failed(&self, error: &io::Error) -> UpstreamEnd {
        match (error.kind(), &self.left) {
            // Closed without `close_notify`, as many servers do. Where nothing but the close marks the end, that proves none.
            (io::ErrorKind::UnexpectedEof, Left::UntilClose) => UpstreamEnd::ShortOfLength,
            (io::ErrorKind::UnexpectedEof, _) => self.closed(),
            _ => UpstreamEnd::Failed,
        }
    }

    /// Nothing has arrived: decides whether that is the end.
    fn poll_doubt(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !matches!(self.left, Left::Bytes(0)) {
            return Poll::Pending;
        }
        let doubt = self
            .doubt
            .get_or_insert_with(|| Box::pin(sleep(LENGTH_DOUBT)));
        doubt.as_mut().poll(cx)
    }

    /// The next part of the body, as large as it came.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, UpstreamEnd>> {
        if let Left::Bytes(left) = self.left
            && !self.rest.is_empty()
        {
            let length = self
                .rest
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            let data = self.rest.split_to(length);
            self.left = Left::Bytes(left - length as u64);
            if left == length as u64 {
                self.finish();
            }
            return Poll::Ready(Ok(data));
        }
        let limit = match self.left {
            Left::Bytes(left) => usize::try_from(left).unwrap_or(usize::MAX),
            Left::Nothing | Left::Chunked(_) | Left::UntilClose => usize::MAX,
        };
        SCRATCH.with_borrow_mut(|scratch| {
            let room = limit.min(scratch.len());
            let length = ready!(self.poll_decoded(cx, &mut scratch[..room]))?;
            // Data that waits for a slow client takes no more memory than its length.
            Poll::Ready(Ok(Bytes::copy_from_slice(&scratch[..length])))
        })
    }
}

impl Body for Inflow {
    type Data = Bytes;
    type Error = UpstreamEnd;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamEnd>>> {
        self.poll_sending(cx)?;
        Poll::Ready(match ready!(self.poll_data(cx)) {
            Ok(data) => Some(Ok(Frame::data(data))),
            Err(UpstreamEnd::Finished) => {
                let trailers = self.trailers.take().and_then(Trailers::finish);
                self.finish();
                trailers.map(|trailers| Ok(Frame::trailers(trailers)))
            }
            Err(end) => Some(Err(end)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.connection.is_none() && self.trailers.as_ref().is_none_or(Trailers::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        match self.left {
            Left::Nothing => SizeHint::with_exact(0),
            Left::Bytes(left) => SizeHint::with_exact(left),
            Left::Chunked(_) | Left::UntilClose => SizeHint::default(),
        }
    }
}
