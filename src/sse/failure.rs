//! What a client is told inside the stream when the upstream has failed, where its route asks for that.
//!
//! Once the head is out an HTTP status can say nothing more, and many SDKs take a stream that just stops for a complete,
//! empty answer. Nothing is ever fabricated for OpenAI's Chat Completions: its only ending is `[DONE]`, and that would be a lie.

use super::end::Reason;

/// The event that tells a client of its upstream's failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailureEvent {
    /// None: the abort says it all.
    None,
    /// `event: error` with a JSON object naming the reason.
    Event,
    /// The `error` event of Anthropic's Messages API.
    Anthropic,
    /// The `response.failed` event of OpenAI's Responses API: clients that only know the `response.*` family ignore `error`.
    OpenaiResponses,
    /// A JSON-RPC error response, as MCP's Streamable HTTP carries it.
    Mcp {
        /// The `id` of the request that is answered, as JSON text; `null` if it is not known.
        id: String,
    },
}

impl FailureEvent {
    /// The event's bytes; none for [`FailureEvent::None`].
    pub(super) fn bytes(&self, reason: Reason) -> Vec<u8> {
        let (name, message) = (reason.as_str(), reason.message());
        // Neither holds a character that JSON would escape: both are constants of this crate.
        let text = match self {
            Self::None => String::new(),
            Self::Event => format!(
                "event: error\ndata: {{\"reason\":\"{name}\",\"message\":\"{message}\"}}\n\n"
            ),
            Self::Anthropic => format!(
                "event: error\ndata: {{\"type\":\"error\",\"error\":{{\"type\":\"api_error\",\"message\":\"{message}\"}}}}\n\n"
            ),
            Self::OpenaiResponses => format!(
                "event: response.failed\ndata: {{\"type\":\"response.failed\",\"response\":{{\"object\":\"response\",\
                 \"status\":\"failed\",\"error\":{{\"code\":\"server_error\",\"message\":\"{message}\"}},\"output\":[]}}}}\n\n"
            ),
            Self::Mcp { id } => format!(
                "event: message\ndata: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":-32000,\
                 \"message\":\"{message}\",\"data\":{{\"reason\":\"{name}\"}}}}}}\n\n"
            ),
        };
        text.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sse::parse::parse;

    #[test]
    fn every_dialect_is_one_whole_event_of_one_json_line() {
        let mcp = FailureEvent::Mcp { id: "7".to_owned() };
        for (dialect, name, holds) in [
            (
                FailureEvent::Event,
                "error",
                r#""reason":"upstream_read_timeout""#,
            ),
            (FailureEvent::Anthropic, "error", r#""type":"api_error""#),
            (
                FailureEvent::OpenaiResponses,
                "response.failed",
                r#""status":"failed""#,
            ),
            (mcp, "message", r#""id":7,"error""#),
        ] {
            let events = parse(&dialect.bytes(Reason::ReadTimeout));
            assert_eq!(events.len(), 1);
            assert_eq!(events[0].event, name);
            assert!(events[0].data.contains(holds), "{}", events[0].data);
            let braces = |c| events[0].data.matches(c).count();
            assert_eq!(braces('{'), braces('}'));
        }
        assert!(FailureEvent::None.bytes(Reason::ReadTimeout).is_empty());
    }
}
