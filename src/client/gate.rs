//! What hyper reads from and writes to in place of the client's socket.
//!
//! It does what the connection's [state](super::state) says, which tells one message from the next.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::state::Next;
use super::{Client, Downstream};
use crate::socket;

/// hyper's side of a [`Client`].
#[derive(Debug)]
pub struct Gate {
    client: Rc<Client>,
}

/// How much of a head is read at once.
const READ_SIZE: usize = 8 * 1024;
/// How many of hyper's buffers are written at once beside what goes before them.
const BUFS: usize = 8;

impl Gate {
    /// The gate of `client`; there is one.
    pub fn new(client: Rc<Client>) -> Self {
        Self { client }
    }

    fn note_taken(&self, taken: Poll<usize>, cx: &Context<'_>) {
        let was_stalled = self.client.is_stalled();
        self.client.note_taken(taken);
        if was_stalled && !self.client.is_stalled() {
            cx.waker().wake_by_ref(); // a body that paused because of the stall is polled again
        }
    }

    /// hyper answers a head that it cannot parse by itself, with an empty response. What the client gets instead is written by
    /// the connection's task, so this one goes nowhere. Returns its status.
    fn automatic_answer(&self, bufs: &[IoSlice<'_>]) -> Option<u16> {
        if !self.client.state.borrow().is_in_head() {
            return None;
        }
        let answer = first(bufs).strip_prefix(b"HTTP/1.1 4")?;
        match answer.get(..2)? {
            b"14" => Some(414),
            b"31" => Some(431),
            _ => Some(400),
        }
    }

    /// Reads on in a request's head.
    fn poll_read_head(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let client = &*self.client;
        let unread = client.state.borrow_mut().take_unread();
        let mut space = [MaybeUninit::uninit(); READ_SIZE];
        let mut buf = ReadBuf::uninit(&mut space);
        let input = if unread.is_empty() {
            ready!(client.socket.poll_read_shared(cx, &mut buf))?;
            buf.filled()
        } else {
            &unread
        };
        let handled = client.state.borrow_mut().handle_head(input, Instant::now());
        Poll::Ready(match handled {
            Ok(()) => Ok(input.len()),
            Err(malformed) => {
                client.refusal.set(Some(malformed));
                Err(io::Error::new(io::ErrorKind::InvalidData, malformed))
            }
        })
    }

    /// Reads at most `limit` bytes of a request's body.
    fn poll_read_body(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        limit: usize,
    ) -> Poll<io::Result<()>> {
        let client = &*self.client;
        let start = buf.filled().len();
        let limit = limit.min(buf.remaining());
        let mut unread = client.state.borrow_mut().take_unread();
        if unread.is_empty() {
            if limit < buf.remaining() {
                let mut limited = ReadBuf::new(buf.initialize_unfilled_to(limit));
                ready!(client.socket.poll_read_shared(cx, &mut limited))?;
                let read = limited.filled().len();
                buf.advance(read);
            } else {
                ready!(client.socket.poll_read_shared(cx, buf))?;
            }
        } else {
            let rest = unread.split_off(limit.min(unread.len()));
            buf.put_slice(&unread);
            unread = rest;
        }
        let mut state = client.state.borrow_mut();
        let passed = state.pass_body(&buf.filled()[start..]);
        let passed = passed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let mut surplus = buf.filled()[start + passed..].to_vec();
        surplus.append(&mut unread);
        *state.unread() = surplus;
        buf.set_filled(start + passed);
        Poll::Ready(Ok(()))
    }
}

fn first<'a>(bufs: &'a [IoSlice<'_>]) -> &'a [u8] {
    bufs.iter()
        .find(|buf| !buf.is_empty())
        .map_or(&[], |buf| buf)
}

impl AsyncRead for Gate {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let next = self.client.state.borrow().next();
            match next {
                Next::Nothing => return self.client.wait_to_read(cx),
                Next::Head => {
                    let mut state = self.client.state.borrow_mut();
                    state.pass_head(buf.remaining(), |bytes| buf.put_slice(bytes));
                    return Poll::Ready(Ok(()));
                }
                Next::ReadHead => {
                    if ready!(self.poll_read_head(cx))? == 0 {
                        return Poll::Ready(Ok(())); // the end, which hyper is to see
                    }
                }
                Next::ReadBody(limit) => return self.poll_read_body(cx, buf, limit),
            }
        }
    }
}

impl AsyncWrite for Gate {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(status) = self.automatic_answer(bufs) {
            self.client.automatic_answer.set(Some(status));
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let mut state = self.client.state.borrow_mut();
        let dealt_with = state.handle_output(first(bufs));
        state.handle_dirt();
        let written = if state.ahead().is_empty() {
            if dealt_with > 0 {
                return Poll::Ready(Ok(dealt_with));
            }
            self.client.socket.poll_write_shared(cx, bufs)
        } else {
            let mut all = [IoSlice::new(&[]); BUFS];
            all[0] = IoSlice::new(state.ahead());
            let mut skip = dealt_with;
            let filled = bufs.iter().filter(|buf| !buf.is_empty());
            for (place, buf) in all[1..].iter_mut().zip(filled) {
                *place = IoSlice::new(&buf[skip.min(buf.len())..]);
                skip = skip.saturating_sub(buf.len());
            }
            let written = self.client.socket.poll_write_shared(cx, &all);
            let length = state.ahead().len();
            match written {
                Poll::Ready(Ok(written)) => {
                    state.handle_written(written.min(length));
                    let of_bufs = written.saturating_sub(length);
                    if of_bufs + dealt_with == 0 {
                        // The write took only bytes that go ahead of hyper's: hyper writes once they have left.
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    } else {
                        Poll::Ready(Ok(of_bufs + dealt_with))
                    }
                }
                Poll::Pending if dealt_with > 0 => {
                    drop(state);
                    self.note_taken(Poll::Pending, cx);
                    return Poll::Ready(Ok(dealt_with));
                }
                failed => failed,
            }
        };
        drop(state);
        self.note_taken(socket::taken(&written), cx);
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.client.poll_ahead(cx))?;
        let flushed = self.client.socket.poll_flush_shared(cx);
        self.note_taken(socket::flushed(&flushed), cx);
        if flushed.is_ready() {
            self.client.handle_flushed();
        }
        flushed
    }

    /// The connection's task closes the socket: it may have something left to send.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;
    use crate::client::{ClientStream, ConnectionSettings, Downstream};
    use crate::reason::Reason;
    use crate::socket::Socket;
    use crate::socket::testing::{fill, tls_pair};

    fn gate() -> (Gate, Rc<Client>, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        let client = client(Socket::Unix(near));
        (Gate::new(client.clone()), client, far)
    }

    fn client(socket: Socket) -> Rc<Client> {
        Rc::new(Client::new(socket, None, ConnectionSettings::off()))
    }

    async fn is_pending(gate: &mut Gate) -> bool {
        let mut byte = [0];
        let mut read = std::pin::pin!(gate.read(&mut byte));
        std::future::poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx).is_pending())).await
    }

    #[tokio::test]
    async fn one_message_passes_at_a_time_at_every_split() {
        const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: t\r\n\r\n";
        const NEXT: &[u8] = b"GET / HTTP/1.1\r\nHost: t\r\n\r\n";
        for (body, length) in [
            (&b"body"[..], Some(4)),
            (b"4\r\nbody\r\n0\r\n\r\n", None),
            (b"", Some(0)),
        ] {
            let input = [HEAD, body, NEXT].concat();
            for split in 0..input.len() {
                let (mut gate, client, mut far) = gate();
                far.write_all(&input[..split]).await.unwrap();
                let rest = input[split..].to_vec();
                tokio::spawn(async move {
                    far.write_all(&rest).await.unwrap();
                    std::future::pending::<()>().await;
                });
                let mut head = vec![0; HEAD.len()];
                gate.read_exact(&mut head).await.unwrap();
                assert_eq!(head, HEAD, "split at {split}");
                assert!(
                    is_pending(&mut gate).await,
                    "the body waits for hyper's verdict"
                );
                client.begin_request(length);
                let mut seen = vec![0; body.len()];
                gate.read_exact(&mut seen).await.unwrap();
                assert_eq!(seen, body, "split at {split}");
                assert!(
                    is_pending(&mut gate).await,
                    "the next head waits for the answer"
                );
                client.end_response();
                assert!(is_pending(&mut gate).await, "and until that has left");
                gate.flush().await.unwrap();
                let mut next = vec![0; NEXT.len()];
                gate.read_exact(&mut next).await.unwrap();
                assert_eq!(next, NEXT, "split at {split}");
            }
        }
    }

    #[tokio::test]
    async fn what_waits_to_be_flushed_is_a_stall() {
        let (near, mut far) = tls_pair().await;
        let client = client(near);
        let mut gate = Gate::new(client.clone());
        let written = fill(&mut gate).await;
        assert!(client.is_stalled());
        let mut seen = vec![0; written];
        let (flushed, read) = tokio::join!(gate.flush(), far.read_exact(&mut seen));
        flushed.unwrap();
        read.unwrap();
        assert!(!client.is_stalled());
        fill(&mut ClientStream::new(client)).await;
    }

    #[tokio::test]
    async fn only_hypers_own_answer_to_a_head_goes_nowhere() {
        let (mut gate, client, mut far) = gate();
        far.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        gate.read_exact(&mut [0; 18]).await.unwrap();
        client.begin_request(Some(0));
        gate.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n")
            .await
            .unwrap();
        client.end_response();
        gate.flush().await.unwrap();
        assert!(client.refusal().is_none());
        far.write_all(b"GET /").await.unwrap();
        assert!(is_pending(&mut gate).await);
        gate.write_all(b"HTTP/1.1 431 Too Large").await.unwrap();
        assert_eq!(client.refusal(), Some((Reason::RequestHeadTooLarge, None)));
        let mut seen = vec![0; 100];
        let length = far.read(&mut seen).await.unwrap();
        assert_eq!(&seen[..length], b"HTTP/1.1 404 Not Found\r\n\r\n");
    }

    #[tokio::test]
    async fn interim_responses_and_the_head_leave_in_order_in_the_upstreams_spelling() {
        let (near, mut far) = tls_pair().await;
        let client = client(near);
        let mut gate = Gate::new(client.clone());
        let request = b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n";
        far.write_all(request).await.unwrap();
        far.flush().await.unwrap();
        let mut head = vec![0; request.len()];
        gate.read_exact(&mut head).await.unwrap();
        client.begin_request(Some(1));
        gate.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            .await
            .unwrap();
        client.go_on();
        let mut early = http::Response::new(());
        *early.status_mut() = http::StatusCode::EARLY_HINTS;
        client.inform(early);
        client.spell("HTTP/1.1 200 OK\r\nETag: x\r\n\r\n".into());
        let response = b"HTTP/1.1 200 OK\r\netag: y\r\nother: z\r\n\r\nbody";
        let write = async {
            gate.write_all(response).await.unwrap();
            gate.flush().await.unwrap();
        };
        let expected = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n\
            HTTP/1.1 200 OK\r\nETag: y\r\nother: z\r\n\r\nbody";
        let mut seen = vec![0; expected.len()];
        let ((), read) = tokio::join!(write, far.read_exact(&mut seen));
        read.unwrap();
        assert_eq!(
            seen.escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
    }

    #[tokio::test]
    async fn a_response_that_hyper_writes_with_its_own_100_is_a_response() {
        let (mut gate, client, mut far) = gate();
        let request = b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n";
        far.write_all(request).await.unwrap();
        gate.read_exact(&mut vec![0; request.len()]).await.unwrap();
        client.begin_request(Some(1));
        client.spell("HTTP/1.1 200 OK\r\nETag: x\r\n\r\n".into());
        gate.write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\netag: y\r\n\r\n")
            .await
            .unwrap();
        client.go_on();
        client.inform(http::Response::new(()));
        gate.write_all(b"body\r\n\r\n").await.unwrap();
        gate.flush().await.unwrap();
        let expected =
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nETag: y\r\n\r\nbody\r\n\r\n";
        let mut seen = vec![0; expected.len()];
        far.read_exact(&mut seen).await.unwrap();
        assert_eq!(
            seen.escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
    }
}
