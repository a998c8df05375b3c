//! The driver of [`sse::EventStream`](EventStream) for hyper: moves its bytes and owns its one timer.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use tokio::time::Instant;

use super::Aborted;
use super::abort::Abort;
use crate::alarm::Alarm;
use crate::client::Reader;
use crate::exchange::Exchange;
use crate::sse::{Client, End, EventStream, Manner, Output, Reason, UpstreamEnd};

/// Where the bytes of an event stream come from, decoded and without framing. Dropping it cancels the upstream's request.
pub trait EventSource: fmt::Debug {
    /// Reads what is there: everything that arrived together, as far as it fits. Never `Ok(0)`.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, UpstreamEnd>>;

    /// Nothing can be passed on now, because the client takes nothing. What has arrived may be kept in a smaller form meanwhile.
    fn park(&mut self, _: &mut Context<'_>) {}
}

/// The body of an event stream on its way to a client.
pub struct EventStreamBody {
    stream: EventStream,
    /// `None` once the stream has ended: the upstream is cancelled at once, not when the client has read the rest.
    source: Option<Box<dyn EventSource>>,
    client: Rc<dyn Reader>,
    exchange: Exchange,
    alarm: Alarm,
    /// What is left to be done.
    ending: Option<Ending>,
    /// The client's protocol shows a cut body only by a reset.
    resets: bool,
}

#[derive(Debug)]
enum Ending {
    Clean,
    Abort(Abort),
}

/// How much is read, and so written, at once.
const READ_SIZE: usize = 32 * 1024;

thread_local! {
    /// What is read is passed on before the next stream reads: all streams of a thread share one buffer.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_SIZE].into());
}

impl EventStreamBody {
    /// The stream that `source` feeds and `client` reads. `close_delimited` is for HTTP/1.0 clients.
    pub fn new(
        stream: EventStream,
        source: Box<dyn EventSource>,
        client: Rc<dyn Reader>,
        exchange: Exchange,
        close_delimited: bool,
    ) -> Self {
        let alarm = Alarm::default();
        Self {
            stream,
            source: Some(source),
            client,
            exchange,
            alarm,
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
                        .poll(cx, &self.client)
                        .map(|aborted| Some(Err(aborted)));
                }
                None => {}
            }
            let bytes = ready!(self.poll_bytes(cx));
            if !bytes.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
        }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        if self.client.is_cut() {
            let written = Written::of(&self.stream.handle_shutdown());
            return Poll::Ready(self.note(written));
        }
        // Data wins over a clock that ran out meanwhile. While the client takes nothing, nothing is read for it.
        let stalled = self.client.is_stalled();
        if !stalled && let Poll::Ready(bytes) = self.poll_source(cx) {
            return Poll::Ready(bytes);
        }
        if stalled && let Some(source) = &mut self.source {
            source.park(cx);
        }
        while let Some(at) = self.stream.poll_timeout() {
            ready!(self.alarm.poll(cx, Instant::from_std(at)));
            let client = if stalled {
                Client::Stalled
            } else {
                Client::Taking
            };
            let written = Written::of(
                &self
                    .stream
                    .handle_timeout(Instant::now().into_std(), client),
            );
            let bytes = self.note(written);
            if !bytes.is_empty() || self.ending.is_some() {
                return Poll::Ready(bytes);
            }
        }
        Poll::Pending
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        BUFFER.with_borrow_mut(|buffer| {
            let Some(source) = &mut self.source else {
                return Poll::Pending;
            };
            let read = ready!(source.poll_read(cx, buffer));
            let now = Instant::now();
            let written = match read {
                Ok(length) => {
                    let silence = now.into_std() - self.stream.last_read();
                    let output = self.stream.handle_data(now.into_std(), &buffer[..length]);
                    let written = Written::of(&output);
                    self.exchange.read(now, silence, &self.stream.counts());
                    written
                }
                Err(end) => Written::of(&self.stream.handle_end(end)),
            };
            Poll::Ready(self.note(written))
        })
    }

    fn note(&mut self, written: Written) -> Bytes {
        self.exchange.passed(&self.stream.counts());
        if let Some(end) = written.end {
            self.source = None;
            match (end.reason, end.manner) {
                (Reason::Shutdown, Manner::Abort) => self.exchange.cut(),
                (reason, _) => self.exchange.end(reason.into()),
            }
            self.ending = Some(match end.manner {
                Manner::Clean => Ending::Clean,
                Manner::Abort => Ending::Abort(Abort::new(None)),
            });
            if end.manner == Manner::Abort && self.resets {
                self.client.reset_on_close();
            }
        }
        written.bytes
    }
}

/// An [`Output`] made independent of what it borrows.
struct Written {
    bytes: Bytes,
    end: Option<End>,
}

impl Written {
    /// One copy, of exactly the right size: what waits for a slow client pins no more memory than it is long.
    fn of(output: &Output<'_>) -> Self {
        let bytes = [output.held, output.before, output.inserted, output.after].concat();
        Self {
            bytes: bytes.into(),
            end: output.end,
        }
    }
}

impl fmt::Debug for EventStreamBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStreamBody")
            .field("stream", &self.stream)
            .field("ending", &self.ending)
            .finish_non_exhaustive()
    }
}
