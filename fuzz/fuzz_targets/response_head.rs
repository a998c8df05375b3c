//! Invariant: a response's head is read as httparse reads it, once folds and control characters are spaces, and its body ends where
//! hyper's client finds the end, or the head is refused. What is passed on of any head is one that every parser reads alike. How
//! the bytes come changes nothing.
//!
//! Input: what an upstream sends before it closes the connection; the last byte says how lenient httparse is, and whether the request
//! was HEAD.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sse_sidecar::wire::{BadHead, BodyLength, Chunked, Framing, HeadWriter, ResponseHead};
use sse_sidecar_fuzz::hyper::answer;
use sse_sidecar_fuzz::reference::{self, Length, is_token, trim};

/// More than any input of the fuzzer has.
const FIELDS: usize = 1000;
const HTTPARSE_FIELDS: usize = 256;

fuzz_target!(|data: &[u8]| {
    let [bytes @ .., flags] = data else { return };
    check_end(bytes);
    let end = ResponseHead::end(bytes, 0);
    let own = end.map(|end| Owned::parse(&bytes[..end]));
    check_httparse(bytes, end, own.as_ref(), *flags);
    if let Some(Ok(own)) = &own {
        check_passed_on(own);
        check_framing(own);
    }
    check_body(bytes, flags & 1 != 0, usize::from(*flags));
});

/// A head that was read, and the bytes in which it was healed.
#[derive(Debug)]
struct Owned {
    bytes: Vec<u8>,
    head: ResponseHead,
}

impl Owned {
    fn parse(bytes: &[u8]) -> Result<Self, BadHead> {
        let mut bytes = bytes.to_vec();
        let head = ResponseHead::parse(&mut bytes, FIELDS)?;
        Ok(Self { bytes, head })
    }

    fn fields(&self) -> Vec<(&[u8], &[u8])> {
        let fields = self.head.fields.iter();
        fields
            .map(|field| {
                (
                    &self.bytes[field.name.clone()],
                    &self.bytes[field.value.clone()],
                )
            })
            .collect()
    }

    fn reason(&self) -> &[u8] {
        &self.bytes[self.head.reason.clone()]
    }

    fn framing(&self, to_head: bool) -> Result<Framing, BadHead> {
        self.head.framing(&self.bytes, to_head, false)
    }
}

/// The end is found wherever the search was interrupted.
fn check_end(bytes: &[u8]) {
    let end = ResponseHead::end(bytes, 0);
    let mut seen = 0;
    for length in 0..=bytes.len() {
        let found = ResponseHead::end(&bytes[..length], seen);
        if found.is_some() {
            assert_eq!(found, end);
            return;
        }
        seen = length;
    }
    assert_eq!(end, None);
}

/// What httparse takes is read alike; where it passes over what it calls invalid, more may be read.
fn check_httparse(
    bytes: &[u8],
    end: Option<usize>,
    own: Option<&Result<Owned, BadHead>>,
    flags: u8,
) {
    let passes_over = flags & 2 != 0;
    let mut config = httparse::ParserConfig::default();
    config
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(flags & 4 != 0)
        .allow_multiple_spaces_in_response_status_delimiters(flags & 8 != 0)
        .ignore_invalid_headers_in_responses(passes_over);
    let mut fields = [httparse::EMPTY_HEADER; HTTPARSE_FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    let Ok(httparse::Status::Complete(length)) = config.parse_response(&mut parsed, bytes) else {
        return;
    };
    assert_eq!(end, Some(length), "both see the same end");
    for length in 0..length {
        assert!(ResponseHead::may_begin(&bytes[..length]));
    }
    let code = parsed.code.expect("it is complete");
    let own = match own.expect("there is an end") {
        Ok(own) => own,
        Err(BadHead::StatusLine) if code < 100 => return, // which is no status
        // httparse passes over the field, and so finds another length.
        Err(BadHead::Framing(_)) if passes_over => return,
        Err(error) => panic!("httparse takes it: {error}"),
    };
    assert_eq!(own.head.status, code);
    assert_eq!(own.head.is_http10, parsed.version == Some(0));
    let reason = parsed.reason.unwrap_or_default();
    // Where it is not ASCII, httparse says nothing.
    assert!(reason.is_empty() || own.reason() == trim(reason.as_bytes()));
    let own = own.fields();
    let mut left = own.iter();
    for field in parsed.headers.iter() {
        let value: Vec<u8> = field.value.iter().map(|&byte| healed(byte)).collect();
        let seen = (field.name.as_bytes(), trim(&value));
        if passes_over {
            assert!(left.any(|&field| field == seen), "{field:?} is missing");
        } else {
            assert_eq!(left.next(), Some(&seen));
        }
    }
    assert!(passes_over || left.next().is_none());
}

fn healed(byte: u8) -> u8 {
    match byte {
        b'\t' => b'\t',
        ..b' ' | 0x7F => b' ',
        _ => byte,
    }
}

/// What is written of it is a head without any leniency, and says the same.
fn check_passed_on(own: &Owned) {
    assert!((100..1000).contains(&own.head.status));
    let status = own.head.status.to_string();
    let mut writer = HeadWriter::response(b"HTTP/1.1", status.as_bytes(), own.reason());
    for (name, value) in own.fields() {
        assert!(is_token(name));
        assert!(value == trim(value) && value.iter().all(|&byte| byte == healed(byte)));
        writer.field(name, value);
    }
    let written = writer.finish();
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    assert_eq!(
        parsed.parse(&written),
        Ok(httparse::Status::Complete(written.len()))
    );
    let seen = parsed.headers.iter();
    assert!(
        seen.map(|field| (field.name.as_bytes(), field.value))
            .eq(own.fields())
    );
    let has_length = match reference::length(&own.fields()) {
        Length::Doubtful => false,
        Length::Bytes(length) => i64::try_from(length).is_ok(), // or it is left out
        Length::Nothing | Length::Chunked => true,
    };
    if own.head.status >= 200 && has_length {
        let answer = answer(&written, written.len(), http::Method::GET);
        let answer = answer.expect("hyper takes it too");
        assert_eq!(answer.status.as_u16(), own.head.status);
        assert_eq!(answer.headers.len(), own.fields().len());
    }
    let again = Owned::parse(&written).expect("it was read before");
    assert_eq!(again.bytes, written, "nothing is left to heal");
    assert_eq!(
        (again.fields(), again.reason()),
        (own.fields(), own.reason())
    );
}

/// The length of the body is that of RFC 9112, section 6.3, where that leaves no doubt; where it does, no other response may come on
/// the connection.
fn check_framing(own: &Owned) {
    let framing = own.framing(false);
    let of_head = own.framing(true).expect("no body could be meant");
    assert_eq!(of_head.length, BodyLength::None);
    assert!(own.head.framing(&own.bytes, false, true).is_ok() || framing.is_err());
    if matches!(own.head.status, 100..200 | 204 | 205 | 304) {
        let framing = framing.expect("no body could be meant");
        assert_eq!(framing.length, BodyLength::None);
        return;
    }
    let expected = match reference::length(&own.fields()) {
        Length::Nothing => BodyLength::UntilClose,
        // Beyond that it is no length that could be meant.
        Length::Bytes(length) if i64::try_from(length).is_err() => BodyLength::UntilClose,
        Length::Bytes(length) => BodyLength::Bytes(length),
        Length::Chunked => {
            let framing = framing.expect("it is chunked");
            assert_eq!(framing.length, BodyLength::Chunked);
            assert!(!framing.is_reusable || !own.head.is_http10);
            return;
        }
        Length::Doubtful => {
            let is_coded =
                |field: &(&[u8], &[u8])| field.0.eq_ignore_ascii_case(b"transfer-encoding");
            let has_coding = own.fields().iter().any(is_coded);
            assert!(!has_coding || framing.is_err() || !framing.is_ok_and(|it| it.is_reusable));
            return;
        }
    };
    assert_eq!(framing.expect("there is no doubt").length, expected);
}

/// A whole body is the one that hyper's client reads.
fn check_body(bytes: &[u8], to_head: bool, most: usize) {
    let method = if to_head {
        http::Method::HEAD
    } else {
        http::Method::GET
    };
    let Some(answer) = answer(bytes, most, method) else {
        return;
    };
    let Some((own, rest)) = last_head(bytes) else {
        return; // it is refused, which `check_httparse` has judged
    };
    assert_eq!(own.head.status, answer.status.as_u16());
    let framing = match own.framing(to_head) {
        Ok(framing) => framing,
        // hyper reads such a body until the connection closes, and leaves the coding to its user.
        Err(BadHead::TransferEncoding(_)) => return,
        Err(error) => panic!("hyper takes it: {error}"),
    };
    // A list of codings, over all lines and with empty elements, is what it says; hyper reads the end of the last line. `identity` is
    // no length to it.
    let mut codings = own.head.values(&own.bytes, "transfer-encoding");
    let is_list = codings.any(|coding| !coding.eq_ignore_ascii_case(b"chunked"));
    // 205 has a body to hyper, and after 101 the connection is no longer its.
    if is_list || matches!(own.head.status, 101 | 205) {
        return;
    }
    let (content, is_whole) = match framing.length {
        BodyLength::None => (Vec::new(), true),
        BodyLength::UntilClose => (rest.to_vec(), true),
        BodyLength::Bytes(length) => {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            (
                rest[..rest.len().min(length)].to_vec(),
                length <= rest.len(),
            )
        }
        BodyLength::Chunked => {
            let (mut rest, mut chunked) = (rest.to_vec(), Chunked::lenient());
            let Ok((kept, _)) = chunked.decode_in_place(&mut rest, |_| {}) else {
                assert!(!answer.content.is_whole, "hyper finds an end");
                return;
            };
            rest.truncate(kept);
            (rest, chunked.is_done())
        }
    };
    if answer.content.is_whole {
        assert!(is_whole, "hyper finds an end");
        assert_eq!(content, answer.content.bytes);
    } else if framing.length != BodyLength::Chunked {
        assert!(!is_whole, "hyper finds no end");
    }
}

/// The head after the interim ones, and what comes after it.
fn last_head(mut bytes: &[u8]) -> Option<(Owned, &[u8])> {
    loop {
        let (head, rest) = bytes.split_at(ResponseHead::end(bytes, 0)?);
        let own = Owned::parse(head).ok()?;
        if !matches!(own.head.status, 100 | 102..200) {
            return Some((own, rest));
        }
        bytes = rest;
    }
}
