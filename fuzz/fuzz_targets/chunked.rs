//! Invariant: what hyper decodes is decoded to the same bytes and the same end, at any split. What is decoded to an end, and hyper
//! refuses, is one of the leniencies named here: lines that end in a bare LF (of responses only), anything but a semicolon after the
//! whitespace behind a chunk's size, trailers that are no fields.
//!
//! Input: one byte sizes the pieces; the rest is a chunked body, and what follows it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sse_sidecar::wire::{BadChunk, Chunked, Piece};
use sse_sidecar_fuzz::hyper::{Content, answer, serve};
use sse_sidecar_fuzz::reference::trim;

/// Ours are 16 KiB for extensions and trailers together, hyper's for each of them.
const NEVER_TOO_LONG: usize = 16 * 1024;

const REQUEST: &[u8] = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
const NEXT: &[u8] = b"GET /next HTTP/1.1\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A body, as far as it came.
#[derive(Debug, Default, PartialEq)]
struct Decoded {
    data: Vec<u8>,
    framing: Vec<u8>,
    trailers: Vec<u8>,
    /// Where it ended, if it did.
    end: Option<usize>,
}

fuzz_target!(|data: &[u8]| {
    let [size, input @ ..] = data else { return };
    let size = usize::from(*size).max(1);
    if input.len() >= NEVER_TOO_LONG {
        return;
    }
    let strict = decode(Chunked::new(), input, size);
    let lenient = decode(Chunked::lenient(), input, size);
    if strict.is_ok() {
        assert_eq!(strict, lenient, "nothing strict is read otherwise");
    }
    for (decoded, lf) in [(&strict, false), (&lenient, true)] {
        let whole = decoded
            .as_ref()
            .ok()
            .filter(|decoded| decoded.end.is_some());
        let allowed = Leniencies { lf, words: true };
        assert!(whole.is_none_or(|whole| keeps_to(whole, allowed)));
    }
    check_request(strict.as_ref().ok(), input, size);
    check_response(lenient.as_ref().ok(), input, size);
});

/// The body in `input`, the same at every split and by both ways to read it.
fn decode(chunked: Chunked, input: &[u8], size: usize) -> Result<Decoded, BadChunk> {
    let whole = by_pieces(chunked.clone(), input, usize::MAX);
    assert_eq!(whole, by_pieces(chunked.clone(), input, 1));
    assert_eq!(whole, by_pieces(chunked.clone(), input, size));
    for size in [usize::MAX, 1, size] {
        let in_place = in_place(chunked.clone(), input, size);
        let expected = whole.as_ref().map(|whole| {
            let Decoded {
                data,
                framing: _,
                trailers,
                end,
            } = whole;
            (data.clone(), trailers.clone(), *end)
        });
        assert_eq!(in_place, expected.map_err(|&error| error));
    }
    whole
}

fn by_pieces(mut chunked: Chunked, input: &[u8], size: usize) -> Result<Decoded, BadChunk> {
    let mut decoded = Decoded::default();
    let mut position = 0;
    while position < input.len() {
        let until = position.saturating_add(size).min(input.len());
        let piece = &input[position..until];
        let (length, part) = match chunked.next(piece)? {
            Piece::Framing(length) => (length, &mut decoded.framing),
            Piece::Trailers(length) => (length, &mut decoded.trailers),
            Piece::Data(length) => (length, &mut decoded.data),
            Piece::End => break,
        };
        assert!(length > 0, "it goes on");
        part.extend_from_slice(&piece[..length]);
        position += length;
    }
    decoded.end = chunked.is_done().then_some(position);
    Ok(decoded)
}

type InPlace = (Vec<u8>, Vec<u8>, Option<usize>);

fn in_place(mut chunked: Chunked, input: &[u8], size: usize) -> Result<InPlace, BadChunk> {
    let (mut data, mut trailers, mut position) = (Vec::new(), Vec::new(), 0);
    for piece in input.chunks(size.min(input.len().max(1))) {
        let mut piece = piece.to_vec();
        let (kept, read) =
            chunked.decode_in_place(&mut piece, |part| trailers.extend_from_slice(part))?;
        data.extend_from_slice(&piece[..kept]);
        if let Some(error) = chunked.failure() {
            assert!(kept > 0, "an error says it at once");
            return Err(error);
        }
        position += read;
        if read < piece.len() {
            assert!(chunked.is_done());
            break;
        }
    }
    Ok((data, trailers, chunked.is_done().then_some(position)))
}

/// A request's body, against hyper's server: a difference would be a smuggled request.
fn check_request(own: Option<&Decoded>, input: &[u8], size: usize) {
    let Some((own, end)) = own.and_then(|own| Some((own, own.end?))) else {
        let served = serve(&[REQUEST, input].concat(), size);
        if let Some(request) = served.first().filter(|request| request.content.is_whole) {
            // hyper takes one as part of a trailer.
            assert!(has_bare_lf(input), "hyper ends: {request:?}");
        }
        return;
    };
    let served = serve(&[REQUEST, &input[..end], NEXT].concat(), size);
    let first = &served.first().expect("the head is a good one").content;
    if first.is_whole {
        assert_eq!(own.data, first.bytes);
        assert_eq!(served.len(), 2, "hyper sees another end");
        assert_eq!(served[1].target, "/next");
    } else {
        assert!(!is_by_the_book(own), "hyper refuses it");
    }
}

/// A response's body, against hyper's client.
fn check_response(own: Option<&Decoded>, input: &[u8], size: usize) {
    let read = |body: &[u8]| -> Content {
        let answer = answer(&[RESPONSE, body].concat(), size, http::Method::GET);
        answer.expect("the head is a good one").content
    };
    let hyper = read(input);
    match own.and_then(|own| Some((own, own.end?))) {
        Some((own, end)) if hyper.is_whole => {
            assert_eq!(own.data, hyper.bytes);
            if !has_bare_lf(&own.trailers) {
                assert!(read(&input[..end]).is_whole, "hyper sees a later end");
                assert!(
                    !read(&input[..end - 1]).is_whole,
                    "hyper sees an earlier end"
                );
            }
        }
        Some((own, _)) => assert!(!is_by_the_book(own), "hyper refuses it"),
        None => assert!(!hyper.is_whole, "hyper ends: {hyper:?}"),
    }
}

/// What only some decoders take.
#[derive(Clone, Copy)]
struct Leniencies {
    /// Lines end in a bare LF.
    lf: bool,
    /// After whitespace behind a size something else than a semicolon.
    words: bool,
}

fn is_by_the_book(decoded: &Decoded) -> bool {
    let none = Leniencies {
        lf: false,
        words: false,
    };
    keeps_to(decoded, none) && has_good_trailers(&decoded.trailers)
}

/// Whether the framing of a whole body has no other leniencies.
fn keeps_to(decoded: &Decoded, allowed: Leniencies) -> bool {
    let mut trailers = &decoded.trailers[..];
    while let Some(line) = next_line(&mut trailers, allowed) {
        if line.is_empty() {
            return trailers.is_empty() && has_good_sizes(&decoded.framing, allowed);
        }
    }
    false
}

fn has_good_sizes(mut framing: &[u8], allowed: Leniencies) -> bool {
    while let Some(line) = next_line(&mut framing, allowed) {
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
        let (digits, extension) = line.split_at(digits.count());
        let is_extension = match extension {
            [] | [b';', ..] => true,
            [b' ' | b'\t', ..] => allowed.words || matches!(trim(extension), [] | [b';', ..]),
            _ => false,
        };
        if digits.is_empty() || !is_extension {
            return false;
        }
        if digits.iter().all(|&digit| digit == b'0') {
            return framing.is_empty();
        }
        if next_line(&mut framing, allowed) != Some(b"") {
            return false; // the end of the chunk's data
        }
    }
    false
}

fn next_line<'a>(rest: &mut &'a [u8], allowed: Leniencies) -> Option<&'a [u8]> {
    let end = rest.iter().position(|&byte| byte == b'\n')?;
    let line = &rest[..end];
    *rest = &rest[end + 1..];
    let line = match line.strip_suffix(b"\r") {
        Some(line) => line,
        None if allowed.lf => line,
        None => return None,
    };
    (!line.contains(&b'\r')).then_some(line)
}

fn has_good_trailers(trailers: &[u8]) -> bool {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let parsed = httparse::parse_headers(trailers, &mut fields);
    parsed.is_ok_and(|parsed| {
        matches!(parsed, httparse::Status::Complete((length, _)) if length == trailers.len())
    })
}

fn has_bare_lf(text: &[u8]) -> bool {
    text.iter()
        .enumerate()
        .any(|(index, &byte)| byte == b'\n' && !text[..index].ends_with(b"\r"))
}
