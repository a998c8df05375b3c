//! The request as it goes to the upstream.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, TE, TRANSFER_ENCODING,
};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Uri, Version, request};
use http_body::Body;

use super::edits::Edits;
use super::guard::{Asker, Passed};
use super::headers::remove_hop_by_hop;
use super::prefix::Replacement;
use super::resume::remove_from_raw_head;
use super::route::{Backend, Route};
use super::websocket::Handshake;
use super::{authority, forwarded, upgrade};
use crate::body::{Hold, Incoming, RequestBody, RequestBodyProgress};
use crate::config::{self, Detect, Forwarded};
use crate::exchange::Ids;
use crate::reason::Reason;
use crate::upstream::Error;
use crate::wire::{is_event_stream_type, is_only_chunked};

/// Refuses what cannot be passed on.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), Error> {
    if request.method() == Method::CONNECT {
        return Err(Error::new(Reason::MethodRefused, None));
    }
    if request.uri().path() == "*" && request.method() != Method::OPTIONS {
        // RFC 9112, section 3.2.4: "only used for a server-wide OPTIONS request".
        let detail = "only OPTIONS has the target `*`";
        return Err(Error::new(
            Reason::RequestMalformed,
            Some(detail.to_owned()),
        ));
    }
    let malformed = |detail: &str| Error::new(Reason::RequestMalformed, Some(detail.to_owned()));
    let codings = request.headers().get_all(TRANSFER_ENCODING).iter();
    if !is_only_chunked(codings.map(HeaderValue::as_bytes)) {
        return Err(malformed("its Transfer-Encoding is not just `chunked`"));
    }
    authority::check(request).map_err(malformed)
}

/// A request as it goes up.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// In a box, because it goes through many hands.
    pub(super) request: Box<Request<RequestBody>>,
    /// What its body says of itself.
    pub(super) progress: Rc<RequestBodyProgress>,
    /// To be released when the upstream asks for the body.
    pub(super) held: Option<Rc<Hold>>,
    /// What its response has to be to count as an event stream.
    pub(super) detect: Detect,
    /// Whether it may also be a stream of another format.
    pub(super) other_streams: bool,
    /// It asks for events.
    pub(super) wants_events: bool,
    /// It offers to change the protocol.
    pub(super) upgrades: bool,
    /// What has to be answered to a WebSocket over HTTP/2, and what its client sends in it.
    pub(super) handshake: Option<Handshake>,
    pub(super) websocket: Option<Incoming>,
    /// Its head as the client wrote it, if it speaks HTTP/1.
    pub(super) raw_head: Bytes,
    /// How long the client waits for the head of the event stream that it wants, if not longer.
    pub(super) before_head: Option<Duration>,
}

/// What a route changes in a request.
#[derive(Debug, Default)]
pub(super) struct RequestChanges {
    pub(super) edits: Option<Edits>,
    pub(super) prefix: Option<Replacement>,
    /// A cursor of ours was in its target, and still is in the head as the client wrote it.
    pub(super) had_cursor_in_target: bool,
    /// What its guard says of it.
    pub(super) passed: Passed,
}

/// How long a body may be, in bytes, that is kept so that a request can be sent again.
const REPEATED: usize = 16 * 1024;

/// How many fields may be added, for which room is made once.
const ADDED: usize = 10;

/// Turns the request of `client` into the one for the route's upstream.
pub(super) fn outgoing(
    request: Request<Incoming>,
    handshake: Option<Handshake>,
    (route, backend): (&Route, &Backend),
    asker: Asker<'_>,
    ids: &Ids,
    changes: RequestChanges,
) -> Result<Outgoing, Error> {
    let RequestChanges {
        edits,
        prefix,
        had_cursor_in_target,
        passed,
    } = changes;
    let config = &route.config;
    let proxied = &backend.config;
    let detect = match *request.method() {
        Method::HEAD => Detect::Never, // there is no stream to come
        _ => config.events.detect,
    };
    let is_http2 = proxied.upstream.address.scheme() == config::Scheme::H2c;
    if handshake.is_some() && is_http2 {
        let detail = "its route's upstream speaks HTTP/2 only, and WebSockets pass over HTTP/1.1";
        return Err(Error::new(Reason::MethodRefused, Some(detail.to_owned())));
    }
    let offer = upgrade::offered(&request, handshake.is_some()).filter(|_| !is_http2);
    let upgrades = offer.is_some();
    let (mut parts, incoming) = request.into_parts();
    let (incoming, websocket) = match handshake {
        None => (incoming, None),
        Some(_) => (Incoming::Kept(Bytes::new()), Some(incoming)),
    };
    let mut kept = route.kept_of_request();
    let length = incoming.size_hint().exact();
    // One of several upstreams may refuse it unseen: then another one gets it, whatever its method.
    let may_repeat = parts.method.is_idempotent() || backend.pool.is_some();
    if may_repeat && length.is_some_and(|length| length <= REPEATED as u64) {
        kept = kept.max(REPEATED);
    }
    let timeout = config.timeouts.request_body;
    let (mut request_body, progress) = RequestBody::new(incoming, timeout, kept);
    if let Some(most) = config.limits.request_body {
        request_body.limit(most);
    }

    let host = host(&parts, &backend.authority);
    parts.headers.reserve(ADDED);
    join_cookies(&mut parts.headers);
    edit_connection(&mut parts.headers, offer);
    if let Some(host) = host {
        parts.headers.insert(HOST, host);
    }
    ids.tell_upstream(&mut parts.headers);
    match proxied.forwarded {
        Forwarded::On => tell_of_client(&mut parts.headers, asker, prefix.as_ref()),
        Forwarded::Off => forwarded::remove(&mut parts.headers),
    }
    passed.tell(&mut parts.headers);
    if let Some(edits) = edits {
        edits.apply(&mut parts.headers);
    }
    if let Some(host) = &proxied.host {
        parts.headers.insert(HOST, host.clone());
    }
    let events = &config.events;
    let accept = parts.headers.get_all(ACCEPT);
    let wants_events =
        asks_for_events(accept) || events.streaming || events.detect == Detect::Always;
    if wants_events {
        let identity = HeaderValue::from_static("identity");
        parts.headers.insert(ACCEPT_ENCODING, identity);
    }
    if parts.version == Version::HTTP_10 && names(&parts.headers, EXPECT, "100-continue") {
        // RFC 9110, section 10.1.1: "A server that receives a 100-continue expectation in an HTTP/1.0 request MUST ignore that
        // expectation." The upstream cannot, since it gets the request as HTTP/1.1.
        parts.headers.remove(EXPECT);
    }
    let mut raw_head = asker.client.take_raw_head();
    if had_cursor_in_target {
        raw_head = remove_from_raw_head(&raw_head);
    }
    let target = target(&parts);
    parts.uri = match prefix.filter(|_| target != "*") {
        Some(prefix) => {
            raw_head = prefix.in_raw_head(&raw_head, target.path());
            prefix.in_target(&target)
        }
        None => Uri::from(target),
    };

    let mut request = Box::new(Request::from_parts(parts, request_body));
    let waits = !progress.is_empty() && names(request.headers(), EXPECT, "100-continue");
    let held = waits.then(|| request.body_mut().hold());
    let may_be_early = wants_events && detect != Detect::Never && !upgrades;
    Ok(Outgoing {
        request,
        progress,
        held,
        detect,
        other_streams: events.streaming && detect != Detect::Never,
        wants_events,
        upgrades,
        handshake,
        websocket,
        raw_head,
        before_head: config.heartbeat.before_head.filter(|_| may_be_early),
    })
}

/// Forwards the client's address, and the prefix of the backend's paths as the client sees it.
fn tell_of_client(headers: &mut HeaderMap, asker: Asker<'_>, prefix: Option<&Replacement>) {
    asker.forward(headers);
    if let Some(prefix) = prefix {
        forwarded::tell_prefix(headers, &prefix.of_client);
    }
}

/// The target as the upstream gets it: without scheme and host.
fn target(parts: &request::Parts) -> PathAndQuery {
    if parts.method == Method::OPTIONS && has_no_path(parts) {
        // RFC 9112, section 3.2.4: "If a proxy receives an OPTIONS request with an absolute-form of request-target in which the URI
        // has an empty path and no query component, then the last proxy on the request chain MUST send a request-target of "*"".
        return PathAndQuery::from_static("*");
    }
    let target = parts.uri.path_and_query().cloned();
    target.unwrap_or_else(|| PathAndQuery::from_static("/"))
}

/// Whether an HTTP/1 target in absolute form ends with its host. `http` makes its path `/`, as for one that ends in a slash: but
/// then the slash is in the client's own bytes, right after the host. HTTP/2 has the path in a field of its own.
fn has_no_path(parts: &request::Parts) -> bool {
    let Some(authority) = parts.uri.authority() else {
        return false;
    };
    let end_of_host = authority.as_str().as_bytes().as_ptr_range().end;
    parts.version != Version::HTTP_2
        && parts.uri.path() == "/"
        && parts.uri.query().is_none()
        && parts.uri.path().as_ptr() != end_of_host
}

/// The host that the client means; `fallback` if it names none.
fn host(parts: &request::Parts, fallback: &str) -> Option<HeaderValue> {
    authority::as_host(&parts.uri)
        .or_else(|| parts.headers.get(HOST).cloned())
        .or_else(|| HeaderValue::from_str(fallback).ok())
}

/// HTTP/2 may split the cookies over several fields, which "MUST be concatenated into a single octet string using the two-octet
/// delimiter of 0x3b, 0x20" before they are forwarded (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let cookies = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let joined = cookies.collect::<Vec<_>>().join(&b"; "[..]);
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(COOKIE, joined);
    }
}

/// What concerns the client's connection goes, and what concerns the upstream's comes: trailers that are welcome, and an
/// `offer` to change the protocol.
fn edit_connection(headers: &mut HeaderMap, offer: Option<HeaderValue>) {
    let takes_trailers = names(headers, TE, "trailers");
    remove_hop_by_hop(headers);
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocols) = offer {
        upgrade::announce(headers, protocols);
    }
}

/// Whether a list field names `item`.
pub(super) fn names(headers: &HeaderMap, field: HeaderName, item: &str) -> bool {
    let lines = headers
        .get_all(field)
        .iter()
        .filter_map(|value| value.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(item))
}

/// Whether these `Accept` fields name `text/event-stream`.
pub(super) fn asks_for_events<'a>(accept: impl IntoIterator<Item = &'a HeaderValue>) -> bool {
    let mut ranges = accept
        .into_iter()
        .flat_map(|value| value.as_bytes().split(|&b| b == b','));
    ranges.any(is_event_stream_type)
}
