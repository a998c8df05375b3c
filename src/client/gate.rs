//! What hyper reads from and writes to in place of the client's socket.
//!
//! Bytes pass one message at a time: a request's head only after a scan that refuses what two parsers could read differently,
//! then its body, and nothing of a pipelined next request before this one is answered. That stays in the kernel, so a client
//! cannot fill the proxy's memory with it, and its leaving is seen all the same ([`Client::closed`]).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::{Client, Expects, Inbound, Phase, Reader};
use crate::wire::{Chunked, Piece};

/// hyper's side of a [`Client`].
#[derive(Debug)]
pub struct Gate {
    client: Rc<Client>,
}

impl Gate {
    /// The gate of `client`; there is one.
    pub fn new(client: Rc<Client>) -> Self {
        Self { client }
    }

    fn note_taken<T>(&self, taken: &Poll<io::Result<T>>, cx: &Context<'_>) {
        let was_stalled = self.client.is_stalled();
        self.client.note_taken(taken);
        if was_stalled && !self.client.is_stalled() {
            cx.waker().wake_by_ref(); // a body that paused because of the stall is polled again
        }
    }

    /// hyper answers a head that it cannot parse by itself, with an empty response. What the client gets instead is written by
    /// the connection's task, so this one goes nowhere. Returns its status.
    fn automatic_answer(&self, bufs: &[IoSlice<'_>]) -> Option<u16> {
        if !self.client.flushed.get() || !matches!(self.client.phase.get(), Phase::Head { .. }) {
            return None;
        }
        let answer = bufs
            .iter()
            .find(|buf| !buf.is_empty())?
            .strip_prefix(b"HTTP/1.1 4")?;
        match answer.get(..2)? {
            b"14" => Some(414),
            b"31" => Some(431),
            _ => Some(400),
        }
    }
}

impl AsyncRead for Gate {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let client = &*self.client;
        let mut inbound = client.inbound.borrow_mut();
        let waits = match inbound.expects {
            Expects::Head(_) => client.phase.get() == Phase::Request,
            Expects::Verdict => true,
            Expects::Length(_) | Expects::Chunked(_) => false,
        };
        if waits {
            return client.wait_to_read(cx);
        }
        let start = buf.filled().len();
        if inbound.rest.is_empty() {
            ready!(inbound.poll_read(cx, buf, client))?;
        } else {
            let length = inbound.rest.len().min(buf.remaining());
            buf.put_slice(&inbound.rest[..length]);
            inbound.rest.drain(..length);
            if inbound.rest.is_empty() {
                inbound.rest = Vec::new();
            }
        }
        let passes = inbound.pass(&buf.filled()[start..], client)?;
        let surplus = buf.filled()[start + passes..].to_vec();
        buf.set_filled(start + passes);
        if !surplus.is_empty() {
            inbound.rest.splice(..0, surplus);
        }
        Poll::Ready(Ok(()))
    }
}

impl Inbound {
    /// Reads from the socket; of a body of known length no more than belongs to it.
    fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        client: &Client,
    ) -> Poll<io::Result<()>> {
        let limit = match self.expects {
            Expects::Length(left) => usize::try_from(left).unwrap_or(usize::MAX),
            Expects::Head(_) | Expects::Verdict | Expects::Chunked(_) => usize::MAX,
        };
        if limit >= buf.remaining() {
            return client.socket.poll_read_shared(cx, buf);
        }
        let mut limited = ReadBuf::new(buf.initialize_unfilled_to(limit));
        ready!(client.socket.poll_read_shared(cx, &mut limited))?;
        let read = limited.filled().len();
        buf.advance(read);
        Poll::Ready(Ok(()))
    }

    /// Moves over `bytes`, which the client sent, and returns how many of them may pass now.
    fn pass(&mut self, bytes: &[u8], client: &Client) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        match &mut self.expects {
            Expects::Head(head) => {
                let scanned = head.scan(bytes);
                if head.is_started() && !matches!(client.phase.get(), Phase::Head { .. }) {
                    client.phase.set(Phase::Head {
                        since: Instant::now(),
                    });
                }
                match scanned {
                    Ok(Some(end)) => {
                        self.expects = Expects::Verdict;
                        Ok(end)
                    }
                    Ok(None) => Ok(bytes.len()),
                    Err(malformed) => {
                        client.refusal.set(Some(malformed));
                        Err(io::Error::new(io::ErrorKind::InvalidData, malformed))
                    }
                }
            }
            Expects::Verdict => Ok(0),
            Expects::Length(left) => {
                let length =
                    usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= length as u64;
                if *left == 0 {
                    self.expects = Expects::head(client.limits());
                }
                Ok(length)
            }
            Expects::Chunked(chunked) => {
                let length = length_in(chunked, bytes).map_err(invalid)?;
                if chunked.is_done() {
                    self.expects = Expects::head(client.limits());
                }
                Ok(length)
            }
        }
    }
}

/// How many of `bytes` belong to the chunked body, framing included.
fn length_in(chunked: &mut Chunked, bytes: &[u8]) -> Result<usize, crate::wire::BadChunk> {
    let mut length = 0;
    while length < bytes.len() && !chunked.is_done() {
        match chunked.next(&bytes[length..])? {
            Piece::Framing(part) | Piece::Data(part) => length += part,
            Piece::End => break,
        }
    }
    Ok(length)
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
        ready!(self.client.poll_inform(cx))?;
        self.client.flushed.set(false);
        let written = self.client.socket.poll_write_shared(cx, bufs);
        self.note_taken(&written, cx);
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.client.socket.poll_flush_shared(cx);
        self.note_taken(&flushed, cx);
        if flushed.is_ready() {
            self.client.flushed.set(true);
        }
        flushed
    }

    /// The connection's task closes the socket: it may have a last word to say first.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;
    use crate::client::{ClientStream, Clocks, Reader};
    use crate::reason::Reason;
    use crate::socket::Socket;
    use crate::socket::testing::{fill, tls_pair};

    fn gate() -> (Gate, Rc<Client>, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        let client = client(Socket::Unix(near));
        (Gate::new(client.clone()), client, far)
    }

    fn client(socket: Socket) -> Rc<Client> {
        Rc::new(Client::new(socket, None, Clocks::off()))
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
                client.end_request();
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
        far.write_all(b"GET / HT").await.unwrap();
        gate.write_all(b"HTTP/1.1 200 OK").await.unwrap();
        gate.read_exact(&mut [0; 8]).await.unwrap();
        // Of an earlier response, which is not flushed yet.
        gate.write_all(b"HTTP/1.1 404 Not Found").await.unwrap();
        assert!(client.refusal().is_none());
        gate.flush().await.unwrap();
        gate.write_all(b"HTTP/1.1 431 Too Large").await.unwrap();
        assert_eq!(client.refusal(), Some((Reason::RequestHeadTooLarge, None)));
        let mut seen = vec![0; 100];
        let length = far.read(&mut seen).await.unwrap();
        assert_eq!(&seen[..length], b"HTTP/1.1 200 OKHTTP/1.1 404 Not Found");
    }
}
