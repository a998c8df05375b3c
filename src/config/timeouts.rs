//! `[timeouts]`.

use std::time::Duration;

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
    /// For the whole `connect` timeout if the request asks for events, since browsers never reconnect after an error; for a second
    /// otherwise.
    Auto,
    /// This long for every request.
    For(Duration),
    /// Never.
    Off,
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
