//! The origin of probes: at the end of the chain, in a sidecar or alone.
//!
//! It responds only to requests with the token; for all others there is no probe. One stream runs at a time, and a plan is bounded
//! ([`Plan::parse`]), so a token that leaks costs little.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, VIA};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use serde_json::json;
use tokio::time::{Instant, Sleep, sleep_until};

use super::plan::{Plan, What};

/// The request field with the token.
pub const TOKEN: &str = "sse-sidecar-probe";
/// The length of the shortest token, in bytes.
pub const SHORTEST_TOKEN: usize = 16;
/// The path of a probe, unless another one is set.
pub const PATH: &str = "/.well-known/sse-sidecar/probe";

/// The streams of one token.
#[derive(Debug)]
pub struct Origin {
    token: Token,
    streams: Mutex<Streams>,
}

/// A secret that is compared and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<[u8]>);

/// What became of the last streams, by the names that their clients made up.
#[derive(Debug, Default)]
struct Streams {
    is_running: bool,
    ended: VecDeque<(Box<str>, Ending, Instant)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The plan was over.
    Complete,
    /// The client was gone before.
    Left,
}

/// How many endings are remembered.
const MEMORY: usize = 16;
/// The longest name of a stream.
const LONGEST_KEY: usize = 64;

/// The body of an answer: a stream, or a few words.
#[derive(Debug)]
pub enum Answer {
    /// A stream by a plan.
    Stream(Box<ProbeStream>),
    /// A few words.
    Words(Bytes),
}

/// A stream by a plan. Dropped before its end, its client has left.
pub struct ProbeStream {
    plan: Plan,
    /// Which step is next.
    next: usize,
    begun: Instant,
    due: Instant,
    sleep: Pin<Box<Sleep>>,
    /// The request as it arrived here.
    request: Bytes,
    key: Box<str>,
    origin: Arc<Origin>,
    is_over: bool,
}

impl Token {
    /// A token with these bytes.
    pub fn new(token: &str) -> Self {
        Self(token.as_bytes().into())
    }

    /// Whether `other` is the same. How long that takes says nothing of how much is the same.
    fn is(&self, other: &[u8]) -> bool {
        let differing = self
            .0
            .iter()
            .zip(other)
            .fold(0, |seen, (a, b)| black_box(seen | (a ^ b)));
        black_box(differing) == 0 && self.0.len() == other.len()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Origin {
    /// The origin for those who have `token`.
    pub fn new(token: Token) -> Self {
        Self {
            token,
            streams: Mutex::default(),
        }
    }

    /// Whether its token is `token`.
    pub fn has(&self, token: &Token) -> bool {
        self.token.is(&token.0)
    }

    /// Responds to a request that has the token; `None` for all others.
    pub fn answer<B>(self: &Arc<Self>, request: &Request<B>) -> Option<Response<Answer>> {
        let token = request.headers().get(TOKEN)?;
        if !self.token.is(token.as_bytes()) {
            return None;
        }
        if request.method() == Method::OPTIONS {
            return Some(preflight(request.headers()));
        }
        let query = request.uri().query().unwrap_or_default();
        let value = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let mut found = pairs.filter(|(key, _)| *key == name);
            found.next().map(|(_, value)| value)
        };
        let key = value("key").filter(|key| key.len() <= LONGEST_KEY);
        Some(match (request.method(), key, value("plan")) {
            (&Method::GET, Some(key), Some(plan)) => match Plan::parse(plan) {
                Ok(plan) => self.begin(plan, key, request),
                Err(error) => words(StatusCode::BAD_REQUEST, format!("{error}\n")),
            },
            (&Method::GET, Some(key), None) => {
                let mut answer = words(StatusCode::OK, self.tell(key));
                let json = HeaderValue::from_static("application/json");
                answer.headers_mut().insert(CONTENT_TYPE, json);
                answer
            }
            _ => {
                let how = "ask with GET, `key` and `plan`; `sse-sidecar doctor --probe` does\n";
                words(StatusCode::BAD_REQUEST, how)
            }
        })
    }

    fn begin<B>(self: &Arc<Self>, plan: Plan, key: &str, request: &Request<B>) -> Response<Answer> {
        if std::mem::replace(&mut self.streams().is_running, true) {
            let why = "another probe with this token is running\n";
            let mut answer = words(StatusCode::TOO_MANY_REQUESTS, why);
            let soon = HeaderValue::from_static("5");
            answer.headers_mut().insert(RETRY_AFTER, soon);
            return answer;
        }
        let begun = Instant::now();
        let due = begun
            + plan
                .steps()
                .first()
                .map(|step| step.wait)
                .unwrap_or_default();
        let stream = ProbeStream {
            plan,
            next: 0,
            begun,
            due,
            sleep: Box::pin(sleep_until(due)),
            request: described(request),
            key: key.into(),
            origin: self.clone(),
            is_over: false,
        };
        let mut answer = Response::new(Answer::Stream(Box::new(stream)));
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        answer
    }

    /// What became of the stream `key`.
    fn tell(&self, key: &str) -> String {
        let streams = self.streams();
        let ended = streams.ended.iter().find(|(known, ..)| **known == *key);
        let told = match ended {
            Some((_, ending, at)) => {
                let ago = at.elapsed().as_secs_f64() * 1000.0;
                let name = match ending {
                    Ending::Complete => "complete",
                    Ending::Left => "left",
                };
                json!({ "state": name, "ms_ago": ago })
            }
            None if streams.is_running => json!({ "state": "running" }),
            None => json!({ "state": "unknown" }),
        };
        format!("{told}\n")
    }

    /// It is consistent even after a panic: each change is one assignment.
    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The request as it arrived, in JSON: what the hops have made of it.
fn described<B>(request: &Request<B>) -> Bytes {
    let field = |name: &str| {
        let value = request.headers().get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let described = json!({
        "http": format!("{:?}", request.version()),
        "last_event_id": field("last-event-id"),
        "accept_encoding": field(ACCEPT_ENCODING.as_str()),
        "via": field(VIA.as_str()),
        "forwarded_for": field("x-forwarded-for"),
        "forwarded_proto": field("x-forwarded-proto"),
    });
    format!("event: request\ndata: {described}\n\n").into()
}

/// What a page of another origin has to hear before it may ask.
fn preflight(asked: &HeaderMap) -> Response<Answer> {
    let mut answer = words(StatusCode::NO_CONTENT, "");
    let headers = answer.headers_mut();
    let origin = asked.get("origin").cloned();
    let origin = origin.unwrap_or(HeaderValue::from_static("*"));
    headers.insert("access-control-allow-origin", origin);
    for (name, value) in [
        ("access-control-allow-methods", "GET"),
        ("access-control-allow-headers", TOKEN),
        (TOKEN, "answered"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

fn words(status: StatusCode, words: impl Into<Bytes>) -> Response<Answer> {
    let mut answer = Response::new(Answer::Words(words.into()));
    *answer.status_mut() = status;
    let no_store = HeaderValue::from_static("no-store");
    answer.headers_mut().insert(CACHE_CONTROL, no_store);
    answer
}

impl Body for ProbeStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let stream = &mut *self;
        let Some(&step) = stream.plan.steps().get(stream.next) else {
            stream.end(Ending::Complete);
            return Poll::Ready(None);
        };
        ready!(stream.sleep.as_mut().poll(cx));
        let number = stream.next;
        stream.next += 1;
        if let Some(next) = stream.plan.steps().get(stream.next) {
            stream.due += next.wait;
            let due = stream.due;
            stream.sleep.as_mut().reset(due);
        }
        // The stamp is the moment at which it is sent, which may be later than planned.
        let bytes = match step.what {
            What::Request => stream.request.clone(),
            What::End => {
                stream.end(Ending::Complete);
                return Poll::Ready(None);
            }
            what => what.bytes(number, stream.begun.elapsed()).into(),
        };
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}

impl ProbeStream {
    fn end(&mut self, ending: Ending) {
        if !std::mem::replace(&mut self.is_over, true) {
            let mut streams = self.origin.streams();
            streams.is_running = false;
            let key = std::mem::take(&mut self.key);
            streams.ended.push_front((key, ending, Instant::now()));
            streams.ended.truncate(MEMORY);
        }
    }
}

impl Drop for ProbeStream {
    fn drop(&mut self) {
        self.end(Ending::Left);
    }
}

impl fmt::Debug for ProbeStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProbeStream")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Stream(stream) => Pin::new(stream).poll_frame(cx),
            Self::Words(words) if words.is_empty() => Poll::Ready(None),
            Self::Words(words) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(words))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Words(words) if words.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt;

    use super::*;

    fn origin() -> Arc<Origin> {
        Arc::new(Origin::new(Token::new("secret")))
    }

    fn asked(method: &str, query: &str, token: &str) -> Request<()> {
        let uri = format!("{PATH}?{query}");
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(TOKEN, token);
        request.header("last-event-id", "7").body(()).unwrap()
    }

    #[tokio::test]
    async fn requests_without_the_token_get_no_response() {
        let origin = origin();
        for token in ["", "Secret", "secre", "secrets", "secretsecret"] {
            assert!(
                origin
                    .answer(&asked("GET", "key=a&plan=0z", token))
                    .is_none(),
                "{token}"
            );
            assert!(origin.answer(&asked("OPTIONS", "", token)).is_none());
        }
        assert!(origin.answer(&Request::new(())).is_none());
        let answer = origin.answer(&asked("OPTIONS", "", "secret")).unwrap();
        assert_eq!(answer.headers()[TOKEN], "answered");
        for (method, query) in [
            ("GET", ""),
            ("POST", "key=a&plan=0z"),
            ("GET", "key=a&plan=x"),
        ] {
            let answer = origin.answer(&asked(method, query, "secret")).unwrap();
            assert_eq!(answer.status(), 400);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_follows_its_plan() {
        let origin = origin();
        let answer = origin.answer(&asked("GET", "key=a&plan=1200q.300e2.100c.50z", "secret"));
        let start = Instant::now();
        let mut body = answer.unwrap().into_body();
        let mut seen = Vec::new();
        while let Some(frame) = body.frame().await {
            let text = String::from_utf8(frame.unwrap().into_data().unwrap().into()).unwrap();
            seen.push((start.elapsed(), text));
        }
        let ms = Duration::from_millis;
        let times: Vec<_> = seen.iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [ms(1200), ms(1500), ms(1600)]);
        assert!(seen[0].1.contains("\"last_event_id\":\"7\""));
        assert_eq!(seen[1].1, "data: 0001 0001500000 xx\n\n");
        assert_eq!(seen[2].1, ": 0002 0001600000 comment\n\n");
        assert!(origin.tell("a").contains("complete"));
    }

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_and_leaving_is_noticed() {
        let origin = origin();
        let query = "key=a&plan=100e2.100z";
        let first = origin.answer(&asked("GET", query, "secret")).unwrap();
        assert!(origin.tell("a").contains("running"));
        let second = origin.answer(&asked("GET", query, "secret")).unwrap();
        assert_eq!(second.status(), StatusCode::TOO_MANY_REQUESTS);
        drop(second);
        assert!(origin.tell("a").contains("running"));
        drop(first);
        tokio::time::sleep(Duration::from_millis(250)).await;
        assert!(origin.tell("a").contains("left"));
        assert!(origin.tell("a").contains("250"));
        assert!(origin.tell("b").contains("unknown"));
        assert_eq!(
            origin
                .answer(&asked("GET", query, "secret"))
                .unwrap()
                .status(),
            200
        );
    }
}
