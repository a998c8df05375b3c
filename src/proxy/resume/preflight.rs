//! Browsers ask before a page of another origin sends `Last-Event-ID` itself, as libraries on `fetch` do; a backend that knows nothing of
//! ids would say no. (The browser's own `EventSource` sends it without asking.)

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap,
};
use http::{HeaderValue, Method, Request};

const NAME: &str = "last-event-id";

/// Has the backend asked for everything but `Last-Event-ID`; whether that was to be asked.
pub(super) fn ask<B>(request: &mut Request<B>) -> bool {
    let is_preflight = request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if !is_preflight {
        return false;
    }
    let headers = request.headers_mut();
    let lines = headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter();
    let lines = lines.filter_map(|value| value.to_str().ok());
    let names = lines.flat_map(|line| line.split(',').map(str::trim));
    let names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
    let others = names.iter().filter(|name| !name.eq_ignore_ascii_case(NAME));
    let others: Vec<_> = others.copied().collect();
    if others.len() == names.len() {
        return false;
    }
    match HeaderValue::from_str(&others.join(",")) {
        Ok(names) if !names.is_empty() => {
            headers.insert(ACCESS_CONTROL_REQUEST_HEADERS, names);
        }
        Ok(_) | Err(_) => drop(headers.remove(ACCESS_CONTROL_REQUEST_HEADERS)),
    }
    true
}

/// The backend has answered: if it lets pages of the origin in, they may send `Last-Event-ID`.
pub(super) fn answer(headers: &mut HeaderMap) {
    if headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        headers.append(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(NAME));
    }
}

/// Pages of other origins that may read a response may read what it says of resuming.
pub(super) fn expose(headers: &mut HeaderMap) {
    if headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        let names = HeaderValue::from_static("Sse-Sidecar-Stream, Sse-Sidecar-Resumed");
        headers.append(ACCESS_CONTROL_EXPOSE_HEADERS, names);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backend_is_asked_for_the_rest() {
        for (asked, is_asked, left) in [
            ("last-event-id", true, None),
            ("content-type, Last-Event-ID", true, Some("content-type")),
            ("content-type", false, Some("content-type")),
            ("last-event-id,x-a,x-b", true, Some("x-a,x-b")),
        ] {
            let mut request = Request::options("/")
                .header("access-control-request-method", "GET")
                .header("access-control-request-headers", asked)
                .body(())
                .unwrap();
            assert_eq!(ask(&mut request), is_asked, "{asked}");
            let seen = request.headers().get(ACCESS_CONTROL_REQUEST_HEADERS);
            assert_eq!(seen.map(|value| value.to_str().unwrap()), left);
        }
        let mut other = Request::get("/").body(()).unwrap();
        assert!(!ask(&mut other));
    }
}
