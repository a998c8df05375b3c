//! At which names the status page is shown.
//!
//! A name in `Host` may be anybody's who has made it mean this address (DNS rebinding): a browser then lets that site's page read all
//! that is here. An address is nobody's name, and `localhost` always means the visitor's own machine.

use std::net::IpAddr;

use http::header::{HOST, HeaderMap, ORIGIN};
use http::{Request, StatusCode};

use super::{Answer, TEXT, text};
use crate::config::requested_host;

/// Whether a request names a host at which the page is shown. One without a host is not a browser's.
pub(super) fn is_ours<B>(request: &Request<B>, names: &[String]) -> bool {
    let names_none = request.uri().host().is_none() && !request.headers().contains_key(HOST);
    names_none || requested_host(request).is_some_and(|host| is_known(host, names))
}

fn is_known(host: &str, names: &[String]) -> bool {
    let address = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    address.unwrap_or(host).parse::<IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || names.iter().any(|name| name.eq_ignore_ascii_case(host))
}

/// The answer where the host is another.
pub(super) fn refuse() -> Answer {
    let how = "the status page is shown at IP addresses, at `localhost`, and at the names in `admin.hosts`: this host is none of them\n";
    text(StatusCode::MISDIRECTED_REQUEST, TEXT, how)
}

/// Whether the request comes from no browser, or from a page of the host that [`is_ours`] has accepted. A TLS proxy may stand in
/// front of that host.
pub(super) fn is_own_page(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else {
        return true;
    };
    let origin = origin.to_str().unwrap_or_default();
    let origin = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    origin.is_some_and(|origin| {
        !origin.is_empty() && headers.get(HOST).is_some_and(|host| host == origin)
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn addresses_and_known_names() {
        let names = ["status.example.com".to_owned()];
        for (host, expected) in [
            ("127.0.0.1:9901", true),
            ("10.0.0.7", true),
            ("[::1]:9901", true),
            ("localhost:9901", true),
            ("LOCALHOST.", true),
            ("status.example.com", true),
            ("Status.Example.com.:80", true),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("x.status.example.com", false),
            ("", false),
        ] {
            let request = Request::builder().header(HOST, host).body(()).unwrap();
            assert_eq!(is_ours(&request, &names), expected, "{host}");
        }
        let target = Request::builder().uri("http://evil.example/status");
        assert!(!is_ours(
            &target.header(HOST, "127.0.0.1").body(()).unwrap(),
            &names
        ));
        assert!(is_ours(&Request::new(()), &names), "HTTP/1.0");
    }

    #[test]
    fn only_our_own_page_ends_streams() {
        for (host, origin, expected) in [
            ("127.0.0.1:9901", None, true),
            ("127.0.0.1:9901", Some("http://127.0.0.1:9901"), true),
            ("localhost:9901", Some("http://localhost:9901"), true),
            ("[::1]:9901", Some("http://[::1]:9901"), true),
            (
                "status.example.com",
                Some("https://status.example.com"),
                true,
            ),
            ("127.0.0.1:9901", Some("http://127.0.0.1:9902"), false),
            ("127.0.0.1:9901", Some("http://evil.example"), false),
            ("127.0.0.1:9901", Some("null"), false),
            ("", Some("http://"), false),
        ] {
            let mut headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
            headers.extend(origin.map(|origin| (ORIGIN, HeaderValue::from_static(origin))));
            assert_eq!(is_own_page(&headers), expected, "{host} {origin:?}");
        }
    }
}
