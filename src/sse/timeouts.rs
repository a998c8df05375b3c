//! The timeouts of an open stream, as data: settings and the instants they count from.

use std::time::{Duration, Instant};

use super::end::EndReason;

/// The timeouts of a stream; `None` switches one off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timeouts {
    /// Nothing written to the client: a heartbeat.
    pub heartbeat: Option<Duration>,
    /// No event yet: the stream ends.
    pub first_event: Option<Duration>,
    /// No byte from the upstream: the stream ends.
    pub read: Option<Duration>,
    /// The stream's life: it ends at the next boundary.
    pub total: Option<Duration>,
}

/// The instants that the timeouts of one stream count from.
#[derive(Debug, Clone)]
pub(super) struct Deadlines {
    timeouts: Timeouts,
    opened: Instant,
    last_read: Instant,
    silent_since: Instant,
    /// Why the stream ends when `timeouts.total` has expired.
    end_of_life: EndReason,
}

impl Deadlines {
    pub(super) fn new(timeouts: Timeouts, opened: Instant) -> Self {
        Self {
            timeouts,
            opened,
            last_read: opened,
            silent_since: opened,
            end_of_life: EndReason::Total,
        }
    }

    /// The stream's life is over at `at`, for `reason`, unless it is sooner.
    pub(super) fn shorten_life(&mut self, at: Instant, reason: EndReason) {
        let life = at.saturating_duration_since(self.opened);
        if self.timeouts.total.is_none_or(|total| life < total) {
            self.timeouts.total = Some(life);
            self.end_of_life = reason;
        }
    }

    pub(super) fn read_at(&mut self, now: Instant) {
        self.last_read = now;
    }

    pub(super) fn silent_since(&mut self, now: Instant) {
        self.silent_since = now;
    }

    /// The upstream's head is here only `now`: its timeouts count from it.
    pub(super) fn head_at(&mut self, now: Instant) {
        let waited = now.saturating_duration_since(self.opened);
        let first_event = self.timeouts.first_event;
        self.timeouts.first_event = first_event.map(|timeout| timeout.saturating_add(waited));
        self.last_read = now;
    }

    /// The first heartbeat is due at once.
    pub(super) fn beat_at_once(&mut self) {
        let interval = self.timeouts.heartbeat.unwrap_or_default();
        self.silent_since = self
            .opened
            .checked_sub(interval)
            .unwrap_or(self.silent_since);
    }

    pub(super) fn opened(&self) -> Instant {
        self.opened
    }

    pub(super) fn last_read(&self) -> Instant {
        self.last_read
    }

    pub(super) fn heartbeat(&self) -> Option<Instant> {
        self.silent_since.checked_add(self.timeouts.heartbeat?)
    }

    pub(super) fn first_event(&self) -> Option<Instant> {
        self.opened.checked_add(self.timeouts.first_event?)
    }

    pub(super) fn read(&self) -> Option<Instant> {
        self.last_read.checked_add(self.timeouts.read?)
    }

    /// When the stream's life is over.
    pub(super) fn total(&self) -> Option<Instant> {
        self.opened.checked_add(self.timeouts.total?)
    }

    /// Why it is.
    pub(super) fn end_of_life(&self) -> EndReason {
        self.end_of_life
    }
}
