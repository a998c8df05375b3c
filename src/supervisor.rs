//! Telling the service manager how far we are, in systemd's way (`sd_notify(3)`): a datagram to the socket that `NOTIFY_SOCKET` names.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The service manager that started the process and waits for notifications; none if `NOTIFY_SOCKET` is not set.
#[derive(Debug)]
pub struct Supervisor(Option<Connection>);

/// Where the news goes.
#[derive(Debug)]
struct Connection {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Supervisor {
    /// The service manager at `socket`, the value of `NOTIFY_SOCKET`: a path, or an abstract name after an `@`.
    ///
    /// One that cannot be reached is logged and counts as none: it is no reason not to serve.
    pub fn new(socket: Option<&OsStr>) -> Self {
        let name = socket.filter(|name| !name.is_empty());
        let connection = name.map(Connection::new).transpose();
        Self(connection.unwrap_or_else(|error| {
            warn(&error);
            None
        }))
    }

    /// No service manager.
    pub fn none() -> Self {
        Self(None)
    }

    /// Every address is bound, and connections are accepted.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// The process has begun to stop, and is done after `longest` at the latest: without a word about that it would be killed
    /// when the unit's `TimeoutStopSec` is over.
    pub fn stopping(&self, longest: Duration) {
        let longest = longest.as_micros();
        self.tell(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={longest}"));
    }

    fn tell(&self, news: &str) {
        let Self(Some(Connection { socket, address })) = self else {
            return;
        };
        if let Err(error) = socket.send_to_addr(news.as_bytes(), address) {
            warn(&error);
        }
    }
}

impl Connection {
    fn new(name: &OsStr) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        // A manager that reads nothing must not hold up a proxy.
        socket.set_nonblocking(true)?;
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(name)?,
        };
        Ok(Self { socket, address })
    }
}

fn warn(error: &io::Error) {
    tracing::warn!(
        error = error as &dyn std::error::Error,
        "cannot notify the service manager at `NOTIFY_SOCKET`"
    );
}
