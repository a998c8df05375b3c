//! Which route a request takes, and what the route makes of its streams.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderValue, Request};
use tokio::time::Instant;

use super::deliver::RequestContext;
use super::guard::{Authorizer, Guard};
use super::request::asks_for_events;
use crate::alarm::jittered;
use crate::body::RequestBodyProgress;
use crate::config::{self, Frame, Matcher, OnUpstreamFailure, normal_path, requested_host};
use crate::exchange::RouteInfo;
use crate::http1::Limits;
use crate::sse::{EventStream, FailureEvent, FrameChoice, Heartbeat, Timeouts};
use crate::upstream::Upstream;

/// A route as one thread uses it.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) config: config::Route,
    pub(super) upstream: Rc<Upstream>,
    /// Both of them in the log and on the status page.
    pub(super) info: Arc<RouteInfo>,
    /// The upstream's `host:port`, for a request that names no host.
    pub(super) authority: String,
    /// How much the head of a response may hold.
    pub(super) limits: Limits,
    /// What its requests have to pass.
    pub(super) guard: Option<Arc<Guard>>,
    /// Who is asked by the guard whether they may pass.
    pub(super) authorizer: Option<Authorizer>,
    heartbeat: Arc<Heartbeat>,
}

/// How much of a request's body is kept to find the ID that an MCP error answers.
const KEPT_FOR_MCP: usize = 64 * 1024;

impl Route {
    pub(super) fn new(
        config: config::Route,
        upstream: Rc<Upstream>,
        limits: Limits,
        guard: Option<Arc<Guard>>,
        authorizer: Option<Authorizer>,
    ) -> Self {
        let info = Arc::new(RouteInfo {
            route: config.matcher.to_string(),
            upstream: config.upstream.address.to_string(),
        });
        let authority = config.upstream.address.authority();
        let heartbeat = Arc::new(Heartbeat::new(&config.heartbeat.text));
        Self {
            config,
            upstream,
            info,
            authority,
            limits,
            guard,
            authorizer,
            heartbeat,
        }
    }

    /// The upstreams that its requests are sent to, the one that is asked whether they may pass among them.
    pub(super) fn upstreams(
        self: &Rc<Self>,
    ) -> impl Iterator<Item = (Arc<config::Upstream>, Rc<Upstream>)> {
        let own = (self.config.upstream.clone(), self.upstream.clone());
        let asked = self.authorizer.as_ref().map(Authorizer::upstream);
        [Some(own), asked].into_iter().flatten()
    }

    /// How many bytes of a request's body are needed later.
    pub(super) fn kept_of_request(&self) -> usize {
        match self.config.events.on_upstream_failure {
            OnUpstreamFailure::Mcp => KEPT_FOR_MCP,
            OnUpstreamFailure::Abort
            | OnUpstreamFailure::Event
            | OnUpstreamFailure::Anthropic
            | OnUpstreamFailure::OpenaiResponses => 0,
        }
    }

    /// What tells a client of its upstream's failure.
    pub(super) fn failure_event(&self, request_body: &RequestBodyProgress) -> FailureEvent {
        match self.config.events.on_upstream_failure {
            OnUpstreamFailure::Abort => FailureEvent::None,
            OnUpstreamFailure::Event => FailureEvent::Event,
            OnUpstreamFailure::Anthropic => FailureEvent::Anthropic,
            OnUpstreamFailure::OpenaiResponses => FailureEvent::OpenaiResponses,
            OnUpstreamFailure::Mcp => FailureEvent::Mcp {
                id: json_rpc_id(&request_body.take_kept()),
            },
        }
    }

    /// The stream that answers what was `asked`.
    pub(super) fn event_stream(
        &self,
        context: &RequestContext,
        failure: FailureEvent,
    ) -> EventStream {
        let timeouts = &self.config.timeouts;
        let timeouts = Timeouts {
            heartbeat: self.config.heartbeat.interval,
            first_event: timeouts.first_event,
            read: timeouts.read,
            total: timeouts.total.map(jittered),
        };
        let frame = frame_choice(self.config.heartbeat.frame, context);
        let now = Instant::now().into_std();
        EventStream::new(self.heartbeat.clone(), frame, timeouts, failure, now)
    }
}

/// The first route that takes the request.
pub(super) fn find<'a, B>(routes: &'a [Rc<Route>], request: &Request<B>) -> Option<&'a Rc<Route>> {
    let context = RouteKey::new(request);
    routes
        .iter()
        .find(|route| matches(&route.config.matcher, &context))
}

/// What a request asks for, as routes compare it: found out once for all of them, and not at all if none has such a condition.
struct RouteKey<'a, B> {
    request: &'a Request<B>,
    host: OnceCell<Option<&'a str>>,
    path: OnceCell<Cow<'a, str>>,
}

impl<'a, B> RouteKey<'a, B> {
    fn new(request: &'a Request<B>) -> Self {
        Self {
            request,
            host: OnceCell::new(),
            path: OnceCell::new(),
        }
    }

    fn host(&self) -> Option<&'a str> {
        *self.host.get_or_init(|| requested_host(self.request))
    }

    fn path(&self) -> &str {
        let path = || normal_path(self.request.uri().path());
        self.path.get_or_init(path)
    }
}

fn matches<B>(matcher: &Matcher, context: &RouteKey<'_, B>) -> bool {
    let Matcher {
        host,
        path,
        method,
        header,
    } = matcher;
    host.as_deref().is_none_or(|host| {
        context
            .host()
            .is_some_and(|seen| seen.eq_ignore_ascii_case(host))
    }) && path
        .as_deref()
        .is_none_or(|prefix| is_under(context.path(), prefix))
        && method
            .as_ref()
            .is_none_or(|method| context.request.method() == method)
        && header.as_ref().is_none_or(|wanted| {
            let mut values = context.request.headers().get_all(&wanted.name).iter();
            values.any(|value| wanted.value.as_ref().is_none_or(|wanted| value == wanted))
        })
}

/// Whether `prefix`, which ends in no slash, is the beginning of `path` on a segment's border.
fn is_under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The heartbeat's form for a client (F74 to F86): a client with a real parser takes the bare line; one that splits on blank
/// lines would lose the event that follows it.
fn frame_choice(frame: Frame, context: &RequestContext) -> FrameChoice {
    let agent = text(context.user_agent.as_ref());
    let api_client = text(context.api_client.as_ref());
    match frame {
        Frame::Line => FrameChoice::Line,
        Frame::Block => FrameChoice::Block,
        // `@google/genai` wants every block to start with `data:` (F79), whatever its `Accept` says.
        Frame::Auto
            if agent.contains("google-genai-sdk") || api_client.contains("google-genai-sdk") =>
        {
            FrameChoice::Block
        }
        Frame::Auto if asks_for_events(&context.accept) || is_old_openai_go(agent) => {
            FrameChoice::Line
        }
        Frame::Auto => FrameChoice::BlockUntilId,
    }
}

/// What a field says; nothing if it is not there, or no text.
fn text(field: Option<&HeaderValue>) -> &str {
    let text = field.and_then(|value| value.to_str().ok());
    text.unwrap_or_default()
}

/// openai-go before 3.43 takes the blank line for an empty event and fails (F77). It says `OpenAI/Go 3.42.0`.
fn is_old_openai_go(agent: &str) -> bool {
    let version = || {
        let mut numbers = agent
            .strip_prefix("OpenAI/Go ")?
            .split('.')
            .map_while(|part| part.parse::<u32>().ok());
        Some((numbers.next()?, numbers.next()?))
    };
    version().is_some_and(|version| version < (3, 43))
}

/// The `id` of a JSON-RPC request as JSON text; `null` if there is none to be found.
fn json_rpc_id(request: &[u8]) -> String {
    let request: Option<serde_json::Value> = serde_json::from_slice(request).ok();
    request
        .as_ref()
        .and_then(|request| request.get("id"))
        .map_or_else(|| "null".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HeaderMatch;

    #[test]
    fn prefixes_end_on_segment_borders() {
        for (path, expected) in [
            ("/v1/chat", true),
            ("/v1/chat/", true),
            ("/v1/chat/x", true),
            ("/v1/chats", false),
            ("/v1", false),
            ("/V1/chat", false),
        ] {
            assert_eq!(is_under(path, "/v1/chat"), expected, "{path}");
        }
    }

    #[test]
    fn all_conditions_must_hold() {
        let request = |method: &str, uri: &str, host: &str| {
            Request::builder()
                .method(method)
                .uri(uri)
                .header("host", host)
                .header("x-tenant", "a")
                .body(())
                .unwrap()
        };
        let takes =
            |matcher: &Matcher, request: &Request<()>| matches(matcher, &RouteKey::new(request));
        let matcher = Matcher {
            host: Some("example.com".to_owned()),
            path: Some("/events".to_owned()),
            method: Some(http::Method::GET),
            header: Some(HeaderMatch {
                name: "x-tenant".parse().unwrap(),
                value: Some(HeaderValue::from_static("a")),
            }),
        };
        assert!(takes(
            &matcher,
            &request("GET", "/events/1?x", "Example.COM:8080")
        ));
        assert!(takes(
            &matcher,
            &request("GET", "http://example.com/events", "other")
        ));
        for (uri, host) in [
            ("/%65vents", "example.com"),
            ("//events/1", "example.com"),
            ("/x/../events", "example.com."),
            ("/./events", "EXAMPLE.com.:80"),
        ] {
            assert!(takes(&matcher, &request("GET", uri, host)), "{uri} {host}");
        }
        assert!(!takes(&matcher, &request("POST", "/events", "example.com")));
        assert!(!takes(&matcher, &request("GET", "/event", "example.com")));
        assert!(!takes(&matcher, &request("GET", "/events", "example.org")));
        let other = HeaderMatch {
            name: "x-tenant".parse().unwrap(),
            value: Some(HeaderValue::from_static("b")),
        };
        assert!(!takes(
            &Matcher {
                header: Some(other),
                ..matcher.clone()
            },
            &request("GET", "/events", "example.com")
        ));
        assert!(takes(&Matcher::default(), &request("GET", "/", "x")));
    }

    #[test]
    fn frames_by_client() {
        use FrameChoice::{Block, BlockUntilId, Line};
        for (fields, expected) in [
            (&[][..], BlockUntilId),
            (&[("accept", "*/*")], BlockUntilId),
            (&[("accept", "application/json, text/event-stream")], Line),
            (&[("accept", "Text/Event-Stream;q=0.9")], Line),
            (&[("user-agent", "OpenAI/Go 3.42.0")], Line),
            (&[("user-agent", "OpenAI/Go 1.12.0")], Line),
            (&[("user-agent", "OpenAI/Go 3.43.0")], BlockUntilId),
            (&[("user-agent", "OpenAI/Go x")], BlockUntilId),
            (&[("user-agent", "OpenAI/Python 1.0.0")], BlockUntilId),
            (
                &[
                    ("user-agent", "google-genai-sdk/2.17.1 gl-node/v20"),
                    ("accept", "text/event-stream"),
                ],
                Block,
            ),
            (&[("x-goog-api-client", "google-genai-sdk/2.17.1")], Block),
        ] {
            let mut request = Request::builder();
            for &(name, value) in fields {
                request = request.header(name, value);
            }
            let context = RequestContext::of(&request.body(()).unwrap());
            assert_eq!(frame_choice(Frame::Auto, &context), expected, "{fields:?}");
            assert_eq!(frame_choice(Frame::Line, &context), Line);
            assert_eq!(frame_choice(Frame::Block, &context), Block);
        }
    }

    #[test]
    fn json_rpc_ids() {
        for (request, id) in [
            (&br#"{"jsonrpc":"2.0","id":7,"method":"x"}"#[..], "7"),
            (br#"{"id":"a\"b"}"#, r#""a\"b""#),
            (br#"{"method":"x"}"#, "null"),
            (br#"{"id":7,"cut"#, "null"),
            (b"", "null"),
            (br#"[{"id":7}]"#, "null"),
        ] {
            assert_eq!(json_rpc_id(request), id);
        }
    }
}
