//! How the upstreams are doing, by what became of the requests to them.

mod standing;
mod text;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

pub use self::standing::{Fault, Standing};
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

/// The upstreams by their URLs, as long as they are in use; all threads share them.
#[derive(Debug)]
pub struct Upstreams {
    known: Mutex<BTreeMap<String, Weak<UpstreamStats>>>,
    /// Changes whenever the standing of one of them does.
    generation: AtomicU64,
    began: Instant,
    /// Requests that went to another upstream because the first choice failed.
    failovers: AtomicU64,
    /// Requests that wait for a free upstream.
    queued: AtomicI64,
}

/// How one upstream is doing.
#[derive(Debug, Default)]
pub struct UpstreamStats {
    connects: AtomicU64,
    reuses: AtomicU64,
    failures: Shared<{ Reason::COUNT }>,
    cancels: Shared<{ Cause::ALL.len() * Phase::ALL.len() }>,
    active: AtomicUsize,
    requests: AtomicU64,
    last_failure: Mutex<Option<(Reason, Instant)>>,
    /// Whether it is available, if it is one of several.
    pub standing: Standing,
    /// Those to be woken when a request to it ends: it is as busy as it may be.
    waiting: Mutex<Vec<Weak<Notify>>>,
    is_limited: AtomicBool,
    /// The addresses of its name, where each of them counts.
    addresses: Mutex<Vec<IpAddr>>,
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
    /// Requests that were sent to it, or were to be.
    pub requests: u64,
    /// How much longer it stays ejected.
    pub ejected: Option<Duration>,
    /// How often that has happened.
    pub ejections: u64,
    /// Its health check fails.
    pub is_unwell: bool,
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

    /// Who cancelled a request that ended for `reason`; `None` if its upstream ended it.
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
        let mut upstreams = self.known.lock().unwrap_or_else(PoisonError::into_inner);
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
        let upstreams = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        let report =
            |(url, stats): (&String, &Weak<UpstreamStats>)| Some(stats.upgrade()?.report(url, now));
        upstreams.iter().filter_map(report).collect()
    }

    /// The time by which standings are reckoned, in milliseconds: a number that fits an atomic.
    pub fn now(&self) -> u64 {
        let elapsed = Instant::now().saturating_duration_since(self.began);
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }

    /// Differs from before if the standing of any of them has changed.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Counts a request that went to another upstream because the first choice failed.
    pub fn failed_over(&self) {
        self.failovers.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts `more` waiting requests, or fewer if negative.
    pub fn queue(&self, more: i64) {
        self.queued.fetch_add(more, Ordering::Relaxed);
    }

    /// The standing of one of them has changed.
    pub fn changed(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }
}

impl Default for Upstreams {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            generation: AtomicU64::new(1),
            began: Instant::now(),
            failovers: AtomicU64::new(0),
            queued: AtomicI64::new(0),
        }
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
        self.requests.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// Like [`engage`](Self::engage), unless it already has `most` requests.
    pub fn engage_below(self: &Arc<Self>, most: usize) -> Option<InFlight> {
        let one_more = |active| (active < most).then_some(active + 1);
        self.active
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more)
            .ok()?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        Some(InFlight(self.clone()))
    }

    /// Wakes one of `waiting` whenever a request to it ends, as long as the handle exists.
    pub fn wake(&self, waiting: &Arc<Notify>) {
        let mut list = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|known| known.strong_count() > 0);
        list.push(Arc::downgrade(waiting));
        self.is_limited.store(true, Ordering::Release);
    }

    /// The addresses of its name, if they were looked up.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let addresses = self.addresses.lock();
        addresses.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its name has these addresses, in order. Whether that is news.
    pub fn resolved(&self, addresses: Vec<IpAddr>) -> bool {
        let known = self.addresses.lock();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        let is_news = *known != addresses;
        *known = addresses;
        is_news
    }

    /// Requests that are with it, event streams among them.
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    fn report(&self, url: &str, now: u64) -> Report {
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
            requests: self.requests.load(Ordering::Relaxed),
            ejected: self.standing.ejected_for(now),
            ejections: self.standing.ejections(),
            is_unwell: !self.standing.is_well(),
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
        self.0.active.fetch_sub(1, Ordering::AcqRel);
        if self.0.is_limited.load(Ordering::Acquire) {
            let list = self.0.waiting.lock();
            let list = list.unwrap_or_else(PoisonError::into_inner);
            for waiting in list.iter().filter_map(Weak::upgrade) {
                waiting.notify_one();
            }
        }
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
