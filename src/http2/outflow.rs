//! A body that is sent on a stream.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use h2::{Reason, SendStream};
use http_body::Body;
use tokio::time::Instant;

use crate::alarm::Alarm;

/// The most bytes of one stream that wait in h2, apart from a single larger piece of a body.
const QUEUED: usize = 32 * 1024;

/// How many bytes of a stream h2 has and has not yet been able to send: the peer's windows or its socket are full.
#[derive(Debug, Default)]
pub struct QueuedBytes {
    bytes: Cell<usize>,
    /// How many were sent, ever.
    sent: Cell<u64>,
    waiting: RefCell<Option<Waker>>,
}

/// Bytes in h2's hands.
#[derive(Debug)]
pub struct Payload {
    bytes: Bytes,
    queued: Rc<QueuedBytes>,
}

/// How a body went out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// All of it.
    Complete,
    /// The body broke off, and the stream was reset.
    Broken,
    /// The peer wants no more.
    Refused,
    /// The connection is gone.
    Lost,
    /// The peer took nothing for too long, and the stream was reset.
    Stalled,
}

/// Moves a body into a stream.
pub struct Outflow<B> {
    body: B,
    stream: SendStream<Payload>,
    queued: Rc<QueuedBytes>,
    ended: bool,
    /// How much had been sent when there was last any progress, and when that was.
    progress: (u64, Option<Instant>),
    alarm: Alarm,
}

impl QueuedBytes {
    /// Whether bytes wait.
    pub fn is_empty(&self) -> bool {
        self.bytes.get() == 0
    }

    fn add(&self, length: usize) {
        self.bytes.set(self.bytes.get() + length);
    }

    fn remove(&self, length: usize) {
        self.bytes.set(self.bytes.get() - length);
        self.sent.set(self.sent.get() + length as u64);
        if let Some(waker) = self.waiting.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl Payload {
    fn new(bytes: Bytes, queued: Rc<QueuedBytes>) -> Self {
        queued.add(bytes.len());
        Self { bytes, queued }
    }
}

impl Buf for Payload {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, length: usize) {
        self.bytes.advance(length);
        self.queued.remove(length);
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.queued.remove(self.bytes.len());
        }
    }
}

impl<B> Outflow<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    /// Sends `body` on `stream`, whose backlog is `backlog`.
    pub fn new(body: B, stream: SendStream<Payload>, queued: Rc<QueuedBytes>) -> Self {
        Self {
            body,
            stream,
            queued,
            ended: false,
            progress: (0, None),
            alarm: Alarm::default(),
        }
    }

    /// Ready when the body is sent, or cannot be. `timeout` limits how long the peer may accept none of the waiting bytes, unless
    /// the whole connection `is_held_up`; `code` returns the code with which the stream is reset if the body fails.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        timeout: Option<Duration>,
        is_held_up: impl Fn() -> bool,
        code: impl Fn(B::Error) -> Reason,
    ) -> Poll<Sent> {
        loop {
            if self.ended && self.queued.is_empty() {
                return Poll::Ready(Sent::Complete);
            }
            if let Poll::Ready(reset) = self.stream.poll_reset(cx) {
                return Poll::Ready(if reset.is_ok() {
                    Sent::Refused
                } else {
                    Sent::Lost
                });
            }
            if self.ended || self.queued.bytes.get() >= QUEUED {
                return self.poll_stalled(cx, timeout, is_held_up);
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let sent = match frame.into_data() {
                        Ok(data) => self.send(data),
                        Err(frame) => {
                            self.ended = true;
                            let trailers = frame.into_trailers().unwrap_or_default();
                            self.stream.send_trailers(trailers)
                        }
                    };
                    if sent.is_err() {
                        return Poll::Ready(Sent::Lost);
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    self.stream.send_reset(code(error));
                    return Poll::Ready(Sent::Broken);
                }
                Poll::Ready(None) => {
                    self.ended = true;
                    let end = Payload::new(Bytes::new(), self.queued.clone());
                    if self.stream.send_data(end, true).is_err() {
                        return Poll::Ready(Sent::Lost);
                    }
                }
                Poll::Pending => return self.poll_stalled(cx, timeout, is_held_up),
            }
        }
    }

    fn send(&mut self, data: Bytes) -> Result<(), h2::Error> {
        self.ended = self.body.is_end_stream();
        let payload = Payload::new(data, self.queued.clone());
        self.stream.send_data(payload, self.ended)
    }

    /// Waits until bytes leave, if any wait.
    fn poll_stalled(
        &mut self,
        cx: &mut Context<'_>,
        timeout: Option<Duration>,
        is_held_up: impl Fn() -> bool,
    ) -> Poll<Sent> {
        if self.queued.is_empty() {
            self.progress.1 = None;
            return Poll::Pending;
        }
        *self.queued.waiting.borrow_mut() = Some(cx.waker().clone());
        let Some(timeout) = timeout else {
            return Poll::Pending;
        };
        let sent = self.queued.sent.get();
        if self.progress.0 != sent || self.progress.1.is_none() {
            self.progress = (sent, Some(Instant::now()));
        }
        loop {
            let since = self.progress.1.unwrap_or_else(Instant::now);
            ready!(self.alarm.poll(cx, since + timeout));
            if !is_held_up() {
                break;
            }
            // The connection's own timeout judges its peer.
            self.progress.1 = Some(Instant::now());
        }
        self.stream.send_reset(Reason::CANCEL);
        Poll::Ready(Sent::Stalled)
    }
}

impl<B> fmt::Debug for Outflow<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outflow")
            .field("stream", &self.stream)
            .field("backlog", &self.queued)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
