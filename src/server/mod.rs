//! Connections from clients: accepted by the workers, spread evenly over them, each served on one thread for its whole life.

mod accept;
mod acceptor;
mod connection;
mod handshake;
mod http1;
mod http2;
mod listener;
mod panic_guard;
mod shutdown;
mod slots;
mod socket_file;
#[cfg(test)]
pub(crate) mod testing;
mod worker;

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, request};
use http_body::Body;

pub use self::accept::{
    Accepted, Accepting, Admission, ListenerSettings, PAUSE, Reserve, Shortage,
};
pub use self::connection::serve;
pub use self::listener::Listener;
pub use self::shutdown::{ShutdownWatch, Stage};
pub use self::socket_file::SocketFile;
pub use self::worker::{Workers, available_cores};
use crate::body::Incoming;
use crate::client::Downstream;
use crate::reason::Reason;

/// How long a stream that is ended by the shutdown has to say so to its client.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What answers requests: the proxy on the workers, the admin port on the main thread.
pub trait Handler: 'static {
    /// The body of its responses.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static;

    /// Answers one request of `client`. The future is dropped when the client leaves.
    fn handle(
        self: Rc<Self>,
        client: Rc<dyn Downstream>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>>;

    /// The shutdown has come so far.
    fn enter(&self, _: Stage) {}

    /// Whether nothing goes on without a connection.
    fn is_idle(&self) -> bool {
        true
    }

    /// Waits until that is so.
    fn idle(&self) -> impl Future<Output = ()> {
        std::future::ready(())
    }

    /// A request got this far and no further: its head is malformed, too large or late.
    fn refused(&self, _: &Refusal<'_>) {}
}

/// A request that was answered before anybody could handle it.
#[derive(Debug)]
pub struct Refusal<'a> {
    /// Whose it is.
    pub client: &'a dyn Downstream,
    /// Its head, where that can be read.
    pub head: Option<&'a request::Parts>,
    /// Why; the status is that of the reason.
    pub reason: Reason,
    /// How long the answer's body is.
    pub bytes: usize,
}
