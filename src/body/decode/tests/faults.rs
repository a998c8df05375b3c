//! Data that is cut, damaged, followed by something, or made to exhaust memory.

use super::*;

#[test]
fn a_body_cut_at_any_byte_is_truncated() {
    let events = events(8);
    for coded in &CODED {
        let pieces = coded.encode(&events);
        let body = pieces.concat();
        for cut in 1..body.len() {
            let (output, end) = decode(coded.name, [&body[..cut]]);
            assert_eq!(
                end.unwrap_err().fault,
                Fault::Truncated,
                "{} at {cut}",
                coded.name
            );
            let flushed = pieces.iter().scan(0, |end, piece| {
                *end += piece.len();
                (*end <= cut).then_some(())
            });
            let whole_events = events[..flushed.count().min(events.len())].concat();
            assert!(output.starts_with(&whole_events), "{} at {cut}", coded.name);
            assert!(
                events.concat().starts_with(&output),
                "{} at {cut}",
                coded.name
            );
        }
    }
}

/// Every body that differs from `body` in one byte.
fn damaged(body: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..body.len()).flat_map(move |position| {
        [0x01, 0x10, 0xff].map(|mask| {
            let mut body = body.to_vec();
            body[position] ^= mask;
            body
        })
    })
}

#[test]
fn damage_never_passes_for_the_content_where_there_is_a_checksum() {
    let events = events(8);
    for (name, encode) in [("gzip", gzip as Encode), ("deflate", zlib), ("zstd", zstd)] {
        for body in damaged(&encode(&events).concat()) {
            let (output, end) = decode(name, [&body[..]]);
            assert!(end.is_err() || output == events.concat(), "{name} {body:?}");
        }
    }
}

#[test]
fn damage_is_the_same_in_every_chunking() {
    let events = events(8);
    for coded in &CODED {
        for body in damaged(&coded.encode(&events).concat()) {
            assert_chunking_changes_nothing(coded.name, &body);
        }
    }
}

#[test]
fn what_comes_before_a_fault_is_given_out() {
    let events = events(3);
    for coded in &CODED {
        let mut body = coded.encode(&events)[..3].concat();
        body.extend([0xff; 16]);
        let (output, end) = decode(coded.name, [&body[..]]);
        assert_eq!(end.unwrap_err().fault, Fault::Corrupt, "{}", coded.name);
        // The library for br drops what it has not written yet.
        let is_all_there = output.starts_with(&events.concat());
        assert!(is_all_there || coded.name.contains("br"), "{}", coded.name);
    }
}

#[test]
fn no_bytes_are_a_complete_body() {
    for coded in &CODED {
        assert_eq!(
            decode(coded.name, [&b""[..]]),
            (vec![], Ok(())),
            "{}",
            coded.name
        );
    }
}

#[test]
fn calls_without_input_do_nothing() {
    let events = events(3);
    for coded in &CODED {
        let pieces = coded.encode(&events);
        let (mut decoder, mut output) = (coded.decoder(), Vec::new());
        for piece in &pieces {
            feed(&mut decoder, piece, 4096, &mut output).unwrap();
            for _ in 0..100 {
                assert_eq!(decoder.decode(&mut &b""[..], &mut [0; 8]), Ok(0));
            }
        }
        assert_eq!((output, decoder.finish()), (events.concat(), Ok(())));
    }
}

/// Repeats a flushed mebibyte of zeros 1024 times.
fn bomb(coded: &Coded) -> Vec<u8> {
    let mut pieces = coded.encode(&vec![vec![0; 1 << 20]; 4]);
    assert_eq!(pieces[2], pieces[3], "{}", coded.name);
    let mebibyte = pieces.swap_remove(2);
    [pieces[..2].concat(), mebibyte.repeat(1022)].concat()
}

#[test]
#[cfg(target_os = "linux")]
fn a_bomb_takes_no_memory() {
    for coded in CODED.iter().filter(|coded| coded.layers.len() == 1) {
        let bomb = bomb(coded);
        assert!(bomb.len() < 2 << 20, "{}", coded.name);
        let (mut decoder, mut rest) = (coded.decoder(), &bomb[..]);
        let (mut total, mut buffer) = (0, [1; 16384]);
        loop {
            match decoder.decode(&mut rest, &mut buffer).unwrap() {
                0 => break,
                written => total += written,
            }
        }
        assert_eq!(total, 1 << 30, "{}", coded.name);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.split_once("VmHWM:").unwrap().1.split_whitespace();
    let peak_kib: u64 = peak.into_iter().next().unwrap().parse().unwrap();
    assert!(peak_kib < 512 << 10, "{peak_kib} KiB");
}

#[test]
fn windows_beyond_what_http_allows_are_refused() {
    for (window_log, fault) in [
        (23, Fault::Truncated),
        (24, Fault::TooLarge),
        (27, Fault::TooLarge),
    ] {
        let pieces = zstd_with(&events(3), &[CParameter::WindowLog(window_log)]);
        let (_, end) = decode("zstd", [&pieces[..3].concat()[..]]);
        assert_eq!(end.unwrap_err().fault, fault, "window of 2^{window_log}");
    }
    // "Large window" brotli asking for 2^30 bytes, then an empty last meta-block.
    let (_, end) = decode("br", [&[0x11, 0x1e, 0x03][..]]);
    assert_eq!(end.unwrap_err().fault, Fault::Corrupt);
}

#[test]
fn bytes_after_the_end_are_an_error() {
    let events = events(4);
    for coded in &CODED {
        for tail in [&b"\0"[..], b"trailing garbage that is longer"] {
            let mut body = coded.encode(&events).concat();
            body.extend(tail);
            let (output, end) = decode(coded.name, [&body[..]]);
            assert!(output == events.concat(), "{}", coded.name);
            // Zero bytes after a gzip fill a block.
            let is_padding = coded.name.ends_with("gzip") && tail == b"\0";
            assert_eq!(end.is_ok(), is_padding, "{} and {tail:?}", coded.name);
        }
    }
}
