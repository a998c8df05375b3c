//! What tests of the workers and of the admin port need.

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;

use super::{Handler, Listener};
use crate::body::Incoming;
use crate::client::Downstream;
use crate::config::ListenAddress;

/// Answers with nothing.
#[derive(Debug)]
pub(crate) struct Silent;

impl Handler for Silent {
    type Body = Full<Bytes>;

    async fn handle(
        self: Rc<Self>,
        _: Rc<dyn Downstream>,
        _: Request<Incoming>,
    ) -> Response<Self::Body> {
        Response::default()
    }
}

/// A TCP address for a test of its own.
pub(crate) fn any_port() -> ListenAddress {
    ListenAddress::Tcp("127.0.0.1:0".parse().unwrap())
}

/// The address that a listener on [`any_port`] has got.
pub(crate) fn address_of(listener: &Listener) -> SocketAddr {
    match listener.address().unwrap() {
        ListenAddress::Tcp(address) => address,
        ListenAddress::Unix(path) => unreachable!("{}", path.display()),
    }
}
