//! `upstream.urls` and the keys beside it: which backends a route has, and how its requests are spread over them.

mod check;
mod draft;
mod resolve;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use http::uri::PathAndQuery;

pub(super) use self::check::{check, warn};
pub(super) use self::draft::BalanceDraft;
pub(super) use self::resolve::resolve;
use super::Upstream;
use super::units;
use super::written::{self, Keys};

/// How the requests of a route are spread over its backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    /// The backends. Never empty, and at least one is no backup.
    pub backends: Vec<Backend>,
    /// Which backend gets a request.
    pub policy: Policy,
    /// The statuses, all 5xx, that mean that the backend is unhealthy rather than that the request is wrong.
    pub unhealthy_status: Vec<u16>,
    /// How many requests each backend may have at once.
    pub limit: Option<RequestLimit>,
    /// The active health checks.
    pub health: Option<HealthCheck>,
}

/// How many requests a backend may have at once, event streams among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestLimit {
    /// The most at once.
    pub most: usize,
    /// How long other requests wait for a free backend.
    pub queue_timeout: Duration,
}

/// An active health check of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// Path and query.
    pub path: PathAndQuery,
    /// From one response to the next check.
    pub interval: Duration,
    /// How long a response may take, connecting included.
    pub timeout: Duration,
    /// So many successes in a row make it healthy.
    pub healthy_after: u32,
    /// So many failures in a row make it unhealthy.
    pub unhealthy_after: u32,
}

/// One of several backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Its address.
    pub upstream: Arc<Upstream>,
    /// Its share of the requests, relative to the other backends'.
    pub weight: u32,
    /// It gets requests only while no other backend is available.
    pub backup: bool,
}

/// Which of several backends gets a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// Of two at random, the one with fewer open requests.
    LeastRequests,
    /// One after the other.
    RoundRobin,
    /// The same one for the same value, as long as it is available.
    Hash(HashKey),
}

/// The value that is hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// A header field.
    Header(HeaderName),
    /// A cookie.
    Cookie(String),
    /// The client's address.
    ClientIp,
}

impl Balance {
    /// The default weight.
    pub const WEIGHT: u32 = 1;
}

/// The keys of `upstream` that give this.
pub(super) fn written(balance: &Balance) -> Keys {
    let Balance {
        backends,
        policy,
        unhealthy_status,
        limit,
        health,
    } = balance;
    let url = |backend: &Backend| {
        let Backend {
            upstream,
            weight,
            backup,
        } = backend;
        let url = written::text(&upstream.address);
        match (*weight, *backup) {
            (Balance::WEIGHT, false) => url,
            (weight, backup) => format!("{{ url = {url}, weight = {weight}, backup = {backup} }}"),
        }
    };
    let urls: Vec<_> = backends.iter().map(url).collect();
    let policy = match policy {
        Policy::LeastRequests => "least_requests".to_owned(),
        Policy::RoundRobin => "round_robin".to_owned(),
        Policy::Hash(HashKey::Header(name)) => format!("hash:header:{name}"),
        Policy::Hash(HashKey::Cookie(name)) => format!("hash:cookie:{name}"),
        Policy::Hash(HashKey::ClientIp) => "hash:client_ip".to_owned(),
    };
    let mut keys = vec![
        ("urls", format!("[{}]", urls.join(", "))),
        ("balance", written::text(policy)),
    ];
    if !unhealthy_status.is_empty() {
        keys.push(("unhealthy_status", format!("{unhealthy_status:?}")));
    }
    if let Some(RequestLimit {
        most,
        queue_timeout,
    }) = limit
    {
        keys.push(("max_requests", most.to_string()));
        keys.push(("queue_timeout", duration(*queue_timeout)));
    }
    if let Some(HealthCheck {
        path,
        interval,
        timeout,
        healthy_after,
        unhealthy_after,
    }) = health
    {
        keys.extend([
            ("health.path", written::text(path)),
            ("health.interval", duration(*interval)),
            ("health.timeout", duration(*timeout)),
            ("health.healthy_after", healthy_after.to_string()),
            ("health.unhealthy_after", unhealthy_after.to_string()),
        ]);
    }
    keys
}

fn duration(duration: Duration) -> String {
    written::text(units::written(duration))
}
