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

/// How long a stream that the shutdown ends may take to send its ending.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Handles requests: the proxy on the workers, the admin port on the main thread.
pub trait Handler: 'static {
    /// The body of its responses.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static;

    /// Handles one request of `client`. The future is dropped when the client disconnects.
    fn handle(
        self: Rc<Self>,
        client: Rc<dyn Downstream>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>>;

    /// Called when the shutdown enters a stage.
    fn enter(&self, _: Stage) {}

    /// Whether no work is left that has no connection.
    fn is_idle(&self) -> bool {
        true
    }

    /// Waits until [`is_idle`](Self::is_idle).
    fn idle(&self) -> impl Future<Output = ()> {
        std::future::ready(())
    }

    /// Called for a request that is refused earlier: its head is malformed, too large or late.
    fn refused(&self, _: &Refusal<'_>) {}
}

/// A request that was refused before it could be handled.
#[derive(Debug)]
pub struct Refusal<'a> {
    /// Its client.
    pub client: &'a dyn Downstream,
    /// Its head, where that can be read.
    pub head: Option<&'a request::Parts>,
    /// Why; the status is that of the reason.
    pub reason: Reason,
    /// The length of the response's body.
    pub bytes: usize,
}
