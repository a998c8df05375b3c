//! A connection to an upstream.

use std::io;
use std::sync::Arc;

use tokio::net::{TcpStream, UnixStream, lookup_host};

use super::Error;
use crate::config::{Upstream, UpstreamAddress};
use crate::reason::Reason;
use crate::socket::Socket;
use crate::tls::{self, ClientConfig, ClientTls};

/// Connects to `upstream`, all its resolved addresses in turn, and shakes hands if it speaks TLS.
pub(super) async fn connect(
    upstream: &Upstream,
    tls: Option<Arc<ClientConfig>>,
) -> Result<Socket, Error> {
    let socket = match &upstream.address {
        UpstreamAddress::Tcp { host, port, .. } => connect_tcp(host, *port).await?,
        UpstreamAddress::Unix(path) => UnixStream::connect(path)
            .await
            .map(Socket::Unix)
            .map_err(unreachable)?,
    };
    match &upstream.tls {
        None => Ok(socket),
        Some(settings) => shake_hands(socket, settings, tls).await,
    }
}

async fn shake_hands(
    socket: Socket,
    settings: &ClientTls,
    tls: Option<Arc<ClientConfig>>,
) -> Result<Socket, Error> {
    let failed = |detail| Error::new(Reason::UpstreamTlsFailed, Some(detail));
    let config = tls.ok_or_else(|| failed("there is no configuration for it".to_owned()))?;
    socket
        .connect_tls(config, settings.server_name.clone())
        .await
        .map_err(|error| failed(tls::explain(&error)))
}

async fn connect_tcp(host: &str, port: u16) -> Result<Socket, Error> {
    let unresolved =
        |error: io::Error| Error::new(Reason::UpstreamUnresolved, Some(error.to_string()));
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host((host, port)).await.map_err(unresolved)? {
        match TcpStream::connect(address).await.and_then(Socket::tcp) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(unreachable(last))
}

#[expect(clippy::needless_pass_by_value, reason = "the form `map_err` takes")]
fn unreachable(error: io::Error) -> Error {
    Error::new(Reason::UpstreamUnreachable, Some(error.to_string()))
}
