//! `upstream.urls` and what is said beside it: which backends a route has, and how its requests are spread over them.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use http::uri::PathAndQuery;

use super::address::upstream_address;
use super::draft::Target;
use super::file::{Item, Report, Table, Value};
use super::problem::Mistake;
use super::value::{boolean, text};
use super::written::{self, Keys};
use super::{Scheme, Upstream, UpstreamAddress, tls, units, value};

/// How the requests of a route are spread over its backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    /// The backends. Never empty, and not all of them are for when the others fail.
    pub backends: Vec<Backend>,
    /// Who is asked.
    pub policy: Policy,
    /// The statuses, all of them 5xx, that speak of the backend rather than of the request.
    pub unhealthy_status: Vec<u16>,
    /// How many requests each may have at once.
    pub limit: Option<RequestLimit>,
    /// What they are asked, to see whether they are well.
    pub health: Option<HealthCheck>,
}

/// How many requests a backend may have at once, event streams among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestLimit {
    /// So many.
    pub most: usize,
    /// How long others wait for their turn.
    pub queue_timeout: Duration,
}

/// What a backend is asked again and again, to see whether it is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// Path and query.
    pub path: PathAndQuery,
    /// From one answer to the next question.
    pub interval: Duration,
    /// How long an answer may take, connecting included.
    pub timeout: Duration,
    /// After so many good answers in a row it is well again.
    pub healthy_after: u32,
    /// After so many bad ones it is not.
    pub unhealthy_after: u32,
}

/// One of several backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Where it is.
    pub upstream: Arc<Upstream>,
    /// Its share, in comparison with the others'.
    pub weight: u32,
    /// It is only asked while none of the others is there.
    pub backup: bool,
}

/// Who of several backends is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// The one with fewer requests of two that are drawn.
    LeastRequests,
    /// Each in its turn.
    RoundRobin,
    /// Always the same one for the same value, as long as it is there.
    Hash(HashKey),
}

/// What a hash goes by.
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
    /// The share of a backend unless its weight is set.
    pub const WEIGHT: u32 = 1;
}

/// The heaviest backend, in comparison with the lightest.
const MOST_WEIGHT: u32 = 100;
/// More backends than anybody has behind one route.
const MOST_BACKENDS: usize = 1000;

/// What a table says of it.
#[derive(Debug, Default)]
pub(super) struct BalanceDraft {
    /// Those of `urls` without a mistake.
    pub(super) backends: Vec<BackendDraft>,
    /// There are `urls`, and nothing in them.
    names_none: bool,
    policy: Option<Policy>,
    unhealthy_status: Option<Vec<u16>>,
    max_requests: Option<MaxRequests>,
    queue_timeout: Option<Duration>,
    health: HealthDraft,
}

/// What `upstream.max_requests` says.
#[derive(Debug, Clone, Copy)]
enum MaxRequests {
    Off,
    Most(usize),
}

impl MaxRequests {
    fn limit(self) -> Option<usize> {
        match self {
            Self::Off => None,
            Self::Most(most) => Some(most),
        }
    }
}

/// `upstream.health`.
#[derive(Debug, Clone)]
struct HealthDraft {
    is_given: bool,
    path: Option<PathAndQuery>,
    interval: Duration,
    timeout: Duration,
    healthy_after: u32,
    unhealthy_after: u32,
}

/// How long a request waits for a backend that is not too busy: as long as people wait for a page.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(10);
const MOST_REQUESTS: usize = 1_000_000;
const MOST_CHECKS: u32 = 100;

/// One element of `urls`.
#[derive(Debug)]
pub(super) struct BackendDraft {
    /// Whom to blame for its address.
    pub(super) key: String,
    pub(super) address: UpstreamAddress,
    weight: u32,
    backup: bool,
}

impl BalanceDraft {
    /// Reads the keys of an `upstream` table.
    pub(super) fn read(table: &mut Table<'_>) -> Self {
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

    /// Whether anything but the backends is said.
    fn is_given(&self) -> bool {
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

    fn check(&self) -> Option<HealthCheck> {
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

/// Reports what does not go together.
pub(super) fn check(target: &Target, report: &mut Report) {
    let backends = &target.balance.backends;
    let key = target.urls_key();
    if target.balance.names_none {
        let mistake = Mistake::new("names no backend")
            .help("write `urls = [\"http://host:port\", \"http://other:port\"]`");
        report.error(&key, &mistake);
    }
    if backends.len() > MOST_BACKENDS {
        let what = format!("{} backends are too many", backends.len());
        let mistake = Mistake::new(what).help(format!("name at most {MOST_BACKENDS}"));
        report.error(&key, &mistake);
    }
    if !backends.is_empty() && backends.iter().all(|backend| backend.backup) {
        let mistake = Mistake::new("every backend is a backup, so there is none to back up")
            .help("leave out `backup` at the ones that are to be asked first");
        report.error(&key, &mistake);
    }
    let mut seen = HashSet::new();
    for backend in backends {
        if !seen.insert(&backend.address) {
            let mistake = Mistake::new(format!("`{}` is named twice", backend.address))
                .help("name it once, with `weight = 2`");
            report.error(&backend.key, &mistake);
        }
    }
    // What a request may be, such as a WebSocket, is known before its backend is.
    let is_http2 = |backend: &BackendDraft| backend.address.scheme() == Scheme::H2c;
    if let Some(first) = backends.first()
        && let Some(other) = backends
            .iter()
            .find(|other| is_http2(other) != is_http2(first))
    {
        let mistake = Mistake::new(format!(
            "`{}` and `{}` do not speak the same protocol",
            first.address, other.address
        ))
        .help("name only `h2c` backends here, or none");
        report.error(&other.key, &mistake);
    }
}

/// Warns of what does nothing.
pub(super) fn warn(target: &Target, report: &mut Report) {
    let draft = &target.balance;
    let base = target.key.rsplit_once('.').map_or("", |(base, _)| base);
    if draft.health.is_given && draft.health.path.is_none() {
        let mistake = Mistake::new("without a path nothing is checked")
            .help("write such as `health.path = \"/healthz\"`");
        report.warning(&format!("{base}.health"), &mistake);
    }
    if draft.queue_timeout.is_some() && draft.max_requests.is_none() {
        let mistake = Mistake::new("without `max_requests` no request waits")
            .help("write `max_requests` beside it, or leave it out");
        report.warning(&format!("{base}.queue_timeout"), &mistake);
    }
}

/// How requests are spread over the backends of a route, if there are several or anything is said of it. Without backends of its own
/// it has the `inherited` ones, and what is said of those.
pub(super) fn resolve(own: &Target, inherited: Option<&Target>, folder: &Path) -> Option<Balance> {
    let backends = if own.address.is_some() {
        own
    } else {
        inherited?
    };
    let inherited = inherited
        .filter(|_| own.address.is_none())
        .map(|target| &target.balance);
    let is_wanted = !backends.balance.backends.is_empty()
        || own.balance.is_given()
        || inherited.is_some_and(BalanceDraft::is_given);
    if !is_wanted {
        return None;
    }
    let upstream = |address: &UpstreamAddress| {
        Arc::new(Upstream {
            address: address.clone(),
            tls: tls::client_at(backends, address, folder),
        })
    };
    let several = backends.balance.backends.iter().map(|backend| Backend {
        upstream: upstream(&backend.address),
        weight: backend.weight,
        backup: backend.backup,
    });
    let mut several: Vec<_> = several.collect();
    if several.is_empty() {
        several.extend(backends.address.as_ref().map(|address| Backend {
            upstream: upstream(address),
            weight: Balance::WEIGHT,
            backup: false,
        }));
    }
    let own = &own.balance;
    let policy = own.policy.clone();
    let policy = policy.or_else(|| inherited?.policy.clone());
    let statuses = own.unhealthy_status.clone();
    let statuses = statuses.or_else(|| inherited?.unhealthy_status.clone());
    let inherited_limit = || inherited?.max_requests;
    let most = own.max_requests.or_else(inherited_limit);
    let most = most.and_then(MaxRequests::limit);
    let queue_timeout = own.queue_timeout;
    let queue_timeout = queue_timeout.or_else(|| inherited?.queue_timeout);
    let health = match inherited {
        Some(inherited) if !own.health.is_given => &inherited.health,
        _ => &own.health,
    };
    Some(Balance {
        backends: several,
        policy: policy.unwrap_or(Policy::LeastRequests),
        unhealthy_status: statuses.unwrap_or_default(),
        limit: most.map(|most| RequestLimit {
            most,
            queue_timeout: queue_timeout.unwrap_or(QUEUE_TIMEOUT),
        }),
        health: health.check(),
    })
}

/// The keys of `upstream` that say it.
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

fn duration(duration: Duration) -> String {
    written::text(units::written(duration))
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
