//! Requests to upstreams: a connection from the pool or a new one, the request sent, the head waited for.
//!
//! Over HTTP/1.1 a connection belongs to one request at a time, over HTTP/2 many share one. Either way a request is cancelled by
//! dropping what it holds, in every phase.

mod balance;
mod by_host;
mod connect;
mod http1;
mod http2;
mod login;
mod resolve;
mod retry;
mod source;
mod tunnel;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Request, StatusCode, response};
use tokio::sync::Mutex;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

pub use self::balance::{Background, Decision, Pool, identity};
use self::by_host::ByHost;
use self::resolve::Resolver;
use self::retry::Backoff;
pub use self::source::{Source, StreamBody};
pub use self::tunnel::Tunnel;
use crate::alarm::Alarm;
use crate::body::{Incoming, RequestBody, RequestBodyProgress};
use crate::client::Downstream;
use crate::config::{self, ConnectRetry, Detect, UpstreamAddress};
use crate::http1::{Connection, Keeper, Limits};
use crate::metrics::{Metrics, Phase};
use crate::reason::Reason;
use crate::tls::{self, ClientConfig, Reloading};
use crate::upstream_stats::UpstreamStats;
use crate::wire::is_other_stream;

/// How long an idle connection is kept: less than the 5 s after which Node.js closes it, so that the two seldom cross.
const IDLE: Duration = Duration::from_secs(4);
/// How many idle connections to one upstream a thread keeps.
const MAX_IDLE: usize = 64;

/// How long requests wait for a connection that another one opens and that they might share. One that takes longer may be stuck.
const SHARED_CONNECT: Duration = Duration::from_secs(1);
/// How long ago a kept connection may have been used by a request that cannot be repeated: the longer, the likelier it is that the
/// upstream closes it just then.
const RECENT: Duration = Duration::from_secs(1);

/// One upstream, as one thread sees it.
#[derive(Debug)]
pub struct Upstream {
    name: String,
    config: Arc<config::Upstream>,
    resolver: Resolver,
    tls: Option<Reloading<ClientConfig>>,
    /// It has chosen HTTP/1.1 in a TLS handshake.
    prefers_http1: Cell<bool>,
    /// Kept connections with HTTP/1.1.
    idle: RefCell<Vec<(Connection, Instant)>>,
    /// Those with HTTP/2, in use or not.
    shared: RefCell<Vec<Rc<http2::Connection>>>,
    /// A task closes what is idle for too long.
    tended: Cell<bool>,
    /// Whose turn it is to open one of them.
    turn: Mutex<()>,
    /// The same for each of its names, if it has one for each host.
    by_host: ByHost,
    health: Arc<UpstreamStats>,
}

/// How a request is to be sent.
pub struct Terms<'a> {
    /// What counts as an event stream; `Never` for a HEAD request.
    pub detect: Detect,
    /// Streams of other formats count as streams too.
    pub other_streams: bool,
    /// The request's head as the client wrote it, if it speaks HTTP/1.
    pub raw_head: Bytes,
    /// How much the response's head may hold.
    pub limits: Limits,
    /// The request offers to change the protocol.
    pub upgrades: bool,
    /// The `connect` timeout.
    pub connect: Option<Duration>,
    /// How long connecting is tried again within it.
    pub connect_retry: ConnectRetry,
    /// It asks for events.
    pub wants_events: bool,
    /// Whose request it is.
    pub client: &'a Rc<dyn Downstream>,
    /// The `response_head` timeout.
    pub response_head: Option<Duration>,
    /// What the request's body says of itself.
    pub request_body: &'a Rc<RequestBodyProgress>,
    /// Who is told of interim responses.
    pub interim: &'a dyn Fn(StatusCode, HeaderMap),
    /// Where the sending shows how far it has come.
    pub phase: &'a Cell<Phase>,
}

/// An upstream's response.
#[derive(Debug)]
pub struct Answer {
    /// Its head.
    pub head: response::Parts,
    /// The bytes of the head, in which each field is as the upstream spelled it; none over HTTP/2.
    pub raw: Bytes,
    /// Its body.
    pub body: AnswerBody,
}

/// The body of an upstream's response.
#[derive(Debug)]
pub enum AnswerBody {
    /// An event stream.
    Events(Source),
    /// A stream of another format.
    Stream(Source),
    /// The upstream has changed the protocol.
    Upgraded(Tunnel),
    /// Anything else.
    Plain(Incoming),
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
#[error("{}", reason.name())]
pub struct Error {
    /// What happened.
    pub reason: Reason,
    /// What else is known, for a person.
    pub detail: Option<String>,
}

/// How long an upstream has to take a connection.
#[derive(Debug, Clone, Copy)]
enum Patience {
    /// As long as the request's terms say, and trying again as they do.
    Own,
    /// So long and once: there are others.
    Share(Option<Duration>),
}

/// A connection that a request is about to go out on.
enum Transport {
    Http1(Connection),
    Http2(Rc<http2::Connection>),
}

impl Upstream {
    /// An upstream without connections; `tls` is what its settings mean.
    pub fn new(
        config: Arc<config::Upstream>,
        tls: Option<Reloading<ClientConfig>>,
        metrics: &Metrics,
    ) -> Self {
        let name = config.address.to_string();
        Self::named(name, config, tls, metrics)
    }

    fn named(
        name: String,
        config: Arc<config::Upstream>,
        tls: Option<Reloading<ClientConfig>>,
        metrics: &Metrics,
    ) -> Self {
        let health = metrics.upstreams.at(&name);
        Self::with_health(name, config, tls, health)
    }

    fn with_health(
        name: String,
        config: Arc<config::Upstream>,
        tls: Option<Reloading<ClientConfig>>,
        health: Arc<UpstreamStats>,
    ) -> Self {
        Self {
            name,
            config,
            resolver: Resolver::default(),
            tls,
            prefers_http1: Cell::new(false),
            idle: RefCell::default(),
            shared: RefCell::default(),
            tended: Cell::new(false),
            turn: Mutex::default(),
            by_host: ByHost::default(),
            health,
        }
    }

    /// One of the addresses that its name has, as an upstream of its own.
    fn at_address(&self, ip: IpAddr, metrics: &Metrics) -> Self {
        let mut config = config::Upstream::clone(&self.config);
        if let UpstreamAddress::Tcp { host, .. } = &mut config.address {
            *host = ip.to_string();
        }
        let name = format!("{} ({ip})", self.name);
        Self::named(name, Arc::new(config), self.tls.clone(), metrics)
    }

    /// Its URL in the configuration, and which of its addresses it is if it is one of several.
    fn name(&self) -> String {
        self.name.clone()
    }

    /// Where it is.
    pub fn config(&self) -> &Arc<config::Upstream> {
        &self.config
    }

    /// How it is doing, on all threads.
    pub fn health(&self) -> &Arc<UpstreamStats> {
        &self.health
    }

    /// Sends `request` and waits for its response's head. Dropping the future cancels the request.
    ///
    /// It goes out once more, on another connection if need be, if nothing of it was sent; or if all of its body is still here, and the
    /// upstream has refused it unseen, or has closed a kept connection and the request is idempotent (RFC 9110, section 9.2.2).
    pub async fn send(
        self: &Rc<Self>,
        request: Box<Request<RequestBody>>,
        terms: &Terms<'_>,
    ) -> Result<Answer, Error> {
        let sent = self.attempt(request, terms, Patience::Own).await;
        sent.map_err(|failed| failed.error)
    }

    /// The same for one of several upstreams: what fails may be sent to another one.
    async fn attempt(
        self: &Rc<Self>,
        request: Box<Request<RequestBody>>,
        terms: &Terms<'_>,
        patience: Patience,
    ) -> Result<Answer, Failed> {
        let named = match self.for_host(&request) {
            Ok(named) => named,
            Err(error) => return Err(Failed::from(error)),
        };
        if let Some(named) = named {
            return Box::pin(named.attempt(request, terms, patience)).await;
        }
        let transport = match self.kept(&request, terms) {
            Some(kept) => kept,
            None => match self.connect(terms, patience).await {
                Ok(transport) => transport,
                Err(error) => return Err(Failed::unsent(error, request)),
            },
        };
        let mut failed = match self.send_on(transport, request, terms).await {
            Ok(answer) => return Ok(answer),
            Err(failed) => failed,
        };
        let Some(request) = failed.take_request() else {
            return Err(failed);
        };
        match self.connect(terms, patience).await {
            Ok(fresh) => self.send_on(fresh, request, terms).await,
            Err(error) => Err(Failed::unsent(error, request)),
        }
    }

    async fn send_on(
        self: &Rc<Self>,
        transport: Transport,
        request: Box<Request<RequestBody>>,
        terms: &Terms<'_>,
    ) -> Result<Answer, Failed> {
        match transport {
            Transport::Http1(connection) => http1::send(connection, request, terms, self).await,
            Transport::Http2(connection) => connection.send(request, terms).await,
        }
    }

    /// Closes idle connections in time, also if no request comes that would meet them.
    fn tend(self: &Rc<Self>) {
        if self.tended.replace(true) {
            return;
        }
        let upstream = Rc::downgrade(self);
        spawn_local(async move {
            loop {
                sleep(IDLE / 2).await;
                let Some(upstream) = upstream.upgrade() else {
                    return;
                };
                upstream.discard_expired();
                if upstream.idle.borrow().is_empty() && upstream.shared.borrow().is_empty() {
                    upstream.tended.set(false);
                    return;
                }
            }
        });
    }

    /// Closes the connections that were idle for too long.
    fn discard_expired(&self) {
        let now = Instant::now();
        self.idle.borrow_mut().retain(|(connection, since)| {
            now.duration_since(*since) < connection.idle_limit.min(IDLE) && connection.is_quiet()
        });
        self.discard_expired_shared();
    }

    fn discard_expired_shared(&self) {
        self.shared
            .borrow_mut()
            .retain(|connection| connection.is_worth_keeping());
    }

    /// A connection that is there. Of those with HTTP/1 the one that was used last: the others may then grow old, until they are
    /// [discarded](Self::tend).
    fn kept(&self, request: &Request<RequestBody>, terms: &Terms<'_>) -> Option<Transport> {
        if let Some(connection) = self.logged_in(terms) {
            self.health.reused();
            return Some(Transport::Http1(connection));
        }
        self.discard_expired_shared();
        if !terms.upgrades
            && let Some(connection) = self.usable()
        {
            self.health.reused();
            return Some(Transport::Http2(connection));
        }
        let newest = if may_repeat(request) { IDLE } else { RECENT };
        loop {
            let mut idle = self.idle.borrow_mut();
            let (_, since) = idle.last()?;
            if since.elapsed() >= newest {
                return None; // the others are older still
            }
            let (connection, since) = idle.pop()?;
            if since.elapsed() < connection.idle_limit.min(IDLE) && connection.is_quiet() {
                self.health.reused();
                return Some(Transport::Http1(connection));
            }
        }
    }

    /// The connection on which the client has logged in.
    fn logged_in(&self, terms: &Terms<'_>) -> Option<Connection> {
        let connection = terms.client.take_login(&self.config)?;
        connection.is_quiet().then_some(connection)
    }

    fn usable(&self) -> Option<Rc<http2::Connection>> {
        let shared = self.shared.borrow();
        let usable = shared.iter().find(|connection| connection.is_usable());
        usable.cloned()
    }

    /// A new connection; or one with HTTP/2 that another request has made meanwhile. Connecting is tried again where it fails at once.
    async fn connect(
        self: &Rc<Self>,
        terms: &Terms<'_>,
        patience: Patience,
    ) -> Result<Transport, Error> {
        terms.phase.set(Phase::Connecting);
        let (timeout, again) = match patience {
            Patience::Own => (terms.connect, retry::patience(terms)),
            Patience::Share(share) => (share, None),
        };
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let until = again.map(|again| Instant::now() + again);
        let mut backoff = Backoff::default();
        let mut last = None;
        loop {
            let connecting = self.connect_once(terms);
            let error = match at_most_until(deadline, connecting).await {
                Some(Ok(transport)) => return Ok(transport),
                Some(Err(error)) => error,
                None => {
                    self.resolver.forget(); // the addresses may have changed
                    let timeout = || Error::new(Reason::UpstreamConnectTimeout, None);
                    return Err(last.unwrap_or_else(timeout));
                }
            };
            let now = Instant::now();
            let until = until.filter(|&until| now < until && retry::is_worthwhile(error.reason));
            let Some(until) = until else {
                return Err(error);
            };
            last = Some(error);
            sleep_until((now + backoff.next()).min(until)).await;
        }
    }

    async fn connect_once(self: &Rc<Self>, terms: &Terms<'_>) -> Result<Transport, Error> {
        // Only HTTP/1.1 changes its protocol.
        let may_share = !terms.upgrades && self.may_speak_http2();
        // Requests that come together share what the first of them opens, unless that turns out to be of use to nobody else.
        let mut turn = None;
        if may_share && !self.prefers_http1.get() {
            turn = timeout(SHARED_CONNECT, self.turn.lock()).await.ok();
        }
        if may_share && let Some(connection) = self.usable() {
            return Ok(Transport::Http2(connection));
        }
        if self.prefers_http1.get() {
            turn = None;
        }
        let socket = connect::connect(&self.config, &self.resolver, self.tls(may_share)).await?;
        self.health.connected();
        let scheme = match self.config.address.scheme() {
            config::Scheme::Https if socket.alpn_protocol().as_deref() == Some(tls::H2) => {
                Scheme::HTTPS
            }
            config::Scheme::H2c => Scheme::HTTP,
            config::Scheme::Http | config::Scheme::Https => {
                if may_share {
                    self.prefers_http1.set(true); // it has had the choice
                }
                return Ok(Transport::Http1(Connection::new(socket)));
            }
        };
        self.prefers_http1.set(false);
        let connection = http2::handshake(socket, scheme).await?;
        self.shared.borrow_mut().push(connection.clone());
        self.tend();
        drop(turn);
        Ok(Transport::Http2(connection))
    }

    fn may_speak_http2(&self) -> bool {
        match self.config.address.scheme() {
            config::Scheme::Http => false,
            config::Scheme::Https | config::Scheme::H2c => true,
        }
    }

    /// What TLS is spoken by now; without the choice of HTTP/2 if it is not to be `shared`.
    fn tls(&self, shared: bool) -> Option<Arc<ClientConfig>> {
        let mut config = self.tls.as_ref()?.current();
        if !shared {
            Arc::make_mut(&mut config)
                .alpn_protocols
                .retain(|name| name != tls::H2);
        }
        Some(config)
    }
}

impl fmt::Debug for Terms<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terms")
            .field("detect", &self.detect)
            .field("upgrades", &self.upgrades)
            .finish_non_exhaustive()
    }
}

impl Keeper for Upstream {
    fn keep(self: Rc<Self>, mut connection: Connection) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < MAX_IDLE {
            connection.is_reused = true;
            idle.push((connection, Instant::now()));
            self.tend();
        }
    }
}

/// Why a request got no answer on one connection, and what that means for another try.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and they come together as they like"
)]
struct Failed {
    error: Error,
    /// The request, if it is here to be sent again.
    request: Option<Box<Request<RequestBody>>>,
    /// None of it was sent.
    is_unsent: bool,
    /// The connection had been kept, or is shared: another one may do better.
    was_kept: bool,
    /// Nothing came back, not even an interim response.
    is_silent: bool,
    /// The upstream closed a kept connection before it answered: it may never have seen the request.
    is_stale: bool,
    /// The upstream says that it did not process the request.
    is_refused: bool,
}

impl Failed {
    /// There was no connection to send `request` on.
    fn unsent(error: Error, request: Box<Request<RequestBody>>) -> Self {
        Self {
            request: Some(request),
            is_unsent: true,
            ..Self::from(error)
        }
    }

    /// The request, if it may be sent again on another connection. It stays if not.
    fn take_request(&mut self) -> Option<Box<Request<RequestBody>>> {
        self.request.take_if(|request| {
            self.is_unsent && self.was_kept
                || self.is_refused
                || self.is_stale && request.method().is_idempotent()
        })
    }
}

/// Whether a request that was sent can be sent again: nothing of it is lost, and doing it twice does no harm (RFC 9110, section 9.2.2).
fn may_repeat(request: &Request<RequestBody>) -> bool {
    request.method().is_idempotent() && request.body().is_repeatable()
}

/// What `future` gives, if it does so by then.
async fn at_most_until<T>(deadline: Option<Instant>, future: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => timeout_at(deadline, future).await.ok(),
        None => Some(future.await),
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self {
            error,
            request: None,
            is_unsent: false,
            was_kept: false,
            is_silent: false,
            is_stale: false,
            is_refused: false,
        }
    }
}

/// Whether a response is an event stream, by its status and whether its media type says so.
fn opens_event_stream(status: StatusCode, is_labelled: bool, terms: &Terms<'_>) -> bool {
    terms.detect.is_event_stream(status.as_u16(), is_labelled)
}

/// Whether a response that is no event stream is a stream of another format: not a range of one, which has an end.
fn opens_other_stream(status: StatusCode, headers: &HeaderMap, terms: &Terms<'_>) -> bool {
    let content_type = headers.get_all(CONTENT_TYPE).iter();
    terms.other_streams
        && status != StatusCode::PARTIAL_CONTENT
        && is_other_stream(content_type.map(HeaderValue::as_bytes))
}

/// Polls for a response's head under the `response_head` timeout, with this `alarm`.
async fn wait_for_head<T>(
    terms: &Terms<'_>,
    alarm: &mut Alarm,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Result<T, Error> {
    poll_fn(|cx| {
        if let Poll::Ready(response) = poll(cx) {
            return Poll::Ready(Ok(response));
        }
        let Some(timeout) = terms.response_head else {
            return Poll::Pending;
        };
        // While the request's body comes in, the client's clock runs and not this one.
        let since = terms
            .request_body
            .waiting_for_upstream_since()
            .unwrap_or_else(Instant::now);
        ready!(alarm.poll(cx, since + timeout));
        Poll::Ready(Err(Error::new(Reason::UpstreamHeadTimeout, None)))
    })
    .await
}

impl Error {
    pub(crate) fn new(reason: Reason, detail: Option<String>) -> Self {
        Self { reason, detail }
    }
}
