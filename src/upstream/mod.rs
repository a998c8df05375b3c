//! Requests to upstreams: a connection from the pool or a new one, the request sent, the head waited for.
//!
//! hyper writes requests and reads heads and ordinary bodies. Each of its connections is driven by a small task of its own, which
//! is aborted with the [`Lease`] that its request holds: whoever drops the request closes the connection, in every phase. An
//! event stream is read from the socket itself ([`TakenBody`]).

mod connect;
mod gate;
mod source;
mod tunnel;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use http::header::TRANSFER_ENCODING;
use http::{HeaderValue, Request, Response, StatusCode, response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::Instant;

use self::gate::{Gate, Latch};
pub use self::source::{HttpBody, Source, TakenBody};
pub use self::tunnel::Tunnel;
use crate::alarm::Alarm;
use crate::body::{Upload, UploadProgress};
use crate::config::{self, Detect};
use crate::metrics::{Metrics, Phase};
use crate::reason::Reason;
use crate::tls::{self, ClientConfig, Reloading};
use crate::wire::is_only_chunked;

/// How long an idle connection is kept: less than the 5 s after which Node.js closes it, so that the two seldom cross.
const IDLE: Duration = Duration::from_secs(4);
/// How many idle connections to one upstream a thread keeps.
const MAX_IDLE: usize = 64;
/// What hyper may hold of an ordinary response that the client does not take yet.
const BUFFER: usize = 64 * 1024;

/// One upstream, as one thread sees it.
#[derive(Debug)]
pub struct Upstream {
    config: Arc<config::Upstream>,
    tls: Option<Reloading<ClientConfig>>,
    idle: RefCell<Vec<(Lease, Instant)>>,
    metrics: Arc<Metrics>,
}

/// How a request is to be sent.
#[derive(Debug)]
pub struct Terms<'a> {
    /// What counts as an event stream; `Never` for a HEAD request.
    pub detect: Detect,
    /// The request offers to change the protocol.
    pub upgrades: bool,
    /// The `connect` clock.
    pub connect: Option<Duration>,
    /// The `response_head` clock.
    pub response_head: Option<Duration>,
    /// What the request's body says of itself.
    pub upload: &'a UploadProgress,
    /// Where the sending shows how far it has come.
    pub phase: &'a Cell<Phase>,
}

/// An upstream's response.
#[derive(Debug)]
pub struct Answer {
    /// Its head.
    pub head: response::Parts,
    /// Its body.
    pub body: AnswerBody,
}

/// The body of an upstream's response.
#[derive(Debug)]
pub enum AnswerBody {
    /// An event stream.
    Events(Source),
    /// The upstream has changed the protocol.
    Upgraded(Tunnel),
    /// Anything else.
    Plain(Incoming, Lease),
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

/// A connection that belongs to one request. Dropping it closes the connection.
#[derive(Debug)]
pub struct Lease {
    sender: http1::SendRequest<Upload>,
    driver: JoinHandle<Option<Gate>>,
    latch: Rc<Latch>,
    reused: bool,
}

impl Upstream {
    /// An upstream without connections; `tls` is what its settings mean.
    pub fn new(
        config: Arc<config::Upstream>,
        tls: Option<Reloading<ClientConfig>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            config,
            tls,
            idle: RefCell::default(),
            metrics,
        }
    }

    /// Sends `request` and waits for its response's head. Dropping the future cancels the request.
    ///
    /// A request that found a kept connection closed by the upstream goes out once more on a new one, if nothing of it was sent or
    /// if it is idempotent and has no body (RFC 9110, section 9.2.2).
    pub async fn send(&self, request: Request<Upload>, terms: &Terms<'_>) -> Result<Answer, Error> {
        let mut request = request;
        if let Some(lease) = self.kept().await {
            let copy = copy_of(&request, terms.upload);
            match attempt(lease, request, terms).await {
                Ok(answer) => return Ok(answer),
                Err(Failed {
                    unsent: Some(unsent),
                    ..
                }) => request = *unsent,
                Err(Failed {
                    stale: true, error, ..
                }) => request = copy.ok_or(error)?,
                Err(Failed { error, .. }) => return Err(error),
            }
        }
        let lease = self.connect(terms).await?;
        attempt(lease, request, terms)
            .await
            .map_err(|failed| failed.error)
    }

    /// Keeps the connection of a request that is over for the next one.
    pub fn keep(&self, mut lease: Lease) {
        self.discard_expired();
        let mut idle = self.idle.borrow_mut();
        if idle.len() < MAX_IDLE && !lease.sender.is_closed() {
            lease.reused = true;
            idle.push((lease, Instant::now()));
        }
    }

    /// Closes the connections that were idle for too long.
    pub fn discard_expired(&self) {
        let now = Instant::now();
        self.idle.borrow_mut().retain(|(lease, since)| {
            now.duration_since(*since) < IDLE && !lease.sender.is_closed()
        });
    }

    /// The connection that was used last, if it is still good: the others may then grow old.
    async fn kept(&self) -> Option<Lease> {
        self.discard_expired();
        loop {
            let (mut lease, _) = self.idle.borrow_mut().pop()?;
            if lease.sender.ready().await.is_ok() {
                self.metrics.upstream_reuses.inc();
                return Some(lease);
            }
        }
    }

    async fn connect(&self, terms: &Terms<'_>) -> Result<Lease, Error> {
        terms.phase.set(Phase::Connecting);
        let socket = connect::connect(&self.config, self.tls.as_ref(), terms.connect).await?;
        self.metrics.upstream_connects.inc();
        let (gate, latch) = Gate::new(socket);
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(true)
            .max_buf_size(BUFFER)
            .handshake(TokioIo::new(gate))
            .await
            .map_err(|error| Error::new(Reason::UpstreamUnreachable, Some(error.to_string())))?;
        let driver = spawn_local(drive(connection, latch.clone()));
        Ok(Lease {
            sender,
            driver,
            latch,
            reused: false,
        })
    }
}

/// Drives hyper's side of a connection until it is over or to be set aside.
async fn drive(
    mut connection: http1::Connection<TokioIo<Gate>, Upload>,
    latch: Rc<Latch>,
) -> Option<Gate> {
    let taken = poll_fn(|cx| {
        if latch.is_taken() {
            return Poll::Ready(true);
        }
        Pin::new(&mut connection).poll(cx).map(|result| {
            if let Err(error) = result {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "upstream connection failed"
                );
            }
            latch.is_shut() // hyper leaves a connection by itself that changes its protocol
        })
    });
    taken.await.then(|| connection.into_parts().io.into_inner())
}

struct Failed {
    error: Error,
    /// The request, if none of it was sent.
    unsent: Option<Box<Request<Upload>>>,
    /// The upstream closed a kept connection before it answered: it may never have seen the request.
    stale: bool,
}

async fn attempt(
    mut lease: Lease,
    request: Request<Upload>,
    terms: &Terms<'_>,
) -> Result<Answer, Failed> {
    terms.phase.set(Phase::WaitingForHead);
    lease.latch.expect_head(terms.detect, terms.upgrades);
    let response = wait_for_head(lease.sender.try_send_request(request), terms).await;
    let response = match response {
        Ok(Ok(response)) => response,
        Ok(Err(mut error)) => {
            let unsent = error.take_message().filter(|_| lease.reused).map(Box::new);
            let stale = lease.reused && !lease.latch.has_answered();
            return Err(Failed {
                error: Error::before_head(&error.into_error(), terms.upload),
                unsent,
                stale,
            });
        }
        Err(error) => {
            return Err(Failed {
                error,
                unsent: None,
                stale: false,
            });
        }
    };
    into_answer(lease, response, terms)
        .await
        .map_err(|error| Failed {
            error,
            unsent: None,
            stale: false,
        })
}

async fn wait_for_head<T>(
    response: impl Future<Output = T>,
    terms: &Terms<'_>,
) -> Result<T, Error> {
    let mut response = pin!(response);
    let mut alarm = Alarm::default();
    poll_fn(|cx| {
        if let Poll::Ready(response) = response.as_mut().poll(cx) {
            return Poll::Ready(Ok(response));
        }
        let Some(timeout) = terms.response_head else {
            return Poll::Pending;
        };
        // While the request's body comes in, the client's clock runs and not this one.
        let since = terms
            .upload
            .waiting_for_upstream_since()
            .unwrap_or_else(Instant::now);
        ready!(alarm.poll(cx, since + timeout));
        Poll::Ready(Err(Error::new(Reason::UpstreamHeadTimeout, None)))
    })
    .await
}

async fn into_answer(
    mut lease: Lease,
    response: Response<Incoming>,
    terms: &Terms<'_>,
) -> Result<Answer, Error> {
    let (head, incoming) = response.into_parts();
    let codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    if !is_only_chunked(codings.map(HeaderValue::as_bytes)) {
        let detail = "its Transfer-Encoding is not just `chunked`";
        return Err(Error::new(
            Reason::UpstreamInvalidHead,
            Some(detail.to_owned()),
        ));
    }
    let Some(facts) = lease.latch.held_head() else {
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let detail = "it changes the protocol, and nobody has asked for that";
            return Err(Error::new(
                Reason::UpstreamInvalidHead,
                Some(detail.to_owned()),
            ));
        }
        return Ok(Answer {
            head,
            body: AnswerBody::Plain(incoming, lease),
        });
    };
    let upgraded = facts.status == StatusCode::SWITCHING_PROTOCOLS.as_u16();
    if !terms.upload.is_done() && !upgraded {
        // The request's body is still on its way, and hyper has it.
        lease.latch.open();
        let source = Source::Http(HttpBody::new(incoming, lease));
        return Ok(Answer {
            head,
            body: AnswerBody::Events(source),
        });
    }
    lease.latch.take();
    let gate = (&mut lease.driver).await.ok().flatten();
    let (socket, rest) = gate
        .ok_or_else(|| Error::new(Reason::UpstreamClosedBeforeHead, None))?
        .into_parts();
    let body = if upgraded {
        AnswerBody::Upgraded(Tunnel::new(socket, rest))
    } else {
        AnswerBody::Events(Source::Taken(TakenBody::new(socket, rest, &facts)))
    };
    Ok(Answer { head, body })
}

/// A copy of a request that may be sent twice.
fn copy_of(request: &Request<Upload>, upload: &UploadProgress) -> Option<Request<Upload>> {
    if !request.method().is_idempotent() || !upload.is_empty() {
        return None;
    }
    let mut copy = Request::new(Upload::empty());
    request.method().clone_into(copy.method_mut());
    request.uri().clone_into(copy.uri_mut());
    request.headers().clone_into(copy.headers_mut());
    request.extensions().clone_into(copy.extensions_mut());
    Some(copy)
}

impl Error {
    pub(crate) fn new(reason: Reason, detail: Option<String>) -> Self {
        Self { reason, detail }
    }

    /// hyper failed before there was a response's head.
    fn before_head(error: &hyper::Error, upload: &UploadProgress) -> Self {
        let source = std::error::Error::source(error);
        // Such as a client certificate that is not accepted, of which TLS 1.3 tells only after the handshake.
        let failed = source.and_then(|source| source.downcast_ref());
        if let Some(failed) = failed.filter(|failed| tls::is_tls_error(failed)) {
            return Self::new(Reason::UpstreamTlsFailed, Some(tls::explain(failed)));
        }
        let reason = match upload.failure() {
            Some(reason) => reason,
            None if error.is_parse() => Reason::UpstreamInvalidHead,
            None => Reason::UpstreamClosedBeforeHead,
        };
        let detail =
            source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
        Self::new(reason, Some(detail))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
