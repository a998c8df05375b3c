//! The IDs by which a request is found in other logs: `X-Request-Id`, and the trace of `traceparent` (W3C Trace Context,
//! <https://www.w3.org/TR/trace-context/>).
//!
//! They are no secrets, so those of any client are kept, as far as they fit in a log line. A request without an ID gets one. A
//! `traceparent` is never made: the sidecar records no spans, and one that says "not sampled", or names an unrecorded parent, would
//! decide for the backend what it traces.

use std::fmt;
use std::num::NonZeroU128;

use http::header::HeaderMap;
use http::{HeaderName, HeaderValue};

static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Twice the length of common IDs (UUIDs, 128 bits in hex or Base64); anything longer is no ID.
const LONGEST_ID: usize = 128;

/// How a request is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    /// At most [`LONGEST_ID`] letters, digits and signs of [`is_plain`].
    request: Box<str>,
    trace: Option<TraceId>,
}

/// The name of a trace: it "MUST NOT" be all zeros (section 3.2.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(NonZeroU128);

impl Ids {
    /// Those of a request with these headers.
    ///
    /// Without a good `X-Request-Id` it is that of its trace, so that one name finds both, or a random one.
    pub fn of(headers: &HeaderMap) -> Self {
        let trace = only(headers, &TRACEPARENT).and_then(TraceId::of_traceparent);
        let request = match (only(headers, &X_REQUEST_ID), trace) {
            (Some(id), _) if is_plain(id) => id.into(),
            (_, Some(trace)) => trace.to_string().into(),
            (_, None) => random().into(),
        };
        Self { request, trace }
    }

    /// What the log calls the request.
    pub fn request(&self) -> &str {
        &self.request
    }

    /// The trace that the request is part of, if its client said so.
    pub fn trace(&self) -> Option<TraceId> {
        self.trace
    }

    /// Sets the fields for the upstream: invalid ones are replaced or removed.
    pub fn tell_upstream(&self, headers: &mut HeaderMap) {
        if only(headers, &X_REQUEST_ID) != Some(self.request()) {
            headers.insert(&X_REQUEST_ID, self.value());
        }
        if self.trace.is_none() {
            headers.remove(&TRACEPARENT);
            // "If the vendor failed to parse traceparent, it MUST NOT attempt to parse tracestate" (section 4.3): it belongs to it.
            headers.remove(&TRACESTATE);
        }
    }

    /// Sets the ID for the client, unless the upstream's response has one: many APIs send an ID of their own, and support asks for
    /// that. Only on event streams and errors: other responses pass unchanged.
    pub fn tell_client(&self, headers: &mut HeaderMap) {
        let named = headers.entry(&X_REQUEST_ID);
        named.or_insert_with(|| self.value());
    }

    fn value(&self) -> HeaderValue {
        HeaderValue::from_str(&self.request).expect("signs of `is_plain` can stand in a field")
    }
}

impl TraceId {
    /// `version "-" trace-id "-" parent-id "-" trace-flags`, all of it in lower-case hex (section 3.2.2). A version above 00 may
    /// have more fields after them, and 0xff is none.
    fn of_traceparent(value: &str) -> Option<Self> {
        let mut fields = value.splitn(5, '-');
        let mut field = |length| hex(fields.next()?, length);
        let (version, trace, parent, _flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
        let is_valid = version != 0xff && parent != 0 && (version > 0 || fields.next().is_none());
        NonZeroU128::new(trace).filter(|_| is_valid).map(Self)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// 128 random bits in hex.
fn random() -> String {
    let bytes = fastrand::u128(..).to_be_bytes();
    let digits = bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0xF])
        .map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]));
    digits.collect()
}

/// The value of a field that occurs exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    value.to_str().ok().filter(|_| values.next().is_none())
}

/// Whether a log line can hold it without looking like more than it is.
fn is_plain(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=:@".contains(&byte);
    (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(is_plain)
}

fn hex(digits: &str, length: usize) -> Option<u128> {
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_hex = digits.len() == length && digits.bytes().all(is_digit);
    u128::from_str_radix(digits, 16).ok().filter(|_| is_hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for &(name, value) in fields {
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn what_can_stand_in_a_log_line_is_believed() {
        for id in [
            "1",
            "7b9a3c1e-90f1-4b3c-8f6e-0d2a5b6c7d8e",
            "YWJj+/8=",
            &"x".repeat(128),
        ] {
            let mut headers = headers(&[("x-request-id", id), ("tracestate", "a=b")]);
            let ids = Ids::of(&headers);
            assert_eq!(ids.request(), id);
            ids.tell_upstream(&mut headers);
            assert_eq!(headers["x-request-id"], id);
            assert!(!headers.contains_key("tracestate"), "it is of no trace");
        }
        for id in [
            "",
            "a b",
            "a\"b",
            "a\\b",
            "a<b>",
            "a\tb",
            "ä",
            &"x".repeat(129),
        ] {
            let mut headers = headers(&[("x-request-id", id)]);
            let ids = Ids::of(&headers);
            assert!(hex(ids.request(), 32).is_some(), "{ids:?}");
            ids.tell_upstream(&mut headers);
            assert_eq!(headers["x-request-id"], ids.request());
        }
    }

    #[test]
    fn of_two_ids_none_is_believed() {
        let mut headers = headers(&[("x-request-id", "one"), ("x-request-id", "two")]);
        let ids = Ids::of(&headers);
        ids.tell_upstream(&mut headers);
        let told: Vec<_> = headers.get_all("x-request-id").iter().collect();
        assert_eq!(told, [ids.request()]);
    }

    #[test]
    fn ids_that_are_made_differ() {
        let made = || Ids::of(&HeaderMap::new());
        assert_ne!(made(), made());
        assert_eq!(made().trace(), None);
    }

    #[test]
    fn a_good_traceparent_passes_untouched_and_names_the_request() {
        for rest in ["01", "00", "ff"] {
            let value = format!("00-{TRACE}-00f067aa0ba902b7-{rest}");
            let mut headers = headers(&[("traceparent", &value), ("tracestate", "a=b")]);
            let ids = Ids::of(&headers);
            assert_eq!(ids.request(), TRACE);
            assert_eq!(
                ids.trace().map(|trace| trace.to_string()).as_deref(),
                Some(TRACE)
            );
            ids.tell_upstream(&mut headers);
            assert_eq!(headers["traceparent"], value);
            assert_eq!(headers["tracestate"], "a=b");
        }
        let later = format!("01-{TRACE}-00f067aa0ba902b7-01-what-the-future-will-say");
        assert!(TraceId::of_traceparent(&later).is_some());
    }

    #[test]
    fn a_malformed_traceparent_is_gone_with_its_state() {
        let parent = "00f067aa0ba902b7";
        for value in [
            String::new(),
            "garbage".to_owned(),
            format!("00-{TRACE}-{parent}"),
            format!("00-{TRACE}-{parent}-01-more"),
            format!("00-{TRACE}-{parent}-1"),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{}-{parent}-01", "0".repeat(32)),
            format!("00-{}-{parent}-01", TRACE.to_uppercase()),
            format!("00-+{}-{parent}-01", &TRACE[1..]),
            format!("ff-{TRACE}-{parent}-01"),
            format!("0-{TRACE}-{parent}-01"),
            format!(" 00-{TRACE}-{parent}-01"),
        ] {
            let mut headers = headers(&[("traceparent", &value), ("tracestate", "a=b")]);
            let ids = Ids::of(&headers);
            assert_eq!(ids.trace(), None, "{value}");
            ids.tell_upstream(&mut headers);
            assert!(!headers.contains_key("traceparent") && !headers.contains_key("tracestate"));
        }
    }

    #[test]
    fn the_upstreams_own_name_of_a_response_stays() {
        let ids = Ids::of(&HeaderMap::new());
        let mut own = headers(&[("x-request-id", "req_011CS")]);
        ids.tell_client(&mut own);
        assert_eq!(own["x-request-id"], "req_011CS");
        let mut none = HeaderMap::new();
        ids.tell_client(&mut none);
        assert_eq!(none["x-request-id"], ids.request());
    }
}
