//! What an upstream's response head says about its body, read before hyper sees it.
//!
//! An event stream's framing is healed, and hyper would refuse some of what must be healed: a `Content-Length` of 2^64 - 1 is one
//! that real servers send for "endless".

use memchr::{memchr, memchr_iter};

/// The facts of a response head that decide how its body is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status code; 0 if it is not a number.
    pub status: u16,
    /// The media type is `text/event-stream`.
    pub event_stream: bool,
    /// The last transfer coding is `chunked`.
    pub chunked: bool,
    /// The declared length.
    pub length: Length,
    /// The upstream closes the connection after this response.
    pub closes: bool,
}

/// What `Content-Length` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// There is none, or one that cannot be meant: no number, or more than 2^63 - 1 bytes.
    Unknown,
    /// So many bytes.
    Bytes(u64),
}

impl ResponseHead {
    /// Where the head at the front of `bytes` ends, after its empty line. Lines may end in a bare LF, as hyper allows for responses.
    pub fn end(bytes: &[u8]) -> Option<usize> {
        let mut line_start = 0;
        for index in memchr_iter(b'\n', bytes) {
            if matches!(&bytes[line_start..index], b"" | b"\r") && line_start > 0 {
                return Some(index + 1);
            }
            line_start = index + 1;
        }
        None
    }

    /// Reads a whole head. What is malformed in it is left for hyper to refuse.
    pub fn read(head: &[u8]) -> Self {
        let mut lines = lines(head);
        let status_line = lines.next().unwrap_or_default();
        let mut facts = Self {
            status: status_line
                .split(|&b| b == b' ')
                .nth(1)
                .and_then(number)
                .unwrap_or(0)
                .try_into()
                .unwrap_or(0),
            event_stream: false,
            chunked: false,
            length: Length::Unknown,
            closes: status_line.starts_with(b"HTTP/1.0"),
        };
        for (name, value) in lines.filter_map(field) {
            if name.eq_ignore_ascii_case(b"content-type") {
                facts.event_stream = is_event_stream(value);
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                let last = value.rsplit(|&b| b == b',').next().unwrap_or_default();
                facts.chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
            } else if name.eq_ignore_ascii_case(b"content-length") {
                facts.length = match number(value) {
                    Some(length) if i64::try_from(length).is_ok() => Length::Bytes(length),
                    _ => Length::Unknown,
                };
            } else if name.eq_ignore_ascii_case(b"connection") {
                let mut options = value.split(|&b| b == b',').map(<[u8]>::trim_ascii);
                facts.closes |= options.any(|option| option.eq_ignore_ascii_case(b"close"));
            }
        }
        facts
    }

    /// The fields of a head, in order.
    pub fn fields(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
        lines(head).skip(1).filter_map(field)
    }

    /// `head` without its `Content-Length` fields.
    pub fn without_length(head: &[u8]) -> Vec<u8> {
        let keeps = |line: &[u8]| {
            !field(line).is_some_and(|(name, _)| name.eq_ignore_ascii_case(b"content-length"))
        };
        let mut kept = Vec::with_capacity(head.len());
        for line in head.split_inclusive(|&b| b == b'\n') {
            if keeps(line) {
                kept.extend_from_slice(line);
            }
        }
        kept
    }
}

/// How the field names of a head were written: some clients mind the case (RFC 9110, section 5.1, says that none should).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spelling {
    /// With a colon after each.
    names: Vec<u8>,
}

impl Spelling {
    /// That of a whole head.
    pub fn of(head: &[u8]) -> Self {
        let mut names = Vec::with_capacity(head.len());
        for (name, _) in ResponseHead::fields(head) {
            names.extend_from_slice(name);
            names.push(b':');
        }
        Self { names }
    }

    /// How the field `name`, in lower case, was written; the name itself if there was none.
    pub fn spell<'a>(&'a self, name: &'a str) -> &'a [u8] {
        let mut spelt = self.names.split(|&b| b == b':');
        spelt
            .find(|spelt| spelt.eq_ignore_ascii_case(name.as_bytes()))
            .unwrap_or(name.as_bytes())
    }
}

/// Whether the value of a `Content-Type` field is `text/event-stream`, whatever its parameters and letter case.
pub fn is_event_stream(content_type: &[u8]) -> bool {
    let media_type = content_type
        .split(|&b| b == b';')
        .next()
        .unwrap_or_default();
    media_type
        .trim_ascii()
        .eq_ignore_ascii_case(b"text/event-stream")
}

fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = memchr_iter(b'\n', head).chain([head.len()]);
    ends.scan(0, |start, end| {
        let line = &head[std::mem::replace(start, end + 1)..end];
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    })
}

fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr(b':', line)?;
    Some((&line[..colon], line[colon + 1..].trim_ascii()))
}

fn number(digits: &[u8]) -> Option<u64> {
    let digits = str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_parsed() {
        for yes in [
            "text/event-stream",
            "Text/Event-Stream",
            "text/event-stream;charset=utf-8",
            " text/event-stream ; x=y",
        ] {
            assert!(is_event_stream(yes.as_bytes()), "{yes}");
        }
        for no in [
            "",
            "text/event-streams",
            "text/plain",
            "text/event-stream, text/html",
            "x;text/event-stream",
        ] {
            assert!(!is_event_stream(no.as_bytes()), "{no}");
        }
    }

    #[test]
    fn the_end_of_a_head() {
        for (bytes, end) in [
            (&b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody"[..], Some(25)),
            (b"HTTP/1.1 200 OK\nA: b\n\nbody", Some(22)),
            (b"HTTP/1.1 200 OK\r\n\r\n", Some(19)),
            (b"HTTP/1.1 200 OK\r\nA: b\r\n", None),
            (b"\r\nHTTP/1.1 200 OK\r\n", None),
            (b"", None),
        ] {
            assert_eq!(
                ResponseHead::end(bytes),
                end,
                "{:?}",
                bytes.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn what_a_head_says_of_its_body() {
        let head = ResponseHead::read(
            b"HTTP/1.0 200 OK\r\ncontent-TYPE: text/event-stream; charset=utf-8\r\nContent-Length: 18446744073709551615\r\n\r\n",
        );
        assert_eq!(
            head,
            ResponseHead {
                status: 200,
                event_stream: true,
                chunked: false,
                length: Length::Unknown,
                closes: true
            }
        );
        let head = ResponseHead::read(
            b"HTTP/1.1 503 No\r\nTransfer-Encoding: gzip, Chunked\r\nContent-Length: 12\r\nConnection: x, Close\r\n\r\n",
        );
        assert_eq!(
            head,
            ResponseHead {
                status: 503,
                event_stream: false,
                chunked: true,
                length: Length::Bytes(12),
                closes: true
            }
        );
        assert_eq!(ResponseHead::read(b"garbage").status, 0);
        assert_eq!(ResponseHead::read(b"HTTP/1.1 99999999 x\r\n\r\n").status, 0);
    }

    #[test]
    fn lengths_are_taken_out() {
        let head =
            b"HTTP/1.1 200 OK\r\nA: b\r\nCONTENT-length: 5\r\nC: d\r\nContent-Length: 6\r\n\r\n";
        assert_eq!(
            ResponseHead::without_length(head),
            b"HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\n\r\n"
        );
    }
}
