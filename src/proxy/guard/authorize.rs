//! Asks a service about each request (`access.authorize`): with the request's head and without its body. It fails closed: only a
//! 2xx admits, and anything that is no response refuses.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HOST, LOCATION, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version};
use http_body::Body;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::passed::Passed;
use super::refusal::Answered;
use super::{Asker, Refusal};
use crate::body::{Incoming, RequestBody};
use crate::client::{Downstream, NoClient};
use crate::config::{self, ConnectRetry, Detect};
use crate::http1::Limits;
use crate::metrics::Phase;
use crate::proxy::authority;
use crate::proxy::headers::{found, remove_hop_by_hop};
use crate::reason::Reason;
use crate::upstream::{Answer, AnswerBody, Terms, Upstream};

static X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
static X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
static X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
static X_ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");

/// How much of a refusal's body is passed on, and of another body read so that its connection can be kept.
const MOST_OF_BODY: usize = 64 * 1024;

/// One thread's view of the service.
#[derive(Debug)]
pub(in crate::proxy) struct Authorizer {
    service: config::Service,
    /// Fields of its answer that go up.
    headers: Vec<HeaderName>,
    timeout: Duration,
    upstream: Rc<Upstream>,
    limits: Limits,
}

impl Authorizer {
    pub(in crate::proxy) fn new(
        access: &config::Access,
        service: config::Service,
        upstream: Rc<Upstream>,
        limits: Limits,
    ) -> Self {
        Self {
            service,
            headers: access.authorize_headers.clone(),
            timeout: access.authorize_timeout,
            upstream,
            limits,
        }
    }

    pub(in crate::proxy) fn upstream(&self) -> (Arc<config::Upstream>, Rc<Upstream>) {
        (self.service.upstream.clone(), self.upstream.clone())
    }

    /// Admits the request, and takes over fields of the service's response.
    pub(super) async fn check<B>(
        &self,
        request: &Request<B>,
        asker: Asker<'_>,
        passed: &mut Passed,
    ) -> Result<(), Refusal> {
        let asking = async {
            let answer = self.ask(self.question(request, asker)).await?;
            self.judge(answer, passed).await
        };
        match timeout(self.timeout, asking).await {
            Ok(judged) => judged,
            Err(_) => Err(failed("the authorizing service did not answer in time")),
        }
    }

    /// The request's head without fields about its body, its connection, or a cached copy.
    fn question<B>(&self, request: &Request<B>, asker: Asker<'_>) -> Request<()> {
        let mut headers = request.headers().clone();
        remove_hop_by_hop(&mut headers);
        for name in found(&headers, |name| is_of_body(name) || is_about_request(name)) {
            headers.remove(name);
        }
        for name in &self.headers {
            for name in found(&headers, |other| is_spelling_of(other, name.as_str())) {
                headers.remove(name);
            }
        }
        if let Some(host) = authority::as_host(request.uri()) {
            headers.insert(HOST, host);
        }
        asker.forward(&mut headers);
        let method = HeaderValue::from_str(request.method().as_str()).ok();
        let target = request
            .uri()
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let target = HeaderValue::from_str(target).ok();
        for (name, value) in [
            (&X_FORWARDED_METHOD, &method),
            (&X_ORIGINAL_METHOD, &method),
            (&X_FORWARDED_URI, &target),
            (&X_ORIGINAL_URI, &target),
        ] {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        }
        if let Ok(host) = HeaderValue::from_str(&self.service.upstream.address.authority()) {
            headers.insert(HOST, host);
        }
        let mut question = Request::new(());
        *question.method_mut() = Method::GET;
        *question.uri_mut() = Uri::from(self.service.target.clone());
        *question.version_mut() = Version::HTTP_11;
        *question.headers_mut() = headers;
        question
    }

    async fn ask(&self, question: Request<()>) -> Result<Answer, Refusal> {
        let (body, progress) = RequestBody::new(Incoming::Kept(Bytes::new()), None, 0);
        let question = Box::new(question.map(|()| body));
        let nobody: Rc<dyn Downstream> = Rc::new(NoClient);
        let phase = Cell::new(Phase::Connecting);
        let terms = Terms {
            detect: Detect::Never,
            other_streams: false,
            raw_head: Bytes::new(),
            limits: self.limits,
            upgrades: false,
            connect: Some(self.timeout),
            connect_retry: ConnectRetry::Off,
            wants_events: false,
            client: &nobody,
            response_head: Some(self.timeout),
            request_body: &progress,
            interim: &|_, _| {},
            phase: &phase,
        };
        let answer = self.upstream.send(question, &terms).await;
        answer.map_err(|error| {
            let reason = error.reason.name();
            failed(&format!("the authorizing service did not answer: {reason}"))
        })
    }

    async fn judge(&self, answer: Answer, passed: &mut Passed) -> Result<(), Refusal> {
        let Answer { head, body, .. } = answer;
        let AnswerBody::Plain(body) = body else {
            return Err(failed(
                "the authorizing service did not answer with a message",
            ));
        };
        match head.status {
            status if status.is_success() => {
                for name in &self.headers {
                    passed.replace(name, head.headers.get_all(name));
                }
                if !body.is_end_stream() {
                    spawn_local(timeout(self.timeout, read(body))); // the connection is kept
                }
                Ok(())
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let body = read(body).await;
                Err(refused(head.status, &head.headers, body))
            }
            status => Err(failed(&format!(
                "the authorizing service answered {}",
                status.as_u16()
            ))),
        }
    }
}

/// The whole of a body that is not too long.
async fn read(mut body: Incoming) -> Option<Bytes> {
    let mut whole = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame.ok()?.into_data() {
            whole.extend_from_slice(&data);
        }
        if whole.len() > MOST_OF_BODY {
            return None;
        }
    }
    Some(whole.into())
}

/// The service's response to the client. Without its body, if that is broken or too long.
fn refused(status: StatusCode, headers: &HeaderMap, body: Option<Bytes>) -> Refusal {
    let mut refusal = Refusal::new(Reason::AuthorizationRefused);
    let of_body = body.as_ref().map(|_| CONTENT_TYPE);
    let coding = body.as_ref().map(|_| http::header::CONTENT_ENCODING);
    let names = [
        WWW_AUTHENTICATE,
        SET_COOKIE,
        LOCATION,
        CACHE_CONTROL,
        RETRY_AFTER,
    ];
    for name in names.into_iter().chain(of_body).chain(coding) {
        for value in headers.get_all(&name) {
            refusal.more.fields.append(&name, value.clone());
        }
    }
    refusal.more.answered = Some(Answered {
        status,
        body: body.unwrap_or_default(),
    });
    refusal
}

fn failed(detail: &str) -> Refusal {
    let mut refusal = Refusal::new(Reason::AuthorizationFailed);
    refusal.error.detail = Some(detail.to_owned());
    refusal
}

/// Fields without a meaning where there is no body, and those that ask for less than a whole answer.
fn is_of_body(name: &str) -> bool {
    name.starts_with("content-")
        || name.starts_with("if-")
        || matches!(name, "expect" | "range" | "trailer" | "accept-encoding")
}

/// Fields that describe the request to the service: never the client's, in no spelling that CGI treats as the same.
fn is_about_request(name: &str) -> bool {
    [
        "x-forwarded-method",
        "x-forwarded-uri",
        "x-original-method",
        "x-original-uri",
        "x-original-url",
    ]
    .iter()
    .any(|known| is_spelling_of(name, known))
}

/// Whether `name` is `known`, or becomes the same variable of CGI, WSGI or Rack.
pub(super) fn is_spelling_of(name: &str, known: &str) -> bool {
    let same = |(one, other): (u8, u8)| {
        one == other || matches!((one, other), (b'_', b'-') | (b'-', b'_'))
    };
    name.len() == known.len() && name.bytes().zip(known.bytes()).all(same)
}
