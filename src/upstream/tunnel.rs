//! An upstream's connection as a stream of bytes, once it has changed its protocol.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::socket::Socket;

/// A connection after its 101: the bytes that came with that, then the socket.
#[derive(Debug)]
pub struct Tunnel {
    socket: Rc<Socket>,
    rest: Bytes,
}

impl Tunnel {
    pub(super) fn new(socket: Rc<Socket>, rest: Bytes) -> Self {
        Self { socket, rest }
    }
}

impl Tunnel {
    /// The socket, and what came with the head.
    pub fn into_parts(self) -> (Rc<Socket>, Bytes) {
        (self.socket, self.rest)
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            return self.socket.poll_read_shared(cx, buf);
        }
        let length = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_write_shared(cx, &[IoSlice::new(buf)])
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_flush_shared(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_shutdown_shared(cx)
    }
}
