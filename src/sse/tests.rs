//! Properties of the core, each over arbitrary streams, splits and times; then the examples that name a rule.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::parse::parse;
use super::{
    Client, End, EndReason, EventStream, Failure, FailureEvent, FrameChoice, Heartbeat, Manner,
    Output, Timeouts, UpstreamEnd,
};

const INTERVAL: Duration = Duration::from_secs(15);

fn stream(frame: FrameChoice, timeouts: Timeouts, now: Instant) -> EventStream {
    EventStream::new(
        Arc::new(Heartbeat::new("heartbeat")),
        frame,
        timeouts,
        FailureEvent::None,
        now,
    )
}

fn heartbeats_only() -> Timeouts {
    Timeouts {
        heartbeat: Some(INTERVAL),
        ..Timeouts::default()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "an arbitrary origin: the core never reads a clock"
)]
fn origin() -> Instant {
    Instant::now()
}

/// What came out, each byte with whether it was inserted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Trace {
    bytes: Vec<(u8, bool)>,
    end: Option<End>,
}

impl Trace {
    fn push(&mut self, output: &Output<'_>) {
        let parts = [
            (output.held, false),
            (output.before, false),
            (output.inserted, true),
            (output.after, false),
        ];
        assert!(
            self.end.is_none() || parts.iter().all(|(part, _)| part.is_empty()),
            "output after the end"
        );
        for (part, inserted) in parts {
            self.bytes.extend(part.iter().map(|&byte| (byte, inserted)));
        }
        self.end = self.end.or(output.end);
    }

    fn all(&self) -> Vec<u8> {
        self.bytes.iter().map(|&(byte, _)| byte).collect()
    }

    fn without_insertions(&self) -> Vec<u8> {
        self.bytes
            .iter()
            .filter(|(_, inserted)| !inserted)
            .map(|&(byte, _)| byte)
            .collect()
    }
}

/// Feeds `input` cut at `cuts`, with a silence longer than the heartbeat interval at each of `silences`.
fn run(
    input: &[u8],
    cuts: &BTreeSet<usize>,
    silences: &BTreeSet<usize>,
    frame: FrameChoice,
) -> (Trace, EventStream) {
    let start = origin();
    let stream = stream(frame, heartbeats_only(), start);
    feed(stream, start, Trace::default(), input, cuts, silences)
}

/// Feeds it to a `stream` whose output so far is `trace`.
fn feed(
    mut stream: EventStream,
    mut now: Instant,
    mut trace: Trace,
    input: &[u8],
    cuts: &BTreeSet<usize>,
    silences: &BTreeSet<usize>,
) -> (Trace, EventStream) {
    let mut from = 0;
    let ends: BTreeSet<usize> = cuts
        .union(silences)
        .copied()
        .chain([input.len()])
        .filter(|&at| at <= input.len())
        .collect();
    for to in ends {
        trace.push(&stream.handle_data(now, &input[from..to]));
        if silences.contains(&to) {
            now += INTERVAL;
            trace.push(&stream.handle_timeout(now, Client::Taking));
        }
        from = to;
    }
    trace.push(&stream.handle_end(UpstreamEnd::Finished));
    (trace, stream)
}

/// The same for a stream that is ahead of its upstream by `beats` heartbeats.
fn run_ahead(
    input: &[u8],
    beats: u32,
    cuts: &BTreeSet<usize>,
    silences: &BTreeSet<usize>,
    frame: FrameChoice,
) -> Trace {
    let mut now = origin();
    let mut stream = stream(frame, heartbeats_only(), now).ahead();
    let mut trace = Trace::default();
    for _ in 0..beats {
        assert_eq!(stream.poll_timeout(), Some(now), "the first one at once");
        trace.push(&stream.handle_timeout(now, Client::Taking));
        now += INTERVAL;
    }
    stream.handle_head(now, FailureEvent::None);
    feed(stream, now, trace, input, cuts, silences).0
}

/// Streams dense in what matters: line ends in every combination, BOMs, comments, fields.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        4 => Just(b"\n".to_vec()),
        4 => Just(b"\r".to_vec()),
        3 => Just(b"\r\n".to_vec()),
        3 => Just(b"data: x".to_vec()),
        1 => Just(b"data".to_vec()),
        1 => Just(b"id: 7".to_vec()),
        1 => Just(b"event: e".to_vec()),
        1 => Just(b"retry: 5".to_vec()),
        2 => Just(b":".to_vec()),
        1 => Just(b"\xEF\xBB\xBF".to_vec()),
        1 => Just(b"\xEF\xBB".to_vec()),
        1 => Just(b"\xEF".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..40),
    ];
    prop::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat())
}

fn places() -> impl Strategy<Value = BTreeSet<usize>> {
    prop::collection::btree_set(0..120_usize, 0..12)
}

fn frame() -> impl Strategy<Value = FrameChoice> {
    prop_oneof![
        Just(FrameChoice::Line),
        Just(FrameChoice::Block),
        Just(FrameChoice::BlockUntilId)
    ]
}

/// `input` as it must come out: without a BOM if a comment went out before the first byte.
fn expected(input: &[u8], trace: &Trace) -> Vec<u8> {
    let comment_first = trace.bytes.first().is_some_and(|&(_, inserted)| inserted);
    match input.strip_prefix(b"\xEF\xBB\xBF") {
        Some(rest) if comment_first => rest.to_vec(),
        _ => input.to_vec(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn the_cuts_never_change_the_output(input in input(), cuts in places(), silences in places(), frame in frame()) {
        let whole = run(&input, &BTreeSet::new(), &silences, frame).0;
        let bytewise = run(&input, &(0..input.len()).collect(), &silences, frame).0;
        let cut = run(&input, &cuts, &silences, frame).0;
        prop_assert_eq!(&whole, &bytewise);
        prop_assert_eq!(&whole, &cut);
    }

    #[test]
    fn without_the_insertions_the_input_is_back(input in input(), cuts in places(), silences in places(), frame in frame()) {
        let trace = run(&input, &cuts, &silences, frame).0;
        prop_assert_eq!(trace.without_insertions(), expected(&input, &trace));
    }

    #[test]
    fn a_parser_sees_the_same_events(input in input(), cuts in places(), silences in places(), frame in frame()) {
        let (trace, stream) = run(&input, &cuts, &silences, frame);
        let events = parse(&input);
        prop_assert_eq!(parse(&trace.all()), events.clone());
        prop_assert_eq!(stream.counts().events, events.len() as u64);
    }

    #[test]
    fn insertions_are_whole_comments_at_allowed_positions(input in input(), silences in places(), frame in frame()) {
        let trace = run(&input, &BTreeSet::new(), &silences, frame).0;
        let output = trace.all();
        let mut at = 0;
        while at < output.len() {
            if !trace.bytes[at].1 {
                at += 1;
                continue;
            }
            let length = if output[at..].starts_with(b": heartbeat\n\n") && trace.bytes.get(at + 12).is_some_and(|b| b.1) { 13 } else { 12 };
            prop_assert!(output[at..].starts_with(b": heartbeat\n"));
            prop_assert!(trace.bytes[at..at + length].iter().all(|&(_, inserted)| inserted));
            // At the start of a line, of what the client sees and of what the upstream sent.
            let before: Vec<u8> = trace.bytes[..at].iter().filter(|b| !b.1).map(|b| b.0).collect();
            prop_assert!(before.is_empty() || before == b"\xEF\xBB\xBF" || matches!(before.last(), Some(b'\n' | b'\r')));
            if inside_event(&before) {
                prop_assert_eq!(length, 12, "a blank line inside an event");
                prop_assert_eq!(before.last(), Some(&b'\n'), "after a CR inside an event");
            }
            at += length;
        }
    }

    #[test]
    fn a_stream_that_is_ahead_carries_the_same(
        input in input(), bom in any::<bool>(), beats in 1..4_u32, cuts in places(), silences in places(), frame in frame(),
    ) {
        let bom: &[u8] = if bom { b"\xEF\xBB\xBF" } else { b"" };
        let input = [bom, &input].concat();
        let trace = run_ahead(&input, beats, &cuts, &silences, frame);
        let bytewise = run_ahead(&input, beats, &(0..input.len()).collect(), &silences, frame);
        prop_assert_eq!(&trace, &bytewise);
        prop_assert_eq!(trace.without_insertions(), expected(&input, &trace));
        prop_assert_eq!(parse(&trace.all()), parse(&input));
    }

    #[test]
    fn time_always_moves_on(input in input(), steps in prop::collection::vec((0..40_u64, any::<bool>()), 0..30)) {
        let timeouts = Timeouts {
            heartbeat: Some(Duration::from_secs(3)),
            first_event: Some(Duration::from_secs(50)),
            read: Some(Duration::from_secs(20)),
            total: Some(Duration::from_secs(90)),
        };
        let mut now = origin();
        let mut stream = stream(FrameChoice::Block, timeouts, now);
        let mut trace = Trace::default();
        let mut data = input.chunks(3);
        for (seconds, stalled) in steps {
            now += Duration::from_secs(seconds);
            let client = if stalled { Client::Stalled } else { Client::Taking };
            // At most each timeout once: the deadline is then ahead of now.
            for _ in 0..5 {
                if stream.poll_timeout().is_some_and(|at| at <= now) {
                    trace.push(&stream.handle_timeout(now, client));
                }
            }
            prop_assert!(stream.poll_timeout().is_none_or(|at| at > now));
            trace.push(&stream.handle_data(now, data.next().unwrap_or_default()));
        }
        prop_assert_eq!(stream.poll_timeout().is_none(), trace.end.is_some());
    }

    #[test]
    fn a_planned_end_leaves_no_half_event(input in input(), cuts in places(), at in 0..120_usize, ordered in any::<bool>()) {
        let timeouts = Timeouts { total: Some(INTERVAL), ..Timeouts::default() };
        let start = origin();
        let mut stream = stream(FrameChoice::Line, timeouts, start);
        let mut trace = Trace::default();
        let at = at.min(input.len());
        trace.push(&stream.handle_data(start, &input[..at]));
        let reason = if ordered { EndReason::Operator } else { EndReason::Total };
        if ordered {
            trace.push(&stream.handle_planned_end(reason));
            prop_assert_eq!(stream.handle_planned_end(reason), Output::default(), "once is enough");
        } else {
            trace.push(&stream.handle_timeout(start + INTERVAL, Client::Taking));
        }
        let mut from = at;
        for to in cuts.iter().copied().chain([input.len()]).filter(|&to| to > at && to <= input.len()) {
            if to > from && trace.end.is_none() {
                trace.push(&stream.handle_data(start + INTERVAL, &input[from..to]));
                from = to;
            }
        }
        if let Some(end) = trace.end {
            prop_assert_eq!(end, End { reason, manner: Manner::Clean });
            let output = trace.all();
            prop_assert!(input.starts_with(&output));
            prop_assert!(!inside_event(&output));
        } else {
            prop_assert!(inside_event(&input) || matches!(input.as_slice(), [.., b] if !matches!(b, b'\n' | b'\r')));
        }
    }
}

/// Whether `stream`, which ends at a line's end, ends inside an event; written without the code under test.
fn inside_event(stream: &[u8]) -> bool {
    let stream = stream.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(stream);
    let mut lines = Vec::new();
    let mut line = Vec::new();
    let mut bytes = stream.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' => {
                bytes.next_if_eq(&b'\n');
                lines.push(std::mem::take(&mut line));
            }
            b'\n' => lines.push(std::mem::take(&mut line)),
            byte => line.push(byte),
        }
    }
    lines
        .iter()
        .rev()
        .take_while(|line| !line.is_empty())
        .any(|line| line[0] != b':')
}

fn written(output: &Output<'_>) -> Vec<u8> {
    [output.held, output.before, output.inserted, output.after].concat()
}

#[test]
fn a_heartbeat_is_held_until_the_line_is_over() {
    let now = origin();
    let mut stream = stream(FrameChoice::Block, heartbeats_only(), now);
    assert_eq!(written(&stream.handle_data(now, b"data: he")), b"data: he");
    assert_eq!(stream.poll_timeout(), Some(now + INTERVAL));
    assert_eq!(
        written(&stream.handle_timeout(now + INTERVAL, Client::Taking)),
        b""
    );
    assert_eq!(
        stream.poll_timeout(),
        None,
        "held: nothing to do until the position changes"
    );
    let output = stream.handle_data(now + INTERVAL, b"llo\ndata: x\n\n");
    assert_eq!(output.inserted, b": heartbeat\n");
    assert_eq!(written(&output), b"llo\n: heartbeat\ndata: x\n\n");
    assert_eq!(stream.counts().heartbeats, 1);
}

#[test]
fn a_busy_stream_gets_no_heartbeat() {
    let mut now = origin();
    let mut stream = stream(FrameChoice::Block, heartbeats_only(), now);
    for _ in 0..10 {
        now += INTERVAL.mul_f32(0.9);
        assert_eq!(
            stream.handle_timeout(now, Client::Taking),
            Output::default()
        );
        stream.handle_data(now, b"data: x\n\n");
    }
    assert_eq!(stream.counts().heartbeats, 0);
}

#[test]
fn heartbeats_never_pile_up_behind_a_stalled_client() {
    let mut now = origin();
    let mut stream = stream(FrameChoice::Block, heartbeats_only(), now);
    for skipped in 1..=5 {
        now += INTERVAL;
        assert_eq!(
            stream.handle_timeout(now, Client::Stalled),
            Output::default()
        );
        assert_eq!(stream.counts().heartbeats_skipped, skipped);
    }
    now += INTERVAL;
    assert_eq!(
        stream.handle_timeout(now, Client::Taking).inserted,
        b": heartbeat\n\n"
    );
}

#[test]
fn heartbeats_do_not_hide_a_dead_upstream() {
    let start = origin();
    let timeouts = Timeouts {
        heartbeat: Some(INTERVAL),
        read: Some(4 * INTERVAL),
        ..Timeouts::default()
    };
    let mut stream = stream(FrameChoice::Block, timeouts, start);
    for beat in 1..4 {
        assert!(
            stream
                .handle_timeout(start + beat * INTERVAL, Client::Taking)
                .end
                .is_none()
        );
    }
    let end = stream
        .handle_timeout(start + 4 * INTERVAL, Client::Taking)
        .end;
    assert_eq!(
        end,
        Some(End {
            reason: EndReason::ReadTimeout,
            manner: Manner::Abort
        })
    );
    assert_eq!(stream.counts().heartbeats, 3);
}

#[test]
fn an_opaque_stream_gets_nothing_inserted() {
    let now = origin();
    let timeouts = Timeouts {
        heartbeat: Some(INTERVAL),
        first_event: Some(INTERVAL),
        ..Timeouts::default()
    };
    let mut stream = stream(FrameChoice::Block, timeouts, now).opaque();
    assert_eq!(
        written(&stream.handle_data(now, b"\x1f\x8b\n\n")),
        b"\x1f\x8b\n\n"
    );
    assert_eq!(stream.poll_timeout(), None);
    assert_eq!(
        stream.handle_timeout(now + 2 * INTERVAL, Client::Taking),
        Output::default()
    );
}

#[test]
fn a_stream_of_another_format_gets_nothing_inserted_and_ends_only_where_its_framing_says_so() {
    use UpstreamEnd::{Failed, Finished, ShortOfLength, WithoutLastChunk};
    let now = origin();
    for (end, manner) in [
        (Finished, Manner::Clean),
        (ShortOfLength, Manner::Abort),
        (WithoutLastChunk, Manner::Abort),
        (Failed, Manner::Abort),
    ] {
        let timeouts = Timeouts {
            heartbeat: Some(INTERVAL),
            ..Timeouts::default()
        };
        let mut stream = stream(FrameChoice::Block, timeouts, now).foreign();
        let line = b"data: not an event\n\n";
        assert_eq!(written(&stream.handle_data(now, line)), line);
        assert_eq!(stream.poll_timeout(), None);
        assert_eq!(stream.counts().events, 0);
        let output = stream.handle_end(end);
        assert_eq!(written(&output), b"");
        assert_eq!(output.end.unwrap().manner, manner, "{end:?}");
    }
}

#[test]
fn an_upstream_that_fails_is_never_a_clean_end() {
    use UpstreamEnd::{Failed, Finished, ShortOfLength, WithoutLastChunk};
    for (bytes, end, reason, manner) in [
        (
            &b"data: x\n\n"[..],
            Finished,
            EndReason::Complete,
            Manner::Clean,
        ),
        (b"data: half", Finished, EndReason::Complete, Manner::Clean),
        (
            b"data: x\n\n",
            Failed,
            EndReason::UpstreamFailed,
            Manner::Abort,
        ),
        (
            b"data: [DONE]\n\n",
            Failed,
            EndReason::UpstreamFailed,
            Manner::Abort,
        ),
        (
            b"data: x\n\n",
            WithoutLastChunk,
            EndReason::UpstreamClosed,
            Manner::Abort,
        ),
        (
            b"data: [DONE]\n\n",
            WithoutLastChunk,
            EndReason::Complete,
            Manner::Clean,
        ),
        (
            b"data: [DONE]\n\ndata: ha",
            WithoutLastChunk,
            EndReason::UpstreamClosed,
            Manner::Abort,
        ),
        (
            b"data: x\n\n",
            ShortOfLength,
            EndReason::Complete,
            Manner::Clean,
        ),
        (
            b"data: half",
            ShortOfLength,
            EndReason::UpstreamClosed,
            Manner::Abort,
        ),
    ] {
        let now = origin();
        let mut stream = stream(FrameChoice::Block, Timeouts::default(), now);
        stream.handle_data(now, bytes);
        let seen = stream.handle_end(end).end;
        assert_eq!(
            seen,
            Some(End { reason, manner }),
            "{:?} after {:?}",
            end,
            bytes.escape_ascii().to_string()
        );
        assert_eq!(stream.handle_data(now, b"more"), Output::default());
    }
}

#[test]
fn last_words_are_said_between_events_only() {
    let now = origin();
    for (bytes, says) in [
        (&b"data: x\n\n"[..], true),
        (b"", true),
        (b"data: x\n", false),
        (b"data: x", false),
        (b"\xEF", false),
    ] {
        let heartbeat = Arc::new(Heartbeat::new("heartbeat"));
        let mut stream = EventStream::new(
            heartbeat,
            FrameChoice::Block,
            Timeouts::default(),
            FailureEvent::Event,
            now,
        );
        stream.handle_data(now, bytes);
        let output = stream.handle_end(UpstreamEnd::Failed);
        assert_eq!(
            output
                .inserted
                .starts_with(b"event: error\ndata: {\"reason\":\"upstream_failed\""),
            says,
            "{bytes:?}"
        );
        assert_eq!(output.end.map(|end| end.manner), Some(Manner::Abort));
    }
}

#[test]
fn a_shutdown_is_clean_between_events_only() {
    let now = origin();
    for (bytes, manner) in [
        (&b"data: x\n\n"[..], Manner::Clean),
        (b"", Manner::Clean),
        (b"data: x\n", Manner::Abort),
    ] {
        let mut stream = stream(FrameChoice::Block, Timeouts::default(), now);
        stream.handle_data(now, bytes);
        assert_eq!(
            stream.handle_shutdown().end,
            Some(End {
                reason: EndReason::Shutdown,
                manner
            })
        );
    }
}

#[test]
fn a_stalled_client_is_not_the_upstreams_silence() {
    let start = origin();
    let timeouts = Timeouts {
        read: Some(INTERVAL),
        ..Timeouts::default()
    };
    let mut stream = stream(FrameChoice::Block, timeouts, start);
    assert_eq!(
        stream.handle_timeout(start + INTERVAL, Client::Stalled),
        Output::default()
    );
    assert_eq!(stream.poll_timeout(), Some(start + 2 * INTERVAL));
    assert!(
        stream
            .handle_timeout(start + 2 * INTERVAL, Client::Taking)
            .end
            .is_some()
    );
}

#[test]
fn a_planned_end_leaves_no_half_line_end() {
    let now = origin();
    let planned = || {
        let mut stream = stream(FrameChoice::Line, Timeouts::default(), now);
        let _ = stream.handle_data(now, b"data: x\r");
        let _ = stream.handle_planned_end(EndReason::Total);
        stream
    };
    for (data, passes) in [
        (&b"\n\r\ndata: y"[..], &b"\n\r\n"[..]),
        (b"\n\r", b"\n\r"),
        (b"\r\ndata: y", b"\r\n"),
        (b"\r\r\n", b"\r"),
        (b"\n\n\n", b"\n\n"),
    ] {
        let mut stream = planned();
        let output = stream.handle_data(now, data);
        assert_eq!(
            (written(&output), output.end.is_some()),
            (passes.to_vec(), true),
            "{data:?}"
        );
    }
}

#[test]
fn a_stream_that_never_pauses_ends_at_its_time_too() {
    let now = origin();
    let timeouts = Timeouts {
        total: Some(INTERVAL),
        ..Timeouts::default()
    };
    let mut stream = stream(FrameChoice::Line, timeouts, now);
    let data = b"data: x\n\ndata: y";
    assert_eq!(written(&stream.handle_data(now, data)), data);
    let output = stream.handle_data(now + INTERVAL, b"\n\ndata: z\n\n");
    assert_eq!(written(&output), b"\n\n");
    let end = End {
        reason: EndReason::Total,
        manner: Manner::Clean,
    };
    assert_eq!(output.end, Some(end));
}

#[test]
fn a_drain_never_lengthens_a_life() {
    let now = origin();
    let timeouts = Timeouts {
        total: Some(INTERVAL),
        ..Timeouts::default()
    };
    for (after, reason) in [(5, EndReason::Rotated), (500, EndReason::Total)] {
        let mut stream = stream(FrameChoice::Line, timeouts, now);
        let at = now + Duration::from_secs(after);
        stream.handle_drain(at);
        let due = at.min(now + INTERVAL);
        assert_eq!(stream.poll_timeout(), Some(due));
        let end = stream.handle_timeout(due, Client::Taking).end;
        assert_eq!(end.map(|end| end.reason), Some(reason));
    }
}

#[test]
fn an_upstreams_timeouts_wait_for_its_head() {
    let start = origin();
    let timeouts = Timeouts {
        heartbeat: None,
        first_event: Some(3 * INTERVAL),
        read: Some(4 * INTERVAL),
        total: Some(100 * INTERVAL),
    };
    let ahead = || stream(FrameChoice::Line, timeouts, start).ahead();
    assert_eq!(ahead().poll_timeout(), Some(start + 100 * INTERVAL));
    let head = start + 10 * INTERVAL;

    let mut stream = ahead();
    stream.handle_head(head, FailureEvent::None);
    assert_eq!(stream.poll_timeout(), Some(head + 3 * INTERVAL));
    assert_eq!(stream.last_read(), head);
    stream.handle_data(head, b"data: x\n\n");
    assert_eq!(stream.poll_timeout(), Some(head + 4 * INTERVAL));

    let mut stream = ahead();
    let end = stream.handle_timeout(start + 100 * INTERVAL, Client::Taking);
    let total = End {
        reason: EndReason::Total,
        manner: Manner::Clean,
    };
    assert_eq!(end.end, Some(total), "the life of the client's stream");
}

#[test]
fn a_stream_without_heartbeats_gets_none_ahead_either() {
    let start = origin();
    let stream = stream(FrameChoice::Line, Timeouts::default(), start).ahead();
    assert_eq!(stream.poll_timeout(), None);
}

#[test]
fn an_upstream_without_an_event_stream_is_reported_in_band() {
    let failure = Failure::from(EndReason::NotEvents);
    for (event, told) in [
        (FailureEvent::None, FailureEvent::Event),
        (FailureEvent::Anthropic, FailureEvent::Anthropic),
    ] {
        let mut stream = stream(FrameChoice::Line, heartbeats_only(), origin()).ahead();
        let output = stream.handle_refusal(&failure, &event);
        assert_eq!(output.inserted, told.bytes(&failure));
        let end = End {
            reason: EndReason::NotEvents,
            manner: Manner::Clean,
        };
        assert_eq!(output.end, Some(end));
        let after = stream.handle_refusal(&failure, &event);
        assert_eq!(after, Output::default(), "there is no output after the end");
        assert_eq!(stream.poll_timeout(), None);
    }
}

#[test]
fn a_failure_after_a_late_head_is_reported_in_the_routes_dialect() {
    let start = origin();
    let mut stream = stream(FrameChoice::Line, heartbeats_only(), start).ahead();
    stream.handle_head(start, FailureEvent::Event);
    let output = stream.handle_end(UpstreamEnd::Failed);
    let failed = EndReason::UpstreamFailed.into();
    assert_eq!(output.inserted, FailureEvent::Event.bytes(&failed));
    assert_eq!(output.end.unwrap().manner, Manner::Abort);
}
