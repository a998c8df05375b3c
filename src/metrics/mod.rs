//! Metrics: those of requests are counted by route, on the thread that handles them; rare ones, and those of the whole process,
//! here. Labels are enums, and names and URLs of the configuration, never strings off the wire.
//!
//! The life of a stream never counts as request latency: timed are the response head, the first event, and the gap between reads.

mod families;
mod resume;
mod route;
mod text;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

pub use self::resume::{Deduplicated, Eviction, Resume, Resumed};
pub use self::route::RouteCounters;
use crate::counters::{Local, Registry, Shared};
use crate::process;
use crate::reason::Reason;
use crate::upstream_stats::Upstreams;
pub use crate::upstream_stats::{Cause, Phase};

/// What came of reading the configuration again; the label `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// It is active.
    Applied,
    /// It has an error, and the previous one stays active.
    Rejected,
}

/// All metrics of the process.
#[derive(Debug, Default)]
pub struct Metrics {
    routes: Registry<RouteCounters>,
    /// Of requests that have no route.
    requests: Shared<{ route::CLASSES.len() }>,
    /// Of requests that have no route, and of connections.
    refused: Shared<{ Reason::COUNT }>,
    cut: AtomicU64,
    connections_active: AtomicUsize,
    connections_limit: AtomicUsize,
    tls_handshakes_failed: AtomicU64,
    /// The counters of streams that outlive their clients.
    pub resume: Resume,
    /// The counters of each upstream.
    pub upstreams: Upstreams,
    certificates: Mutex<Vec<Certificate>>,
    reloads: Shared<{ Reload::ALL.len() }>,
    reload_rejected: AtomicBool,
    /// In seconds since the Unix epoch.
    reload_success_time: AtomicU64,
}

/// How often something happened for a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Why.
    pub reason: Reason,
    /// How often.
    pub times: u64,
}

/// A certificate that is presented to clients or to an upstream. Times are seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its file, as the configuration names it.
    pub file: String,
    /// Whether a `listener` presents it, or the sidecar to an `upstream`.
    pub owner: &'static str,
    /// The start of its validity.
    pub not_before: i64,
    /// The end of its validity.
    pub not_after: i64,
}

impl Metrics {
    /// All metrics, at zero.
    pub fn new() -> Self {
        let metrics = Self::default();
        metrics.configured();
        metrics
    }

    /// This thread's counters of the route called `name`.
    pub fn route(&self, name: &str) -> Local<RouteCounters> {
        self.routes.local(name)
    }

    /// The sum over all routes, removed ones included.
    pub fn total(&self) -> RouteCounters {
        self.routes.total()
    }

    /// The counters of each route, by name.
    pub fn by_route(&self) -> Vec<(Box<str>, RouteCounters)> {
        self.routes.by_name()
    }

    /// Counts the response to a request without a route.
    pub fn answered(&self, status: http::StatusCode) {
        self.requests.increment(route::class(status));
    }

    /// Counts a connection, or a request without a route, that the sidecar answers itself.
    pub fn refused(&self, reason: Reason) {
        self.refused.increment(reason.index());
    }

    /// How often event streams ended, by reason.
    pub fn stream_ends(&self) -> Vec<Count> {
        let total = self.total();
        let times = |reason: Reason| total.ends[reason.index()].get();
        counts(times)
    }

    /// How often the sidecar answered requests itself, by reason.
    pub fn refusals(&self) -> Vec<Count> {
        let total = self.total();
        let of_routes = |reason: Reason| total.refused[reason.index()].get();
        counts(|reason| of_routes(reason) + self.refused.get(reason.index()))
    }

    /// Counts a response that the shutdown aborts.
    pub fn cut(&self) {
        self.cut.fetch_add(1, Ordering::Relaxed);
    }

    /// How many responses the shutdown has aborted.
    pub fn cuts(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }

    /// Counts a TLS handshake of a client that failed or timed out.
    pub fn tls_handshake_failed(&self) {
        self.tls_handshakes_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets the number of client connections.
    pub fn set_connections(&self, active: usize) {
        self.connections_active.store(active, Ordering::Relaxed);
    }

    /// Sets the limit of client connections.
    pub fn set_connections_limit(&self, limit: usize) {
        self.connections_limit.store(limit, Ordering::Relaxed);
    }

    /// Sets the certificates in use.
    pub fn set_certificates(&self, certificates: Vec<Certificate>) {
        let mut known = self
            .certificates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *known = certificates;
    }

    /// Counts a reload of the configuration.
    pub fn reloaded(&self, reload: Reload) {
        self.reloads.increment(reload as usize);
        match reload {
            Reload::Applied => self.configured(),
            Reload::Rejected => self.reload_rejected.store(true, Ordering::Relaxed),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a timestamp is of the wall clock"
    )]
    fn configured(&self) {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = since_epoch.map_or(0, |time| time.as_secs());
        self.reload_success_time.store(seconds, Ordering::Relaxed);
        self.reload_rejected.store(false, Ordering::Relaxed);
    }

    /// The Prometheus text format, version 0.0.4.
    pub fn text(&self) -> Vec<u8> {
        let mut text = families::text(self);
        text.push_str(&self.upstreams.text());
        text.push_str(&process::metrics());
        text.into_bytes()
    }
}

fn counts(times: impl Fn(Reason) -> u64) -> Vec<Count> {
    let count = |reason: Reason| Count {
        reason,
        times: times(reason),
    };
    Reason::ALL.into_iter().map(count).collect()
}

impl Reload {
    const ALL: [Self; 2] = [Self::Applied, Self::Rejected];

    fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Rejected => "rejected",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(metrics: &Metrics, line: &str) -> bool {
        let text = String::from_utf8(metrics.text()).unwrap();
        text.lines().any(|seen| seen == line)
    }

    #[test]
    fn every_metric_of_a_route_is_there_from_the_start_with_its_help() {
        let metrics = Metrics::new();
        let route = metrics.route("chat");
        let upstream = metrics.upstreams.at("http://a:1");
        route.streams_active.increment();
        for line in [
            "# HELP sse_sidecar_streams_active Open event streams.",
            "# TYPE sse_sidecar_time_to_head_seconds histogram",
            r#"sse_sidecar_streams_active{route="chat"} 1"#,
            r#"sse_sidecar_requests_total{route="chat",status="5xx"} 0"#,
            r#"sse_sidecar_stream_ends_total{reason="client_gone",route="chat",side="client"} 0"#,
            r#"sse_sidecar_refused_total{reason="upstream_head_timeout",route="chat",side="upstream"} 0"#,
            r#"sse_sidecar_refused_total{reason="proxy_header_invalid",side="client"} 0"#,
            r#"sse_sidecar_refused_total{reason="no_route",side="proxy"} 0"#,
            r#"sse_sidecar_stream_ends_total{reason="upstream_head_timeout",route="chat",side="upstream"} 0"#,
            r#"sse_sidecar_upstream_cancels_total{cause="client_gone",phase="streaming",upstream="http://a:1"} 0"#,
            r#"sse_sidecar_upstream_failures_total{reason="upstream_closed",upstream="http://a:1"} 0"#,
            r#"sse_sidecar_time_to_first_event_seconds_bucket{route="chat",le="120"} 0"#,
        ] {
            assert!(
                has(&metrics, line),
                "{line} is not in\n{}",
                String::from_utf8(metrics.text()).unwrap()
            );
        }
        route.streams_active.decrement();
        assert!(has(
            &metrics,
            r#"sse_sidecar_streams_active{route="chat"} 0"#
        ));
        drop((route, upstream));
        let text = String::from_utf8(metrics.text()).unwrap();
        assert!(!text.contains("chat") && !text.contains("http://a:1"));
    }

    #[test]
    fn no_series_is_there_twice_and_families_stand_together() {
        let metrics = Metrics::new();
        let _routes = [metrics.route("any"), metrics.route("POST \"a\\b\"")];
        let _upstream = metrics.upstreams.at("unix:/a b");
        let text = String::from_utf8(metrics.text()).unwrap();
        let mut series = std::collections::HashSet::new();
        let mut families = std::collections::HashSet::new();
        let mut family = "";
        for line in text.lines() {
            if let Some(line) = line.strip_prefix("# TYPE ") {
                family = line.split(' ').next().unwrap();
                assert!(families.insert(family), "{family} is there twice");
            } else if !line.starts_with("# HELP ") {
                let (name, value) = line.rsplit_once(' ').unwrap();
                assert!(value.parse::<f64>().is_ok(), "{line}");
                assert!(name.starts_with(family), "{name} is not of {family}");
                assert!(series.insert(name), "{name} is there twice");
            }
        }
        assert!(text.contains(r#"{route="POST \"a\\b\""} 0"#));
    }

    #[test]
    fn what_was_counted_of_a_route_that_is_gone_is_in_the_total() {
        let metrics = Metrics::new();
        let route = metrics.route("a");
        route.refused(Reason::UpstreamClosed);
        drop(route);
        metrics.refused(Reason::UpstreamClosed);
        let refusals = metrics.refusals();
        let seen = refusals.iter().find(|count| count.times > 0).unwrap();
        assert_eq!((seen.reason, seen.times), (Reason::UpstreamClosed, 2));
        assert!(metrics.by_route().is_empty());
    }
}
