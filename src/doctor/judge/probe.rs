//! How a probe arrives: when each event was sent is written in it.

use std::time::Duration;

use super::super::arrivals::Arrivals;
use super::super::finding::{Finding, counted, seconds, size};
use super::super::observation::{Head, Observation};
use super::super::plan::{NUMBER, STAMP, What};
use super::super::rule::Rule;
use super::rhythm::listed;
use crate::sse::parse::Kind;

/// A smaller delay does not count as held, whatever the network.
const HELD: Duration = Duration::from_millis(400);
/// What arrives so close together arrived at once.
const TOGETHER: Duration = Duration::from_millis(60);

/// One step of the plan, at both ends.
#[derive(Debug, Clone, Copy)]
struct Mark {
    sent: Duration,
    arrived: Duration,
    /// How much later than the fastest of them.
    late: Duration,
}

/// Findings about how it arrives.
pub(super) fn judge(seen: &Observation, head: &Head, arrivals: &Arrivals) -> Vec<Finding> {
    let marks = marks(arrivals);
    if marks.len() < 5 {
        let evidence = format!(
            "{} of the probe in {}",
            counted(marks.len(), "step"),
            seconds(seen.ended)
        );
        return vec![Finding::certain(Rule::Silent, evidence)];
    }
    if let Some(finding) = held(seen, arrivals, &marks) {
        return vec![finding];
    }
    head_held(seen, head, arrivals).into_iter().collect()
}

/// The steps that arrived. The two clocks need not agree: the fastest step counts as not late.
fn marks(arrivals: &Arrivals) -> Vec<Mark> {
    let stamped: Vec<_> = arrivals
        .items
        .iter()
        .filter_map(|arrival| {
            let text = match &arrival.item.kind {
                Kind::Event(event) => &event.data,
                Kind::Comment(text) => text,
            };
            Some((stamp(text)?, arrival.at))
        })
        .collect();
    let travel = |(sent, arrived): &(Duration, Duration)| micros(*arrived) - micros(*sent);
    let fastest = stamped.iter().map(travel).min().unwrap_or(0);
    let mark = |stamped: &(Duration, Duration)| Mark {
        sent: stamped.0,
        arrived: stamped.1,
        late: Duration::from_micros((travel(stamped) - fastest).unsigned_abs()),
    };
    stamped.iter().map(mark).collect()
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4)
}

/// When a step was sent, as it says.
fn stamp(text: &str) -> Option<Duration> {
    let (number, rest) = text.split_once(' ')?;
    let (stamp, _) = rest.split_once(' ').or_else(|| rest.split_once('\n'))?;
    let is_stamp = number.len() == NUMBER && stamp.len() == STAMP;
    let micros = stamp.parse().ok().filter(|_| is_stamp)?;
    Some(Duration::from_micros(micros))
}

fn held(seen: &Observation, arrivals: &Arrivals, marks: &[Mark]) -> Option<Finding> {
    let limit = HELD + seen.lag * 2;
    if let Some(finding) = one_late(marks, limit) {
        return Some(finding);
    }
    let late: Vec<_> = marks.iter().filter(|mark| mark.late > limit).collect();
    if late.len() * 3 < marks.len() {
        return None;
    }
    let (first, last) = (marks.first()?, marks.last()?);
    let worst = marks.iter().map(|mark| mark.late).max()?;
    let sent_over = last.sent.saturating_sub(first.sent);
    let arrived_over = last.arrived.saturating_sub(first.arrived);
    let n = marks.len();
    if arrived_over <= (sent_over / 10).max(TOGETHER) {
        let evidence = format!(
            "{n} events, sent over {}, arrived within {} of each other; the first was held for {}",
            seconds(sent_over),
            seconds(arrived_over),
            seconds(worst)
        );
        return Some(Finding::certain(Rule::BufferedToEnd, evidence));
    }
    let bursts = arrivals.bursts(seen, TOGETHER);
    let (_, before_last) = bursts.split_last()?;
    let full: Vec<_> = before_last.iter().filter(|burst| burst.splits).collect();
    if full.len() >= 2 {
        let lengths: Vec<_> = full.iter().map(|burst| size(burst.length)).collect();
        let evidence = format!(
            "{} of {n} events were held for up to {}, in bursts of {} that end in the middle of an event",
            late.len(),
            seconds(worst),
            listed(&lengths)
        );
        return Some(Finding::certain(Rule::BufferedBySize, evidence));
    }
    let evidence = format!(
        "{} of {n} events were held for up to {}, and arrived in {}",
        late.len(),
        seconds(worst),
        counted(bursts.len(), "burst")
    );
    Some(Finding::certain(Rule::BufferedByTime, evidence))
}

/// Whether each event waits for the next one: then it is late by just the time until that was sent.
fn one_late(marks: &[Mark], limit: Duration) -> Option<Finding> {
    let gaps: Vec<_> = marks
        .windows(2)
        .map(|pair| (pair[0].late, pair[1].sent.saturating_sub(pair[0].sent)))
        .filter(|(_, gap)| *gap >= Duration::from_millis(250))
        .collect();
    let fits = |&&(late, gap): &&(Duration, Duration)| late.abs_diff(gap) <= gap / 4 + TOGETHER;
    let fitting = gaps.iter().filter(fits).count();
    let long = gaps
        .iter()
        .filter(|(late, gap)| *gap > limit && late > &limit)
        .count();
    if gaps.len() < 4 || fitting * 5 < gaps.len() * 4 || long < 2 {
        return None;
    }
    let evidence = format!(
        "{fitting} of {} events arrived when the next one was sent, after up to {}",
        gaps.len(),
        seconds(gaps.iter().map(|(late, _)| *late).max()?)
    );
    Some(Finding::certain(Rule::OneLate, evidence))
}

/// The origin sends its head at once and waits before its first event.
fn head_held(seen: &Observation, head: &Head, arrivals: &Arrivals) -> Option<Finding> {
    let step = seen.plan.as_ref()?.steps().first()?;
    // Not the first byte: a compressed stream has a head of its own.
    let first = arrivals.items.first()?;
    let gap = first.at.saturating_sub(head.at);
    if step.what != What::Request || gap > step.wait / 3 {
        return None;
    }
    let evidence = format!(
        "the origin sent headers {} before the first event; they arrived {} before it",
        seconds(step.wait),
        seconds(gap)
    );
    Some(Finding::certain(Rule::HeadHeld, evidence))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::observation::Read;
    use crate::doctor::plan::Plan;
    use crate::doctor::testing::{found, ms, probe, probe_with};

    const FIVE: Duration = Duration::from_secs(5);

    fn plan() -> Plan {
        Plan::standard(FIVE)
    }

    #[test]
    fn a_healthy_probe_and_one_that_stumbles() {
        assert_eq!(found(&probe(plan())), []);
        let slow = probe_with(plan(), |_, at, bytes| vec![(at + ms(2_000), bytes)]);
        assert_eq!(found(&slow), [], "far away is not late");
        let stumbling = probe_with(plan(), |index, at, bytes| {
            let late = if index % 8 == 0 { 900 } else { 20 };
            vec![(at + ms(late), bytes)]
        });
        assert_eq!(found(&stumbling), []);
    }

    #[test]
    fn everything_at_the_end() {
        let end = plan().duration() + ms(20);
        let held = probe_with(plan(), |_, _, bytes| vec![(end, bytes)]);
        assert_eq!(found(&held), [Rule::BufferedToEnd]);
    }

    #[test]
    fn a_buffer_that_fills() {
        let mut held = probe(plan());
        let last = held.reads.last().unwrap().at;
        let (mut reads, mut kept, mut had) = (Vec::new(), 0, 0);
        for read in &held.reads {
            kept += read.length;
            while kept - had >= 4096 {
                reads.push(Read {
                    at: read.at,
                    length: 4096,
                });
                had += 4096;
            }
        }
        reads.push(Read {
            at: last,
            length: kept - had,
        });
        held.reads = reads;
        assert_eq!(found(&held), [Rule::BufferedBySize]);
    }

    #[test]
    fn a_buffer_that_is_flushed_every_two_seconds() {
        let held = probe_with(plan(), |_, at, bytes| {
            let at = u64::try_from(at.as_millis()).unwrap();
            vec![(ms(at.div_ceil(2_000) * 2_000), bytes)]
        });
        assert_eq!(found(&held), [Rule::BufferedByTime]);
    }

    #[test]
    fn each_event_waits_for_the_next() {
        let plan = plan();
        let mut at = Duration::ZERO;
        let mut times: Vec<_> = plan
            .steps()
            .iter()
            .map(|step| {
                at += step.wait;
                at + ms(20)
            })
            .collect();
        times.push(at + ms(20));
        let held = probe_with(plan, |index, _, bytes| vec![(times[index + 1], bytes)]);
        assert_eq!(found(&held), [Rule::OneLate]);
    }

    #[test]
    fn a_held_head() {
        let mut held = probe(plan());
        let first = held.reads[0].at;
        held.head.as_mut().unwrap().at = first.saturating_sub(ms(5));
        assert_eq!(found(&held), [Rule::HeadHeld]);
        held.head.as_mut().unwrap().at = first.saturating_sub(ms(900));
        assert_eq!(found(&held), []);
    }

    #[test]
    fn what_our_own_lateness_explains_is_no_finding() {
        let mut late = probe_with(plan(), |_, at, bytes| {
            let at = u64::try_from(at.as_millis()).unwrap();
            vec![(ms(at.div_ceil(1_000) * 1_000), bytes)]
        });
        assert_eq!(found(&late), [Rule::BufferedByTime]);
        late.lag = ms(400);
        assert_eq!(found(&late), []);
    }
}
