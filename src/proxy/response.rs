//! The head of an event stream as the client gets it.

use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use http::{HeaderValue, StatusCode, response};

use super::headers::found;
use crate::body::decode::{Decoder, Undecodable};
use crate::body::{DecodedSource, EventSource};
use crate::config::{Detect, Events};
use crate::wire::{has_no_body, is_event_stream, is_event_stream_type, is_other_stream};

/// How an event stream is coded.
#[derive(Debug)]
pub(super) enum StreamCoding {
    /// Not encoded.
    Identity,
    /// In a way that can be decoded.
    Known(Box<Decoder>),
    /// In an unknown way.
    Unknown(Undecodable),
}

impl StreamCoding {
    /// The value of `Content-Encoding`.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        // A value that is no text is an unknown coding too.
        let values = headers
            .get_all(CONTENT_ENCODING)
            .iter()
            .map(|value| value.to_str().unwrap_or("?"));
        match Decoder::for_codings(values) {
            Ok(None) => Self::Identity,
            Ok(Some(decoder)) => Self::Known(Box::new(decoder)),
            Err(error) => Self::Unknown(error),
        }
    }

    /// Whether the stream's bytes cannot be read.
    pub(super) fn is_opaque(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }

    /// `source` without its coding.
    pub(super) fn decode(self, source: Box<dyn EventSource>) -> Box<dyn EventSource> {
        match self {
            Self::Known(decoder) => Box::new(DecodedSource::new(source, *decoder)),
            Self::Identity | Self::Unknown(_) => source,
        }
    }
}

/// Whether a head opens an event stream: asked with HEAD it "SHOULD" be the same as with GET (RFC 9110, section 9.3.2).
pub(super) fn opens_event_stream(head: &response::Parts, detect: Detect) -> bool {
    let status = head.status.as_u16();
    !has_no_body(status) && detect.is_event_stream(status, is_labelled(&head.headers))
}

/// The same of a stream of another format.
pub(super) fn opens_other_stream(head: &response::Parts, events: &Events) -> bool {
    let content_type = head.headers.get_all(CONTENT_TYPE).iter();
    events.streaming
        && events.detect != Detect::Never
        && !has_no_body(head.status.as_u16())
        && head.status != StatusCode::PARTIAL_CONTENT
        && is_other_stream(content_type.map(HeaderValue::as_bytes))
}

fn is_labelled(headers: &HeaderMap) -> bool {
    is_event_stream(
        headers
            .get_all(CONTENT_TYPE)
            .iter()
            .map(HeaderValue::as_bytes),
    )
}

/// Edits an upstream's head so that no proxy on the way to the client buffers, compresses or caches the stream.
pub(super) fn edit_event_stream_head(headers: &mut HeaderMap, coding: &StreamCoding) {
    for name in found(headers, is_of_bytes) {
        headers.remove(name);
    }
    if !coding.is_opaque() {
        headers.remove(CONTENT_ENCODING);
    }
    if !is_one_label(headers) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    }
    merge_cache_control(headers);
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
}

/// Edits the head of a stream of another format, whose bytes pass unchanged unless they have to be decoded.
pub(super) fn edit_other_stream_head(headers: &mut HeaderMap, coding: &StreamCoding) {
    headers.remove(CONTENT_LENGTH);
    if let StreamCoding::Known(_) = coding {
        for name in found(headers, is_of_bytes) {
            headers.remove(name);
        }
        headers.remove(CONTENT_ENCODING);
    }
    merge_cache_control(headers);
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
}

/// Whether every client finds the label: some do not take a list for one.
fn is_one_label(headers: &HeaderMap) -> bool {
    let mut labels = headers
        .get_all(CONTENT_TYPE)
        .iter()
        .map(HeaderValue::as_bytes);
    let first = labels.next();
    labels.next().is_none() && first.is_some_and(is_event_stream_type)
}

/// Whether inserted bytes, or decoding, would make a field wrong.
fn is_of_bytes(name: &str) -> bool {
    matches!(
        name,
        "accept-ranges"
            | "content-digest"
            | "content-length"
            | "content-md5"
            | "digest"
            | "etag"
            | "repr-digest"
    )
}

/// Adds `no-cache` and `no-transform` to the existing directives.
fn merge_cache_control(headers: &mut HeaderMap) {
    let values = headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut directives: Vec<&str> = values.filter(|value| !value.trim().is_empty()).collect();
    for wanted in ["no-cache", "no-transform"] {
        let is_wanted = |directive: &str| directive.trim().eq_ignore_ascii_case(wanted);
        if !directives
            .iter()
            .any(|value| value.split(',').any(is_wanted))
        {
            directives.push(wanted);
        }
    }
    if let Ok(value) = HeaderValue::from_str(&directives.join(", ")) {
        headers.insert(CACHE_CONTROL, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(fields: &[(&'static str, &'static str)], coding: &StreamCoding) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for &(name, value) in fields {
            headers.append(name, HeaderValue::from_static(value));
        }
        edit_event_stream_head(&mut headers, coding);
        headers
    }

    #[test]
    fn cache_control_is_merged() {
        for (fields, expected) in [
            (&[][..], "no-cache, no-transform"),
            (&[("cache-control", "no-cache")], "no-cache, no-transform"),
            (
                &[("cache-control", "No-Transform, max-age=5")],
                "No-Transform, max-age=5, no-cache",
            ),
            (
                &[("cache-control", "private"), ("cache-control", "no-store")],
                "private, no-store, no-cache, no-transform",
            ),
            (&[("cache-control", "")], "no-cache, no-transform"),
            (
                &[("cache-control", "no-cache=\"x\"")],
                "no-cache=\"x\", no-cache, no-transform",
            ),
        ] {
            let headers = edited(fields, &StreamCoding::Identity);
            assert_eq!(
                headers.get_all(CACHE_CONTROL).iter().collect::<Vec<_>>(),
                [expected]
            );
        }
    }

    #[test]
    fn lies_are_dropped_and_the_rest_is_left_alone() {
        let fields = [
            ("content-type", "Text/Event-Stream; charset=utf-8"),
            ("content-length", "5"),
            ("accept-ranges", "bytes"),
            ("etag", "W/\"x\""),
            ("content-encoding", "gzip"),
            ("vary", "origin"),
            ("access-control-allow-origin", "*"),
            ("x-accel-buffering", "yes"),
        ];
        let compressed =
            HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("compress"))]);
        let headers = edited(&fields, &StreamCoding::Identity);
        assert_eq!(headers["content-type"], "Text/Event-Stream; charset=utf-8");
        assert_eq!(headers["vary"], "origin");
        assert_eq!(headers["access-control-allow-origin"], "*");
        assert_eq!(headers["x-accel-buffering"], "no");
        for gone in [
            "content-length",
            "accept-ranges",
            "etag",
            "content-encoding",
        ] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
        assert_eq!(
            edited(&fields, &StreamCoding::of(&compressed))["content-encoding"],
            "gzip"
        );
        assert_eq!(
            edited(&[("content-type", "text/plain")], &StreamCoding::Identity)["content-type"],
            "text/event-stream"
        );
    }

    #[test]
    fn codings_are_known_or_not() {
        let of = |value| {
            StreamCoding::of(&HeaderMap::from_iter([(
                CONTENT_ENCODING,
                HeaderValue::from_bytes(value).unwrap(),
            )]))
        };
        assert!(matches!(of(b"gzip"), StreamCoding::Known(_)));
        assert!(matches!(of(b"identity"), StreamCoding::Identity));
        assert!(matches!(of(b"compress"), StreamCoding::Unknown(_)));
        assert!(matches!(of(b"\xFF"), StreamCoding::Unknown(_)));
        assert!(matches!(
            StreamCoding::of(&HeaderMap::new()),
            StreamCoding::Identity
        ));
    }
}
