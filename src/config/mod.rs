//! The configuration as the proxy uses it: every default filled in, every value checked.
//!
//! `file` walks the TOML as it is written, `draft` says which keys there are and reads each by itself, `resolve` checks what
//! they mean together and makes these types of it. Every problem found on the way is collected and told at once. A [`Source`] can
//! do all of that again. `config.example.toml` is the reference of the keys.

mod access;
mod access_log;
mod action;
mod address;
mod balance;
mod conflicts;
mod cors;
mod draft;
mod events;
mod fields;
mod file;
mod files;
mod host;
mod htpasswd;
mod limits;
mod listener;
mod log_level;
mod matcher;
mod name;
mod nearest;
mod path;
mod probe;
mod problem;
mod process;
mod resolve;
mod restart;
mod resume;
mod routes;
mod source;
mod target;
mod template;
mod timeouts;
mod tls;
mod units;
mod upstream;
mod upstream_host;
mod value;
mod written;

use std::sync::Arc;

pub use self::access::{Access, AccessRule, Service};
pub use self::access_log::{AccessForm, AccessLog, AccessPart, AccessValue};
pub use self::action::{Action, Forwarded, Proxied, Redirect, Respond};
pub use self::balance::{Backend, Balance, HashKey, HealthCheck, Policy, RequestLimit};
pub use self::cors::{Cors, Origin};
pub use self::events::{Detect, Events, Frame, Heartbeat, OnUpstreamFailure};
pub use self::fields::HeaderEdits;
pub use self::files::Files;
pub use self::host::requested_host;
pub use self::htpasswd::{HtpasswdError, User, htpasswd};
pub use self::limits::{LimitBy, Limits, Period, Rate};
pub use self::listener::{ListenAddress, Listener};
pub use self::matcher::{HeaderMatch, HostPattern, Matcher, PathPattern, QueryMatch};
pub use self::path::normal_path;
pub use self::probe::Probe;
pub use self::problem::{Location, Problem, Problems, Severity};
pub use self::process::{Admin, Drain, DrainStreams, Format, Level, Log, Server, Workers};
pub use self::resolve::{Override, Overrides, check, load, load_admin, parse};
pub use self::resume::{
    AfterEnd, Credential, Dedupe, History, Ids, KeySource, KeyedPath, OnGap, OnReset, Resume,
    Second,
};
pub use self::source::{Reloaded, Source};
pub use self::template::{Part, Placeholder, Template};
pub use self::timeouts::{ConnectRetry, Timeouts};
pub use self::units::{DurationError, duration};
pub use self::upstream::{Scheme, Upstream, UpstreamAddress};

/// A whole configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where clients connect. Never empty.
    pub listeners: Vec<Listener>,
    /// Limits of the whole process.
    pub server: Server,
    /// The admin port.
    pub admin: Admin,
    /// The timeouts of a connection before its request has a route: `request_head`, `keep_alive`, `connection_age`, `write`. A route has its own
    /// copy of the rest.
    pub timeouts: Timeouts,
    /// First match wins. Never empty; where the file has an `[upstream]`, the last one matches every request.
    pub routes: Vec<Route>,
    /// The end of the chain for `sse-sidecar doctor --probe`; `None` unless it has a token.
    pub probe: Option<Probe>,
    /// What SIGTERM does.
    pub drain: Drain,
    /// What all kept streams may take.
    pub history: History,
    /// Logging.
    pub log: Log,
}

/// One `[[route]]`, with the keys that it does not set taken from the top level.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Its name, if it has one: see [`label`](Self::label).
    pub name: Option<String>,
    /// The requests that it matches.
    pub matcher: Matcher,
    /// How they are answered.
    pub action: Action,
    /// Edits of response headers.
    pub response_headers: HeaderEdits,
    /// Which pages of other origins may read the responses; `None` leaves that to the backend.
    pub cors: Option<Cors>,
    /// The timeouts.
    pub timeouts: Timeouts,
    /// Heartbeats of silent streams.
    pub heartbeat: Heartbeat,
    /// What counts as an event stream, and how it ends when the upstream fails.
    pub events: Events,
    /// What happens to its event streams when the process drains.
    pub drain_streams: DrainStreams,
    /// Access rules.
    pub access: Access,
    /// Limits for each client.
    pub limits: Limits,
    /// The limits are the route's own, and counted separately from the top level's.
    pub has_own_limits: bool,
    /// Which of its streams outlive their clients.
    pub resume: Resume,
    /// Which of its requests are the same one.
    pub dedupe: Dedupe,
}

impl Config {
    /// Every upstream, authorizing services included.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.routes.iter().flat_map(|route| {
            let service = route.access.authorize.as_ref();
            let asked = service.map(|service| &service.upstream);
            route.upstreams().chain(asked)
        })
    }
}

impl Route {
    /// All upstreams of the route.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.action
            .proxied()
            .into_iter()
            .flat_map(Proxied::upstreams)
    }
}
