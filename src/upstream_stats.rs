//! How the upstreams are doing, by what became of the requests to them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::reason::Reason;

/// The upstreams by their URLs, as long as anybody has one; all threads share them.
#[derive(Debug, Default)]
pub struct Upstreams(Mutex<BTreeMap<String, Weak<UpstreamStats>>>);

/// How one upstream is doing.
#[derive(Debug, Default)]
pub struct UpstreamStats {
    connects: AtomicU64,
    failures: AtomicU64,
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
    /// Requests and streams that it failed.
    pub failures: u64,
    /// The last of them, and how long ago it was.
    pub last_failure: Option<(Reason, Duration)>,
    /// Requests that are with it, event streams among them.
    pub active: usize,
}

/// A request that is with an upstream, for as long as this lives.
#[derive(Debug)]
pub struct InFlight(Arc<UpstreamStats>);

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

    /// A request goes to it; it is over with the guard.
    pub fn engage(self: &Arc<Self>) -> InFlight {
        self.active.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    fn report(&self, url: &str) -> Report {
        let last = *self.last_failure();
        Report {
            url: url.to_owned(),
            connects: self.connects.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
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
    /// It failed the request, for `reason`.
    pub fn failed(&self, reason: Reason) {
        self.0.failures.fetch_add(1, Ordering::Relaxed);
        *self.0.last_failure() = Some((reason, Instant::now()));
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}
