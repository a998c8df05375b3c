//! Names and addresses of servers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// One of a server's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    Exact(String),
    /// `*.example.com`, without the star.
    Below(String),
    /// What no route can say.
    Other(String),
}

/// `80`, `*:80`, `[::]:80`, `localhost`, `10.0.0.1:80`, `unix:/path`, as the sidecar writes them; `None` for a name.
pub(super) fn listen_address(text: &str) -> Option<String> {
    if text.starts_with("unix:/") {
        return Some(text.to_owned());
    }
    if let Ok(port) = text.parse::<u16>() {
        return Some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).to_string());
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.to_string());
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Some(SocketAddr::from((ip, 80)).to_string());
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, "80"));
    let ip = match host {
        "*" => Ipv4Addr::UNSPECIFIED,
        "localhost" => Ipv4Addr::LOCALHOST,
        _ => return None,
    };
    Some(SocketAddr::from((ip, port.parse::<u16>().ok()?)).to_string())
}

impl Name {
    /// What a word of `server_name` means; `.example.com` is two names.
    pub(super) fn read(text: &str) -> Vec<Self> {
        let lower = text.to_ascii_lowercase();
        let is_plain = |name: &str| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        if let Some(rest) = lower.strip_prefix("*.").filter(|rest| is_plain(rest)) {
            return vec![Self::Below(format!(".{rest}"))];
        }
        if let Some(rest) = lower.strip_prefix('.').filter(|rest| is_plain(rest)) {
            return vec![
                Self::Exact(rest.to_owned()),
                Self::Below(format!(".{rest}")),
            ];
        }
        match is_plain(&lower) && lower != "_" {
            true => vec![Self::Exact(lower)],
            // `_`, an empty name and the like match no request.
            false if matches!(&*lower, "_" | "" | "__" | "--" | "!@#") => Vec::new(),
            false => vec![Self::Other(text.to_owned())],
        }
    }

    /// As a route's `host` has it.
    pub(super) fn host(&self) -> Option<String> {
        match self {
            Self::Exact(name) => Some(name.clone()),
            Self::Below(suffix) => Some(format!("*{suffix}")),
            Self::Other(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, address) in [
            ("80", Some("0.0.0.0:80")),
            ("*:8080", Some("0.0.0.0:8080")),
            ("[::]:443", Some("[::]:443")),
            ("[::1]", Some("[::1]:80")),
            ("127.0.0.1", Some("127.0.0.1:80")),
            ("127.0.0.1:81", Some("127.0.0.1:81")),
            ("localhost:82", Some("127.0.0.1:82")),
            ("unix:/run/a.sock", Some("unix:/run/a.sock")),
            ("example.com:80", None),
            ("99999", None),
        ] {
            assert_eq!(listen_address(text).as_deref(), address, "{text}");
        }
    }

    #[test]
    fn names() {
        for (text, hosts) in [
            ("A.test", vec!["a.test"]),
            ("*.a.test", vec!["*.a.test"]),
            (".a.test", vec!["a.test", "*.a.test"]),
            ("_", vec![]),
            ("a.*", vec![]),
            ("~^www", vec![]),
        ] {
            let found: Vec<_> = Name::read(text).iter().filter_map(Name::host).collect();
            assert_eq!(found, hosts, "{text}");
        }
    }
}
