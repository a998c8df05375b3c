//! The elements of `Forwarded` (RFC 7239): `for=192.0.2.60;host="example.com:8080";proto=http`, one for each hop.

use std::net::IpAddr;
use std::ops::Range;

use http::HeaderValue;

use crate::wire::node_address;

/// Appends `for=` and the address, and returns where in `text` the address alone is. "Note that an IPv6 address is always enclosed
/// in square brackets" (section 6), and quoted for its colons.
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
    match node_address(node) {
        Some(ip) => drop(push_address(text, ip)),
        None if !node.is_empty() && node.bytes().all(is_token) => text.extend(["for=", node]),
        None => text.push_str("for=unknown"),
    }
}

/// Appends `;host=` and `;proto=`, unless they need escapes.
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
