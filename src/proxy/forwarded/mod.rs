//! Forwarded headers: `X-Forwarded-For`, `-Proto`, `-Host`, `-Port`, `X-Real-IP`, and `Forwarded` (RFC 7239). Backends read one or
//! the other, so all of them agree.

mod element;
mod kept;
mod names;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{FORWARDED, HOST, HeaderMap};
use http::uri::Scheme;
use http::{HeaderName, HeaderValue};
use ipnet::IpNet;

use super::headers::found;
use crate::client::{ClientAddress, trusted_peer};

/// A missing `trusted_proxies` is reported once, not for each request.
static HAS_WARNED: AtomicBool = AtomicBool::new(false);

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
static X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// Sets the fields for `peer`, which used `scheme` and speaks for `client`. Fields from a peer in the `trusted` networks are kept
/// and extended, those from others are dropped. On a Unix socket, the file's permissions decide who is trusted.
pub(super) fn tell(
    headers: &mut HeaderMap,
    peer: Option<SocketAddr>,
    client: ClientAddress,
    scheme: &Scheme,
    trusted: &[IpNet],
) {
    match trusted_peer(peer, trusted) {
        Err(stranger) => replace(headers, stranger, scheme),
        Ok(ip) => kept::add(headers, ip, client, scheme),
    }
}

/// Removes all of the fields: not even a proxy shows.
pub(super) fn remove(headers: &mut HeaderMap) {
    let names = found(headers, |name| {
        names::is_relative(name) || names::is_known(name)
    });
    for name in names {
        headers.remove(name);
    }
}

/// Adds the prefix in front of the backend's paths, as the client sees it. A prefix that a trusted proxy has removed comes before
/// it.
pub(super) fn tell_prefix(headers: &mut HeaderMap, prefix: &str) {
    let before = headers
        .get(&X_FORWARDED_PREFIX)
        .and_then(|value| value.to_str().ok());
    let whole = [before.unwrap_or_default().trim_end_matches('/'), prefix].concat();
    if !whole.is_empty() {
        set(headers, &X_FORWARDED_PREFIX, value(whole));
    }
}

/// The scheme that the client has used, according to `trusted` proxies.
pub(super) fn scheme(
    headers: &HeaderMap,
    peer: Option<SocketAddr>,
    is_tls: bool,
    trusted: &[IpNet],
) -> &'static str {
    let is_trusted = trusted_peer(peer, trusted).is_ok();
    let said = kept::items(headers, &X_FORWARDED_PROTO).next();
    match said.filter(|_| is_trusted) {
        Some(said) if said.eq_ignore_ascii_case("https") => "https",
        Some(said) if said.eq_ignore_ascii_case("http") => "http",
        _ if is_tls => "https",
        _ => "http",
    }
}

/// Replaces the fields for an untrusted peer.
fn replace(headers: &mut HeaderMap, ip: IpAddr, scheme: &Scheme) {
    let dropped = found(headers, names::is_relative);
    if let Some(name) = dropped.first()
        && !HAS_WARNED.swap(true, Ordering::Relaxed)
    {
        tracing::warn!(
            peer = %ip,
            field = name.as_str(),
            "forwarded fields are dropped: if this peer is a proxy in front, add its address to `server.trusted_proxies`; reported once"
        );
    }
    for name in dropped {
        headers.remove(name);
    }
    let host = headers.get(HOST).cloned();
    let mut text = String::with_capacity(128);
    let address = element::push_address(&mut text, ip);
    element::push_host_and_proto(&mut text, host.as_ref(), scheme.as_str());
    // The address is a part of the element: two fields share its bytes.
    let text = Bytes::from(text);
    let address = value(text.slice(address));
    set(headers, &FORWARDED, value(text));
    set(headers, &X_FORWARDED_FOR, address.clone());
    set(headers, &X_REAL_IP, address);
    set(headers, &X_FORWARDED_PROTO, Some(proto(scheme)));
    let port = port(host.as_ref(), scheme.as_str());
    set(headers, &X_FORWARDED_HOST, host);
    set(headers, &X_FORWARDED_PORT, Some(port));
}

/// The port in `host`, or the one that `scheme` has by default.
fn port(host: Option<&HeaderValue>, scheme: &str) -> HeaderValue {
    let host = host.and_then(|host| host.to_str().ok());
    let port = host
        .and_then(|host| host.rsplit_once(':'))
        .map(|(_, port)| port);
    let is_port = |port: &&str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port
        .filter(is_port)
        .and_then(|port| HeaderValue::from_str(port).ok());
    port.unwrap_or_else(|| {
        let is_secure = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("wss");
        HeaderValue::from_static(if is_secure { "443" } else { "80" })
    })
}

fn proto(scheme: &Scheme) -> HeaderValue {
    HeaderValue::from_static(if *scheme == Scheme::HTTPS {
        "https"
    } else {
        "http"
    })
}

fn set(headers: &mut HeaderMap, name: &HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => headers.insert(name, value),
        None => headers.remove(name),
    };
}

fn value(text: impl Into<Bytes>) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(text.into()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(
        fields: &[(&'static str, &'static str)],
        peer: &str,
        trusted: &[&str],
    ) -> Vec<(String, String)> {
        let trusted = trusted.iter().map(|network| network.parse().unwrap());
        let trusted: Vec<IpNet> = trusted.collect();
        let mut headers = HeaderMap::new();
        for &(name, value) in fields {
            headers.append(name, HeaderValue::from_static(value));
        }
        let peer = peer.parse().ok();
        let client = ClientAddress::find(peer, &headers, &trusted);
        tell(&mut headers, peer, client, &Scheme::HTTP, &trusted);
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

    /// A chain that agrees with itself.
    const SAID: &[(&str, &str)] = &[
        ("host", "example.com:8080"),
        (
            "forwarded",
            "for=198.51.100.7;proto=https;by=_lb, for=10.0.0.9",
        ),
        ("x-forwarded-for", "198.51.100.7"),
        ("x-forwarded-for", "10.0.0.9"),
        ("x-forwarded-host", "public.example"),
        ("x-forwarded-proto", "https"),
    ];

    /// Fields with which a client could pretend to be another one.
    const FORGED: &[(&str, &str)] = &[
        ("x-forwarded-port", "1"),
        ("x-real-ip", "10.0.0.9"),
        ("x-forwarded-client-cert", "Subject=admin"),
        ("x-forwarded-prefix", "/admin"),
        ("x-forwarded-ssl", "on"),
        ("x_forwarded_for", "10.0.0.9"),
        ("x-forwarded_proto", "https"),
        ("x_real_ip", "10.0.0.9"),
        ("x-ssl-client-verify", "SUCCESS"),
        ("x_client_cert", "admin"),
        ("ssl-client-verify", "SUCCESS"),
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
            ("x-forwarded-port", "8080"),
            ("x-forwarded-proto", "http"),
            ("x-real-ip", "192.0.2.60"),
        ]);
        let said = [SAID, FORGED].concat();
        assert_eq!(told(&said, "192.0.2.60:5000", &[]), expected);
        let networks = ["10.0.0.0/8", "2001:db8::/32"];
        assert_eq!(told(&said, "192.0.2.60:5000", &networks), expected);
        assert_eq!(told(&SAID[..1], "[::ffff:192.0.2.60]:5000", &[]), expected);
    }

    #[test]
    fn a_trusted_proxy_is_added_to_what_it_said() {
        let expected = fields(&[
            (
                "forwarded",
                "for=198.51.100.7;proto=https;by=_lb, for=10.0.0.9, for=10.1.2.3;host=\"public.example\";proto=https",
            ),
            ("host", "example.com:8080"),
            ("x-forwarded-for", "198.51.100.7, 10.0.0.9, 10.1.2.3"),
            ("x-forwarded-host", "public.example"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "198.51.100.7"),
        ]);
        for peer in ["10.1.2.3:5000", "[::ffff:10.1.2.3]:5000"] {
            assert_eq!(told(SAID, peer, &["10.0.0.0/8"]), expected);
        }
    }

    /// One field as the upstream of `10.1.2.3` gets it.
    fn one(fields: &[(&'static str, &'static str)], name: &str) -> Option<String> {
        let told = told(fields, "10.1.2.3:5000", &["10.0.0.0/8"]);
        let mut values = told.into_iter().filter(|(told, _)| told == name);
        let value = values.next().map(|(_, value)| value);
        assert_eq!(values.next(), None);
        value
    }

    #[test]
    fn a_trusted_proxy_may_say_all_of_it_but_in_no_second_spelling() {
        for &(name, value) in FORGED {
            let is_misspelled = name.contains('_') && name != "x_client_cert";
            let expected = (!is_misspelled).then(|| value.to_owned());
            assert_eq!(one(FORGED, name), expected, "{name}");
        }
    }

    #[test]
    fn all_fields_agree_whatever_was_said() {
        let of = |fields: &[(&'static str, &'static str)]| {
            let fields = [&[("host", "in.example")], fields].concat();
            let names = [
                "forwarded",
                "x-forwarded-for",
                "x-real-ip",
                "x-forwarded-proto",
                "x-forwarded-host",
                "x-forwarded-port",
            ];
            names.map(|name| one(&fields, name).unwrap_or_default())
        };
        let https = ("x-forwarded-proto", "https");
        let chain = ("x-forwarded-for", "6.6.6.6, 192.0.2.1, 10.0.0.9");
        for (said, expected) in [
            (
                &[][..],
                "for=10.1.2.3;host=\"in.example\";proto=http|10.1.2.3|10.1.2.3|http|in.example|80",
            ),
            (
                &[https],
                "for=10.1.2.3;host=\"in.example\";proto=https|10.1.2.3|10.1.2.3|https|in.example|443",
            ),
            (
                &[chain, ("x-forwarded-proto", "https, http")],
                "for=6.6.6.6, for=192.0.2.1, for=10.0.0.9, for=10.1.2.3;host=\"in.example\";proto=https|\
                 6.6.6.6, 192.0.2.1, 10.0.0.9, 10.1.2.3|192.0.2.1|https, http|in.example|443",
            ),
            // The client's own `Forwarded`, which the proxy let pass.
            (
                &[chain, https, ("forwarded", "for=10.9.9.9;proto=https")],
                "for=6.6.6.6, for=192.0.2.1, for=10.0.0.9, for=10.1.2.3;host=\"in.example\";proto=https|\
                 6.6.6.6, 192.0.2.1, 10.0.0.9, 10.1.2.3|192.0.2.1|https|in.example|443",
            ),
            (
                &[https, ("forwarded", "proto=http")],
                "for=10.1.2.3;host=\"in.example\";proto=https|10.1.2.3|10.1.2.3|https|in.example|443",
            ),
            (
                &[("forwarded", "nonsense")],
                "for=10.1.2.3;host=\"in.example\";proto=http|10.1.2.3||http|in.example|80",
            ),
            // A proxy that sends only `Forwarded`.
            (
                &[(
                    "forwarded",
                    "for=\"[2001:db8::1]:1\";proto=https;host=\"a:8443\"",
                )],
                "for=\"[2001:db8::1]:1\";proto=https;host=\"a:8443\", for=10.1.2.3;host=\"a:8443\";proto=https|\
                 2001:db8::1, 10.1.2.3|2001:db8::1|https|a:8443|8443",
            ),
        ] {
            assert_eq!(of(said).join("|"), expected, "{said:?}");
        }
    }

    #[test]
    fn other_kinds_of_peers() {
        let unix = told(&SAID[..1], "no address", &[]);
        let expected = "for=unknown;host=\"example.com:8080\";proto=http";
        assert_eq!(unix[0].1, expected);
        let is_address = |name: &str| ["x-forwarded-for", "x-real-ip"].contains(&name);
        assert!(!unix.iter().any(|(name, _)| is_address(name)), "{unix:?}");
        let https = told(&[SAID[0], SAID[5]], "no address", &[]);
        assert_eq!(https[0].1, expected.replace("http", "https"));
        let v6 = told(&[("host", "a\"b")], "[2001:db8::1]:5000", &[]);
        assert_eq!(
            v6[0].1, "for=\"[2001:db8::1]\";proto=http",
            "a host that would need escapes is left out"
        );
        assert_eq!(v6[2].1, "2001:db8::1");
    }
}
