//! `Forwarded` (RFC 7239) as it comes in: `for=192.0.2.60;host="example.com:8080";proto=http`, one element for each hop.

use std::net::{IpAddr, SocketAddr};

/// One element. Other parameters, such as `by`, are ignored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ForwardedElement<'a> {
    /// The client of the hop: `for`.
    pub node: Option<&'a str>,
    /// The host that its request named.
    pub host: Option<&'a str>,
    /// How its request came.
    pub proto: Option<&'a str>,
}

/// The elements of one line; `None` if it is malformed.
pub fn forwarded_elements(line: &str) -> Option<Vec<ForwardedElement<'_>>> {
    split(line, b',')
        .filter(|text| !text.trim().is_empty()) // RFC 9110, section 5.6.1.2: "a recipient MUST parse and ignore" empty elements
        .map(element)
        .collect()
}

fn element(text: &str) -> Option<ForwardedElement<'_>> {
    let mut element = ForwardedElement::default();
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

/// A token, or the text within quotes; `None` if it contains a quote or a backslash, which no address, host or scheme does.
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
pub fn node_address(node: &str) -> Option<IpAddr> {
    let bare = node
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(node);
    let ip = bare.parse::<IpAddr>();
    let ip = ip.or_else(|_| node.parse::<SocketAddr>().map(|address| address.ip()));
    ip.ok().map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read() {
        let parsed = forwarded_elements(
            "For=\"[2001:db8::1]:47\";Proto=https ; by=203.0.113.43, for=_x;host=\"a,b;c\",,",
        );
        assert_eq!(
            parsed.unwrap(),
            [
                ForwardedElement {
                    node: Some("[2001:db8::1]:47"),
                    host: None,
                    proto: Some("https")
                },
                ForwardedElement {
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
            assert_eq!(forwarded_elements(malformed), None, "{malformed}");
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
            assert_eq!(node_address(node), expected, "{node}");
        }
    }
}
