//! The lines of a head, and the lists in their values (RFC 9110, section 5.6.1).

use memchr::{memchr, memchr_iter};

/// The lines of a head without their ends, which may be a bare LF. The empty one at its end is among them.
pub(super) fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr_iter(b'\n', head).map(move |end| {
        let line = &head[start..end];
        start = end + 1;
        line.strip_suffix(b"\r").unwrap_or(line)
    })
}

/// The elements of the list that all lines of a field make together, without the whitespace around them. A comma in a quoted
/// string separates nothing. Empty elements are left out: "A recipient MUST parse and ignore a reasonable number of empty list
/// elements".
pub fn elements<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    let elements = values.into_iter().flat_map(|value| Elements(Some(value)));
    elements
        .map(<[u8]>::trim_ascii)
        .filter(|item| !item.is_empty())
}

/// Whether such a list has `wanted` in it, whatever its letter case.
pub fn has_element<'a>(values: impl IntoIterator<Item = &'a [u8]>, wanted: &str) -> bool {
    elements(values).any(|item| item.eq_ignore_ascii_case(wanted.as_bytes()))
}

/// Whether the lines of a `Content-Type` field name `text/event-stream`, whatever its parameters and letter case. Of several media
/// types the last counts, as browsers have it (Fetch, "extract a MIME type"): frameworks and middleware often both set the field.
pub fn is_event_stream<'a>(content_type: impl IntoIterator<Item = &'a [u8]>) -> bool {
    elements(content_type)
        .last()
        .is_some_and(is_event_stream_type)
}

/// Formats of streams other than events, into which nothing may be inserted.
const OTHER_STREAMS: [&str; 6] = [
    "application/x-ndjson", // Ollama
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
    "application/json-seq",      // RFC 7464
    "multipart/x-mixed-replace", // cameras
];

/// Whether the lines of a `Content-Type` field name a format of streams other than `text/event-stream`.
pub fn is_other_stream<'a>(content_type: impl IntoIterator<Item = &'a [u8]>) -> bool {
    let last = elements(content_type).last();
    last.is_some_and(|media_type| {
        let end = memchr(b';', media_type).unwrap_or(media_type.len());
        let media_type = media_type[..end].trim_ascii();
        let is = |name: &&str| media_type.eq_ignore_ascii_case(name.as_bytes());
        OTHER_STREAMS.iter().any(is)
    })
}

/// Whether one media type, or a range of an `Accept` field, is `text/event-stream`.
pub fn is_event_stream_type(media_type: &[u8]) -> bool {
    let end = memchr(b';', media_type).unwrap_or(media_type.len());
    media_type[..end]
        .trim_ascii()
        .eq_ignore_ascii_case(b"text/event-stream")
}

struct Elements<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0?;
        let (mut quoted, mut escaped) = (false, false);
        let comma = rest.iter().position(|&byte| {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = quoted,
                b'"' => quoted = !quoted,
                b',' => return !quoted,
                _ => {}
            }
            false
        });
        let (element, rest) = match comma {
            Some(at) => (&rest[..at], Some(&rest[at + 1..])),
            None => (rest, None),
        };
        self.0 = rest;
        Some(element)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_over_several_lines() {
        let list = |lines: &[&'static str]| -> Vec<String> {
            elements(lines.iter().map(|line| line.as_bytes()))
                .map(|item| String::from_utf8(item.to_vec()).unwrap())
                .collect()
        };
        assert_eq!(list(&[]), [""; 0]);
        assert_eq!(list(&["", " ,\t, "]), [""; 0]);
        assert_eq!(list(&["a, b ,c", "d"]), ["a", "b", "c", "d"]);
        assert_eq!(list(&[r#"a;x="1,2", b"#]), [r#"a;x="1,2""#, "b"]);
        assert_eq!(list(&[r#"a;x="1\",2", b"#]), [r#"a;x="1\",2""#, "b"]);
        assert_eq!(list(&[r#"a;x="1,2"#, "b"]), [r#"a;x="1,2"#, "b"]);
        let lines = [&b"close, TE"[..], b"Upgrade"];
        assert!(has_element(lines, "te") && has_element(lines, "upgrade"));
        assert!(!has_element(lines, "t"));
    }

    #[test]
    fn media_types_are_parsed() {
        for yes in [
            &["text/event-stream"][..],
            &["Text/Event-Stream"],
            &["text/event-stream;charset=utf-8"],
            &[" text/event-stream ; x=y"],
            &["text/event-stream; x=\"a,b\""],
            &["text/event-stream, text/event-stream"],
            &["text/event-stream", "text/event-stream;charset=utf-8"],
            &["text/plain", "text/event-stream"],
            &["text/event-stream,"],
        ] {
            assert!(
                is_event_stream(yes.iter().map(|line| line.as_bytes())),
                "{yes:?}"
            );
        }
        for no in [
            &[][..],
            &[""],
            &["text/event-streams"],
            &["text/plain"],
            &["text/event-stream, text/html"],
            &["x;text/event-stream"],
        ] {
            assert!(
                !is_event_stream(no.iter().map(|line| line.as_bytes())),
                "{no:?}"
            );
        }
    }

    #[test]
    fn other_streams_have_their_types() {
        let is = |line: &str| is_other_stream([line.as_bytes()]);
        assert!(is("application/x-ndjson") && is("Application/JSON-seq; charset=utf-8"));
        assert!(is("multipart/x-mixed-replace; boundary=\"a,b\""));
        for no in [
            "",
            "application/json",
            "text/event-stream",
            "multipart/mixed",
        ] {
            assert!(!is(no), "{no}");
        }
    }
}
