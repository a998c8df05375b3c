//! A response's head as real servers send it.
//!
//! Browsers, curl and Node read heads that RFC 9112 does not allow, so a proxy in front of a legacy backend reads them too: lines
//! that end in a bare LF, folded fields, control characters, whitespace before a colon. What is passed on is always well-formed.
//! Only what two recipients could take for different messages is refused.

use std::ops::Range;

use memchr::{memchr, memchr_iter};

use super::fields::is_event_stream;

/// A response's head, as ranges of its bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status code: three digits.
    pub status: u16,
    /// It is one of HTTP/1.0.
    pub is_http10: bool,
    /// The reason phrase.
    pub reason: Range<usize>,
    /// The fields, in order.
    pub fields: Vec<Field>,
    /// The lines that are no fields, and are not passed on.
    pub dropped: Vec<Range<usize>>,
}

/// A field: its name is a token, and its value has no control character but a tab, and no whitespace around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Where its name is.
    pub name: Range<usize>,
    /// Where its value is.
    pub value: Range<usize>,
}

/// Why a response's head is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// Something else than HTTP/1.
    #[error("it does not begin with a status line of HTTP/1")]
    StatusLine,
    /// A recipient may take a CR for a line's end (RFC 9112, section 2.2), and a NUL for the value's.
    #[error("its field `{0}` has a CR or NUL in it")]
    Value(String),
    /// Healed, it would say where the body ends; to a recipient that does not heal it, it says something else or nothing.
    #[error("its field `{0}` has a control character in it")]
    Framing(String),
    /// More fields than it may have.
    #[error("it has more than {0} fields (`server.max_response_headers`)")]
    TooManyFields(usize),
    /// Longer than it may be, in bytes.
    #[error("it is longer than {0} bytes (`server.max_response_head`)")]
    TooLong(usize),
    /// RFC 9112, section 6.3: "the message framing is invalid and the recipient MUST treat it as an unrecoverable error".
    #[error("its field `Content-Length` is `{0}`, which is not one number")]
    ContentLength(String),
    /// A coding that is not decoded here must not be forwarded without its name.
    #[error("its field `Transfer-Encoding` is `{0}`, which is not just `chunked`")]
    TransferEncoding(String),
}

impl ResponseHead {
    /// Where the head at the front of `bytes` ends, after its empty line; the first `seen` bytes were checked before. Empty lines
    /// before the head belong to it.
    pub fn end(bytes: &[u8], seen: usize) -> Option<usize> {
        let blank = bytes
            .iter()
            .take_while(|&&byte| matches!(byte, b'\r' | b'\n'))
            .count();
        let from = seen.saturating_sub(b"\n\r\n".len()).max(blank);
        let mut ends = memchr_iter(b'\n', &bytes[from..]).map(|end| from + end);
        ends.find_map(|end| match &bytes[end + 1..] {
            [b'\n', ..] => Some(end + 2),
            [b'\r', b'\n', ..] => Some(end + 3),
            _ => None,
        })
    }

    /// Whether `bytes` may be the beginning of a head.
    pub fn may_begin(bytes: &[u8]) -> bool {
        let mut bytes = bytes
            .iter()
            .skip_while(|&&byte| matches!(byte, b'\r' | b'\n'));
        b"HTTP/1."
            .iter()
            .all(|expected| bytes.next().is_none_or(|seen| seen == expected))
    }

    /// Parses a whole head, and repairs it in place: folds and control characters become spaces.
    pub fn parse(head: &mut [u8], max_fields: usize) -> Result<Self, BadHead> {
        let start = head
            .iter()
            .take_while(|&&byte| matches!(byte, b'\r' | b'\n'))
            .count();
        let end = line_end(head, start);
        let mut parsed = Self::status_line(head, start..end.text).ok_or(BadHead::StatusLine)?;
        soften(&mut head[parsed.reason.clone()]).map_err(|()| BadHead::StatusLine)?;
        parsed.reason = trimmed(head, parsed.reason);
        let section = Field::parse_all(head, end.next, max_fields)?;
        parsed.fields = section.fields;
        parsed.dropped = section.dropped;
        Ok(parsed)
    }

    fn status_line(head: &[u8], line: Range<usize>) -> Option<Self> {
        let text = &head[line.clone()];
        let (minor, after) = text.strip_prefix(b"HTTP/1.")?.split_first()?;
        let after_spaces = after.trim_ascii_start();
        let has_space = minor.is_ascii_digit() && after_spaces.len() < after.len();
        let (digits, reason) = after_spaces.split_at_checked(3).filter(|_| has_space)?;
        let is_number = digits.iter().all(u8::is_ascii_digit) && digits[0] != b'0';
        if !is_number || !matches!(reason, [] | [b' ' | b'\t', ..]) {
            return None;
        }
        let reason = trimmed(head, line.end - reason.len()..line.end);
        Some(Self {
            status: digits
                .iter()
                .fold(0, |number, digit| number * 10 + u16::from(digit - b'0')),
            is_http10: *minor == b'0',
            reason,
            fields: Vec::new(),
            dropped: Vec::new(),
        })
    }

    /// The values of the fields `name`, in `head`.
    pub fn values<'a>(&self, head: &'a [u8], name: &str) -> impl Iterator<Item = &'a [u8]> + Clone {
        let fields = self.fields.iter();
        fields
            .filter(move |field| head[field.name.clone()].eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| &head[field.value.clone()])
    }

    /// Whether the media type is `text/event-stream`.
    pub fn is_event_stream(&self, head: &[u8]) -> bool {
        is_event_stream(self.values(head, "content-type"))
    }
}

/// The fields of a head or a trailer section.
#[derive(Debug, Default)]
pub struct Section {
    /// The fields, in order.
    pub fields: Vec<Field>,
    /// The lines that are none.
    pub dropped: Vec<Range<usize>>,
}

impl Field {
    /// Parses the fields in `bytes` from `start` to an empty line, at most `max`. They are repaired in place.
    pub fn parse_all(bytes: &mut [u8], start: usize, max: usize) -> Result<Section, BadHead> {
        let mut section = Section::default();
        section.fields.reserve(max.min(16));
        let mut next = start;
        let mut is_dropped = true; // what a folded line continues
        while next < bytes.len() {
            let Line { text, next: after } = line_end(bytes, next);
            if text == next {
                break;
            }
            if matches!(bytes[next], b' ' | b'\t') {
                // RFC 9112, section 5.2: "replace each received obs-fold with one or more SP octets".
                if let Some(field) = section.fields.last_mut().filter(|_| !is_dropped) {
                    bytes[field.value.end..next].fill(b' ');
                    field.value.end = text;
                }
            } else if let Some(field) = Self::parse(bytes, next..text) {
                section.fields.push(field);
                is_dropped = false;
            } else {
                section.dropped.push(next..text);
                is_dropped = true;
            }
            if section.fields.len() > max {
                return Err(BadHead::TooManyFields(max));
            }
            next = after;
        }
        for Self { name, value } in &mut section.fields {
            if needs_softening(&bytes[value.clone()]) {
                let softened = soften(&mut bytes[value.clone()]);
                let name = &bytes[name.clone()];
                let shown = || String::from_utf8_lossy(name).into_owned();
                softened.map_err(|()| BadHead::Value(shown()))?;
                if tells_framing(name) {
                    return Err(BadHead::Framing(shown()));
                }
            }
            *value = trimmed(bytes, value.clone());
        }
        Ok(section)
    }

    fn parse(head: &[u8], line: Range<usize>) -> Option<Self> {
        let colon = line.start + memchr(b':', &head[line.clone()])?;
        // RFC 9112, section 5.1: "A proxy MUST remove any such whitespace from a response message before forwarding".
        let name = trimmed(head, line.start..colon);
        let is_name = !name.is_empty() && head[name.clone()].iter().all(|&byte| is_token(byte));
        is_name.then(|| Self {
            name,
            value: colon + 1..line.end,
        })
    }
}

/// A line of a head: where its text ends, and where the next one begins.
struct Line {
    text: usize,
    next: usize,
}

fn line_end(head: &[u8], start: usize) -> Line {
    let lf = memchr(b'\n', &head[start..]).map_or(head.len(), |end| start + end);
    let has_cr = lf > start && head[lf - 1] == b'\r';
    Line {
        text: lf - usize::from(has_cr),
        next: (lf + 1).min(head.len()),
    }
}

/// `range` without the spaces and tabs at its ends.
fn trimmed(head: &[u8], range: Range<usize>) -> Range<usize> {
    let is_space = |byte: &&u8| matches!(byte, b' ' | b'\t');
    let before = head[range.clone()].iter().take_while(is_space).count();
    let start = range.start + before;
    let after = head[start..range.end]
        .iter()
        .rev()
        .take_while(is_space)
        .count();
    start..range.end - after
}

fn tells_framing(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"transfer-encoding")
}

fn needs_softening(text: &[u8]) -> bool {
    // All of it, many bytes at once: there is seldom one.
    text.iter().fold(false, |any, &byte| any | is_control(byte))
}

/// Makes spaces of the control characters in `text`, which may not have all of them.
fn soften(text: &mut [u8]) -> Result<(), ()> {
    for byte in text {
        match byte {
            0 | b'\r' => return Err(()),
            _ if is_control(*byte) => *byte = b' ',
            _ => {}
        }
    }
    Ok(())
}

/// Anything that no value may have (RFC 9110, section 5.5).
fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7F
}

/// `tchar` of RFC 9110, section 5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z'
        | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parsed = (u16, String, Vec<(String, String)>, usize);

    /// The head as it is forwarded: its status line, its fields, and how many lines were dropped.
    fn parsed(head: &[u8]) -> Result<Parsed, BadHead> {
        let mut head = head.to_vec();
        let parsed = ResponseHead::parse(&mut head, 5)?;
        let text = |range: &Range<usize>| head[range.clone()].escape_ascii().to_string();
        let fields = parsed.fields.iter();
        let fields = fields
            .map(|field| (text(&field.name), text(&field.value)))
            .collect();
        Ok((
            parsed.status,
            text(&parsed.reason),
            fields,
            parsed.dropped.len(),
        ))
    }

    #[test]
    fn the_end_of_a_head() {
        for (bytes, end) in [
            (&b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody"[..], Some(25)),
            (b"HTTP/1.1 200 OK\nA: b\n\nbody", Some(22)),
            (b"HTTP/1.1 200 OK\r\n\r\n", Some(19)),
            (b"\r\n\nHTTP/1.1 200 OK\r\n\r\nx", Some(22)),
            (b"HTTP/1.1 200 OK\r\nA: b\r\n", None),
            (b"HTTP/1.1 200 OK\r\nA: b\r\n \r\n", None),
            (b"\r\nHTTP/1.1 200 OK\r\n", None),
            (b"\r\n\r\n", None),
            (b"", None),
        ] {
            for seen in 0..=bytes.len() {
                if ResponseHead::end(&bytes[..seen], 0).is_none() {
                    let found = ResponseHead::end(bytes, seen);
                    assert_eq!(
                        found,
                        end,
                        "{:?} after {seen}",
                        bytes.escape_ascii().to_string()
                    );
                }
            }
        }
    }

    #[test]
    fn heads_that_real_servers_send() {
        let ok = |fields: &[(&str, &str)], dropped| {
            let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
            Ok((
                200,
                "OK".to_owned(),
                fields.iter().map(own).collect(),
                dropped,
            ))
        };
        for (head, fields, dropped) in [
            (
                &b"HTTP/1.1 200 OK\r\nA: b\r\nc:d\r\n\r\n"[..],
                &[("A", "b"), ("c", "d")][..],
                0,
            ),
            (
                b"HTTP/1.0 200  OK \nA:  b \t\nC:\n\n",
                &[("A", "b"), ("C", "")],
                0,
            ),
            (b"\r\nHTTP/1.1  200 OK\r\nA : b\r\n\r\n", &[("A", "b")], 0),
            // A folded field, also one whose first line is empty.
            (
                b"HTTP/1.1 200 OK\r\nA: b\r\n\t c\r\nD:\r\n e\r\n  \r\n\r\n",
                &[("A", "b  \\t c"), ("D", "e")],
                0,
            ),
            (
                b"HTTP/1.1 200 OK\r\nSet-Cookie: a\x01=\x7Fb\x1F\r\n\r\n",
                &[("Set-Cookie", "a = b")],
                0,
            ),
            (
                b"HTTP/1.1 200 OK\r\nno field\r\n more of it\r\nB@d: x\r\n: y\r\nA: b\r\n\r\n",
                &[("A", "b")],
                3,
            ),
            (
                b"HTTP/1.1 200 OK\r\n folded: onto nothing\r\nA: caf\xE9\r\n\r\n",
                &[("A", "caf\\xe9")],
                0,
            ),
        ] {
            let seen = parsed(head);
            assert_eq!(
                seen,
                ok(fields, dropped),
                "{:?}",
                head.escape_ascii().to_string()
            );
        }
        assert_eq!(
            parsed(b"HTTP/1.1 404\r\n\r\n"),
            Ok((404, String::new(), vec![], 0))
        );
        assert_eq!(
            parsed(b"HTTP/1.1 599 Gr\xFC\x01sse\r\n\r\n"),
            Ok((599, "Gr\\xfc sse".to_owned(), vec![], 0))
        );
        assert_eq!(
            parsed(b"HTTP/1.1 200 \x02OK\x01\r\n\r\n"),
            ok(&[], 0),
            "nothing around the reason, not even what was a control character"
        );
    }

    #[test]
    fn what_cannot_be_passed_on_is_refused_by_name() {
        let value = |name: &str| BadHead::Value(name.to_owned());
        for (head, error) in [
            (&b"garbage\r\n\r\n"[..], BadHead::StatusLine),
            (b"HTTP/2 200\r\n\r\n", BadHead::StatusLine),
            (b"HTTP/1.1\r\n\r\n", BadHead::StatusLine),
            (b"HTTP/1.1200 OK\r\n\r\n", BadHead::StatusLine),
            (b"HTTP/1.1 20\r\n\r\n", BadHead::StatusLine),
            (b"HTTP/1.1 2000\r\n\r\n", BadHead::StatusLine),
            (b"HTTP/1.1 020 OK\r\n\r\n", BadHead::StatusLine),
            (b"HTTP/1.1 200 O\0K\r\n\r\n", BadHead::StatusLine),
            (b"HTTP/1.1 200 O\rK\r\n\r\n", BadHead::StatusLine),
            (
                b"HTTP/1.1 200 OK\r\nA: b\r\nX-Bad: a\0b\r\n\r\n",
                value("X-Bad"),
            ),
            (
                b"HTTP/1.1 200 OK\r\nX-Bad: a\rSet-Cookie: b\r\n\r\n",
                value("X-Bad"),
            ),
            (b"HTTP/1.1 200 OK\r\nX-Bad: a\r\r\n\r\n", value("X-Bad")),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-encoding: \x0Bchunked\r\n\r\n",
                BadHead::Framing("Transfer-encoding".to_owned()),
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\x7F\r\n\r\n",
                BadHead::Framing("Content-Length".to_owned()),
            ),
            (
                b"HTTP/1.1 200 OK\r\na:\r\nb:\r\nc:\r\nd:\r\ne:\r\nf:\r\n\r\n",
                BadHead::TooManyFields(5),
            ),
        ] {
            assert_eq!(
                parsed(head),
                Err(error),
                "{:?}",
                head.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn what_may_be_the_beginning_of_a_head() {
        for (bytes, may) in [
            (&b""[..], true),
            (b"\r\nHT", true),
            (b"HTTP/1.1 2", true),
            (b"HTTP/2", false),
            (b"x", false),
        ] {
            assert_eq!(ResponseHead::may_begin(bytes), may);
        }
    }

    #[test]
    fn names_are_tokens() {
        for byte in 0..=u8::MAX {
            let expected = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            assert_eq!(is_token(byte), expected, "{byte}");
        }
    }
}
