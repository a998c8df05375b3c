//! A backend: its address, and the TLS spoken with it.

use std::fmt;
use std::path::PathBuf;

use crate::tls::ClientTls;

/// A backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// Its address.
    pub address: UpstreamAddress,
    /// How it is verified, and the sidecar to it. `Some` exactly for `https://`.
    pub tls: Option<ClientTls>,
}

/// Where a backend listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UpstreamAddress {
    /// `http://host:port`: a name or an IP address (no brackets), resolved at each connect.
    Tcp {
        /// The protocol.
        scheme: Scheme,
        /// Host name or IP address.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// `unix:/path`, `unix+h2c:/path`
    Unix {
        /// The protocol: plain HTTP, or HTTP/2 with prior knowledge.
        scheme: Scheme,
        /// The socket's file.
        path: PathBuf,
    },
}

/// The protocol of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
    /// HTTP/2 without TLS, with prior knowledge.
    H2c,
}

impl UpstreamAddress {
    /// Its `host:port`, for requests that name no other host.
    pub fn authority(&self) -> String {
        match self {
            Self::Tcp { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port, .. } => format!("{host}:{port}"),
            Self::Unix { .. } => "localhost".to_owned(),
        }
    }

    /// Its protocol.
    pub fn scheme(&self) -> Scheme {
        match self {
            Self::Tcp { scheme, .. } | Self::Unix { scheme, .. } => *scheme,
        }
    }
}

impl Scheme {
    /// As it is written in a URL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::H2c => "h2c",
        }
    }

    /// The port where a URL names none.
    pub(super) fn port(self) -> u16 {
        match self {
            Self::Http | Self::H2c => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for UpstreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { scheme, .. } => write!(f, "{}://{}", scheme.name(), self.authority()),
            Self::Unix {
                scheme: Scheme::H2c,
                path,
            } => write!(f, "unix+h2c:{}", path.display()),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}
