//! How a stream reports an upstream failure to its client, where the route asks for that.
//!
//! Once the head has been sent, an HTTP status can say nothing more, and many SDKs take a stream that just stops for a complete,
//! empty response. Nothing is ever fabricated for OpenAI's Chat Completions: its only ending is `[DONE]`, and that would be a lie.

use super::end::EndReason;

/// The event that reports an upstream failure to a client.
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

/// A failure, as reported to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The reason's name, as in logs and metrics.
    pub name: &'static str,
    /// What it means, for a person.
    pub message: &'static str,
    /// Details, for a person.
    pub detail: Option<String>,
    /// The status that the upstream answered with, where the client has not seen it.
    pub status: Option<u16>,
    /// The text that came with it, or its beginning.
    pub body: Option<String>,
}

impl From<EndReason> for Failure {
    fn from(reason: EndReason) -> Self {
        Self {
            name: reason.as_str(),
            message: reason.message(),
            detail: None,
            status: None,
            body: None,
        }
    }
}

impl Failure {
    /// What happened, for a person, as a JSON string.
    fn sentence(&self) -> String {
        match &self.detail {
            Some(detail) => json(&format!("{}: {detail}", self.message)),
            None => json(self.message),
        }
    }

    /// What the upstream has answered, as more fields of a JSON object.
    fn answer(&self) -> String {
        let status = self.status.map(|status| format!(",\"status\":{status}"));
        let body = self.body.as_ref();
        let body = body.map(|body| format!(",\"body\":{}", json(body)));
        [status, body].into_iter().flatten().collect()
    }

    /// The name that Anthropic's API has for the upstream's status.
    fn anthropic_type(&self) -> &'static str {
        match self.status {
            Some(400) => "invalid_request_error",
            Some(401) => "authentication_error",
            Some(403) => "permission_error",
            Some(404) => "not_found_error",
            Some(413) => "request_too_large",
            Some(429) => "rate_limit_error",
            Some(529) => "overloaded_error",
            _ => "api_error",
        }
    }

    /// The code that OpenAI's Responses API has for the upstream's status.
    fn openai_code(&self) -> &'static str {
        match self.status {
            Some(429) => "rate_limit_exceeded",
            _ => "server_error",
        }
    }
}

impl FailureEvent {
    /// The event's bytes; none for [`FailureEvent::None`].
    pub fn bytes(&self, failure: &Failure) -> Vec<u8> {
        let name = failure.name; // a constant of this crate, with nothing in it that JSON would escape
        let (message, answer) = (failure.sentence(), failure.answer());
        let text = match self {
            Self::None => String::new(),
            // Whatever the event's name, the SDKs of OpenAI raise an error where there is an `error`, and read a chunk where not.
            Self::Event => format!(
                "event: error\ndata: {{\"reason\":\"{name}\",\"message\":{message}{answer},\
                 \"error\":{{\"type\":\"{name}\",\"message\":{message}}}}}\n\n"
            ),
            Self::Anthropic => format!(
                "event: error\ndata: {{\"type\":\"error\",\"error\":{{\"type\":\"{}\",\"message\":{message}{answer}}}}}\n\n",
                failure.anthropic_type()
            ),
            Self::OpenaiResponses => format!(
                "event: response.failed\ndata: {{\"type\":\"response.failed\",\"response\":{{\"object\":\"response\",\
                 \"status\":\"failed\",\"error\":{{\"code\":\"{}\",\"message\":{message}{answer}}},\"output\":[]}}}}\n\n",
                failure.openai_code()
            ),
            Self::Mcp { id } => format!(
                "event: message\ndata: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":-32000,\
                 \"message\":{message},\"data\":{{\"reason\":\"{name}\"{answer}}}}}}}\n\n"
            ),
        };
        text.into_bytes()
    }
}

/// `text` as a JSON string, on one line.
fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::sse::parse::parse;

    /// The name of the event that reports `failure`, and its data.
    fn told(dialect: &FailureEvent, failure: &Failure) -> (String, Value) {
        let events = parse(&dialect.bytes(failure));
        assert_eq!(events.len(), 1);
        let data = serde_json::from_str(&events[0].data).unwrap();
        (events[0].event.clone(), data)
    }

    fn mcp() -> FailureEvent {
        FailureEvent::Mcp { id: "7".to_owned() }
    }

    #[test]
    fn every_dialect_is_one_whole_event_of_one_json_line() {
        let message = "The upstream went silent";
        for (dialect, name, data) in [
            (
                FailureEvent::Event,
                "error",
                json!({
                    "reason": "upstream_read_timeout",
                    "message": message,
                    "error": { "type": "upstream_read_timeout", "message": message },
                }),
            ),
            (
                FailureEvent::Anthropic,
                "error",
                json!({ "type": "error", "error": { "type": "api_error", "message": message } }),
            ),
            (
                FailureEvent::OpenaiResponses,
                "response.failed",
                json!({
                    "type": "response.failed",
                    "response": {
                        "object": "response",
                        "status": "failed",
                        "error": { "code": "server_error", "message": message },
                        "output": [],
                    },
                }),
            ),
            (
                mcp(),
                "message",
                json!({
                    "jsonrpc": "2.0",
                    "id": 7,
                    "error": { "code": -32000, "message": message, "data": { "reason": "upstream_read_timeout" } },
                }),
            ),
        ] {
            assert_eq!(
                told(&dialect, &EndReason::ReadTimeout.into()),
                (name.to_owned(), data)
            );
        }
        let none = FailureEvent::None.bytes(&EndReason::ReadTimeout.into());
        assert!(none.is_empty());
    }

    #[test]
    fn an_upstreams_own_answer_is_in_every_dialect() {
        let body = "{\"error\":\r\n\"slow down\\\"\"}\u{2028}\0";
        let failure = |status| Failure {
            detail: Some("429 \"Too\" Many".to_owned()),
            status: Some(status),
            body: Some(body.to_owned()),
            ..EndReason::NotEvents.into()
        };
        let message = "The upstream's response is no event stream: 429 \"Too\" Many";
        for (dialect, place, sentence, kind) in [
            (FailureEvent::Event, "", "/message", None),
            (
                FailureEvent::Anthropic,
                "/error",
                "/error/message",
                Some(("/error/type", "rate_limit_error", "overloaded_error")),
            ),
            (
                FailureEvent::OpenaiResponses,
                "/response/error",
                "/response/error/message",
                Some((
                    "/response/error/code",
                    "rate_limit_exceeded",
                    "server_error",
                )),
            ),
            (mcp(), "/error/data", "/error/message", None),
        ] {
            let (_, data) = told(&dialect, &failure(429));
            let error = data.pointer(place).unwrap();
            assert_eq!(error["status"], 429);
            assert_eq!(error["body"], body);
            assert_eq!(data.pointer(sentence).unwrap(), message);
            if let Some((place, limited, overloaded)) = kind {
                assert_eq!(data.pointer(place).unwrap(), limited);
                let (_, data) = told(&dialect, &failure(529));
                assert_eq!(data.pointer(place).unwrap(), overloaded);
            }
        }
    }
}
