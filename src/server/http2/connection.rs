//! What the streams of one connection share.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use h2::server::SendResponse;
use tokio::time::Instant;

use super::ConnectionEnd;
use super::downstream::StreamClient;
use super::stream::OpenStream;
use crate::client::ConnectionSettings;
use crate::http2::{Payload, Wire};
use crate::reason::Reason;
use crate::server::ShutdownWatch;

/// The number of requests reset before their response from which a client is checked for a rapid reset attack (CVE-2023-44487): it
/// is one if these are more than two in three. Envoy's limits are 500 and one in two.
const PREMATURE_RESETS: u64 = 200;

/// One connection, shared by its task and its streams.
#[derive(Debug)]
pub(super) struct ConnectionState {
    pub(super) wire: Rc<Wire>,
    pub(super) peer: Option<SocketAddr>,
    pub(super) listener: Option<Arc<str>>,
    pub(super) connection_settings: ConnectionSettings,
    /// The `write` timeouts of the open streams, each with the number of streams that have it.
    write_timeouts: RefCell<Vec<(Option<Duration>, isize)>>,
    pub(super) cancellation: Cell<Option<Reason>>,
    pub(super) shutdown: Rc<ShutdownWatch>,
    requests: Cell<u64>,
    pub(super) premature_resets: Cell<u64>,
    /// How many streams are open.
    pub(super) open: Cell<usize>,
    /// When the last stream closed.
    pub(super) idle_since: Cell<Instant>,
}

impl ConnectionState {
    pub(super) fn new(
        wire: Rc<Wire>,
        peer: Option<SocketAddr>,
        listener: Option<Arc<str>>,
        connection_settings: ConnectionSettings,
        shutdown: Rc<ShutdownWatch>,
    ) -> Self {
        Self {
            wire,
            peer,
            listener,
            connection_settings,
            write_timeouts: RefCell::default(),
            cancellation: Cell::new(None),
            shutdown,
            requests: Cell::new(0),
            premature_resets: Cell::new(0),
            open: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
        }
    }

    /// The longest `write` timeout of the open streams, which is the connection's while its socket is full.
    pub(super) fn patience(&self) -> Option<Duration> {
        let timeouts = self.write_timeouts.borrow();
        if timeouts.is_empty() {
            return self.connection_settings.write;
        }
        let timeouts = timeouts.iter().map(|&(timeout, _)| timeout);
        timeouts.reduce(|most, timeout| Some(most?.max(timeout?)))?
    }

    /// Notes that `more` open streams have this `write` timeout, or fewer if it is negative.
    pub(super) fn count_write_timeout(&self, timeout: Option<Duration>, more: isize) {
        let mut timeouts = self.write_timeouts.borrow_mut();
        match timeouts.iter_mut().find(|(known, _)| *known == timeout) {
            Some((_, streams)) => *streams += more,
            None => timeouts.push((timeout, more)),
        }
        timeouts.retain(|&(_, streams)| streams > 0);
    }

    /// Counts a stream as open; dropping what it returns closes it.
    pub(super) fn open(self: &Rc<Self>, respond: SendResponse<Payload>) -> OpenStream {
        self.requests.set(self.requests.get() + 1);
        self.open.set(self.open.get() + 1);
        self.count_write_timeout(self.connection_settings.write, 1);
        OpenStream::new(StreamClient::new(self), respond)
    }

    /// Whether what is left to be written is still sent to the client; if not, sets why its requests are cancelled.
    pub(super) fn is_orderly(&self, end: &ConnectionEnd) -> bool {
        match end {
            ConnectionEnd::Done => return true,
            ConnectionEnd::Failed(error) => {
                let peer = self.peer.map(tracing::field::display);
                tracing::debug!(error = error as &dyn Error, peer, "connection failed");
                return true;
            }
            ConnectionEnd::Left => self.cancellation.set(Some(Reason::ClientGone)),
            ConnectionEnd::Expired(reason) => {
                if *reason == Reason::ClientStalled {
                    self.wire.socket().reset_on_close(); // or the kernel keeps retransmitting what it holds
                }
                self.cancellation.set(Some(*reason));
            }
        }
        false
    }

    /// Whether the client resets too many of its requests before they are answered.
    pub(super) fn resets_rapidly(&self) -> bool {
        let resets = self.premature_resets.get();
        resets >= PREMATURE_RESETS && resets * 3 > self.requests.get() * 2
    }
}
