//! Addresses as text. Every request formats its client's, and `Display` takes a hundred instructions for each digit of an IPv4
//! address.

use std::net::{IpAddr, SocketAddr};

/// `127.0.0.1:80`, `[::1]:80`.
pub fn address_text(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) => {
            let mut text = ip_text(address.ip());
            text.push(':');
            text.push_str(itoa::Buffer::new().format(v4.port()));
            text
        }
        SocketAddr::V6(v6) => v6.to_string(),
    }
}

/// `127.0.0.1`, `::1`.
pub fn ip_text(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => {
            let mut text = String::with_capacity("255.255.255.255:65535".len());
            let [first, rest @ ..] = v4.octets();
            text.push_str(itoa::Buffer::new().format(first));
            for octet in rest {
                text.push('.');
                text.push_str(itoa::Buffer::new().format(octet));
            }
            text
        }
        IpAddr::V6(v6) => v6.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_written_as_display_writes_them() {
        for address in [
            "0.0.0.0:0",
            "1.10.100.255:9",
            "192.0.2.60:65535",
            "[::1]:80",
            "[::ffff:192.0.2.60]:80",
            "[fe80::1%3]:80",
        ] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(address_text(address), address.to_string());
            assert_eq!(ip_text(address.ip()), address.ip().to_string());
        }
    }
}
