//! The client of one stream, as its request and its response see it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::time::Instant;

use super::connection::ConnectionState;
use crate::client::{Downstream, Login, Takeover};
use crate::config;
use crate::http1::Connection;
use crate::http2::QueuedBytes;
use crate::reason::Reason;
use crate::sending::Remainder;
use crate::server::Stage;

/// One stream, as its request and its response see the client.
#[derive(Debug)]
pub(super) struct StreamClient {
    pub(super) connection: Rc<ConnectionState>,
    pub(super) queued: Rc<QueuedBytes>,
    /// Interim responses to be sent.
    pub(super) interim: RefCell<Vec<Response<()>>>,
    /// Wakes the task that sends them.
    pub(super) answering: RefCell<Option<Waker>>,
    pub(super) write_timeout: Cell<Option<Duration>>,
    pub(super) cancellation: Cell<Option<Reason>>,
    /// False while the client waits for a 100 before it sends its request's body.
    pub(super) was_continued: Cell<bool>,
    /// The client has reset the stream, and its connection lives on.
    pub(super) has_reset: Cell<bool>,
    /// The rest of the request when the response has ended.
    pub(super) remainder: RefCell<Option<Remainder>>,
}

impl StreamClient {
    pub(super) fn new(connection: &Rc<ConnectionState>) -> Rc<Self> {
        Rc::new(Self {
            connection: connection.clone(),
            queued: Rc::default(),
            interim: RefCell::default(),
            answering: RefCell::default(),
            write_timeout: Cell::new(connection.connection_settings.write),
            cancellation: Cell::new(None),
            was_continued: Cell::new(true),
            has_reset: Cell::new(false),
            remainder: RefCell::default(),
        })
    }
}

impl Downstream for StreamClient {
    fn peer(&self) -> Option<SocketAddr> {
        self.connection.peer
    }

    fn is_tls(&self) -> bool {
        self.connection.wire.socket().is_tls()
    }

    fn listener(&self) -> Option<&str> {
        self.connection.listener.as_deref()
    }

    fn certificates(&self) -> Vec<Vec<u8>> {
        self.connection.wire.socket().peer_certificates()
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) {
        let before = self.write_timeout.replace(timeout);
        if before != timeout {
            self.connection.count_write_timeout(timeout, 1);
            self.connection.count_write_timeout(before, -1);
        }
    }

    fn is_stalled(&self) -> bool {
        !self.queued.is_empty()
    }

    fn is_cut(&self) -> bool {
        self.connection.shutdown.stage() == Stage::Cutting
    }

    fn drains_until(&self) -> Option<Instant> {
        match self.connection.shutdown.stage() {
            Stage::Draining { until } => Some(until),
            Stage::Running | Stage::Cutting => None,
        }
    }

    fn cancellation(&self) -> Reason {
        let own = self.cancellation.get();
        own.or_else(|| self.connection.cancellation.get())
            .unwrap_or(Reason::ClientGone)
    }

    fn has_reset(&self) -> bool {
        self.has_reset.get()
    }

    /// Nothing to do: an aborted response resets its stream.
    fn reset_on_close(&self) {}

    fn inform(&self, interim: Response<()>) {
        self.interim.borrow_mut().push(interim);
        if let Some(waker) = self.answering.borrow_mut().take() {
            waker.wake();
        }
    }

    fn go_on(&self) {
        if !self.was_continued.replace(true) {
            let mut interim = Response::new(());
            *interim.status_mut() = StatusCode::CONTINUE;
            self.inform(interim);
        }
    }

    /// Closes it: requests of many users may share the connection, as behind a load balancer.
    fn keep_login(&self, login: Login) {
        drop(login);
    }

    fn take_login(&self, _: &config::Upstream) -> Option<Connection> {
        None
    }

    fn can_hand_over(&self) -> bool {
        false
    }

    fn hand_over(&self, _: Takeover) {}

    fn take_raw_head(&self) -> Bytes {
        Bytes::new()
    }

    fn spell(&self, _: Bytes) {}

    fn outlive(&self, remainder: Remainder) {
        *self.remainder.borrow_mut() = Some(remainder);
    }
}
