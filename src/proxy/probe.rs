//! The end of a chain for `sse-sidecar doctor --probe`: it answers requests with its token before anything is routed, counted or
//! logged.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use http_body::{Body, Frame};

use super::response::{StreamCoding, edit_event_stream_head};
use crate::body::{Aborted, ForeignBody, ResponseBody};
use crate::client::Downstream;
use crate::config::{Config, normal_path};
use crate::doctor::{Answer, Origin, Token};
use crate::wire::is_event_stream;

/// The probe of a configuration. All threads share one, so that its token has one stream at a time.
#[derive(Debug)]
pub struct Probe {
    path: String,
    origin: Arc<Origin>,
}

/// How long its client may take no byte.
const WRITE: Duration = Duration::from_secs(30);

impl Probe {
    /// The probe of `config`, if it has one; with the same token, `before` continues.
    pub fn of(config: &Config, before: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        let probe = config.probe.as_ref()?;
        let token = Token::new(&probe.token);
        let known = before.filter(|before| before.origin.has(&token));
        let origin = match known {
            Some(before) => before.origin.clone(),
            None => Arc::new(Origin::new(token)),
        };
        Some(Arc::new(Self {
            path: probe.path.clone(),
            origin,
        }))
    }

    /// The response to a probe request; `None` if it is none, or does not have the token.
    pub(super) fn answer<B>(
        &self,
        request: &Request<B>,
        client: &dyn Downstream,
    ) -> Option<Response<ResponseBody>> {
        if normal_path(request.uri().path()) != self.path {
            return None;
        }
        let mut response = self.origin.answer(request)?;
        client.set_write_timeout(Some(WRITE));
        let headers = response.headers_mut();
        let labels = headers.get_all(CONTENT_TYPE).iter();
        if is_event_stream(labels.map(HeaderValue::as_bytes)) {
            // The hops see what they see of every event stream.
            edit_event_stream_head(headers, &StreamCoding::of(&http::HeaderMap::new()));
        }
        Some(response.map(|answer| ResponseBody::Foreign(ForeignBody::new(Unfailing(answer)))))
    }
}

/// An answer as a body of a response, which may fail in general.
struct Unfailing(Answer);

impl Body for Unfailing {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        Pin::new(&mut self.0)
            .poll_frame(cx)
            .map_err(|never| match never {})
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}
