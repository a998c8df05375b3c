//! Cross-origin resource sharing (Fetch Standard, section 3.3): preflights are answered, and answers carry what lets a page read them.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, ORIGIN, VARY,
};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, response};

use super::headers::found;
use crate::config::{Cors, Origin};

/// Which an `EventSource` sends by itself after a break, and no server remembers to allow.
const LAST_EVENT_ID: &str = "last-event-id";

/// The fields of an answer that let its client's page read it.
#[derive(Debug)]
pub(super) struct Allowance {
    /// `None` if the page may not.
    origin: Option<HeaderValue>,
    credentials: bool,
    expose: Option<HeaderValue>,
    /// Whether the answer to another origin would be another.
    varies: bool,
}

/// The preflight (section 3.3.5); `None` if the request is none.
pub(super) fn preflight<B>(request: &Request<B>) -> Option<&HeaderValue> {
    let headers = request.headers();
    let is_one = request.method() == Method::OPTIONS && headers.contains_key(ORIGIN);
    headers
        .get(ACCESS_CONTROL_REQUEST_METHOD)
        .filter(|_| is_one)
}

/// Whether a preflight asks to send this field.
pub(super) fn asks_for(headers: &HeaderMap, name: &HeaderName) -> bool {
    super::request::names(headers, ACCESS_CONTROL_REQUEST_HEADERS, name.as_str())
}

impl Allowance {
    pub(super) fn of(cors: &Cors, headers: &HeaderMap) -> Self {
        let asked = headers.get(ORIGIN);
        let is_any = cors.origins.contains(&Origin::Any);
        let is_allowed = |origin: &&HeaderValue| {
            let origin = origin.to_str().unwrap_or_default();
            cors.origins.iter().any(|allowed| allowed.matches(origin))
        };
        let origin = if is_any {
            Some(HeaderValue::from_static("*"))
        } else {
            asked.filter(is_allowed).cloned()
        };
        Self {
            origin,
            credentials: cors.credentials,
            expose: list(cors.expose.iter().map(HeaderName::as_str)),
            varies: !is_any,
        }
    }

    /// Puts the fields into the head of an answer, instead of any that the backend has.
    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        for name in found(headers, |name| name.starts_with("access-control-")) {
            headers.remove(name);
        }
        if self.varies && !super::request::names(headers, VARY, "origin") {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        let Some(origin) = &self.origin else {
            return;
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if self.credentials {
            headers.insert(
                ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
        if let Some(expose) = &self.expose {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
    }

    /// The answer to a preflight with these `headers`.
    pub(super) fn preflight(&self, cors: &Cors, asked: &HeaderMap) -> response::Parts {
        let (mut head, ()) = Response::new(()).into_parts();
        head.status = StatusCode::NO_CONTENT;
        self.apply(&mut head.headers);
        head.headers.remove(ACCESS_CONTROL_EXPOSE_HEADERS);
        if self.origin.is_none() {
            return head;
        }
        let headers = if cors.headers.is_empty() {
            asked.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned()
        } else {
            let listed = cors.headers.iter().map(HeaderName::as_str);
            let own = [LAST_EVENT_ID].into_iter();
            list(listed.filter(|name| *name != LAST_EVENT_ID).chain(own))
        };
        let methods = list(cors.methods.iter().map(Method::as_str));
        let max_age = cors.max_age.map(|age| HeaderValue::from(age.as_secs()));
        for (name, value) in [
            (ACCESS_CONTROL_ALLOW_HEADERS, headers),
            (ACCESS_CONTROL_ALLOW_METHODS, methods),
            (ACCESS_CONTROL_MAX_AGE, max_age),
        ] {
            if let Some(value) = value {
                head.headers.insert(name, value);
            }
        }
        if cors.headers.is_empty() {
            head.headers.append(
                VARY,
                HeaderValue::from_static("Access-Control-Request-Headers"),
            );
        }
        head
    }
}

fn list<'a>(items: impl Iterator<Item = &'a str>) -> Option<HeaderValue> {
    let list = items.collect::<Vec<_>>().join(", ");
    HeaderValue::try_from(list)
        .ok()
        .filter(|list| !list.is_empty())
}
