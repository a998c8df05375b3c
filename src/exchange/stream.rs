//! The exchange of an event stream: its opening, its reads and its counts.

use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::{Exchange, milliseconds};
use crate::counters::Counter;
use crate::metrics::Phase;
use crate::sse::Counts;

/// Data about an event stream.
#[derive(Debug)]
pub(super) struct StreamTiming {
    /// The number of events that came with the first one.
    pub(super) first_events: u64,
    /// When a read last brought events.
    pub(super) last_events: Option<Instant>,
    /// Between two reads, or before the first.
    pub(super) longest_silence: Duration,
    pub(super) suspected: bool,
}

/// This many events in one read, after this long a silence, were probably collected by something on the way.
const SUSPICIOUS_EVENTS: u64 = 8;
const SUSPICIOUS_SILENCE: Duration = Duration::from_secs(2);

impl Exchange {
    /// The client gets the head of an event stream before the upstream's arrives.
    pub fn early_head(&mut self) {
        self.answered(StatusCode::OK);
        if let Some(counters) = &self.counters {
            counters.early_heads.increment();
        }
        let stream = self.begin_stream();
        tracing::info!(
            method = self.open.method.as_str(),
            path = &*self.open.path,
            request_id = self.ids().request(),
            trace_id = self.ids().trace().map(tracing::field::display),
            route = self.open.route_info().as_ref().map(|info| &*info.route),
            upstream = self.open.route_info().as_ref().map(|info| &*info.upstream),
            peer = self.open.peer().map(tracing::field::display),
            client = self.open.other_client().map(tracing::field::display),
            waited_ms = milliseconds(self.open.began.elapsed()),
            phase = self.open.phase.get().name(),
            "early head"
        );
        self.stream = Some(stream);
    }

    fn begin_stream(&self) -> StreamTiming {
        let now = Instant::now();
        self.open.opened.set(Some(now));
        if let Some(counters) = &self.counters {
            counters.streams.increment();
            counters.streams_active.increment();
        }
        StreamTiming {
            first_events: 0,
            last_events: None,
            longest_silence: Duration::ZERO,
            suspected: false,
        }
    }

    /// The response is an event stream.
    pub fn open_stream(&mut self, status: StatusCode, opaque: bool) {
        let now = Instant::now();
        self.open.phase.set(Phase::Streaming);
        self.open.last_read.set(now);
        if opaque && let Some(counters) = &self.counters {
            counters.streams_opaque.increment();
        }
        let early_head = self.stream.is_some();
        let stream = self.stream.take().unwrap_or_else(|| self.begin_stream());
        self.stream = Some(stream);
        tracing::info!(
            method = self.open.method.as_str(),
            path = &*self.open.path,
            request_id = self.ids().request(),
            trace_id = self.ids().trace().map(tracing::field::display),
            status = status.as_u16(),
            route = self.open.route_info().as_ref().map(|info| &*info.route),
            upstream = self.open.route_info().as_ref().map(|info| &*info.upstream),
            peer = self.open.peer().map(tracing::field::display),
            client = self.open.other_client().map(tracing::field::display),
            time_to_head_ms = milliseconds(now - self.open.began),
            opaque,
            early_head,
            "stream opened"
        );
    }

    /// The response passes as an ordinary one, though it looks like a stream; `set` is the key to set.
    pub fn looks_like_events(&self, content_type: Option<&str>, set: &str) {
        let info = self.open.route_info();
        tracing::debug!(
            route = info.as_ref().map(|info| &*info.route),
            content_type,
            set,
            method = self.open.method.as_str(),
            path = &*self.open.path,
            request_id = self.ids().request(),
            upstream = info.as_ref().map(|info| &*info.upstream),
            "looks like events"
        );
    }

    /// A read from the upstream brought the stream to `counts`, after `silence`.
    pub fn read(&mut self, now: Instant, silence: Duration, counts: &Counts) {
        let (Some(stream), Some(counters)) = (&mut self.stream, &self.counters) else {
            return;
        };
        self.open.last_read.set(now);
        stream.longest_silence = stream.longest_silence.max(silence);
        let events = counts.events - self.open.counts.get().events;
        if events == 0 {
            return;
        }
        if let Some(last) = stream.last_events.replace(now) {
            counters.events_after(now - last);
        } else {
            stream.first_events = events;
            self.open.first_event.set(Some(now));
            counters.first_event_after(now - self.open.began);
        }
        if events >= SUSPICIOUS_EVENTS && silence >= SUSPICIOUS_SILENCE && !stream.suspected {
            stream.suspected = true;
            counters.suspected_buffering.increment();
            tracing::warn!(
                route = self.open.route_info().as_ref().map(|info| &*info.route),
                path = &*self.open.path,
                request_id = self.open.ids.request(),
                events,
                silence_ms = milliseconds(silence),
                "many events at once after a long silence: suspected buffering in front of or in the upstream"
            );
        }
    }

    /// The stream has forwarded `counts`.
    pub fn passed(&mut self, counts: &Counts) {
        let before = self.open.counts.replace(*counts);
        let Some(counters) = &self.counters else {
            return;
        };
        let add = |counter: &Counter, now: u64, before: u64| {
            if now > before {
                counter.add(now - before);
            }
        };
        add(&counters.events, counts.events, before.events);
        add(&counters.stream_bytes, counts.bytes, before.bytes);
        add(
            &counters.heartbeats_sent,
            counts.heartbeats,
            before.heartbeats,
        );
        add(
            &counters.heartbeats_skipped,
            counts.heartbeats_skipped,
            before.heartbeats_skipped,
        );
    }
}
