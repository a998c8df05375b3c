//! One client connection over HTTP/2: each of its streams is answered by a task of its own, beside the connection's.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection as Http, SendResponse};
use h2::{Reason as Code, RecvStream};
use http::header::{ACCEPT, EXPECT};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Handler, LAST_WORDS, Refusal, ShutdownWatch, Stage};
use crate::alarm::Alarm;
use crate::body::{Aborted, Incoming};
use crate::client::{Client, ClientParts, ConnectionSettings, Downstream, Login, Takeover};
use crate::config;
use crate::http1::Connection;
use crate::http2::{
    Inflow, Io, Outflow, Payload, PingMonitor, QueuedBytes, STREAM_WINDOW, Sent, Wire,
};
use crate::metrics::Metrics;
use crate::problem;
use crate::reason::Reason;
use crate::sending::Remainder;

/// How much of all its streams a client may send before it is read, in bytes.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// h2 counts small DATA frames that wait to be read against this. Its own measure ends a connection, with all its streams, that
/// has a few uploads of small messages to a slow backend; this one is a bound of some 18 MB on their bookkeeping (65,793 frames of a
/// byte).
const SMALL_FRAMES: usize = 16 * 1024 * 1024;
/// A client that gave up so many requests before they were answered, and that more than two times in three, is not one that
/// changes its mind: it is a rapid reset (CVE-2023-44487). Envoy draws such a line at 500 and one in two.
const PREMATURE_RESETS: u64 = 200;

/// How long a client that is told to leave has to answer: until then a request that has crossed with the GOAWAY is still taken.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the streams of a connection share.
#[derive(Debug)]
struct Shared {
    wire: Rc<Wire>,
    peer: Option<SocketAddr>,
    listener: Option<Arc<str>>,
    connection_settings: ConnectionSettings,
    /// The `write` timeouts of the open streams, each with how many have it.
    write_timeouts: RefCell<Vec<(Option<Duration>, isize)>>,
    cancellation: Cell<Option<Reason>>,
    shutdown: Rc<ShutdownWatch>,
    requests: Cell<u64>,
    premature_resets: Cell<u64>,
    /// How many streams are open, and since when there is none.
    open: Cell<usize>,
    idle_since: Cell<Instant>,
}

/// One stream, as its request and its response see it.
#[derive(Debug)]
struct Stream {
    connection: Rc<Shared>,
    queued: Rc<QueuedBytes>,
    interim: RefCell<Vec<Response<()>>>,
    /// Who sends those.
    answering: RefCell<Option<Waker>>,
    write_timeout: Cell<Option<Duration>>,
    cancellation: Cell<Option<Reason>>,
    /// The client was asked for its request's body, or does not wait for that.
    has_asked: Cell<bool>,
    /// The client has reset the stream.
    has_reset: Cell<bool>,
    /// What is left to be sent of the request when the response has ended.
    remainder: RefCell<Option<Remainder>>,
}

/// Why the connection is over.
enum Outcome {
    /// It was closed in order.
    Done,
    /// It failed, or the client did not speak HTTP/2 on it.
    Failed(h2::Error),
    /// Writing failed, or the client left.
    Left,
    /// A timeout expired.
    Expired(Reason),
}

/// Serves `client`, which speaks HTTP/2, until one side is done.
pub(super) async fn serve<H: Handler>(
    client: Client,
    handler: Rc<H>,
    shutdown: Rc<ShutdownWatch>,
    metrics: &Metrics,
) {
    let retires_at = client.retires_at();
    let ClientParts {
        socket,
        peer,
        listener,
        settings: connection_settings,
        unread,
    } = client.into_parts();
    let wire = Wire::new(socket, unread);
    let shared = Rc::new(Shared::new(
        wire.clone(),
        peer,
        listener,
        connection_settings,
        shutdown.clone(),
    ));
    let Some(mut http) = shake_hands(&wire, connection_settings, &shutdown).await else {
        return;
    };
    let mut tasks = JoinSet::new();
    let outcome = {
        let mut watch = Watch {
            shared: &shared,
            shutdown: &shutdown,
            seen: Stage::Running,
            cut_at: None,
            retires_at,
            leaves_at: None,
            alarm: Alarm::default(),
        };
        let mut registration = shutdown.register();
        let mut closed = pin!(wire.socket().closed());
        let mut pings = PingMonitor::new(http.ping_pong());
        poll_fn(|cx| {
            registration.update(cx);
            if watch.stage_changed() && shutdown.stage() != Stage::Running {
                http.graceful_shutdown();
                watch.leaves_at = Some(Instant::now() + FAREWELL);
            }
            while let Poll::Ready(Some(_)) = tasks.poll_join_next(cx) {}
            loop {
                match http.poll_accept(cx) {
                    Poll::Ready(Some(Ok((request, respond)))) => {
                        let stream = shared.open(respond);
                        tasks.spawn_local(stream.answer(
                            request,
                            handler.clone(),
                            shutdown.clone(),
                        ));
                    }
                    Poll::Ready(Some(Err(error))) => {
                        return Poll::Ready(Outcome::Failed(error));
                    }
                    Poll::Ready(None) => return Poll::Ready(Outcome::Done),
                    Poll::Pending => break,
                }
            }
            if let Poll::Ready(Err(_)) = wire.poll_send(cx) {
                return Poll::Ready(Outcome::Left);
            }
            if closed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Outcome::Left);
            }
            if shared.resets_rapidly() {
                metrics.refused(Reason::RapidReset);
                http.abrupt_shutdown(Code::ENHANCE_YOUR_CALM);
                shared.premature_resets.set(0);
                cx.waker().wake_by_ref();
            }
            if shared.open.get() > 0 && pings.poll(cx, wire.last_read()).is_ready() {
                return Poll::Ready(Outcome::Expired(Reason::ClientGone));
            }
            match ready!(watch.poll_due(cx)) {
                Due::End(reason) => return Poll::Ready(Outcome::Expired(reason)),
                Due::Idle => {
                    // No stream is open, so nothing is cut; a request that is on its way may be sent again elsewhere.
                    http.abrupt_shutdown(Code::NO_ERROR);
                    shared.idle_since.set(Instant::now());
                    watch.leaves_at = None;
                }
                Due::Retirement => {
                    http.graceful_shutdown();
                    watch.retires_at = None;
                    watch.leaves_at = Some(Instant::now() + FAREWELL);
                }
            }
            cx.waker().wake_by_ref(); // to write the GOAWAY
            Poll::Pending
        })
        .await
    };
    let is_orderly = shared.is_orderly(&outcome);
    drop(http);
    tasks.shutdown().await; // its requests are dropped for that reason
    if is_orderly {
        wire.finish().await; // with the GOAWAY that says why
    }
}

/// Exchanges the settings, under the `request_head` timeout; `None` also if the shutdown begins meanwhile.
async fn shake_hands(
    wire: &Rc<Wire>,
    connection_settings: ConnectionSettings,
    shutdown: &ShutdownWatch,
) -> Option<Http<Io, Payload>> {
    let limits = connection_settings.limits;
    let mut handshake = pin!(
        Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.request_head).unwrap_or(u32::MAX))
            .data_frame_budget(SMALL_FRAMES)
            .enable_connect_protocol() // RFC 8441
            .handshake(wire.io())
    );
    let mut registration = shutdown.register();
    let shaken = poll_fn(|cx| {
        registration.update(cx);
        let shaken = handshake.as_mut().poll(cx);
        let _ = wire.poll_send(cx); // h2 sees a failure when it reads
        if shaken.is_pending() && shutdown.stage() != Stage::Running {
            return Poll::Ready(None);
        }
        shaken.map(Some)
    });
    let shaken = match connection_settings.request_head {
        Some(timeout) => tokio::time::timeout(timeout, shaken).await.ok()?,
        None => shaken.await,
    };
    shaken?
        .inspect_err(|error| {
            tracing::debug!(error = error as &dyn Error, "HTTP/2 handshake failed");
        })
        .ok()
}

/// What is watched beside h2.
struct Watch<'a> {
    shared: &'a Shared,
    shutdown: &'a ShutdownWatch,
    seen: Stage,
    cut_at: Option<Instant>,
    /// When the connection is to take no new requests.
    retires_at: Option<Instant>,
    /// When it is closed unless a stream is open, because the client was told to leave.
    leaves_at: Option<Instant>,
    alarm: Alarm,
}

/// What is due.
enum Due {
    /// The client gets no new streams.
    Retirement,
    /// Nobody has used the connection for too long.
    Idle,
    /// The connection is to end.
    End(Reason),
}

impl Watch<'_> {
    fn stage_changed(&mut self) -> bool {
        let stage = self.shutdown.stage();
        let changed = self.seen != stage;
        self.seen = stage;
        if changed && stage == Stage::Cutting {
            self.cut_at = Some(Instant::now() + LAST_WORDS);
        }
        changed
    }

    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Due> {
        let shared = self.shared;
        let after = |since: Instant, timeout: Option<Duration>| since.checked_add(timeout?);
        let connection_settings = shared.connection_settings;
        let stalled = shared.wire.stall().due(shared.patience());
        let idle = after(shared.idle_since.get(), connection_settings.keep_alive);
        let idle = idle.into_iter().chain(self.leaves_at).min();
        let due = [
            stalled.map(|at| (at, Due::End(Reason::ClientStalled))),
            self.cut_at.map(|at| (at, Due::End(Reason::Shutdown))),
            idle.filter(|_| shared.open.get() == 0)
                .map(|at| (at, Due::Idle)),
            self.retires_at.map(|at| (at, Due::Retirement)),
        ];
        let Some((at, due)) = due.into_iter().flatten().min_by_key(|&(at, _)| at) else {
            return Poll::Pending;
        };
        ready!(self.alarm.poll(cx, at));
        let wire = &shared.wire;
        let is_slow = matches!(due, Due::End(Reason::ClientStalled))
            && !wire.stall().has_lasted(wire.socket(), shared.patience());
        if is_slow {
            return self.poll_due(cx); // it takes something now and then
        }
        Poll::Ready(due)
    }
}

impl Shared {
    fn new(
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

    /// The `write` timeout of the most patient of its open streams: the connection's when its socket is full.
    fn patience(&self) -> Option<Duration> {
        let timeouts = self.write_timeouts.borrow();
        if timeouts.is_empty() {
            return self.connection_settings.write;
        }
        let timeouts = timeouts.iter().map(|&(timeout, _)| timeout);
        timeouts.reduce(|most, timeout| Some(most?.max(timeout?)))?
    }

    /// So many open streams more have this `write` timeout.
    fn count_write_timeout(&self, timeout: Option<Duration>, more: isize) {
        let mut timeouts = self.write_timeouts.borrow_mut();
        match timeouts.iter_mut().find(|(known, _)| *known == timeout) {
            Some((_, streams)) => *streams += more,
            None => timeouts.push((timeout, more)),
        }
        timeouts.retain(|&(_, streams)| streams > 0);
    }

    fn open(self: &Rc<Self>, respond: SendResponse<Payload>) -> Open {
        self.requests.set(self.requests.get() + 1);
        self.open.set(self.open.get() + 1);
        self.count_write_timeout(self.connection_settings.write, 1);
        let reader = Rc::new(Stream {
            connection: self.clone(),
            queued: Rc::default(),
            interim: RefCell::default(),
            answering: RefCell::default(),
            write_timeout: Cell::new(self.connection_settings.write),
            cancellation: Cell::new(None),
            has_asked: Cell::new(true),
            has_reset: Cell::new(false),
            remainder: RefCell::default(),
        });
        Open { reader, respond }
    }

    /// Whether the client gets the last of the connection; if not, its requests learn why.
    fn is_orderly(&self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Done => return true,
            Outcome::Failed(error) => {
                let peer = self.peer.map(tracing::field::display);
                tracing::debug!(error = error as &dyn Error, peer, "connection failed");
                return true;
            }
            Outcome::Left => self.cancellation.set(Some(Reason::ClientGone)),
            Outcome::Expired(reason) => {
                if *reason == Reason::ClientStalled {
                    self.wire.socket().reset_on_close(); // or the kernel goes on holding what it did not take
                }
                self.cancellation.set(Some(*reason));
            }
        }
        false
    }

    fn resets_rapidly(&self) -> bool {
        let resets = self.premature_resets.get();
        resets >= PREMATURE_RESETS && resets * 3 > self.requests.get() * 2
    }
}

/// A stream on which a request has come.
struct Open {
    reader: Rc<Stream>,
    respond: SendResponse<Payload>,
}

/// A response's body on its way.
type Flowing<B> = Outflow<Pin<Box<B>>>;

impl Open {
    /// Answers the request, for as long as the response takes.
    fn answer<H: Handler>(
        self,
        request: Request<RecvStream>,
        handler: Rc<H>,
        shutdown: Rc<ShutdownWatch>,
    ) -> impl Future<Output = ()> {
        // In a box of its own: it is large, and gone when the response has begun.
        let mut beginning = Box::pin(self.begin(request, handler));
        async move {
            let mut registration = shutdown.register();
            let begun = poll_fn(|cx| {
                registration.update(cx);
                beginning.as_mut().poll(cx)
            });
            let begun = begun.await;
            drop(beginning);
            if let Some((open, outflow)) = begun {
                if let Some(mut outflow) = outflow {
                    open.pass(&mut outflow).await;
                }
                let remainder = open.reader.remainder.take();
                if let Some(remainder) = remainder {
                    remainder.over().await;
                }
            }
        }
    }

    /// Up to the response's head; nothing of the response is left to be sent if that is all of it.
    async fn begin<H: Handler>(
        mut self,
        request: Request<RecvStream>,
        handler: Rc<H>,
    ) -> Option<(Self, Option<Flowing<H::Body>>)> {
        let (head, stream) = request.into_parts();
        let is_head = head.method == Method::HEAD;
        let most = self
            .reader
            .connection
            .connection_settings
            .limits
            .request_headers;
        if head.headers.len() > most {
            let detail = format!("it has more than {most} fields");
            let reason = Reason::RequestHeadTooLarge;
            let accept = head.headers.get_all(ACCEPT);
            let refusal = problem::response(reason, Some(&detail), accept);
            handler.refused(&Refusal {
                client: &*self.reader,
                head: Some(&head),
                reason,
                bytes: if is_head { 0 } else { refusal.body().len() },
            });
            if let Some(mut outflow) = self.send(refusal.map(Full::new), is_head).await {
                self.pass(&mut outflow).await;
            }
            return None;
        }
        let mut body = Inflow::new(stream, &head.headers);
        let expects = head.headers.get(EXPECT).map(HeaderValue::as_bytes);
        self.reader
            .has_asked
            .set(!expects.is_some_and(|expects| expects.eq_ignore_ascii_case(b"100-continue")));
        if !self.reader.has_asked.get() {
            let reader = self.reader.clone();
            body.ask_with(move || reader.go_on());
        }
        let request = Request::from_parts(head, Incoming::Http2(body));
        let mut answering = pin!(handler.handle(self.reader.clone(), request));
        let response = poll_fn(|cx| {
            *self.reader.answering.borrow_mut() = Some(cx.waker().clone());
            if self.respond.poll_reset(cx).is_ready() {
                return Poll::Ready(None);
            }
            let response = answering.as_mut().poll(cx).map(Some);
            for interim in self.reader.interim.take() {
                let _ = self.respond.send_informational(interim); // it fails with the stream
            }
            response
        })
        .await;
        let Some(response) = response else {
            let resets = &self.reader.connection.premature_resets;
            resets.set(resets.get() + 1);
            return None;
        };
        let outflow = self.send(response, is_head).await;
        Some((self, outflow))
    }

    /// Sends a response's head, and returns what is left to be sent.
    async fn send<B>(&mut self, response: Response<B>, is_head: bool) -> Option<Flowing<B>>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>,
    {
        let (head, body) = response.into_parts();
        let mut body = Box::pin(body);
        let mut ends = body.is_end_stream();
        if !ends && (is_head || head.status == StatusCode::NOT_MODIFIED) {
            // The head states a length that no frame may seem to contradict, not even an empty one: so it ends the stream, and
            // what there is of a body is not for the client.
            ends = poll_fn(|cx| Poll::Ready(body.as_mut().poll_frame(cx).is_ready())).await;
        }
        let head = Response::from_parts(head, ());
        let stream = self.respond.send_response(head, ends).ok()?; // or the client is gone
        (!ends).then(|| Outflow::new(body, stream, self.reader.queued.clone()))
    }

    async fn pass<B>(&self, outflow: &mut Flowing<B>)
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>,
    {
        let reader = &self.reader;
        let is_held_up = || reader.connection.wire.stall().is_full();
        let sent = poll_fn(|cx| outflow.poll(cx, reader.write_timeout.get(), is_held_up, code_of));
        let sent = sent.await;
        match sent {
            Sent::Stalled => reader.cancellation.set(Some(Reason::ClientStalled)),
            Sent::Refused(_) => reader.has_reset.set(true),
            Sent::Complete | Sent::Broken => {}
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let connection = &self.reader.connection;
        connection.count_write_timeout(self.reader.write_timeout.get(), -1);
        connection.open.set(connection.open.get() - 1);
        connection.idle_since.set(Instant::now());
    }
}

/// The code that tells the client of a response that was cut.
fn code_of(error: impl Into<Box<dyn Error + Send + Sync>>) -> Code {
    let error = error.into();
    let aborted = error.downcast_ref::<Aborted>();
    aborted
        .and_then(|aborted| aborted.code)
        .unwrap_or(Code::INTERNAL_ERROR)
}

impl Downstream for Stream {
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

    /// A reset of the stream shows every cut.
    fn reset_on_close(&self) {}

    fn inform(&self, interim: Response<()>) {
        self.interim.borrow_mut().push(interim);
        if let Some(waker) = self.answering.borrow_mut().take() {
            waker.wake();
        }
    }

    fn go_on(&self) {
        if !self.has_asked.replace(true) {
            let mut interim = Response::new(());
            *interim.status_mut() = StatusCode::CONTINUE;
            self.inform(interim);
        }
    }

    /// Requests of many users may share the connection, as behind a load balancer: what one of them has logged in on is closed.
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
