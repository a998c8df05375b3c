//! The access log: one line for each request, when it is over.
//!
//! Nothing that a client or an upstream sends can end its value, or the line, or begin another one: see `written`.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method, Request, StatusCode, Version};

use super::TraceId;
use super::written::{LONGEST_VALUE, common, now, push_json, push_seconds, push_text};
use crate::client::{address_text, ip_text};
use crate::config::{self, AccessForm, AccessPart, AccessValue, requested_host};
use crate::reason::Reason;

/// Where lines go, and what they look like.
#[derive(Clone)]
pub struct AccessLog {
    form: Arc<config::AccessLog>,
    sink: AccessSink,
    /// What is kept of a request for its line.
    headers: Rc<[HeaderName]>,
    has_host: bool,
    has_query: bool,
}

/// Takes whole lines.
pub type AccessSink = Rc<dyn Fn(&[u8])>;

/// What is kept of a request for its line, besides the data of its exchange.
#[derive(Debug)]
pub(super) struct Record {
    log: AccessLog,
    client_ip: Option<IpAddr>,
    host: Box<str>,
    query: Box<str>,
    headers: Vec<(HeaderName, Box<[u8]>)>,
}

/// Everything known about a request. Unknown values are left out, or are a dash.
#[derive(Debug, Default)]
pub struct AccessLine<'a> {
    /// Whose request it is.
    pub client_ip: Option<IpAddr>,
    /// The peer's address.
    pub peer: Option<SocketAddr>,
    /// It came over TLS.
    pub is_tls: bool,
    /// Its method.
    pub method: Option<&'a Method>,
    /// Its path without the query.
    pub path: &'a str,
    /// What the client speaks.
    pub version: Option<Version>,
    /// Of the response, if there was one.
    pub status: Option<StatusCode>,
    /// Of the response's body.
    pub bytes: u64,
    /// From the request's head to its end.
    pub duration: Option<Duration>,
    /// From the request's head to the upstream's response head.
    pub time_to_head: Option<Duration>,
    /// From the request's head to the first event.
    pub time_to_first_event: Option<Duration>,
    /// The URL of the upstream.
    pub upstream: Option<&'a str>,
    /// The route.
    pub route: Option<&'a str>,
    /// Why it ended.
    pub reason: Option<Reason>,
    /// Of a stream.
    pub events: Option<u64>,
    /// Of a stream.
    pub heartbeats: Option<u64>,
    /// How it is named.
    pub request_id: &'a str,
    /// The trace it is part of.
    pub trace_id: Option<TraceId>,
}

/// A line is seldom longer, in bytes.
const USUAL_LENGTH: usize = 512;
/// What a request without a response is given, as in nginx: its reason says whether it was the client who left.
const NO_RESPONSE: u64 = 499;

/// The keys of a JSON line, in their order.
const JSON: [(&str, AccessValue); 20] = [
    ("client_ip", AccessValue::ClientIp),
    ("peer", AccessValue::Peer),
    ("method", AccessValue::Method),
    ("scheme", AccessValue::Scheme),
    ("host", AccessValue::Host),
    ("path", AccessValue::Path),
    ("protocol", AccessValue::Protocol),
    ("status", AccessValue::Status),
    ("bytes", AccessValue::Bytes),
    ("duration_ms", AccessValue::DurationMs),
    ("time_to_head_ms", AccessValue::TimeToHeadMs),
    ("time_to_first_event_ms", AccessValue::TimeToFirstEventMs),
    ("upstream", AccessValue::Upstream),
    ("route", AccessValue::Route),
    ("reason", AccessValue::Reason),
    ("side", AccessValue::Side),
    ("events", AccessValue::Events),
    ("heartbeats", AccessValue::Heartbeats),
    ("request_id", AccessValue::RequestId),
    ("trace_id", AccessValue::TraceId),
];

/// A value, as it is to be written.
enum Shown<'a> {
    Nothing,
    Number(u64),
    Seconds(Duration),
    /// Text that is the sidecar's own.
    Own(String),
    /// Anything.
    Foreign(&'a [u8]),
}

impl AccessLog {
    /// Lines of this `form` that `sink` takes.
    pub fn new(form: &Arc<config::AccessLog>, sink: AccessSink) -> Self {
        Self {
            sink,
            headers: form.headers().into(),
            has_host: form.has(&AccessValue::Host),
            has_query: form.has(&AccessValue::Query) || form.has(&AccessValue::Target),
            form: form.clone(),
        }
    }

    /// Writes the line of a request without an exchange.
    pub fn write(&self, line: &AccessLine<'_>) {
        self.write_with(line, None);
    }

    /// What a `request` of `client_ip` is remembered by until it is over.
    pub(super) fn record<B>(&self, request: &Request<B>, client_ip: Option<IpAddr>) -> Record {
        let host = requested_host(request).filter(|_| self.has_host);
        let query = request.uri().query().filter(|_| self.has_query);
        // Copies: what they are cut from is the whole head, and a stream may be open for days.
        let cut_text = |text: Option<&str>| {
            let text = text.unwrap_or_default().as_bytes();
            String::from_utf8_lossy(&text[..text.len().min(LONGEST_VALUE + 1)]).into()
        };
        let kept = self.headers.iter().filter_map(|name| {
            let value = request.headers().get(name)?.as_bytes();
            let value = &value[..value.len().min(LONGEST_VALUE + 1)];
            Some((name.clone(), value.into()))
        });
        Record {
            log: self.clone(),
            client_ip,
            host: cut_text(host),
            query: cut_text(query),
            headers: kept.collect(),
        }
    }

    fn write_with(&self, line: &AccessLine<'_>, record: Option<&Record>) {
        let mut text = String::with_capacity(USUAL_LENGTH);
        match &self.form.form {
            AccessForm::Json => push_object(&mut text, line, record),
            AccessForm::Text(parts) => push_parts(&mut text, parts, line, record),
        }
        text.push('\n');
        (self.sink)(text.as_bytes());
    }
}

impl Record {
    /// The request is over: its exchange knows this of it.
    pub(super) fn write(&self, line: &AccessLine<'_>) {
        self.log.write_with(line, Some(self));
    }

    pub(super) fn client_ip(&self) -> Option<IpAddr> {
        self.client_ip
    }

    fn header(&self, name: &HeaderName) -> Option<&[u8]> {
        let mut kept = self.headers.iter();
        kept.find(|(kept, _)| kept == name)
            .map(|(_, value)| &**value)
    }
}

impl std::fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessLog")
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}

impl AccessLine<'_> {
    fn show<'a>(&'a self, value: &AccessValue, record: Option<&'a Record>) -> Shown<'a> {
        let own = |text: Option<String>| text.map_or(Shown::Nothing, Shown::Own);
        let foreign = |bytes: &'a [u8]| match bytes {
            [] => Shown::Nothing,
            bytes => Shown::Foreign(bytes),
        };
        let number = |number: Option<u64>| number.map_or(Shown::Nothing, Shown::Number);
        let seconds = |time: Option<Duration>| time.map_or(Shown::Nothing, Shown::Seconds);
        let ms = |time: Option<Duration>| number(time.map(super::milliseconds));
        match value {
            AccessValue::Time => own(Some(now())),
            AccessValue::CommonTime => own(Some(common(&now()))),
            AccessValue::ClientIp => own(self.client_ip.map(ip_text)),
            AccessValue::Peer => own(self.peer.map(address_text)),
            AccessValue::Method => foreign(self.method.map_or("", Method::as_str).as_bytes()),
            AccessValue::Scheme if self.is_tls => foreign(b"https"),
            AccessValue::Scheme => foreign(b"http"),
            AccessValue::Host => foreign(record.map_or(b"", |record| record.host.as_bytes())),
            AccessValue::Path => foreign(self.path.as_bytes()),
            AccessValue::Query => foreign(record.map_or(b"", |record| record.query.as_bytes())),
            AccessValue::Target => match record.map_or("", |record| &record.query) {
                "" => foreign(self.path.as_bytes()),
                query => own(Some(format!("{}?{query}", self.path))),
            },
            AccessValue::Protocol => own(self.version.map(|version| format!("{version:?}"))),
            AccessValue::Status => {
                let status = self.status.map(|status| u64::from(status.as_u16()));
                Shown::Number(status.unwrap_or(NO_RESPONSE))
            }
            AccessValue::Bytes => Shown::Number(self.bytes),
            AccessValue::Duration => seconds(self.duration),
            AccessValue::DurationMs => ms(self.duration),
            AccessValue::TimeToHead => seconds(self.time_to_head),
            AccessValue::TimeToHeadMs => ms(self.time_to_head),
            AccessValue::TimeToFirstEvent => seconds(self.time_to_first_event),
            AccessValue::TimeToFirstEventMs => ms(self.time_to_first_event),
            AccessValue::Upstream => foreign(self.upstream.unwrap_or_default().as_bytes()),
            AccessValue::Route => foreign(self.route.unwrap_or_default().as_bytes()),
            AccessValue::Reason => foreign(self.reason.map_or("", Reason::name).as_bytes()),
            AccessValue::Side => foreign(
                self.reason
                    .map_or("", |reason| reason.side().name())
                    .as_bytes(),
            ),
            AccessValue::Events => number(self.events),
            AccessValue::Heartbeats => number(self.heartbeats),
            AccessValue::RequestId => foreign(self.request_id.as_bytes()),
            AccessValue::TraceId => own(self.trace_id.map(|trace| trace.to_string())),
            AccessValue::Header(name) => foreign(
                record
                    .and_then(|record| record.header(name))
                    .unwrap_or_default(),
            ),
        }
    }
}

fn push_parts(
    text: &mut String,
    parts: &[AccessPart],
    line: &AccessLine<'_>,
    record: Option<&Record>,
) {
    for part in parts {
        let (value, until, is_quoted) = match part {
            AccessPart::Text(literal) => {
                text.push_str(literal);
                continue;
            }
            AccessPart::Value {
                value,
                until,
                is_quoted,
            } => (value, *until, *is_quoted),
        };
        match line.show(value, record) {
            Shown::Nothing => text.push('-'),
            Shown::Number(number) => text.push_str(itoa::Buffer::new().format(number)),
            Shown::Seconds(time) => push_seconds(text, time),
            // A time has spaces of its own, and what the query is part of may not have them.
            Shown::Own(own) if *value != AccessValue::Target => text.push_str(&own),
            Shown::Own(own) => push_text(text, own.as_bytes(), until, is_quoted),
            Shown::Foreign(bytes) => push_text(text, bytes, until, is_quoted),
        }
    }
}

fn push_object(text: &mut String, line: &AccessLine<'_>, record: Option<&Record>) {
    text.push_str("{\"timestamp\":\"");
    text.push_str(&now());
    // The log's lines, which may be read together with these, have `level` and `message`.
    text.push_str("\",\"log\":\"access\"");
    for (key, value) in &JSON {
        push_member(text, key, line.show(value, record));
    }
    for (key, name) in [
        ("user_agent", http::header::USER_AGENT),
        ("referer", http::header::REFERER),
    ] {
        push_member(text, key, line.show(&AccessValue::Header(name), record));
    }
    text.push('}');
}

fn push_member(text: &mut String, key: &str, value: Shown<'_>) {
    if matches!(value, Shown::Nothing) {
        return;
    }
    text.push_str(",\"");
    text.push_str(key);
    text.push_str("\":");
    match value {
        Shown::Nothing => {}
        Shown::Number(number) => text.push_str(itoa::Buffer::new().format(number)),
        Shown::Seconds(time) => push_seconds(text, time),
        Shown::Own(own) => push_json(text, own.as_bytes()),
        Shown::Foreign(bytes) => push_json(text, bytes),
    }
}
