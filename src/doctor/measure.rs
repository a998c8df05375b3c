//! Measuring: one request by the sidecar's own upstream code, and when which bytes of its response arrive.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, Version, response};
use http_body::Body;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::observation::{End, Head, Observation, Read};
use super::request::{Protocol, RequestOptions, Target, UsageError};
use crate::body::{Broken, Incoming, RequestBody};
use crate::client::{Downstream, NoClient};
use crate::config::{self, ConnectRetry, Detect, Scheme, UpstreamAddress};
use crate::http1::Limits;
use crate::metrics::{Metrics, Phase};
use crate::reason::Reason;
use crate::tls::{self, ClientTls, PeerName, ServerName};
use crate::upstream::{Answer, AnswerBody, Error, Terms, Upstream};
use crate::wire::{BodyLength, ResponseHead};

/// How long connecting may take, TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// How much of a body is kept; the stream is left then.
const MOST: usize = 32 * 1024 * 1024;
/// The heads that are read.
const LIMITS: Limits = Limits {
    bytes: 256 * 1024,
    fields: 500,
};

/// What happens while a response arrives.
#[derive(Debug, Clone, Copy)]
pub enum Progress {
    /// The head has arrived.
    Head(Duration),
    /// So many bytes have.
    Bytes(Duration, usize),
}

/// There is nothing to measure.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// No connection, or no TLS.
    #[error("cannot reach `{url}`: {why}")]
    Unreachable {
        /// What was to be reached.
        url: String,
        /// Why not.
        why: String,
    },
    /// The request cannot be sent as it was asked for.
    #[error(transparent)]
    Bad(#[from] UsageError),
    /// There is no TLS at all.
    #[error("{source}; {}", source.help())]
    Tls {
        /// Why.
        #[from]
        source: tls::Error,
    },
}

/// A response whose body is about to be read.
#[derive(Debug)]
pub(super) struct OpenResponse {
    body: Incoming,
    start: Instant,
}

/// Sends the request and watches the response until it ends, or the time for that is over.
pub async fn watch(
    target: &Target,
    options: &RequestOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Observation, MeasureError> {
    let lag = Lag::start();
    let (mut seen, stream) = begin(target, options).await?;
    let Some(mut stream) = stream else {
        return Ok(seen);
    };
    if let Some(head) = &seen.head {
        progress(Progress::Head(head.at));
    }
    let until = stream.start + options.watch;
    while let Some(read) = stream.read(&mut seen, until).await {
        progress(Progress::Bytes(read.at, read.length));
    }
    seen.lag = lag.worst();
    Ok(seen)
}

/// Sends the request and waits for the head.
pub(super) async fn begin(
    target: &Target,
    options: &RequestOptions,
) -> Result<(Observation, Option<OpenResponse>), MeasureError> {
    let (upstream, issuer) = upstream(target, options)?;
    let (request, request_body) = request(target, options);
    let phase = Cell::new(Phase::Connecting);
    let client: Rc<dyn Downstream> = Rc::new(NoClient);
    let terms = Terms {
        detect: Detect::Never, // the body is to arrive as it is
        other_streams: false,
        raw_head: Bytes::new(),
        limits: LIMITS,
        upgrades: false,
        connect: Some(CONNECT),
        connect_retry: ConnectRetry::Off,
        wants_events: true,
        client: &client,
        response_head: Some(options.watch),
        request_body: &request_body,
        interim: &|_, _| {},
        phase: &phase,
    };
    let start = Instant::now();
    let answer = upstream.send(request, &terms).await;
    let at = start.elapsed();
    let mut seen = Observation {
        url: target.url.clone(),
        offers_compression: options.offers_compression(),
        plan: None,
        head: None,
        reads: Vec::new(),
        body: Vec::new(),
        end: End::Watched,
        ended: at,
        lag: Duration::ZERO,
    };
    let Answer { head, raw, body } = match answer {
        Ok(answer) => answer,
        Err(error) => {
            seen.end = End::NoResponse(no_response(&target.url, error, at)?);
            return Ok((seen, None));
        }
    };
    if options.protocol == Protocol::Http2 && head.version != Version::HTTP_2 {
        let what = format!("`{}` does not speak HTTP/2", target.url);
        return Err(UsageError::new(what, "leave out `--http2`").into());
    }
    let is_tls = target.address.scheme() == Scheme::Https;
    let mut head = head_of(head, &raw, at, is_tls);
    head.issuer = issuer.get().cloned();
    seen.head = Some(head);
    let AnswerBody::Plain(body) = body else {
        // No upgrade was requested, and nothing counts as an event stream.
        return Ok((seen, None));
    };
    Ok((seen, Some(OpenResponse { body, start })))
}

impl OpenResponse {
    /// The next bytes, noted in `seen`; `None` at the end, also noted.
    pub(super) async fn read(&mut self, seen: &mut Observation, until: Instant) -> Option<Read> {
        loop {
            let body = &mut self.body;
            let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
            let frame = timeout_at(until, frame).await;
            let at = self.start.elapsed();
            seen.ended = at;
            seen.end = match frame {
                Ok(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else {
                        continue; // trailers
                    };
                    let length = data.len();
                    let read = Read { at, length };
                    seen.body.extend_from_slice(&data);
                    seen.reads.push(read);
                    if seen.body.len() <= MOST {
                        return Some(read);
                    }
                    End::Watched
                }
                Ok(None) => End::Complete,
                Ok(Some(Err(Broken::Closed))) => End::Cut,
                Ok(Some(Err(Broken::Failed | Broken::File))) => End::Broken,
                Ok(Some(Err(Broken::Reset(code)))) => End::Reset(code.to_string()),
                Err(_) => End::Watched,
            };
            return None;
        }
    }
}

/// An upstream without connections: each measurement opens its own.
fn upstream(
    target: &Target,
    options: &RequestOptions,
) -> Result<(Rc<Upstream>, Arc<OnceLock<String>>), MeasureError> {
    let UpstreamAddress::Tcp { scheme, host, .. } = &target.address else {
        return Err(UsageError::new("a socket has no URL", "write a URL").into());
    };
    let (mut settings, mut client) = (None, None);
    let mut issuer = Arc::default();
    if *scheme == Scheme::Https {
        let server_name = ServerName::try_from(host.clone()).map_err(|_| {
            UsageError::new(
                format!("`{host}` is not a host name"),
                "write a name or an IP address",
            )
        })?;
        settings = Some(ClientTls {
            ca: None,
            identity: None,
            server_name: PeerName::Fixed(server_name),
        });
        let protocols: &[&[u8]] = match options.protocol {
            Protocol::Any => tls::CLIENT_PROTOCOLS,
            Protocol::Http1 => &[b"http/1.1"],
            Protocol::Http2 => &[tls::H2],
        };
        let one_off = tls::one_off(options.verify, protocols)?;
        (client, issuer) = (Some(one_off.config), one_off.issuer);
    }
    let config = config::Upstream {
        address: target.address.clone(),
        tls: settings,
    };
    let upstream = Upstream::new(Arc::new(config), client, &Metrics::new());
    Ok((Rc::new(upstream), issuer))
}

fn request(
    target: &Target,
    options: &RequestOptions,
) -> (
    Box<Request<RequestBody>>,
    Rc<crate::body::RequestBodyProgress>,
) {
    let body = Incoming::Kept(options.body.clone());
    let (request_body, progress) = RequestBody::new(body, None, 0);
    let mut request = Box::new(Request::new(request_body));
    options.method.clone_into(request.method_mut());
    *request.uri_mut() = target.path.clone().into();
    options.fields.clone_into(request.headers_mut());
    let host = options.host.as_ref().unwrap_or(&target.host);
    request.headers_mut().insert(HOST, host.clone());
    (request, progress)
}

fn head_of(head: response::Parts, raw: &[u8], at: Duration, is_tls: bool) -> Head {
    let framing = framing(raw).filter(|_| head.version < Version::HTTP_2);
    let declared = head.headers.get(http::header::CONTENT_LENGTH);
    let declared = declared.and_then(|length| length.to_str().ok()?.parse().ok());
    Head {
        at,
        status: head.status,
        version: head.version,
        framing: framing.or_else(|| declared.map(BodyLength::Bytes)),
        headers: head.headers,
        is_tls,
        issuer: None,
    }
}

/// What a head of HTTP/1 says of its body, before that was corrected.
fn framing(raw: &[u8]) -> Option<BodyLength> {
    let mut raw = raw.to_vec();
    let head = ResponseHead::parse(&mut raw, LIMITS.fields).ok()?;
    Some(head.framing(&raw, false, false).ok()?.length)
}

/// Why there is no response: an error if no server was reached.
fn no_response(url: &str, error: Error, after: Duration) -> Result<String, MeasureError> {
    let Error { reason, detail } = error;
    let title = reason.title().replace("upstream", "server");
    let why = match detail {
        Some(detail) => format!("{title}: {detail}"),
        None => title,
    };
    match reason {
        Reason::UpstreamUnresolved
        | Reason::UpstreamUnreachable
        | Reason::UpstreamConnectTimeout => Err(MeasureError::Unreachable {
            url: url.to_owned(),
            why,
        }),
        Reason::UpstreamTlsFailed => {
            let help = "a certificate that is not to be checked takes `-k`; `SSL_CERT_FILE` names other CAs";
            Err(UsageError::new(format!("cannot reach `{url}`: {why}"), help).into())
        }
        _ => Ok(format!("{why}, after {}", super::finding::seconds(after))),
    }
}

/// How late this thread is: what the machine's load does to a measurement.
#[derive(Debug)]
struct Lag {
    worst: Rc<Cell<Duration>>,
    task: JoinHandle<()>,
}

impl Lag {
    const TICK: Duration = Duration::from_millis(20);

    fn start() -> Self {
        let worst = Rc::new(Cell::new(Duration::ZERO));
        let noted = worst.clone();
        let task = spawn_local(async move {
            loop {
                let due = Instant::now() + Self::TICK;
                sleep_until(due).await;
                // A timer's own granularity is a millisecond.
                let late = due.elapsed().saturating_sub(Duration::from_millis(2));
                noted.set(noted.get().max(late));
            }
        });
        Self { worst, task }
    }

    fn worst(&self) -> Duration {
        self.worst.get()
    }
}

impl Drop for Lag {
    fn drop(&mut self) {
        self.task.abort();
    }
}
