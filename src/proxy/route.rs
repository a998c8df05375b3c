//! A route, and its settings for streams.

use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use tokio::time::Instant;

use super::deliver::RequestContext;
use super::guard::{Authorizer, Guard};
use super::request::asks_for_events;
use super::resume::Resuming;
use crate::alarm::jittered;
use crate::body::RequestBodyProgress;
use crate::config::{self, Action, Frame, OnUpstreamFailure, PathPattern, Proxied};
use crate::counters::Local;
use crate::exchange::RouteInfo;
use crate::files::Files;
use crate::http1::Limits;
use crate::metrics::{Metrics, RouteCounters};
use crate::resume::LocalStreams;
use crate::sse::{EventStream, FailureEvent, FrameChoice, Heartbeat, Timeouts};
use crate::upstream::{Pool, Upstream};

/// A route as one thread uses it.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) config: config::Route,
    /// What answers, unless the route does so itself.
    pub(super) backend: Option<Rc<Backend>>,
    /// What answers instead of a backend.
    pub(super) files: Option<Files>,
    /// Requests and answers pass as they are.
    pub(super) changes_nothing: bool,
    /// How its streams outlive their clients, if they do.
    pub(super) resuming: Option<Rc<Resuming>>,
    /// What its requests have to pass.
    pub(super) guard: Option<Arc<Guard>>,
    /// The authorizing service of its guard.
    pub(super) authorizer: Option<Authorizer>,
    /// Both of them in the log and on the status page.
    pub(super) info: Arc<RouteInfo>,
    /// What this thread counts of its requests.
    pub(super) counters: Local<RouteCounters>,
    heartbeat: Arc<Heartbeat>,
}

/// How a route's requests go to its backend.
#[derive(Debug)]
pub(super) struct Backend {
    pub(super) config: Proxied,
    pub(super) upstream: Rc<Upstream>,
    /// Where they go if there are several upstreams,
    pub(super) pool: Option<Rc<Pool>>,
    /// and the route's `info` with each of them in its place.
    pub(super) infos: Vec<Arc<RouteInfo>>,
    /// The upstream's `host:port`, for a request that names no host.
    pub(super) authority: String,
    /// How much the head of a response may hold.
    pub(super) limits: Limits,
}

/// How much of a request's body is kept to find the ID that an MCP error answers.
const KEPT_FOR_MCP: usize = 64 * 1024;

impl Route {
    pub(super) fn new(
        config: config::Route,
        upstream: Option<Rc<Upstream>>,
        pool: Option<Rc<Pool>>,
        limits: Limits,
        (guard, authorizer): (Option<Arc<Guard>>, Option<Authorizer>),
        streams: &Rc<LocalStreams>,
        metrics: &Metrics,
    ) -> Self {
        let info_of = |upstream: String| {
            let route = config.label();
            Arc::new(RouteInfo { route, upstream })
        };
        let urls = config
            .upstreams()
            .map(|upstream| upstream.address.to_string());
        let urls: Vec<_> = urls.collect();
        let info = info_of(match &*urls {
            [] => String::new(),
            [only] => only.clone(),
            [first, others @ ..] => format!("{first} and {} more", others.len()),
        });
        let infos = if pool.is_some() {
            urls.into_iter().map(info_of).collect()
        } else {
            Vec::new()
        };
        let backend = match (&config.action, upstream) {
            (Action::Proxy(proxied), Some(upstream)) => Some(Rc::new(Backend {
                config: proxied.clone(),
                upstream,
                pool,
                infos,
                authority: proxied.upstream.address.authority(),
                limits,
            })),
            _ => None,
        };
        let counters = metrics.route(&info.route);
        let files = match &config.action {
            Action::Files(files) => Some(Files::new(files)),
            Action::Proxy(_) | Action::Redirect(_) | Action::Respond(_) => None,
        };
        let heartbeat = Arc::new(Heartbeat::new(&config.heartbeat.text));
        Self {
            changes_nothing: changes_nothing(&config),
            resuming: Resuming::new(&config, streams),
            config,
            backend,
            files,
            info,
            counters,
            guard,
            authorizer,
            heartbeat,
        }
    }

    /// How many segments of a request's path the route has matched.
    pub(super) fn segments(&self) -> usize {
        let path = self.config.matcher.path.as_ref();
        path.map_or(0, PathPattern::segments)
    }

    /// The upstreams of its requests, the authorizing service included.
    pub(super) fn upstreams(
        self: &Rc<Self>,
    ) -> impl Iterator<Item = (Arc<config::Upstream>, Rc<Upstream>)> {
        let backend = self.backend.iter();
        let own = backend.flat_map(|backend| {
            let several = backend.pool.iter().flat_map(|pool| pool.upstreams());
            let only = backend.pool.is_none().then_some(&backend.upstream);
            several.chain(only)
        });
        let own = own.map(|upstream| (upstream.config().clone(), upstream.clone()));
        own.chain(self.authorizer.as_ref().map(Authorizer::upstream))
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

    /// The event that reports an upstream failure to a client.
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
        self.event_stream_within(timeouts, context, failure)
    }

    /// The same for a client that reads what somebody else gets from the upstream, and times.
    pub(super) fn event_stream_of_reader(
        &self,
        context: &RequestContext,
        failure: FailureEvent,
    ) -> EventStream {
        let timeouts = Timeouts {
            heartbeat: self.config.heartbeat.interval,
            first_event: None,
            read: None,
            total: None,
        };
        self.event_stream_within(timeouts, context, failure)
    }

    fn event_stream_within(
        &self,
        timeouts: Timeouts,
        context: &RequestContext,
        failure: FailureEvent,
    ) -> EventStream {
        let frame = frame_choice(self.config.heartbeat.frame, context);
        let now = Instant::now().into_std();
        EventStream::new(self.heartbeat.clone(), frame, timeouts, failure, now)
    }
}

fn changes_nothing(route: &config::Route) -> bool {
    let of_action = match &route.action {
        Action::Proxy(proxied) => {
            proxied.host.is_none()
                && proxied.replace_prefix.is_none()
                && proxied.request_headers.is_empty()
        }
        Action::Files(_) => true,
        Action::Redirect(_) | Action::Respond(_) => false,
    };
    of_action && route.response_headers.is_empty() && route.cors.is_none()
}

/// The heartbeat's form for a client: one with a real parser gets the bare line; one that splits on blank lines would lose the
/// event that follows it.
fn frame_choice(frame: Frame, context: &RequestContext) -> FrameChoice {
    let agent = text(context.user_agent.as_ref());
    match frame {
        Frame::Line => FrameChoice::Line,
        Frame::Block => FrameChoice::Block,
        // `@google/genai` wants every block to start with `data:`, whatever its `Accept` says.
        Frame::Auto if is_google_genai(context) => FrameChoice::Block,
        Frame::Auto if asks_for_events(&context.accept) || is_old_openai_go(agent) => {
            FrameChoice::Line
        }
        Frame::Auto => FrameChoice::BlockUntilId,
    }
}

/// Whether the client is one of Google's, which take blocks apart by hand.
pub(super) fn is_google_genai(context: &RequestContext) -> bool {
    let fields = [&context.user_agent, &context.api_client];
    let mut texts = fields.into_iter().map(|field| text(field.as_ref()));
    texts.any(|text| text.contains("google-genai-sdk"))
}

/// The value of a field; empty if it is missing or no text.
fn text(field: Option<&HeaderValue>) -> &str {
    let text = field.and_then(|value| value.to_str().ok());
    text.unwrap_or_default()
}

/// openai-go before 3.43 treats the blank line as an empty event and fails. Its `User-Agent` is `OpenAI/Go 3.42.0`.
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
    use http::Request;

    use super::*;

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
