//! What a route answers by itself: a redirect, a file, or always the same.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Request, Response, response};

use super::prefix;
use super::route::Route;
use super::values::Values;
use crate::body::Incoming;
use crate::config::{PathPattern, Redirect, Respond, Scheme};
use crate::files::Files;
use crate::upstream::{Answer, AnswerBody, Error};

/// A response with this head, as if from a backend.
pub(super) fn answer(mut head: response::Parts, body: Bytes) -> Answer {
    head.headers
        .insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    Answer {
        head,
        raw: Bytes::new(),
        body: AnswerBody::Plain(Incoming::Kept(body)),
    }
}

pub(super) fn respond(respond: &Respond) -> Answer {
    let (mut head, ()) = Response::new(()).into_parts();
    head.status = respond.status;
    let body = Bytes::from(respond.text.clone());
    if !body.is_empty() {
        head.headers
            .insert(CONTENT_TYPE, respond.content_type.clone());
    }
    answer(head, body)
}

/// A file, or whatever else `files` have for the request. A route without a prefix cuts nothing off.
pub(super) async fn file<B>(
    files: &Files,
    route: &Route,
    request: &Request<B>,
) -> Result<Answer, Error> {
    let path = route.config.matcher.path.as_ref();
    let is_whole = path.is_none_or(PathPattern::is_exact);
    let segments = if is_whole { 0 } else { route.segments() };
    let below = prefix::below(request.uri().path(), segments);
    let found = files.answer(request.method(), request.uri(), &below, request.headers());
    let (head, body) = found.await.map_err(|reason| Error::new(reason, None))?;
    Ok(Answer {
        head,
        raw: Bytes::new(),
        body: AnswerBody::Plain(body),
    })
}

/// Sends the client elsewhere. `segments` is how many of its path's the route has matched.
pub(super) fn redirect(redirect: &Redirect, values: &Values<'_>, segments: usize) -> Answer {
    let (mut head, ()) = Response::new(()).into_parts();
    head.status = redirect.status;
    let location = location(redirect, values, segments);
    if let Ok(location) = HeaderValue::from_bytes(&location) {
        head.headers.insert(LOCATION, location);
    }
    answer(head, Bytes::new())
}

/// The address in full: a target of the client's that begins with two slashes would otherwise name another host.
fn location(redirect: &Redirect, values: &Values<'_>, segments: usize) -> Vec<u8> {
    let scheme = redirect
        .scheme
        .map_or_else(|| values.scheme(), Scheme::name);
    let host = match &redirect.host {
        Some(host) => values.render(host),
        None => values.host().unwrap_or_default().into(),
    };
    let mut location = Vec::new();
    if !host.is_empty() {
        location.extend_from_slice(scheme.as_bytes());
        location.extend_from_slice(b"://");
        location.extend_from_slice(&host);
        // The port that the client has named belongs to its host and scheme.
        let is_elsewhere = redirect.host.is_some() || scheme != values.scheme();
        let usual = if scheme == "https" { 443 } else { 80 };
        match redirect.port {
            Some(port) if port != usual => {
                location.extend_from_slice(format!(":{port}").as_bytes());
            }
            None if !is_elsewhere => {
                if let Some(port) = values.stated_port() {
                    location.extend_from_slice(format!(":{port}").as_bytes());
                }
            }
            Some(_) | None => {}
        }
    }
    let mut path = match (&redirect.path, &redirect.replace_prefix) {
        (Some(path), _) => values.render(path),
        (None, Some(replacement)) => {
            let path = values.path();
            prefix::replace(path.as_bytes(), path, segments, replacement)
        }
        (None, None) => values.path().into(),
    };
    if location.is_empty() || !path.starts_with(b"/") {
        // Behind no host (HTTP/1.0 has none), two slashes, or what browsers take for them, name one. And `*` is no path.
        let is_root = |byte: &&u8| matches!(byte, b'/' | b'\\' | b'*');
        path.drain(..path.iter().take_while(is_root).count());
        path.insert(0, b'/');
    }
    location.extend_from_slice(&path);
    let states_query = location.contains(&b'?');
    if let Some(query) = values.query().filter(|_| !states_query) {
        location.push(b'?');
        location.extend_from_slice(query.as_bytes());
    }
    location
}
