//! A connection between two requests.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};

use crate::alarm::Alarm;
use crate::socket::Socket;

/// A connection to an upstream, which one request has at a time. It closes when it is dropped, and with it whatever still uses its
/// socket.
#[derive(Debug)]
pub struct Connection {
    pub(super) socket: Rc<Socket>,
    /// Of the `response_head` timeout: it stays with the connection, since the next request only has to move it.
    pub alarm: Alarm,
    /// A request was answered on it before.
    pub is_reused: bool,
    /// How long the upstream keeps it open between two requests, as far as is known.
    pub idle_limit: Duration,
    /// A client has authenticated on it, or was asked to: it is that client's alone.
    pub is_login: bool,
}

/// Who gets a connection when a response on it has ended.
pub trait Keeper: fmt::Debug {
    /// Keeps `connection` for another request, or closes it.
    fn keep(self: Rc<Self>, connection: Connection);
}

impl Connection {
    /// A new one.
    pub fn new(socket: Socket) -> Self {
        Self {
            socket: Rc::new(socket),
            alarm: Alarm::default(),
            is_reused: false,
            idle_limit: Duration::MAX,
            is_login: false,
        }
    }

    /// Whether the upstream has sent nothing since the last response; anything would mean that it closes the connection.
    pub fn is_quiet(&self) -> bool {
        self.socket.is_quiet()
    }

    /// Reads what has arrived. If the socket is not shared, a read that does not fill `buf` is known to be the last; a shared read
    /// asks the kernel once more for each event.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Rc::get_mut(&mut self.socket) {
            Some(socket) => Pin::new(socket).poll_read(cx, buf),
            None => self.socket.poll_read_shared(cx, buf),
        }
    }

    /// Its socket.
    pub fn socket(&self) -> &Rc<Socket> {
        &self.socket
    }
}
