//! One client connection: its socket, what phase it is in, and the timeouts of that phase.
//!
//! hyper reads and writes through a [`Gate`]; everything else that must know of the connection (its server task, the bodies that
//! are written to it) shares the [`Client`] itself. All of it stays on one thread.

mod address;
mod as_downstream;
mod downstream;
mod gate;
mod identity;
mod login;
mod nobody;
mod settings;
mod state;
mod stream;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::time::Instant;

pub use self::address::{address_text, ip_text};
pub use self::downstream::{Disposition, Downstream, Taken, Takeover, Taker};
pub use self::gate::Gate;
pub use self::identity::{ClientAddress, trusted_peer};
pub use self::login::Login;
use self::login::Logins;
pub use self::nobody::NoClient;
pub use self::settings::{ConnectionSettings, Limits};
use self::state::{Clock, State};
pub use self::stream::ClientStream;
use crate::alarm::jittered;
use crate::reason::Reason;
use crate::sending::Remainder;
use crate::socket::{Socket, Stall, taken};
use crate::wire::Malformed;

/// A client's connection.
#[derive(Debug)]
pub struct Client {
    socket: Socket,
    peer: Option<SocketAddr>,
    listener: Option<Arc<str>>,
    settings: ConnectionSettings,
    retires_at: Option<Instant>,
    state: RefCell<State<Takeover>>,
    /// Waits to read while nothing may be read.
    reader: RefCell<Option<Waker>>,
    /// Whether bytes wait that the client does not take.
    stall: Stall,
    write_timeout: Cell<Option<Duration>>,
    refusal: Cell<Option<Malformed>>,
    automatic_answer: Cell<Option<u16>>,
    cancellation: Cell<Option<Reason>>,
    is_cut: Cell<bool>,
    /// Requests whose responses ended first. They are cancelled with the connection.
    remainders: RefCell<Vec<Remainder>>,
    logins: Logins,
    /// When the drain ends, once it has begun: the current response is then the connection's last.
    drains_until: Cell<Option<Instant>>,
}

/// The parts of a connection, to be served in another way.
#[derive(Debug)]
pub struct ClientParts {
    /// The connection itself.
    pub socket: Socket,
    /// The client's address.
    pub peer: Option<SocketAddr>,
    /// The listener's name.
    pub listener: Option<Arc<str>>,
    /// Its timeouts and limits.
    pub settings: ConnectionSettings,
    /// Bytes that were read but not yet parsed.
    pub unread: Vec<u8>,
}

impl Client {
    /// A connection on which nothing has happened yet.
    pub fn new(socket: Socket, peer: Option<SocketAddr>, settings: ConnectionSettings) -> Self {
        let now = Instant::now();
        let age = settings.connection_age.map(jittered);
        Self {
            socket,
            peer,
            listener: None,
            settings,
            retires_at: age.and_then(|age| now.checked_add(age)),
            state: RefCell::new(State::new(settings.limits, now)),
            reader: RefCell::new(None),
            stall: Stall::default(),
            write_timeout: Cell::new(settings.write),
            refusal: Cell::new(None),
            automatic_answer: Cell::new(None),
            cancellation: Cell::new(None),
            is_cut: Cell::new(false),
            remainders: RefCell::default(),
            logins: Logins::default(),
            drains_until: Cell::new(None),
        }
    }

    /// Sets the listener's name.
    #[must_use]
    pub fn at(mut self, listener: Option<Arc<str>>) -> Self {
        self.listener = listener;
        self
    }

    /// Waits for the client's first bytes, until they show which HTTP version it speaks: HTTP/2 "with prior knowledge" begins with
    /// a preface of its own (RFC 9113, section 3.4). They are kept to be read again.
    pub fn poll_speaks_http2(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if let Some(protocol) = self.socket.alpn_protocol() {
            return Poll::Ready(Ok(protocol == b"h2"));
        }
        let mut scratch = [MaybeUninit::uninit(); 4096];
        loop {
            let mut state = self.state.borrow_mut();
            let seen = state.unread();
            if !seen
                .iter()
                .zip(PREFACE)
                .all(|(seen, preface)| seen == preface)
            {
                return Poll::Ready(Ok(false));
            }
            if seen.len() >= PREFACE.len() {
                return Poll::Ready(Ok(true));
            }
            let mut buf = ReadBuf::uninit(&mut scratch);
            ready!(self.socket.poll_read_shared(cx, &mut buf))?;
            if buf.filled().is_empty() {
                return Poll::Ready(Ok(false));
            }
            seen.extend_from_slice(buf.filled());
        }
    }

    /// Takes the connection apart.
    pub fn into_parts(self) -> ClientParts {
        ClientParts {
            unread: self.state.into_inner().take_unread(),
            socket: self.socket,
            peer: self.peer,
            listener: self.listener,
            settings: self.settings,
        }
    }

    /// The limits of requests.
    pub fn limits(&self) -> Limits {
        self.settings.limits
    }

    /// When the connection becomes too old for new requests; it never changes.
    pub fn retires_at(&self) -> Option<Instant> {
        self.retires_at
    }

    /// Waits until the client disconnects.
    pub fn closed(&self) -> impl Future<Output = ()> {
        self.socket.closed()
    }

    /// hyper has read a request's head and found a body of this length: `None` is chunked.
    pub fn begin_request(&self, body_length: Option<u64>) {
        self.state.borrow_mut().handle_request(body_length);
        self.wake_reader();
    }

    /// hyper has been given the whole response.
    pub fn end_response(&self) {
        self.state.borrow_mut().handle_response_end();
    }

    /// hyper has nothing left to write.
    fn handle_flushed(&self) {
        if self.state.borrow_mut().handle_flushed(Instant::now()) {
            self.end_request();
        }
    }

    /// A takeover has ended, and the connection comes back.
    pub fn take_back(&self) {
        self.state.borrow_mut().handle_return(Instant::now());
        self.end_request();
    }

    /// The response has been sent, and the next request may follow.
    fn end_request(&self) {
        self.write_timeout.set(self.settings.write);
        self.wake_reader();
    }

    /// Drops everything that the connection still had to do. A takeover holds the client that holds it: this breaks that cycle.
    pub fn abandon(&self) {
        let takeover = self.state.borrow_mut().abandon();
        drop(takeover);
        self.remainders.take();
        self.logins.clear();
    }

    /// Waits until requests that outlived their responses are sent.
    pub async fn remainders_over(&self) {
        loop {
            let Some(remainder) = self.remainders.borrow_mut().pop() else {
                return;
            };
            remainder.over().await;
        }
    }

    /// The next instant at which a timeout of this connection expires, or its client has to be checked, and for which reason.
    pub fn deadline(&self) -> Option<(Instant, Reason)> {
        let after = |since: Instant, timeout: Option<Duration>| since.checked_add(timeout?);
        let phase = match self.state.borrow().clock() {
            Clock::RequestHead(since) => after(since, self.settings.request_head),
            Clock::KeepAlive(since) => after(since, self.settings.keep_alive),
            Clock::None => None,
        };
        match (self.stall.due(self.write_timeout.get()), phase) {
            (Some(stalled), phase) if phase.is_none_or(|phase| stalled < phase) => {
                Some((stalled, Reason::ClientStalled))
            }
            (_, Some(phase)) => Some((phase, Reason::RequestHeadTimeout)),
            (_, None) => None,
        }
    }

    /// Whether the timeout of this [deadline](Self::deadline) has expired once its time has come: a client that seems stalled may
    /// only be slow.
    pub fn has_expired(&self, reason: Reason) -> bool {
        reason != Reason::ClientStalled
            || self
                .stall
                .has_lasted(&self.socket, self.write_timeout.get())
    }

    /// Whether part of a request's head has arrived, so that the client gets a response.
    pub fn has_partial_head(&self) -> bool {
        self.state.borrow().is_in_head()
    }

    /// Whether the client may still be sending bytes that will not be read: closing at once would then reset the connection and
    /// lose the response.
    pub fn has_unread_input(&self) -> bool {
        self.state.borrow().has_unread_input()
    }

    /// Writes what is to be sent ahead of hyper's output.
    pub fn poll_ahead(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state.borrow_mut();
        while !state.ahead().is_empty() {
            let written = self
                .socket
                .poll_write_shared(cx, &[IoSlice::new(state.ahead())]);
            self.note_taken(taken(&written));
            state.handle_written(ready!(written)?);
        }
        Poll::Ready(Ok(()))
    }

    /// Why the request's head was refused, if it was: the reason, and the error.
    pub fn refusal(&self) -> Option<(Reason, Option<String>)> {
        if let Some(malformed) = self.refusal.get() {
            let reason = match malformed {
                Malformed::TooLong(_) => Reason::RequestHeadTooLarge,
                _ => Reason::RequestMalformed,
            };
            return Some((reason, Some(malformed.to_string())));
        }
        let reason = match self.automatic_answer.get()? {
            414 => Reason::RequestUriTooLong,
            431 => Reason::RequestHeadTooLarge,
            _ => Reason::RequestMalformed,
        };
        Some((reason, None))
    }

    /// Sets why this connection is about to be dropped.
    pub fn cancel(&self, reason: Reason) {
        self.cancellation.set(Some(reason));
    }

    /// The drain's time is up: streams on this connection have to end now.
    pub fn cut(&self) {
        self.is_cut.set(true);
    }

    /// Makes the connection a tunnel: from now on only the kernel checks that its client is there.
    pub fn become_tunnel(&self) {
        let timeout = self.write_timeout.get();
        self.socket
            .set_user_timeout(timeout.map(|timeout| timeout * TUNNEL_PATIENCE));
    }

    /// The takeover, once hyper has written everything before it.
    pub fn take_takeover(&self) -> Option<Takeover> {
        self.state.borrow_mut().take()
    }

    /// Begins the drain: the connection accepts no more requests, and open ones have to be done by `until`.
    pub fn drain(&self, until: Instant) {
        self.drains_until.set(Some(until));
    }

    /// Whether the response under way is the connection's last.
    pub fn is_last_response(&self) -> bool {
        self.is_cut()
            || self.drains_until().is_some()
            || self.retires_at.is_some_and(|at| Instant::now() >= at)
    }

    /// Writes a last response past hyper, and closes the connection so that the client can read it.
    pub async fn send_last(&self, response: &[u8]) {
        self.socket.finish(response).await;
    }

    /// Closes the connection in order: over TLS, one that is just dropped looks truncated.
    pub async fn close(&self) {
        if !self.is_tls() {
            return; // FIN comes with the drop
        }
        let closing = poll_fn(|cx| self.socket.poll_shutdown_shared(cx));
        let _ = tokio::time::timeout(self.settings.write.unwrap_or(CLOSING), closing).await;
    }

    /// Notes whether the client accepts what is written and flushed.
    fn note_taken(&self, taken: Poll<usize>) {
        self.stall.note(taken);
    }

    fn wait_to_read(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        *self.reader.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    fn wake_reader(&self) {
        if let Some(waker) = self.reader.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// What a client sends first on a connection with HTTP/2 (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How many `write` timeouts the client of a tunnel may take to acknowledge bytes.
const TUNNEL_PATIENCE: u32 = 4;

/// How long sending `close_notify` may take without a `write` timeout.
const CLOSING: Duration = Duration::from_secs(1);
