//! The counters of one route.

use std::time::Duration;

use http::StatusCode;

use crate::counters::{Block, Counter, Histogram, micros, zeros};
use crate::reason::Reason;

/// The classes of a status.
pub(super) const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// From a millisecond to the silence that a platform allows, in microseconds.
pub(super) const SECONDS: [u64; 14] = [
    1_000,
    5_000,
    10_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
];
/// From a short answer to a day, in microseconds.
pub(super) const AGES: [u64; 10] = [
    1_000_000,
    5_000_000,
    15_000_000,
    60_000_000,
    300_000_000,
    900_000_000,
    3_600_000_000,
    14_400_000_000,
    43_200_000_000,
    86_400_000_000,
];
/// From a feed to a fast model, in millionths of an event a second.
pub(super) const RATES: [u64; 13] = [
    100_000,
    1_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    30_000_000,
    50_000_000,
    75_000_000,
    100_000_000,
    150_000_000,
    200_000_000,
    300_000_000,
    500_000_000,
];

/// What one thread counts of the requests of one route.
#[derive(Debug)]
pub struct RouteCounters {
    pub(super) requests: [Counter; CLASSES.len()],
    pub(super) refused: [Counter; Reason::COUNT],
    pub(super) ends: [Counter; Reason::COUNT],
    /// Requests that are being answered.
    pub requests_active: Counter,
    /// Open event streams.
    pub streams_active: Counter,
    /// Event streams that were opened.
    pub streams: Counter,
    /// Streams whose client got its head before the upstream's had arrived.
    pub early_heads: Counter,
    /// Events that passed.
    pub events: Counter,
    /// Bytes of event streams that passed, decoded.
    pub stream_bytes: Counter,
    /// Heartbeats written.
    pub heartbeats_sent: Counter,
    /// Heartbeats due while the client accepted no bytes.
    pub heartbeats_skipped: Counter,
    /// Streams in a coding that cannot be decoded.
    pub streams_opaque: Counter,
    /// Streams with suspected buffering.
    pub suspected_buffering: Counter,
    pub(super) time_to_head: Histogram<{ SECONDS.len() }>,
    pub(super) time_to_first_event: Histogram<{ SECONDS.len() }>,
    pub(super) event_gap: Histogram<{ SECONDS.len() }>,
    pub(super) stream_age: Histogram<{ AGES.len() }>,
    pub(super) event_rate: Histogram<{ RATES.len() }>,
}

impl RouteCounters {
    /// A response's head goes out.
    pub fn answered(&self, status: StatusCode) {
        self.requests[class(status)].increment();
    }

    /// A request is answered by the sidecar itself.
    pub fn refused(&self, reason: Reason) {
        self.refused[reason.index()].increment();
    }

    /// Notes when the upstream's response head arrived, after the request's.
    pub fn head_after(&self, time: Duration) {
        self.time_to_head.observe(&SECONDS, micros(time));
    }

    /// Notes when the first event of a stream arrived, after the request's head.
    pub fn first_event_after(&self, time: Duration) {
        self.time_to_first_event.observe(&SECONDS, micros(time));
    }

    /// Notes a read that brought events, with the time since the one before.
    pub fn events_after(&self, gap: Duration) {
        self.event_gap.observe(&SECONDS, micros(gap));
    }

    /// An event stream ended for `reason`, after it was open for `age`.
    pub fn stream_ended(&self, reason: Reason, age: Duration) {
        self.ends[reason.index()].increment();
        self.stream_age.observe(&AGES, micros(age));
    }

    /// Notes that a stream had this many `events` in the `time` between its first and its last.
    pub fn events_came_within(&self, events: u64, time: Duration) {
        let millionths = u128::from(events) * 1_000_000_000_000;
        if let Some(rate) = millionths.checked_div(micros(time).into()) {
            let rate = u64::try_from(rate).unwrap_or(u64::MAX);
            self.event_rate.observe(&RATES, rate);
        }
    }
}

/// The index of the class of `status`.
pub(super) fn class(status: StatusCode) -> usize {
    usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1
}

impl Default for RouteCounters {
    fn default() -> Self {
        Self {
            requests: zeros(),
            refused: zeros(),
            ends: zeros(),
            requests_active: Counter::default(),
            streams_active: Counter::default(),
            streams: Counter::default(),
            early_heads: Counter::default(),
            events: Counter::default(),
            stream_bytes: Counter::default(),
            heartbeats_sent: Counter::default(),
            heartbeats_skipped: Counter::default(),
            streams_opaque: Counter::default(),
            suspected_buffering: Counter::default(),
            time_to_head: Histogram::default(),
            time_to_first_event: Histogram::default(),
            event_gap: Histogram::default(),
            stream_age: Histogram::default(),
            event_rate: Histogram::default(),
        }
    }
}

impl Block for RouteCounters {
    fn counters(&self) -> impl Iterator<Item = &Counter> {
        let Self {
            requests,
            refused,
            ends,
            requests_active,
            streams_active,
            streams,
            early_heads,
            events,
            stream_bytes,
            heartbeats_sent,
            heartbeats_skipped,
            streams_opaque,
            suspected_buffering,
            time_to_head,
            time_to_first_event,
            event_gap,
            stream_age,
            event_rate,
        } = self;
        let singles = [
            requests_active,
            streams_active,
            streams,
            early_heads,
            events,
            stream_bytes,
            heartbeats_sent,
            heartbeats_skipped,
            streams_opaque,
            suspected_buffering,
        ];
        singles
            .into_iter()
            .chain(requests)
            .chain(refused)
            .chain(ends)
            .chain(time_to_head.counters())
            .chain(time_to_first_event.counters())
            .chain(event_gap.counters())
            .chain(stream_age.counters())
            .chain(event_rate.counters())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_class() {
        for (status, expected) in [
            (101, "1xx"),
            (200, "2xx"),
            (304, "3xx"),
            (404, "4xx"),
            (999, "5xx"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(CLASSES[class(status)], expected);
        }
    }

    #[test]
    fn a_rate_is_that_of_the_events_after_the_first() {
        let counters = RouteCounters::default();
        counters.events_came_within(100, Duration::from_secs(2));
        assert_eq!(counters.event_rate.sum(), 50_000_000);
        counters.events_came_within(1, Duration::ZERO);
        assert_eq!(
            counters.event_rate.buckets().sum::<u64>(),
            1,
            "a burst has no rate"
        );
        counters.events_came_within(u64::MAX, Duration::from_micros(1));
    }
}
