//! The admin port: health, readiness and metrics.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;

use crate::body::Incoming;
use crate::client::Reader;
use crate::metrics::Metrics;
use crate::server::Handler;

/// What the admin port shows.
#[derive(Debug)]
pub struct Admin {
    metrics: Arc<Metrics>,
    ready: Arc<AtomicBool>,
}

/// The version 0.0.4 of the text format is what every Prometheus server reads.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

impl Admin {
    /// Shows `metrics`, and whether the process is `ready` for new requests.
    pub fn new(metrics: Arc<Metrics>, ready: Arc<AtomicBool>) -> Self {
        Self { metrics, ready }
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, TEXT, "use GET\n");
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/live" => text(StatusCode::OK, TEXT, "live\n"),
            "/ready" if self.ready.load(Ordering::Relaxed) => text(StatusCode::OK, TEXT, "ready\n"),
            "/ready" => text(StatusCode::SERVICE_UNAVAILABLE, TEXT, "draining\n"),
            "/metrics" => text(StatusCode::OK, PROMETHEUS_TEXT, self.metrics.text()),
            _ => text(
                StatusCode::NOT_FOUND,
                TEXT,
                "there is /live, /ready and /metrics\n",
            ),
        }
    }
}

impl Handler for Admin {
    type Body = Full<Bytes>;

    async fn handle(
        self: Rc<Self>,
        _: Rc<dyn Reader>,
        request: Request<Incoming>,
    ) -> Response<Full<Bytes>> {
        self.answer(request.method(), request.uri().path())
    }
}

fn text(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
