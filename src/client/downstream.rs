//! A client as one request and its response see it, whichever HTTP it speaks.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::time::Instant;

use super::{ClientStream, Login};
use crate::config;
use crate::http1::Connection;
use crate::reason::Reason;
use crate::sending::Remainder;

/// The client of one request: an HTTP/1 connection, or one stream of an HTTP/2 connection.
pub trait Downstream: fmt::Debug {
    /// The client's address; none on a Unix socket.
    fn peer(&self) -> Option<SocketAddr>;

    /// Whether the request came over TLS.
    fn is_tls(&self) -> bool;

    /// The name of the listener of the connection, if that has one.
    fn listener(&self) -> Option<&str> {
        None
    }

    /// The verified certificate of the client, and those between it and a CA's, in DER; empty without one.
    fn certificates(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// The `write` timeout of the request's route.
    fn set_write_timeout(&self, timeout: Option<Duration>);

    /// Whether bytes wait that the client does not accept.
    fn is_stalled(&self) -> bool;

    /// Whether streams have to end now, because the process does.
    fn is_cut(&self) -> bool;

    /// When open requests have to be done, if the process drains.
    fn drains_until(&self) -> Option<Instant>;

    /// Why the request is about to be dropped before its end; by default, the client's disconnect.
    fn cancellation(&self) -> Reason;

    /// Whether the client has cancelled this request alone, while its connection continues.
    fn has_reset(&self) -> bool {
        false
    }

    /// Makes the end of the connection a reset: for a client whose protocol version has no other sign of a truncated body.
    fn reset_on_close(&self);

    /// Sends an interim response (1xx), ahead of the response.
    fn inform(&self, interim: Response<()>);

    /// Asks the client for the body of its request (100 Continue), unless that was done.
    fn go_on(&self);

    /// Whether the whole connection can be taken over: it is HTTP/1, and the request's body was read.
    fn can_hand_over(&self) -> bool;

    /// Has `takeover` take the connection over; it writes the response, its head included.
    fn hand_over(&self, takeover: Takeover);

    /// The request's head as the client wrote it; empty over HTTP/2, and when called again.
    fn take_raw_head(&self) -> Bytes;

    /// Has the fields of the response spelled as in the head `raw`.
    fn spell(&self, raw: Bytes);

    /// Keeps an upstream connection on which the client has authenticated for its next request; it closes with the client's own.
    fn keep_login(&self, login: Login);

    /// The connection on which the client has authenticated to `upstream`, if there is one.
    fn take_login(&self, upstream: &config::Upstream) -> Option<Connection>;

    /// The upstreams to which the client has authenticated.
    fn logins(&self) -> Vec<Arc<config::Upstream>> {
        Vec::new()
    }

    /// Has the rest of the request sent after the response, for as long as the client is connected.
    fn outlive(&self, remainder: Remainder);
}

/// Who takes a connection over from hyper.
pub enum Takeover {
    /// Writes a response. The client's leaving ends it.
    Relay(Taker),
    /// Passes bytes both ways, also after one side has sent its last.
    Tunnel(Taker),
}

/// What a takeover makes of the connection.
pub type Taker = Box<dyn FnOnce(ClientStream) -> Taken>;

/// The future that serves a connection after a takeover.
pub type Taken = Pin<Box<dyn Future<Output = Disposition>>>;

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// It serves the next request.
    KeepAlive,
    /// It is closed in order.
    Close,
    /// It is dropped, so that the client sees that something is missing.
    Abort,
}

impl fmt::Debug for Takeover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Relay(_) => "Relay",
            Self::Tunnel(_) => "Tunnel",
        })
    }
}
