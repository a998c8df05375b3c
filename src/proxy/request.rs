//! The request as it goes to the upstream.

use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, EXPECT, HOST, HeaderMap, HeaderName, TE, TRANSFER_ENCODING,
};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Uri, Version, request};

use super::headers::remove_hop_by_hop;
use super::route::Route;
use crate::config::Detect;
use crate::reason::Reason;
use crate::upstream::Error;
use crate::wire::is_event_stream;

/// Refuses what cannot be passed on.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), Error> {
    if request.method() == Method::CONNECT {
        return Err(Error::new(Reason::MethodRefused, None));
    }
    // The proxy undoes the chunks and nothing else: what another coding made of the body must not go on without its name.
    let mut codings = request.headers().get_all(TRANSFER_ENCODING).iter();
    if !codings.all(|coding| {
        coding
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked")
    }) {
        let detail = "its Transfer-Encoding is not just `chunked`";
        return Err(Error::new(
            Reason::RequestMalformed,
            Some(detail.to_owned()),
        ));
    }
    // RFC 9112, section 3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message that
    // lacks a Host header field and to any request message that contains more than one Host header field line".
    let detail = match request.headers().get_all(HOST).iter().count() {
        0 if request.version() == Version::HTTP_11 => "the Host header field is missing",
        0 | 1 => return Ok(()),
        _ => "there is more than one Host header field",
    };
    Err(Error::new(
        Reason::RequestMalformed,
        Some(detail.to_owned()),
    ))
}

/// Turns a client's request into the one that the route's upstream gets.
pub(super) fn outgoing(mut parts: request::Parts, route: &Route) -> request::Parts {
    let host = match parts.uri.authority() {
        // RFC 9112, section 3.2.2: for a target in absolute form, "a proxy ... MUST ignore the received Host header field (if
        // any) and instead replace it with the host information of the request-target".
        Some(authority) => {
            let host = authority.as_str().rsplit('@').next().unwrap_or_default(); // without user information
            HeaderValue::from_str(host).ok()
        }
        None => parts.headers.get(HOST).cloned(),
    };
    let host = host.or_else(|| HeaderValue::from_str(&route.authority).ok());
    let takes_trailers = names(&parts.headers, TE, "trailers");
    remove_hop_by_hop(&mut parts.headers);
    if takes_trailers {
        parts
            .headers
            .insert(CONNECTION, HeaderValue::from_static("te"));
        parts
            .headers
            .insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(host) = host {
        parts.headers.insert(HOST, host);
    }
    let events = &route.config.events;
    if asks_for_events(&parts.headers) || events.streaming || events.detect == Detect::Always {
        parts
            .headers
            .insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    let target = parts
        .uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    parts.uri = Uri::from(target);
    parts.version = Version::HTTP_11;
    parts
}

/// Whether the client sends its body only once it is asked for it.
pub(super) fn expects_continue(headers: &HeaderMap) -> bool {
    names(headers, EXPECT, "100-continue")
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

/// Whether `Accept` names `text/event-stream`.
pub(super) fn asks_for_events(headers: &HeaderMap) -> bool {
    let mut ranges = headers
        .get_all(ACCEPT)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&b| b == b','));
    ranges.any(is_event_stream)
}
