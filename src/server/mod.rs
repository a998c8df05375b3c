//! Connections from clients: accepted on one thread, spread over the workers, each served on the thread it was given to.

mod accept;
mod admit;
mod connection;
mod lobby;
mod worker;

use std::future::Future;
use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;

pub use self::accept::{Accepted, Acceptor, Entrance, Listener, PAUSE, SocketFile};
pub use self::admit::admit;
pub use self::connection::serve;
pub use self::lobby::{Lobby, Stage};
pub use self::worker::{Workers, available_cores};
use crate::client::Client;

/// What answers requests: the proxy on the workers, the admin port on the main thread.
pub trait Handler: 'static {
    /// The body of its responses.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static;

    /// Answers one request of `client`. The future is dropped when the client leaves.
    fn handle(
        self: Rc<Self>,
        client: Rc<Client>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>>;
}
