//! Requests over HTTP/2: many share a connection, each has a stream of it.
//!
//! Dropping a request resets its stream with CANCEL: h2 does so when the last handle of it is dropped, and all of them, that of the
//! request's body included, belong to the [`Lease`] or the response.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason as Code;
use h2::client::{Builder, Connection as Http, SendRequest};
use http::header::{CONTENT_TYPE, HOST};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, request};
use http_body::Body;
use tokio::task::spawn_local;
use tokio::time::Instant;

use super::{
    Answer, AnswerBody, Error, Failed, Source, StreamBody, Terms, opens_event_stream,
    opens_other_stream, wait_for_head,
};
use crate::alarm::Alarm;
use crate::body::{Aborted, Incoming, RequestBody};
use crate::http2::{self, Inflow, Io, Outflow, Payload, PingMonitor, STREAM_WINDOW, Sent, Wire};
use crate::metrics::Phase;
use crate::reason::Reason;
use crate::sending::{Remainder, Sending, Unsent};
use crate::socket::Socket;
use crate::tls;
use crate::wire::{BadHead, has_no_body, is_event_stream};

/// How many streams of one connection are used at once, if the upstream allows as many.
const MAX_STREAMS: usize = 100;
/// How much the upstream may send on all streams before it is read, in bytes: enough that an unread stream delays no other.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * 100;
/// How long a connection gets new streams: its buffers keep the size they once needed.
const MAX_AGE: Duration = Duration::from_secs(60 * 60);
/// How long it is kept without a stream.
const IDLE: Duration = Duration::from_secs(60);

/// A connection to an upstream.
#[derive(Debug)]
pub(super) struct Connection {
    send: SendRequest<Payload>,
    scheme: Scheme,
    streams: Rc<Streams>,
    opened: Instant,
}

/// State shared by the connection's task and its streams.
#[derive(Debug)]
struct Streams {
    open: Cell<usize>,
    idle_since: Cell<Instant>,
    /// The connection has failed or ended.
    is_over: Cell<bool>,
    /// A response came on it once.
    is_proven: Cell<bool>,
}

/// A stream that belongs to one request. Dropping it, and the response's body, resets the stream.
#[derive(Debug)]
pub(super) struct Lease {
    connection: Rc<Connection>,
    sending: Option<Sending>,
}

/// Begins HTTP/2 on `socket`. How many streams the upstream allows is in its SETTINGS, so they are waited for: it would refuse
/// those beyond.
pub(super) async fn handshake(socket: Socket, scheme: Scheme) -> Result<Rc<Connection>, Error> {
    let wire = Wire::new(socket, Vec::new());
    let handshake = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_max_send_streams(0)
        .enable_push(false)
        // An upstream is trusted with the bookkeeping of small frames; the windows bound it.
        .data_frame_budget(usize::MAX / 2)
        // Frames that cross with a cancellation are no errors of the upstream, but h2 counts them as such.
        .max_local_error_reset_streams(None)
        .handshake(wire.io())
        .await;
    let (send, mut http) = handshake.map_err(|error| before_head(&error, None))?;
    let settled = poll_fn(|cx| {
        let polled = Pin::new(&mut http).poll(cx);
        let _ = wire.poll_send(cx); // h2 sees a failure when it reads
        if http.max_concurrent_send_streams() > 0 {
            return Poll::Ready(Ok(()));
        }
        polled.map(|over| Err(over.err()))
    });
    settled.await.map_err(|error| match error {
        Some(error) => before_head(&error, None),
        None => Error::new(Reason::UpstreamClosedBeforeHead, None),
    })?;
    let streams = Rc::new(Streams {
        open: Cell::new(0),
        idle_since: Cell::new(Instant::now()),
        is_over: Cell::new(false),
        is_proven: Cell::new(false),
    });
    spawn_local(drive(http, wire, streams.clone()));
    Ok(Rc::new(Connection {
        send,
        scheme,
        streams,
        opened: Instant::now(),
    }))
}

/// Drives the connection until no stream or handle of it is left, or the upstream is gone.
async fn drive(mut http: Http<Io, Payload>, wire: Rc<Wire>, streams: Rc<Streams>) {
    let mut pings = PingMonitor::new(http.ping_pong());
    let result = poll_fn(|cx| {
        let polled = Pin::new(&mut http).poll(cx);
        if let Poll::Ready(Err(error)) = wire.poll_send(cx) {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "upstream connection lost"
            );
            return Poll::Ready(Ok(()));
        }
        if polled.is_pending()
            && streams.open.get() > 0
            && pings.poll(cx, wire.last_read()).is_ready()
        {
            tracing::debug!("upstream connection lost: a PING was not answered");
            return Poll::Ready(Ok(()));
        }
        polled
    })
    .await;
    streams.is_over.set(true);
    if let Err(error) = result {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "upstream connection failed"
        );
    }
}

impl Connection {
    /// Whether another request may go out on it.
    pub(super) fn is_usable(&self) -> bool {
        let most = self.send.current_max_send_streams().min(MAX_STREAMS);
        self.streams.open.get() < most && self.takes_streams()
    }

    /// Whether it is worth keeping.
    pub(super) fn is_worth_keeping(&self) -> bool {
        let Streams {
            open, idle_since, ..
        } = &*self.streams;
        let is_in_use = open.get() > 0 || idle_since.get().elapsed() < IDLE;
        is_in_use && self.takes_streams()
    }

    /// Whether it is neither too old, nor closed, nor closing: an upstream that has sent GOAWAY finishes its streams and accepts no
    /// more.
    fn takes_streams(&self) -> bool {
        let mut send = self.send.clone();
        let ready = send.poll_ready(&mut Context::from_waker(Waker::noop()));
        !matches!(ready, Poll::Ready(Err(_)))
            && !self.streams.is_over.get()
            && self.opened.elapsed() < MAX_AGE
    }

    /// Sends `request` on a stream of its own and waits for its response's head.
    pub(super) async fn send(
        self: Rc<Self>,
        request: Box<Request<RequestBody>>,
        terms: &Terms<'_>,
    ) -> Result<Answer, Failed> {
        terms.phase.set(Phase::WaitingForHead);
        let mut send = self.send.clone();
        if let Err(error) = poll_fn(|cx| send.poll_ready(cx)).await {
            return Err(Failed {
                is_unsent: true,
                was_kept: true,
                request: Some(request),
                ..before_head(&error, None).into()
            });
        }
        let copy = copy_of(&request);
        let to_head = request.method() == Method::HEAD;
        let (mut head, request_body) = (*request).into_parts();
        self.translate(&mut head)?;
        self.streams.open.set(self.streams.open.get() + 1);
        let mut lease = Lease {
            connection: self,
            sending: None,
        };
        let connection = lease.connection.clone();
        let failed = |error: &h2::Error, request: Option<_>| Failed {
            is_stale: connection.streams.is_proven.get() && error.is_io(),
            // "Clients MAY automatically retry" both (RFC 9113, sections 8.7 and 6.8): they were not processed.
            is_refused: error.reason() == Some(Code::REFUSED_STREAM)
                || error.is_go_away() && error.reason() == Some(Code::NO_ERROR),
            is_unsent: false,
            was_kept: true,
            is_silent: false,
            request: repeated(request, terms),
            error: before_head(error, terms.request_body.failure()),
        };
        let ends = request_body.is_end_stream();
        let stream = send.send_request(Request::from_parts(head, ()), ends);
        let (mut response, stream) = match stream {
            Ok(streams) => streams,
            Err(error) => return Err(failed(&error, copy)),
        };
        if !ends {
            let mut outflow = Outflow::new(request_body, stream, Rc::default());
            lease.sending = Some(Sending::spawn(async move {
                let ended =
                    poll_fn(|cx| outflow.poll(cx, None, || false, |Aborted { .. }| Code::CANCEL));
                match ended.await {
                    Sent::Complete => Ok(()),
                    Sent::Broken => Err(Unsent::Body),
                    Sent::Refused | Sent::Lost | Sent::Stalled => Err(Unsent::Refused),
                }
            }));
        }
        let mut alarm = Alarm::default();
        let mut interim_bytes = 0;
        let head = wait_for_head(terms, &mut alarm, |cx| {
            if let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
                let (head, ()) = interim.into_parts();
                interim_bytes += bytes_of(&head.headers);
                if interim_bytes > terms.limits.bytes {
                    return Poll::Ready(Err(too_long(terms)));
                }
                (terms.interim)(head.status, head.headers);
                // Those who wait for it are polled before the response, which may have come with it.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Pin::new(&mut response).poll(cx).map(Ok)
        });
        let is_silent = |interim_bytes| interim_bytes == 0;
        match head.await.flatten() {
            Ok(Ok(response)) => {
                connection.streams.is_proven.set(true);
                Ok(into_answer(lease, response, to_head, terms)?)
            }
            Ok(Err(error)) => Err(Failed {
                is_silent: is_silent(interim_bytes),
                ..failed(&error, copy)
            }),
            Err(error) => Err(Failed {
                is_silent: is_silent(interim_bytes),
                request: repeated(copy, terms),
                ..Failed::from(error)
            }),
        }
    }

    /// Makes the head of a request one of HTTP/2: the host is part of the target (RFC 9113, section 8.3.1).
    fn translate(&self, head: &mut request::Parts) -> Result<(), Error> {
        let host = head.headers.remove(HOST);
        let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
        let invalid = || {
            let detail = "its Host field is not a host and a port";
            Error::new(Reason::RequestMalformed, Some(detail.to_owned()))
        };
        let mut target = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(authority.ok_or_else(invalid)?);
        let path = head.uri.path_and_query().cloned();
        target = target.path_and_query(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        head.uri = target.build().map_err(|_| invalid())?;
        head.version = Version::HTTP_2;
        Ok(())
    }
}

fn into_answer(
    lease: Lease,
    response: Response<h2::RecvStream>,
    to_head: bool,
    terms: &Terms<'_>,
) -> Result<Answer, Error> {
    let (head, stream) = response.into_parts();
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let detail = "HTTP/2 has no status 101";
        return Err(Error::new(
            Reason::UpstreamInvalidHead,
            Some(detail.to_owned()),
        ));
    }
    let labels = head.headers.get_all(CONTENT_TYPE).iter();
    let is_labelled = is_event_stream(labels.map(HeaderValue::as_bytes));
    let inflow = Inflow::new(stream, &head.headers).answering(Box::new(lease));
    let body = if to_head || has_no_body(head.status.as_u16()) {
        AnswerBody::Plain(Incoming::Http2(inflow.void()))
    } else if opens_event_stream(head.status, is_labelled, terms) {
        AnswerBody::Events(Source::Http2(StreamBody::new(inflow)))
    } else if opens_other_stream(head.status, &head.headers, terms) {
        AnswerBody::Stream(Source::Http2(StreamBody::new(inflow)))
    } else {
        AnswerBody::Plain(Incoming::Http2(inflow))
    };
    let raw = Bytes::new(); // names are in lower case
    Ok(Answer { head, raw, body })
}

/// How much memory interim responses may take, each that is queued for its client included.
fn bytes_of(headers: &HeaderMap) -> usize {
    const OVERHEAD: usize = 32; // as HTTP/2 reckons a header list's size (RFC 9113, section 6.5.2)
    let fields = headers.iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + OVERHEAD);
    OVERHEAD + fields.sum::<usize>()
}

fn too_long(terms: &Terms<'_>) -> Error {
    let detail = BadHead::TooLong(terms.limits.bytes).to_string();
    Error::new(Reason::UpstreamInvalidHead, Some(detail))
}

/// A copy of a request that may be sent twice, without its body.
fn copy_of(request: &Request<RequestBody>) -> Option<Box<Request<RequestBody>>> {
    if !request.body().is_repeatable() {
        return None;
    }
    let mut copy = Box::new(Request::new(RequestBody::empty()));
    request.method().clone_into(copy.method_mut());
    request.uri().clone_into(copy.uri_mut());
    request.headers().clone_into(copy.headers_mut());
    Some(copy)
}

/// The request with the same body once more, if that is all here.
fn repeated(
    copy: Option<Box<Request<RequestBody>>>,
    terms: &Terms<'_>,
) -> Option<Box<Request<RequestBody>>> {
    let mut copy = copy?;
    *copy.body_mut() = terms.request_body.again()?;
    Some(copy)
}

/// Why h2 failed before there was a response's head.
fn before_head(error: &h2::Error, request_body: Option<Reason>) -> Error {
    if let Some(failed) = error.get_io().filter(|failed| tls::is_tls_error(failed)) {
        return Error::new(Reason::UpstreamTlsFailed, Some(tls::explain(failed)));
    }
    let reason = match request_body {
        Some(reason) => reason,
        None if error.is_library() => Reason::UpstreamInvalidHead,
        None => Reason::UpstreamClosedBeforeHead,
    };
    Error::new(reason, Some(error.to_string()))
}

impl http2::Lease for Lease {
    fn take_remainder(&mut self) -> Option<Remainder> {
        self.sending.take().map(Sending::outlive)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let streams = &self.connection.streams;
        streams.open.set(streams.open.get() - 1);
        streams.idle_since.set(Instant::now());
    }
}
