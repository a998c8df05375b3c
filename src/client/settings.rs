//! The timeouts and limits of a connection.

use std::time::Duration;

/// The timeouts and limits of a connection while no request has a route.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionSettings {
    /// For a whole request head to arrive.
    pub request_head: Option<Duration>,
    /// Between two requests.
    pub keep_alive: Option<Duration>,
    /// For the client to take a byte of those that wait for it.
    pub write: Option<Duration>,
    /// For the connection to take new requests, before its jitter.
    pub connection_age: Option<Duration>,
    /// How much may come.
    pub limits: Limits,
}

/// How much a client may send at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of one request head, in bytes.
    pub request_head: usize,
    /// Fields of one request head.
    pub request_headers: usize,
    /// Requests on one HTTP/2 connection.
    pub streams: u32,
}

#[cfg(test)]
impl ConnectionSettings {
    /// Without timeouts, and with low limits.
    pub(crate) fn off() -> Self {
        Self {
            request_head: None,
            keep_alive: None,
            write: None,
            connection_age: None,
            limits: Limits {
                request_head: 1024,
                request_headers: 10,
                streams: 1,
            },
        }
    }
}
