//! The client of the sidecar's own requests, such as health checks.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::time::Instant;

use super::{Downstream, Login, Takeover};
use crate::config;
use crate::http1::Connection;
use crate::reason::Reason;
use crate::sending::Remainder;

/// A client that ignores everything.
#[derive(Debug)]
pub struct NoClient;

impl Downstream for NoClient {
    fn peer(&self) -> Option<SocketAddr> {
        None
    }

    fn is_tls(&self) -> bool {
        false
    }

    fn set_write_timeout(&self, _: Option<Duration>) {}

    fn is_stalled(&self) -> bool {
        false
    }

    fn is_cut(&self) -> bool {
        false
    }

    fn drains_until(&self) -> Option<Instant> {
        None
    }

    fn cancellation(&self) -> Reason {
        Reason::ClientGone
    }

    fn reset_on_close(&self) {}

    fn inform(&self, _: Response<()>) {}

    fn go_on(&self) {}

    fn can_hand_over(&self) -> bool {
        false
    }

    fn hand_over(&self, _: Takeover) {}

    fn take_raw_head(&self) -> Bytes {
        Bytes::new()
    }

    fn spell(&self, _: Bytes) {}

    fn keep_login(&self, _: Login) {}

    fn take_login(&self, _: &config::Upstream) -> Option<Connection> {
        None
    }

    fn outlive(&self, _: Remainder) {}
}
