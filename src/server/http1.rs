//! One client connection over HTTP/1: hyper serves its requests while its timeouts, its leaving and the shutdown are watched beside
//! it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{Handler, LAST_WORDS, Refusal, ShutdownWatch, Stage};
use crate::alarm::Alarm;
use crate::body::Incoming;
use crate::client::{Client, ClientStream, Disposition, Downstream, Gate, Taken, Takeover};
use crate::metrics::Metrics;
use crate::problem;
use crate::reason::Reason;

/// How much of a response hyper may buffer, and of a head while it arrives; more where a longer head is allowed.
const BUFFER: usize = 64 * 1024;

/// Why hyper, or a takeover, no longer serves a connection.
enum ServiceEnd {
    /// hyper is done with it: the last response is written, or something failed.
    Served(hyper::Result<()>),
    /// It is taken over.
    TakenOver(Takeover),
    /// The takeover has ended.
    Returned(Disposition),
    /// The client left.
    Left,
    /// A timeout expired.
    Expired(Reason),
}

/// Serves `client`, which speaks HTTP/1, until one side is done.
pub(super) async fn serve<H: Handler>(
    client: Rc<Client>,
    handler: Rc<H>,
    shutdown: Rc<ShutdownWatch>,
    metrics: &Metrics,
) {
    let _served = Served(&client);
    loop {
        let takeover = match serve_requests(&client, &handler, &shutdown).await {
            ServiceEnd::TakenOver(takeover) => takeover,
            end => return Box::pin(part(end, &client, &*handler, metrics)).await,
        };
        let end = match takeover {
            Takeover::Tunnel(take) => {
                client.become_tunnel();
                until_cut(take(ClientStream::new(client.clone())), &client, &shutdown).await
            }
            Takeover::Relay(take) => {
                relay(take(ClientStream::new(client.clone())), &client, &shutdown).await
            }
        };
        if !matches!(end, ServiceEnd::Returned(Disposition::KeepAlive)) {
            return Box::pin(part(end, &client, &*handler, metrics)).await;
        }
        client.take_back();
    }
}

/// A connection while it is served: however its task ends, nothing of the connection is left.
struct Served<'a>(&'a Client);

impl Drop for Served<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// Has hyper serve requests.
async fn serve_requests<H: Handler>(
    client: &Rc<Client>,
    handler: &Rc<H>,
    shutdown: &ShutdownWatch,
) -> ServiceEnd {
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        client.begin_request(request.body().size_hint().exact());
        let (client, handler) = (client.clone(), handler.clone());
        // Boxed: hyper keeps room for it as long as the connection exists.
        Box::pin(async move {
            let guard = RequestGuard {
                client: client.clone(),
            };
            let request = request.map(Incoming::Client);
            let mut response = handler.handle(client.clone(), request).await;
            // An idle connection is left open: if the sidecar closed it, that might cross with a request.
            if client.is_last_response() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            Ok::<_, std::convert::Infallible>(response.map(|body| Tracked {
                body,
                _guard: guard,
            }))
        })
    });
    let limits = client.limits();
    let http = http1::Builder::new()
        .header_read_timeout(None) // the gate can tell a slow head from an idle connection
        .auto_date_header(false)
        .max_headers(limits.request_headers)
        .max_buf_size(BUFFER.max(limits.request_head + 1)) // the gate refuses a longer head
        .serve_connection(TokioIo::new(Gate::new(client.clone())), service);
    let mut http = Box::pin(http);

    let mut deadlines = Deadlines::new(client, shutdown);
    let mut registration = shutdown.register();
    let mut closed = pin!(client.closed());
    poll_fn(|cx| {
        registration.update(cx);
        if deadlines.stage_changed() && shutdown.stage() != Stage::Running {
            http.as_mut().graceful_shutdown();
        }
        if let Poll::Ready(result) = http.as_mut().poll(cx) {
            return Poll::Ready(ServiceEnd::Served(result));
        }
        if let Poll::Ready(Err(_)) = client.poll_ahead(cx) {
            return Poll::Ready(ServiceEnd::Left);
        }
        if let Some(takeover) = client.take_takeover() {
            return Poll::Ready(ServiceEnd::TakenOver(takeover));
        }
        if closed.as_mut().poll(cx).is_ready() {
            client.cancel(Reason::ClientGone);
            return Poll::Ready(ServiceEnd::Left);
        }
        deadlines.poll_deadline(cx).map(ServiceEnd::Expired)
    })
    .await
}

/// Runs a takeover that writes a response past hyper.
async fn relay(mut relay: Taken, client: &Client, shutdown: &ShutdownWatch) -> ServiceEnd {
    let mut deadlines = Deadlines::new(client, shutdown);
    let mut registration = shutdown.register();
    let mut closed = pin!(client.closed());
    poll_fn(|cx| {
        registration.update(cx);
        deadlines.stage_changed();
        if let Poll::Ready(disposition) = relay.as_mut().poll(cx) {
            return Poll::Ready(ServiceEnd::Returned(disposition));
        }
        if closed.as_mut().poll(cx).is_ready() {
            client.cancel(Reason::ClientGone);
            return Poll::Ready(ServiceEnd::Left);
        }
        deadlines.poll_deadline(cx).map(ServiceEnd::Expired)
    })
    .await
}

/// Runs a tunnel until it is done or the shutdown aborts it.
async fn until_cut(mut tunnel: Taken, client: &Client, shutdown: &ShutdownWatch) -> ServiceEnd {
    let mut registration = shutdown.register();
    poll_fn(|cx| {
        registration.update(cx);
        if shutdown.stage() == Stage::Cutting {
            client.cancel(Reason::Shutdown);
            return Poll::Ready(ServiceEnd::Returned(Disposition::Abort));
        }
        tunnel.as_mut().poll(cx).map(ServiceEnd::Returned)
    })
    .await
}

/// Ends the connection in the way that fits the reason.
async fn part<H: Handler>(why: ServiceEnd, client: &Client, handler: &H, metrics: &Metrics) {
    match why {
        ServiceEnd::Served(result) => {
            let unparsed = || result.as_ref().err().filter(|error| error.is_parse());
            let unparsed =
                || unparsed().map(|error| (Reason::RequestMalformed, Some(error.to_string())));
            if let Some((reason, detail)) = client.refusal().or_else(unparsed) {
                refuse(client, reason, detail.as_deref(), handler, metrics).await;
            } else if let Err(error) = result {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "connection failed"
                );
            } else {
                end(client).await;
            }
        }
        ServiceEnd::Returned(Disposition::Close | Disposition::KeepAlive) => end(client).await,
        ServiceEnd::Expired(Reason::RequestHeadTimeout) => {
            if client.has_partial_head() {
                refuse(client, Reason::RequestHeadTimeout, None, handler, metrics).await;
            } else {
                client.close().await;
            }
        }
        ServiceEnd::Expired(Reason::ClientStalled) => {
            client.reset_on_close(); // or the kernel keeps retransmitting what it holds
        }
        ServiceEnd::Returned(Disposition::Abort)
        | ServiceEnd::TakenOver(_)
        | ServiceEnd::Left
        | ServiceEnd::Expired(_) => {}
    }
}

/// Closes the connection so that the client gets the last of it, and the upstream the last of its request.
async fn end(client: &Client) {
    tokio::select! {
        () = client.remainders_over() => {}
        () = client.closed() => {}
    }
    if client.has_unread_input() {
        client.send_last(&[]).await;
    } else {
        client.close().await;
    }
}

async fn refuse<H: Handler>(
    client: &Client,
    reason: Reason,
    detail: Option<&str>,
    handler: &H,
    metrics: &Metrics,
) {
    metrics.refused(reason);
    tracing::debug!(
        reason = reason.name(),
        detail,
        peer = client.peer().map(tracing::field::display),
        "request refused"
    );
    let response = problem::response(reason, detail, []);
    handler.refused(&Refusal {
        client,
        head: None,
        reason,
        bytes: response.body().len(),
    });
    client.send_last(&problem::last_bytes(&response)).await;
}

/// The timeouts and the shutdown, while hyper or a takeover serves the connection.
struct Deadlines<'a> {
    client: &'a Client,
    shutdown: &'a ShutdownWatch,
    seen: Stage,
    cut_at: Option<Instant>,
    alarm: Alarm,
}

impl<'a> Deadlines<'a> {
    fn new(client: &'a Client, shutdown: &'a ShutdownWatch) -> Self {
        Self {
            client,
            shutdown,
            seen: Stage::Running,
            cut_at: None,
            alarm: Alarm::default(),
        }
    }

    fn stage_changed(&mut self) -> bool {
        let stage = self.shutdown.stage();
        let changed = self.seen != stage;
        self.seen = stage;
        if changed {
            match stage {
                Stage::Running => {}
                Stage::Draining { until } => self.client.drain(until),
                Stage::Cutting => {
                    self.client.cut();
                    self.cut_at = Some(Instant::now() + LAST_WORDS);
                }
            }
        }
        changed
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Reason> {
        loop {
            let (at, reason) = match (self.client.deadline(), self.cut_at) {
                (Some((at, reason)), cut) if cut.is_none_or(|cut| at < cut) => (at, reason),
                (_, Some(cut)) => (cut, Reason::Shutdown),
                (_, None) => return Poll::Pending,
            };
            ready!(self.alarm.poll(cx, at));
            if self.client.has_expired(reason) {
                self.client.cancel(reason);
                return Poll::Ready(reason);
            }
        }
    }
}

/// Notifies the connection when hyper is done with a response, or drops it.
#[derive(Debug)]
struct RequestGuard {
    client: Rc<Client>,
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.client.end_response();
    }
}

pin_project! {
    /// A response body; when hyper drops it, it has been written.
    struct Tracked<B> {
        #[pin]
        body: B,
        _guard: RequestGuard,
    }
}

impl<B: Body<Data = Bytes>> Body for Tracked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
