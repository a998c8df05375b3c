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
    /// What operators look at.
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
    /// What is logged, and how.
    pub log: Log,
}

/// One `[[route]]`, with everything it did not say taken from the top level.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// What it is called, if it has a name: see [`label`](Self::label).
    pub name: Option<String>,
    /// Which requests take it.
    pub matcher: Matcher,
    /// What becomes of them.
    pub action: Action,
    /// What is changed in the heads of the answers.
    pub response_headers: HeaderEdits,
    /// Which pages of other origins may read them; `None` leaves that to the backend.
    pub cors: Option<Cors>,
    /// The timeouts.
    pub timeouts: Timeouts,
    /// What keeps silent streams alive.
    pub heartbeat: Heartbeat,
    /// What counts as an event stream, and how it ends when the upstream fails.
    pub events: Events,
    /// What becomes of its event streams when the process drains.
    pub drain_streams: DrainStreams,
    /// Who may call.
    pub access: Access,
    /// How much one client may have.
    pub limits: Limits,
    /// These limits are not those of the top level, and count by themselves.
    pub has_own_limits: bool,
    /// Which of its streams outlive their clients.
    pub resume: Resume,
    /// Which of its requests are the same one.
    pub dedupe: Dedupe,
}

impl Config {
    /// Every upstream; among them those that are asked whether a request may pass.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.routes.iter().flat_map(|route| {
            let service = route.access.authorize.as_ref();
            let asked = service.map(|service| &service.upstream);
            route.upstreams().chain(asked)
        })
    }
}

impl Route {
    /// Everywhere that requests may go.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.action
            .proxied()
            .into_iter()
            .flat_map(Proxied::upstreams)
    }
}
