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

/// Whoever made a request and reads its response: an HTTP/1 connection, or one stream of an HTTP/2 connection.
pub trait Downstream: fmt::Debug {
    /// The client's address; none on a Unix socket.
    fn peer(&self) -> Option<SocketAddr>;

    /// Whether the request came over TLS.
    fn is_tls(&self) -> bool;

    /// The name of the listener that it came in at, if that has one.
    fn listener(&self) -> Option<&str> {
        None
    }

    /// The certificate that the client has shown and that was verified, and those between it and a CA's, in DER; none without.
    fn certificates(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// The `write` timeout of the request's route.
    fn set_write_timeout(&self, timeout: Option<Duration>);

    /// Whether bytes wait that the client does not take.
    fn is_stalled(&self) -> bool;

    /// Whether streams are to end now, because the process does.
    fn is_cut(&self) -> bool;

    /// When open requests have to be done, if the process drains.
    fn drains_until(&self) -> Option<Instant>;

    /// Why the request is about to be dropped before its end; the client's own leaving if nobody has said.
    fn cancellation(&self) -> Reason;

    /// Whether the client has given up this request alone, while its connection lives on.
    fn has_reset(&self) -> bool {
        false
    }

    /// Makes the end of the connection a reset: for a client whose protocol version has no other sign that a body was cut.
    fn reset_on_close(&self);

    /// Sends an interim response (1xx), ahead of the response.
    fn inform(&self, interim: Response<()>);

    /// Asks the client for the body of its request (100 Continue), if it was not asked before.
    fn go_on(&self);

    /// Whether the whole connection can go to somebody else: it is one of HTTP/1, and the request's body was read.
    fn can_hand_over(&self) -> bool;

    /// The connection goes to whoever takes it over, and writes the response, its head included.
    fn hand_over(&self, takeover: Takeover);

    /// The request's head as the client wrote it; none over HTTP/2, and at a second time.
    fn take_raw_head(&self) -> Bytes;

    /// The fields of the response are to be spelled as they are in the head `raw`.
    fn spell(&self, raw: Bytes);

    /// An upstream connection on which the client has logged in waits for its next request, and closes with its own.
    fn keep_login(&self, login: Login);

    /// The connection on which it has logged in to `upstream`, if there is one.
    fn take_login(&self, upstream: &config::Upstream) -> Option<Connection>;

    /// The upstreams to which it has logged in.
    fn logins(&self) -> Vec<Arc<config::Upstream>> {
        Vec::new()
    }

    /// What is left to be sent of the request goes on after the response, for as long as the client is there.
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

/// What is done with a connection that was taken over.
pub type Taken = Pin<Box<dyn Future<Output = Disposition>>>;

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// It is there for the next request.
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
