//! How a stream ended, and whose timeout may have ended it.

use std::time::Duration;

use super::super::arrivals::Arrivals;
use super::super::finding::{Finding, seconds};
use super::super::observation::{End, Head, Observation};
use super::super::plan::Plan;
use super::super::rule::Rule;
use super::limits::{Counts, owner};
use crate::wire::BodyLength;

/// Below this a pause before a cut is no silence.
const SILENCE: Duration = Duration::from_secs(2);

/// Whose timeout a cut may be.
struct Cause {
    rule: Rule,
    words: String,
}

pub(super) fn judge(seen: &Observation, head: &Head, arrivals: &Arrivals) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(fault) = &arrivals.fault {
        findings.push(Finding::certain(Rule::Undecodable, fault.clone()));
    }
    let how = match &seen.end {
        End::Complete => {
            findings.extend(complete(seen, head, arrivals));
            return findings;
        }
        End::Watched | End::NoResponse(_) => return findings,
        End::Cut if head.version == http::Version::HTTP_2 => "its connection was closed".to_owned(),
        End::Cut => match head.framing {
            Some(BodyLength::Bytes(_)) => "it was closed short of its Content-Length".to_owned(),
            _ => "it was closed without its last chunk".to_owned(),
        },
        End::Broken => "its connection was reset".to_owned(),
        End::Reset(code) => format!("its HTTP/2 stream was reset ({code})"),
    };
    let cause = cause(seen, head);
    let evidence = format!("{how} {}", cause.words);
    let finding = match cause.rule {
        Rule::CutByAge => Finding::likely(cause.rule, evidence),
        _ => Finding::certain(cause.rule, evidence),
    };
    findings.push(finding);
    findings
}

/// Which timeout ended it, if one did. A known limit says more than the length of the silence alone.
fn cause(seen: &Observation, head: &Head) -> Cause {
    let last = seen.reads.last().map_or(head.at, |read| read.at);
    let (silence, age) = (seen.ended.saturating_sub(last), seen.ended);
    let mut gaps = seen
        .reads
        .windows(2)
        .map(|pair| pair[1].at.saturating_sub(pair[0].at));
    let is_longest = silence >= SILENCE && gaps.all(|gap| gap < silence);
    let in_silence = |owner: Option<&str>| Cause {
        rule: Rule::CutInSilence,
        words: format!(
            "after {} without a byte ({} in all){}",
            seconds(silence),
            seconds(age),
            known(owner)
        ),
    };
    if let Some(owner) = owner(silence, Counts::Silence) {
        return in_silence(Some(owner));
    }
    if let Some(owner) = owner(age, Counts::Age) {
        return Cause {
            rule: Rule::CutByAge,
            words: format!("at the age of {}{}", seconds(age), known(Some(owner))),
        };
    }
    if is_longest {
        return in_silence(None);
    }
    Cause {
        rule: Rule::Cut,
        words: format!(
            "at the age of {}, {} after its last byte",
            seconds(age),
            seconds(silence)
        ),
    }
}

fn known(owner: Option<&str>) -> String {
    owner.map_or_else(String::new, |owner| format!(": so do {owner}"))
}

/// Whether a probe ended before its plan does.
pub(super) fn is_early(seen: &Observation, plan: &Plan) -> bool {
    seen.ended + Duration::from_millis(250) < plan.duration()
}

/// A clean end may be a cut all the same.
fn complete(seen: &Observation, head: &Head, arrivals: &Arrivals) -> Option<Finding> {
    let cause = cause(seen, head);
    let is_inside = arrivals.is_inside_an_event(arrivals.bytes.len());
    let what = match head.framing {
        Some(BodyLength::UntilClose) => "it ended by closing the connection",
        _ => "it ended as if it were complete",
    };
    if let Some(plan) = &seen.plan {
        let expected = plan.duration();
        return is_early(seen, plan).then(|| {
            let evidence = format!(
                "{what} {}; its end was planned after {}",
                cause.words,
                seconds(expected)
            );
            Finding::certain(Rule::DisguisedCut, evidence)
        });
    }
    if is_inside && arrivals.fault.is_none() {
        let evidence = format!("{what} in the middle of an event {}", cause.words);
        return Some(Finding::likely(Rule::DisguisedCut, evidence));
    }
    if says_its_end(arrivals) {
        return None;
    }
    let last = seen.reads.last().map_or(head.at, |read| read.at);
    let is_known = owner(seen.ended.saturating_sub(last), Counts::Silence).is_some();
    if is_known {
        let evidence = format!("{what} {}", cause.words);
        return Some(Finding::likely(Rule::DisguisedCut, evidence));
    }
    if owner(seen.ended, Counts::Age).is_some() {
        let evidence = format!("{what} {}", cause.words);
        return Some(Finding::possible(Rule::DisguisedCut, evidence));
    }
    let evidence = format!("{what} {}", cause.words);
    Some(Finding::certain(Rule::ForeignEnd, evidence))
}

/// Whether the last event is the end marker of its protocol.
fn says_its_end(arrivals: &Arrivals) -> bool {
    const TYPES: [&str; 7] = [
        "message_stop",
        "response.completed",
        "response.failed",
        "response.incomplete",
        "done",
        "end",
        "complete",
    ];
    let last = arrivals.events().last();
    last.is_some_and(|(event, _)| event.data == "[DONE]" || TYPES.contains(&&*event.event))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::judge::judge_one;
    use crate::doctor::testing::{found, ms, probe, seen};

    fn ended(end: End, at: u64) -> Vec<Rule> {
        let mut seen = seen();
        seen.end(end, ms(at));
        found(&seen)
    }

    #[test]
    fn cuts_and_whose_they_are() {
        // The last event of `seen` arrives after 9.5 s.
        assert_eq!(ended(End::Cut, 9_500 + 60_020), [Rule::CutInSilence]);
        assert_eq!(ended(End::Broken, 9_500 + 3_000), [Rule::CutInSilence]);
        assert_eq!(
            ended(End::Reset("CANCEL".to_owned()), 15_010),
            [Rule::CutByAge]
        );
        assert_eq!(ended(End::Cut, 9_600), [Rule::Cut]);
        assert_eq!(ended(End::Watched, 15_010), []);
    }

    #[test]
    fn the_evidence_has_the_numbers_and_the_owner() {
        let mut seen = seen();
        seen.end(End::Cut, ms(69_520));
        let finding = judge_one(&seen).remove(0);
        assert!(
            finding
                .evidence
                .contains("60 s without a byte (70 s in all): so do nginx"),
            "{}",
            finding.evidence
        );
    }

    #[test]
    fn a_pause_that_was_longer_before_is_not_the_cause() {
        let mut seen = seen();
        seen.arrive(ms(9_600), b"data: 1\n\n");
        seen.arrive(ms(13_400), b"data: 2\n\n");
        seen.end(End::Cut, ms(17_000));
        assert_eq!(found(&seen), [Rule::Cut]);
    }

    #[test]
    fn clean_ends_that_are_none() {
        assert_eq!(ended(End::Complete, 9_500 + 60_020), [Rule::DisguisedCut]);
        assert_eq!(ended(End::Complete, 9_600), [Rule::ForeignEnd]);
        let mut inside = seen();
        inside.arrive(ms(9_600), b"data: half");
        inside.end(End::Complete, ms(9_700));
        assert_eq!(found(&inside), [Rule::DisguisedCut]);
        let mut done = seen();
        done.arrive(ms(9_600), b"data: [DONE]\n\n");
        done.end(End::Complete, ms(9_600 + 60_000));
        assert_eq!(found(&done), []);
    }

    #[test]
    fn a_probe_knows_its_end() {
        let plan = Plan::standard(Duration::from_secs(5));
        assert_eq!(found(&probe(plan.clone())), []);
        let mut cut = probe(plan);
        let kept = cut.reads.len() - 2;
        let length = cut.reads[..kept].iter().map(|read| read.length).sum();
        cut.reads.truncate(kept);
        cut.body.truncate(length);
        let at = cut.reads.last().unwrap().at + ms(3_000);
        cut.end(End::Complete, at);
        assert_eq!(found(&cut), [Rule::DisguisedCut]);
        cut.end(End::Cut, at);
        assert_eq!(found(&cut), [Rule::CutInSilence]);
    }
}
