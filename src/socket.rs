//! A stream socket, TCP or Unix: what the proxy asks of one, whichever it is.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connected stream socket.
#[derive(Debug)]
pub enum Socket {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

/// How long a peer that sends nothing is believed to be there before the kernel probes it: it may have vanished without a packet.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

impl Socket {
    /// A TCP connection, set up as event streams need it: every write leaves at once, and a vanished peer is noticed.
    pub fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_IDLE))?;
        Ok(Self::Tcp(stream))
    }

    /// How long written bytes may stay unacknowledged before the kernel gives the connection up (`TCP_USER_TIMEOUT`).
    pub fn set_user_timeout(&self, timeout: Option<Duration>) {
        if let Self::Tcp(stream) = self {
            // Only a help to the `write` clock, which runs in any case.
            let _ = SockRef::from(stream).set_tcp_user_timeout(timeout);
        }
    }

    /// Closing will then send RST: for a client whose protocol version has no other sign that a body was cut.
    pub fn reset_on_close(&self) {
        let linger = Some(Duration::ZERO);
        let _ = match self {
            Self::Tcp(stream) => SockRef::from(stream).set_linger(linger),
            Self::Unix(stream) => SockRef::from(stream).set_linger(linger),
        };
    }

    /// Sends FIN.
    pub fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => SockRef::from(stream).shutdown(std::net::Shutdown::Write),
            Self::Unix(stream) => SockRef::from(stream).shutdown(std::net::Shutdown::Write),
        }
    }

    /// Waits until the peer has sent FIN or RST, however many unread bytes lie before it.
    ///
    /// A read would stop at those bytes. epoll's EPOLLRDHUP does not, and tokio shows it to whoever waits for
    /// `Interest::PRIORITY`, which readable data does not wake.
    pub async fn closed(&self) {
        let ready = match self {
            Self::Tcp(stream) => stream.ready(Interest::PRIORITY).await,
            Self::Unix(stream) => stream.ready(Interest::PRIORITY).await,
        };
        if ready.is_ok_and(|ready| !ready.is_read_closed()) {
            // Urgent data, which nobody here asked for: the reads will see the end then.
            std::future::pending::<()>().await;
        }
    }

    /// Reads what is there, without the socket being borrowed mutably.
    pub fn poll_read_shared(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let ready = match self {
                Self::Tcp(stream) => stream.poll_read_ready(cx),
                Self::Unix(stream) => stream.poll_read_ready(cx),
            };
            std::task::ready!(ready)?;
            let read = match self {
                Self::Tcp(stream) => stream.try_read_buf(buf),
                Self::Unix(stream) => stream.try_read_buf(buf),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(|_| ())),
            }
        }
    }

    /// Writes what the socket takes, without it being borrowed mutably.
    pub fn poll_write_shared(
        &self,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            let ready = match self {
                Self::Tcp(stream) => stream.poll_write_ready(cx),
                Self::Unix(stream) => stream.poll_write_ready(cx),
            };
            std::task::ready!(ready)?;
            match self.try_write(bufs) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    /// Writes what the socket takes at this moment.
    pub fn try_write(&self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match (self, bufs) {
            (Self::Tcp(stream), [buf]) => stream.try_write(buf),
            (Self::Tcp(stream), bufs) => stream.try_write_vectored(bufs),
            (Self::Unix(stream), [buf]) => stream.try_write(buf),
            (Self::Unix(stream), bufs) => stream.try_write_vectored(bufs),
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
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shutdown_write())
    }
}
