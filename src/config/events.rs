//! `[events]` and `[heartbeat]`: what counts as an event stream, what keeps it alive, and how it ends.

use std::time::Duration;

/// What counts as an event stream, and how it ends when the upstream fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Events {
    /// How a response is recognised as an event stream.
    pub detect: Detect,
    /// Every request is treated as asking for an event stream: compression is not requested from the upstream.
    pub streaming: bool,
    /// What the client gets when the upstream fails in the middle of a stream.
    pub on_upstream_failure: OnUpstreamFailure,
}

/// How a response is recognised as an event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detect {
    /// By its media type, `text/event-stream`.
    Auto,
    /// Every 2xx response is one, whatever its media type; it is relabelled.
    Always,
    /// None is.
    Never,
}

/// What the client gets when the upstream fails in the middle of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUpstreamFailure {
    /// The connection is aborted and nothing added.
    Abort,
    /// `event: error` with JSON data naming a reason, then the abort.
    Event,
    /// The error event of Anthropic's Messages API.
    Anthropic,
    /// The `error` event of OpenAI's Responses API.
    OpenaiResponses,
    /// A JSON-RPC error as MCP's Streamable HTTP carries it.
    Mcp,
}

/// What keeps silent streams alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// How long nothing was written before one goes out; `None` sends none.
    pub interval: Option<Duration>,
    /// The shape of the comment.
    pub frame: Frame,
    /// The comment's text, without line ends.
    pub text: String,
    /// How long a client that wants an event stream waits before it gets a head from the sidecar; `None` waits for the upstream's.
    pub before_head: Option<Duration>,
}

/// The shape of a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// The one that the client is known to handle.
    Auto,
    /// `: heartbeat` and a line feed.
    Line,
    /// `: heartbeat` and a blank line.
    Block,
}

impl Detect {
    /// Whether a response is an event stream, by its status and by whether its media type says so. A range of one (206) is not:
    /// heartbeats would end up inside the range.
    pub fn is_event_stream(self, status: u16, labelled: bool) -> bool {
        match self {
            _ if status == 206 => false,
            Self::Auto => labelled,
            Self::Always => labelled || (200..300).contains(&status),
            Self::Never => false,
        }
    }
}

impl Default for Events {
    fn default() -> Self {
        Self {
            detect: Detect::Auto,
            streaming: false,
            on_upstream_failure: OnUpstreamFailure::Abort,
        }
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self {
            interval: Some(Duration::from_secs(15)),
            frame: Frame::Auto,
            text: "heartbeat".to_owned(),
            before_head: None,
        }
    }
}
