//! One client connection: its socket, what phase it is in, and the clocks of that phase.
//!
//! hyper reads and writes through a [`Gate`]; everything else that must know of the connection (its server task, the bodies that
//! are written to it) shares the [`Client`] itself. All of it stays on one thread.

mod address;
mod gate;
mod reader;
mod stream;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use http::Response;
use tokio::io::ReadBuf;
use tokio::time::Instant;

pub use self::address::{address_text, ip_text};
pub use self::gate::Gate;
pub use self::reader::{Bequest, Fate, Heir, Inheritance, Reader};
pub use self::stream::ClientStream;
use crate::alarm::jittered;
use crate::reason::Reason;
use crate::socket::Socket;
use crate::wire::{Chunked, Malformed, RequestHead};

/// A client's connection.
#[derive(Debug)]
pub struct Client {
    socket: Socket,
    peer: Option<SocketAddr>,
    clocks: Clocks,
    retires_at: Option<Instant>,
    phase: Cell<Phase>,
    inbound: RefCell<Inbound>,
    /// Whoever waits to read while there is nothing that may be read.
    reader: RefCell<Option<Waker>>,
    /// Since when bytes wait that the client does not take.
    stalled_since: Cell<Option<Instant>>,
    write_timeout: Cell<Option<Duration>>,
    refusal: Cell<Option<Malformed>>,
    automatic_answer: Cell<Option<u16>>,
    departure: Cell<Option<Reason>>,
    is_cut: Cell<bool>,
    /// Interim responses, which hyper cannot write.
    interim: RefCell<Vec<u8>>,
    /// hyper flushes when it has nothing left to write: until then, what it writes may belong to an earlier response.
    flushed: Cell<bool>,
    heir: RefCell<Option<Heir>>,
    is_handed_over: Cell<bool>,
    /// The shutdown has begun, and so long it may take: the response under way is the connection's last.
    drains_until: Cell<Option<Instant>>,
}

/// What a connection is held to before a request has a route: its clocks, the `write` clock where no route says otherwise, and
/// the size of what may come.
#[derive(Debug, Clone, Copy)]
pub struct Clocks {
    /// For a whole request head to arrive.
    pub request_head: Option<Duration>,
    /// Between two requests.
    pub keep_alive: Option<Duration>,
    /// For the client to take a byte of those that wait for it.
    pub write: Option<Duration>,
    /// For the connection to take new requests, before its jitter.
    pub connection_age: Option<Duration>,
    /// How much may come.
    pub limits: Limits,
}

#[cfg(test)]
impl Clocks {
    /// No clock runs, and little may come.
    pub(crate) fn off() -> Self {
        Self {
            request_head: None,
            keep_alive: None,
            write: None,
            connection_age: None,
            limits: Limits {
                request_head: 1024,
                request_headers: 10,
                streams: 1,
            },
        }
    }
}

/// How much a client may send at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of one request head, in bytes.
    pub request_head: usize,
    /// Fields of one request head.
    pub request_headers: usize,
    /// Requests on one HTTP/2 connection.
    pub streams: u32,
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing of a first request has come yet.
    Fresh { since: Instant },
    /// A request's head is arriving.
    Head { since: Instant },
    /// A request is being answered.
    Request,
    /// Between two requests.
    KeepAlive { since: Instant },
}

/// What the client's next bytes are.
#[derive(Debug)]
struct Inbound {
    expects: Expects,
    /// Bytes that came in one read with the end of what was expected.
    rest: Vec<u8>,
}

#[derive(Debug)]
enum Expects {
    Head(RequestHead),
    /// A head is with hyper; what follows it is known once hyper has read it.
    Verdict,
    Length(u64),
    Chunked(Chunked),
}

impl Expects {
    /// The next request.
    fn head(limits: Limits) -> Self {
        Self::Head(RequestHead::new(limits.request_head))
    }
}

impl Client {
    /// A connection on which nothing has happened yet.
    pub fn new(socket: Socket, peer: Option<SocketAddr>, clocks: Clocks) -> Self {
        socket.set_user_timeout(clocks.write);
        let now = Instant::now();
        let age = clocks.connection_age.map(jittered);
        Self {
            socket,
            peer,
            clocks,
            retires_at: age.and_then(|age| now.checked_add(age)),
            phase: Cell::new(Phase::Fresh { since: now }),
            inbound: RefCell::new(Inbound {
                expects: Expects::head(clocks.limits),
                rest: Vec::new(),
            }),
            reader: RefCell::new(None),
            stalled_since: Cell::new(None),
            write_timeout: Cell::new(clocks.write),
            refusal: Cell::new(None),
            automatic_answer: Cell::new(None),
            departure: Cell::new(None),
            is_cut: Cell::new(false),
            interim: RefCell::default(),
            flushed: Cell::new(true),
            heir: RefCell::new(None),
            is_handed_over: Cell::new(false),
            drains_until: Cell::new(None),
        }
    }

    /// Waits for the client's first bytes, until they show which HTTP it speaks: HTTP/2 "with prior knowledge" begins with a
    /// preface of its own (RFC 9113, section 3.4). They are kept for whoever serves it.
    pub fn poll_speaks_http2(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if let Some(protocol) = self.socket.alpn_protocol() {
            return Poll::Ready(Ok(protocol == b"h2"));
        }
        let mut scratch = [MaybeUninit::uninit(); 4096];
        loop {
            let seen = &mut self.inbound.borrow_mut().rest;
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

    /// The socket, the client's address, its clocks, and what was read and not yet looked at.
    pub fn into_parts(self) -> (Socket, Option<SocketAddr>, Clocks, Vec<u8>) {
        let unread = self.inbound.into_inner().rest;
        (self.socket, self.peer, self.clocks, unread)
    }

    /// How much may come.
    pub fn limits(&self) -> Limits {
        self.clocks.limits
    }

    /// When the connection is so old that it is to take no new request; the same for its whole life.
    pub fn retires_at(&self) -> Option<Instant> {
        self.retires_at
    }

    /// Waits until the client is gone.
    pub fn closed(&self) -> impl Future<Output = ()> {
        self.socket.closed()
    }

    /// hyper has read a request's head and found a body of this length: `None` is chunked.
    pub fn begin_request(&self, body_length: Option<u64>) {
        self.phase.set(Phase::Request);
        self.inbound.borrow_mut().expects = match body_length {
            Some(0) => Expects::head(self.limits()),
            Some(length) => Expects::Length(length),
            None => Expects::Chunked(Chunked::new()),
        };
        self.wake_reader();
    }

    /// The response to the request is written (or in hyper's hands to be).
    pub fn end_request(&self) {
        self.phase.set(Phase::KeepAlive {
            since: Instant::now(),
        });
        if self.write_timeout.replace(self.clocks.write) != self.clocks.write {
            self.socket.set_user_timeout(self.clocks.write);
        }
        self.wake_reader();
    }

    /// The next instant at which a clock of this connection runs out, and what that means.
    pub fn deadline(&self) -> Option<(Instant, Reason)> {
        let after = |since: Instant, timeout: Option<Duration>| since.checked_add(timeout?);
        let stalled = self
            .stalled_since
            .get()
            .and_then(|since| after(since, self.write_timeout.get()));
        let phase = match self.phase.get() {
            Phase::Fresh { since } | Phase::Head { since } => {
                after(since, self.clocks.request_head)
            }
            Phase::KeepAlive { since } => after(since, self.clocks.keep_alive),
            Phase::Request => None,
        };
        let stalled = stalled.map(|at| (at, Reason::ClientStalled));
        let phase = phase.map(|at| (at, Reason::RequestHeadTimeout));
        stalled.into_iter().chain(phase).min_by_key(|&(at, _)| at)
    }

    /// Whether part of a request's head has arrived, so that the client deserves an answer.
    pub fn has_partial_head(&self) -> bool {
        matches!(self.phase.get(), Phase::Head { .. })
    }

    /// Whether the client may still be sending what nobody will read: closing at once would then reset the connection, and
    /// take the answer with it.
    pub fn has_unread_input(&self) -> bool {
        let inbound = self.inbound.borrow();
        !inbound.rest.is_empty()
            || !matches!(&inbound.expects, Expects::Head(head) if !head.is_started())
    }

    /// Writes the interim responses, as far as hyper is not in the midst of something.
    pub fn poll_inform(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut interim = self.interim.borrow_mut();
        while self.flushed.get() && !interim.is_empty() {
            let bufs = [IoSlice::new(&interim)];
            let written = ready!(self.socket.poll_write_shared(cx, &bufs))?;
            interim.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    /// Why the request's head was refused, if it was: the reason, and what was wrong with it.
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

    /// Says why this connection is about to be dropped.
    pub fn depart(&self, reason: Reason) {
        self.departure.set(Some(reason));
    }

    /// The process ends: streams on this connection are to end now.
    pub fn cut(&self) {
        self.is_cut.set(true);
    }

    /// Whether the request under way is answered by somebody else than hyper.
    pub fn is_handed_over(&self) -> bool {
        self.is_handed_over.get()
    }

    /// Who answered the request in hyper's place is done with it.
    pub fn take_back(&self) {
        self.is_handed_over.set(false);
        self.end_request();
    }

    /// Who gets the connection, once hyper has written everything that came before.
    pub fn take_heir(&self) -> Option<Heir> {
        self.heir.borrow_mut().take_if(|_| self.flushed.get())
    }

    /// The process is about to end: the connection takes no more requests, and open ones have to be done by `until`.
    pub fn drain(&self, until: Instant) {
        self.drains_until.set(Some(until));
    }

    /// Whether the response under way is the connection's last.
    pub fn is_last_response(&self) -> bool {
        self.is_cut()
            || self.drains_until().is_some()
            || self.retires_at.is_some_and(|at| Instant::now() >= at)
    }

    /// Writes a last response that hyper has no part in, and closes the connection so that it can be read.
    pub async fn send_last(&self, response: &[u8]) {
        self.socket.finish(response).await;
    }

    /// Ends the connection in order: over TLS one that is just dropped looks cut.
    pub async fn close(&self) {
        if !self.is_tls() {
            return; // FIN comes with the drop
        }
        let closing = poll_fn(|cx| self.socket.poll_shutdown_shared(cx));
        let _ = tokio::time::timeout(self.clocks.write.unwrap_or(CLOSING), closing).await;
    }

    /// Notes whether the client takes what is written and flushed.
    fn note_taken<T>(&self, taken: &Poll<io::Result<T>>) {
        match (taken, self.stalled_since.get()) {
            (Poll::Pending, None) => self.stalled_since.set(Some(Instant::now())),
            (Poll::Ready(Ok(_)), Some(_)) => self.stalled_since.set(None),
            (Poll::Pending, Some(_)) | (Poll::Ready(_), _) => {}
        }
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

/// How long `close_notify` may take to leave, where no `write` clock says so.
const CLOSING: Duration = Duration::from_secs(1);

impl Reader for Client {
    fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    fn is_tls(&self) -> bool {
        self.socket.is_tls()
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) {
        if self.write_timeout.replace(timeout) != timeout {
            self.socket.set_user_timeout(timeout);
        }
    }

    fn is_stalled(&self) -> bool {
        self.stalled_since.get().is_some()
    }

    fn is_cut(&self) -> bool {
        self.is_cut.get()
    }

    fn drains_until(&self) -> Option<Instant> {
        self.drains_until.get()
    }

    fn departure(&self) -> Reason {
        self.departure.get().unwrap_or(Reason::ClientGone)
    }

    fn reset_on_close(&self) {
        self.socket.reset_on_close();
    }

    fn inform(&self, interim: Response<()>) {
        let (head, ()) = interim.into_parts();
        let mut bytes = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
        for (name, value) in &head.headers {
            let line = [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"];
            bytes.extend(line.concat());
        }
        bytes.extend(b"\r\n");
        self.interim.borrow_mut().extend(bytes);
    }

    fn can_hand_over(&self) -> bool {
        matches!(self.inbound.borrow().expects, Expects::Head(_))
    }

    fn hand_over(&self, heir: Heir) {
        self.is_handed_over.set(true);
        *self.heir.borrow_mut() = Some(heir);
    }
}
