//! Binding the addresses that connections come to.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::{Domain, Protocol, SockRef, Type};
use tokio::net::UnixStream;

use super::accept::{Accepting, Departed, Shortage};
use crate::config::ListenAddress;
use crate::socket;

/// How many connections may wait to be accepted, at each socket.
const BACKLOG: i32 = 1024;

/// A bound address, for whichever thread is going to accept.
#[derive(Debug)]
pub enum Listener {
    /// On TCP.
    Tcp(std::net::TcpListener),
    /// On a Unix socket, whose file is removed at the end.
    Unix(std::os::unix::net::UnixListener, SocketFile),
}

/// The file of a Unix socket, removed on drop.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Listener {
    /// Binds `address` once.
    pub async fn bind(address: &ListenAddress) -> io::Result<Self> {
        Self::bind_first(address).await?.listen()
    }

    /// Binds `address` for so many threads. Over TCP each gets a socket of its own, and the kernel spreads the connections over
    /// them (`SO_REUSEPORT`, socket(7)): all threads waiting at one would wake each other for nothing. A Unix socket is one.
    pub async fn bind_for(address: &ListenAddress, threads: usize) -> io::Result<Vec<Self>> {
        // The first is bound without the option, so that an address that another process has is an error even if that shares it.
        let first = Self::bind_first(address).await?;
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

    async fn bind_first(address: &ListenAddress) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(address) => bind_tcp(*address, false).map(Self::Tcp),
            ListenAddress::Unix(path) => {
                remove_stale(path).await?;
                let socket = std::os::unix::net::UnixListener::bind(path)?;
                socket.set_nonblocking(true)?;
                Ok(Self::Unix(socket, SocketFile(path.clone())))
            }
        }
    }

    /// Lets connections in; they wait until they are accepted.
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
            Self::Unix(_, file) => Ok(ListenAddress::Unix(file.0.clone())),
        }
    }

    /// A connection that waits; otherwise an error that says that there is none.
    pub(super) fn accept_now(&self) -> io::Result<Departed> {
        match self {
            Self::Tcp(socket) => {
                let (stream, peer) = socket.accept()?;
                stream.set_nonblocking(true)?;
                Ok(Departed::Tcp(stream, peer))
            }
            Self::Unix(socket, _) => {
                let (stream, _) = socket.accept()?;
                stream.set_nonblocking(true)?;
                Ok(Departed::Unix(stream))
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
    use crate::server::testing::{address_of, any_port};

    #[tokio::test]
    async fn an_address_with_several_sockets_is_still_an_address_of_ones_own() {
        let listeners = Listener::bind_for(&any_port(), 3).await.unwrap();
        let address = address_of(&listeners[0]);
        assert_eq!(
            listeners.iter().map(address_of).collect::<Vec<_>>(),
            [address; 3]
        );
        for threads in [1, 3] {
            let again = Listener::bind_for(&ListenAddress::Tcp(address), threads).await;
            assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        }
    }
}
