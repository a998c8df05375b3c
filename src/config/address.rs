//! Addresses: where the sidecar listens, and where its backends do.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net};

use super::problem::Mistake;
use super::{ListenAddress, Scheme, UpstreamAddress};

/// The port suggested where none is given.
const USUAL_PORT: u16 = 8080;

/// The room that Linux has for the path of a Unix socket, its NUL included.
const LONGEST_SOCKET_PATH: usize = 108;

/// `IP:port`, `[IPv6]:port` or `unix:/path`.
pub(super) fn listen_address(text: &str) -> Result<ListenAddress, Mistake> {
    match text.strip_prefix("unix:") {
        Some(path) => socket_path(path, "unix:").map(ListenAddress::Unix),
        None => {
            tcp_address(text, "`0.0.0.0:8080`, or `unix:/run/sidecar.sock`").map(ListenAddress::Tcp)
        }
    }
}

/// `IP:port` or `[IPv6]:port`; `None` for `off`.
pub(super) fn admin_address(text: &str) -> Result<Option<SocketAddr>, Mistake> {
    if text == "off" {
        return Ok(None);
    }
    tcp_address(text, "`127.0.0.1:9901`, or `off`").map(Some)
}

/// An IP address, or a network in CIDR notation. One of IPv4-mapped addresses (`::ffff:10.0.0.0/104`) is that IPv4 network: so are the
/// clients compared that come to an IPv6 listener over IPv4.
pub(super) fn network(text: &str) -> Result<IpNet, Mistake> {
    let network = text.parse::<IpNet>().map(|network| network.trunc());
    network
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map(|network| unmapped(network).unwrap_or(network))
        .map_err(|_| {
            Mistake::new(format!("`{text}` is neither an IP address nor a network"))
                .help("write such as `10.0.0.0/8`, `192.0.2.1` or `2001:db8::/32`")
        })
}

/// The IPv4 network that an IPv6 one maps.
fn unmapped(network: IpNet) -> Option<IpNet> {
    let IpNet::V6(mapped) = network else {
        return None;
    };
    let bits_before = 96; // RFC 4291, section 2.5.5.2
    let length = mapped.prefix_len().checked_sub(bits_before)?;
    let network = Ipv4Net::new(mapped.network().to_ipv4_mapped()?, length);
    network.ok().map(IpNet::V4)
}

/// `http://host`, `http://host:port`, the same with `https` or `h2c`, `unix:/path` or `unix+h2c:/path`.
pub(super) fn upstream_address(text: &str) -> Result<UpstreamAddress, Mistake> {
    for (prefix, scheme) in [("unix:", Scheme::Http), ("unix+h2c:", Scheme::H2c)] {
        if let Some(path) = text.strip_prefix(prefix) {
            let path = socket_path(path, prefix)?;
            return Ok(UpstreamAddress::Unix { scheme, path });
        }
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') || scheme.is_empty() && text.contains('@') {
        return Err(
            Mistake::new("a user name or password in a URL is never sent")
                .help("leave out everything up to the `@`")
                .secret(),
        );
    }
    if scheme.is_empty() {
        let meant = format!("http://{authority}");
        let help = match host_and_port(Scheme::Http, authority) {
            Ok(_) => format!("write `{meant}`"),
            Err(_) => "write `http://host:port` or `unix:/path`".to_owned(),
        };
        return Err(Mistake::new(format!("`{text}` is not a URL")).help(help));
    }
    let Some(scheme) = [Scheme::Http, Scheme::Https, Scheme::H2c]
        .into_iter()
        .find(|known| scheme.eq_ignore_ascii_case(known.name()))
    else {
        return Err(Mistake::new(format!(
            "unsupported scheme `{scheme}`; expected `http`, `https`, `h2c`, `unix` or `unix+h2c`"
        ))
        .help("name the backend's HTTP port, such as `http://127.0.0.1:3000`"));
    };
    let (host, port) = host_and_port(scheme, authority)?;
    if path.is_empty() || path == "/" {
        Ok(UpstreamAddress::Tcp { scheme, host, port })
    } else {
        Err(Mistake::new(format!(
            "`{path}` is not allowed here: requests keep their own path"
        ))
        .help(format!("write `{}://{authority}`", scheme.name())))
    }
}

/// Whether two listeners cannot have these addresses at the same time.
pub(super) fn is_conflict(a: &ListenAddress, b: &ListenAddress) -> bool {
    match (a, b) {
        (ListenAddress::Tcp(a), ListenAddress::Tcp(b)) => {
            let same_ip = a.ip() == b.ip();
            let same_family = a.is_ipv4() == b.is_ipv4();
            let any_ip = a.ip().is_unspecified() || b.ip().is_unspecified();
            // Port 0 is a different free port each time.
            a.port() == b.port() && a.port() != 0 && (same_ip || same_family && any_ip)
        }
        (ListenAddress::Unix(a), ListenAddress::Unix(b)) => a == b,
        (ListenAddress::Tcp(_), ListenAddress::Unix(_))
        | (ListenAddress::Unix(_), ListenAddress::Tcp(_)) => false,
    }
}

/// Whether a request sent to the upstream comes back in at the listener.
pub(super) fn is_loop(upstream: &UpstreamAddress, listener: &ListenAddress) -> bool {
    match (upstream, listener) {
        (UpstreamAddress::Tcp { host, port, .. }, ListenAddress::Tcp(listener)) => {
            let ips = match host.as_str() {
                "localhost" => vec![
                    IpAddr::V4(Ipv4Addr::LOCALHOST),
                    IpAddr::V6(Ipv6Addr::LOCALHOST),
                ],
                host => host.parse().into_iter().collect(),
            };
            let reaches = |ip: &IpAddr| {
                let is_own = ip.is_loopback() || ip.is_unspecified();
                *ip == listener.ip()
                    || is_own
                        && listener.ip().is_unspecified()
                        && ip.is_ipv4() == listener.is_ipv4()
            };
            *port == listener.port() && ips.iter().any(reaches)
        }
        (UpstreamAddress::Unix { path, .. }, ListenAddress::Unix(listener)) => path == listener,
        (UpstreamAddress::Tcp { .. }, ListenAddress::Unix(_))
        | (UpstreamAddress::Unix { .. }, ListenAddress::Tcp(_)) => false,
    }
}

/// `examples` say what could be written instead, if nothing better is found.
fn tcp_address(text: &str, examples: &str) -> Result<SocketAddr, Mistake> {
    text.parse().map_err(|_| {
        let help = match meant_address(text) {
            Some(address) => format!("write `{address}`"),
            None => format!("write an IP address and a port such as {examples}"),
        };
        Mistake::new(format!("`{text}` is not an IP address and a port")).help(help)
    })
}

/// The address that was probably meant: `:8080`, `*:8080`, `8080`, `localhost:8080`, `http://127.0.0.1:8080`, `127.0.0.1`.
fn meant_address(text: &str) -> Option<SocketAddr> {
    let text = text
        .strip_prefix("http://")
        .unwrap_or(text)
        .trim_end_matches('/');
    if let Ok(ip) = text.trim_matches(['[', ']']).parse() {
        return Some(SocketAddr::new(ip, USUAL_PORT));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    match host {
        "" | "*" => format!("0.0.0.0:{port}").parse().ok(),
        "localhost" => format!("127.0.0.1:{port}").parse().ok(),
        _ => text.parse().ok(),
    }
}

fn host_and_port(scheme: Scheme, authority: &str) -> Result<(String, u16), Mistake> {
    if authority.parse::<Ipv6Addr>().is_ok() {
        return Err(Mistake::new("an IPv6 address needs brackets")
            .help(format!("write `{}://[{authority}]`", scheme.name())));
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (authority, None),
    };
    let ip = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = match ip {
        Some(ip) if ip.parse::<Ipv6Addr>().is_ok() => ip,
        None if is_host_name(host) => host,
        Some(_) | None => {
            return Err(
                Mistake::new(format!("`{host}` is not a host name or an IP address"))
                    .help(format!("write `{}://host:port`", scheme.name())),
            );
        }
    };
    let port = match port {
        None => scheme.port(),
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| {
            Mistake::new(format!("`{port}` is not a port")).help("write a number from 1 to 65535")
        })?,
    };
    Ok((host.to_ascii_lowercase(), port))
}

/// A name for the resolver, or an IPv4 address: letters, digits, `-`, `_` and `.`; four numbers must be an address.
fn is_host_name(host: &str) -> bool {
    let is_numeric = host
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let is_name = host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let has_empty_label = host.trim_end_matches('.').split('.').any(str::is_empty);
    is_name && !has_empty_label && (!is_numeric || host.parse::<Ipv4Addr>().is_ok())
}

fn socket_path(path: &str, prefix: &str) -> Result<PathBuf, Mistake> {
    let absolute = format!("/{}", path.trim_start_matches('/'));
    if path != absolute || path == "/" {
        let help = if absolute == "/" {
            "/run/sidecar.sock"
        } else {
            &absolute
        };
        return Err(Mistake::new("a Unix socket needs an absolute path")
            .help(format!("write `{prefix}{help}`")));
    }
    if path.contains('\0') {
        return Err(Mistake::new("a path cannot hold a NUL").help(format!("write `{prefix}/path`")));
    }
    if path.len() >= LONGEST_SOCKET_PATH {
        return Err(Mistake::new(format!(
            "{} bytes are too many for the path of a Unix socket",
            path.len()
        ))
        .help(format!(
            "choose a path of at most {} bytes",
            LONGEST_SOCKET_PATH - 1
        )));
    }
    Ok(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help<T>(result: Result<T, Mistake>) -> String {
        result.err().expect("an error").help.expect("a help")
    }

    #[test]
    fn listen_addresses() {
        for text in [
            "127.0.0.1:8080",
            "[::]:80",
            "0.0.0.0:0",
            "unix:/run/sidecar.sock",
        ] {
            assert_eq!(listen_address(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_was_meant_to_listen_on() {
        for (text, meant) in [
            (":8080", "0.0.0.0:8080"),
            ("*:8080", "0.0.0.0:8080"),
            ("8080", "0.0.0.0:8080"),
            ("localhost:8080", "127.0.0.1:8080"),
            ("http://127.0.0.1:80/", "127.0.0.1:80"),
            ("127.0.0.1", "127.0.0.1:8080"),
            ("::1", "[::1]:8080"),
            ("[::1]", "[::1]:8080"),
            ("unix:", "unix:/run/sidecar.sock"),
            ("unix:run/a.sock", "unix:/run/a.sock"),
            ("unix:///run/a.sock", "unix:/run/a.sock"),
        ] {
            assert_eq!(
                help(listen_address(text)),
                format!("write `{meant}`"),
                "{text}"
            );
        }
        for text in ["", "example.com:80", "127.0.0.1:99999", "off"] {
            assert!(
                help(listen_address(text)).contains("such as `0.0.0.0:8080`"),
                "{text}"
            );
        }
    }

    #[test]
    fn networks() {
        for (text, expected) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("::ffff:0:0/95", "::fffe:0:0/95"),
        ] {
            let network = network(text).map(|network| network.to_string());
            assert_eq!(network.as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn upstream_addresses() {
        for (text, shown) in [
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("HTTP://App.Local", "http://app.local:80"),
            ("http://app:3000/", "http://app:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("http://[::1]", "http://[::1]:80"),
            ("http://my_app.svc.:81", "http://my_app.svc.:81"),
            ("https://api.example.com", "https://api.example.com:443"),
            ("HTTPS://[::1]:8443", "https://[::1]:8443"),
            ("h2c://app", "h2c://app:80"),
            ("unix:/run/app.sock", "unix:/run/app.sock"),
            ("unix+h2c:/run/app.sock", "unix+h2c:/run/app.sock"),
        ] {
            assert_eq!(upstream_address(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_was_meant_as_an_upstream() {
        for (text, expected) in [
            ("127.0.0.1:3000", "write `http://127.0.0.1:3000`"),
            ("localhost", "write `http://localhost`"),
            ("http://a/b", "write `http://a`"),
            ("http://a:80//", "write `http://a:80`"),
            ("http://::1", "write `http://[::1]`"),
            ("https://::1", "write `https://[::1]`"),
            ("https://a/b", "write `https://a`"),
            ("https://", "write `https://host:port`"),
            ("http://a:0", "write a number from 1 to 65535"),
            ("http://a:", "write a number from 1 to 65535"),
            ("http://", "write `http://host:port`"),
            ("http://1.2.3", "write `http://host:port`"),
            ("http://a b", "write `http://host:port`"),
            ("http://[::1", "write `http://host:port`"),
            ("", "write `http://host:port` or `unix:/path`"),
        ] {
            assert_eq!(help(upstream_address(text)), expected, "{text}");
        }
    }

    #[test]
    fn passwords_are_secret() {
        for text in [
            "http://me:pass@host",
            "me:pass@host",
            "https://me:pass@host/a",
            "http:/me:pass@host",
        ] {
            let mistake = upstream_address(text).unwrap_err();
            assert!(
                mistake.is_secret && !format!("{mistake:?}").contains("pass@"),
                "{mistake:?}"
            );
        }
    }

    #[test]
    fn listeners_that_collide() {
        for (a, b, collide) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("[::]:80", "127.0.0.1:80", false),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("unix:/a", "unix:/a", true),
            ("unix:/a", "unix:/b", false),
        ] {
            let [a, b] = [a, b].map(|text| listen_address(text).unwrap());
            assert_eq!(is_conflict(&a, &b), collide, "{a} {b}");
        }
    }

    #[test]
    fn upstreams_that_come_back() {
        for (upstream, listener, comes_back) in [
            ("http://127.0.0.1:80", "0.0.0.0:80", true),
            ("http://localhost", "127.0.0.1:80", true),
            ("http://[::1]", "[::]:80", true),
            ("http://10.0.0.7", "10.0.0.7:80", true),
            ("http://10.0.0.7", "0.0.0.0:80", false),
            ("http://app", "0.0.0.0:80", false),
            ("unix:/a", "unix:/a", true),
        ] {
            let upstream = upstream_address(upstream).unwrap();
            let listener = listen_address(listener).unwrap();
            assert_eq!(
                is_loop(&upstream, &listener),
                comes_back,
                "{upstream} {listener}"
            );
        }
    }
}
