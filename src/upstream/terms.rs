//! How a request is to be sent, and the response to it.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode, response};
use tokio::time::Instant;

use super::{Error, Source, Tunnel};
use crate::alarm::Alarm;
use crate::body::{Incoming, RequestBodyProgress};
use crate::client::Downstream;
use crate::config::{ConnectRetry, Detect};
use crate::http1::Limits;
use crate::metrics::Phase;
use crate::reason::Reason;
use crate::wire::is_other_stream;

/// How a request is to be sent.
pub struct Terms<'a> {
    /// What counts as an event stream; `Never` for a HEAD request.
    pub detect: Detect,
    /// Streams of other formats are treated as streams too.
    pub other_streams: bool,
    /// The request's head as the client wrote it, if it speaks HTTP/1.
    pub raw_head: Bytes,
    /// How much the response's head may hold.
    pub limits: Limits,
    /// The request offers to change the protocol.
    pub upgrades: bool,
    /// The `connect` timeout.
    pub connect: Option<Duration>,
    /// How long connecting is retried within it.
    pub connect_retry: ConnectRetry,
    /// The request asks for an event stream.
    pub wants_events: bool,
    /// The request's client.
    pub client: &'a Rc<dyn Downstream>,
    /// The `response_head` timeout.
    pub response_head: Option<Duration>,
    /// How far the request's body has been read.
    pub request_body: &'a Rc<RequestBodyProgress>,
    /// Called for each interim response.
    pub interim: &'a dyn Fn(StatusCode, HeaderMap),
    /// Where the current phase is shown.
    pub phase: &'a Cell<Phase>,
}

impl fmt::Debug for Terms<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terms")
            .field("detect", &self.detect)
            .field("upgrades", &self.upgrades)
            .finish_non_exhaustive()
    }
}

/// An upstream's response.
#[derive(Debug)]
pub struct Answer {
    /// Its head.
    pub head: response::Parts,
    /// The head's bytes, with each field name as the upstream spelled it; empty over HTTP/2.
    pub raw: Bytes,
    /// Its body.
    pub body: AnswerBody,
}

/// The body of an upstream's response.
#[derive(Debug)]
pub enum AnswerBody {
    /// An event stream.
    Events(Source),
    /// A stream of another format.
    Stream(Source),
    /// The upstream has switched protocols.
    Upgraded(Tunnel),
    /// Anything else.
    Plain(Incoming),
}

/// Whether a response is an event stream, by its status and whether its media type says so.
pub(super) fn opens_event_stream(status: StatusCode, is_labelled: bool, terms: &Terms<'_>) -> bool {
    terms.detect.is_event_stream(status.as_u16(), is_labelled)
}

/// Whether a response that is no event stream is a stream of another format. A range of one is not: it has an end.
pub(super) fn opens_other_stream(
    status: StatusCode,
    headers: &HeaderMap,
    terms: &Terms<'_>,
) -> bool {
    let content_type = headers.get_all(CONTENT_TYPE).iter();
    terms.other_streams
        && status != StatusCode::PARTIAL_CONTENT
        && is_other_stream(content_type.map(HeaderValue::as_bytes))
}

/// Polls for a response's head under the `response_head` timeout, with this `alarm`.
pub(super) async fn wait_for_head<T>(
    terms: &Terms<'_>,
    alarm: &mut Alarm,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Result<T, Error> {
    poll_fn(|cx| {
        if let Poll::Ready(response) = poll(cx) {
            return Poll::Ready(Ok(response));
        }
        let Some(timeout) = terms.response_head else {
            return Poll::Pending;
        };
        // While the request's body arrives, its own timeout runs and not this one.
        let since = terms
            .request_body
            .waiting_for_upstream_since()
            .unwrap_or_else(Instant::now);
        ready!(alarm.poll(cx, since + timeout));
        Poll::Ready(Err(Error::new(Reason::UpstreamHeadTimeout, None)))
    })
    .await
}
