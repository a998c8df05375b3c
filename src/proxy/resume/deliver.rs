//! A stream that was there already, on its way to another client.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode, response};

use super::{Step, preflight};
use crate::body::{EventFlow, EventSource, ResponseBody};
use crate::proxy::deliver::{Delivery, RequestContext, send_events};
use crate::proxy::own_answer;
use crate::proxy::response::{StreamCoding, edit_event_stream_head};
use crate::reason::Reason;
use crate::resume::{KeptStream, Reader};
use crate::sse::{End, Failure, FailureEvent, UpstreamEnd};
use crate::upstream::Answer;
use crate::wire::is_event_stream_type;

/// A stream from some place on.
#[derive(Debug)]
pub(in crate::proxy) struct Resumed {
    head: response::Parts,
    source: Box<dyn EventSource>,
    sequence: u64,
}

/// What comes before a stream that has lost some of its events.
#[derive(Debug)]
struct AfterGap {
    word: Vec<u8>,
    source: Box<dyn EventSource>,
}

/// A stream that breaks before anything has come.
#[derive(Debug)]
struct Break;

impl Resumed {
    pub(super) fn new(stream: &Arc<KeptStream>, reader: Reader, sequence: u64) -> Self {
        Self {
            head: stream.head().restore(),
            source: Box::new(reader),
            sequence,
        }
    }

    /// The client is told how many events it has missed.
    pub(super) fn after_gap(self, missed: u64) -> Self {
        let word = format!("event: gap\ndata: {{\"missed\":{missed}}}\n\n").into_bytes();
        let source = Box::new(AfterGap {
            word,
            source: self.source,
        });
        Self { source, ..self }
    }
}

impl Delivery {
    /// Goes on with a stream that was there; `None` if it is written past hyper.
    pub(in crate::proxy) fn resumed(mut self, resumed: Resumed) -> Option<Response<ResponseBody>> {
        let Resumed {
            head,
            source,
            sequence,
        } = resumed;
        if let Some(limit) = self.stream_limit.take() {
            match limit.take() {
                Ok(slot) => self.exchange.hold(slot),
                Err(refusal) => return Some(self.refuse(refusal)),
            }
        }
        let value = HeaderValue::from(sequence);
        self.stream_of(head, source, value)
    }

    /// An event stream that breaks at once, as the one did that its client has seen to its end.
    pub(in crate::proxy) fn broken(self) -> Option<Response<ResponseBody>> {
        let (head, ()) = Response::new(()).into_parts();
        self.stream_of(head, Box::new(Break), HeaderValue::from_static("none"))
    }

    fn stream_of(
        mut self,
        mut head: response::Parts,
        source: Box<dyn EventSource>,
        resumed: HeaderValue,
    ) -> Option<Response<ResponseBody>> {
        self.exchange.head(head.status);
        if let Some(changes) = &self.changes {
            changes.apply(&mut head.headers);
        }
        edit_event_stream_head(&mut head.headers, &StreamCoding::Identity);
        let no_store = HeaderValue::from_static("no-store, no-cache, no-transform");
        head.headers.insert(CACHE_CONTROL, no_store);
        head.headers.insert("sse-sidecar-resumed", resumed);
        preflight::expose(&mut head.headers);
        self.exchange.ids().tell_client(&mut head.headers);
        self.exchange.open_stream(head.status, false);
        let failure = self.route.failure_event(&self.request_body);
        // Whoever reads the upstream keeps its timeouts.
        let stream = self.route.event_stream_of_reader(&self.context, failure);
        let flow = EventFlow::new(stream, source, self.client.clone(), self.exchange);
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

/// What a client gets whose stream cannot be gone on with and not begun again. One that takes nothing but an event stream would try for
/// ever after a status.
pub(super) fn gone(context: &RequestContext) -> Step {
    let mut ranges = context
        .accept
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .peekable();
    let takes_nothing_else = ranges.peek().is_some() && ranges.all(is_event_stream_type);
    if !takes_nothing_else {
        return Step::Refuse(Reason::ResumeGone);
    }
    Step::Events(FailureEvent::Event.bytes(&Failure {
        name: Reason::ResumeGone.name(),
        message: Reason::ResumeGone.title(),
        detail: None,
        status: None,
        body: None,
    }))
}

/// An event stream of these bytes, as the sidecar's own answer.
pub(in crate::proxy) fn events(bytes: Vec<u8>) -> Answer {
    let (mut head, ()) = Response::new(()).into_parts();
    let event_stream = HeaderValue::from_static("text/event-stream");
    head.headers.insert(CONTENT_TYPE, event_stream);
    let no_store = HeaderValue::from_static("no-store");
    head.headers.insert(CACHE_CONTROL, no_store);
    own_answer::answer(head, bytes.into())
}

/// A status, and nothing else.
pub(in crate::proxy) fn status(status: StatusCode) -> Answer {
    let (mut head, ()) = Response::new(()).into_parts();
    head.status = status;
    let no_store = HeaderValue::from_static("no-store");
    head.headers.insert(CACHE_CONTROL, no_store);
    own_answer::answer(head, Bytes::new())
}

impl EventSource for AfterGap {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, UpstreamEnd>> {
        if self.word.is_empty() {
            return self.source.poll_read(cx, buffer);
        }
        let word = std::mem::take(&mut self.word);
        buffer[..word.len()].copy_from_slice(&word);
        Poll::Ready(Ok(word.len()))
    }

    fn park(&mut self, cx: &mut Context<'_>) -> Poll<UpstreamEnd> {
        self.source.park(cx)
    }

    fn dismiss(&mut self, end: End) {
        self.source.dismiss(end);
    }
}

impl EventSource for Break {
    fn poll_read(&mut self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<Result<usize, UpstreamEnd>> {
        Poll::Ready(Err(UpstreamEnd::Failed))
    }
}
