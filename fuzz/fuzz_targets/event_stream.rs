//! Invariant: an arbitrary stream in arbitrary pieces, with silences anywhere, never panics; how it is cut changes no
//! byte of what comes out; without the insertions the input is back; and a parser that shares no code with the proxy
//! sees the same events.
//!
//! Input: a byte names the heartbeat's form, one sizes the pieces, one says how many silences there are; so many bytes
//! say where; the rest is the stream.

#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use sse_sidecar::sse::parse::parse;
use sse_sidecar::sse::{
    Client, EventStream, FailureEvent, FrameChoice, Heartbeat, Output, Timeouts, UpstreamEnd,
};

const INTERVAL: Duration = Duration::from_secs(15);

#[derive(Debug, Default, PartialEq)]
struct Written {
    all: Vec<u8>,
    original: Vec<u8>,
}

impl Written {
    fn push(&mut self, output: &Output<'_>) {
        for part in [output.held, output.before, output.inserted, output.after] {
            self.all.extend_from_slice(part);
        }
        for part in [output.held, output.before, output.after] {
            self.original.extend_from_slice(part);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let [form, size, silences, rest @ ..] = data else {
        return;
    };
    let Some((places, input)) = rest.split_at_checked(usize::from(*silences) % 16) else {
        return;
    };
    let frame = [
        FrameChoice::Line,
        FrameChoice::Block,
        FrameChoice::BlockUntilId,
    ][usize::from(*form) % 3];
    let whole = run(input, usize::MAX, places, frame);
    assert_eq!(whole, run(input, 1, places, frame));
    assert_eq!(whole, run(input, usize::from(*size).max(1), places, frame));
    let comment_first = whole.all.starts_with(b": heartbeat") && !input.starts_with(b": heartbeat");
    let expected = match input.strip_prefix(b"\xEF\xBB\xBF") {
        Some(rest) if comment_first => rest,
        _ => input,
    };
    assert_eq!(whole.original, expected);
    assert_eq!(parse(&whole.all), parse(input));
});

fn run(input: &[u8], size: usize, places: &[u8], frame: FrameChoice) -> Written {
    let mut now = Instant::now();
    let heartbeat = Arc::new(Heartbeat::new("heartbeat"));
    let clocks = Timeouts {
        heartbeat: Some(INTERVAL),
        ..Timeouts::default()
    };
    let mut stream = EventStream::new(heartbeat, frame, clocks, FailureEvent::None, now);
    let mut written = Written::default();
    let mut from = 0;
    let mut silences: Vec<usize> = places.iter().map(|&at| usize::from(at)).collect();
    silences.sort_unstable();
    silences.dedup();
    for to in silences
        .iter()
        .copied()
        .filter(|&at| at <= input.len())
        .chain([input.len()])
    {
        for piece in input[from..to].chunks(size.min(input.len().max(1))) {
            written.push(&stream.handle_data(now, piece));
        }
        from = to;
        if silences.contains(&to) {
            now += INTERVAL;
            written.push(&stream.handle_timeout(now, Client::Taking));
            assert!(stream.poll_timeout().is_none_or(|at| at > now));
        }
    }
    written.push(&stream.handle_end(UpstreamEnd::Finished));
    written
}
