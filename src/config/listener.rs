//! `[[listener]]`: the addresses that clients connect to.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::tls::ServerTls;

/// One address that clients connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The address to bind.
    pub address: ListenAddress,
    /// The name that routes use for it.
    pub name: Option<Arc<str>>,
    /// TLS; `None` is plain HTTP.
    pub tls: Option<ServerTls>,
    /// Each connection begins with a PROXY protocol header, which gives the client's address.
    pub proxy_protocol: bool,
    /// The mode of a Unix socket's file: whoever may write to it may connect, and is trusted.
    pub mode: u32,
}

/// An address to bind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// `127.0.0.1:8080`, `[::]:8080`
    Tcp(SocketAddr),
    /// `unix:/run/sidecar.sock`
    Unix(PathBuf),
}

impl Listener {
    /// The default mode of a Unix socket's file: its clients are trusted, so only its owner may connect.
    pub const SOCKET_MODE: u32 = 0o600;
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
