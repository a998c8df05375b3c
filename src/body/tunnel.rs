//! Bytes both ways, once a protocol has changed: a WebSocket in a stream of HTTP/2, and what every tunnel needs to end.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Body, Frame};
use tokio::io::ReadBuf;
use tokio::time::{Instant, sleep_until};

use super::{Aborted, Incoming};
use crate::client::Downstream;
use crate::exchange::Exchange;
use crate::reason::Reason;
use crate::sending::{Sending, Unsent};
use crate::socket::Socket;

/// The state of both directions of a tunnel.
#[derive(Debug)]
pub struct Activity {
    /// When bytes last passed, or one direction ended.
    moved: Cell<Instant>,
    is_half_closed: Cell<bool>,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            moved: Cell::new(Instant::now()),
            is_half_closed: Cell::new(false),
        }
    }
}

impl Activity {
    /// Bytes have passed.
    pub fn moved(&self) {
        self.moved.set(Instant::now());
    }

    /// One side has sent its last.
    pub fn half_closed(&self) {
        self.moved();
        self.is_half_closed.set(true);
    }

    /// Waits until the tunnel is half-closed and nothing has moved for as long as `timeout`. An open one may be silent for ever: web sockets
    /// have their own pings. A half-closed one whose other side has vanished would keep its descriptors for ever.
    pub async fn silence(&self, timeout: Option<Duration>) {
        let Some(timeout) = timeout else {
            return std::future::pending().await;
        };
        loop {
            let since = if self.is_half_closed.get() {
                self.moved.get()
            } else {
                Instant::now()
            };
            sleep_until(since + timeout).await;
            if self.is_half_closed.get() && self.moved.get().elapsed() >= timeout {
                return;
            }
        }
    }
}

/// The upstream's direction of a tunnel, as the body of a response on a stream of HTTP/2 (RFC 8441). The client's, the body of its
/// request, is passed on by a task beside it.
pub struct TunnelBody {
    socket: Rc<Socket>,
    /// What came with the upstream's head.
    rest: Bytes,
    scratch: Vec<u8>,
    request_body: Option<Sending>,
    activity: Rc<Activity>,
    silence: Pin<Box<dyn Future<Output = ()>>>,
    client: Rc<dyn Downstream>,
    exchange: Exchange,
    has_ended: bool,
}

/// How much is read at once, in bytes.
const READ: usize = 8 * 1024;

impl TunnelBody {
    /// Joins the client's `incoming` with the upstream's `socket`, on which `rest` has come. Half-closed, it may be silent for `timeout`.
    pub fn new(
        incoming: Incoming,
        socket: Rc<Socket>,
        rest: Bytes,
        client: Rc<dyn Downstream>,
        exchange: Exchange,
        timeout: Option<Duration>,
    ) -> Self {
        let activity = Rc::new(Activity::default());
        let silent = activity.clone();
        Self {
            request_body: Some(Sending::spawn(send(
                incoming,
                socket.clone(),
                activity.clone(),
                timeout,
            ))),
            socket,
            rest,
            scratch: Vec::new(),
            activity,
            silence: Box::pin(async move { silent.silence(timeout).await }),
            client,
            exchange,
            has_ended: false,
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Ok(std::mem::take(&mut self.rest)));
        }
        self.scratch.resize(READ, 0);
        let mut buf = ReadBuf::new(&mut self.scratch);
        let read = self.socket.poll_read_shared(cx, &mut buf);
        let data = Bytes::copy_from_slice(buf.filled());
        if read.is_pending() {
            self.scratch = Vec::new(); // a silent tunnel holds nothing
        }
        read.map_ok(|()| data)
    }

    fn fail(&mut self, reason: Reason) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        self.has_ended = true;
        self.request_body = None;
        self.exchange.end(reason);
        Poll::Ready(Some(Err(Aborted { code: None })))
    }
}

/// Passes on what the client sends, and its end.
async fn send(
    incoming: Incoming,
    socket: Rc<Socket>,
    activity: Rc<Activity>,
    timeout: Option<Duration>,
) -> Result<(), Unsent> {
    tokio::select! {
        sent = send_all(incoming, &socket, &activity) => sent,
        () = activity.silence(timeout) => Err(Unsent::Abandoned),
    }
}

async fn send_all(
    mut incoming: Incoming,
    socket: &Socket,
    activity: &Activity,
) -> Result<(), Unsent> {
    let refused = |_| Unsent::Refused;
    loop {
        match poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx)).await {
            Some(Ok(frame)) => {
                let mut data = frame.into_data().unwrap_or_default();
                while data.has_remaining() {
                    let bufs = [IoSlice::new(&data)];
                    let written = poll_fn(|cx| socket.poll_write_shared(cx, &bufs)).await;
                    data.advance(written.map_err(refused)?);
                    activity.moved();
                }
                let flushed = poll_fn(|cx| socket.poll_flush_shared(cx)).await;
                flushed.map_err(refused)?;
            }
            Some(Err(_)) => return Err(Unsent::Abandoned),
            None => {
                let ended = poll_fn(|cx| socket.poll_shutdown_shared(cx)).await;
                activity.half_closed();
                return ended.map_err(refused);
            }
        }
    }
}

impl Body for TunnelBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        if let Some(request_body) = &mut self.request_body
            && let Poll::Ready(sent) = request_body.poll(cx)
        {
            self.request_body = None;
            if matches!(sent, Err(Unsent::Body | Unsent::Abandoned)) {
                return self.fail(Reason::ClientGone);
            }
        }
        match self.poll_read(cx) {
            Poll::Ready(Ok(data)) if data.is_empty() => {
                self.has_ended = true;
                self.activity.half_closed();
                if let Some(request_body) = self.request_body.take() {
                    self.client.outlive(request_body.outlive());
                }
                self.exchange.end(Reason::Complete);
                Poll::Ready(None)
            }
            Poll::Ready(Ok(data)) => {
                self.activity.moved();
                self.exchange.sent(data.len() as u64);
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Poll::Ready(Err(_)) => self.fail(Reason::UpstreamFailed),
            Poll::Pending => {
                ready!(self.silence.as_mut().poll(cx));
                self.fail(Reason::UpstreamReadTimeout)
            }
        }
    }
}

impl fmt::Debug for TunnelBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelBody")
            .field("socket", &self.socket)
            .field("activity", &self.activity)
            .finish_non_exhaustive()
    }
}
