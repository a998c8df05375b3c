//! What can be found: one table.

/// A thing that may be wrong with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the titles say it")]
pub enum Rule {
    NoResponse,
    Status,
    ContentType,
    Cached,
    BufferedToEnd,
    BufferedBySize,
    BufferedByTime,
    OneLate,
    HeadHeld,
    CutInSilence,
    CutByAge,
    Cut,
    DisguisedCut,
    Undecodable,
    BytesChanged,
    CommentsStripped,
    LineEndsRewritten,
    Compressed,
    DisconnectLost,
    DisconnectLate,
    LastEventIdLost,
    PreflightRefused,
    NoHeartbeat,
    ContentLength,
    Expectation,
    CloseDelimited,
    Http10,
    SixConnections,
    NoTransform,
    NoCache,
    AccelBuffering,
    Etag,
    Vary,
    HeartbeatAdded,
    ForeignEnd,
    Silent,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// The stream does not work.
    Fault,
    /// It works now, and is likely not to in other circumstances.
    Risk,
    /// Worth knowing. It does not count as a finding where the exit code is decided.
    Note,
}

impl Rule {
    /// All of them, the gravest first.
    pub const ALL: [Self; 36] = [
        Self::NoResponse,
        Self::Status,
        Self::ContentType,
        Self::Cached,
        Self::BufferedToEnd,
        Self::BufferedBySize,
        Self::BufferedByTime,
        Self::OneLate,
        Self::HeadHeld,
        Self::CutInSilence,
        Self::CutByAge,
        Self::Cut,
        Self::DisguisedCut,
        Self::Undecodable,
        Self::BytesChanged,
        Self::CommentsStripped,
        Self::LineEndsRewritten,
        Self::Compressed,
        Self::DisconnectLost,
        Self::DisconnectLate,
        Self::LastEventIdLost,
        Self::PreflightRefused,
        Self::NoHeartbeat,
        Self::ContentLength,
        Self::Expectation,
        Self::CloseDelimited,
        Self::Http10,
        Self::SixConnections,
        Self::NoTransform,
        Self::NoCache,
        Self::AccelBuffering,
        Self::Etag,
        Self::Vary,
        Self::HeartbeatAdded,
        Self::ForeignEnd,
        Self::Silent,
    ];

    /// Its name for programs.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// How bad it is.
    pub fn weight(self) -> Weight {
        self.row().1
    }

    /// The problem, for a person.
    pub fn title(self) -> &'static str {
        self.row().2
    }

    /// The rule of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.name() == name)
    }

    #[rustfmt::skip]
    fn row(self) -> (&'static str, Weight, &'static str) {
        use Weight::{Fault, Note, Risk};
        match self {
            Self::NoResponse => ("no-response", Fault, "There is no response"),
            Self::Status => ("status", Fault, "The response is not a success"),
            Self::ContentType => ("content-type", Fault, "The response is not an event stream"),
            Self::Cached => ("cached", Fault, "The response comes from a cache"),
            Self::BufferedToEnd => ("buffered-to-end", Fault, "Everything arrives at once, at the end"),
            Self::BufferedBySize => ("buffered-by-size", Fault, "Events wait until a buffer is full"),
            Self::BufferedByTime => ("buffered-by-time", Fault, "Events are held and arrive in bursts"),
            Self::OneLate => ("one-late", Fault, "Each event is held until the next one"),
            Self::HeadHeld => ("head-held", Risk, "The response headers are held until the first event"),
            Self::CutInSilence => ("cut-in-silence", Fault, "A silent stream is cut"),
            Self::CutByAge => ("cut-by-age", Fault, "The stream is cut at a fixed age"),
            Self::Cut => ("cut", Fault, "The stream is cut"),
            Self::DisguisedCut => ("disguised-cut", Fault, "The stream is cut, and the cut looks like a clean end"),
            Self::Undecodable => ("undecodable", Fault, "The stream cannot be decoded"),
            Self::BytesChanged => ("bytes-changed", Fault, "A hop changes the stream's bytes"),
            Self::CommentsStripped => ("comments-stripped", Fault, "A hop strips comments, and with them heartbeats"),
            Self::LineEndsRewritten => ("line-ends-rewritten", Risk, "A hop rewrites line ends"),
            Self::Compressed => ("compressed", Risk, "The stream is compressed"),
            Self::DisconnectLost => ("disconnect-lost", Fault, "A client's disconnect does not reach the origin"),
            Self::DisconnectLate => ("disconnect-late", Risk, "A client's disconnect reaches the origin only when it writes"),
            Self::LastEventIdLost => ("last-event-id-lost", Risk, "A hop strips Last-Event-ID: clients cannot resume"),
            Self::PreflightRefused => ("preflight-refused", Risk, "Cross-origin preflight requests do not reach the origin"),
            Self::NoHeartbeat => ("no-heartbeat", Risk, "The stream is silent for long, without heartbeats"),
            Self::ContentLength => ("content-length", Risk, "The stream has a Content-Length"),
            Self::Expectation => ("expectation", Fault, "An expectation is not met"),
            Self::CloseDelimited => ("close-delimited", Note, "Only the close of the connection marks the end"),
            Self::Http10 => ("http-1.0", Note, "The last hop speaks HTTP/1.0"),
            Self::SixConnections => ("six-connections", Note, "Browsers open at most six of these streams"),
            Self::NoTransform => ("no-transform", Note, "Cache-Control lacks `no-transform`"),
            Self::NoCache => ("no-cache", Note, "Cache-Control allows caches to keep the stream"),
            Self::AccelBuffering => ("accel-buffering", Note, "X-Accel-Buffering is not `no`"),
            Self::Etag => ("etag", Note, "The stream has an ETag"),
            Self::Vary => ("vary", Note, "Vary names Accept-Encoding: a hop may compress"),
            Self::HeartbeatAdded => ("heartbeat-added", Note, "A hop adds comments"),
            Self::ForeignEnd => ("ended", Note, "The stream ended by itself"),
            Self::Silent => ("silent", Note, "Too little arrived to judge how it arrives"),
        }
    }
}

impl Weight {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Risk => "risk",
            Self::Note => "note",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for (index, rule) in Rule::ALL.into_iter().enumerate() {
            assert_eq!(Rule::named(rule.name()), Some(rule));
            assert_eq!(rule as usize, index, "the order is that of the table");
        }
        assert_eq!(Rule::named("nothing"), None);
    }
}
