//! An upstream's answer on its way to the client: an event stream, a changed protocol, or anything else.

use std::error::Error;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, response};

use super::changes::AnswerChanges;
use super::guard::StreamLimit;
use super::headers::remove_hop_by_hop;
use super::request::{asks_for_events, names};
use super::response::{
    StreamCoding, edit_event_stream_head, edit_other_stream_head, opens_event_stream,
    opens_other_stream,
};
use super::resume::{self, After, KeepCell};
use super::route::{Route, is_google_genai};
use super::{hint, relay, upgrade, websocket};
use crate::body::{
    EventFlow, EventStreamBody, Incoming, PlainBody, RequestBodyProgress, ResponseBody, TunnelBody,
};
use crate::client::Downstream;
use crate::config::DrainStreams;
use crate::exchange::Exchange;
use crate::resume::SavedHead;
use crate::sse::FailureEvent;
use crate::upstream::{Answer, AnswerBody, Source, Tunnel};
use crate::wire::has_no_body;

/// What the response depends on besides the answer.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) route: Rc<Route>,
    pub(super) context: RequestContext,
    pub(super) request_body: Rc<RequestBodyProgress>,
    /// What the route changes in the answer's head.
    pub(super) changes: Option<Box<AnswerChanges>>,
    /// What the client sends in a WebSocket over HTTP/2.
    pub(super) websocket: Option<Incoming>,
    pub(super) client: Rc<dyn Downstream>,
    pub(super) exchange: Exchange,
    /// The client may have no place for a stream, if the response is one.
    pub(super) stream_limit: Option<StreamLimit>,
    /// The response is to outlive its client, if it is an event stream.
    pub(super) keep: Option<KeepCell>,
    /// What the route's streams have to do with the response besides.
    pub(super) after: After,
}

/// What a response depends on of the request as the client made it.
#[derive(Debug)]
pub(super) struct RequestContext {
    method: Method,
    pub(super) version: Version,
    /// The client wants the connection to end with the response.
    pub(super) wants_close: bool,
    pub(super) accept: Vec<HeaderValue>,
    pub(super) user_agent: Option<HeaderValue>,
    /// What libraries of Google's say of themselves.
    pub(super) api_client: Option<HeaderValue>,
}

impl RequestContext {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let headers = request.headers();
        let mut context = Self {
            method: request.method().clone(),
            version: request.version(),
            wants_close: false,
            accept: Vec::new(),
            user_agent: None,
            api_client: None,
        };
        for (name, value) in headers {
            let first = |field: &mut Option<HeaderValue>| {
                field.get_or_insert_with(|| value.clone());
            };
            match name.as_str() {
                "accept" => context.accept.push(value.clone()),
                "connection" => context.wants_close = names(headers, CONNECTION, "close"),
                "user-agent" => first(&mut context.user_agent),
                "x-goog-api-client" => first(&mut context.api_client),
                _ => {}
            }
        }
        context
    }

    /// Whether the client can handle ids in its events: it asks for event streams, and is not known to fail on them.
    pub(super) fn takes_ids(&self) -> bool {
        asks_for_events(&self.accept) && !is_google_genai(self)
    }

    /// Whether the response has a head only.
    pub(super) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// Whether the end of a body is the end of its connection, so that a cut one needs a reset to show.
    fn is_close_delimited(&self) -> bool {
        self.version == Version::HTTP_10
    }
}

impl Delivery {
    /// The response that the client gets; `None` if it is written past hyper.
    pub(super) fn deliver(mut self, answer: Answer) -> Option<Response<ResponseBody>> {
        let Answer {
            mut head,
            raw,
            body,
        } = answer;
        if let Some(limit) = self.stream_limit.take()
            && matches!(body, AnswerBody::Events(_) | AnswerBody::Upgraded(_))
        {
            match limit.take() {
                Ok(slot) => self.exchange.hold(slot),
                Err(refusal) => {
                    drop(body); // which cancels the upstream's
                    return Some(self.refuse(refusal));
                }
            }
        }
        head.version = Version::HTTP_11; // each side speaks its own: hyper makes it the client's
        self.exchange.head(head.status);
        let saved = self.keep.as_ref().map(|_| resume::saved(&head));
        std::mem::take(&mut self.after).apply(&mut head);
        if let Some(changes) = &self.changes {
            changes.apply(&mut head.headers);
        }
        match body {
            AnswerBody::Events(source) => self.events(head, raw, source, saved),
            AnswerBody::Stream(source) => self.other_stream(head, raw, source),
            AnswerBody::Upgraded(tunnel) => self.upgraded(head, &raw, tunnel),
            AnswerBody::Plain(incoming) => {
                self.client.spell(raw);
                let body = self.plain(&mut head, incoming);
                Some(Response::from_parts(head, body))
            }
        }
    }

    fn events(
        mut self,
        mut head: response::Parts,
        raw: Bytes,
        source: Source,
        saved: Option<SavedHead>,
    ) -> Option<Response<ResponseBody>> {
        remove_hop_by_hop(&mut head.headers);
        let coding = StreamCoding::of(&head.headers);
        edit_event_stream_head(&mut head.headers, &coding);
        self.exchange.ids().tell_client(&mut head.headers);
        self.exchange.open_stream(head.status, coding.is_opaque());
        let failure = self.route.failure_event(&self.request_body);
        let mut stream = self.route.event_stream(&self.context, failure);
        if let StreamCoding::Unknown(error) = &coding {
            tracing::warn!(
                error = error as &dyn Error,
                "opaque event stream: it passes without heartbeats"
            );
            stream = stream.opaque();
        }
        let is_opaque = coding.is_opaque();
        let mut source = coding.decode(Box::new(source));
        if let Some(keep) = self.keep.and_then(|keep| keep.take())
            && let Some(saved) = saved.filter(|_| head.status.is_success() && !is_opaque)
        {
            let headers = Some(&mut head.headers);
            let progress = self.exchange.progress();
            source = keep.begin(saved, source, headers, &self.client, progress);
        }
        let flow = EventFlow::new(stream, source, self.client.clone(), self.exchange);
        send_events(
            flow,
            &self.route,
            head,
            raw,
            &self.context,
            &self.request_body,
            &self.client,
        )
    }

    /// A stream of another format goes the same way, but nothing is ever inserted.
    fn other_stream(
        mut self,
        mut head: response::Parts,
        raw: Bytes,
        source: Source,
    ) -> Option<Response<ResponseBody>> {
        remove_hop_by_hop(&mut head.headers);
        let coding = StreamCoding::of(&head.headers);
        edit_other_stream_head(&mut head.headers, &coding);
        self.exchange.ids().tell_client(&mut head.headers);
        self.exchange.open_stream(head.status, false);
        let stream = self.route.event_stream(&self.context, FailureEvent::None);
        let source = coding.decode(Box::new(source));
        let (client, exchange) = (self.client.clone(), self.exchange);
        let flow = EventFlow::new(stream.foreign(), source, client, exchange);
        send_events(
            flow,
            &self.route,
            head,
            raw,
            &self.context,
            &self.request_body,
            &self.client,
        )
    }

    fn upgraded(
        self,
        mut head: response::Parts,
        raw: &[u8],
        tunnel: Tunnel,
    ) -> Option<Response<ResponseBody>> {
        let timeout = self.route.config.timeouts.read;
        if let Some(incoming) = self.websocket {
            remove_hop_by_hop(&mut head.headers);
            websocket::open(&mut head);
            let (socket, rest) = tunnel.into_parts();
            let body = TunnelBody::new(incoming, socket, rest, self.client, self.exchange, timeout);
            let body = ResponseBody::Tunnel(Box::new(body));
            return Some(Response::from_parts(head, body));
        }
        let protocols = head.headers.get(UPGRADE).cloned();
        remove_hop_by_hop(&mut head.headers);
        if let Some(protocols) = protocols {
            upgrade::announce(&mut head.headers, protocols);
        }
        let head = relay::write_head(&head, self.context.version, raw, &[]);
        upgrade::join(&*self.client, head, tunnel, self.exchange, timeout);
        None
    }

    fn plain(self, head: &mut response::Parts, incoming: Incoming) -> ResponseBody {
        remove_hop_by_hop(&mut head.headers);
        let is_head = self.context.is_head();
        let is_backends = self.route.backend.is_some();
        if is_head && is_backends && opens_event_stream(head, self.route.config.events.detect) {
            let coding = StreamCoding::of(&head.headers);
            edit_event_stream_head(&mut head.headers, &coding);
            self.exchange.ids().tell_client(&mut head.headers);
        } else if is_head && opens_other_stream(head, &self.route.config.events) {
            let coding = StreamCoding::of(&head.headers);
            edit_other_stream_head(&mut head.headers, &coding);
            self.exchange.ids().tell_client(&mut head.headers);
        }
        let hint = hint::of(head, &self.route).filter(|_| !is_head);
        let close_delimited = self.context.is_close_delimited();
        let timeout = self.route.config.timeouts.read;
        let mut body = PlainBody::new(
            incoming,
            self.client,
            self.exchange,
            timeout,
            close_delimited,
        );
        if let Some(hint) = hint {
            body = body.inspected(Box::new(hint));
        }
        if is_head || has_no_body(head.status.as_u16()) {
            let states_length = is_head || head.status == StatusCode::NOT_MODIFIED;
            match stated_length(&head.headers).filter(|_| states_length) {
                Some(length) => return ResponseBody::Unsent(length),
                None => drop(head.headers.remove(CONTENT_LENGTH)),
            }
        }
        ResponseBody::Plain(Box::new(body))
    }
}

/// Begins the response that `flow` is the body of; `None` if it is written past hyper.
pub(super) fn send_events(
    mut flow: EventFlow,
    route: &Route,
    head: response::Parts,
    raw: Bytes,
    context: &RequestContext,
    request_body: &RequestBodyProgress,
    client: &Rc<dyn Downstream>,
) -> Option<Response<ResponseBody>> {
    if route.config.drain_streams == DrainStreams::Rotate {
        flow = flow.rotating();
    }
    if request_body.is_done() && client.can_hand_over() {
        relay::begin(&**client, context, head, raw, flow);
        return None;
    }
    client.spell(raw);
    let body = EventStreamBody::new(flow, context.is_close_delimited());
    let body = ResponseBody::Events(Box::new(body));
    Some(Response::from_parts(head, body))
}

/// The length that a response without a body states: that of "the content of a 200 (OK) response to the same request" (RFC 9110,
/// section 8.6). hyper, which checks that of other responses, takes this one as it is.
fn stated_length(headers: &HeaderMap) -> Option<u64> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let length = values.next()?.to_str().ok()?;
    let is_one = values.all(|value| value == length) && length.bytes().all(|b| b.is_ascii_digit());
    length.parse().ok().filter(|_| is_one)
}
