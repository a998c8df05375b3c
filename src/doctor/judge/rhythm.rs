//! How the events of any stream arrive: what the backend sent when is not known, so only patterns speak.

use std::time::Duration;

use super::super::arrivals::Arrivals;
use super::super::finding::{Finding, counted, seconds, size};
use super::super::observation::{End, Head, Observation};
use super::super::rule::Rule;

/// What comes with a shorter pause between belongs together.
const PAUSE: Duration = Duration::from_millis(250);
/// A shorter delay goes unnoticed.
const SOON: Duration = Duration::from_secs(1);
/// A silence after which hops begin to cut.
const LONG_SILENCE: Duration = Duration::from_secs(30);
/// What buffers are made of.
const PAGE: usize = 4096;

/// Findings about the rhythm.
pub(super) fn judge(seen: &Observation, head: &Head, arrivals: &Arrivals) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (gap, since) = Arrivals::longest_gap(seen, head.at);
    // What ended it is for another rule to say.
    let is_last = seen.end != End::Watched && gap + since == seen.ended;
    if gap >= LONG_SILENCE && !is_last {
        let evidence = format!(
            "{} without a byte, from {} on",
            seconds(gap),
            seconds(since)
        );
        findings.push(Finding::certain(Rule::NoHeartbeat, evidence));
    }
    let events = arrivals.events().count();
    if arrivals.fault.is_none() && events < 3 {
        let evidence = format!("{} in {}", counted(events, "event"), seconds(seen.ended));
        findings.push(Finding::certain(Rule::Silent, evidence));
    }
    findings.extend(held(seen, head, arrivals, events));
    findings
}

fn held(seen: &Observation, head: &Head, arrivals: &Arrivals, events: usize) -> Option<Finding> {
    // Not the first byte: a compressed stream has a head of its own.
    let first = arrivals.items.first()?.at;
    let last = arrivals.items.last()?.at;
    let spread = last.saturating_sub(first);
    let has_ended = seen.end != End::Watched;
    if has_ended && events >= 3 && first >= SOON && spread <= (first / 10).max(seen.lag) {
        let evidence = format!(
            "{} arrived within {} of each other, {} after the request, and then the stream ended",
            counted(events, "event"),
            seconds(spread),
            seconds(first)
        );
        return Some(Finding::likely(Rule::BufferedToEnd, evidence));
    }
    by_size(seen, arrivals)
        .or_else(|| by_time(seen, arrivals))
        .or_else(|| {
            let is_held =
                head.at >= SOON && first.saturating_sub(head.at) <= Duration::from_millis(30);
            is_held.then(|| {
                let evidence = format!(
                    "headers and the first bytes came together, {} after the request",
                    seconds(head.at)
                );
                Finding::possible(Rule::HeadHeld, evidence)
            })
        })
}

/// No backend stops in the middle of an event and waits: a full buffer does.
fn by_size(seen: &Observation, arrivals: &Arrivals) -> Option<Finding> {
    let bursts = arrivals.bursts(seen, PAUSE);
    let (_, before_last) = bursts.split_last()?;
    let waits = |index: usize| bursts[index + 1].begin.saturating_sub(bursts[index].end);
    let full: Vec<_> = (0..before_last.len())
        .filter(|&index| bursts[index].events >= 2 && waits(index) >= PAUSE * 2)
        .filter(|&index| bursts[index].splits || bursts[index].length.is_multiple_of(PAGE))
        .collect();
    if full.len() < 2 {
        return None;
    }
    let lengths: Vec<_> = full
        .iter()
        .map(|&index| size(bursts[index].length))
        .collect();
    let longest = full.iter().map(|&index| waits(index)).max()?;
    let splits = full.iter().filter(|&&index| bursts[index].splits).count();
    let evidence = format!(
        "{} of {}, {} of them ending in the middle of an event, with up to {} between them",
        counted(full.len(), "burst"),
        listed(&lengths),
        splits,
        seconds(longest)
    );
    Some(Finding::likely(Rule::BufferedBySize, evidence))
}

/// Bursts of many events may be a buffer that is flushed from time to time, or a backend that sends in batches.
fn by_time(seen: &Observation, arrivals: &Arrivals) -> Option<Finding> {
    let bursts = arrivals.bursts(seen, PAUSE);
    let (_, bursts) = bursts.split_first()?; // the first may be a backlog that every client gets
    let many = bursts.iter().filter(|burst| burst.events >= 5).count();
    let is_bursty = bursts.len() >= 3 && many == bursts.len();
    let pauses: Vec<_> = bursts
        .windows(2)
        .map(|pair| pair[1].begin.saturating_sub(pair[0].end))
        .collect();
    if !is_bursty || pauses.iter().any(|pause| *pause < SOON) {
        return None;
    }
    let events: usize = bursts.iter().map(|burst| burst.events).sum();
    let evidence = format!(
        "{} in {}, with {} to {} between them",
        counted(events, "event"),
        counted(bursts.len(), "burst"),
        seconds(pauses.iter().min().copied()?),
        seconds(pauses.iter().max().copied()?)
    );
    Some(Finding::possible(Rule::BufferedByTime, evidence))
}

/// The first of them.
pub(super) fn listed(items: &[String]) -> String {
    let shown = items.iter().take(4).cloned().collect::<Vec<_>>().join(", ");
    if items.len() > 4 {
        format!("{shown}, …")
    } else {
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::testing::{found, ms, seen};

    fn arriving(parts: &[(u64, &[u8])], end: End, at: u64) -> Vec<Rule> {
        let mut seen = seen();
        seen.reads.clear();
        seen.body.clear();
        for (at, bytes) in parts {
            seen.arrive(ms(*at), bytes);
        }
        seen.end(end, ms(at));
        if let (Some(head), Some(read)) = (&mut seen.head, seen.reads.first()) {
            head.at = head.at.min(read.at);
        }
        found(&seen)
    }

    #[test]
    fn all_at_the_end() {
        let three = b"data: 1\n\ndata: 2\n\ndata: 3\n\n";
        let held = [Rule::BufferedToEnd, Rule::ForeignEnd];
        assert_eq!(arriving(&[(5_000, three)], End::Complete, 5_010), held);
        let soon = arriving(&[(500, three)], End::Complete, 510);
        assert_eq!(soon, [Rule::ForeignEnd], "a short answer");
        let open = arriving(&[(5_000, three)], End::Watched, 10_000);
        assert_eq!(open, [], "a backend that had nothing to say before");
        let two = arriving(&[(5_000, b"data: 1\n\ndata: 2\n\n")], End::Watched, 10_000);
        assert_eq!(two, [Rule::Silent]);
    }

    #[test]
    fn full_buffers() {
        let events = "data: 0123456789\n\n".repeat(600);
        let (bytes, step) = (events.as_bytes(), PAGE);
        let pages: Vec<_> = (0..2)
            .map(|page| &bytes[page * step..(page + 1) * step])
            .collect();
        let parts = [
            (1_000, pages[0]),
            (3_000, pages[1]),
            (5_000, &bytes[2 * step..]),
        ];
        assert_eq!(
            arriving(&parts, End::Watched, 6_000),
            [Rule::BufferedBySize]
        );
        let whole = 18 * 100;
        let parts = [
            (1_000, &bytes[..whole]),
            (3_000, &bytes[..whole]),
            (5_000, &bytes[..whole]),
        ];
        assert_eq!(
            arriving(&parts, End::Watched, 6_000),
            [],
            "whole events, seldom"
        );
        let close = [
            (1_000, pages[0]),
            (1_100, pages[1]),
            (1_200, &bytes[2 * step..]),
        ];
        assert_eq!(arriving(&close, End::Watched, 6_000), [], "just large");
    }

    #[test]
    fn bursts() {
        let burst = "data: 0123456789\n\n".repeat(6);
        let parts: Vec<_> = (0..5)
            .map(|at| (1_000 + at * 2_000, burst.as_bytes()))
            .collect();
        assert_eq!(
            arriving(&parts, End::Watched, 12_000),
            [Rule::BufferedByTime]
        );
        let pair = "data: 0123456789\n\n".repeat(2);
        let parts: Vec<_> = (0..5)
            .map(|at| (1_000 + at * 2_000, pair.as_bytes()))
            .collect();
        assert_eq!(arriving(&parts, End::Watched, 12_000), []);
    }

    #[test]
    fn a_held_head_and_a_long_silence() {
        let mut seen = seen();
        seen.head.as_mut().unwrap().at = ms(1_490);
        for read in &mut seen.reads {
            read.at += ms(1_000);
        }
        assert_eq!(found(&seen), [Rule::HeadHeld]);
        seen.head.as_mut().unwrap().at = ms(200);
        assert_eq!(found(&seen), []);
        seen.end(End::Watched, ms(45_000));
        assert_eq!(found(&seen), [Rule::NoHeartbeat]);
    }
}
