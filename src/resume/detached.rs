//! [`Detached`]: reads the upstream of a stream whose first client has left.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::kept::KeptStream;
use super::local::LocalStreams;
use crate::alarm::Alarm;
use crate::body::EventSource;
use crate::exchange::Progress;
use crate::metrics::{Cause, Phase};
use crate::reason::{Reason, Side};
use crate::sse::{EndReason, UpstreamEnd};
use crate::upstream_stats::InFlight;

/// A future that is ready when the upstream's part of the stream is over. Dropping it cancels the upstream's request.
pub(super) struct Detached {
    stream: Arc<KeptStream>,
    source: Option<Box<dyn EventSource>>,
    local: Rc<LocalStreams>,
    /// Of its life.
    total: Option<Duration>,
    /// It is to end at the next boundary, for its life is over.
    is_ending: bool,
    opened: Instant,
    last_read: Instant,
    alarm: Alarm,
    in_flight: Option<InFlight>,
    buffer: Box<[u8]>,
    /// What came while nobody read it.
    events: u64,
}

/// What its client leaves behind.
#[derive(Debug)]
pub struct Left {
    opened: Instant,
    last_read: Instant,
    in_flight: Option<InFlight>,
}

impl Left {
    /// Of a request that goes on without its client.
    pub fn of(progress: &Progress) -> Self {
        Self {
            opened: progress.opened().unwrap_or_else(Instant::now),
            last_read: progress.last_read(),
            in_flight: progress.take_in_flight(),
        }
    }

    /// The upstream has answered only now.
    #[must_use]
    pub fn answered(self) -> Self {
        let now = Instant::now();
        Self {
            opened: now,
            last_read: now,
            ..self
        }
    }
}

const READ_SIZE: usize = 16 * 1024;

impl Detached {
    pub(super) fn new(
        stream: Arc<KeptStream>,
        source: Box<dyn EventSource>,
        local: &Rc<LocalStreams>,
        left: Left,
    ) -> Self {
        Self {
            events: stream.size().0,
            source: Some(source),
            local: local.clone(),
            total: stream.origin().settings.timeouts.total,
            is_ending: false,
            opened: left.opened,
            last_read: left.last_read,
            alarm: Alarm::default(),
            in_flight: left.in_flight,
            buffer: Box::default(),
            stream,
        }
    }

    pub(super) fn stream(&self) -> &Arc<KeptStream> {
        &self.stream
    }

    /// The next moment at which there is something to do, and what.
    fn deadline(
        &self,
        unread_since: Option<Instant>,
        has_event: bool,
    ) -> Option<(Instant, EndReason)> {
        let after = |since: Instant, timeout: Option<Duration>, reason| {
            Some((since.checked_add(timeout?)?, reason))
        };
        let settings = &self.stream.origin().settings;
        let first_event = settings.timeouts.first_event.filter(|_| !has_event);
        let grace = settings.resume.grace;
        let grace = unread_since.and_then(|since| after(since, grace, EndReason::GraceOver));
        [
            grace,
            after(self.opened, first_event, EndReason::FirstEventTimeout),
            after(
                self.last_read,
                settings.timeouts.read,
                EndReason::ReadTimeout,
            ),
            after(self.opened, self.total, EndReason::Total),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<UpstreamEnd> {
        loop {
            let (unread_since, has_event, is_full, is_whole) = {
                let mut state = self.stream.lock();
                state.drive(cx);
                if let Some(reason) = state.stop {
                    return Poll::Ready(UpstreamEnd::Judged(reason));
                }
                let most = self.stream.origin().settings.resume.history;
                let newest = state.history.newest();
                if state.unread_since.is_some() {
                    let more = newest.saturating_sub(self.events);
                    self.local.streams().unread_events(more);
                }
                self.events = newest;
                (
                    state.unread_since,
                    newest > 0,
                    state.is_full(most),
                    state.history.is_at_boundary(),
                )
            };
            // Half an event is still completed, within its other timeouts.
            if self.is_ending && is_whole {
                return Poll::Ready(UpstreamEnd::Judged(EndReason::Total));
            }
            if let Some(reason) = self.local.verdict(&self.stream) {
                return Poll::Ready(UpstreamEnd::Judged(reason));
            }
            // Data wins over a timeout that ran out meanwhile.
            if let Some(source) = self.source.as_mut().filter(|_| !is_full) {
                if self.buffer.is_empty() {
                    self.buffer = vec![0; READ_SIZE].into();
                }
                match source.poll_read(cx, &mut self.buffer) {
                    Poll::Ready(Ok(length)) => {
                        self.last_read = Instant::now();
                        drop(self.stream.append(&self.buffer[..length], None));
                        continue;
                    }
                    Poll::Ready(Err(end)) => return Poll::Ready(end),
                    Poll::Pending => self.buffer = Box::default(), // a silent stream holds no buffer
                }
            } else {
                self.last_read = Instant::now(); // it is not the upstream that is silent
            }
            let Some((at, reason)) = self.deadline(unread_since, has_event) else {
                return Poll::Pending;
            };
            if self.alarm.poll(cx, at).is_pending() {
                return Poll::Pending;
            }
            if reason != EndReason::Total {
                return Poll::Ready(UpstreamEnd::Judged(reason));
            }
            self.total = None;
            self.is_ending = true;
        }
    }

    fn finish(&mut self, end: UpstreamEnd) {
        let why = match end {
            UpstreamEnd::Judged(reason) => Reason::from(reason),
            UpstreamEnd::Finished => Reason::Complete,
            UpstreamEnd::ShortOfLength | UpstreamEnd::WithoutLastChunk => Reason::UpstreamClosed,
            UpstreamEnd::Failed => Reason::UpstreamFailed,
        };
        if let Some(in_flight) = self.in_flight.take() {
            if let Some(cause) = Cause::of(why) {
                in_flight.cancelled(cause, Phase::Streaming);
            }
            if why.side() == Side::Upstream {
                in_flight.failed(why);
            }
        }
        let remainder = self
            .source
            .as_mut()
            .and_then(|source| source.take_remainder());
        drop((self.source.take(), remainder));
        let (events, _, readers) = self.stream.size();
        let origin = self.stream.origin();
        tracing::info!(
            reason = why.name(),
            side = why.side().name(),
            route = &*origin.route_info.route,
            upstream = &*origin.route_info.upstream,
            method = origin.method.as_str(),
            path = &*origin.path,
            events,
            readers,
            duration_ms = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX),
            "detached stream ended"
        );
        self.local.ended(&self.stream, end);
    }
}

impl Future for Detached {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let detached = &mut *self;
        detached.poll_end(cx).map(|end| detached.finish(end))
    }
}

impl fmt::Debug for Detached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detached")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}
