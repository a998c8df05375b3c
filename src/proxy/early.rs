//! An event stream that begins before its upstream has responded (`heartbeat.before_head`): the sidecar sends the head, and reports
//! in band what the upstream sends instead of an event stream.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{Response, StatusCode, response};
use http_body::Body;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

use super::deliver::{Delivery, send_events};
use super::response::{StreamCoding, edit_event_stream_head};
use super::resume::{self, KeepCell};
use super::route::Route;
use super::upstream_request::UpstreamRequest;
use crate::body::{
    EventFlow, EventSource, Incoming, Late, NoEventStream, RequestBodyProgress, ResponseBody,
};
use crate::client::Downstream;
use crate::exchange::{Exchange, Progress};
use crate::metrics::Phase;
use crate::reason::Reason;
use crate::sse::{Failure, FailureEvent, UpstreamEnd};
use crate::upstream::{Answer, AnswerBody, Error};
use crate::wire::has_no_body;

/// An answer that is still to come. Dropping it cancels the request.
pub(super) type PendingAnswer = Pin<Box<dyn Future<Output = Result<Answer, Error>>>>;

/// What came first.
#[expect(
    clippy::large_enum_variant,
    reason = "it is moved once, and the large one is the usual one"
)]
pub(super) enum First {
    /// The answer, as nearly always.
    Answer(Result<Answer, Error>),
    /// The time after which the client gets a head all the same.
    HeadDeadline(PendingAnswer),
}

/// How much of an upstream's own error is passed on, in bytes, decoded.
const MOST_OF_BODY: usize = 16 * 1024;

/// Asks, and waits for the answer no longer than the client does.
pub(super) async fn ask(
    upstream_request: UpstreamRequest,
    keep: Option<&KeepCell>,
    exchange: &Exchange,
) -> First {
    let shared = keep.filter(|keep| resume::is_shared(keep));
    let Some(before_head) = upstream_request.outgoing.before_head else {
        return First::Answer(match shared {
            None => upstream_request.ask().await,
            Some(keep) => resume::ask(upstream_request, keep, exchange.progress()).await,
        });
    };
    let held = upstream_request.outgoing.held.clone();
    let deadline = async {
        sleep(before_head).await;
        if let Some(held) = held {
            held.over().await; // after a head there is no `100 Continue`
        }
    };
    let mut pending_answer: PendingAnswer = match shared {
        None => Box::pin(upstream_request.ask()),
        Some(keep) => resume::ask(upstream_request, keep, exchange.progress()),
    };
    tokio::select! {
        biased;
        answer = &mut pending_answer => First::Answer(answer),
        () = deadline => {
            // Interim responses that have arrived meanwhile (103 Early Hints) go before the head.
            yield_now().await;
            First::HeadDeadline(pending_answer)
        }
    }
}

impl Delivery {
    /// The response that the client gets ahead of the answer; `None` if it is written past hyper.
    pub(super) fn deliver_early(
        mut self,
        pending_answer: PendingAnswer,
    ) -> Option<Response<ResponseBody>> {
        let (mut head, ()) = Response::new(()).into_parts();
        if let Some(changes) = &self.changes {
            changes.apply(&mut head.headers);
        }
        edit_event_stream_head(&mut head.headers, &StreamCoding::Identity);
        self.exchange.ids().tell_client(&mut head.headers);
        self.exchange.early_head();
        let stream = self
            .route
            .event_stream(&self.context, FailureEvent::None)
            .ahead();
        let progress = self.exchange.progress();
        let answer = Box::pin(answer(
            pending_answer,
            self.route.clone(),
            self.request_body.clone(),
            progress,
            self.keep.take(),
            self.client.clone(),
        ));
        let flow = EventFlow::ahead(stream, answer, self.client.clone(), self.exchange);
        send_events(
            flow,
            &self.route,
            head,
            Bytes::new(),
            &self.context,
            &self.request_body,
            &self.client,
        )
    }
}

/// What comes of it.
async fn answer(
    pending_answer: PendingAnswer,
    route: Rc<Route>,
    request_body: Rc<RequestBodyProgress>,
    progress: Progress,
    keep: Option<KeepCell>,
    client: Rc<dyn Downstream>,
) -> Late {
    let answer = match pending_answer.await {
        // The connection's task is about to notice that the client is gone, and to drop this.
        Err(error) if error.reason == Reason::ClientGone => pending().await,
        answer => answer,
    };
    let head = answer.is_ok().then(Instant::now);
    if head.is_some() {
        progress.phase().set(Phase::Body);
    }
    let outcome = match answer {
        Err(Error { reason, detail }) => Err(refusal(reason, detail)),
        Ok(Answer { head, body, .. }) => {
            let coding = StreamCoding::of(&head.headers);
            match body {
                AnswerBody::Events(source) if has_events(head.status) && !coding.is_opaque() => {
                    let mut source = coding.decode(Box::new(source));
                    if let Some(keep) = keep.and_then(|keep| keep.take()) {
                        source = keep.begin(resume::saved(&head), source, None, &client, progress);
                    }
                    Ok((head.status, source))
                }
                body => Err(refused(&head, coding, body, &route).await),
            }
        }
    };
    let failure = route.failure_event(&request_body);
    Late {
        head,
        outcome,
        failure,
    }
}

/// Whether a response with this status may be an event stream to a client that got a 200.
fn has_events(status: StatusCode) -> bool {
    status.is_success() && !has_no_body(status.as_u16())
}

fn refusal(reason: Reason, detail: Option<String>) -> NoEventStream {
    let failure = Failure {
        name: reason.name(),
        message: reason.title(),
        detail,
        status: None,
        body: None,
    };
    NoEventStream { reason, failure }
}

/// Why a response with this `head` cannot be given to the client, with its text.
async fn refused(
    head: &response::Parts,
    coding: StreamCoding,
    body: AnswerBody,
    route: &Route,
) -> NoEventStream {
    let refusal = if head.status.is_success() {
        let content_type = head.headers.get(CONTENT_TYPE);
        let detail = match (&coding, content_type) {
            (StreamCoding::Unknown(_), _) => "its Content-Encoding is unknown".to_owned(),
            (_, Some(value)) => format!("its Content-Type is {}", value.as_bytes().escape_ascii()),
            (_, None) => "it has no Content-Type".to_owned(),
        };
        refusal(Reason::UpstreamNotEvents, Some(detail))
    } else {
        let status = head.status.as_str();
        let detail = match head.status.canonical_reason() {
            Some(phrase) => format!("{status} {phrase}"),
            None => status.to_owned(),
        };
        refusal(Reason::UpstreamStatus, Some(detail))
    };
    let is_readable = is_text(&head.headers) && !coding.is_opaque();
    let source: Box<dyn EventSource> = match body {
        AnswerBody::Events(source) | AnswerBody::Stream(source) => Box::new(source),
        AnswerBody::Plain(incoming) => Box::new(Text::new(incoming)),
        AnswerBody::Upgraded(_) => return refusal, // only a request that asks for it gets that, and such a one waits
    };
    let text = if is_readable {
        Some(beginning(coding.decode(source), route).await)
    } else {
        None
    };
    let failure = Failure {
        status: Some(head.status.as_u16()),
        body: text,
        ..refusal.failure
    };
    NoEventStream { failure, ..refusal }
}

/// Whether a body can be quoted: text of any kind, or JSON.
fn is_text(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media_type = content_type.and_then(|value| value.split(';').next());
    media_type.is_some_and(|media_type| {
        let media_type = media_type.trim().to_ascii_lowercase();
        media_type.starts_with("text/")
            || media_type == "application/json"
            || media_type.ends_with("+json")
    })
}

/// The first bytes of `source`: as many as may be passed on, as far as they come before the `read` timeout runs out.
async fn beginning(mut source: Box<dyn EventSource>, route: &Route) -> String {
    let mut bytes = vec![0; MOST_OF_BODY];
    let mut length = 0;
    let reading = async {
        while length < bytes.len() {
            let read = poll_fn(|cx| source.poll_read(cx, &mut bytes[length..])).await;
            let Ok(read) = read else {
                break;
            };
            length += read;
        }
    };
    match route.config.timeouts.read {
        Some(clock) => drop(timeout(clock, reading).await),
        None => reading.await,
    }
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

/// The body of an ordinary response, read as that of an event stream is.
#[derive(Debug)]
struct Text {
    incoming: Incoming,
    /// Of a frame that was longer than the buffer.
    rest: Bytes,
}

impl Text {
    fn new(incoming: Incoming) -> Self {
        let rest = Bytes::new();
        Self { incoming, rest }
    }
}

impl EventSource for Text {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, UpstreamEnd>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                Some(Ok(frame)) => self.rest = frame.into_data().unwrap_or_default(),
                Some(Err(_)) => return Poll::Ready(Err(UpstreamEnd::Failed)),
                None => return Poll::Ready(Err(UpstreamEnd::Finished)),
            }
        }
        let length = self.rest.len().min(buffer.len());
        self.rest.copy_to_slice(&mut buffer[..length]);
        Poll::Ready(Ok(length))
    }
}
