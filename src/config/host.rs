//! The host of a request, as routes and the admin port compare it.

use http::Request;
use http::header::HOST;

/// The host that a request names, without its port and without the trailing dot of a fully qualified name. Callers check that it is
/// valid, and that the target and the Host field agree.
pub fn requested_host<B>(request: &Request<B>) -> Option<&str> {
    let host = if let Some(host) = request.uri().host() {
        host
    } else {
        let field = request.headers().get(HOST)?.to_str().ok()?;
        // `[` `]` are around an IPv6 address, which has colons of its own.
        let end = if field.starts_with('[') {
            field.find(']')? + 1
        } else {
            field.find(':').unwrap_or(field.len())
        };
        &field[..end]
    };
    Some(host.strip_suffix('.').unwrap_or(host)).filter(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_without_ports_and_last_dots() {
        for (target, field, expected) in [
            ("/", "example.com", Some("example.com")),
            ("/", "example.com.", Some("example.com")),
            ("/", "Example.com.:8080", Some("Example.com")),
            ("/", "[::1]:80", Some("[::1]")),
            ("/", "[::1]", Some("[::1]")),
            ("/", "", None),
            ("http://a.example.:80/", "b", Some("a.example")),
            ("http://[::1]/", "b", Some("[::1]")),
        ] {
            let request = Request::builder().uri(target).header(HOST, field);
            let request = request.body(()).unwrap();
            assert_eq!(requested_host(&request), expected, "{target} {field}");
        }
    }
}
