//! A stream socket, TCP or Unix, with TLS or without: what the proxy needs of it.

mod stall;
#[cfg(test)]
pub(crate) mod testing;
mod tls;

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

pub use self::stall::{Stall, flushed, taken};
pub use self::tls::TlsSocket;
use crate::poll_cache::PollCache;

/// A connected stream socket.
#[derive(Debug)]
pub enum Socket {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
    /// With TLS over one of the others; boxed, so that those stay small.
    Tls(Box<TlsSocket>),
}

/// How long a peer may send nothing before the kernel probes it: it may have vanished without a packet.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(25);
/// How long it may take to answer a probe,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// and how many may be lost: so it is found after 40 s. The system's own values would take more than two hours.
const KEEPALIVE_PROBES: u32 = 3;

/// How long the socket of a finished connection is still read, so that the peer can read the last response.
const LINGER: Duration = Duration::from_secs(1);
/// And how many bytes are still read.
const LINGER_BYTES: usize = 1024 * 1024;

/// How many bytes the kernel takes beyond those that are on their way (`TCP_NOTSENT_LOWAT`): more would be accepted from a writer
/// only to wait there, up to megabytes for each peer that does not read.
const UNSENT: u32 = 128 * 1024;

/// Sets a TCP socket up as event streams need it: every write leaves at once, and a vanished peer is noticed. What a listener
/// that was set up accepts has inherited it.
pub fn set_up(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE);
    let keepalive = keepalive.with_interval(KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_PROBES))?;
    // Only a help: it keeps a peer that reads slowly from filling the kernel's memory.
    let _ = socket.set_tcp_notsent_lowat(UNSENT);
    Ok(())
}

impl Socket {
    /// A TCP connection, [set up](set_up).
    pub fn tcp(stream: TcpStream) -> io::Result<Self> {
        set_up(&SockRef::from(&stream))?;
        Ok(Self::Tcp(stream))
    }

    /// Waits for the first byte and returns it without consuming it. `None` if there is none to come, and on sockets that cannot be
    /// peeked.
    pub async fn first_byte(&self) -> Option<u8> {
        let Self::Tcp(stream) = self else {
            return None; // tokio cannot look into a Unix socket
        };
        let mut first = [0];
        let length = stream.peek(&mut first).await.ok()?;
        (length > 0).then_some(first[0])
    }

    /// Performs a TLS handshake as the server.
    pub async fn accept_tls(self, config: Arc<ServerConfig>) -> io::Result<Self> {
        let tls = Box::pin(TlsSocket::accept(self, config)).await?; // short-lived, and large
        Ok(Self::Tls(Box::new(tls)))
    }

    /// The certificates that the other side has shown, its own first, in DER.
    pub fn peer_certificates(&self) -> Vec<Vec<u8>> {
        match self {
            Self::Tls(tls) => tls.peer_certificates(),
            Self::Tcp(_) | Self::Unix(_) => Vec::new(),
        }
    }

    /// Performs a TLS handshake as the client, with a server that has to be `name`.
    pub async fn connect_tls(
        self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let tls = Box::pin(TlsSocket::connect(self, config, name)).await?;
        Ok(Self::Tls(Box::new(tls)))
    }

    /// Whether what passes is encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The protocol that both sides agreed on in the TLS handshake (ALPN, RFC 7301).
    pub fn alpn_protocol(&self) -> Option<Vec<u8>> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => None,
            Self::Tls(tls) => tls.alpn_protocol(),
        }
    }

    /// How long written bytes may stay unacknowledged before the kernel closes the connection (`TCP_USER_TIMEOUT`), where no
    /// [`Stall`] watches the peer. The kernel may mistake a slow reader for a dead one, so this should be long.
    pub fn set_user_timeout(&self, timeout: Option<Duration>) {
        match self {
            Self::Tcp(stream) => drop(SockRef::from(stream).set_tcp_user_timeout(timeout)), // only a help
            Self::Unix(_) => {}
            Self::Tls(tls) => tls.socket().set_user_timeout(timeout),
        }
    }

    /// How much of what was written the peer has not acknowledged.
    fn unacknowledged(&self) -> Option<usize> {
        match self {
            Self::Tcp(stream) => stall::unacknowledged(stream.as_fd()),
            Self::Unix(stream) => stall::unacknowledged(stream.as_fd()),
            Self::Tls(tls) => tls.socket().unacknowledged(),
        }
    }

    /// Whether the kernel has tried again to reach the peer, in vain so far.
    fn is_unanswered(&self) -> bool {
        match self {
            Self::Tcp(stream) => stall::is_unanswered(stream.as_fd()),
            Self::Unix(_) => false, // its peer is here
            Self::Tls(tls) => tls.socket().is_unanswered(),
        }
    }

    /// Closing will then send RST: for a client whose protocol version has no other sign that a body was cut.
    pub fn reset_on_close(&self) {
        let linger = Some(Duration::ZERO);
        let _ = match self {
            Self::Tcp(stream) => SockRef::from(stream).set_linger(linger),
            Self::Unix(stream) => SockRef::from(stream).set_linger(linger),
            Self::Tls(tls) => return tls.socket().reset_on_close(),
        };
    }

    /// Sends what waits, `close_notify` over TLS, and FIN. Without it the end of a TLS connection looks cut, as it may be meant to.
    pub fn poll_shutdown_shared(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match self {
            Self::Tcp(stream) => SockRef::from(stream).shutdown(Shutdown::Write),
            Self::Unix(stream) => SockRef::from(stream).shutdown(Shutdown::Write),
            Self::Tls(tls) => {
                ready!(tls.poll_close(cx))?;
                return tls.socket().poll_shutdown_shared(cx);
            }
        })
    }

    /// Writes `last`, and FIN, and continues to read for a moment. Closing at once would reset the connection of a peer that is
    /// still sending, and lose what it has not read yet.
    pub async fn finish(&self, last: &[u8]) {
        let talk = async {
            let mut rest = last;
            while !rest.is_empty() {
                let bufs = [io::IoSlice::new(rest)];
                let written = poll_fn(|cx| self.poll_write_shared(cx, &bufs)).await?;
                rest = &rest[written..];
            }
            poll_fn(|cx| self.poll_shutdown_shared(cx)).await?;
            self.drain().await
        };
        let _ = tokio::time::timeout(LINGER, talk).await;
    }

    async fn drain(&self) -> io::Result<()> {
        let mut scratch = vec![0; 16 * 1024];
        let mut left = LINGER_BYTES;
        while left > 0 {
            let mut buf = ReadBuf::new(&mut scratch);
            poll_fn(|cx| self.poll_read_shared(cx, &mut buf)).await?;
            match buf.filled().len() {
                0 => break,
                length => left = left.saturating_sub(length),
            }
        }
        Ok(())
    }

    /// Waits until the peer has sent FIN or RST, however many unread bytes precede it.
    ///
    /// It checks again only when something may have changed: its task wakes for each event of a stream.
    pub async fn closed(&self) {
        let mut closed = pin!(self.until_closed());
        let mut polled = PollCache::default();
        poll_fn(|cx| {
            if polled.has(cx) && !self.may_be_closed() {
                return Poll::Pending;
            }
            let answer = closed.as_mut().poll(cx);
            polled.note(cx, &answer);
            answer
        })
        .await;
    }

    /// A read would stop at unread bytes. epoll's EPOLLRDHUP does not, and tokio reports it to those who wait for
    /// `Interest::PRIORITY`, which readable data does not wake.
    async fn until_closed(&self) {
        let ready = match self {
            Self::Tcp(stream) => stream.ready(Interest::PRIORITY).await,
            Self::Unix(stream) => stream.ready(Interest::PRIORITY).await,
            Self::Tls(tls) => return Box::pin(tls.closed()).await,
        };
        if ready.is_ok_and(|ready| !ready.is_read_closed()) {
            // Urgent data, which is not used here: reads will see the end then.
            std::future::pending::<()>().await;
        }
    }

    /// False only as long as [`until_closed`](Self::until_closed) has nothing new to see.
    fn may_be_closed(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => self.is_ready(Interest::PRIORITY),
            Self::Tls(tls) => tls.may_be_closed(),
        }
    }

    /// Whether there is nothing to read, not even an end. This asks the kernel: epoll's last report may be outdated.
    pub fn is_quiet(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let seen = match self {
            Self::Tcp(stream) => SockRef::from(stream).peek(&mut byte),
            Self::Unix(stream) => SockRef::from(stream).peek(&mut byte),
            Self::Tls(tls) => {
                // TLS messages, such as tickets for a later session, are nothing to read.
                let mut cx = Context::from_waker(Waker::noop());
                let mut buf = ReadBuf::uninit(&mut byte);
                return tls.poll_read(&mut cx, &mut buf).is_pending() && tls.socket().is_quiet();
            }
        };
        seen.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether the kernel has shown that it is ready.
    fn is_ready(&self, interest: Interest) -> bool {
        match self {
            Self::Tcp(stream) => stream.try_io(interest, || Ok(())).is_ok(),
            Self::Unix(stream) => stream.try_io(interest, || Ok(())).is_ok(),
            Self::Tls(tls) => tls.socket().is_ready(interest),
        }
    }

    /// Reads what has arrived, without borrowing the socket mutably.
    pub fn poll_read_shared(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => once_ready(
                cx,
                |cx| stream.poll_read_ready(cx),
                || stream.try_read_buf(buf),
            ),
            Self::Unix(stream) => once_ready(
                cx,
                |cx| stream.poll_read_ready(cx),
                || stream.try_read_buf(buf),
            ),
            Self::Tls(tls) => return tls.poll_read(cx, buf),
        }
        .map_ok(|_| ())
    }

    /// Writes as much as the socket accepts, without borrowing it mutably. Over TLS some of it may be buffered: a writer with
    /// nothing more to write has to flush.
    pub fn poll_write_shared(
        &self,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => once_ready(
                cx,
                |cx| stream.poll_write_ready(cx),
                || match bufs {
                    [buf] => stream.try_write(buf),
                    bufs => stream.try_write_vectored(bufs),
                },
            ),
            Self::Unix(stream) => once_ready(
                cx,
                |cx| stream.poll_write_ready(cx),
                || match bufs {
                    [buf] => stream.try_write(buf),
                    bufs => stream.try_write_vectored(bufs),
                },
            ),
            Self::Tls(tls) => tls.poll_write(cx, bufs),
        }
    }

    /// Sends what was written and waits.
    pub fn poll_flush_shared(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => tls.poll_flush(cx),
        }
    }
}

/// Tries `io` when the socket is `ready`, which may turn out to be wrong.
fn once_ready<T>(
    cx: &mut Context<'_>,
    ready: impl Fn(&mut Context<'_>) -> Poll<io::Result<()>>,
    mut io: impl FnMut() -> io::Result<T>,
) -> Poll<io::Result<T>> {
    loop {
        ready!(ready(cx))?;
        match io() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(tls) => tls.poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(tls) => tls.poll_write(cx, &[io::IoSlice::new(buf)]),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(tls) => tls.poll_write(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush_shared(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_shutdown_shared(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_kernel_takes_little_for_a_peer_that_does_not_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap());
        let (peer, near) = tokio::join!(listener.accept(), connected);
        let mut near = Socket::tcp(near.unwrap()).unwrap();
        let peer = SockRef::from(&peer.as_ref().unwrap().0)
            .recv_buffer_size()
            .unwrap();
        let block = vec![0; 64 * 1024];
        let mut taken = 0;
        while let Ok(written) =
            tokio::time::timeout(Duration::from_millis(200), near.write(&block)).await
        {
            taken += written.unwrap();
        }
        // The peer's buffer may grow while it fills; ours would by megabytes.
        assert!(
            taken < 8 * peer + 1024 * 1024,
            "{taken} beside a buffer of {peer}"
        );
    }
}
