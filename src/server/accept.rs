//! Accepting connections, also when there is hardly a file descriptor for them.

use std::cell::RefCell;
use std::error::Error;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::Instant;

use super::listener::Listener;
use super::socket_file::SocketFile;
use crate::client::{Client, ConnectionSettings};
use crate::socket::Socket;
use crate::tls::{Reloading, ServerConfig};

/// How long accepting pauses when the process is out of file descriptors or memory: some will come free.
pub const PAUSE: Duration = Duration::from_millis(50);
/// How long no failure must occur before the shortage counts as over: each descriptor that becomes free lets one accept succeed.
const CALM: Duration = Duration::from_secs(1);

/// Accepts on one thread, and reports once when it cannot and once when it can again.
#[derive(Debug)]
pub struct Accepting {
    socket: Listening,
    /// What it accepts, for the log.
    what: &'static str,
    shortage: Arc<Shortage>,
    reserve: Option<Rc<Reserve>>,
}

#[derive(Debug)]
enum Listening {
    Tcp(TcpListener),
    Unix(SocketFile, UnixListener),
}

/// Since when nothing can be accepted, for all threads that accept the same.
#[derive(Debug, Default)]
pub struct Shortage(Mutex<Option<Instant>>);

/// File descriptors that are kept for connections which have to get in when the process has none left: a probe that got no answer
/// would have it killed, with every stream that it has.
#[derive(Debug)]
pub struct Reserve {
    size: usize,
    files: RefCell<Vec<File>>,
}

/// A connection as it was accepted, for the thread that accepted it.
#[derive(Debug)]
pub enum Accepted {
    /// Over TCP.
    Tcp(TcpStream, SocketAddr),
    /// Over a Unix socket.
    Unix(UnixStream),
}

/// A connection that moves to another thread.
#[derive(Debug)]
pub(super) enum Detached {
    Tcp(std::net::TcpStream, SocketAddr),
    Unix(std::os::unix::net::UnixStream),
}

/// Settings that apply before the first byte of HTTP.
#[derive(Debug, Clone, Default)]
pub struct ListenerSettings {
    /// How routes speak of its listener.
    pub name: Option<Arc<str>>,
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
    /// The timeouts and limits before a request has a route.
    pub connection_settings: ConnectionSettings,
}

impl Accepting {
    pub(super) fn new(
        listener: Listener,
        what: &'static str,
        shortage: Arc<Shortage>,
    ) -> io::Result<Self> {
        let socket = match listener {
            Listener::Tcp(socket) => Listening::Tcp(TcpListener::from_std(socket)?),
            Listener::Unix(file, socket) => Listening::Unix(file, UnixListener::from_std(socket)?),
        };
        Ok(Self {
            socket,
            what,
            shortage,
            reserve: None,
        })
    }

    /// Takes from `reserve` when there is no descriptor for a connection.
    #[must_use]
    pub fn with_reserve(mut self, reserve: Rc<Reserve>) -> Self {
        self.reserve = Some(reserve);
        self
    }

    /// The next connection, as soon as there is a descriptor for it.
    pub async fn next(&mut self) -> Accepted {
        loop {
            match self.accept().await {
                Ok(accepted) => {
                    if self.shortage.is_over() {
                        tracing::warn!("accepting {} again", self.what);
                    }
                    return accepted;
                }
                Err(error) if is_of_one_connection(&error) || self.draws_on_reserve() => {}
                Err(error) => {
                    if self.shortage.begins() {
                        tracing::warn!(error = &error as &dyn Error, "cannot accept {}", self.what);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn draws_on_reserve(&self) -> bool {
        let reserve = self.reserve.as_ref();
        reserve.is_some_and(|reserve| reserve.release())
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Listening::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                Ok(Accepted::Tcp(stream, peer))
            }
            Listening::Unix(_, socket) => Ok(Accepted::Unix(socket.accept().await?.0)),
        }
    }

    /// Closes the listener. Returns the connections that were already waiting.
    pub(super) fn close(self) -> impl Iterator<Item = Accepted> {
        let listener = match self.socket {
            Listening::Tcp(socket) => socket.into_std().map(Listener::Tcp),
            Listening::Unix(file, socket) => {
                file.remove(); // or one could come after the last was taken
                socket.into_std().map(|socket| Listener::Unix(file, socket))
            }
        };
        std::iter::from_fn(move || {
            let listener = listener.as_ref().ok()?;
            loop {
                match listener.accept_now() {
                    Err(error) if is_of_one_connection(&error) => {}
                    accepted => return accepted.and_then(Detached::arrive).ok(),
                }
            }
        })
    }
}

impl Reserve {
    /// Reserves this many descriptors.
    pub fn new(size: usize) -> Self {
        let reserve = Self {
            size,
            files: RefCell::default(),
        };
        reserve.fill();
        reserve
    }

    /// Refills the reserve as far as possible: to be called whenever a descriptor may have become free.
    pub fn fill(&self) {
        let mut files = self.files.borrow_mut();
        while files.len() < self.size
            && let Ok(file) = File::open("/dev/null")
        {
            files.push(file);
        }
    }

    /// Makes one of its descriptors free; whether it had one.
    fn release(&self) -> bool {
        self.files.borrow_mut().pop().is_some()
    }
}

impl Shortage {
    /// Something failed; whether that is news.
    fn begins(&self) -> bool {
        self.failed().replace(Instant::now()).is_none()
    }

    /// Something succeeded; whether it is over with that.
    fn is_over(&self) -> bool {
        self.failed()
            .take_if(|failed| failed.elapsed() > CALM)
            .is_some()
    }

    fn failed(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    pub(super) fn into_socket(self) -> Socket {
        match self {
            Self::Tcp(stream, _) => Socket::Tcp(stream),
            Self::Unix(stream) => Socket::Unix(stream),
        }
    }

    /// The same as a client's.
    pub fn into_client(self, connection_settings: ConnectionSettings) -> Client {
        let peer = self.peer();
        Client::new(self.into_socket(), peer, connection_settings)
    }

    /// Leaves this thread.
    pub(super) fn detach(self) -> io::Result<Detached> {
        Ok(match self {
            Self::Tcp(stream, peer) => Detached::Tcp(stream.into_std()?, peer),
            Self::Unix(stream) => Detached::Unix(stream.into_std()?),
        })
    }
}

impl Detached {
    /// Has come to this thread.
    pub(super) fn arrive(self) -> io::Result<Accepted> {
        Ok(match self {
            Self::Tcp(stream, peer) => Accepted::Tcp(TcpStream::from_std(stream)?, peer),
            Self::Unix(stream) => Accepted::Unix(UnixStream::from_std(stream)?),
        })
    }
}

/// Whether an error concerns only the connection that was about to be accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;

    use super::*;
    use crate::config::ListenAddress;
    use crate::server::testing::{address_of, any_port};

    #[tokio::test]
    async fn who_waits_when_a_listener_closes_is_let_in() {
        let path = std::env::temp_dir().join(format!("sse-sidecar-{}.sock", std::process::id()));
        for address in [any_port(), ListenAddress::Unix(path.clone())] {
            let listener = Listener::bind(&address).await.unwrap();
            let mut clients = Vec::new();
            for _ in 0..3 {
                clients.push(match listener.address().unwrap() {
                    ListenAddress::Tcp(address) => {
                        Socket::Tcp(TcpStream::connect(address).await.unwrap())
                    }
                    ListenAddress::Unix(path) => {
                        Socket::Unix(UnixStream::connect(path).await.unwrap())
                    }
                });
            }
            let accepting = listener.accepting("connections", Arc::default()).unwrap();
            assert_eq!(accepting.close().count(), 3);
        }
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_is_accepted_is_set_up_as_its_listener() {
        let listener = Listener::bind(&any_port()).await.unwrap();
        let address = address_of(&listener);
        let mut accepting = listener.accepting("connections", Arc::default()).unwrap();
        let (accepted, _client) = tokio::join!(accepting.next(), TcpStream::connect(address));
        let Accepted::Tcp(accepted, _) = accepted else {
            unreachable!()
        };
        let options = |socket: &SockRef<'_>| {
            [
                socket.tcp_nodelay().unwrap().into(),
                socket.keepalive().unwrap().into(),
                socket.tcp_keepalive_time().unwrap().as_secs(),
                socket.tcp_keepalive_interval().unwrap().as_secs(),
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
