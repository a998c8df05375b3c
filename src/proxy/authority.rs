//! The host of a request. Its target and its Host field must agree: a backend, or a proxy in front of it, may use the one that the
//! sidecar did not.

use http::header::HOST;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Uri, Version};

/// Checks the host that a request names.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), &'static str> {
    let target = named_by_target(request.uri())?;
    let mut fields = request.headers().get_all(HOST).iter();
    let (field, another) = (fields.next(), fields.next());
    // RFC 9112, section 3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message that
    // lacks a Host header field and to any request message that contains more than one Host header field line or a Host header
    // field with an invalid field value."
    if another.is_some() {
        return Err("there is more than one Host header field");
    }
    let Some(field) = field else {
        return match request.version() {
            Version::HTTP_11 => Err("the Host header field is missing"),
            _ => Ok(()), // HTTP/1.0 knows none, and HTTP/2 has `:authority`, which is in the target
        };
    };
    // RFC 9113, section 8.3.1: "A server SHOULD treat a request as malformed if it contains a Host header field that identifies
    // an entity that differs from the entity in the ":authority" pseudo-header field." HTTP/1.1 says so to clients only.
    match (target, named_by_field(field)?) {
        (Some(target), Some(field)) if is_same(target, &field, request.uri().scheme()) => Ok(()),
        (Some(_), _) => Err("the Host header field names another host than the target"),
        (None, _) => Ok(()),
    }
}

/// The Host field for a target in absolute form, for which "a proxy ... MUST ignore the received Host header field (if any) and
/// instead replace it with the host information of the request-target" (RFC 9112, section 3.2.2).
pub(super) fn as_host(target: &Uri) -> Option<HeaderValue> {
    HeaderValue::from_str(target.authority()?.as_str()).ok()
}

/// The authority of a target in absolute form.
fn named_by_target(target: &Uri) -> Result<Option<&Authority>, &'static str> {
    match target.authority() {
        // RFC 9112, section 3.2.3: "When making a CONNECT request", and no other one.
        Some(_) if target.scheme().is_none() => Err("the target is neither a path nor a URL"),
        // RFC 9110, section 4.2.4: a recipient "SHOULD parse for userinfo and treat its presence as an error; it is likely
        // being used to obscure the authority for the sake of phishing attacks".
        Some(authority) if authority.as_str().contains('@') => {
            Err("the target has user information")
        }
        authority => Ok(authority),
    }
}

/// `uri-host [ ":" port ]` (RFC 9110, section 7.2), or none in an empty field, as a target without a host wants it.
fn named_by_field(field: &HeaderValue) -> Result<Option<Authority>, &'static str> {
    if field.is_empty() {
        return Ok(None);
    }
    let is_host = |authority: &Authority| {
        let (host, port) = parts(authority);
        !host.is_empty()
            && !authority.as_str().contains('@')
            && port.bytes().all(|byte| byte.is_ascii_digit())
    };
    match Authority::try_from(field.as_bytes()) {
        Ok(authority) if is_host(&authority) => Ok(Some(authority)),
        Ok(_) | Err(_) => Err("the Host header field is no host"),
    }
}

/// RFC 9110, section 4.2.3: "The scheme and host are case-insensitive", and "If the port is equal to the default port for a
/// scheme, the normal form is to omit the port subcomponent".
fn is_same(one: &Authority, other: &Authority, scheme: Option<&Scheme>) -> bool {
    let default = match scheme {
        Some(scheme) if *scheme == Scheme::HTTPS => "443",
        _ => "80",
    };
    let normal = |port| Some(port).filter(|port: &&str| !port.is_empty() && *port != default);
    let ((one, one_port), (other, other_port)) = (parts(one), parts(other));
    one.eq_ignore_ascii_case(other) && normal(one_port) == normal(other_port)
}

/// The host, and the port after the colon.
fn parts(authority: &Authority) -> (&str, &str) {
    let host = authority.host();
    let rest = authority.as_str().strip_prefix(host);
    let port = rest.and_then(|rest| rest.strip_prefix(':'));
    (host, port.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(version: Version, target: &str, fields: &[&str]) -> Result<(), &'static str> {
        let mut request = Request::builder().version(version).uri(target);
        for field in fields {
            request = request.header(HOST, *field);
        }
        check(&request.body(()).unwrap())
    }

    #[test]
    fn a_host_may_be_written_in_two_ways() {
        for (target, field) in [
            ("/", "example.com"),
            ("/", "example.com:8080"),
            ("/", "example.com:"),
            ("/", "[::1]:80"),
            ("/", "under_score"),
            ("/", ""),
            ("*", "example.com"),
            ("http://example.com/", "example.com"),
            ("http://example.com", "EXAMPLE.com"),
            ("HTTP://Example.com/x", "example.com:80"),
            ("http://example.com:80/", "example.com"),
            ("http://example.com:/", "example.com:80"),
            ("http://example.com:8080/", "example.com:8080"),
            ("https://example.com/", "example.com:443"),
            ("http://[2001:DB8::1]/", "[2001:db8::1]:80"),
        ] {
            for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
                assert_eq!(
                    checked(version, target, &[field]),
                    Ok(()),
                    "{target} {field}"
                );
            }
        }
        for (version, target) in [
            (Version::HTTP_10, "/"),
            (Version::HTTP_2, "https://example.com/"),
        ] {
            assert_eq!(checked(version, target, &[]), Ok(()));
        }
    }

    #[test]
    fn two_hosts_are_refused_and_so_is_none() {
        for (target, fields, says) in [
            ("http://example.com/", &["example.org"][..], "another host"),
            ("http://example.com/", &["www.example.com"], "another host"),
            ("http://example.com/", &["example.com:8080"], "another host"),
            ("http://example.com:8080/", &["example.com"], "another host"),
            ("https://example.com/", &["example.com:80"], "another host"),
            ("http://example.com/", &["example.com:443"], "another host"),
            ("http://example.com/", &[""], "another host"),
            ("http://user@example.com/", &["example.com"], "user"),
            ("http://a:b@example.com/", &["a:b@example.com"], "user"),
            ("example.com:80", &["example.com:80"], "neither"),
            ("example.com", &["example.com"], "neither"),
            ("/", &["a", "b"], "more than one"),
            ("/", &["a", "a"], "more than one"),
            ("/", &["user@example.com"], "no host"),
            ("/", &["example.com/path"], "no host"),
            ("/", &["a b"], "no host"),
            ("/", &["a, b"], "no host"),
            ("/", &["example.com:http"], "no host"),
            ("/", &[":80"], "no host"),
        ] {
            for version in [Version::HTTP_11, Version::HTTP_2] {
                let checked = checked(version, target, fields);
                assert!(
                    checked.is_err_and(|detail| detail.contains(says)),
                    "{target} {fields:?}: {checked:?}"
                );
            }
        }
        assert!(checked(Version::HTTP_11, "/", &[]).is_err());
        assert!(checked(Version::HTTP_11, "http://example.com/", &[]).is_err());
    }
}
