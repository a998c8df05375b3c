//! What hyper reads from and writes to in place of an upstream's socket.
//!
//! It lets hyper have a response's head and looks at it on the way. An ordinary response passes without a stop. Where the head
//! opens an event stream the gate stops after it, without the `Content-Length` that such a stream cannot mean: the stream's
//! bytes are then either read from the socket itself, hyper set aside, or the gate is opened.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::config::Detect;
use crate::socket::Socket;
use crate::wire::{ResponseHead, Spelling};

/// The longest response head that is looked at, in bytes: a longer one is left for hyper to refuse.
const HEAD_LIMIT: usize = 64 * 1024;
const READ_SIZE: usize = 8 * 1024;

/// An upstream's socket under hyper.
#[derive(Debug)]
pub(super) struct Gate {
    socket: Socket,
    shared: Rc<Latch>,
    /// What was read for the head: `served` of it is with hyper, `released` of it may be.
    buffer: Vec<u8>,
    served: usize,
    released: usize,
}

/// What the request's owner and the gate tell each other.
#[derive(Debug)]
pub(super) struct Latch {
    state: Cell<State>,
    /// What an event stream is for the request that is out.
    detect: Cell<Detect>,
    /// The request offers to change the protocol.
    upgrades: Cell<bool>,
    /// Whether a byte came since the request went out.
    answered: Cell<bool>,
    head: RefCell<Option<(ResponseHead, Spelling)>>,
    reader: RefCell<Option<Waker>>,
    /// Interim responses that the request's owner has not heard of yet, and the owner.
    interims: RefCell<VecDeque<(StatusCode, HeaderMap)>>,
    listener: RefCell<Option<Waker>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Everything passes.
    Open,
    /// A response's head is next.
    Head,
    /// A head that opens an event stream has passed.
    Held,
    /// hyper is to be set aside after such a head.
    Taken,
}

impl Latch {
    /// A request is about to be sent whose response is an event stream by `detect`, or may change the protocol.
    pub(super) fn expect_head(&self, detect: Detect, upgrades: bool) {
        self.detect.set(detect);
        self.upgrades.set(upgrades);
        self.answered.set(false);
        self.interims.borrow_mut().clear();
        self.state.set(State::Head);
    }

    /// Whether the upstream has sent a byte since the request went out.
    pub(super) fn has_answered(&self) -> bool {
        self.answered.get()
    }

    /// The head that the gate stopped after.
    pub(super) fn held_head(&self) -> Option<(ResponseHead, Spelling)> {
        self.head
            .borrow_mut()
            .take()
            .filter(|_| self.state.get() == State::Held)
    }

    /// The next interim response. Who gets none is woken when one comes.
    pub(super) fn take_interim(&self, cx: &Context<'_>) -> Option<(StatusCode, HeaderMap)> {
        let interim = self.interims.borrow_mut().pop_front();
        if interim.is_none() {
            *self.listener.borrow_mut() = Some(cx.waker().clone());
        }
        interim
    }

    fn note_interim(&self, status: u16, head: &[u8]) {
        let field = |(name, value): (&[u8], &[u8])| {
            let name = HeaderName::from_bytes(name).ok()?;
            Some((name, HeaderValue::from_bytes(value).ok()?))
        };
        let mut headers = HeaderMap::new();
        headers.extend(
            ResponseHead::fields(head)
                .filter_map(field)
                .map(|(name, value)| (Some(name), value)),
        );
        if let Ok(status) = StatusCode::from_u16(status) {
            self.interims.borrow_mut().push_back((status, headers));
        }
        if let Some(waker) = self.listener.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Lets the body of the held head pass.
    pub(super) fn open(&self) {
        self.leave(State::Open);
    }

    /// Asks the connection's task to set hyper aside and hand the gate back.
    pub(super) fn take(&self) {
        self.leave(State::Taken);
    }

    /// Whether the gate is to be handed back.
    pub(super) fn is_taken(&self) -> bool {
        self.state.get() == State::Taken
    }

    /// Whether the gate has stopped after a head: what follows is not hyper's.
    pub(super) fn is_shut(&self) -> bool {
        matches!(self.state.get(), State::Held | State::Taken)
    }

    fn leave(&self, state: State) {
        self.state.set(state);
        if let Some(waker) = self.reader.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl Gate {
    pub(super) fn new(socket: Socket) -> (Self, Rc<Latch>) {
        let shared = Rc::new(Latch {
            state: Cell::new(State::Open),
            detect: Cell::new(Detect::Never),
            upgrades: Cell::new(false),
            answered: Cell::new(false),
            head: RefCell::default(),
            reader: RefCell::default(),
            interims: RefCell::default(),
            listener: RefCell::default(),
        });
        (
            Self {
                socket,
                shared: shared.clone(),
                buffer: Vec::new(),
                served: 0,
                released: 0,
            },
            shared,
        )
    }

    /// The socket, and the first bytes of the body, which were read with the head.
    pub(super) fn into_parts(mut self) -> (Socket, Vec<u8>) {
        let rest = self.buffer.split_off(self.released); // a copy of its own size: streams are many and long
        (self.socket, rest)
    }

    /// Reads until it is known what may pass.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.shared.state.get() == State::Head && self.released == self.served {
            let mut space = [MaybeUninit::uninit(); READ_SIZE];
            let mut buf = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buf))?;
            self.buffer.extend_from_slice(buf.filled());
            if buf.filled().is_empty() {
                self.pass_all(); // the end of it, which hyper is to see
                break;
            }
            self.shared.answered.set(true);
            self.look();
        }
        Poll::Ready(Ok(()))
    }

    fn look(&mut self) {
        while self.shared.state.get() == State::Head {
            let rest = &self.buffer[self.released..];
            let is_http = b"HTTP/1."
                .iter()
                .zip(rest)
                .all(|(expected, seen)| expected == seen);
            if !is_http || rest.len() > HEAD_LIMIT {
                return self.pass_all(); // for hyper to refuse
            }
            let Some(length) = ResponseHead::end(rest) else {
                return;
            };
            let head = ResponseHead::read(&rest[..length]);
            match head.status {
                // "A client MUST be able to parse one or more 1xx responses received prior to a final response."
                100 | 102..200 => {
                    self.shared.note_interim(head.status, &rest[..length]);
                    self.released += length;
                }
                101 if self.shared.upgrades.get() => {
                    let spelling = Spelling::of(&rest[..length]);
                    self.released += length;
                    self.shared.head.replace(Some((head, spelling)));
                    self.shared.state.set(State::Held);
                }
                101 | 204 | 304 => self.pass_all(),
                status => {
                    let detect = self.shared.detect.get();
                    let is_event_stream = detect.is_event_stream(status, head.event_stream);
                    if !is_event_stream {
                        return self.pass_all();
                    }
                    let spelling = Spelling::of(&rest[..length]);
                    let edited = ResponseHead::without_length(&rest[..length]);
                    let start = self.released;
                    self.released += edited.len();
                    self.buffer[start..self.released].copy_from_slice(&edited);
                    self.buffer.drain(self.released..start + length);
                    self.shared.head.replace(Some((head, spelling)));
                    self.shared.state.set(State::Held);
                }
            }
        }
    }

    fn pass_all(&mut self) {
        self.released = self.buffer.len();
        self.shared.state.set(State::Open);
    }
}

impl AsyncRead for Gate {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let gate = &mut *self;
        ready!(gate.poll_head(cx))?;
        if gate.shared.state.get() == State::Open {
            gate.released = gate.buffer.len();
        }
        if gate.served < gate.released {
            let length = buf.remaining().min(gate.released - gate.served);
            buf.put_slice(&gate.buffer[gate.served..gate.served + length]);
            gate.served += length;
            return Poll::Ready(Ok(()));
        }
        if gate.shared.is_shut() {
            *gate.shared.reader.borrow_mut() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        gate.buffer = Vec::new();
        (gate.served, gate.released) = (0, 0);
        Pin::new(&mut gate.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Gate {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;
    use crate::socket::testing::{fill, tls_pair};

    const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 3\r\n\r\ndata: x\n\n";
    const EDITED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

    /// What passes of `input`, sent in two writes cut at `split`, and what is left behind the gate.
    async fn pass(
        input: &[u8],
        split: usize,
        detect: Detect,
    ) -> (Vec<u8>, Vec<u8>, Option<ResponseHead>) {
        let (near, mut far) = UnixStream::pair().unwrap();
        let (mut gate, latch) = Gate::new(Socket::Unix(near));
        latch.expect_head(detect, false);
        let mut passed = Vec::new();
        for (index, part) in [&input[..split], &input[split..]].into_iter().enumerate() {
            far.write_all(part).await.unwrap();
            if index == 1 {
                far.shutdown().await.unwrap();
            }
            // Whatever can pass passes while the other side has nothing more.
            loop {
                tokio::select! {
                    biased;
                    read = gate.read_buf(&mut passed) => if read.unwrap() == 0 { break },
                    () = tokio::task::yield_now() => break,
                }
            }
        }
        for _ in 0..10 {
            tokio::select! {
                biased;
                read = gate.read_buf(&mut passed) => if read.unwrap() == 0 { break },
                () = async { for _ in 0..4 { tokio::task::yield_now().await } } => {}
            }
        }
        let held = latch.held_head().map(|(head, _)| head);
        let (mut socket, mut rest) = gate.into_parts();
        if held.is_some() {
            socket.read_to_end(&mut rest).await.unwrap();
        }
        (passed, rest, held)
    }

    #[tokio::test]
    async fn an_event_stream_is_held_after_its_head_at_every_split() {
        for split in 0..=STREAM.len() {
            let (passed, rest, head) = pass(STREAM, split, Detect::Auto).await;
            assert_eq!(passed, EDITED, "split at {split}");
            assert_eq!(rest, b"data: x\n\n", "split at {split}");
            assert!(head.unwrap().event_stream);
        }
    }

    #[tokio::test]
    async fn what_waits_is_flushed() {
        let (near, _far) = tls_pair().await;
        fill(&mut Gate::new(near).0).await;
        let (near, _far) = tls_pair().await;
        fill(&mut crate::upstream::Tunnel::new(near, Vec::new())).await;
    }

    #[tokio::test]
    async fn everything_else_passes_at_every_split() {
        for input in [
            &b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc"[..],
            b"HTTP/1.1 304 Not Modified\r\nContent-Type: text/event-stream\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"HTTP/1.1 200 OK\r\nnever ends",
        ] {
            for split in 0..=input.len() {
                let (passed, rest, head) = pass(input, split, Detect::Auto).await;
                assert_eq!(
                    (passed.as_slice(), rest.as_slice(), head),
                    (input, &b""[..], None),
                    "split at {split}"
                );
            }
        }
        assert_eq!(pass(STREAM, 0, Detect::Never).await.0, STREAM);
    }

    #[tokio::test]
    async fn interim_heads_pass_and_the_final_one_is_looked_at() {
        let interim = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
        let input = [&interim[..], STREAM].concat();
        for split in 0..=input.len() {
            let (passed, rest, head) = pass(&input, split, Detect::Auto).await;
            assert_eq!(passed, [&interim[..], EDITED].concat(), "split at {split}");
            assert_eq!(rest, b"data: x\n\n");
            assert!(head.is_some());
        }
    }

    #[tokio::test]
    async fn a_mislabelled_stream_is_held_only_where_it_succeeded() {
        let ok = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\ndata: x\n\n";
        assert!(pass(ok, 0, Detect::Always).await.2.is_some());
        let error = b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\n\r\n<html>";
        assert!(pass(error, 0, Detect::Always).await.2.is_none());
    }
}
