//! The request as it goes to the upstream.

use std::rc::Rc;

use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, EXPECT, HOST, HeaderMap, HeaderName, TE, TRANSFER_ENCODING,
};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, StatusCode, Uri, Version, request};
use hyper::body::Incoming;
use ipnet::IpNet;

use super::headers::remove_hop_by_hop;
use super::route::Route;
use super::{authority, forwarded, upgrade};
use crate::body::{Upload, UploadProgress};
use crate::client::Client;
use crate::config::Detect;
use crate::reason::Reason;
use crate::upstream::Error;
use crate::wire::{is_event_stream, is_only_chunked};

/// Refuses what cannot be passed on.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), Error> {
    if request.method() == Method::CONNECT {
        return Err(Error::new(Reason::MethodRefused, None));
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
    pub(super) request: Request<Upload>,
    /// What its body says of itself.
    pub(super) progress: Rc<UploadProgress>,
    /// What its response has to be to count as an event stream.
    pub(super) detect: Detect,
    /// It offers to change the protocol.
    pub(super) upgrades: bool,
}

/// Turns the request of `client` into the one that the route's upstream gets.
pub(super) fn outgoing(
    request: Request<Incoming>,
    route: &Route,
    client: &Client,
    trusted_proxies: &[IpNet],
) -> Outgoing {
    let config = &route.config;
    let detect = match *request.method() {
        Method::HEAD => Detect::Never, // there is no stream to come
        _ => config.events.detect,
    };
    let offer = upgrade::offered(&request);
    let upgrades = offer.is_some();
    let (mut parts, incoming) = request.into_parts();
    let kept = route.kept_of_request();
    let (upload, progress) = Upload::new(incoming, config.timeouts.request_body, kept);

    let host = host(&parts, &route.authority);
    edit_connection(&mut parts.headers, offer);
    if let Some(host) = host {
        parts.headers.insert(HOST, host);
    }
    let scheme = if client.is_tls() {
        Scheme::HTTPS
    } else {
        Scheme::HTTP
    };
    forwarded::tell(
        &mut parts.headers,
        client.peer(),
        &scheme,
        forwarded::is_trusted(client.peer(), trusted_proxies),
    );
    let events = &config.events;
    if asks_for_events(&parts.headers) || events.streaming || events.detect == Detect::Always {
        let identity = HeaderValue::from_static("identity");
        parts.headers.insert(ACCEPT_ENCODING, identity);
    }
    if parts.version == Version::HTTP_10 && names(&parts.headers, EXPECT, "100-continue") {
        // RFC 9110, section 10.1.1: "A server that receives a 100-continue expectation in an HTTP/1.0 request MUST ignore that
        // expectation." The upstream cannot, since it gets the request as HTTP/1.1.
        parts.headers.remove(EXPECT);
    }
    let target = parts.uri.path_and_query().cloned();
    parts.uri = Uri::from(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
    parts.version = Version::HTTP_11;

    let mut request = Request::from_parts(parts, upload);
    if names(request.headers(), EXPECT, "100-continue") {
        let asked = request.body_mut().hold();
        hyper::ext::on_informational(&mut request, move |interim| {
            if interim.status() == StatusCode::CONTINUE {
                asked.notify_one();
            }
        });
    }
    Outgoing {
        request,
        progress,
        detect,
        upgrades,
    }
}

/// The host that the client means; `fallback` if it names none.
fn host(parts: &request::Parts, fallback: &str) -> Option<HeaderValue> {
    let host = match parts.uri.authority() {
        // RFC 9112, section 3.2.2: for a target in absolute form, "a proxy ... MUST ignore the received Host header field (if
        // any) and instead replace it with the host information of the request-target".
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => parts.headers.get(HOST).cloned(),
    };
    host.or_else(|| HeaderValue::from_str(fallback).ok())
}

/// What concerns the client's connection goes, and what concerns the upstream's comes: trailers that are welcome, and an
/// `offer` to change the protocol.
fn edit_connection(headers: &mut HeaderMap, offer: Option<HeaderValue>) {
    let takes_trailers = names(headers, TE, "trailers");
    remove_hop_by_hop(headers);
    if takes_trailers {
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
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

/// Whether `Accept` names `text/event-stream`.
pub(super) fn asks_for_events(headers: &HeaderMap) -> bool {
    let mut ranges = headers
        .get_all(ACCEPT)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&b| b == b','));
    ranges.any(is_event_stream)
}
