//! What was seen of one response, and all that the rules may use.

use std::time::Duration;

use http::{HeaderMap, StatusCode, Version};

use super::plan::Plan;
use crate::wire::BodyLength;

/// One request and its response, from outside. All times count from when the request was sent.
#[derive(Debug, Clone)]
pub struct Observation {
    /// What was asked for.
    pub url: String,
    /// It offered to take a compressed response, as browsers do.
    pub offers_compression: bool,
    /// The plan of the stream, if it is a probe.
    pub plan: Option<Plan>,
    /// The response's head; `None` if none came.
    pub head: Option<Head>,
    /// When how much of the body arrived.
    pub reads: Vec<Read>,
    /// The body as it arrived, which may be compressed.
    pub body: Vec<u8>,
    /// How it ended.
    pub end: End,
    /// When.
    pub ended: Duration,
    /// The largest delay of the measurement itself: smaller delays may not be the stream's.
    pub lag: Duration,
}

/// The head of a response.
#[derive(Debug, Clone)]
pub struct Head {
    /// When it had arrived.
    pub at: Duration,
    /// The status.
    pub status: StatusCode,
    /// The version of the last hop.
    pub version: Version,
    /// Its fields.
    pub headers: HeaderMap,
    /// How the end of its body is found; over HTTP/2 there is nothing to find.
    pub framing: Option<BodyLength>,
    /// Whether the connection was TLS.
    pub is_tls: bool,
    /// The issuer of the server's certificate.
    pub issuer: Option<String>,
}

/// Bytes that arrived together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// When.
    pub at: Duration,
    /// How many.
    pub length: usize,
}

/// How a body ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Complete, as its framing says.
    Complete,
    /// The connection was closed before.
    Cut,
    /// The connection was reset, or what came is not HTTP.
    Broken,
    /// The HTTP/2 stream was reset, with this code.
    Reset(String),
    /// There was none: the time to watch was over.
    Watched,
    /// There was no response; why, with details.
    NoResponse(String),
}

impl Observation {
    /// The values of a field of the head, joined.
    pub fn field(&self, name: &str) -> Option<String> {
        let headers = &self.head.as_ref()?.headers;
        let values = headers.get_all(name).iter();
        let values: Vec<_> = values
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// Whether a list field of the head has this element, parameters aside.
    pub fn lists(&self, name: &str, element: &str) -> bool {
        self.field(name).is_some_and(|value| {
            value.split(',').any(|item| {
                let item = item.split([';', '=']).next().unwrap_or_default();
                item.trim().eq_ignore_ascii_case(element)
            })
        })
    }
}
