//! Settings of the whole process: `[server]`, `[admin]`, `[drain]`, `[log]`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::AccessLog;

/// Limits of the whole process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// How many threads carry connections.
    pub workers: Workers,
    /// A connection beyond these gets a 503 and is closed; an open one is never evicted for it.
    pub max_connections: usize,
    /// The longest request head that is read, in bytes.
    pub max_request_head: usize,
    /// The most fields that a request head may have.
    pub max_request_headers: usize,
    /// The longest head of a backend's response that is read, in bytes, interim responses included.
    pub max_response_head: usize,
    /// The most fields that the head of a response may have.
    pub max_response_headers: usize,
    /// The most concurrent requests on one HTTP/2 connection.
    pub max_streams: u32,
    /// Proxies whose `X-Forwarded-*`, `X-Real-IP` and `Forwarded` fields are kept.
    pub trusted_proxies: Vec<IpNet>,
}

/// How many threads carry connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// One for each core the process may use, the container's CPU limit respected.
    Auto,
    /// This number.
    Count(NonZeroUsize),
}

/// The admin port: health, readiness, metrics, the status page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where it is served; `None` is `"off"`.
    pub listen: Option<SocketAddr>,
    /// The status page may end streams.
    pub allow_ending: bool,
    /// Requests may set the log level.
    pub allow_log_level: bool,
    /// The hosts at which the status page is shown, besides `localhost` and addresses: in lower case, without a trailing dot.
    pub hosts: Vec<String>,
}

/// SIGTERM; what happens to event streams is up to each route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// How long connections are still accepted while readiness is already 503.
    pub delay: Duration,
    /// How long open requests may then continue.
    pub timeout: Duration,
}

/// What happens to open event streams when the process drains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DrainStreams {
    /// They continue until they are complete or the drain's time is up: right for a generation, which cannot be resumed.
    #[default]
    Finish,
    /// They end at event boundaries, spread over the drain's time: right for subscriptions, whose clients reconnect.
    Rotate,
}

/// Logging.
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
