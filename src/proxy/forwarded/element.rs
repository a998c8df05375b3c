//! `Forwarded` (RFC 7239): `for=192.0.2.60;host="example.com:8080";proto=http`, one element for each hop.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use http::HeaderValue;

/// What one element says. Other parameters, such as `by`, are of no concern here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) node: Option<&'a str>,
    pub(super) host: Option<&'a str>,
    pub(super) proto: Option<&'a str>,
}

/// The elements of one line; `None` if it is malformed.
pub(super) fn parse(line: &str) -> Option<Vec<Element<'_>>> {
    split(line, b',')
        .filter(|text| !text.trim().is_empty()) // RFC 9110, section 5.6.1.2: "a recipient MUST parse and ignore" empty elements
        .map(element)
        .collect()
}

fn element(text: &str) -> Option<Element<'_>> {
    let mut element = Element::default();
    for pair in split(text, b';') {
        let (name, value) = pair.trim().split_once('=')?;
        let place = match name {
            _ if name.eq_ignore_ascii_case("for") => &mut element.node,
            _ if name.eq_ignore_ascii_case("host") => &mut element.host,
            _ if name.eq_ignore_ascii_case("proto") => &mut element.proto,
            _ => continue,
        };
        // Section 4: "Each parameter MUST NOT occur more than once per field-value."
        if place.replace(unquoted(value)?).is_some() {
            return None;
        }
    }
    Some(element)
}

/// A token, or what is within its quotes; `None` for a quote or a backslash in it, which no address, host or scheme has.
fn unquoted(value: &str) -> Option<&str> {
    let inner = value
        .strip_prefix('"')
        .map_or(Some(value), |rest| rest.strip_suffix('"'))?;
    (!inner.contains(['"', '\\'])).then_some(inner)
}

/// The parts of `text` between `separator`s that are not in quotes.
fn split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    text.split(move |c: char| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match c {
            '\\' if is_quoted && !was_escaped => is_escaped = true,
            '"' if !was_escaped => is_quoted = !is_quoted,
            _ => {}
        }
        !is_quoted && c == char::from(separator)
    })
}

/// The address in `192.0.2.60`, `192.0.2.60:5000`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:5000`.
pub(super) fn address(node: &str) -> Option<IpAddr> {
    let bare = node
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(node);
    let ip = bare.parse::<IpAddr>();
    let ip = ip.or_else(|_| node.parse::<SocketAddr>().map(|address| address.ip()));
    ip.ok().map(|ip| ip.to_canonical())
}

/// Appends `for=` and the address, and tells where in `text` the address alone is. "Note that an IPv6 address is always enclosed in
/// square brackets" (section 6), and quoted for its colons.
pub(super) fn push_address(text: &mut String, ip: IpAddr) -> Range<usize> {
    match ip {
        IpAddr::V4(v4) => {
            text.push_str("for=");
            let start = text.len();
            let [first, rest @ ..] = v4.octets();
            text.push_str(itoa::Buffer::new().format(first)); // `Display` takes a hundred instructions a digit
            for octet in rest {
                text.push('.');
                text.push_str(itoa::Buffer::new().format(octet));
            }
            start..text.len()
        }
        IpAddr::V6(v6) => {
            text.push_str("for=\"[");
            let start = text.len();
            text.push_str(&v6.to_string());
            let end = text.len();
            text.push_str("]\"");
            start..end
        }
    }
}

/// Appends `for=` and what `X-Forwarded-For` calls a client.
pub(super) fn push_node(text: &mut String, node: &str) {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match address(node) {
        Some(ip) => drop(push_address(text, ip)),
        None if !node.is_empty() && node.bytes().all(is_token) => text.extend(["for=", node]),
        None => text.push_str("for=unknown"),
    }
}

/// Appends `;host=` and `;proto=`, as far as they can stand there without escapes.
pub(super) fn push_host_and_proto(text: &mut String, host: Option<&HeaderValue>, proto: &str) {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".:[]-_~%".contains(&byte);
    let host = host
        .and_then(|host| host.to_str().ok())
        .filter(|host| !host.is_empty() && host.bytes().all(is_plain));
    if let Some(host) = host {
        text.extend([";host=\"", host, "\""]);
    }
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    if !proto.is_empty() && proto.bytes().all(is_scheme) {
        text.extend([";proto=", proto]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read() {
        let parsed = parse(
            "For=\"[2001:db8::1]:47\";Proto=https ; by=203.0.113.43, for=_x;host=\"a,b;c\",,",
        );
        assert_eq!(
            parsed.unwrap(),
            [
                Element {
                    node: Some("[2001:db8::1]:47"),
                    host: None,
                    proto: Some("https")
                },
                Element {
                    node: Some("_x"),
                    host: Some("a,b;c"),
                    proto: None
                },
            ]
        );
        for malformed in [
            "for",
            "for=a;",
            "for=a;for=b",
            "for=\"a",
            "for=a\"",
            "for=\"a\\\"b\"",
        ] {
            assert_eq!(parse(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn addresses_are_found() {
        for (node, expected) in [
            ("192.0.2.60", Some("192.0.2.60")),
            ("192.0.2.60:5000", Some("192.0.2.60")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:5000", Some("2001:db8::1")),
            ("::ffff:192.0.2.60", Some("192.0.2.60")),
            ("unknown", None),
            ("_gazonk", None),
            ("", None),
        ] {
            let expected = expected.map(|ip| ip.parse().unwrap());
            assert_eq!(address(node), expected, "{node}");
        }
    }

    #[test]
    fn nodes_are_written() {
        for (node, expected) in [
            ("192.0.2.60:1", "for=192.0.2.60"),
            ("0.10.100.255", "for=0.10.100.255"),
            ("2001:db8::1", "for=\"[2001:db8::1]\""),
            ("_gazonk", "for=_gazonk"),
            ("a b", "for=unknown"),
            ("", "for=unknown"),
        ] {
            let mut text = String::new();
            push_node(&mut text, node);
            assert_eq!(text, expected);
        }
    }
}
