//! A request over HTTP/1.1.
//!
//! Dropping the request, or the response's body before its end, closes the connection: that cancels the request, in every phase.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, TE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, response};
use http_body::Body;
use hyper::ext::ReasonPhrase;

use super::login::{self, LoginKeeper};
use super::{
    Answer, AnswerBody, Error, Failed, Source, Terms, Tunnel, Upstream, opens_event_stream,
    opens_other_stream, wait_for_head,
};
use crate::body::{Incoming, RequestBody};
use crate::http1::{self, Connection, Head, HeadError, HeadReader, Inflow, Keeper, Outflow};
use crate::metrics::Phase;
use crate::reason::Reason;
use crate::sending::{Sending, Unsent};
use crate::socket::Socket;
use crate::tls;
use crate::wire::{BodyLength, HeadWriter, elements, origin_form, request_target};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// How long before the upstream closes an idle connection it is no longer used.
const KEEP_ALIVE_MARGIN: Duration = Duration::from_secs(1);

/// Sends `request` to `upstream` and waits for its response's head. The connection is kept once the response has ended, for any
/// request or for its client's.
pub(super) async fn send(
    mut connection: Connection,
    mut request: Box<Request<RequestBody>>,
    terms: &Terms<'_>,
    upstream: &Rc<Upstream>,
) -> Result<Answer, Failed> {
    terms.phase.set(Phase::WaitingForHead);
    connection.is_login |= login::is_offered(request.headers());
    let to_head = request.method() == Method::HEAD;
    let length = request.body().size_hint().exact();
    let mut outflow = Outflow::new(head_of(&mut request, length, terms), length);
    let mut reader = HeadReader::new(terms.limits);
    let socket = connection.socket().clone();
    let mut is_sent = false;
    let head = wait_for_head(terms, &mut connection.alarm, |cx| {
        if !is_sent && let Poll::Ready(sent) = outflow.poll(cx, &socket, request.body_mut()) {
            match sent {
                // An upstream that accepts no more may have responded all the same.
                Ok(()) | Err(Unsent::Refused) => is_sent = true,
                Err(Unsent::Body | Unsent::Abandoned) => {
                    return Poll::Ready(Err(broken_body(terms)));
                }
            }
        }
        poll_head(cx, &mut reader, &socket, to_head, terms)
    });
    let response = match head.await.flatten() {
        Ok(response) => response,
        Err(error) => {
            let is_unsent = outflow.is_untouched();
            let is_timeout = error.reason == Reason::UpstreamHeadTimeout;
            let again = if is_unsent {
                Some(request)
            } else {
                repeated(request, terms)
            };
            return Err(Failed {
                is_stale: connection.is_reused && !reader.has_begun() && !is_timeout,
                is_unsent,
                was_kept: connection.is_reused && !is_timeout,
                is_silent: !reader.has_begun(),
                request: again,
                ..Failed::from(error)
            });
        }
    };
    let mut request_body = request.into_body();
    if response.status == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(upgraded(response, connection, outflow, request_body, terms).await?);
    }
    let sending = (!is_sent).then(|| {
        Sending::spawn(async move {
            let sent = poll_fn(|cx| outflow.poll(cx, &socket, &mut request_body)).await;
            sent.map_err(|unsent| request_body.why(unsent))
        })
    });
    connection.is_login |= login::is_demanded(&response.headers);
    connection.idle_limit = idle_limit(&response.headers);
    let keeper: Rc<dyn Keeper> = if connection.is_login {
        Rc::new(LoginKeeper {
            client: terms.client.clone(),
            upstream: upstream.config.clone(),
        })
    } else {
        upstream.clone()
    };
    Ok(answer(response, connection, keeper, sending, terms))
}

/// The request with the same body once more, if that is all here.
fn repeated(
    mut request: Box<Request<RequestBody>>,
    terms: &Terms<'_>,
) -> Option<Box<Request<RequestBody>>> {
    *request.body_mut() = terms.request_body.again()?;
    Some(request)
}

/// How long the upstream keeps the connection for another request, where it says so (`Keep-Alive: timeout=5`, RFC 2068, section
/// 19.7.1.1): that less what a request takes to get there.
fn idle_limit(headers: &HeaderMap) -> Duration {
    let mut parameters = elements(
        headers
            .get_all(KEEP_ALIVE)
            .iter()
            .map(HeaderValue::as_bytes),
    );
    let timeout = parameters.find_map(|parameter| {
        let (name, value) = std::str::from_utf8(parameter).ok()?.split_once('=')?;
        let is_timeout = name.trim().eq_ignore_ascii_case("timeout");
        value.trim().parse().ok().filter(|_| is_timeout)
    });
    match timeout.map(Duration::from_secs) {
        Some(timeout) => timeout.saturating_sub(KEEP_ALIVE_MARGIN).max(timeout / 2),
        None => Duration::MAX,
    }
}

/// The bytes of the request's head.
fn head_of(request: &mut Request<RequestBody>, length: Option<u64>, terms: &Terms<'_>) -> Vec<u8> {
    let headers = request.headers_mut();
    if headers.contains_key(TE) && !terms.upgrades {
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    let own = request
        .uri()
        .path_and_query()
        .map_or("/", PathAndQuery::as_str);
    let target = match request_target(&terms.raw_head) {
        b"" => own.as_bytes().into(),
        _ if own == "*" => own.as_bytes().into(), // also of `OPTIONS http://host`
        target => origin_form(target),
    };
    let mut head = HeadWriter::request(request.method().as_str().as_bytes(), &target);
    let fields = request.headers().iter();
    head.fields(
        fields.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())),
        &terms.raw_head,
    );
    let is_said = request.headers().contains_key(CONTENT_LENGTH);
    match length {
        None => head.fields(
            [(&b"transfer-encoding"[..], &b"chunked"[..])],
            &terms.raw_head,
        ),
        // RFC 9110, section 8.6: "A user agent SHOULD send Content-Length in a request when the method defines a meaning for
        // enclosed content and it is not sending Transfer-Encoding", also when there is none.
        Some(0) if !expects_body(request.method()) => {}
        Some(length) if !is_said => {
            let mut digits = itoa::Buffer::new();
            head.field(b"content-length", digits.format(length).as_bytes());
        }
        Some(_) => {}
    }
    head.finish()
}

fn expects_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

fn poll_head(
    cx: &mut Context<'_>,
    reader: &mut HeadReader,
    socket: &Socket,
    to_head: bool,
    terms: &Terms<'_>,
) -> Poll<Result<http1::Response, Error>> {
    match ready!(reader.poll(cx, socket, to_head)) {
        Ok(Head::Final(response)) => Poll::Ready(Ok(response)),
        Ok(Head::Interim(status, headers)) => {
            (terms.interim)(status, headers);
            // Those who wait for it are polled before the response, which may have come with it.
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        Err(error) => Poll::Ready(Err(before_head(&error, terms))),
    }
}

fn answer(
    response: http1::Response,
    connection: Connection,
    keeper: Rc<dyn Keeper>,
    sending: Option<Sending>,
    terms: &Terms<'_>,
) -> Answer {
    let (framing, rest, raw) = (
        response.framing,
        response.rest.clone(),
        response.raw.clone(),
    );
    let is_event_stream = framing.length != BodyLength::None
        && opens_event_stream(response.status, response.is_event_stream, terms);
    let head = parts_of(response);
    let inflow = Inflow::new(connection, framing, rest, keeper, sending, is_event_stream);
    let body = if is_event_stream {
        AnswerBody::Events(Source::Http1(inflow))
    } else if framing.length != BodyLength::None
        && opens_other_stream(head.status, &head.headers, terms)
    {
        AnswerBody::Stream(Source::Http1(inflow))
    } else {
        AnswerBody::Plain(Incoming::Http1(Box::new(inflow)))
    };
    Answer { head, raw, body }
}

async fn upgraded(
    response: http1::Response,
    connection: Connection,
    mut outflow: Outflow,
    mut request_body: RequestBody,
    terms: &Terms<'_>,
) -> Result<Answer, Error> {
    if !terms.upgrades {
        let detail = "it switches protocols without being asked to";
        return Err(Error::new(
            Reason::UpstreamInvalidHead,
            Some(detail.to_owned()),
        ));
    }
    let socket = connection.socket().clone();
    // What comes after the request is another protocol: the request is to be whole before.
    let sent = poll_fn(|cx| outflow.poll(cx, &socket, &mut request_body)).await;
    sent.map_err(|_| broken_body(terms))?;
    let (rest, raw) = (response.rest.clone(), response.raw.clone());
    let mut head = parts_of(response);
    head.headers.remove(CONTENT_LENGTH);
    let body = AnswerBody::Upgraded(Tunnel::new(socket, rest));
    Ok(Answer { head, raw, body })
}

fn parts_of(response: http1::Response) -> response::Parts {
    let http1::Response {
        status,
        headers,
        version,
        reason,
        ..
    } = response;
    let (mut head, ()) = Response::new(()).into_parts();
    if status.canonical_reason().map(str::as_bytes) != Some(&*reason)
        && let Ok(reason) = ReasonPhrase::try_from(reason)
    {
        head.extensions.insert(reason);
    }
    head.status = status;
    head.version = version;
    head.headers = headers;
    head
}

fn broken_body(terms: &Terms<'_>) -> Error {
    Error::new(
        terms.request_body.failure().unwrap_or(Reason::ClientGone),
        None,
    )
}

/// Why there is no response's head.
fn before_head(error: &HeadError, terms: &Terms<'_>) -> Error {
    let (reason, detail) = match error {
        // Such as a client certificate that is not accepted, which TLS 1.3 reports only after the handshake.
        HeadError::Io(error) if tls::is_tls_error(error) => {
            (Reason::UpstreamTlsFailed, tls::explain(error))
        }
        HeadError::Io(error) => {
            let reason = terms
                .request_body
                .failure()
                .unwrap_or(Reason::UpstreamClosedBeforeHead);
            (reason, error.to_string())
        }
        HeadError::Bad(bad) => (Reason::UpstreamInvalidHead, bad.to_string()),
    };
    Error::new(reason, Some(detail))
}
