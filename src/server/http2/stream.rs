//! One stream: its request is handled and its response sent.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason as Code, RecvStream};
use http::header::{ACCEPT, EXPECT};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use tokio::time::Instant;

use super::downstream::StreamClient;
use crate::body::{Aborted, Incoming};
use crate::client::Downstream;
use crate::http2::{Inflow, Outflow, Payload, Sent};
use crate::problem;
use crate::reason::Reason;
use crate::server::{Handler, Refusal, ShutdownWatch};

/// A stream from its request to the end of its response.
pub(super) struct OpenStream {
    client: Rc<StreamClient>,
    respond: SendResponse<Payload>,
}

/// A response's body while it is sent.
type Flowing<B> = Outflow<Pin<Box<B>>>;

impl OpenStream {
    pub(super) fn new(client: Rc<StreamClient>, respond: SendResponse<Payload>) -> Self {
        Self { client, respond }
    }

    /// Answers the request, for as long as the response takes.
    pub(super) fn answer<H: Handler>(
        self,
        request: Request<RecvStream>,
        handler: Rc<H>,
        shutdown: Rc<ShutdownWatch>,
    ) -> impl Future<Output = ()> {
        // Boxed: it is large, and dropped when the response has begun.
        let mut beginning = Box::pin(self.begin(request, handler));
        async move {
            let mut registration = shutdown.register();
            let begun = poll_fn(|cx| {
                registration.update(cx);
                beginning.as_mut().poll(cx)
            });
            let begun = begun.await;
            drop(beginning);
            if let Some((open, outflow)) = begun {
                if let Some(mut outflow) = outflow {
                    open.pass(&mut outflow).await;
                }
                let remainder = open.client.remainder.take();
                if let Some(remainder) = remainder {
                    remainder.over().await;
                }
            }
        }
    }

    /// Handles the request and sends the response's head. `None` if the stream was reset; no body if the head ended the response.
    async fn begin<H: Handler>(
        mut self,
        request: Request<RecvStream>,
        handler: Rc<H>,
    ) -> Option<(Self, Option<Flowing<H::Body>>)> {
        let (head, stream) = request.into_parts();
        let is_head = head.method == Method::HEAD;
        let most = self
            .client
            .connection
            .connection_settings
            .limits
            .request_headers;
        if head.headers.len() > most {
            let detail = format!("it has more than {most} fields");
            let reason = Reason::RequestHeadTooLarge;
            let accept = head.headers.get_all(ACCEPT);
            let refusal = problem::response(reason, Some(&detail), accept);
            handler.refused(&Refusal {
                client: &*self.client,
                head: Some(&head),
                reason,
                bytes: if is_head { 0 } else { refusal.body().len() },
            });
            if let Some(mut outflow) = self.send(refusal.map(Full::new), is_head).await {
                self.pass(&mut outflow).await;
            }
            return None;
        }
        let mut body = Inflow::new(stream, &head.headers);
        let expects = head.headers.get(EXPECT).map(HeaderValue::as_bytes);
        self.client
            .was_continued
            .set(!expects.is_some_and(|expects| expects.eq_ignore_ascii_case(b"100-continue")));
        if !self.client.was_continued.get() {
            let client = self.client.clone();
            body.ask_with(move || client.go_on());
        }
        let request = Request::from_parts(head, Incoming::Http2(body));
        let mut answering = pin!(handler.handle(self.client.clone(), request));
        let response = poll_fn(|cx| {
            *self.client.answering.borrow_mut() = Some(cx.waker().clone());
            if self.respond.poll_reset(cx).is_ready() {
                return Poll::Ready(None);
            }
            let response = answering.as_mut().poll(cx).map(Some);
            for interim in self.client.interim.take() {
                let _ = self.respond.send_informational(interim); // fails only with the stream
            }
            response
        })
        .await;
        let Some(response) = response else {
            let resets = &self.client.connection.premature_resets;
            resets.set(resets.get() + 1);
            return None;
        };
        let outflow = self.send(response, is_head).await;
        Some((self, outflow))
    }

    /// Sends a response's head, and returns its body unless the head ended the stream.
    async fn send<B>(&mut self, response: Response<B>, is_head: bool) -> Option<Flowing<B>>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>,
    {
        let (head, body) = response.into_parts();
        let mut body = Box::pin(body);
        let mut ends = body.is_end_stream();
        if !ends && (is_head || head.status == StatusCode::NOT_MODIFIED) {
            // No frame may contradict the length that the head states, not even an empty one: so the head ends the stream, and
            // what there is of a body is dropped.
            ends = poll_fn(|cx| Poll::Ready(body.as_mut().poll_frame(cx).is_ready())).await;
        }
        let head = Response::from_parts(head, ());
        let stream = self.respond.send_response(head, ends).ok()?; // an error means that the client is gone
        (!ends).then(|| Outflow::new(body, stream, self.client.queued.clone()))
    }

    async fn pass<B>(&self, outflow: &mut Flowing<B>)
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>,
    {
        let client = &self.client;
        let is_held_up = || client.connection.wire.stall().is_full();
        let sent = poll_fn(|cx| outflow.poll(cx, client.write_timeout.get(), is_held_up, code_of));
        let sent = sent.await;
        match sent {
            Sent::Stalled => client.cancellation.set(Some(Reason::ClientStalled)),
            Sent::Refused => client.has_reset.set(true),
            Sent::Complete | Sent::Broken | Sent::Lost => {}
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let connection = &self.client.connection;
        connection.count_write_timeout(self.client.write_timeout.get(), -1);
        connection.open.set(connection.open.get() - 1);
        connection.idle_since.set(Instant::now());
    }
}

/// The code with which an aborted response resets its stream.
fn code_of(error: impl Into<Box<dyn Error + Send + Sync>>) -> Code {
    let error = error.into();
    let aborted = error.downcast_ref::<Aborted>();
    aborted
        .and_then(|aborted| aborted.code)
        .unwrap_or(Code::INTERNAL_ERROR)
}
