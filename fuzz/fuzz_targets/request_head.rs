//! Invariant: a request head that passes the scanner is read by httparse, by hyper and by the grammar as the same message, or
//! not at all: the same method, target (but for what no URI may have, percent-encoded), fields, and length of the body.
//! A head that keeps to the grammar passes, unless it has a fragment, or both lengths. No split changes the verdict.
//!
//! Input: what a client sends.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sse_sidecar::wire::{
    Malformed, RequestHead, is_only_chunked, origin_form, request_target, with_valid_target,
};
use sse_sidecar_fuzz::hyper::serve;
use sse_sidecar_fuzz::reference::{self, Length};

/// More than any input of the fuzzer has.
const LIMIT: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let whole = scan(data, data.len());
    assert_eq!(whole, scan(data, 1));
    assert_eq!(whole, scan(data, data.len() / 2));
    let strict = reference::request(data);
    if let Some(request) = &strict {
        let has = |name: &str| {
            let is_it = |field: &(&[u8], &[u8])| field.0.eq_ignore_ascii_case(name.as_bytes());
            request.fields.iter().any(is_it)
        };
        if has("content-length") && has("transfer-encoding") {
            assert_eq!(whole, Err(Malformed::LengthAndEncoding));
        } else {
            assert_eq!(whole, Ok(Some(request.end)), "a good head passes");
        }
    }
    let Ok(Some(end)) = whole else { return };
    let head = &data[..end];
    let strict = strict.filter(|request| request.end == end);
    check_httparse(head, strict.as_ref());
    let valid = with_valid_target(head);
    if let Some(valid) = &valid {
        check_encoded(head, valid);
    }
    check_hyper(
        head,
        valid.as_deref().unwrap_or(head),
        strict.as_ref(),
        data.len(),
    );
});

/// The verdict on `data`, which comes `size` bytes at a time.
fn scan(data: &[u8], size: usize) -> Result<Option<usize>, Malformed> {
    let mut head = RequestHead::new(LIMIT);
    let mut before = 0;
    for piece in data.chunks(size.max(1)) {
        if let Some(end) = head.scan(piece)? {
            return Ok(Some(before + end));
        }
        before += piece.len();
    }
    Ok(None)
}

/// What httparse takes is what the grammar says.
fn check_httparse(head: &[u8], strict: Option<&reference::Request<'_>>) {
    let mut fields = [httparse::EMPTY_HEADER; 256];
    let mut parsed = httparse::Request::new(&mut fields);
    let Ok(status) = parsed.parse(head) else {
        return;
    };
    assert_eq!(
        status,
        httparse::Status::Complete(head.len()),
        "both see the same end"
    );
    let strict = strict.expect("httparse takes what the grammar does not allow");
    assert_eq!(parsed.method.map(str::as_bytes), Some(strict.method));
    assert_eq!(parsed.path.map(str::as_bytes), Some(strict.target));
    assert_eq!(parsed.version, Some(strict.minor));
    let seen = parsed
        .headers
        .iter()
        .map(|field| (field.name.as_bytes(), field.value));
    assert!(seen.eq(strict.fields.iter().copied()), "the same fields");
}

/// Only the target was changed, and decoding it gives it back.
fn check_encoded(head: &[u8], valid: &[u8]) {
    assert_eq!(scan(valid, valid.len()), Ok(Some(valid.len())));
    let (was, is) = (request_target(head), request_target(valid));
    let start = was.as_ptr().addr() - head.as_ptr().addr();
    assert_eq!(head[..start], valid[..start]);
    assert_eq!(head[start + was.len()..], valid[start + is.len()..]);
    let mut is = is.iter().copied();
    for &byte in was {
        let seen = is.next().expect("nothing is missing");
        if seen == byte {
            continue;
        }
        assert_eq!(seen, b'%');
        let digits = [is.next(), is.next()].map(|digit| digit.expect("two digits"));
        let digits = str::from_utf8(&digits).expect("hexadecimal digits");
        assert_eq!(u8::from_str_radix(digits, 16), Ok(byte));
    }
    assert_eq!(is.next(), None);
}

/// hyper reads `passed`, which stands for `head`, as the grammar says, or refuses it.
fn check_hyper(head: &[u8], passed: &[u8], strict: Option<&reference::Request<'_>>, seed: usize) {
    let served = serve(passed, seed % 7 * 100);
    let Some(seen) = served.first() else {
        let is_plain = strict.is_some_and(|request| {
            let has_length = match reference::request_length(request) {
                Length::Doubtful => false,
                Length::Bytes(length) => i64::try_from(length).is_ok(), // to hyper some beyond mean something else
                Length::Nothing | Length::Chunked => true,
            };
            request.target.starts_with(b"/") && has_length
        });
        assert!(!is_plain, "hyper refuses a good head");
        return;
    };
    let strict = strict.expect("hyper takes what the grammar does not allow");
    assert_eq!(seen.method.as_str().as_bytes(), strict.method);
    assert_eq!(seen.version == http::Version::HTTP_11, strict.minor == 1);
    assert_eq!(strict.target, request_target(head));
    let (target, seen_target) = (request_target(passed), seen.target.as_bytes());
    // hyper gives a URI without a path one.
    assert!(
        target == seen_target || origin_form(target) == origin_form(seen_target),
        "hyper sees another target: {}",
        seen.target
    );
    // Of equal lengths hyper keeps the first.
    let mut length_seen = false;
    let fields = strict.fields.iter().filter(|(name, _)| {
        !name.eq_ignore_ascii_case(b"content-length") || !std::mem::replace(&mut length_seen, true)
    });
    let mut expected: Vec<_> = fields
        .map(|&(name, value)| (name.to_ascii_lowercase(), value.to_vec()))
        .collect();
    let mut fields: Vec<_> = seen
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect();
    // Stable: the lines of one field stay in order.
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(fields, expected);
    let codings = seen.headers.get_all(http::header::TRANSFER_ENCODING);
    if !is_only_chunked(codings.iter().map(http::HeaderValue::as_bytes)) {
        return; // `proxy::request::check` refuses it
    }
    let length = match seen.length {
        Some(0) => Length::Bytes(0),
        Some(length) => Length::Bytes(length),
        None => Length::Chunked,
    };
    match reference::request_length(strict) {
        Length::Nothing => assert_eq!(length, Length::Bytes(0)),
        expected => assert_eq!(length, expected),
    }
}
