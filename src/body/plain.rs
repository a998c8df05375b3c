//! A response that is no event stream: it passes unchanged and counted, under the `read` timeout if it comes from an upstream.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::abort::Abort;
use super::{Aborted, Broken, Incoming};
use crate::alarm::Alarm;
use crate::client::Downstream;
use crate::exchange::Exchange;
use crate::reason::Reason;

/// An upstream's response, or a file, that is sent to a client.
pub struct PlainBody {
    incoming: Incoming,
    is_complete: bool,
    client: Rc<dyn Downstream>,
    exchange: Exchange,
    /// The `read` timeout.
    timeout: Option<Duration>,
    alarm: Alarm,
    last_read: Instant,
    abort: Option<Abort>,
    /// The client's protocol shows a cut body only by a reset.
    resets: bool,
    /// Inspects the first bytes.
    inspector: Option<Inspector>,
}

/// Looks at the first bytes of a body.
pub type Inspector = Box<dyn FnOnce(&Exchange, &[u8])>;

impl PlainBody {
    /// The body `incoming`.
    pub fn new(
        incoming: Incoming,
        client: Rc<dyn Downstream>,
        exchange: Exchange,
        timeout: Option<Duration>,
        close_delimited: bool,
    ) -> Self {
        // A file cannot go silent: it is read when the client has taken the previous piece, however long that took.
        let timeout = timeout.filter(|_| !matches!(incoming, Incoming::File(_)));
        let mut body = Self {
            incoming,
            is_complete: false,
            client,
            exchange,
            timeout,
            alarm: Alarm::default(),
            last_read: Instant::now(),
            abort: None,
            resets: close_delimited,
            inspector: None,
        };
        if body.incoming.is_end_stream() {
            body.complete();
        }
        body
    }

    /// The same body, whose first bytes are shown to `inspector`.
    #[must_use]
    pub fn inspected(mut self, inspector: Inspector) -> Self {
        self.inspector = Some(inspector);
        self
    }

    /// The next bytes or trailers, or the end.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        if let Some(abort) = &mut self.abort {
            return abort
                .poll(cx, &self.client)
                .map(|aborted| Some(Err(aborted)));
        }
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.last_read = Instant::now();
                if let Some(data) = frame.data_ref() {
                    self.exchange.sent(data.len() as u64);
                    if let Some(inspect) = self.inspector.take() {
                        inspect(&self.exchange, data);
                    }
                }
                if self.incoming.is_end_stream() {
                    self.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.complete();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(Broken::Closed))) => self.fail(cx, Reason::UpstreamClosed, None),
            Poll::Ready(Some(Err(Broken::Failed))) => self.fail(cx, Reason::UpstreamFailed, None),
            Poll::Ready(Some(Err(Broken::File))) => self.fail(cx, Reason::FileFailed, None),
            Poll::Ready(Some(Err(Broken::Reset(code)))) => {
                self.fail(cx, Reason::UpstreamClosed, Some(code))
            }
            Poll::Pending => match self.timeout {
                Some(timeout) if self.alarm.poll(cx, self.last_read + timeout).is_ready() => {
                    self.fail(cx, Reason::UpstreamReadTimeout, None)
                }
                _ => Poll::Pending,
            },
        }
    }

    /// Whether all of it has passed, or there was nothing to pass.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }

    fn complete(&mut self) {
        if !std::mem::replace(&mut self.is_complete, true) {
            if let Some(remainder) = self.incoming.take_remainder() {
                self.client.outlive(remainder);
            }
            self.exchange.end(Reason::Complete);
        }
    }

    fn fail(
        &mut self,
        cx: &Context<'_>,
        reason: Reason,
        code: Option<h2::Reason>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        self.exchange.end(reason);
        if self.resets {
            self.client.reset_on_close();
        }
        self.abort
            .insert(Abort::new(code))
            .poll(cx, &self.client)
            .map(|aborted| Some(Err(aborted)))
    }
}

impl fmt::Debug for PlainBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlainBody")
            .field("incoming", &self.incoming)
            .field("exchange", &self.exchange)
            .finish_non_exhaustive()
    }
}
