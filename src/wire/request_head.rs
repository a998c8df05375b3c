//! The end of a request's head, and whether every parser would read it alike.
//!
//! hyper parses the head; it is lenient where RFC 9112 allows it to be. A proxy must not be: what its backend reads differently
//! is a smuggled request. So a head passes this scanner first.

use std::borrow::Cow;

use memchr::{memchr, memrchr};

use super::response_head::is_token;

/// Scans one request head, however it is cut.
#[derive(Debug, Clone)]
pub struct RequestHead {
    state: State,
    length: usize,
    /// The most bytes it may have.
    limit: usize,
    name: Name,
    has_length: bool,
    has_encoding: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the request line, where "a server ... SHOULD ignore at least one empty line" (RFC 9112, section 2.2).
    Start,
    StartLf,
    Method,
    /// And the version.
    Target,
    /// After a line's CR.
    LineLf,
    LineStart,
    Name,
    Value,
    /// After the CR of the empty line.
    EndLf,
    Done,
}

/// Why a request head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// RFC 9112, section 2.2: a recipient may take a bare LF for a line's end, so two recipients may differ.
    #[error("a line of the request head ends in LF without CR")]
    BareLf,
    /// RFC 9112, section 2.2: "A recipient of such a bare CR MUST consider that element to be invalid".
    #[error("the request head has a CR that is not followed by LF")]
    BareCr,
    /// RFC 9112, section 5.2.
    #[error("a header field is folded over two lines")]
    Folded,
    /// RFC 9112, section 5.1: "A server MUST reject ... any received request message that contains whitespace between a
    /// header field name and colon".
    #[error("a header field has whitespace before its colon")]
    SpaceBeforeColon,
    /// RFC 9110, section 5.1: a field name is a token.
    #[error("a header field's name has a character that is not allowed")]
    Name,
    /// RFC 9110, section 5.5: no control characters in a field value.
    #[error("the request head has a control character")]
    Control,
    /// RFC 9112, section 3.2: no form of a target has one. hyper drops it; a backend may not.
    #[error("the request target has a fragment")]
    Fragment,
    /// RFC 9112, section 6.1: such a message "might indicate an attempt to perform request smuggling".
    #[error("the request has both a Content-Length and a Transfer-Encoding")]
    LengthAndEncoding,
    /// Longer than it may be, in bytes.
    #[error("the request head is longer than {0} bytes")]
    TooLong(usize),
}

impl RequestHead {
    /// Before the first byte of a request, whose head may have `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            state: State::Start,
            length: 0,
            limit,
            name: Name::EMPTY,
            has_length: false,
            has_encoding: false,
        }
    }

    /// Whether the request line has begun.
    pub fn is_started(&self) -> bool {
        !matches!(self.state, State::Start | State::StartLf)
    }

    /// Scans `bytes`. Returns how many of them belong to the head if it ends in them.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        let mut position = 0;
        while position < bytes.len() {
            let passed = self.pass(&bytes[position..]);
            let taken = passed.max(1);
            self.length += taken;
            if self.length > self.limit {
                return Err(Malformed::TooLong(self.limit));
            }
            if passed == 0 {
                self.state = self.step(bytes[position])?;
            }
            position += taken;
            if self.state == State::Done {
                return Ok(Some(position));
            }
        }
        Ok(None)
    }

    /// Passes over the first of `bytes`, as far as they leave the state as it is: most of a head does.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        match self.state {
            State::Name => {
                let length = bytes.iter().take_while(|&&byte| is_token(byte)).count();
                self.name.push(&bytes[..length]);
                length
            }
            State::Target => run(bytes, |byte| is_visible(byte) && byte != b'#'),
            State::Value => run(bytes, |byte| is_visible(byte) || byte == b'\t'),
            State::Start
            | State::StartLf
            | State::Method
            | State::LineLf
            | State::LineStart
            | State::EndLf
            | State::Done => 0,
        }
    }

    fn step(&mut self, byte: u8) -> Result<State, Malformed> {
        Ok(match (self.state, byte) {
            (State::Start, b'\r') => State::StartLf,
            (State::StartLf, b'\n') => State::Start,
            (State::LineLf, b'\n') => State::LineStart,
            (State::EndLf, b'\n') => State::Done,
            (State::StartLf | State::LineLf | State::EndLf, _) => return Err(Malformed::BareCr),
            (_, b'\n') => return Err(Malformed::BareLf),
            (State::Method | State::Target | State::Value, b'\r') => State::LineLf,
            (State::LineStart, b'\r') => State::EndLf,
            (State::LineStart, b' ' | b'\t') => return Err(Malformed::Folded),
            (State::Name, b' ' | b'\t') => return Err(Malformed::SpaceBeforeColon),
            (State::Name, b':') => {
                self.end_name()?;
                State::Value
            }
            (State::LineStart | State::Name, _) if is_token(byte) => {
                self.name.push(&[byte]);
                State::Name
            }
            (State::LineStart | State::Name, _) => return Err(Malformed::Name),
            (State::Value, b'\t') => State::Value,
            (_, 0..=0x1F | 0x7F) => return Err(Malformed::Control),
            (State::Start | State::Method, b' ') => State::Target,
            (State::Start | State::Method, _) => State::Method,
            (State::Target, b'#') => return Err(Malformed::Fragment),
            (State::Target, _) => State::Target,
            (State::Value, _) => State::Value,
            (State::Done, _) => State::Done,
        })
    }

    fn end_name(&mut self) -> Result<(), Malformed> {
        self.has_length |= self.name.is(b"content-length");
        self.has_encoding |= self.name.is(b"transfer-encoding");
        self.name = Name::EMPTY;
        if self.has_length && self.has_encoding {
            Err(Malformed::LengthAndEncoding)
        } else {
            Ok(())
        }
    }
}

/// The target of the request whose whole head this is, as it was sent; empty if its first line has none.
pub fn request_target(head: &[u8]) -> &[u8] {
    let line = super::fields::lines(head).find(|line| !line.is_empty());
    let line = line.unwrap_or_default();
    let target = memchr(b' ', line).zip(memrchr(b' ', line));
    let target = target.and_then(|(before, after)| line.get(before + 1..after));
    target.unwrap_or_default()
}

/// A request's target in the form for an origin server: without the scheme and the authority.
pub fn origin_form(target: &[u8]) -> Cow<'_, [u8]> {
    if target.starts_with(b"/") || target == b"*" {
        return target.into();
    }
    let scheme = target.windows(3).position(|window| window == b"://");
    let after = scheme.map_or(&b""[..], |scheme| &target[scheme + 3..]);
    let end = after.iter().position(|byte| matches!(byte, b'/' | b'?'));
    match end.map(|end| &after[end..]) {
        Some(query @ [b'?', ..]) => [b"/", query].concat().into(),
        Some(path) => path.into(),
        None => b"/"[..].into(),
    }
}

/// A whole head whose target hyper accepts, if it does not accept that of `head`: with bytes that no URI may have percent-encoded.
/// curl, Go, PHP, Python and Node send such bytes as they are, and backends read them.
pub fn with_valid_target(head: &[u8]) -> Option<Vec<u8>> {
    let target = request_target(head);
    // hyper accepts quotation marks in a path, and shows them as they were sent.
    let query = memchr(b'?', target).unwrap_or(target.len());
    let is_refused =
        |index: usize, byte: u8| is_invalid_in_uri(byte) && !(byte == b'"' && index < query);
    if !target
        .iter()
        .enumerate()
        .any(|(index, &byte)| is_refused(index, byte))
    {
        return None;
    }
    let start = target.as_ptr().addr() - head.as_ptr().addr();
    let mut valid = Vec::with_capacity(head.len() + 2 * target.len());
    valid.extend_from_slice(&head[..start]);
    for (index, &byte) in target.iter().enumerate() {
        if is_refused(index, byte) {
            let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value)];
            valid.extend([b'%', digit(byte >> 4), digit(byte & 0xF)]);
        } else {
            valid.push(byte);
        }
    }
    valid.extend_from_slice(&head[start + target.len()..]);
    Some(valid)
}

/// What RFC 3986 does not allow in a URI, and real clients send all the same.
fn is_invalid_in_uri(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'`' | 0x80..)
}

/// How many bytes there are before the first that is not `plain`. A line without one is looked at as a whole, many bytes at once.
fn run(bytes: &[u8], is_plain: impl Fn(u8) -> bool) -> usize {
    let line = memchr(b'\r', bytes).map_or(bytes, |end| &bytes[..end]);
    if line.iter().fold(true, |all, &byte| all & is_plain(byte)) {
        return line.len();
    }
    line.iter().take_while(|&&byte| is_plain(byte)).count()
}

/// Anything but a control character.
fn is_visible(byte: u8) -> bool {
    byte >= b' ' && byte != 0x7F
}

/// The start of a field name: as much as the names that matter need.
#[derive(Debug, Clone)]
struct Name {
    bytes: [u8; Self::KEPT],
    length: usize,
}

impl Name {
    const KEPT: usize = b"transfer-encoding".len();
    const EMPTY: Self = Self {
        bytes: [0; Self::KEPT],
        length: 0,
    };

    fn push(&mut self, part: &[u8]) {
        let places = self.bytes.iter_mut().skip(self.length);
        for (place, byte) in places.zip(part) {
            *place = byte.to_ascii_lowercase();
        }
        self.length += part.len();
    }

    fn is(&self, name: &[u8]) -> bool {
        self.bytes.get(..self.length) == Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 64 * 1024;

    /// The same verdict for the whole and at every split.
    fn verdict(input: &[u8]) -> Result<Option<usize>, Malformed> {
        let whole = RequestHead::new(LIMIT).scan(input);
        for split in 0..=input.len() {
            let mut head = RequestHead::new(LIMIT);
            let parts = head.scan(&input[..split]).and_then(|end| match end {
                Some(end) => Ok(Some(end)),
                None => Ok(head.scan(&input[split..])?.map(|end| split + end)),
            });
            assert_eq!(parts, whole, "split at {split}");
        }
        whole
    }

    #[test]
    fn a_head_ends_after_its_empty_line() {
        for (input, end) in [
            (&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], Some(27)),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /", Some(27)),
            (b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", Some(22)),
            (b"A#METHOD / HTTP/1.1\r\n\r\n", Some(23)),
            (b"GET / HTTP/1.1\r\nHost: a\r\n", None),
            (
                b"GET / HTTP/1.1\r\nX:\r\nY: \t caf\xC3\xA9\r\n\r\n",
                Some(34),
            ),
            (
                b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Lengths: 1\r\n\r\n",
                Some(58),
            ),
            (b"", None),
        ] {
            assert_eq!(
                verdict(input),
                Ok(end),
                "{:?}",
                input.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        for (input, why) in [
            (&b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..], Malformed::BareLf),
            (b"GET / HTTP/1.1\r\nHost: a\n\r\n", Malformed::BareLf),
            (b"\nGET / HTTP/1.1\r\n", Malformed::BareLf),
            (b"GET / HTTP/1.1\r\nHost: a\r\r\n", Malformed::BareCr),
            (b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n", Malformed::BareCr),
            (b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n", Malformed::Folded),
            (b"GET / HTTP/1.1\r\n Host: a\r\n", Malformed::Folded),
            (
                b"GET / HTTP/1.1\r\nHost : a\r\n",
                Malformed::SpaceBeforeColon,
            ),
            (
                b"GET / HTTP/1.1\r\nTransfer-Encoding\t: chunked\r\n",
                Malformed::SpaceBeforeColon,
            ),
            (b"GET / HTTP/1.1\r\n: a\r\n", Malformed::Name),
            (b"GET / HTTP/1.1\r\nHost\r\n", Malformed::Name),
            (b"GET / HTTP/1.1\r\nH(st: a\r\n", Malformed::Name),
            (b"GET / HTTP/1.1\r\nX: a\0b\r\n", Malformed::Control),
            (b"GET /\x01 HTTP/1.1\r\n", Malformed::Control),
            (b"GET /a#b HTTP/1.1\r\n", Malformed::Fragment),
            (b"GET / HTTP/1.1\r\nX: \x7F\r\n", Malformed::Control),
            (
                b"POST / HTTP/1.1\r\nContent-length: 3\r\nTRANSFER-Encoding: chunked\r\n\r\n",
                Malformed::LengthAndEncoding,
            ),
            (
                b"POST / HTTP/1.1\r\nTransfer-Encoding: x\r\nContent-Length: 3\r\n\r\n",
                Malformed::LengthAndEncoding,
            ),
        ] {
            assert_eq!(
                verdict(input),
                Err(why),
                "{:?}",
                input.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn targets_as_they_were_sent() {
        for (head, target, valid) in [
            (
                &b"GET /a HTTP/1.1\r\nHost: <b>\r\n\r\n"[..],
                &b"/a"[..],
                None,
            ),
            (b"\r\nGET * HTTP/1.1\r\n\r\n", b"*", None),
            (b"GET /a b HTTP/1.1\r\n\r\n", b"/a b", None),
            (b"GET /\"a\" HTTP/1.1\r\n\r\n", b"/\"a\"", None),
            (b"GET\r\n\r\n", b"", None),
            (
                b"GET /\xE9?\"<`>|% HTTP/1.1\r\nA: \"\r\n\r\n",
                b"/\xE9?\"<`>|%",
                Some(&b"GET /%E9?%22%3C%60%3E|% HTTP/1.1\r\nA: \"\r\n\r\n"[..]),
            ),
        ] {
            assert_eq!(request_target(head), target);
            assert_eq!(with_valid_target(head).as_deref(), valid);
        }
        for (target, origin) in [
            (&b"/a?b"[..], &b"/a?b"[..]),
            (b"*", b"*"),
            (b"http://host/a?b", b"/a?b"),
            (b"http://host?b://c/", b"/?b://c/"),
            (b"http://host", b"/"),
            (b"host:80", b"/"),
        ] {
            assert_eq!(*origin_form(target), *origin);
        }
    }

    #[test]
    fn a_head_without_end_is_refused() {
        let mut head = RequestHead::new(LIMIT);
        assert_eq!(head.scan(b"GET / HTTP/1.1\r\nX: "), Ok(None));
        assert_eq!(
            head.scan(&b"x".repeat(LIMIT)),
            Err(Malformed::TooLong(LIMIT))
        );
        let long = [
            &b"GET / HTTP/1.1\r\nX: "[..],
            &b"x".repeat(LIMIT),
            b"\r\n\r\n",
        ]
        .concat();
        assert_eq!(
            RequestHead::new(LIMIT).scan(&long),
            Err(Malformed::TooLong(LIMIT))
        );
        let mut head = RequestHead::new(LIMIT);
        assert_eq!(
            head.scan(&b"\r\n".repeat(LIMIT)),
            Err(Malformed::TooLong(LIMIT))
        );
    }
}
