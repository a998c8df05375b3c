//! Places, ids and trimming, at every split.

use super::*;
use crate::sse::parse::{Event, parse};

const TOKEN: &[u8] = b"_gAAAAAAAAAAAAAAAA";

/// Streams with every kind of line end, events of several lines, comments, half events, and ids of the backend's.
const STREAMS: [&[u8]; 8] = [
    b"data: a\n\ndata: b\n\nevent: x\ndata: c\ndata: d\n\n: comment\n\ndata: half",
    b"data: a\r\n\r\ndata: b\r\n\r\nretry: 5\r\n\r\n:c\r\ndata: d\r\n\r\ndata: e\r\n",
    b"data: a\r\rdata: b\r\r:c\r\rdata: d\rdata: e\r\r",
    b"data: a\r\n\ndata: b\n\r\ndata: c\r\r\ndata: d\n\rdata: e\r\n\r",
    b"\xEF\xBB\xBFdata: a\n\n\n\ndata: b\n\n",
    b"data: a\n\nid: 7\ndata: b\n\ndata: c\n\nid: 8\ndata: d\n\n",
    b"id: 1\r\ndata: a\r\n\r\nid: 1\r\ndata: b\r\n\r\n",
    b"event: only\n\ndata\n\nid\n\ndata:x\n\n",
];

fn place(history: &History, sequence: u64) -> Place {
    history.after(sequence).unwrap()
}

/// What a reader gets in pieces of `size`.
fn rest(history: &History, place: &mut Place, token: Option<&[u8]>, size: usize) -> Vec<u8> {
    let mut buffer = vec![0; size];
    let mut all = Vec::new();
    loop {
        let length = history.read(place, token, &mut buffer);
        if length == 0 {
            return all;
        }
        all.extend_from_slice(&buffer[..length]);
    }
}

/// Without the lines that carry an id of ours.
fn without_ids(bytes: &[u8]) -> Vec<u8> {
    let mut rest = bytes;
    let mut all = Vec::new();
    let start = [b"id: ", TOKEN].concat();
    while let Some(at) = rest.windows(start.len()).position(|window| window == start) {
        all.extend_from_slice(&rest[..at]);
        let line = &rest[at..];
        let end = line.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let end = end.unwrap();
        let is_crlf = line[end..].starts_with(b"\r\n") && all.ends_with(b"\r\n");
        rest = &line[end + 1 + usize::from(is_crlf)..];
    }
    all.extend_from_slice(rest);
    all
}

#[test]
fn at_every_split_ids_go_in_and_come_out_without_a_trace() {
    for stream in STREAMS {
        for split in 0..=stream.len() {
            for size in [LONGEST_ID, 4096] {
                let mut history = History::new();
                let mut reader = place(&history, 0);
                let mut read = Vec::new();
                for part in [&stream[..split], &stream[split..]] {
                    history.append(part);
                    read.extend(rest(&history, &mut reader, Some(TOKEN), size));
                }
                let shown = read.escape_ascii().to_string();
                assert_eq!(without_ids(&read), stream, "split at {split}: {shown}");
                let (expected, seen) = (parse(stream), parse(&read));
                assert_eq!(expected.len(), seen.len(), "split at {split}: {shown}");
                for (index, (expected, seen)) in expected.iter().zip(&seen).enumerate() {
                    assert_eq!((&expected.event, &expected.data), (&seen.event, &seen.data));
                    let ours = format!("{}.{}", str::from_utf8(TOKEN).unwrap(), index + 1);
                    let has_own = !expected.id.is_empty() || stream.starts_with(b"event: only");
                    assert!(has_own || seen.id == ours, "split at {split}: {shown}");
                }
            }
        }
    }
}

#[test]
fn what_has_arrived_is_passed_at_once() {
    for stream in STREAMS {
        let mut history = History::new();
        let mut reader = place(&history, 0);
        for byte in stream {
            history.append(std::slice::from_ref(byte));
            assert!(!rest(&history, &mut reader, Some(TOKEN), 64).is_empty());
            assert_eq!(history.behind(reader), 0);
        }
    }
}

#[test]
fn whoever_returns_gets_the_events_after_the_last_one_it_saw() {
    for stream in STREAMS {
        for size in 1..=stream.len() {
            let mut history = History::new();
            stream.chunks(size).for_each(|part| history.append(part));
            let events = parse(stream);
            assert_eq!(history.newest(), events.len() as u64);
            for seen in 0..=events.len() {
                let mut reader = place(&history, seen as u64);
                let read = rest(&history, &mut reader, None, 4096);
                assert!(stream.ends_with(&read));
                let rest = parse(&read);
                let data = |events: &[Event]| -> Vec<String> {
                    events.iter().map(|event| event.data.clone()).collect()
                };
                assert_eq!(data(&rest), data(&events[seen..]), "after {seen}");
            }
            assert_eq!(history.after(events.len() as u64 + 1), Err(Gap::Ahead));
        }
    }
}

#[test]
fn the_front_is_trimmed_by_whole_events_and_never_under_a_reader() {
    let mut history = History::new();
    let mut reader = place(&history, 0);
    for event in 1..=100 {
        history.append(format!("data: {event:04}\n\n").as_bytes()); // 12 bytes
        history.trim(60, Some(reader));
        assert_eq!(history.oldest(), 0, "the reader still needs it");
    }
    rest(&history, &mut reader, None, 4096);
    history.trim(60, Some(reader));
    assert_eq!(history.oldest(), 95);
    assert_eq!(history.after(94), Err(Gap::Missed(1)));
    assert_eq!(history.after(0), Err(Gap::Missed(95)));
    let read = rest(&history, &mut place(&history, 95), None, 4096);
    assert!(read.starts_with(b"data: 0096\n"));
    assert_eq!(
        history.after(u64::MAX),
        Err(Gap::Ahead),
        "whoever made that up"
    );
    history.trim(0, None);
    assert_eq!(history.oldest(), 100);
    assert_eq!(rest(&history, &mut place(&history, 100), None, 4096), b"");
    assert_eq!(history.capacity, 0, "all blocks are free");
}

#[test]
fn an_event_longer_than_the_history_passes_and_leaves_its_cursor() {
    let mut history = History::new();
    let mut reader = place(&history, 0);
    history.append(b"data: 1\n\ndata: ");
    let mut read = rest(&history, &mut reader, Some(TOKEN), 4096);
    let mut most = 0;
    for _ in 0..1000 {
        history.append(&[b'x'; 1000]);
        read.extend(rest(&history, &mut reader, Some(TOKEN), 4096));
        history.trim(10_000, Some(reader));
        most = most.max(history.memory());
    }
    assert!(most < 40_000, "{most}");
    assert_eq!(history.after(1), Err(Gap::Missed(1)));
    assert_eq!(history.oldest(), 2, "the event that is not complete yet");
    assert_eq!(history.after(2), Err(Gap::Ahead));
    history.append(b"\n\ndata: 3\n\n");
    read.extend(rest(&history, &mut reader, Some(TOKEN), 4096));
    history.trim(10_000, Some(reader));
    let events = parse(&read);
    assert_eq!(events[1].data.len(), 1_000_000);
    assert_eq!(events[1].id, "_gAAAAAAAAAAAAAAAA.2");
    assert_eq!(history.after(1), Err(Gap::Missed(1)));
    let after = rest(&history, &mut place(&history, 2), None, 4096);
    assert_eq!(after, b"data: 3\n\n");
}

#[test]
fn the_backends_own_ids_are_found() {
    let mut history = History::new();
    STREAMS[5].iter().for_each(|byte| history.append(&[*byte]));
    assert_eq!(history.find(b"7"), Some(2));
    assert_eq!(history.find(b"8"), Some(4));
    assert_eq!(history.find(b"9"), None);
    let mut twice = History::new();
    twice.append(STREAMS[6]);
    assert_eq!(twice.find(b"1"), Some(1), "rather twice than never");
}

#[test]
fn a_short_stream_wastes_little() {
    let mut history = History::new();
    for _ in 0..10 {
        history.append(&[b'x'; 100]);
    }
    assert!(history.memory() <= 1000 + 256, "{}", history.memory());
}
