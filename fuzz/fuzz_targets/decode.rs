//! Invariant: arbitrary bytes through every coding, in arbitrary chunks and with arbitrary room for the output, never
//! panic, and neither chunks nor room change what comes out or whether it ends well. Only right before a fault one
//! chunking may give less than another.
//!
//! Input: one byte names the coding, one sizes the chunks, one the room; the rest is the body.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sse_sidecar::body::decode::{DecodeError, Decoder};

const CODINGS: [&str; 8] = [
    "gzip",
    "deflate",
    "br",
    "zstd",
    "gzip, br",
    "br, gzip",
    "deflate, zstd",
    "zstd, zstd",
];

/// Enough to cross every window of a small body, and little enough to keep the fuzzer fast.
const MOST_OUTPUT: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let [coding, chunk, room, body @ ..] = data else {
        return;
    };
    let coding = CODINGS[usize::from(*coding) % CODINGS.len()];
    let (whole, end) = decode(coding, [body], 4096);
    let chunks = body.chunks(usize::from(*chunk).max(1));
    let (chunked, chunked_end) = decode(coding, chunks, usize::from(*room).max(1));
    assert!(whole.starts_with(&chunked) || chunked.starts_with(&whole));
    if whole.len() < MOST_OUTPUT && chunked.len() < MOST_OUTPUT {
        assert_eq!(end.is_ok(), chunked_end.is_ok());
        assert!(end.is_err() || whole == chunked);
    }
});

fn decode<'a>(
    coding: &str,
    chunks: impl IntoIterator<Item = &'a [u8]>,
    room: usize,
) -> (Vec<u8>, Result<(), DecodeError>) {
    let mut decoder = Decoder::for_codings([coding])
        .expect("the codings are known")
        .expect("none of them is identity");
    let mut output = Vec::new();
    let mut buffer = vec![0; room];
    for mut chunk in chunks {
        loop {
            match decoder.decode(&mut chunk, &mut buffer) {
                Ok(0) => break,
                Ok(written) => output.extend_from_slice(&buffer[..written]),
                Err(error) => return (output, Err(error)),
            }
            if output.len() >= MOST_OUTPUT {
                return (output, Ok(()));
            }
        }
        assert!(chunk.is_empty(), "zero, and bytes are left");
    }
    (output, decoder.finish())
}
