//! Observations made up for tests.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, Version};

use super::judge::judge_one;
use super::observation::{End, Head, Observation, Read};
use super::plan::{Plan, What};
use super::rule::Rule;

/// A healthy event stream of any backend: ten events, one each second.
pub(super) fn seen() -> Observation {
    let mut seen = Observation {
        url: "https://example.com/events".to_owned(),
        offers_compression: true,
        plan: None,
        head: Some(Head {
            at: ms(100),
            status: StatusCode::OK,
            version: Version::HTTP_2,
            headers: HeaderMap::new(),
            framing: None,
            is_tls: true,
            issuer: None,
        }),
        reads: Vec::new(),
        body: Vec::new(),
        end: End::Watched,
        ended: ms(10_100),
        lag: Duration::ZERO,
    };
    seen.set_fields(&[
        ("content-type", "text/event-stream"),
        ("cache-control", "no-cache, no-transform"),
        ("x-accel-buffering", "no"),
    ]);
    for number in 0..10 {
        seen.arrive(
            ms(500 + 1000 * number),
            format!("data: {number}\n\n").as_bytes(),
        );
    }
    seen
}

/// A healthy probe by this plan, of which each step takes 20 ms to arrive.
pub(super) fn probe(plan: Plan) -> Observation {
    probe_with(plan, |_, at, bytes| vec![(at + ms(20), bytes)])
}

/// A probe whose steps arrive as `hop` has them: it is given the index, the time and the bytes of each.
pub(super) fn probe_with(
    plan: Plan,
    mut hop: impl FnMut(usize, Duration, Vec<u8>) -> Vec<(Duration, Vec<u8>)>,
) -> Observation {
    let mut seen = seen();
    seen.reads.clear();
    seen.body.clear();
    let mut at = Duration::ZERO;
    for (index, step) in plan.steps().iter().enumerate() {
        at += step.wait;
        let bytes = match step.what {
            What::Request => b"event: request\ndata: {\"last_event_id\":\"x\"}\n\n".to_vec(),
            what => what.bytes(index, at),
        };
        for (at, bytes) in hop(index, at, bytes) {
            seen.arrive(at, &bytes);
        }
    }
    seen.end = End::Complete;
    seen.ended = at + ms(20);
    if let Some(head) = &mut seen.head {
        head.at = ms(20);
    }
    seen.plan = Some(plan);
    seen
}

/// The findings, in the order of the table.
pub(super) fn found(seen: &Observation) -> Vec<Rule> {
    let mut rules: Vec<_> = judge_one(seen).iter().map(|finding| finding.rule).collect();
    rules.sort();
    rules
}

pub(super) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

impl Observation {
    pub(super) fn set_status(&mut self, status: u16) {
        self.head.as_mut().unwrap().status = StatusCode::from_u16(status).unwrap();
    }

    pub(super) fn set_fields(&mut self, fields: &[(&'static str, &str)]) {
        self.head.as_mut().unwrap().headers.clear();
        for (name, value) in fields {
            self.add_field(name, value);
        }
    }

    pub(super) fn add_field(&mut self, name: &'static str, value: &str) {
        let value = HeaderValue::from_str(value).unwrap();
        self.head.as_mut().unwrap().headers.insert(name, value);
    }

    pub(super) fn set_body(&mut self, body: &[u8]) {
        self.reads.clear();
        self.body.clear();
        self.arrive(ms(500), body);
    }

    pub(super) fn arrive(&mut self, at: Duration, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.body.extend_from_slice(bytes);
        self.reads.push(Read {
            at,
            length: bytes.len(),
        });
    }

    /// Ends it at `at`.
    pub(super) fn end(&mut self, end: End, at: Duration) {
        self.end = end;
        self.ended = at;
    }
}
