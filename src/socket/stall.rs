//! Whether a peer accepts what is written to it.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use super::Socket;

/// Since when a peer has acknowledged none of the bytes that wait for it.
///
/// Whether its socket takes more says little. It does so while the kernel has room, also for a peer that has vanished; and once full it
/// does so again only when tens of kilobytes have left it, for which a slow reader may need minutes. `TCP_USER_TIMEOUT` is no help: of a
/// peer that reads a little now and then the kernel counts from the first probe of its full window. So the kernel is asked now and then
/// how much of what was written is not acknowledged yet.
#[derive(Debug, Default)]
pub struct Stall {
    /// The socket accepts no more.
    is_full: Cell<bool>,
    /// How many bytes were written since the last look.
    written: Cell<usize>,
    waiting: Cell<Option<Waiting>>,
    /// When to check next, and for which timeout that was computed: it is needed at each event.
    next_look: Cell<Option<(Instant, Duration)>>,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    /// When the peer last acknowledged something, as far as is known; or since when bytes have been waiting.
    since: Instant,
    /// When that was last looked at, and how many bytes waited then.
    seen: Instant,
    queued: usize,
}

/// A peer's kernel may acknowledge the last bytes that it has room for a moment after the socket is full. So that is looked at soon, then
/// after ever longer pauses,
const FIRST_LOOK: Duration = Duration::from_millis(10);
/// and so often, at the least, within the time that the peer has: it may get so much more of it.
const LOOKS: u32 = 4;

impl Stall {
    /// Notes a write, or the attempt.
    #[inline]
    pub fn note(&self, written: Poll<usize>) {
        let is_full = written.is_pending();
        if self.is_full.replace(is_full) != is_full {
            self.next_look.set(None);
        }
        match written {
            Poll::Ready(0) => return,
            Poll::Ready(length) => self.written.set(self.written.get() + length),
            Poll::Pending => {}
        }
        if self.waiting.get().is_none() {
            self.begin();
        }
    }

    #[cold]
    fn begin(&self) {
        let now = Instant::now();
        self.waiting.set(Some(Waiting {
            since: now,
            seen: now,
            queued: 0,
        }));
    }

    /// Whether the socket accepts no more.
    pub fn is_full(&self) -> bool {
        self.is_full.get()
    }

    /// When to check the peer again, if it has to accept a byte within `timeout`.
    #[inline]
    pub fn due(&self, timeout: Option<Duration>) -> Option<Instant> {
        match (self.next_look.get(), timeout) {
            (Some((look, reckoned_for)), Some(timeout)) if reckoned_for == timeout => Some(look),
            _ => self.reckon(timeout),
        }
    }

    fn reckon(&self, timeout: Option<Duration>) -> Option<Instant> {
        let (waiting, timeout) = (self.waiting.get()?, timeout?);
        let mut pause = timeout / LOOKS;
        if self.is_full.get() {
            pause = pause.min(waiting.seen.duration_since(waiting.since).max(FIRST_LOOK));
        }
        let look = waiting.seen.checked_add(pause)?;
        let look = look.min(waiting.since.checked_add(timeout)?);
        self.next_look.set(Some((look, timeout)));
        Some(look)
    }

    /// Looks at the peer: whether it has taken nothing for as long as `timeout`.
    pub fn has_lasted(&self, socket: &Socket, timeout: Option<Duration>) -> bool {
        let (Some(waiting), Some(timeout)) = (self.waiting.get(), timeout) else {
            return false;
        };
        self.next_look.set(None);
        let now = Instant::now();
        let queued = socket.unacknowledged().unwrap_or_default();
        // What TLS adds is not in `written`: so little is no progress yet.
        let has_taken = queued < waiting.queued + self.written.take();
        let since = if has_taken { now } else { waiting.since };
        let is_over = queued == 0 && !self.is_full.get();
        self.waiting.set((!is_over).then_some(Waiting {
            since,
            seen: now,
            queued,
        }));
        !is_over
            && now.duration_since(since) >= timeout
            && (self.is_full.get() || socket.is_unanswered())
    }
}

/// Whether the kernel has probed the peer of a TCP socket without a response: an acknowledgement may also just be late.
pub(super) fn is_unanswered(socket: BorrowedFd<'_>) -> bool {
    let mut info = [0_u8; 8]; // the beginning of `tcp_info`: the kernel fills as much as there is room for
    let mut length: libc::socklen_t = 8;
    // SAFETY: TCP_INFO (tcp(7)) writes at most `length` bytes to `info`, and the length to `length`. The descriptor is open, since
    // it is borrowed.
    #[expect(unsafe_code, reason = "as below")]
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let [_state, _ca_state, retransmits, probes, backoff, ..] = info;
    result == 0 && (retransmits > 0 || probes > 0 || backoff > 0)
}

/// What a write, or an attempt at one, shows about the peer; a failed one is handled elsewhere.
pub fn taken(written: &Poll<io::Result<usize>>) -> Poll<usize> {
    match written {
        Poll::Ready(Ok(length)) => Poll::Ready(*length),
        Poll::Ready(Err(_)) => Poll::Ready(0),
        Poll::Pending => Poll::Pending,
    }
}

/// The same of flushing.
pub fn flushed(flushed: &Poll<io::Result<()>>) -> Poll<usize> {
    if flushed.is_pending() {
        Poll::Pending
    } else {
        Poll::Ready(0)
    }
}

/// How many of the bytes written to a socket its peer has not acknowledged; over a Unix socket, not read.
#[expect(
    unsafe_code,
    reason = "no crate that is well kept has a safe function for it"
)]
pub(super) fn unacknowledged(socket: BorrowedFd<'_>) -> Option<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: for a socket, TIOCOUTQ (SIOCOUTQ, tcp(7)) writes one int to `bytes`. The descriptor is open, since it is borrowed.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    usize::try_from(bytes).ok().filter(|_| result == 0)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;

    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const TIMEOUT: Option<Duration> = Some(Duration::from_secs(8));

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_is_not_stalled() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        far.set_recv_buffer_size(4096).unwrap();
        far.connect(&listener.local_addr().unwrap().into()).unwrap();
        let mut far = std::net::TcpStream::from(far);
        let (stream, _) = listener.accept().await.unwrap();
        let socket = Socket::tcp(stream).unwrap();
        let stall = Stall::default();
        let block = [0; 16 * 1024];
        let fill = || {
            let Socket::Tcp(stream) = &socket else {
                unreachable!()
            };
            while let Ok(written) = stream.try_write(&block) {
                stall.note(Poll::Ready(written));
            }
            stall.note(Poll::Pending);
        };
        fill();
        assert!(stall.is_full());
        // It reads a little now and then: never so much that the socket would take more.
        for _ in 0..10 {
            stall.has_lasted(&socket, TIMEOUT);
            let before = socket.unacknowledged();
            far.read_exact(&mut [0; 8192]).unwrap();
            while socket.unacknowledged() == before {
                std::thread::yield_now(); // the kernel has it from the other side any moment
            }
            tokio::time::advance(Duration::from_secs(7)).await;
            assert!(!stall.has_lasted(&socket, TIMEOUT));
        }
        // And then no more.
        let last = Instant::now();
        while !stall.has_lasted(&socket, TIMEOUT) {
            tokio::time::sleep_until(stall.due(TIMEOUT).unwrap()).await;
        }
        assert_eq!(last.elapsed().as_secs(), 8);
        assert!(!stall.has_lasted(&socket, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_everything_is_left_alone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap());
        let (_peer, near) = tokio::join!(listener.accept(), connected);
        let socket = Socket::tcp(near.unwrap()).unwrap();
        let Socket::Tcp(stream) = &socket else {
            unreachable!()
        };
        let stall = Stall::default();
        assert_eq!(stall.due(TIMEOUT), None);
        for _ in 0..3 {
            let written = stream.try_write(b"data: x\n\n").unwrap();
            stall.note(Poll::Ready(written));
            // Others may be written meanwhile: one look is for all of them.
            let due = stall.due(TIMEOUT).unwrap();
            assert_eq!((due - Instant::now()).as_secs(), 2);
            while socket.unacknowledged() != Some(0) {
                std::thread::yield_now();
            }
            tokio::time::sleep_until(due).await;
            assert!(!stall.has_lasted(&socket, TIMEOUT));
            assert_eq!(stall.due(TIMEOUT), None);
        }
    }

    #[tokio::test]
    async fn what_is_acknowledged_no_longer_counts() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap());
        let (peer, near) = tokio::join!(listener.accept(), connected);
        let mut near = near.unwrap();
        assert_eq!(unacknowledged(near.as_fd()), Some(0));
        near.write_all(b"hello").await.unwrap();
        let mut peer = peer.unwrap().0;
        tokio::io::AsyncReadExt::read_exact(&mut peer, &mut [0; 5])
            .await
            .unwrap();
        while unacknowledged(near.as_fd()) != Some(0) {
            tokio::task::yield_now().await;
        }
    }
}
