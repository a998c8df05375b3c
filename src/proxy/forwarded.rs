//! What an upstream is told of the client: `X-Forwarded-For`, `-Proto`, `-Host`, and `Forwarded` (RFC 7239).

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{FORWARDED, HOST, HeaderMap};
use http::uri::Scheme;
use http::{HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::client::ip_text;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Whether what a client says of those before it is believed. On a Unix socket the file's permissions have said so.
pub(super) fn is_trusted(peer: Option<SocketAddr>, trusted: &[IpNet]) -> bool {
    peer.is_none_or(|peer| {
        let ip = peer.ip().to_canonical(); // an IPv4 client of an IPv6 listener
        trusted.iter().any(|network| network.contains(&ip))
    })
}

/// Tells of `peer`, which came by `scheme`: appended to what a trusted peer said, in place of what another one did.
pub(super) fn tell(
    headers: &mut HeaderMap,
    peer: Option<SocketAddr>,
    scheme: &Scheme,
    is_trusted: bool,
) {
    let host = headers.get(HOST).cloned();
    let ip = peer.map(|peer| ip_text(peer.ip().to_canonical()));
    let element = element(ip.as_deref(), host.as_ref(), scheme);
    let proto = HeaderValue::from_static(if *scheme == Scheme::HTTPS {
        "https"
    } else {
        "http"
    });
    if is_trusted {
        append(headers, &FORWARDED, &element);
        if let Some(ip) = ip {
            append(headers, &X_FORWARDED_FOR, &ip);
        }
        headers.entry(&X_FORWARDED_PROTO).or_insert(proto);
        if let Some(host) = host {
            headers.entry(&X_FORWARDED_HOST).or_insert(host);
        }
    } else {
        let value = |text: String| HeaderValue::try_from(text).ok();
        replace(headers, &FORWARDED, value(element));
        replace(headers, &X_FORWARDED_FOR, ip.and_then(value));
        replace(headers, &X_FORWARDED_PROTO, Some(proto));
        replace(headers, &X_FORWARDED_HOST, host);
    }
}

fn replace(headers: &mut HeaderMap, name: &HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => headers.insert(name, value),
        None => headers.remove(name),
    };
}

/// Adds to a list, which goes on as one line.
fn append(headers: &mut HeaderMap, name: &HeaderName, item: &str) {
    let mut list = Vec::with_capacity(item.len());
    for line in headers.get_all(name) {
        list.extend_from_slice(line.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(item.as_bytes());
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(list)) {
        headers.insert(name, value);
    }
}

/// RFC 7239, section 4: `for=192.0.2.60;host="example.com:8080";proto=http`. "Note that an IPv6 address is always enclosed in
/// square brackets", and quoted for its colons.
fn element(ip: Option<&str>, host: Option<&HeaderValue>, scheme: &Scheme) -> String {
    let node = match ip {
        Some(ip) if ip.contains(':') => ["for=\"[", ip, "]\""],
        Some(ip) => ["for=", ip, ""],
        None => ["for=", "unknown", ""],
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".:[]-_~%".contains(&byte);
    let host = host
        .and_then(|host| host.to_str().ok())
        .filter(|host| host.bytes().all(is_plain))
        .map_or(["", "", ""], |host| [";host=\"", host, "\""]);
    let proto = [";proto=", scheme.as_str(), ""];
    [node, host, proto].as_flattened().concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(
        fields: &[(&'static str, &'static str)],
        peer: &str,
        trusted: &[&str],
    ) -> Vec<(String, String)> {
        let trusted: Vec<IpNet> = trusted
            .iter()
            .map(|network| network.parse().unwrap())
            .collect();
        let peer = peer.parse().ok();
        let mut headers = HeaderMap::new();
        for &(name, value) in fields {
            headers.append(name, HeaderValue::from_static(value));
        }
        tell(
            &mut headers,
            peer,
            &Scheme::HTTP,
            is_trusted(peer, &trusted),
        );
        let mut told: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        told.sort();
        told
    }

    fn fields(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    const SAID: &[(&str, &str)] = &[
        ("host", "example.com:8080"),
        ("forwarded", "for=198.51.100.7;proto=https"),
        ("x-forwarded-for", "198.51.100.7"),
        ("x-forwarded-for", "10.0.0.9"),
        ("x-forwarded-host", "public.example"),
        ("x-forwarded-proto", "https"),
    ];

    #[test]
    fn a_stranger_is_not_believed() {
        let expected = fields(&[
            (
                "forwarded",
                "for=192.0.2.60;host=\"example.com:8080\";proto=http",
            ),
            ("host", "example.com:8080"),
            ("x-forwarded-for", "192.0.2.60"),
            ("x-forwarded-host", "example.com:8080"),
            ("x-forwarded-proto", "http"),
        ]);
        assert_eq!(told(SAID, "192.0.2.60:5000", &[]), expected);
        assert_eq!(
            told(SAID, "192.0.2.60:5000", &["10.0.0.0/8", "2001:db8::/32"]),
            expected
        );
        assert_eq!(told(&SAID[..1], "[::ffff:192.0.2.60]:5000", &[]), expected);
    }

    #[test]
    fn a_trusted_proxy_is_added_to_what_it_said() {
        let expected = fields(&[
            (
                "forwarded",
                "for=198.51.100.7;proto=https, for=10.1.2.3;host=\"example.com:8080\";proto=http",
            ),
            ("host", "example.com:8080"),
            ("x-forwarded-for", "198.51.100.7, 10.0.0.9, 10.1.2.3"),
            ("x-forwarded-host", "public.example"),
            ("x-forwarded-proto", "https"),
        ]);
        assert_eq!(told(SAID, "10.1.2.3:5000", &["10.0.0.0/8"]), expected);
        assert_eq!(
            told(SAID, "[::ffff:10.1.2.3]:5000", &["10.0.0.0/8"]),
            expected
        );
    }

    #[test]
    fn other_kinds_of_peers() {
        let unix = told(&SAID[..1], "no address", &[]);
        assert_eq!(
            unix[0].1,
            "for=unknown;host=\"example.com:8080\";proto=http"
        );
        assert!(unix.iter().all(|(name, _)| name != "x-forwarded-for"));
        let v6 = told(&[("host", "a\"b")], "[2001:db8::1]:5000", &[]);
        assert_eq!(
            v6[0].1, "for=\"[2001:db8::1]\";proto=http",
            "a host that would need escapes is left out"
        );
        assert_eq!(v6[2].1, "2001:db8::1");
    }
}
