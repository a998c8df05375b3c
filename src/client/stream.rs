//! A client's connection as a stream of bytes, once hyper is done with it.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Client;
use crate::socket::{self, taken};

/// A connection after its last HTTP message: the bytes that came with that, then the socket.
#[derive(Debug)]
pub struct ClientStream {
    client: Rc<Client>,
    failed: Cell<bool>,
}

impl ClientStream {
    /// The rest of `client`'s connection; hyper must be done with it.
    pub fn new(client: Rc<Client>) -> Self {
        Self {
            client,
            failed: Cell::new(false),
        }
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether it was this side on which reading or writing failed.
    pub fn has_failed(&self) -> bool {
        self.failed.get()
    }

    /// Writes what the client takes.
    pub fn poll_write_shared(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.client.socket.poll_write_shared(cx, bufs);
        self.client.note_taken(taken(&written));
        self.note(written)
    }

    /// Sends what TLS holds back.
    pub fn poll_flush_shared(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.client.socket.poll_flush_shared(cx);
        self.client.note_taken(socket::flushed(&flushed));
        self.note(flushed)
    }

    fn note<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(_)) = &result {
            self.failed.set(true);
        }
        result
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.client.state.borrow_mut();
        let unread = state.unread();
        if unread.is_empty() {
            drop(state);
            return self.note(self.client.socket.poll_read_shared(cx, buf));
        }
        let length = unread.len().min(buf.remaining());
        buf.put_slice(&unread[..length]);
        unread.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_shared(cx, &[IoSlice::new(buf)])
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush_shared(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.client.socket.poll_shutdown_shared(cx)
    }
}
