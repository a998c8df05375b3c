//! The socket under an HTTP/2 connection.
//!
//! h2 writes a frame at a time and flushes after each. What it writes in one poll is gathered here and leaves in one write, and so
//! in one TLS record, once the connection's task calls [`Wire::poll_send`].

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::socket::{Socket, Stall};

/// The most bytes that are gathered; the rest waits in its streams.
const GATHERED: usize = 64 * 1024;

/// A socket, and the bytes to be written to it.
#[derive(Debug)]
pub struct Wire {
    socket: Socket,
    /// Bytes that were read to detect the protocol.
    unread: RefCell<Vec<u8>>,
    gathered: RefCell<Vec<u8>>,
    stall: Stall,
    last_read: Cell<Instant>,
}

/// h2's side of a [`Wire`].
#[derive(Debug)]
pub struct Io(Rc<Wire>);

impl Wire {
    /// The wire of `socket`, of which `unread` has been read already.
    pub fn new(socket: Socket, unread: Vec<u8>) -> Rc<Self> {
        Rc::new(Self {
            socket,
            unread: RefCell::new(unread),
            gathered: RefCell::default(),
            stall: Stall::default(),
            last_read: Cell::new(Instant::now()),
        })
    }

    /// h2's side of it; there is one.
    pub fn io(self: &Rc<Self>) -> Io {
        Io(self.clone())
    }

    /// The socket.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Whether the peer accepts what is written.
    pub fn stall(&self) -> &Stall {
        &self.stall
    }

    /// When the peer was last heard of.
    pub fn last_read(&self) -> Instant {
        self.last_read.get()
    }

    /// Writes what was gathered. To be called after each poll of h2.
    pub fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = self.poll_write_gathered(cx);
        if sent.is_pending() {
            self.stall.note(Poll::Pending);
        }
        sent
    }

    /// Writes what was gathered and closes the connection so that the peer can read it.
    pub async fn finish(&self) {
        let last = self.gathered.take();
        self.socket.finish(&last).await;
    }

    fn poll_write_gathered(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.gathered.borrow_mut();
        while !gathered.is_empty() {
            let written = ready!(
                self.socket
                    .poll_write_shared(cx, &[IoSlice::new(&gathered)])
            )?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.stall.note(Poll::Ready(written));
            gathered.drain(..written);
        }
        *gathered = Vec::new(); // a silent connection holds nothing
        self.socket.poll_flush_shared(cx)
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = &self.0;
        let mut unread = wire.unread.borrow_mut();
        if unread.is_empty() {
            ready!(wire.socket.poll_read_shared(cx, buf))?;
            wire.last_read.set(Instant::now());
            return Poll::Ready(Ok(()));
        }
        let length = unread.len().min(buf.remaining());
        buf.put_slice(&unread[..length]);
        unread.drain(..length);
        if unread.is_empty() {
            *unread = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.0.gathered.borrow().len() >= GATHERED {
            ready!(self.0.poll_send(cx))?;
        }
        self.0.gathered.borrow_mut().extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    /// Gathered bytes are not written yet: see [`Wire::poll_send`].
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.poll_send(cx))?;
        self.0.socket.poll_shutdown_shared(cx)
    }
}
