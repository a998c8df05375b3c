//! The client of a request: one definition for logs, the status page, forwarded headers, limits and access rules.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::HeaderName;
use http::header::{FORWARDED, HeaderMap};
use ipnet::IpNet;

use super::ip_text;
use crate::wire::{ForwardedElement, forwarded_elements, node_address};

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The address of a request's client, which is not always the peer. It is in canonical form: an IPv4 client of an IPv6 socket has
/// its IPv4 address. `None` if no trusted source has named one; such a client must not be treated as any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(Option<IpAddr>);

impl ClientAddress {
    /// The client of a connection from `peer` whose fields say nothing, or are not looked at.
    pub fn of(peer: Option<SocketAddr>) -> Self {
        Self(peer.map(|peer| peer.ip().to_canonical()))
    }

    /// The client of a request with these `headers` that came in from `peer`.
    ///
    /// Each proxy appends the address it has served, so the list is read from its end: as long as an address is `trusted`, the
    /// entry before it is believed, and the first one that is not is the client's. Whatever precedes it may be forged. If all are
    /// trusted, the client is the first of them. An entry that is no address (`unknown`, an obfuscated identifier, garbage) ends
    /// the search too: the client is then unknown.
    pub fn find(peer: Option<SocketAddr>, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        match trusted_peer(peer, trusted) {
            Err(stranger) => Self(Some(stranger)),
            Ok(peer) => Self(behind(peer, headers, trusted)),
        }
    }

    /// The address, if it is known.
    pub fn ip(self) -> Option<IpAddr> {
        self.0
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(ip) => f.write_str(&ip_text(ip)),
            None => f.write_str("unknown"),
        }
    }
}

/// The address of a trusted peer, `None` on a Unix socket, whose permissions decide who is trusted; as an error, the address of an
/// untrusted peer.
pub fn trusted_peer(peer: Option<SocketAddr>, trusted: &[IpNet]) -> Result<Option<IpAddr>, IpAddr> {
    match ClientAddress::of(peer).ip() {
        Some(ip) if !is_within(ip, trusted) => Err(ip),
        ip => Ok(ip),
    }
}

fn is_within(ip: IpAddr, networks: &[IpNet]) -> bool {
    networks.iter().any(|network| network.contains(&ip))
}

/// The client that a trusted `peer` speaks of.
fn behind(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let has = |name: &HeaderName| headers.contains_key(name);
    if has(&X_FORWARDED_FOR) {
        let lines = headers.get_all(&X_FORWARDED_FOR).iter().rev();
        let nodes = lines.flat_map(|line| {
            let line = line.to_str().unwrap_or("?"); // no address either
            let nodes = line.rsplit(',').map(str::trim);
            nodes.filter(|node| !node.is_empty()).map(Some)
        });
        return walk(peer, nodes, trusted);
    }
    let lines = headers.get_all(FORWARDED).iter();
    let elements = lines.map(|line| forwarded_elements(line.to_str().ok()?));
    let elements: Vec<ForwardedElement<'_>> = elements.collect::<Option<Vec<_>>>()?.concat();
    if elements.iter().all(|element| element.node.is_none()) {
        return peer; // it names no client
    }
    if has(&X_FORWARDED_PROTO) || has(&X_FORWARDED_HOST) {
        return None; // a proxy that sets these may let a client's own `Forwarded` pass
    }
    walk(
        peer,
        elements.iter().rev().map(|element| element.node),
        trusted,
    )
}

/// The first of the `nodes`, which are read from the end of their list, that is not trusted; the last one if all are.
fn walk<'a>(
    peer: Option<IpAddr>,
    nodes: impl Iterator<Item = Option<&'a str>>,
    trusted: &[IpNet],
) -> Option<IpAddr> {
    let mut client = peer;
    for node in nodes {
        let ip = node_address(node?)?;
        client = Some(ip);
        if !is_within(ip, trusted) {
            break;
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn found(peer: &str, fields: &[(&'static str, &'static [u8])]) -> String {
        let mut headers = HeaderMap::new();
        for &(name, value) in fields {
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|network| network.parse().unwrap());
        ClientAddress::find(peer.parse().ok(), &headers, &trusted).to_string()
    }

    #[test]
    fn a_stranger_is_the_client_whatever_it_says() {
        let said = [
            ("x-forwarded-for", &b"10.0.0.9"[..]),
            ("forwarded", b"for=10.0.0.9"),
        ];
        for (peer, expected) in [
            ("192.0.2.60:5000", "192.0.2.60"),
            ("[::ffff:192.0.2.60]:5000", "192.0.2.60"),
            ("[2001:dead::1]:5000", "2001:dead::1"),
        ] {
            assert_eq!(found(peer, &said), expected);
        }
    }

    #[test]
    fn the_list_is_read_from_its_end_for_as_long_as_its_writers_are_trusted() {
        for (lines, expected) in [
            (&[][..], "10.1.2.3"),
            (&["192.0.2.1"], "192.0.2.1"),
            (&["192.0.2.1:4711"], "192.0.2.1"),
            (&["::ffff:192.0.2.1"], "192.0.2.1"),
            (&["[2001:dead::1]:4711, 10.0.0.9"], "2001:dead::1"),
            (&["6.6.6.6, 192.0.2.1, 10.0.0.9"], "192.0.2.1"),
            (&["6.6.6.6, 192.0.2.1", " ,10.0.0.9,, "], "192.0.2.1"),
            (&["10.0.0.7, 10.0.0.8"], "10.0.0.7"),
            (&[""], "10.1.2.3"),
            // Entries to the left of the first untrusted one do not matter.
            (&["garbage, \"\\, 192.0.2.1"], "192.0.2.1"),
            // But an unknown address is not replaced by another one, least of all by one to its left.
            (&["192.0.2.1, unknown"], "unknown"),
            (&["10.0.0.7, unknown, 10.0.0.8"], "unknown"),
            (&["_hidden"], "unknown"),
            (&["10.0.0.7.evil, 10.0.0.8"], "unknown"),
            (&["10.0.0.0/8"], "unknown"),
            (&["fe80::1%eth0"], "unknown"),
        ] {
            let fields: Vec<_> = lines
                .iter()
                .map(|line| ("x-forwarded-for", line.as_bytes()))
                .collect();
            for peer in ["10.1.2.3:5000", "[::ffff:10.1.2.3]:5000"] {
                assert_eq!(found(peer, &fields), expected, "{lines:?}");
            }
        }
        let binary = [
            ("x-forwarded-for", &b"192.0.2.1"[..]),
            ("x-forwarded-for", b"\xFF"),
        ];
        assert_eq!(found("10.1.2.3:5000", &binary), "unknown");
    }

    #[test]
    fn forwarded_counts_where_it_stands_alone() {
        let one = |value: &'static str| found("10.1.2.3:5000", &[("forwarded", value.as_bytes())]);
        for (value, expected) in [
            ("for=192.0.2.1", "192.0.2.1"),
            (
                "for=6.6.6.6, For=\"[2001:dead::1]:47\", for=10.0.0.9",
                "2001:dead::1",
            ),
            ("for=192.0.2.1, for=_hidden;by=_lb, for=10.0.0.9", "unknown"),
            ("for=192.0.2.1, proto=https", "unknown"),
            ("proto=https", "10.1.2.3"),
            ("nonsense", "unknown"),
        ] {
            assert_eq!(one(value), expected, "{value}");
        }
        let forwarded = ("forwarded", &b"for=10.0.0.9"[..]);
        let listed = ("x-forwarded-for", &b"192.0.2.1"[..]);
        assert_eq!(found("10.1.2.3:5000", &[forwarded, listed]), "192.0.2.1");
        let proto = ("x-forwarded-proto", &b"https"[..]);
        assert_eq!(found("10.1.2.3:5000", &[forwarded, proto]), "unknown");
    }

    #[test]
    fn a_unix_sockets_peer_is_trusted_and_nobody_itself() {
        assert_eq!(found("unix", &[]), "unknown");
        let listed = ("x-forwarded-for", &b"6.6.6.6, 192.0.2.1, 10.0.0.9"[..]);
        assert_eq!(found("unix", &[listed]), "192.0.2.1");
    }
}
