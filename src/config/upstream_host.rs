//! `upstream.host`: the Host field for an upstream.

use std::net::IpAddr;

use http::HeaderValue;

use super::problem::Mistake;
use super::value::host;
use super::{Scheme, UpstreamAddress};

/// The value that means the client's host. No real host has this name; one that does can be written with its port.
pub(super) const FROM_CLIENT: &str = "from-client";

/// As written in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum UpstreamHost {
    /// Not set: the URL decides.
    #[default]
    Default,
    /// The client's.
    FromClient,
    /// This.
    Fixed(HeaderValue),
}

/// Names that exist only on a machine or its network; a backend there is the application itself, which knows the name it is
/// addressed by.
const LOCAL: [&str; 9] = [
    "localhost",
    "local",
    "internal",
    "svc", // Kubernetes
    "lan",
    "home",
    "home.arpa",
    "test",
    "invalid",
];

/// `from-client`, or a host.
pub(super) fn upstream_host(text: &str) -> Result<UpstreamHost, Mistake> {
    if text == FROM_CLIENT {
        return Ok(UpstreamHost::FromClient);
    }
    let meant = text.to_lowercase().replace(['_', ' '], "-");
    if meant == FROM_CLIENT || meant == "client" {
        return Err(Mistake::new(format!("`{text}` is not a host"))
            .help(format!("write `\"{FROM_CLIENT}\"` for the client's")));
    }
    host(text).map(UpstreamHost::Fixed)
}

impl UpstreamHost {
    /// What requests to `address` say; `None` is what the client's say.
    pub(super) fn resolve(&self, address: &UpstreamAddress) -> Option<HeaderValue> {
        match self {
            Self::Default => default_host(address),
            Self::FromClient => None,
            Self::Fixed(host) => Some(host.clone()),
        }
    }
}

/// The default host of requests to `address`. A public name behind TLS is a server with many names, which answers to its own. An
/// application beside the sidecar wants the client's.
pub(super) fn default_host(address: &UpstreamAddress) -> Option<HeaderValue> {
    let UpstreamAddress::Tcp {
        scheme: Scheme::Https,
        host,
        port,
    } = address
    else {
        return None;
    };
    let host = host.trim_end_matches('.');
    if is_local(host) {
        return None;
    }
    let named = match port {
        443 => host.to_owned(),
        port => format!("{host}:{port}"),
    };
    HeaderValue::from_str(&named).ok()
}

fn is_local(host: &str) -> bool {
    let is_below = |domain: &&str| {
        let above = host.strip_suffix(domain);
        above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
    };
    host.parse::<IpAddr>().is_ok() || !host.contains('.') || LOCAL.iter().any(is_below)
}

#[cfg(test)]
mod tests {
    use super::super::address::upstream_address;
    use super::*;

    #[test]
    fn only_public_names_behind_tls_get_their_own() {
        for (url, expected) in [
            ("https://api.example.com", Some("api.example.com")),
            ("https://API.example.com.:443", Some("api.example.com")),
            ("https://api.example.com:8443", Some("api.example.com:8443")),
            (
                "https://localhost.example.com",
                Some("localhost.example.com"),
            ),
            ("https://notlocal.notinternal", Some("notlocal.notinternal")),
            ("http://api.example.com", None),
            ("h2c://api.example.com", None),
            ("unix:/run/app.sock", None),
            ("https://localhost:3000", None),
            ("https://app.localhost", None),
            ("https://app", None),
            ("https://app.production.svc", None),
            ("https://app.production.svc.cluster.local", None),
            ("https://app.corp.internal", None),
            ("https://printer.local", None),
            ("https://10.0.0.7:8443", None),
            ("https://[2001:db8::1]", None),
        ] {
            let address = upstream_address(url).unwrap();
            let host = default_host(&address);
            let host = host.as_ref().map(|host| host.to_str().unwrap());
            assert_eq!(host, expected, "{url}");
            assert_eq!(UpstreamHost::FromClient.resolve(&address), None);
        }
    }

    #[test]
    fn nearly_from_client_is_a_mistake() {
        assert_eq!(upstream_host("from-client"), Ok(UpstreamHost::FromClient));
        for text in ["from_client", "From-Client", "from client", "client"] {
            let mistake = upstream_host(text).unwrap_err();
            assert_eq!(
                mistake.help.as_deref(),
                Some("write `\"from-client\"` for the client's")
            );
        }
        assert!(matches!(
            upstream_host("from-client:443"),
            Ok(UpstreamHost::Fixed(_))
        ));
    }
}
