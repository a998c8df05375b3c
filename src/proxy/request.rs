//! The request as it goes to the upstream.

use http::header::{ACCEPT, ACCEPT_ENCODING, HOST, HeaderMap};
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
    remove_hop_by_hop(&mut parts.headers);
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

/// Whether `Accept` names `text/event-stream`.
pub(super) fn asks_for_events(headers: &HeaderMap) -> bool {
    let mut ranges = headers
        .get_all(ACCEPT)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&b| b == b','));
    ranges.any(is_event_stream)
}
