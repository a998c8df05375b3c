//! The driver of [`sse::EventStream`](EventStream): reads its upstream, keeps its one timer, ends its exchange. Its output goes to
//! a [`Sink`].

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http::StatusCode;
use tokio::time::Instant;

use crate::alarm::{Alarm, anywhere_in};
use crate::client::Downstream;
use crate::exchange::Exchange;
use crate::reason::Reason;
use crate::sending::Remainder;
use crate::sse::{
    Client, End, EndReason, EventStream, Failure, FailureEvent, Manner, Output, UpstreamEnd,
};

/// Where the bytes of an event stream come from, decoded and without framing. Dropping it cancels the upstream's request.
pub trait EventSource: fmt::Debug {
    /// Reads what has arrived, as far as it fits. Never `Ok(0)`.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, UpstreamEnd>>;

    /// Nothing can be passed on now, because the client takes nothing. What has arrived may be kept in a smaller form meanwhile. Ready
    /// if the stream ends although there may be bytes that have not been read.
    fn park(&mut self, _: &mut Context<'_>) -> Poll<UpstreamEnd> {
        Poll::Pending
    }

    /// The client's stream has ended like this, and not because its upstream's did.
    fn dismiss(&mut self, _: End) {}

    /// The rest of the request, once the stream has ended.
    fn take_remainder(&mut self) -> Option<Remainder> {
        None
    }
}

/// What the upstream of a stream that is ahead of it says at last. Dropping it cancels the upstream's request.
pub type LateAnswer = Pin<Box<dyn Future<Output = Late>>>;

/// The upstream's response to a request whose client already has the head of an event stream.
#[derive(Debug)]
pub struct Late {
    /// When its head came, if one did.
    pub head: Option<Instant>,
    /// The event stream that it has begun, with its status; or why there is none.
    pub outcome: Result<(StatusCode, Box<dyn EventSource>), NoEventStream>,
    /// The event that reports a failure to the client, this one or a later one.
    pub failure: FailureEvent,
}

/// Why there is no event stream after an early head.
#[derive(Debug)]
pub struct NoEventStream {
    /// Why.
    pub reason: Reason,
    /// What is reported to the client.
    pub failure: Failure,
}

/// Writes to the client.
pub(super) trait Sink {
    /// A read as it is: the bytes of `buffer` at `place`, with [`FRONT`] bytes before and [`BACK`] bytes after them that may be
    /// overwritten.
    fn whole(&mut self, buffer: &mut [u8], place: Range<usize>);

    /// Anything else, in order.
    fn parts(&mut self, parts: [&[u8]; 4]);
}

/// An event stream between its upstream and its client.
pub struct EventFlow {
    stream: EventStream,
    upstream: UpstreamState,
    client: Rc<dyn Downstream>,
    exchange: Exchange,
    alarm: Alarm,
    /// The stream ends when the process drains, at a moment still to be chosen.
    rotates: bool,
}

/// Streams rotate in this part of the rest of a drain. What remains is for those that are in the middle of an event by then.
const ROTATION: f64 = 0.8;

/// The state of the upstream.
enum UpstreamState {
    /// Its head has not arrived yet.
    Thinking(LateAnswer),
    /// Its event stream is open.
    Speaking(Box<dyn EventSource>),
    /// The stream has ended: the upstream is cancelled at once, not when the client has read the rest.
    Dismissed,
}

/// The most that is read, and so written, at once.
const READ_SIZE: usize = 32 * 1024;
/// Room for a chunk's size.
pub(super) const FRONT: usize = 8;
/// Room for a chunk's end.
pub(super) const BACK: usize = 2;

thread_local! {
    /// A read is forwarded before the next stream reads: all streams of a thread share one buffer.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; FRONT + READ_SIZE + BACK].into());
}

impl EventFlow {
    /// The stream that `source` feeds and `client` reads.
    pub fn new(
        stream: EventStream,
        source: Box<dyn EventSource>,
        client: Rc<dyn Downstream>,
        exchange: Exchange,
    ) -> Self {
        let upstream = UpstreamState::Speaking(source);
        Self::with(stream, upstream, client, exchange)
    }

    /// The stream that `client` reads before its upstream has answered; `stream` is [ahead](EventStream::ahead).
    pub fn ahead(
        stream: EventStream,
        answer: LateAnswer,
        client: Rc<dyn Downstream>,
        exchange: Exchange,
    ) -> Self {
        Self::with(stream, UpstreamState::Thinking(answer), client, exchange)
    }

    fn with(
        stream: EventStream,
        upstream: UpstreamState,
        client: Rc<dyn Downstream>,
        exchange: Exchange,
    ) -> Self {
        Self {
            stream,
            upstream,
            client,
            exchange,
            alarm: Alarm::default(),
            rotates: false,
        }
    }

    /// The same stream, but ended when the process drains, so that its client goes elsewhere.
    #[must_use]
    pub fn rotating(mut self) -> Self {
        self.rotates = true;
        self
    }

    /// Whom it flows to.
    pub(super) fn client(&self) -> &Rc<dyn Downstream> {
        &self.client
    }

    /// Ready when something went to `sink`, or the stream has ended; it is not to be polled after that.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, sink: &mut impl Sink) -> Poll<Option<End>> {
        if self.client.is_cut() {
            let end = pass(&self.stream.handle_shutdown(), sink);
            return Poll::Ready(self.note(end));
        }
        if self.rotates
            && let Some(until) = self.client.drains_until()
        {
            self.choose_moment(until);
        }
        if self.exchange.is_to_end() {
            let end = pass(&self.stream.handle_planned_end(EndReason::Operator), sink);
            if end.is_some() {
                return Poll::Ready(self.note(end));
            }
        }
        // Also for a stalled client: the upstream's timeouts continue meanwhile.
        if matches!(self.upstream, UpstreamState::Thinking(_))
            && let Poll::Ready(Some(end)) = self.poll_answer(cx, sink)
        {
            return Poll::Ready(Some(end));
        }
        // Data wins over a timeout that expired meanwhile. While the client accepts nothing, nothing is read for it.
        let stalled = self.client.is_stalled();
        if !stalled && let Poll::Ready(end) = self.poll_source(cx, sink) {
            return Poll::Ready(end);
        }
        if stalled
            && let UpstreamState::Speaking(source) = &mut self.upstream
            && let Poll::Ready(end) = source.park(cx)
        {
            let end = pass(&self.stream.handle_end(end), sink);
            return Poll::Ready(self.note(end));
        }
        while let Some(at) = self.stream.poll_timeout() {
            ready!(self.alarm.poll(cx, Instant::from_std(at)));
            let client = if stalled {
                Client::Stalled
            } else {
                Client::Taking
            };
            let now = Instant::now().into_std();
            let output = self.stream.handle_timeout(now, client);
            let is_empty = output == Output::default();
            let end = pass(&output, sink);
            let end = self.note(end);
            if self.stream.is_ending() {
                self.exchange.ending();
            }
            if !is_empty {
                return Poll::Ready(end);
            }
        }
        Poll::Pending
    }

    /// The process drains until `until`: the stream is to end before.
    #[cold]
    fn choose_moment(&mut self, until: Instant) {
        self.rotates = false;
        let now = Instant::now();
        let window = until.saturating_duration_since(now).mul_f64(ROTATION);
        let moment = now + anywhere_in(window);
        self.stream.handle_drain(moment.into_std());
    }

    /// Ready when the upstream of a stream that was ahead has answered; with an end if it has no event stream to give.
    #[cold]
    fn poll_answer(&mut self, cx: &mut Context<'_>, sink: &mut impl Sink) -> Poll<Option<End>> {
        let UpstreamState::Thinking(answer) = &mut self.upstream else {
            return Poll::Pending;
        };
        let Late {
            head,
            outcome,
            failure: event,
        } = ready!(answer.as_mut().poll(cx));
        if let Some(head) = head {
            self.exchange.late_head(head);
        }
        match outcome {
            Ok((status, source)) => {
                self.exchange.open_stream(status, false);
                self.stream.handle_head(Instant::now().into_std(), event);
                self.upstream = UpstreamState::Speaking(source);
                Poll::Ready(None)
            }
            Err(NoEventStream { reason, failure }) => {
                let end = pass(&self.stream.handle_refusal(&failure, &event), sink);
                self.exchange.fail(reason, failure.detail.as_deref());
                Poll::Ready(self.note(end))
            }
        }
    }

    fn poll_source(&mut self, cx: &mut Context<'_>, sink: &mut impl Sink) -> Poll<Option<End>> {
        BUFFER.with_borrow_mut(|buffer| {
            let UpstreamState::Speaking(source) = &mut self.upstream else {
                return Poll::Pending;
            };
            let read = ready!(source.poll_read(cx, &mut buffer[FRONT..FRONT + READ_SIZE]));
            let now = Instant::now();
            let length = match read {
                Ok(length) => length,
                Err(end) => {
                    if let Some(remainder) = source.take_remainder() {
                        self.client.outlive(remainder);
                    }
                    let end = pass(&self.stream.handle_end(end), sink);
                    return Poll::Ready(self.note(end));
                }
            };
            let place = FRONT..FRONT + length;
            let silence = now.into_std() - self.stream.last_read();
            let output = self
                .stream
                .handle_data(now.into_std(), &buffer[place.clone()]);
            let end = output.end;
            if output.before.len() == length && output.held.is_empty() && output.inserted.is_empty()
            {
                sink.whole(buffer, place);
            } else {
                pass(&output, sink);
            }
            self.exchange.read(now, silence, &self.stream.counts());
            Poll::Ready(self.note(end))
        })
    }

    fn note(&mut self, end: Option<End>) -> Option<End> {
        self.exchange.passed(&self.stream.counts());
        let ended = end?;
        if let UpstreamState::Speaking(source) = &mut self.upstream {
            source.dismiss(ended);
        }
        self.upstream = UpstreamState::Dismissed;
        match (ended.reason, ended.manner) {
            (EndReason::Shutdown, Manner::Abort) => self.exchange.cut(),
            (reason, _) => self.exchange.end(reason.into()),
        }
        end
    }
}

fn pass(output: &Output<'_>, sink: &mut impl Sink) -> Option<End> {
    let parts = [output.held, output.before, output.inserted, output.after];
    if parts.iter().any(|part| !part.is_empty()) {
        sink.parts(parts);
    }
    output.end
}

impl fmt::Debug for EventFlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventFlow")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}
