//! How the upstreams are doing, by what became of the requests to them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::counters::Shared;
use crate::reason::{Reason, Side};

/// What a request is doing; the label `phase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A connection to the upstream is being made.
    Connecting,
    /// The request is sent, or being sent; there is no response head.
    WaitingForHead,
    /// The body of a response that is no event stream passes.
    Body,
    /// An event stream is open.
    Streaming,
}

/// Who caused a request to an upstream to be cancelled; the label `cause`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The client closed its connection, or took its request back.
    ClientGone,
    /// The client took no bytes for too long.
    ClientStalled,
    /// The client's request broke off, or was malformed.
    ClientError,
    /// The upstream took too long.
    UpstreamTimeout,
    /// The stream had reached its age, rotated, or was ended by an operator.
    Planned,
    /// The sidecar shuts down.
    Shutdown,
}

/// The upstreams by their URLs, as long as anybody has one; all threads share them.
#[derive(Debug, Default)]
pub struct Upstreams(Mutex<BTreeMap<String, Weak<UpstreamStats>>>);

/// How one upstream is doing.
#[derive(Debug, Default)]
pub struct UpstreamStats {
    connects: AtomicU64,
    reuses: AtomicU64,
    failures: Shared<{ Reason::COUNT }>,
    cancels: Shared<{ Cause::ALL.len() * Phase::ALL.len() }>,
    active: AtomicUsize,
    last_failure: Mutex<Option<(Reason, Instant)>>,
}

/// How one upstream was doing at the moment of the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its URL.
    pub url: String,
    /// Connections that were made to it.
    pub connects: u64,
    /// Requests that went out on a connection that was kept open.
    pub reuses: u64,
    /// Requests and streams that it failed.
    pub failures: u64,
    /// The same by the index of the reason.
    pub failures_by_reason: [u64; Reason::COUNT],
    cancels: [u64; Cause::ALL.len() * Phase::ALL.len()],
    /// The last of them, and how long ago it was.
    pub last_failure: Option<(Reason, Duration)>,
    /// Requests that are with it, event streams among them.
    pub active: usize,
}

/// A request that is with an upstream, for as long as this lives.
#[derive(Debug)]
pub struct InFlight(Arc<UpstreamStats>);

impl Phase {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Connecting,
        Self::WaitingForHead,
        Self::Body,
        Self::Streaming,
    ];

    /// The label's value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::WaitingForHead => "waiting_for_head",
            Self::Body => "body",
            Self::Streaming => "streaming",
        }
    }
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::ClientGone,
        Self::ClientStalled,
        Self::ClientError,
        Self::UpstreamTimeout,
        Self::Planned,
        Self::Shutdown,
    ];

    /// Who cancelled a request that ended for `reason`; `None` if nobody did, since its upstream ended it.
    pub fn of(reason: Reason) -> Option<Self> {
        match reason {
            Reason::ClientGone => Some(Self::ClientGone),
            Reason::ClientStalled => Some(Self::ClientStalled),
            Reason::UpstreamHeadTimeout
            | Reason::UpstreamReadTimeout
            | Reason::UpstreamFirstEventTimeout => Some(Self::UpstreamTimeout),
            Reason::Shutdown => Some(Self::Shutdown),
            reason => match reason.side() {
                Side::Client => Some(Self::ClientError),
                Side::Proxy => Some(Self::Planned),
                Side::Upstream | Side::None => None,
            },
        }
    }

    /// The label's value.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientGone => "client_gone",
            Self::ClientStalled => "client_stalled",
            Self::ClientError => "client_error",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::Planned => "planned",
            Self::Shutdown => "shutdown",
        }
    }

    fn index(self, phase: Phase) -> usize {
        self as usize * Phase::ALL.len() + phase as usize
    }
}

impl Report {
    /// How many requests were cancelled while they were in `phase`.
    pub fn cancels(&self, cause: Cause, phase: Phase) -> u64 {
        self.cancels[cause.index(phase)]
    }
}

impl Upstreams {
    /// The upstream at `url`.
    pub fn at(&self, url: &str) -> Arc<UpstreamStats> {
        let mut upstreams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        upstreams.retain(|_, health| health.strong_count() > 0);
        let known = upstreams.entry(url.to_owned()).or_default();
        known.upgrade().unwrap_or_else(|| {
            let health = Arc::default();
            *known = Arc::downgrade(&health);
            health
        })
    }

    /// All of them, by their URLs.
    pub fn report(&self) -> Vec<Report> {
        let upstreams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let report =
            |(url, health): (&String, &Weak<UpstreamStats>)| Some(health.upgrade()?.report(url));
        upstreams.iter().filter_map(report).collect()
    }
}

impl UpstreamStats {
    /// A connection was made.
    pub fn connected(&self) {
        self.connects.fetch_add(1, Ordering::Relaxed);
    }

    /// A request goes out on a connection that was kept open.
    pub fn reused(&self) {
        self.reuses.fetch_add(1, Ordering::Relaxed);
    }

    /// A request goes to it; it is over with the guard.
    pub fn engage(self: &Arc<Self>) -> InFlight {
        self.active.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    fn report(&self, url: &str) -> Report {
        let last = *self.last_failure();
        let failures_by_reason = std::array::from_fn(|index| self.failures.get(index));
        Report {
            url: url.to_owned(),
            connects: self.connects.load(Ordering::Relaxed),
            reuses: self.reuses.load(Ordering::Relaxed),
            failures: failures_by_reason.iter().sum(),
            failures_by_reason,
            cancels: std::array::from_fn(|index| self.cancels.get(index)),
            last_failure: last.map(|(reason, at)| (reason, at.elapsed())),
            active: self.active.load(Ordering::Relaxed),
        }
    }

    fn last_failure(&self) -> std::sync::MutexGuard<'_, Option<(Reason, Instant)>> {
        self.last_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl InFlight {
    /// It is cancelled, because of `cause`, while it is in `phase`.
    pub fn cancelled(&self, cause: Cause, phase: Phase) {
        self.0.cancels.increment(cause.index(phase));
    }

    /// It failed the request, for `reason`.
    pub fn failed(&self, reason: Reason) {
        self.0.failures.increment(reason.index());
        *self.0.last_failure() = Some((reason, Instant::now()));
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_told_apart() {
        let upstreams = Upstreams::default();
        let stats = upstreams.at("http://a");
        stats.reused();
        let request = stats.engage();
        request.cancelled(Cause::Shutdown, Phase::Streaming);
        request.failed(Reason::UpstreamClosed);
        let report = &upstreams.report()[0];
        for cause in Cause::ALL {
            for phase in Phase::ALL {
                let is_it = (cause, phase) == (Cause::Shutdown, Phase::Streaming);
                assert_eq!(report.cancels(cause, phase), u64::from(is_it));
            }
        }
        let index = Reason::UpstreamClosed.index();
        assert_eq!(report.failures_by_reason[index], 1);
        assert_eq!((report.failures, report.reuses, report.active), (1, 1, 1));
    }

    #[test]
    fn only_what_the_upstream_ended_itself_is_not_cancelled() {
        for reason in Reason::ALL {
            let is_upstreams = matches!(reason.side(), Side::Upstream | Side::None);
            let is_timeout = reason.name().ends_with("_timeout");
            let of_connecting = reason == Reason::UpstreamConnectTimeout;
            let is_ended = is_upstreams && (!is_timeout || of_connecting);
            assert_eq!(Cause::of(reason).is_none(), is_ended, "{reason:?}");
        }
    }
}
