//! A connection between two requests.

use std::fmt;
use std::rc::Rc;

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
        }
    }

    /// Whether the upstream has said nothing since the last response: what it would say is that it closes the connection.
    pub fn is_quiet(&self) -> bool {
        self.socket.is_quiet()
    }

    /// Its socket.
    pub fn socket(&self) -> &Rc<Socket> {
        &self.socket
    }
}
