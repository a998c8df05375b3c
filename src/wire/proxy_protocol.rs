//! The header of the PROXY protocol, versions 1 and 2, by which a load balancer announces its client before the client's first
//! byte.
//!
//! The specification is <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// How far a PROXY protocol header has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// At least this many more bytes belong to it, and perhaps others after these. Never zero.
    Needs(usize),
    /// Complete. It names the client, or none if the connection is the proxy's own.
    Whole(Option<SocketAddr>),
}

/// Why a connection does not begin with a PROXY protocol header. The receiver "MUST not try to guess whether the protocol header
/// is present or not" (section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadProxyHeader {
    /// Neither the one beginning nor the other.
    #[error("the connection does not begin with a PROXY protocol header")]
    Signature,
    /// A binary header of a version that is not 2.
    #[error("the PROXY protocol header has an unknown version")]
    Version,
    /// Neither LOCAL nor PROXY.
    #[error("the PROXY protocol header has an unknown command")]
    Command,
    /// Section 2.2: other values "must be rejected as invalid by receivers".
    #[error("the PROXY protocol header has an unknown address family or transport")]
    Family,
    /// No address of its family, or no port.
    #[error("the PROXY protocol header has no valid addresses")]
    Address,
    /// Longer than any sender needs.
    #[error("the PROXY protocol header is too long")]
    TooLong,
}

/// What version 1 begins with.
const V1: &[u8] = b"PROXY ";
/// What version 2 begins with: no line of any text protocol. Shorter than any header of version 1.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// "The maximum line lengths the receiver must support including the CRLF" (section 2.1), in bytes.
const LONGEST_V1: usize = 107;
/// The most that may follow the fixed part of version 2, in bytes. Addresses take 216 at the most; the rest is for extensions,
/// of which a client's certificate name is the longest in use.
const LONGEST_V2: usize = 4096;

impl ProxyHeader {
    /// Reads the header at the start of `bytes`, or a part of it.
    ///
    /// A caller that reads no more bytes than it asks for never consumes any that follow it.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadProxyHeader> {
        if begins(bytes, V2) {
            match bytes.strip_prefix(V2) {
                Some(rest) => parse_v2(rest),
                None => Ok(Self::Needs(V2.len() - bytes.len())),
            }
        } else if begins(bytes, V1) {
            match bytes.strip_prefix(V1) {
                Some(rest) => parse_v1(rest),
                None => Ok(Self::Needs(V1.len() - bytes.len())),
            }
        } else {
            Err(BadProxyHeader::Signature)
        }
    }
}

/// Whether `bytes` begin with `signature`, as far as they go.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(a, b)| a == b)
}

/// The line after its first word, such as `TCP4 192.0.2.60 192.0.2.1 56324 443`.
fn parse_v1(bytes: &[u8]) -> Result<ProxyHeader, BadProxyHeader> {
    let longest = LONGEST_V1 - V1.len();
    let line = &bytes[..bytes.len().min(longest)];
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        let needs = if line.ends_with(b"\r") { 1 } else { 2 };
        return if line.len() + needs > longest {
            Err(BadProxyHeader::TooLong)
        } else {
            Ok(ProxyHeader::Needs(needs))
        };
    };
    let line = &line[..end];
    // "The receiver must ignore anything presented before the CRLF is found."
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Ok(ProxyHeader::Whole(None));
    }
    let line = str::from_utf8(line).map_err(|_| BadProxyHeader::Address)?;
    let (family, addresses) = line.split_once(' ').ok_or(BadProxyHeader::Family)?;
    let source = match family {
        "TCP4" => text_source::<Ipv4Addr>(addresses),
        "TCP6" => text_source::<Ipv6Addr>(addresses),
        _ => return Err(BadProxyHeader::Family),
    };
    let source = source.ok_or(BadProxyHeader::Address)?;
    Ok(ProxyHeader::Whole(Some(source)))
}

/// The first address and port of `192.0.2.60 192.0.2.1 56324 443`, if all of it is right.
fn text_source<A: FromStr + Into<IpAddr>>(addresses: &str) -> Option<SocketAddr> {
    let mut parts = addresses.split(' ');
    let source: A = parts.next()?.parse().ok()?;
    let _destination: A = parts.next()?.parse().ok()?;
    let port = port(parts.next()?)?;
    let _destination_port = self::port(parts.next()?)?;
    parts
        .next()
        .is_none()
        .then(|| SocketAddr::new(source.into(), port))
}

/// "Heading zeroes are not permitted", nor the sign that Rust would take.
fn port(text: &str) -> Option<u16> {
    let port = text.parse::<u16>().ok()?;
    (port.to_string() == text).then_some(port)
}

/// The binary header after its signature: version and command, family, length, addresses, extensions.
fn parse_v2(bytes: &[u8]) -> Result<ProxyHeader, BadProxyHeader> {
    let Some((&[version_command, family, high, low], block)) = bytes.split_first_chunk() else {
        return Ok(ProxyHeader::Needs(4 - bytes.len()));
    };
    let is_local = match (version_command >> 4, version_command & 0xF) {
        (2, 0) => true,
        (2, 1) => false,
        (2, _) => return Err(BadProxyHeader::Command),
        _ => return Err(BadProxyHeader::Version),
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST_V2 {
        return Err(BadProxyHeader::TooLong);
    }
    let Some(block) = block.get(..length) else {
        return Ok(ProxyHeader::Needs(length - block.len()));
    };
    if is_local {
        // The receiver "must use the real connection endpoints and discard the protocol block including the family".
        return Ok(ProxyHeader::Whole(None));
    }
    let source = match family {
        // UNSPEC, and clients of the load balancer's own Unix sockets: nothing that has an address here.
        0x00 | 0x31 | 0x32 => None,
        0x11 | 0x12 => Some(binary_source::<4>(block).ok_or(BadProxyHeader::Address)?),
        0x21 | 0x22 => Some(binary_source::<16>(block).ok_or(BadProxyHeader::Address)?),
        _ => return Err(BadProxyHeader::Family),
    };
    Ok(ProxyHeader::Whole(source))
}

/// The first address and port of a block, if it is as long as it has to be: two addresses of `N` bytes, two ports.
fn binary_source<const N: usize>(block: &[u8]) -> Option<SocketAddr>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = block.split_first_chunk::<N>()?;
    let (_destination, rest) = rest.split_first_chunk::<N>()?;
    let &[high, low, _, _] = rest.first_chunk()?;
    Some(SocketAddr::new(
        (*source).into(),
        u16::from_be_bytes([high, low]),
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The result for the whole header, having checked that each prefix of it needs more, and never more than there is.
    fn verdict(header: &[u8]) -> Result<ProxyHeader, BadProxyHeader> {
        let whole = ProxyHeader::parse(header);
        if let Ok(ProxyHeader::Whole(_)) = whole {
            for split in 0..header.len() {
                let Ok(ProxyHeader::Needs(needs)) = ProxyHeader::parse(&header[..split]) else {
                    panic!("{split} bytes are not all of it")
                };
                assert!((1..=header.len() - split).contains(&needs), "after {split}");
            }
            let followed = [header, b"PROXY \r\n\r\n\0"].concat();
            assert_eq!(
                ProxyHeader::parse(&followed),
                whole,
                "whatever comes after it"
            );
        }
        whole
    }

    fn v2(version_command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [V2, &[version_command, family], &length, block].concat()
    }

    fn named(source: &str) -> ProxyHeader {
        ProxyHeader::Whole(Some(source.parse().unwrap()))
    }

    const NOBODY: ProxyHeader = ProxyHeader::Whole(None);
    const IPV4: &[u8] = &[192, 0, 2, 60, 192, 0, 2, 1, 0xDC, 0x04, 0x01, 0xBB];

    #[test]
    fn a_line_names_the_client() {
        for (line, expected) in [
            (
                "TCP4 192.0.2.60 192.0.2.1 56324 443",
                named("192.0.2.60:56324"),
            ),
            (
                "TCP4 255.255.255.255 255.255.255.255 65535 65535",
                named("255.255.255.255:65535"),
            ),
            ("TCP4 0.0.0.0 0.0.0.0 0 0", named("0.0.0.0:0")),
            (
                "TCP6 2001:db8::1 2001:db8::2 5000 443",
                named("[2001:db8::1]:5000"),
            ),
            (
                "TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535",
                named("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
            ),
            ("UNKNOWN", NOBODY),
            ("UNKNOWN ffff::1 ffff::2 65535 65535", NOBODY),
            ("UNKNOWN \r anything \n", NOBODY),
        ] {
            assert_eq!(
                verdict(format!("PROXY {line}\r\n").as_bytes()),
                Ok(expected),
                "{line}"
            );
        }
    }

    #[test]
    fn a_line_is_not_guessed_at() {
        for (line, error) in [
            ("", BadProxyHeader::Family),
            ("TCP4", BadProxyHeader::Family),
            ("UNKNOWNS", BadProxyHeader::Family),
            ("tcp4 192.0.2.60 192.0.2.1 1 2", BadProxyHeader::Family),
            ("UDP4 192.0.2.60 192.0.2.1 1 2", BadProxyHeader::Family),
            ("TCP4 2001:db8::1 2001:db8::2 1 2", BadProxyHeader::Address),
            ("TCP6 192.0.2.60 192.0.2.1 1 2", BadProxyHeader::Address),
            ("TCP4 192.0.2.60 192.0.2.1 1", BadProxyHeader::Address),
            ("TCP4 192.0.2.60 192.0.2.1 1 2 3", BadProxyHeader::Address),
            ("TCP4 192.0.2.60 192.0.2.1 1 2 ", BadProxyHeader::Address),
            ("TCP4  192.0.2.60 192.0.2.1 1 2", BadProxyHeader::Address),
            ("TCP4 192.0.2.060 192.0.2.1 1 2", BadProxyHeader::Address),
            ("TCP4 192.0.2.60 192.0.2.1 01 2", BadProxyHeader::Address),
            ("TCP4 192.0.2.60 192.0.2.1 +1 2", BadProxyHeader::Address),
            ("TCP4 192.0.2.60 192.0.2.1 65536 2", BadProxyHeader::Address),
            ("TCP4 192.0.2.60 192.0.2.1 1 -2", BadProxyHeader::Address),
            ("TCP4 192.0.2.60 192.0.2.1 1 2\nX", BadProxyHeader::Address),
            ("TCP4 \u{fc} 192.0.2.1 1 2", BadProxyHeader::Address),
        ] {
            assert_eq!(
                verdict(format!("PROXY {line}\r\n").as_bytes()),
                Err(error),
                "{line}"
            );
        }
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
        assert_eq!(longest.len(), LONGEST_V1);
        assert_eq!(verdict(longest.as_bytes()), Ok(NOBODY));
        let longer = longest.replace('\r', "x\r");
        assert_eq!(verdict(longer.as_bytes()), Err(BadProxyHeader::TooLong));
        let endless = format!("PROXY {}", "x".repeat(LONGEST_V1));
        assert_eq!(verdict(endless.as_bytes()), Err(BadProxyHeader::TooLong));
    }

    #[test]
    fn a_binary_header_names_the_client() {
        let ipv6 = [
            &[0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..],
            &[0; 16],
            &IPV4[8..],
        ]
        .concat();
        let extended = [IPV4, &[0x04, 0, 3, 0, 0, 0], &[0xEE; 300]].concat();
        for (header, expected) in [
            (v2(0x21, 0x11, IPV4), named("192.0.2.60:56324")),
            (v2(0x21, 0x12, IPV4), named("192.0.2.60:56324")),
            (v2(0x21, 0x21, &ipv6), named("[2001:db8::1]:56324")),
            (v2(0x21, 0x22, &ipv6), named("[2001:db8::1]:56324")),
            (v2(0x21, 0x11, &extended), named("192.0.2.60:56324")),
            (v2(0x21, 0x00, &[]), NOBODY),
            (v2(0x21, 0x31, &[0; 216]), NOBODY),
            (v2(0x20, 0x00, &[]), NOBODY),
            (v2(0x20, 0x11, IPV4), NOBODY),
            (v2(0x20, 0xFF, &[1, 2, 3]), NOBODY),
        ] {
            assert_eq!(verdict(&header), Ok(expected), "{header:?}");
        }
    }

    #[test]
    fn a_binary_header_is_not_guessed_at() {
        for (header, error) in [
            (v2(0x11, 0x11, IPV4), BadProxyHeader::Version),
            (v2(0x31, 0x11, IPV4), BadProxyHeader::Version),
            (v2(0x22, 0x11, IPV4), BadProxyHeader::Command),
            (v2(0x21, 0x10, IPV4), BadProxyHeader::Family),
            (v2(0x21, 0x41, IPV4), BadProxyHeader::Family),
            (v2(0x21, 0x13, IPV4), BadProxyHeader::Family),
            (v2(0x21, 0x11, &IPV4[1..]), BadProxyHeader::Address),
            (v2(0x21, 0x21, IPV4), BadProxyHeader::Address),
            (v2(0x21, 0x11, &[]), BadProxyHeader::Address),
            (
                v2(0x20, 0x00, &[0; LONGEST_V2 + 1]),
                BadProxyHeader::TooLong,
            ),
        ] {
            assert_eq!(verdict(&header), Err(error), "{header:?}");
        }
        assert_eq!(verdict(&v2(0x20, 0x00, &[0; LONGEST_V2])), Ok(NOBODY));
    }

    #[test]
    fn anything_else_is_known_at_its_first_wrong_byte() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"P\0",
            b"PROXY\r\n",
            b"proxy ",
            b"\r\n\r\nG",
            b"\x16\x03\x01",
            b" PROXY ",
        ] {
            assert_eq!(verdict(bytes), Err(BadProxyHeader::Signature), "{bytes:?}");
        }
    }

    /// Bytes that look like a header, for as long as that goes.
    fn nearly() -> impl Strategy<Value = Vec<u8>> {
        let word = proptest::sample::select(vec![
            "TCP4",
            "TCP6",
            "UNKNOWN",
            " ",
            "192.0.2.1",
            "::1",
            "443",
            "0",
            "\r",
            "\n",
            "\r\n",
        ]);
        let line = proptest::collection::vec(word, 0..30)
            .prop_map(|words| [V1, words.concat().as_bytes()].concat());
        let binary = proptest::collection::vec(any::<u8>(), 0..60)
            .prop_map(|bytes| [V2, &[0x21, 0x11, 0], &bytes].concat());
        prop_oneof![line, binary, proptest::collection::vec(any::<u8>(), 0..200)]
    }

    proptest! {
        /// Read in the sizes that it asks for, any input ends in a result, the same as that of the whole, and nothing after a
        /// header is consumed.
        #[test]
        fn whatever_comes_is_judged_by_its_own_bytes(bytes in nearly()) {
            let mut taken = 0;
            loop {
                let step = ProxyHeader::parse(&bytes[..taken]);
                match step {
                    Ok(ProxyHeader::Needs(needs)) => {
                        prop_assert!(needs > 0 && taken + needs <= V2.len() + 4 + LONGEST_V2);
                        taken += needs;
                        if taken > bytes.len() {
                            prop_assert!(!matches!(ProxyHeader::parse(&bytes), Ok(ProxyHeader::Whole(_))));
                            break;
                        }
                    }
                    Ok(ProxyHeader::Whole(_)) | Err(_) => {
                        prop_assert_eq!(step, ProxyHeader::parse(&bytes));
                        break;
                    }
                }
            }
        }
    }
}
