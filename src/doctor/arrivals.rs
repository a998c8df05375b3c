//! When which event arrived: an observation decoded and taken apart.

use std::time::Duration;

use super::observation::Observation;
use crate::body::decode::Decoder;
use crate::sse::parse::{Event, Item, Kind, items};

/// A stream's content with its times.
#[derive(Debug, Clone, Default)]
pub struct Arrivals {
    /// The body, decoded.
    pub bytes: Vec<u8>,
    /// When how much of it had arrived, in order.
    marks: Vec<(Duration, usize)>,
    /// Events and comments.
    pub items: Vec<Arrival>,
    /// Why it could not be decoded to its end.
    pub fault: Option<String>,
    /// How it is compressed.
    pub coding: Option<String>,
}

/// An event or comment, and when it was complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// When.
    pub at: Duration,
    /// What.
    pub item: Item,
}

/// Bytes that came without a pause between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Burst {
    /// When it began.
    pub begin: Duration,
    /// When it ended.
    pub end: Duration,
    /// How many bytes.
    pub length: usize,
    /// How many events it completed.
    pub events: usize,
    /// It stopped in the middle of an event.
    pub splits: bool,
}

impl Arrivals {
    /// Takes `seen` apart.
    pub fn of(seen: &Observation) -> Self {
        let coding = seen
            .field("content-encoding")
            .filter(|coding| !coding.is_empty());
        let mut arrivals = Self::default();
        let decoder = Decoder::for_codings(coding.as_deref());
        match decoder {
            Ok(None) => {
                arrivals.bytes.clone_from(&seen.body);
                let mut length = 0;
                for read in &seen.reads {
                    length += read.length;
                    arrivals.marks.push((read.at, length));
                }
            }
            Ok(Some(decoder)) => {
                arrivals.coding = coding;
                arrivals.decode(seen, decoder);
            }
            Err(error) => {
                arrivals.fault = Some(error.to_string());
                arrivals.coding = coding;
            }
        }
        let found = items(&arrivals.bytes);
        arrivals.items = found
            .into_iter()
            .map(|item| Arrival {
                at: arrivals.when(item.end),
                item,
            })
            .collect();
        arrivals
    }

    fn decode(&mut self, seen: &Observation, mut decoder: Decoder) {
        /// What decoded bytes may take of memory: a bomb ends here.
        const MOST: usize = 64 * 1024 * 1024;
        let mut buffer = vec![0; 64 * 1024];
        let mut rest = &seen.body[..];
        for read in &seen.reads {
            let (mut coded, after) = rest.split_at(read.length.min(rest.len()));
            rest = after;
            loop {
                match decoder.decode(&mut coded, &mut buffer) {
                    Ok(0) => break,
                    Ok(length) if self.bytes.len() + length <= MOST => {
                        self.bytes.extend_from_slice(&buffer[..length]);
                    }
                    Ok(_) => {
                        self.fault = Some("it decodes to more than 64 MiB".to_owned());
                        return;
                    }
                    Err(error) => {
                        self.fault = Some(error.to_string());
                        return;
                    }
                }
            }
            self.marks.push((read.at, self.bytes.len()));
        }
    }

    /// When the first `length` bytes had arrived.
    fn when(&self, length: usize) -> Duration {
        let index = self.marks.partition_point(|&(_, had)| had < length);
        let mark = self.marks.get(index).or_else(|| self.marks.last());
        mark.map(|&(at, _)| at).unwrap_or_default()
    }

    /// The events alone.
    pub fn events(&self) -> impl Iterator<Item = (&Event, Duration)> {
        self.items
            .iter()
            .filter_map(|arrival| match &arrival.item.kind {
                Kind::Event(event) => Some((event, arrival.at)),
                Kind::Comment(_) => None,
            })
    }

    /// How many comments there are.
    pub fn comments(&self) -> usize {
        self.items.len() - self.events().count()
    }

    /// The longest time in which nothing arrived, from `begin` on; and where it began.
    pub fn longest_gap(seen: &Observation, begin: Duration) -> (Duration, Duration) {
        let times = seen.reads.iter().map(|read| read.at).chain([seen.ended]);
        let mut longest = (Duration::ZERO, begin);
        let mut last = begin;
        for at in times {
            let gap = at.saturating_sub(last);
            if gap > longest.0 {
                longest = (gap, last);
            }
            last = at.max(last);
        }
        longest
    }

    /// What came without a pause longer than `pause`.
    pub fn bursts(&self, seen: &Observation, pause: Duration) -> Vec<Burst> {
        let mut bursts: Vec<Burst> = Vec::new();
        let events: Vec<_> = self
            .items
            .iter()
            .filter(|arrival| matches!(arrival.item.kind, Kind::Event(_)))
            .map(|arrival| arrival.item.end)
            .collect();
        let mut had = 0;
        for (read, &(_, end)) in seen.reads.iter().zip(&self.marks) {
            let has = events.partition_point(|&event| event <= end);
            let events = has - std::mem::replace(&mut had, has);
            let splits = self.is_inside_an_event(end);
            match bursts.last_mut() {
                Some(burst) if read.at.saturating_sub(burst.end) <= pause => {
                    burst.end = read.at;
                    burst.length += read.length;
                    burst.events += events;
                    burst.splits = splits;
                }
                _ => bursts.push(Burst {
                    begin: read.at,
                    end: read.at,
                    length: read.length,
                    events,
                    splits,
                }),
            }
        }
        bursts
    }

    /// Whether an event has begun, and is not complete, after so many bytes.
    pub fn is_inside_an_event(&self, length: usize) -> bool {
        let whole = self
            .items
            .partition_point(|arrival| arrival.item.end <= length);
        let complete = whole
            .checked_sub(1)
            .map_or(0, |last| self.items[last].item.end);
        let open = self.bytes.get(complete..length).unwrap_or_default();
        let open = open.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(open);
        open.iter().any(|byte| !matches!(byte, b'\r' | b'\n'))
    }
}
