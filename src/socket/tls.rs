//! TLS over a socket: rustls between the plain bytes and those on the wire.
//!
//! tokio-rustls performs the handshake. Afterwards reading, writing and waiting for the peer's disconnect all go through `&self`
//! and on one thread, so the session is in a `RefCell` that is never borrowed across a wait.

use std::cell::RefCell;
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, Connection, ConnectionCommon, ServerConfig};
use tokio::io::{Interest, ReadBuf};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::Socket;

/// What rustls may hold of what the socket does not take, in bytes: little, so that a peer that stalls is soon felt.
const BUFFER: usize = 16 * 1024;

/// A socket and the TLS session on it.
#[derive(Debug)]
pub struct TlsSocket {
    socket: Socket,
    session: RefCell<Connection>,
}

impl TlsSocket {
    /// Shakes hands as a server.
    pub(super) async fn accept(socket: Socket, config: Arc<ServerConfig>) -> io::Result<Self> {
        let shaking = TlsAcceptor::from(config).accept_with(socket, |session| limit(session));
        let (socket, session) = shaking.await?.into_inner();
        Ok(Self::new(socket, session.into()))
    }

    /// Shakes hands as a client that expects the server to be `name`.
    pub(super) async fn connect(
        socket: Socket,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let connector = TlsConnector::from(config);
        let shaking = connector.connect_with(name, socket, |session| limit(session));
        let (socket, session) = shaking.await?.into_inner();
        Ok(Self::new(socket, session.into()))
    }

    fn new(socket: Socket, session: Connection) -> Self {
        let session = RefCell::new(session);
        Self { socket, session }
    }

    /// The socket below.
    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The protocol that both sides agreed on.
    pub(super) fn alpn_protocol(&self) -> Option<Vec<u8>> {
        self.session.borrow().alpn_protocol().map(<[u8]>::to_vec)
    }

    /// The certificates that the peer has shown.
    pub(super) fn peer_certificates(&self) -> Vec<Vec<u8>> {
        let session = self.session.borrow();
        let shown = session.peer_certificates().unwrap_or_default();
        shown.iter().map(|one| one.to_vec()).collect()
    }

    /// Waits until the peer has sent FIN, RST or `close_notify`; the last of these also alone, as peers do that wait for ours.
    pub(super) async fn closed(&self) {
        let mut closed = pin!(self.socket.until_closed());
        std::future::poll_fn(|cx| {
            if closed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let mut session = self.session.borrow_mut();
            while session.wants_read() {
                if !matches!(ready!(self.poll_receive(&mut session, cx)), Ok(1..)) {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref(); // what came is for the reader
            }
            match session.reader().fill_buf() {
                Ok([]) => Poll::Ready(()),
                Ok(_) | Err(_) => Poll::Pending, // unread bytes: more is not taken from the kernel
            }
        })
        .await;
    }

    /// False only as long as [`closed`](Self::closed) has nothing new to see.
    pub(super) fn may_be_closed(&self) -> bool {
        !self.session.borrow().wants_read() || self.socket.is_ready(Interest::READABLE)
    }

    /// Decrypts what has arrived. An end without `close_notify`, which anyone on the way could have forged, is `UnexpectedEof`.
    pub(super) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut session = self.session.borrow_mut();
        loop {
            let mut reader = session.reader();
            match reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => {
                    // Copied, and not read: for that the whole of `buf` would have to be zeroed first.
                    let received = received?;
                    let length = received.len().min(buf.remaining());
                    buf.put_slice(&received[..length]);
                    reader.consume(length);
                    return Poll::Ready(Ok(()));
                }
            }
            ready!(self.poll_receive(&mut session, cx))?;
        }
    }

    /// Takes bytes when everything that was taken before is sent. They are sent by the next write or flush.
    pub(super) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut session = self.session.borrow_mut();
        ready!(self.poll_send(&mut session, cx))?;
        Poll::Ready(session.writer().write_vectored(bufs))
    }

    /// Sends what waits.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(&mut self.session.borrow_mut(), cx)
    }

    /// Sends what waits, and `close_notify`.
    pub(super) fn poll_close(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut session = self.session.borrow_mut();
        session.send_close_notify(); // the first time; it does nothing then
        self.poll_send(&mut session, cx)
    }

    fn poll_send(&self, session: &mut Connection, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = TlsIo {
            socket: &self.socket,
            cx,
        };
        while session.wants_write() {
            match session.write_tls(&mut wire) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads from the wire once and decrypts it. 0 is its end.
    fn poll_receive(
        &self,
        session: &mut Connection,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut wire = TlsIo {
            socket: &self.socket,
            cx,
        };
        let received = match session.read_tls(&mut wire) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            received => received?,
        };
        if let Err(error) = session.process_new_packets() {
            let _ = self.poll_send(session, cx); // the alert that says why, if the socket takes it
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        Poll::Ready(Ok(received))
    }
}

fn limit<Data>(session: &mut ConnectionCommon<Data>) {
    session.set_buffer_limit(Some(BUFFER));
}

/// The socket as rustls needs it, during one poll.
struct TlsIo<'a, 'b> {
    socket: &'a Socket,
    cx: &'a mut Context<'b>,
}

impl Read for TlsIo<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        or_would_block(self.socket.poll_read_shared(self.cx, &mut buf))?;
        Ok(buf.filled().len())
    }
}

impl Write for TlsIo<'_, '_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        or_would_block(self.socket.poll_write_shared(self.cx, bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn or_would_block<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Wake, Waker};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use crate::socket::testing::{fill, tls_pair};

    use super::*;

    #[tokio::test]
    async fn what_waits_is_flushed() {
        let (mut near, mut far) = tls_pair().await;
        let written = fill(&mut near).await;
        let mut seen = vec![0; written];
        let (flushed, read) = tokio::join!(near.flush(), far.read_exact(&mut seen));
        flushed.unwrap();
        assert_eq!(read.unwrap(), written);
    }

    #[tokio::test]
    async fn what_waits_comes_before_the_end() {
        let (mut near, mut far) = tls_pair().await;
        let written = fill(&mut near).await;
        let mut seen = Vec::new();
        let (ended, read) = tokio::join!(near.shutdown(), far.read_to_end(&mut seen));
        ended.unwrap();
        assert_eq!(read.unwrap(), written, "with `close_notify`");
    }

    #[tokio::test]
    async fn an_end_without_close_notify_is_seen_after_what_came_before() {
        let (mut near, mut far) = tls_pair().await;
        near.write_all(b"last words").await.unwrap();
        near.flush().await.unwrap();
        drop(near);
        let mut seen = Vec::new();
        let error = far.read_to_end(&mut seen).await.unwrap_err();
        assert_eq!(seen, b"last words");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn waiting_for_the_end_takes_no_byte_from_the_reader() {
        let (near, mut far) = tls_pair().await;
        far.write_all(b"a word").await.unwrap();
        far.flush().await.unwrap();
        tokio::task::yield_now().await; // for the runtime to see it
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = Waker::from(woken.clone());
        let mut closed = pin!(near.closed());
        assert!(
            closed
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        assert!(woken.0.load(Ordering::Relaxed), "the reader is told");
        let mut seen = [0; 6];
        let mut buf = ReadBuf::new(&mut seen);
        let read = near.poll_read_shared(&mut Context::from_waker(&waker), &mut buf);
        assert!(matches!(read, Poll::Ready(Ok(()))));
        assert_eq!(buf.filled(), b"a word");
        drop(far);
        closed.await;
    }

    #[tokio::test]
    async fn close_notify_alone_is_seen_beside_a_reader_that_has_read_everything() {
        let (near, mut far) = tls_pair().await;
        let mut closed = pin!(near.closed());
        far.write_all(b"a word").await.unwrap();
        far.flush().await.unwrap();
        let mut seen = [0; 6];
        let mut buf = ReadBuf::new(&mut seen);
        std::future::poll_fn(|cx| {
            assert!(closed.as_mut().poll(cx).is_pending());
            near.poll_read_shared(cx, &mut buf)
        })
        .await
        .unwrap();
        assert_eq!(buf.filled(), b"a word");
        std::future::poll_fn(|cx| {
            let mut more = [0];
            let read = near.poll_read_shared(cx, &mut ReadBuf::new(&mut more));
            assert!(read.is_pending() && closed.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        let Socket::Tls(far) = far else {
            unreachable!("it is one of a pair over TLS");
        };
        std::future::poll_fn(|cx| far.poll_close(cx)).await.unwrap();
        closed.await;
    }
}
