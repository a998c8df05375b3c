//! A connection to an upstream.
//!
//! A name may have several addresses, and some of them may not answer. They are raced as RFC 8305 ("Happy Eyeballs") describes: the
//! next one is tried as soon as one fails, or has not answered for a moment, and whichever answers first is taken.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Error;
use super::resolve::Resolver;
use crate::config::{Upstream, UpstreamAddress};
use crate::reason::Reason;
use crate::socket::Socket;
use crate::tls::{self, ClientConfig, ClientTls, PeerName};

/// How long an address has to answer before the next one is tried beside it (RFC 8305, section 5, "Connection Attempt Delay").
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects to `upstream`, whose name `resolver` looks up, with a TLS handshake if it uses TLS.
pub(super) async fn connect(
    upstream: &Upstream,
    resolver: &Resolver,
    tls: Option<Arc<ClientConfig>>,
) -> Result<Socket, Error> {
    let socket = match &upstream.address {
        UpstreamAddress::Tcp { host, port, .. } => connect_tcp(host, *port, resolver).await?,
        UpstreamAddress::Unix { path, .. } => UnixStream::connect(path)
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
    let PeerName::Fixed(name) = &settings.server_name else {
        return Err(failed("the request names no host".to_owned())); // for each there is an upstream of its own
    };
    socket
        .connect_tls(config, name.clone())
        .await
        .map_err(|error| failed(tls::explain(&error)))
}

async fn connect_tcp(host: &str, port: u16, resolver: &Resolver) -> Result<Socket, Error> {
    let unresolved =
        |error: io::Error| Error::new(Reason::UpstreamUnresolved, Some(error.to_string()));
    let addresses = resolver.resolve(host, port).await.map_err(unresolved)?;
    match &*addresses {
        [only] => attempt(*only).await.map(|(_, socket)| socket),
        _ => race(addresses).await.map(|(address, socket)| {
            resolver.prefer(address);
            socket
        }),
    }
    .inspect_err(|_| resolver.forget())
    .map_err(unreachable)
}

/// The first of these addresses that answers.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<(SocketAddr, Socket)> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut attempts = JoinSet::new(); // dropped with those that lose
    let mut addresses = addresses.into_iter();
    loop {
        if let Some(address) = addresses.next() {
            attempts.spawn_local(attempt(address));
        }
        let answered = attempts.join_next();
        let answered = if addresses.len() > 0 {
            timeout(ATTEMPT_DELAY, answered).await
        } else {
            Ok(answered.await)
        };
        match answered {
            Ok(Some(Ok(Ok(connected)))) => return Ok(connected),
            Ok(Some(Ok(Err(error)))) => last = error,
            Ok(Some(Err(panicked))) => last = io::Error::other(panicked),
            Ok(None) => return Err(last),
            Err(_) => {} // the next one beside it
        }
    }
}

async fn attempt(address: SocketAddr) -> io::Result<(SocketAddr, Socket)> {
    let stream = TcpStream::connect(address).await?;
    Ok((address, Socket::tcp(stream)?))
}

#[expect(clippy::needless_pass_by_value, reason = "the form `map_err` takes")]
fn unreachable(error: io::Error) -> Error {
    Error::new(Reason::UpstreamUnreachable, Some(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use tokio::net::{TcpListener, TcpSocket};
    use tokio::runtime::{Builder, LocalOptions};
    use tokio::time::Instant;

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default());
        runtime.unwrap().block_on(test);
    }

    /// An address that does not respond: the kernel drops connection attempts, since the queue is full.
    fn silent() -> (SocketAddr, impl Sized) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let queued: Vec<_> = (0..2)
            .map(|_| std::net::TcpStream::connect(address).unwrap())
            .collect();
        (address, (listener, queued))
    }

    /// An address that refuses connections.
    fn refusing() -> (SocketAddr, impl Sized) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        (socket.local_addr().unwrap(), socket)
    }

    #[test]
    fn whichever_address_answers_first_is_taken() {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let good = listener.local_addr().unwrap();
            let (silent, _queue) = silent();
            let (refusing, _socket) = refusing();
            for (addresses, least, most) in [
                (vec![good, silent], 0, 200),
                (vec![refusing, good], 0, 200),
                (vec![silent, good], 250, 450),
                (vec![silent, refusing, silent, good], 500, 800),
            ] {
                let start = Instant::now();
                let (address, _) = race(addresses.clone()).await.unwrap();
                let took = start.elapsed().as_millis();
                assert!(
                    address == good && (least..most).contains(&took),
                    "{addresses:?}: {took} ms"
                );
            }
            assert!(race(vec![refusing, refusing]).await.is_err());
            assert!(race(Vec::new()).await.is_err());
        });
    }
}
