//! A connection as its requests see it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::time::Instant;

use super::{Client, Downstream, Login, Takeover};
use crate::config;
use crate::http1::Connection;
use crate::reason::Reason;
use crate::sending::Remainder;
use crate::wire::HeadWriter;

impl Downstream for Client {
    fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    fn is_tls(&self) -> bool {
        self.socket.is_tls()
    }

    fn listener(&self) -> Option<&str> {
        self.listener.as_deref()
    }

    fn certificates(&self) -> Vec<Vec<u8>> {
        self.socket.peer_certificates()
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) {
        self.write_timeout.set(timeout);
    }

    fn is_stalled(&self) -> bool {
        self.stall.is_full()
    }

    fn is_cut(&self) -> bool {
        self.is_cut.get()
    }

    fn drains_until(&self) -> Option<Instant> {
        self.drains_until.get()
    }

    fn cancellation(&self) -> Reason {
        self.cancellation.get().unwrap_or(Reason::ClientGone)
    }

    fn reset_on_close(&self) {
        self.socket.reset_on_close();
    }

    fn inform(&self, interim: Response<()>) {
        let (head, ()) = interim.into_parts();
        let reason = head.status.canonical_reason().unwrap_or_default();
        let status = head.status.as_str();
        let mut bytes = HeadWriter::response(b"HTTP/1.1", status.as_bytes(), reason.as_bytes());
        for (name, value) in &head.headers {
            bytes.field(name.as_str().as_bytes(), value.as_bytes());
        }
        self.state.borrow_mut().inform(&bytes.finish());
    }

    fn go_on(&self) {
        self.state.borrow_mut().go_on();
    }

    fn take_raw_head(&self) -> Bytes {
        self.state.borrow_mut().take_raw_head().into()
    }

    fn spell(&self, raw: Bytes) {
        self.state.borrow_mut().spell(raw);
    }

    fn outlive(&self, remainder: Remainder) {
        let mut remainders = self.remainders.borrow_mut();
        remainders.retain(|remainder| !remainder.is_over());
        remainders.push(remainder);
    }

    fn keep_login(&self, login: Login) {
        self.logins.keep(login);
    }

    fn take_login(&self, upstream: &config::Upstream) -> Option<Connection> {
        self.logins.take(upstream)
    }

    fn logins(&self) -> Vec<Arc<config::Upstream>> {
        self.logins.upstreams()
    }

    fn can_hand_over(&self) -> bool {
        self.state.borrow().has_whole_request()
    }

    fn hand_over(&self, takeover: Takeover) {
        self.state.borrow_mut().yield_to(takeover);
    }
}
