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
    /// The upstream closes it after so long between two requests, as far as is known.
    pub idle_limit: Duration,
    /// Somebody has logged in on it, or was asked to: it is one client's alone.
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

    /// Whether the upstream has said nothing since the last response: what it would say is that it closes the connection.
    pub fn is_quiet(&self) -> bool {
        self.socket.is_quiet()
    }

    /// Reads what is there. Where nobody else has the socket, a read that does not fill `buf` is known to have been the last: to read
    /// shared is to ask the kernel once more for each event.
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
