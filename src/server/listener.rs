//! Binding the addresses that connections come to.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use socket2::{Domain, Protocol, SockRef, Type};

use super::accept::{Accepting, Detached, Shortage};
use super::socket_file::{self, SocketFile};
use crate::config::{self, ListenAddress};
use crate::socket;

/// How many connections may wait to be accepted, at each socket.
const BACKLOG: i32 = 1024;

/// A bound address, for whichever thread is going to accept.
#[derive(Debug)]
pub enum Listener {
    /// On TCP.
    Tcp(std::net::TcpListener),
    /// On a Unix socket, whose file is removed at the end, before the socket closes.
    Unix(SocketFile, std::os::unix::net::UnixListener),
}

impl Listener {
    /// Binds `address` once. The file of a Unix socket gets the usual mode.
    pub async fn bind(address: &ListenAddress) -> io::Result<Self> {
        let mode = config::Listener::SOCKET_MODE;
        Self::bind_first(address, mode).await?.listen()
    }

    /// Binds `address` for this many threads. Over TCP each gets a socket of its own, and the kernel spreads the connections over
    /// them (`SO_REUSEPORT`, socket(7)): threads waiting on one socket would wake each other for nothing. A Unix socket is one, and
    /// its file gets this `mode`.
    pub async fn bind_for(
        address: &ListenAddress,
        mode: u32,
        threads: usize,
    ) -> io::Result<Vec<Self>> {
        // The first is bound without the option, so that an address that another process has is an error even if that shares it.
        let first = Self::bind_first(address, mode).await?;
        let mut listeners = Vec::new();
        if let Self::Tcp(socket) = &first
            && threads > 1
            && SockRef::from(socket).set_reuse_port(true).is_ok()
        {
            let address = socket.local_addr()?; // with the port that was chosen, if 0 was asked for
            for _ in 1..threads {
                listeners.push(Self::Tcp(bind_tcp(address, true)?));
            }
        }
        listeners.insert(0, first);
        listeners.into_iter().map(Self::listen).collect()
    }

    async fn bind_first(address: &ListenAddress, mode: u32) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(address) => bind_tcp(*address, false).map(Self::Tcp),
            ListenAddress::Unix(path) => {
                let (socket, file) = socket_file::bind(path, mode, BACKLOG).await?;
                Ok(Self::Unix(file, socket))
            }
        }
    }

    /// Starts to listen; connections wait until they are accepted.
    fn listen(self) -> io::Result<Self> {
        match &self {
            Self::Tcp(socket) => SockRef::from(socket).listen(BACKLOG)?,
            Self::Unix(..) => {} // it does already
        }
        Ok(self)
    }

    /// The address as bound: with the port that was chosen, if 0 was asked for.
    pub fn address(&self) -> io::Result<ListenAddress> {
        match self {
            Self::Tcp(socket) => socket.local_addr().map(ListenAddress::Tcp),
            Self::Unix(file, _) => Ok(ListenAddress::Unix(file.path().to_owned())),
        }
    }

    /// A waiting connection, or a `WouldBlock` error if there is none.
    pub(super) fn accept_now(&self) -> io::Result<Detached> {
        match self {
            Self::Tcp(socket) => {
                let (stream, peer) = socket.accept()?;
                stream.set_nonblocking(true)?;
                Ok(Detached::Tcp(stream, peer))
            }
            Self::Unix(_, socket) => {
                let (stream, _) = socket.accept()?;
                stream.set_nonblocking(true)?;
                Ok(Detached::Unix(stream))
            }
        }
    }

    /// Accepts connections, which the log calls `what`, on this thread.
    pub fn accepting(self, what: &'static str, shortage: Arc<Shortage>) -> io::Result<Accepting> {
        Accepting::new(self, what, shortage)
    }
}

/// A bound socket that does not listen yet.
fn bind_tcp(address: SocketAddr, shares: bool) -> io::Result<std::net::TcpListener> {
    let domain = Domain::for_address(address);
    let socket = socket2::Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Connections of the process before this one may still linger.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shares)?;
    socket.bind(&address.into())?;
    socket::set_up(&SockRef::from(&socket))?; // for all that it accepts: they inherit it
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::testing::{address_of, any_port};

    #[tokio::test]
    async fn an_address_with_several_sockets_is_still_an_address_of_ones_own() {
        let listeners = Listener::bind_for(&any_port(), 0, 3).await.unwrap();
        let address = address_of(&listeners[0]);
        assert_eq!(
            listeners.iter().map(address_of).collect::<Vec<_>>(),
            [address; 3]
        );
        for threads in [1, 3] {
            let again = Listener::bind_for(&ListenAddress::Tcp(address), 0, threads).await;
            assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        }
    }
}
