//! Requests to upstreams: a connection from the pool or a new one, the request sent, the head waited for.
//!
//! Over HTTP/1.1 a connection belongs to one request at a time, over HTTP/2 many share one. Either way a request is cancelled by
//! dropping what it holds, in every phase.

mod balance;
mod by_host;
mod connect;
mod connecting;
mod failure;
mod http1;
mod http2;
mod kept;
mod login;
mod resolve;
mod retry;
mod source;
mod terms;
mod tunnel;

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use tokio::sync::Mutex;
use tokio::time::Instant;

pub use self::balance::{Background, Decision, Pool, identity};
use self::by_host::ByHost;
pub use self::failure::Error;
use self::failure::Failed;
use self::resolve::Resolver;
pub use self::source::{Source, StreamBody};
pub use self::terms::{Answer, AnswerBody, Terms};
use self::terms::{opens_event_stream, opens_other_stream, wait_for_head};
pub use self::tunnel::Tunnel;
use crate::body::RequestBody;
use crate::config::{self, UpstreamAddress};
use crate::http1::Connection;
use crate::metrics::Metrics;
use crate::tls::{ClientConfig, Reloading};
use crate::upstream_stats::UpstreamStats;

/// One upstream, as one thread sees it.
#[derive(Debug)]
pub struct Upstream {
    name: String,
    config: Arc<config::Upstream>,
    resolver: Resolver,
    tls: Option<Reloading<ClientConfig>>,
    /// It has chosen HTTP/1.1 in a TLS handshake that offered both.
    prefers_http1: Cell<bool>,
    /// Kept HTTP/1.1 connections, each with when it was last used.
    idle: RefCell<Vec<(Connection, Instant)>>,
    /// HTTP/2 connections, in use or not.
    shared: RefCell<Vec<Rc<http2::Connection>>>,
    /// A task that closes connections idle for too long is running.
    has_reaper: Cell<bool>,
    /// Held by the request that opens an HTTP/2 connection for others to share.
    opening: Mutex<()>,
    /// The upstreams it stands for, if its address depends on the request's host.
    by_host: ByHost,
    health: Arc<UpstreamStats>,
}

/// How long connecting to an upstream may take.
#[derive(Debug, Clone, Copy)]
enum Patience {
    /// As long as the request's terms say, retries included.
    Own,
    /// This long and without a retry: there are other upstreams.
    Share(Option<Duration>),
}

/// A connection for one request.
enum Transport {
    Http1(Connection),
    Http2(Rc<http2::Connection>),
}

impl Upstream {
    /// An upstream without connections; `tls` is made from its settings.
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
            has_reaper: Cell::new(false),
            opening: Mutex::default(),
            by_host: ByHost::default(),
            health,
        }
    }

    /// One of the addresses of its name, as an upstream of its own.
    fn at_address(&self, ip: IpAddr, metrics: &Metrics) -> Self {
        let mut config = config::Upstream::clone(&self.config);
        if let UpstreamAddress::Tcp { host, .. } = &mut config.address {
            *host = ip.to_string();
        }
        let name = format!("{} ({ip})", self.name);
        Self::named(name, Arc::new(config), self.tls.clone(), metrics)
    }

    /// Its URL in the configuration, followed by its address where the name has several.
    fn name(&self) -> String {
        self.name.clone()
    }

    /// Its address and TLS settings.
    pub fn config(&self) -> &Arc<config::Upstream> {
        &self.config
    }

    /// Its counters, shared by all threads.
    pub fn health(&self) -> &Arc<UpstreamStats> {
        &self.health
    }

    /// Sends `request` and waits for its response's head. Dropping the future cancels the request.
    ///
    /// It is sent a second time, on another connection if need be, if nothing of it was sent; or if all of its body is still here, and
    /// the upstream has refused it unprocessed, or has closed a kept connection and the request is idempotent (RFC 9110, section 9.2.2).
    pub async fn send(
        self: &Rc<Self>,
        request: Box<Request<RequestBody>>,
        terms: &Terms<'_>,
    ) -> Result<Answer, Error> {
        let sent = self.attempt(request, terms, Patience::Own).await;
        sent.map_err(|failed| failed.error)
    }

    /// Like [`send`](Self::send), for one of several upstreams: a failure says whether another one may be tried.
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
}
