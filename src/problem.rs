//! The error responses that the sidecar makes itself: problem details (RFC 9457), or plain text for a client that asks for it.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use crate::reason::Reason;

/// The common methods, all of which pass; only CONNECT does not.
const PASSED_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE";

/// What can be done with a file.
const FILE_METHODS: &str = "GET, HEAD";

/// The response that reports `reason` to a client, in a form that its `Accept` fields ask for, with `detail` if there is any.
pub fn response<'a>(
    reason: Reason,
    detail: Option<&str>,
    accept: impl IntoIterator<Item = &'a HeaderValue>,
) -> Response<Bytes> {
    let status = reason.status().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let title = reason.title();
    let (content_type, body) = if wants_text(accept) {
        let detail = detail
            .map(|detail| format!(": {detail}"))
            .unwrap_or_default();
        (
            "text/plain; charset=utf-8",
            format!("{} {title}{detail} ({})\n", status.as_u16(), reason.name()),
        )
    } else {
        let detail = detail
            .map(|detail| format!(",\"detail\":\"{}\"", escape(detail)))
            .unwrap_or_default();
        let body = format!(
            "{{\"type\":\"about:blank\",\"title\":\"{title}\",\"status\":{},\"reason\":\"{}\",\"side\":\"{}\"{detail}}}\n",
            status.as_u16(),
            reason.name(),
            reason.side().name(),
        );
        ("application/problem+json", body)
    };
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        // RFC 9110, section 15.5.6: "The origin server MUST generate an Allow header field in a 405 response".
        let methods = match reason {
            Reason::FileMethodRefused => FILE_METHODS,
            _ => PASSED_METHODS,
        };
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static(methods));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        // Spread, so that clients that were rejected together do not come back together.
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(fastrand::u16(1..=10)));
    }
    response
}

/// The response as bytes, for a connection that hyper does not serve (any more). It announces that the connection closes.
pub fn bytes(reason: Reason, detail: Option<&str>) -> Vec<u8> {
    last_bytes(&response(reason, detail, []))
}

/// The response as bytes in plain text, for a client whose request is unknown.
pub fn text(reason: Reason) -> Vec<u8> {
    last_bytes(&response(
        reason,
        None,
        &[HeaderValue::from_static("text/plain")],
    ))
}

/// A response as bytes, for a connection that ends with it.
pub fn last_bytes(response: &Response<Bytes>) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {}\r\n", response.status()).into_bytes();
    for (name, value) in response.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(
        format!(
            "content-length: {}\r\nconnection: close\r\n\r\n",
            response.body().len()
        )
        .as_bytes(),
    );
    bytes.extend_from_slice(response.body());
    bytes
}

/// Whether `accept` names plain text and no form of JSON.
fn wants_text<'a>(accept: impl IntoIterator<Item = &'a HeaderValue>) -> bool {
    let mut ranges = accept
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let media_type = |range: &str| {
        range
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
    };
    let types: Vec<String> = ranges.by_ref().map(media_type).collect();
    types.iter().any(|t| t == "text/plain")
        && !types
            .iter()
            .any(|t| t == "application/json" || t.ends_with("+json"))
}

/// `text` as the inside of a JSON string.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => escaped.extend(['\\', c]),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_unless_text_is_asked_for() {
        let with_accept = |accept: &'static str| {
            let accept = [HeaderValue::from_static(accept)];
            let response = response(Reason::NoRoute, Some("a \"quoted\" detail"), &accept);
            let content_type = response.headers()[CONTENT_TYPE]
                .to_str()
                .unwrap()
                .to_owned();
            (
                content_type,
                String::from_utf8(response.into_body().to_vec()).unwrap(),
            )
        };
        for json in [
            "*/*",
            "text/html",
            "text/event-stream",
            "application/json, text/plain",
            "text/plain;q=0.1, application/x+json",
        ] {
            assert_eq!(with_accept(json).0, "application/problem+json", "{json}");
        }
        assert!(with_accept("*/*").1.contains(
            r#""status":404,"reason":"no_route","side":"proxy","detail":"a \"quoted\" detail"}"#
        ));
        let (content_type, body) = with_accept("Text/Plain; q=1, image/png");
        assert_eq!(content_type, "text/plain; charset=utf-8");
        assert_eq!(
            body,
            "404 No route matches this request: a \"quoted\" detail (no_route)\n"
        );
    }

    #[test]
    fn a_405_says_what_is_allowed() {
        let refused = response(Reason::MethodRefused, None, []);
        assert_eq!(refused.headers()[ALLOW], PASSED_METHODS);
        let refused = response(Reason::FileMethodRefused, None, []);
        assert_eq!(refused.headers()[ALLOW], "GET, HEAD");
        assert!(!PASSED_METHODS.contains("CONNECT"));
        assert!(
            !response(Reason::NoRoute, None, [])
                .headers()
                .contains_key(ALLOW)
        );
    }

    #[test]
    fn the_bytes_are_one_whole_response() {
        let bytes = String::from_utf8(bytes(Reason::TooManyConnections, None)).unwrap();
        let (head, body) = bytes.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
        assert!(head.contains("connection: close") && head.contains("retry-after: "));
        assert!(head.contains(&format!("content-length: {}", body.len())));

        let text = String::from_utf8(text(Reason::TlsExpected)).unwrap();
        assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain"));
        assert!(text.ends_with("400 This port speaks TLS: use https:// (tls_expected)\n"));
    }
}
