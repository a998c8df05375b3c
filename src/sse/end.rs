//! How streams end: what the upstream did, what the client sees, and why.

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub reason: EndReason,
    /// What the client must see.
    pub manner: Manner,
}

/// What a client sees of an ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// A complete response.
    Clean,
    /// A response that is visibly cut: no last chunk, or a reset.
    Abort,
}

/// Why a stream ended, as far as the stream itself can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The upstream ended it.
    Complete,
    /// The `total` timeout.
    Total,
    /// An operator has asked for it.
    Operator,
    /// The process drains, and the stream's client can reconnect elsewhere.
    Rotated,
    /// The process stops.
    Shutdown,
    /// The `first_event` timeout.
    FirstEventTimeout,
    /// The `read` timeout.
    ReadTimeout,
    /// The upstream's connection closed before its response was complete.
    UpstreamClosed,
    /// The upstream's connection broke, or its bytes could not be decoded.
    UpstreamFailed,
    /// The upstream had no event stream to give, when the client already had the head of one.
    NotEvents,
    /// Another connection of the client's reads the stream now.
    Superseded,
    /// The client has fallen behind what is kept of the stream.
    Lagged,
    /// The client has asked for the stream to be stopped.
    Stopped,
    /// No client returned for the stream in time.
    GraceOver,
}

/// How the upstream's body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamEnd {
    /// Complete, as its framing says; or framed by nothing but its end.
    Finished,
    /// Closed short of a `Content-Length` that no endless stream can have meant.
    ShortOfLength,
    /// Closed without the last chunk.
    WithoutLastChunk,
    /// Reset, malformed, or impossible to decode.
    Failed,
    /// The code that reads the upstream for this client has ended the stream, for this reason.
    Judged(EndReason),
}

impl EndReason {
    /// The reason's name in logs, metrics and in-band events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Total => "total",
            Self::Operator => "ended_by_operator",
            Self::Rotated => "rotated",
            Self::Shutdown => "shutdown",
            Self::FirstEventTimeout => "upstream_first_event_timeout",
            Self::ReadTimeout => "upstream_read_timeout",
            Self::UpstreamClosed => "upstream_closed",
            Self::UpstreamFailed => "upstream_failed",
            Self::NotEvents => "upstream_not_events",
            Self::Superseded => "superseded",
            Self::Lagged => "lagged",
            Self::Stopped => "stopped",
            Self::GraceOver => "grace_over",
        }
    }

    /// The reason for a person.
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Complete => "The stream is complete",
            Self::Total => "The stream has reached its maximum age",
            Self::Operator => "An operator has ended the stream",
            Self::Rotated => "The proxy drains, and the client is to reconnect",
            Self::Shutdown => "The proxy is shutting down",
            Self::FirstEventTimeout => "The upstream sent no event in time",
            Self::ReadTimeout => "The upstream went silent",
            Self::UpstreamClosed => "The upstream closed the stream before it was complete",
            Self::UpstreamFailed => "The upstream connection failed",
            Self::NotEvents => "The upstream's response is no event stream",
            Self::Superseded => "Another connection reads the stream now",
            Self::Lagged => "The client has fallen too far behind",
            Self::Stopped => "The client has stopped the stream",
            Self::GraceOver => "Nobody came back for the stream in time",
        }
    }
}
