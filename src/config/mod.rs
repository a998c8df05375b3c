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
mod fields;
mod file;
mod files;
mod host;
mod htpasswd;
mod limits;
mod log_level;
mod matcher;
mod name;
mod nearest;
mod path;
mod probe;
mod problem;
mod resolve;
mod restart;
mod resume;
mod routes;
mod source;
mod template;
mod tls;
mod units;
mod upstream_host;
mod value;
mod written;

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

pub use self::access::{Access, AccessRule, Service};
pub use self::access_log::{AccessForm, AccessLog, AccessPart, AccessValue};
pub use self::action::{Action, Forwarded, Proxied, Redirect, Respond};
pub use self::balance::{Backend, Balance, HashKey, HealthCheck, Policy, RequestLimit};
pub use self::cors::{Cors, Origin};
pub use self::fields::HeaderEdits;
pub use self::files::Files;
pub use self::host::requested_host;
pub use self::htpasswd::{HtpasswdError, User, htpasswd};
pub use self::limits::{LimitBy, Limits, Period, Rate};
pub use self::matcher::{HeaderMatch, HostPattern, Matcher, PathPattern, QueryMatch};
pub use self::path::normal_path;
pub use self::probe::Probe;
pub use self::problem::{Place, Problem, Problems, Severity};
pub use self::resolve::{Override, Overrides, check, load, load_admin, parse};
pub use self::resume::{
    AfterEnd, Credential, Dedupe, History, Ids, KeySource, KeyedPath, OnGap, OnReset, Resume,
    Second,
};
pub use self::source::{Reloaded, Source};
pub use self::template::{Part, Placeholder, Template};
pub use self::units::{DurationError, duration};
use crate::tls::{ClientTls, ServerTls};

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

/// One address that clients connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The address to bind.
    pub address: ListenAddress,
    /// How routes speak of it.
    pub name: Option<Arc<str>>,
    /// Its certificate; `None` is plain.
    pub tls: Option<ServerTls>,
    /// Each connection begins with a PROXY protocol header, which says who its client is.
    pub proxy_protocol: bool,
    /// The mode of a Unix socket's file: who may write to it may connect, and is trusted.
    pub mode: u32,
}

impl Listener {
    /// What a Unix socket's file lets be done unless its mode is set: whoever connects is trusted, so nobody but its owner can.
    pub const SOCKET_MODE: u32 = 0o600;
}

/// An address to bind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// `127.0.0.1:8080`, `[::]:8080`
    Tcp(SocketAddr),
    /// `unix:/run/sidecar.sock`
    Unix(PathBuf),
}

/// What operators look at: health, readiness, metrics, the status page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where it is served; `None` is `"off"`.
    pub listen: Option<SocketAddr>,
    /// The status page may end streams.
    pub allow_ending: bool,
    /// Requests may set the log level.
    pub allow_log_level: bool,
    /// The names at which the status page is shown, besides `localhost` and addresses: in lower case, without a trailing dot.
    pub hosts: Vec<String>,
}

/// Limits of the whole process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// How many threads carry connections.
    pub workers: Workers,
    /// A connection beyond these is answered 503 and closed; an open one is never evicted for it.
    pub max_connections: usize,
    /// The longest request head that is read, in bytes.
    pub max_request_head: usize,
    /// The most fields that a request head may have.
    pub max_request_headers: usize,
    /// The longest head of a backend's response that is read, in bytes, interim responses included.
    pub max_response_head: usize,
    /// The most fields that the head of a response may have.
    pub max_response_headers: usize,
    /// The most requests at once on one HTTP/2 connection.
    pub max_streams: u32,
    /// Proxies whose `X-Forwarded-*`, `X-Real-IP` and `Forwarded` fields are kept.
    pub trusted_proxies: Vec<IpNet>,
}

/// How many threads carry connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// One for each core the process may use, the container's CPU limit respected.
    Auto,
    /// Exactly so many.
    Count(NonZeroUsize),
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

/// A backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// Where to connect.
    pub address: UpstreamAddress,
    /// How it is known, and we to it. `Some` exactly for `https://`.
    pub tls: Option<ClientTls>,
}

/// Where a backend listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UpstreamAddress {
    /// `http://host:port`: a name or an IP address (no brackets), resolved at each connect.
    Tcp {
        /// What is spoken.
        scheme: Scheme,
        /// Host name or IP address.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// `unix:/path`, `unix+h2c:/path`
    Unix {
        /// What is spoken: HTTP in the clear, or HTTP/2 with prior knowledge.
        scheme: Scheme,
        /// The socket's file.
        path: PathBuf,
    },
}

/// What is spoken to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// HTTP in the clear.
    Http,
    /// HTTP over TLS.
    Https,
    /// HTTP/2 in the clear, with prior knowledge.
    H2c,
}

/// The timeouts; `None` is `"off"`. What each one ends is in `docs/timeouts.md`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// To establish a connection to the upstream.
    pub connect: Option<Duration>,
    /// How long that is tried again where it failed at once.
    pub connect_retry: ConnectRetry,
    /// From the request sent to the upstream's response head.
    pub response_head: Option<Duration>,
    /// From an event stream's head to its first event.
    pub first_event: Option<Duration>,
    /// Between two bytes of an upstream's body.
    pub read: Option<Duration>,
    /// Between two bytes that the client takes while some wait for it.
    pub write: Option<Duration>,
    /// The life of an event stream; each one ends between 90 % and 100 % of it.
    pub total: Option<Duration>,
    /// To receive a whole request head.
    pub request_head: Option<Duration>,
    /// Between two bytes of a request's body.
    pub request_body: Option<Duration>,
    /// How long a connection may stay open between two requests.
    pub keep_alive: Option<Duration>,
    /// How long a connection takes new requests; each one ends between 90 % and 100 % of it.
    pub connection_age: Option<Duration>,
}

/// How long connecting to an upstream is tried again after a failure, within the `connect` timeout: an upstream that restarts refuses
/// connections for a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectRetry {
    /// For as long as the `connect` timeout where the request asks for events, since browsers never come back after an error; for a
    /// second for others.
    Auto,
    /// So long for every request.
    For(Duration),
    /// Not at all.
    Off,
}

/// What keeps silent streams alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// How long nothing was written before one goes out; `None` sends none.
    pub interval: Option<Duration>,
    /// The shape of the comment.
    pub frame: Frame,
    /// The comment's text, without line ends.
    pub text: String,
    /// How long a client that wants an event stream waits for its head before it gets one of ours; `None` waits for the upstream's.
    pub before_head: Option<Duration>,
}

/// The shape of a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// Whichever the client is known to take.
    Auto,
    /// `: heartbeat` and a line feed.
    Line,
    /// `: heartbeat` and a blank line.
    Block,
}

/// What counts as an event stream, and how it ends when the upstream fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Events {
    /// How a response is recognised as an event stream.
    pub detect: Detect,
    /// Every request here is treated as asking for an event stream: the upstream is asked not to compress.
    pub streaming: bool,
    /// What the client gets when the upstream fails in the middle of a stream.
    pub on_upstream_failure: OnUpstreamFailure,
}

/// How a response is recognised as an event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detect {
    /// By its media type, `text/event-stream`.
    Auto,
    /// Every 2xx response is one, whatever it says; it is relabelled.
    Always,
    /// None is.
    Never,
}

/// What the client gets when the upstream fails in the middle of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUpstreamFailure {
    /// The connection is aborted and nothing added.
    Abort,
    /// `event: error` with JSON data naming a reason, then the abort.
    Event,
    /// The error event of Anthropic's Messages API.
    Anthropic,
    /// The `error` event of OpenAI's Responses API.
    OpenaiResponses,
    /// A JSON-RPC error as MCP's Streamable HTTP carries it.
    Mcp,
}

/// What SIGTERM does; what it does to event streams is each route's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// How long connections are still accepted while readiness is already 503.
    pub delay: Duration,
    /// How long open requests may then go on.
    pub timeout: Duration,
}

/// What becomes of open event streams when the process drains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DrainStreams {
    /// They go on until they are complete or the drain's time is up: right for a generation, which cannot be resumed.
    #[default]
    Finish,
    /// They end at event boundaries, spread over the drain's time: right for subscriptions, whose clients reconnect.
    Rotate,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The least severe level that is written.
    pub level: Level,
    /// Text or JSON.
    pub format: Format,
    /// One line for each request; `None` is `"off"`.
    pub access: Option<Arc<AccessLog>>,
}

/// A log level; the quieter, the less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Only failures of the sidecar itself.
    Error,
    /// And what an operator should look at.
    Warn,
    /// And one line when a stream opens, one when it ends.
    Info,
    /// And every request and connection.
    Debug,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
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

impl Detect {
    /// Whether a response is an event stream: by its status, and by whether its media type says so. A range of one (206) is not:
    /// what is inserted would be inside the range.
    pub fn is_event_stream(self, status: u16, labelled: bool) -> bool {
        match self {
            _ if status == 206 => false,
            Self::Auto => labelled,
            Self::Always => labelled || (200..300).contains(&status),
            Self::Never => false,
        }
    }
}

impl UpstreamAddress {
    /// Its `host:port`, as a request names it that names no other.
    pub fn authority(&self) -> String {
        match self {
            Self::Tcp { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port, .. } => format!("{host}:{port}"),
            Self::Unix { .. } => "localhost".to_owned(),
        }
    }
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

impl UpstreamAddress {
    /// Which protocol is spoken there.
    pub fn scheme(&self) -> Scheme {
        match self {
            Self::Tcp { scheme, .. } | Self::Unix { scheme, .. } => *scheme,
        }
    }
}

impl Scheme {
    /// As it is written in a URL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::H2c => "h2c",
        }
    }

    /// The port where a URL names none.
    fn port(self) -> u16 {
        match self {
            Self::Http | Self::H2c => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for UpstreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { scheme, .. } => write!(f, "{}://{}", scheme.name(), self.authority()),
            Self::Unix {
                scheme: Scheme::H2c,
                path,
            } => write!(f, "unix+h2c:{}", path.display()),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Some(Duration::from_secs(5)),
            connect_retry: ConnectRetry::Auto,
            response_head: Some(Duration::from_secs(120)),
            first_event: None,
            read: Some(Duration::from_secs(120)),
            write: Some(Duration::from_secs(30)),
            total: None,
            request_head: Some(Duration::from_secs(10)),
            request_body: Some(Duration::from_secs(60)),
            keep_alive: Some(Duration::from_secs(75)),
            connection_age: Some(Duration::from_hours(1)),
        }
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self {
            interval: Some(Duration::from_secs(15)),
            frame: Frame::Auto,
            text: "heartbeat".to_owned(),
            before_head: None,
        }
    }
}

impl Default for Events {
    fn default() -> Self {
        Self {
            detect: Detect::Auto,
            streaming: false,
            on_upstream_failure: OnUpstreamFailure::Abort,
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            delay: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: Level::Info,
            format: Format::Auto,
            access: None,
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            workers: Workers::Auto,
            max_connections: 10_000,
            max_request_head: 64 * 1024,
            max_request_headers: 100,
            max_response_head: 64 * 1024,
            max_response_headers: 250,
            max_streams: 100,
            trusted_proxies: Vec::new(),
        }
    }
}
