//! What is counted of streams that outlive their clients. All of it is rare, but the memory that they take.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::text::{Kind, Text};
use crate::counters::{Histogram, Shared, micros};

/// What came of a client's wish to go on; the label `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumed {
    /// It got what it had missed.
    Replayed,
    /// It had missed nothing.
    Live,
    /// What it had missed is not kept any more.
    Gap,
    /// The stream is somebody else's.
    Foreign,
    /// There is no such stream.
    Unknown,
    /// It had seen everything.
    AfterEnd,
}

/// Why a history was given up, or cut short; the label `why`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// All of them took too much memory.
    Memory,
    /// There were too many.
    Streams,
    /// All of them took too much memory, and there was none to give up: one keeps less than it may.
    Shortened,
}

/// What became of a request that was sent before; the label `how`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deduplicated {
    /// It got the stream of the first.
    Joined,
    /// The first was cancelled.
    Replaced,
    /// It was refused.
    Rejected,
}

/// The numbers of kept streams.
#[derive(Debug, Default)]
pub struct Resume {
    resumes: Shared<{ Resumed::ALL.len() }>,
    away: Mutex<Histogram<{ AWAY.len() }>>,
    detached: AtomicUsize,
    unread_events: AtomicU64,
    replayed_events: AtomicU64,
    bytes: AtomicUsize,
    streams: AtomicUsize,
    evictions: Shared<{ Eviction::ALL.len() }>,
    refused: AtomicU64,
    deduplicated: Shared<{ Deduplicated::ALL.len() }>,
}

/// In millionths of a second.
const AWAY: [u64; 9] = [
    100_000,
    500_000,
    1_000_000,
    3_000_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];

impl Resume {
    /// A client wanted to go on.
    pub fn resumed(&self, result: Resumed) {
        self.resumes.increment(result as usize);
    }

    /// A client came back that was away for so long.
    pub fn away(&self, time: Duration) {
        let away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        away.observe(&AWAY, micros(time));
    }

    /// So many events were sent again.
    pub fn replayed_events(&self, events: u64) {
        self.replayed_events.fetch_add(events, Ordering::Relaxed);
    }

    /// So many events came for nobody.
    pub fn unread_events(&self, events: u64) {
        self.unread_events.fetch_add(events, Ordering::Relaxed);
    }

    /// A stream lost its last client, and goes on.
    pub fn detached(&self) {
        self.detached.fetch_add(1, Ordering::Relaxed);
    }

    /// Such a stream has a client again, or has ended.
    pub fn attached(&self) {
        self.detached.fetch_sub(1, Ordering::Relaxed);
    }

    /// What was `before` bytes is `now`; all of them together.
    pub fn bytes_changed(&self, before: usize, now: usize) -> usize {
        if now >= before {
            let more = now - before;
            self.bytes.fetch_add(more, Ordering::Relaxed) + more
        } else {
            let less = before - now;
            self.bytes.fetch_sub(less, Ordering::Relaxed) - less
        }
    }

    /// What all histories take, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// A stream is kept.
    pub fn begun(&self) {
        self.streams.fetch_add(1, Ordering::Relaxed);
    }

    /// One is kept no longer.
    pub fn forgotten(&self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }

    /// A history was given up, or cut short.
    pub fn evicted(&self, why: Eviction) {
        self.evictions.increment(why as usize);
    }

    /// There was no room for the history of a stream.
    pub fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was one that had been sent before.
    pub fn deduplicated(&self, how: Deduplicated) {
        self.deduplicated.increment(how as usize);
    }

    pub(super) fn text(&self, text: &mut Text) {
        let mut family = text.family(
            Kind::Counter,
            "resumes_total",
            "Requests to go on with a stream, by what came of them.",
        );
        for result in Resumed::ALL {
            let times = self.resumes.get(result as usize);
            family.sample(&[("result", result.name())], times);
        }
        let mut family = text.family(
            Kind::Histogram,
            "resume_away_seconds",
            "How long nobody had read a stream when its client came back.",
        );
        let away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        family.histogram(&[], &AWAY, &away);
        drop(away);
        let mut family = text.family(
            Kind::Counter,
            "history_evictions_total",
            "Histories that were given up to make room, or keep less than they may (shortened).",
        );
        for why in Eviction::ALL {
            family.sample(&[("why", why.name())], self.evictions.get(why as usize));
        }
        let mut family = text.family(
            Kind::Counter,
            "deduplicated_total",
            "Requests that had been sent before, by what became of them.",
        );
        for how in Deduplicated::ALL {
            family.sample(&[("how", how.name())], self.deduplicated.get(how as usize));
        }
        let size = |size: &AtomicUsize| size.load(Ordering::Relaxed) as u64;
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        for (kind, name, help, value) in [
            (
                Kind::Gauge,
                "streams_detached",
                "Streams that go on at their upstream while nobody reads them.",
                size(&self.detached),
            ),
            (
                Kind::Counter,
                "detached_events_total",
                "Events that came while nobody read their stream: what waiting for clients costs.",
                count(&self.unread_events),
            ),
            (
                Kind::Counter,
                "replayed_events_total",
                "Events that were sent once more to clients that came back.",
                count(&self.replayed_events),
            ),
            (
                Kind::Gauge,
                "history_bytes",
                "What the histories of all streams take (history.memory is the most).",
                size(&self.bytes),
            ),
            (
                Kind::Gauge,
                "history_streams",
                "Streams that have a history (history.streams is the most).",
                size(&self.streams),
            ),
            (
                Kind::Counter,
                "history_refused_total",
                "Streams that got no history because there was no room: their clients cannot go on with them.",
                count(&self.refused),
            ),
        ] {
            text.family(kind, name, help).sample(&[], value);
        }
    }
}

impl Resumed {
    const ALL: [Self; 6] = [
        Self::Replayed,
        Self::Live,
        Self::Gap,
        Self::Foreign,
        Self::Unknown,
        Self::AfterEnd,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::Live => "live",
            Self::Gap => "gap",
            Self::Foreign => "foreign",
            Self::Unknown => "unknown",
            Self::AfterEnd => "after_end",
        }
    }
}

impl Eviction {
    const ALL: [Self; 3] = [Self::Memory, Self::Streams, Self::Shortened];

    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Streams => "streams",
            Self::Shortened => "shortened",
        }
    }
}

impl Deduplicated {
    const ALL: [Self; 3] = [Self::Joined, Self::Replaced, Self::Rejected];

    /// The label's value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Replaced => "replaced",
            Self::Rejected => "rejected",
        }
    }
}
