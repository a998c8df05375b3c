//! Invariant: a PROXY protocol header names the client that the crate `ppp` reads in it. Read as it asks for, no byte after the
//! header is ever taken, and however it comes the verdict is that of the whole. A header that was made for an address gives it back.
//!
//! Input: what a load balancer sends. The header to be given back is made of its first bytes.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use ppp::v2::Command;
use ppp::{v1, v2};
use sse_sidecar::wire::{BadProxyHeader, ProxyHeader};

/// More than any header may have, in bytes.
const LONGEST: usize = 16 + 4096;

fuzz_target!(|data: &[u8]| {
    let (verdict, length) = read(data);
    if let Some(verdict) = verdict {
        assert_eq!(verdict, ProxyHeader::parse(data), "whatever comes after it");
        let header = &data[..length];
        match verdict {
            Ok(ProxyHeader::Whole(client)) => check_taken(header, client),
            Ok(ProxyHeader::Needs(_)) => unreachable!("it is no verdict"),
            Err(error) => check_refused(data, error),
        }
    } else {
        let early = ProxyHeader::parse(data);
        assert!(!matches!(early, Ok(ProxyHeader::Whole(_))));
    }
    if let Some(bytes) = data.first_chunk() {
        check_round_trip(*bytes);
    }
});

/// The verdict on what `data` begins with, and how much was read for it; none if there would have to be more.
fn read(data: &[u8]) -> (Option<Result<ProxyHeader, BadProxyHeader>>, usize) {
    let mut length = 0;
    loop {
        match ProxyHeader::parse(&data[..length]) {
            Ok(ProxyHeader::Needs(needs)) => {
                assert!(needs > 0 && length + needs <= LONGEST);
                // Less than it asked for changes nothing.
                for part in length..(length + needs).min(data.len()) {
                    assert!(!matches!(
                        ProxyHeader::parse(&data[..part]),
                        Ok(ProxyHeader::Whole(_))
                    ));
                }
                length += needs;
            }
            verdict => return (Some(verdict), length),
        }
        if length > data.len() {
            return (None, length);
        }
    }
}

/// `ppp` reads all of `header`, and the same client in it.
fn check_taken(header: &[u8], client: Option<SocketAddr>) {
    match by_ppp(header) {
        Seen::V1(Ok(seen)) => {
            // To `ppp` a CR ends what follows `UNKNOWN`.
            assert!(seen.header.len() == header.len() || client.is_none());
            assert_eq!(v1_client(&seen), client);
        }
        Seen::V2(Ok(seen)) => {
            assert_eq!(seen.len(), header.len());
            assert_eq!(v2_client(&seen), client);
        }
        // Anything may follow `UNKNOWN`.
        Seen::V1(Err(_)) => assert!(client.is_none() && header.starts_with(b"PROXY UNKNOWN")),
        // For `LOCAL` and Unix sockets, `ppp` wants addresses that are not needed.
        Seen::V2(Err(_)) => {
            assert!(client.is_none() && matches!(header[12..14], [0x20, _] | [_, 0x31 | 0x32]))
        }
    }
}

/// What is refused, and not by `ppp`, is so for a reason.
fn check_refused(data: &[u8], error: BadProxyHeader) {
    match by_ppp(data) {
        Seen::V1(Ok(seen)) => {
            // A sign before a port, and a CR in place of a space.
            let text = seen.header.trim_end_matches("\r\n");
            assert!(text.contains('+') || text.contains('\r'), "{error}: {text}");
        }
        Seen::V2(Ok(seen)) => {
            let is_long = seen.length() > 4096 && error == BadProxyHeader::TooLong;
            // Half of a family and transport is none.
            let family = seen.as_bytes()[13];
            let is_half = !matches!(family, 0x00 | 0x11 | 0x12 | 0x21 | 0x22 | 0x31 | 0x32);
            assert!(
                is_long || (is_half && error == BadProxyHeader::Family),
                "{error}"
            );
        }
        Seen::V1(Err(_)) | Seen::V2(Err(_)) => {}
    }
}

enum Seen<'a> {
    V1(Result<v1::Header<'a>, v1::BinaryParseError>),
    V2(Result<v2::Header<'a>, v2::ParseError>),
}

fn by_ppp(bytes: &[u8]) -> Seen<'_> {
    if bytes.first() == Some(&b'P') {
        Seen::V1(v1::Header::try_from(bytes))
    } else {
        Seen::V2(v2::Header::try_from(bytes))
    }
}

fn v1_client(header: &v1::Header<'_>) -> Option<SocketAddr> {
    match header.addresses {
        v1::Addresses::Unknown => None,
        v1::Addresses::Tcp4(ip) => Some((ip.source_address, ip.source_port).into()),
        v1::Addresses::Tcp6(ip) => Some((ip.source_address, ip.source_port).into()),
    }
}

fn v2_client(header: &v2::Header<'_>) -> Option<SocketAddr> {
    match header.addresses {
        _ if header.command == Command::Local => None,
        v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
        v2::Addresses::IPv4(ip) => Some((ip.source_address, ip.source_port).into()),
        v2::Addresses::IPv6(ip) => Some((ip.source_address, ip.source_port).into()),
    }
}

/// Both versions, both families.
fn check_round_trip(bytes: [u8; 18]) {
    let (ip, port) = bytes.split_at(16);
    let port = u16::from_be_bytes([port[0], port[1]]);
    let mut octets = [0; 16];
    octets.copy_from_slice(ip);
    let ipv4 = Ipv4Addr::new(ip[0], ip[1], ip[2], ip[3]);
    for ip in [IpAddr::V4(ipv4), IpAddr::V6(Ipv6Addr::from(octets))] {
        let client = SocketAddr::new(ip, port);
        let family = if ip.is_ipv4() { "TCP4" } else { "TCP6" };
        let line = format!("PROXY {family} {ip} {ip} {port} 443\r\n");
        let binary = v2::Builder::with_addresses(
            v2::Version::Two | Command::Proxy,
            v2::Protocol::Stream,
            (client, client),
        );
        let binary = binary.build().expect("two addresses are not too long");
        for header in [line.into_bytes(), binary] {
            assert_eq!(
                ProxyHeader::parse(&header),
                Ok(ProxyHeader::Whole(Some(client)))
            );
        }
    }
}
