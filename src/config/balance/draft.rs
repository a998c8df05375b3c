//! The keys as a table has them, each read on its own.

use std::time::Duration;

use http::HeaderName;
use http::uri::PathAndQuery;

use super::{Balance, HashKey, HealthCheck, Policy};
use crate::config::UpstreamAddress;
use crate::config::address::upstream_address;
use crate::config::file::{Item, Table, Value};
use crate::config::problem::Mistake;
use crate::config::value::{self, boolean, text};

/// The largest weight.
const MOST_WEIGHT: u32 = 100;

const MOST_REQUESTS: usize = 1_000_000;

const MOST_CHECKS: u32 = 100;

/// The keys of one `upstream` table.
#[derive(Debug, Default)]
pub(in crate::config) struct BalanceDraft {
    /// The valid ones of `urls`.
    pub(in crate::config) backends: Vec<BackendDraft>,
    /// `urls` is an empty list.
    pub(super) names_none: bool,
    pub(super) policy: Option<Policy>,
    pub(super) unhealthy_status: Option<Vec<u16>>,
    pub(super) max_requests: Option<MaxRequests>,
    pub(super) queue_timeout: Option<Duration>,
    pub(super) health: HealthDraft,
}

/// One element of `urls`.
#[derive(Debug)]
pub(in crate::config) struct BackendDraft {
    /// The key to name where its address is wrong.
    pub(in crate::config) key: String,
    pub(in crate::config) address: UpstreamAddress,
    pub(super) weight: u32,
    pub(super) backup: bool,
}

/// `upstream.max_requests`.
#[derive(Debug, Clone, Copy)]
pub(super) enum MaxRequests {
    Off,
    Most(usize),
}

/// `upstream.health`.
#[derive(Debug, Clone)]
pub(super) struct HealthDraft {
    pub(super) is_given: bool,
    pub(super) path: Option<PathAndQuery>,
    interval: Duration,
    timeout: Duration,
    healthy_after: u32,
    unhealthy_after: u32,
}

impl BalanceDraft {
    /// Reads the keys of an `upstream` table.
    pub(in crate::config) fn read(table: &mut Table<'_>) -> Self {
        let mut draft = Self::default();
        if table.has("url") {
            let mistake = Mistake::new("`url` names the backend already")
                .help("leave out one of `url` and `urls`");
            table.refuse("urls", &mistake);
        } else {
            let mut backends = Vec::new();
            let count = table.items("urls", "a URL or a table", |item| match item {
                Item::Value(key, Value::String(url)) => {
                    let address = upstream_address(url)?;
                    backends.push(BackendDraft::new(key.to_owned(), address));
                    Ok(())
                }
                Item::Value(_, other) => Err(Mistake::new(format!(
                    "expected a URL or a table, found {other}"
                ))
                .help("write `\"http://host:port\"`, or `{ url = \"…\", weight = 2 }`")),
                Item::Table(table) => {
                    backends.extend(BackendDraft::read(table));
                    Ok(())
                }
            });
            draft.names_none = count == Some(0);
            draft.backends = backends;
        }
        table.set("balance", &mut draft.policy, text(policy));
        let mut statuses = Vec::new();
        table.items("unhealthy_status", "a status", |item| match item {
            Item::Value(_, value) => {
                statuses.push(unhealthy_status(value)?);
                Ok(())
            }
            Item::Table(_) => {
                Err(Mistake::new("expected a status, found a table")
                    .help("write such as `[502, 503]`"))
            }
        });
        if table.has("unhealthy_status") {
            statuses.sort_unstable();
            statuses.dedup();
            draft.unhealthy_status = Some(statuses);
        }
        table.set("max_requests", &mut draft.max_requests, |value| {
            max_requests(value).map(Some)
        });
        table.set("queue_timeout", &mut draft.queue_timeout, |value| {
            time(value).map(Some)
        });
        draft.health.is_given = table.has("health");
        table.table("health", |table| draft.health.read(table));
        draft
    }

    /// Whether any key but the backends has an effect.
    pub(super) fn is_given(&self) -> bool {
        let Self {
            backends: _,
            names_none: _,
            policy,
            unhealthy_status,
            max_requests,
            queue_timeout: _, // of no use without the limit
            health,
        } = self;
        let is_any = |statuses: &Vec<u16>| !statuses.is_empty();
        policy.is_some()
            || unhealthy_status.as_ref().is_some_and(is_any)
            || max_requests.and_then(MaxRequests::limit).is_some()
            || health.path.is_some()
    }
}

impl MaxRequests {
    pub(super) fn limit(self) -> Option<usize> {
        match self {
            Self::Off => None,
            Self::Most(most) => Some(most),
        }
    }
}

impl BackendDraft {
    fn new(key: String, address: UpstreamAddress) -> Self {
        Self {
            key,
            address,
            weight: Balance::WEIGHT,
            backup: false,
        }
    }

    fn read(table: &mut Table<'_>) -> Option<Self> {
        let mut address = None;
        let (mut weight, mut backup) = (Balance::WEIGHT, false);
        if !table.has("url") {
            let mistake = Mistake::new("missing, so this is no backend")
                .help("write `{ url = \"http://host:port\" }`");
            table.missing("url", &mistake);
        }
        table.set("url", &mut address, text(upstream_address));
        table.set("weight", &mut weight, |value| {
            value::number(value, 1..=MOST_WEIGHT)
        });
        table.set("backup", &mut backup, boolean);
        Some(Self {
            weight,
            backup,
            ..Self::new(table.join("url"), address?)
        })
    }
}

impl HealthDraft {
    fn read(&mut self, table: &mut Table<'_>) {
        let Self {
            is_given: _,
            path,
            interval,
            timeout,
            healthy_after,
            unhealthy_after,
        } = self;
        let count = |value: Value<'_>| value::number(value, 1..=MOST_CHECKS);
        table.set("path", path, text(health_path));
        table.set("interval", interval, time);
        table.set("timeout", timeout, time);
        table.set("healthy_after", healthy_after, count);
        table.set("unhealthy_after", unhealthy_after, count);
    }

    pub(super) fn check(&self) -> Option<HealthCheck> {
        Some(HealthCheck {
            path: self.path.clone()?,
            interval: self.interval,
            timeout: self.timeout,
            healthy_after: self.healthy_after,
            unhealthy_after: self.unhealthy_after,
        })
    }
}

impl Default for HealthDraft {
    fn default() -> Self {
        Self {
            is_given: false,
            path: None,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            healthy_after: 2,
            unhealthy_after: 3,
        }
    }
}

/// `upstream.balance`.
fn policy(text: &str) -> Result<Policy, Mistake> {
    let help = "write `\"least_requests\"`, `\"round_robin\"`, `\"hash:header:NAME\"`, `\"hash:cookie:NAME\"` or \
                `\"hash:client_ip\"`";
    let unknown = || Mistake::new(format!("unknown value `{text}`")).help(help);
    match text {
        "least_requests" => return Ok(Policy::LeastRequests),
        "round_robin" => return Ok(Policy::RoundRobin),
        "hash:client_ip" => return Ok(Policy::Hash(HashKey::ClientIp)),
        _ => {}
    }
    if let Some(name) = text.strip_prefix("hash:header:") {
        let name = HeaderName::try_from(name).map_err(|_| {
            Mistake::new(format!("`{name}` is not the name of a header field"))
                .help("write such as `\"hash:header:X-Session\"`")
        })?;
        return Ok(Policy::Hash(HashKey::Header(name)));
    }
    if let Some(name) = text.strip_prefix("hash:cookie:") {
        // A cookie's name is a token as a field's is (RFC 6265, section 4.1.1), but its case counts.
        if HeaderName::try_from(name).is_err() {
            return Err(
                Mistake::new(format!("`{name}` is not the name of a cookie"))
                    .help("write such as `\"hash:cookie:session\"`"),
            );
        }
        return Ok(Policy::Hash(HashKey::Cookie(name.to_owned())));
    }
    Err(unknown())
}

/// `upstream.max_requests`: a number, or `"off"`.
fn max_requests(value: Value<'_>) -> Result<MaxRequests, Mistake> {
    match value {
        Value::String("off") => Ok(MaxRequests::Off),
        value => value::number(value, 1..=MOST_REQUESTS).map(MaxRequests::Most),
    }
}

/// A duration that cannot be off.
fn time(value: Value<'_>) -> Result<Duration, Mistake> {
    let off = || Mistake::new("this cannot be off").help("write a duration, such as `\"5s\"`");
    value::timeout(value)?.ok_or_else(off)
}

/// `upstream.health.path`.
fn health_path(text: &str) -> Result<Option<PathAndQuery>, Mistake> {
    let path = text.parse().ok().filter(|_| text.starts_with('/'));
    let none = || {
        Mistake::new(format!("`{text}` is not a path"))
            .help("write such as `\"/healthz\"`, with a slash in front")
    };
    path.ok_or_else(none).map(Some)
}

/// One element of `upstream.unhealthy_status`.
fn unhealthy_status(value: Value<'_>) -> Result<u16, Mistake> {
    value::number(value, 500..=599)
}
