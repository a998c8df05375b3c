//! Binding, accepting, and turning away what is too much.

use std::cell::Cell;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::Instant;

use crate::client::{Client, Clocks};
use crate::config::ListenAddress;
use crate::metrics::Metrics;
use crate::problem;
use crate::reason::Reason;
use crate::server::Workers;
use crate::socket::{self, Socket};
use crate::tls::{Reloading, ServerConfig};

/// How long accepting pauses when the process is out of file descriptors or memory: some will come free.
pub const PAUSE: Duration = Duration::from_millis(50);
/// How long nothing may have failed before that is called over: with each that comes free accepting succeeds once.
const CALM: Duration = Duration::from_secs(1);

/// A bound address.
#[derive(Debug)]
pub enum Listener {
    /// On TCP.
    Tcp(TcpListener),
    /// On a Unix socket, whose file is removed at the end.
    Unix(UnixListener, SocketFile),
}

/// The file of a Unix socket, removed on drop.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

/// A connection as it was accepted, on its way to the thread that will serve it.
#[derive(Debug)]
pub enum Accepted {
    /// Over TCP.
    Tcp(std::net::TcpStream, SocketAddr),
    /// Over a Unix socket.
    Unix(std::os::unix::net::UnixStream),
}

/// Accepts, and tells when it cannot and when it can again, once each.
#[derive(Debug)]
pub struct Accepting<'a> {
    listener: &'a Listener,
    /// What is accepted, for the log.
    what: &'static str,
    failed: Option<Instant>,
}

/// What stands between an accepted connection and its first byte of HTTP.
#[derive(Debug, Clone, Default)]
pub struct Entrance {
    /// It begins with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// It is encrypted.
    pub tls: Option<Reloading<ServerConfig>>,
}

/// What holds for a connection, as it was when it was accepted.
#[derive(Debug, Clone, Copy)]
pub struct Admission {
    /// How many there may be at once.
    pub max_connections: usize,
    /// What it is held to before a request has a route.
    pub clocks: Clocks,
}

/// Hands what a listener accepts to the workers.
#[derive(Debug)]
pub struct Acceptor {
    /// Who serves the connections.
    pub workers: Arc<Workers>,
    /// What holds for those that come next.
    pub admission: Rc<Cell<Admission>>,
    /// What each has to pass before it is served.
    pub entrance: Entrance,
    /// Where refusals are counted.
    pub metrics: Arc<Metrics>,
}

impl Listener {
    /// Binds `address`.
    pub async fn bind(address: &ListenAddress) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                socket::set_up(&SockRef::from(&listener))?; // for all that it accepts: they inherit it
                Ok(Self::Tcp(listener))
            }
            ListenAddress::Unix(path) => {
                remove_stale(path).await?;
                Ok(Self::Unix(
                    UnixListener::bind(path)?,
                    SocketFile(path.clone()),
                ))
            }
        }
    }

    /// The address as bound: with the port that was chosen, if 0 was asked for.
    pub fn address(&self) -> io::Result<ListenAddress> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(ListenAddress::Tcp),
            Self::Unix(_, file) => Ok(ListenAddress::Unix(file.0.clone())),
        }
    }

    /// Connections, which the log calls `what`.
    pub fn accepting(&self, what: &'static str) -> Accepting<'_> {
        Accepting {
            listener: self,
            what,
            failed: None,
        }
    }

    /// The next connection.
    pub async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Accepted::Tcp(stream.into_std()?, peer))
            }
            Self::Unix(listener, _) => Ok(Accepted::Unix(listener.accept().await?.0.into_std()?)),
        }
    }
}

impl Accepting<'_> {
    /// The next connection, as soon as there is a descriptor for it.
    pub async fn next(&mut self) -> Accepted {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => {
                    if self.failed.is_some_and(|failed| failed.elapsed() > CALM) {
                        tracing::warn!("accepting {} again", self.what);
                        self.failed = None;
                    }
                    return accepted;
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if self.failed.replace(Instant::now()).is_none() {
                        tracing::warn!(error = &error as &dyn Error, "cannot accept {}", self.what);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

impl Accepted {
    /// The address at the other end; none on a Unix socket.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, peer) => Some(*peer),
            Self::Unix(_) => None,
        }
    }

    /// The connection on this thread's runtime.
    pub(super) fn into_socket(self) -> io::Result<Socket> {
        match self {
            Self::Tcp(stream, _) => Ok(Socket::Tcp(TcpStream::from_std(stream)?)),
            Self::Unix(stream) => Ok(Socket::Unix(UnixStream::from_std(stream)?)),
        }
    }

    /// The same as a client's.
    pub fn into_client(self, clocks: Clocks) -> io::Result<Client> {
        let peer = self.peer();
        Ok(Client::new(self.into_socket()?, peer, clocks))
    }
}

impl Acceptor {
    /// Accepts for ever.
    pub async fn run(&self, listener: &Listener) {
        let mut connections = listener.accepting("connections");
        loop {
            let accepted = connections.next().await;
            let Admission {
                max_connections,
                clocks,
            } = self.admission.get();
            if self.workers.connections() < max_connections {
                self.workers.give(accepted, self.entrance.clone(), clocks);
            } else {
                self.turn_away(accepted, clocks);
            }
        }
    }

    /// Over TLS it just closes: a handshake costs more than the answer is worth to who has too much to do already.
    fn turn_away(&self, accepted: Accepted, clocks: Clocks) {
        self.metrics.refused(Reason::TooManyConnections);
        if self.entrance.tls.is_some() {
            return;
        }
        if let Ok(client) = accepted.into_client(clocks) {
            tokio::task::spawn_local(async move {
                client
                    .send_last(&problem::bytes(Reason::TooManyConnections, None))
                    .await;
            });
        }
    }
}

/// Whether an error is of the connection that was about to be accepted, and says nothing of the next.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

/// Removes a socket file that an earlier process left behind; one that somebody listens on stays.
async fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket =
        std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if is_socket
        && UnixStream::connect(path)
            .await
            .is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
    {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_accepted_is_set_up_as_its_listener() {
        let address = ListenAddress::Tcp("127.0.0.1:0".parse().unwrap());
        let listener = Listener::bind(&address).await.unwrap();
        let ListenAddress::Tcp(address) = listener.address().unwrap() else {
            unreachable!()
        };
        let connecting = TcpStream::connect(address);
        let (accepted, _client) = tokio::join!(listener.accept(), connecting);
        let Accepted::Tcp(accepted, _) = accepted.unwrap() else {
            unreachable!()
        };
        let options = |socket: &SockRef<'_>| {
            [
                socket.tcp_nodelay().unwrap().into(),
                socket.keepalive().unwrap().into(),
                socket.tcp_keepalive_time().unwrap().as_secs(),
                socket.tcp_notsent_lowat().unwrap().into(),
                socket.nonblocking().unwrap().into(),
            ]
        };
        let connected = TcpStream::connect(address).await.unwrap();
        let Socket::Tcp(set_up) = Socket::tcp(connected).unwrap() else {
            unreachable!()
        };
        let expected = options(&SockRef::from(&set_up));
        assert_eq!(options(&SockRef::from(&accepted)), expected);
        assert!(expected.iter().all(|&option| option > 0), "{expected:?}");
    }
}
