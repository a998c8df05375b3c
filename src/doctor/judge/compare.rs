//! Two measurements beside each other.

use std::time::Duration;

use super::super::arrivals::Arrivals;
use super::super::finding::{Certainty, Finding, seconds};
use super::super::observation::Observation;
use super::super::rule::Rule;

/// What a hop that holds events may do with them.
const HELD: [Rule; 5] = [
    Rule::BufferedToEnd,
    Rule::BufferedBySize,
    Rule::BufferedByTime,
    Rule::OneLate,
    Rule::HeadHeld,
];

fn has(findings: &[Finding], rules: &[Rule]) -> bool {
    findings.iter().any(|finding| rules.contains(&finding.rule))
}

/// Says whether compression is what holds the events: `identity` was found in the same stream without it.
pub(super) fn with_identity(findings: &mut [Finding], identity: &[Finding]) {
    let still_held = has(identity, &HELD);
    let still_compressed = has(identity, &[Rule::Compressed]);
    for finding in findings {
        let says = match finding.rule {
            Rule::Compressed if still_compressed => {
                "asked for identity, it is compressed all the same"
            }
            rule if HELD.contains(&rule) && still_held => {
                "asked for identity, it is held all the same"
            }
            rule if HELD.contains(&rule) => {
                "asked for identity, it is not held: the compression holds it"
            }
            _ => continue,
        };
        finding.evidence = format!("{}; {says}", finding.evidence);
    }
}

/// Says on which side of the hop under suspicion each finding is, and finds what only the comparison shows.
pub(super) fn with_direct(
    findings: &mut Vec<Finding>,
    front: &Observation,
    behind: &[Finding],
    direct: &Observation,
) {
    if !has(findings, &HELD)
        && let Some(evidence) = later(front, direct)
    {
        findings.push(Finding::certain(Rule::BufferedByTime, evidence));
    }
    for finding in findings {
        if has(behind, &[finding.rule]) {
            finding.place = Some(format!("at {} or behind it: seen there too", direct.url));
            continue;
        }
        finding.place = Some(format!("in front of {}: not seen there", direct.url));
        if HELD.contains(&finding.rule) && direct.head.is_some() {
            finding.certainty = Certainty::Certain;
        }
    }
}

/// The evidence that the first event comes much later through the chain.
fn later(front: &Observation, direct: &Observation) -> Option<String> {
    let first = |seen| Arrivals::of(seen).items.first().map(|arrival| arrival.at);
    let (slow, fast) = (first(front)?, first(direct)?);
    let is_later = slow > fast * 3 + Duration::from_secs(1) + front.lag;
    is_later.then(|| {
        format!(
            "the first event came after {}, and at {} after {}",
            seconds(slow),
            direct.url,
            seconds(fast)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::judge::{Measured, OriginChecks, judge};
    use crate::doctor::observation::End;
    use crate::doctor::testing::{ms, seen};

    fn held() -> Observation {
        let mut held = seen();
        held.set_body(b"data: 1\n\ndata: 2\n\ndata: 3\n\n");
        held.reads[0].at = ms(8_000);
        held.head.as_mut().unwrap().at = ms(7_990);
        held.end(End::Complete, ms(8_010));
        held
    }

    fn judged(
        front: Observation,
        identity: Option<Observation>,
        direct: Option<Observation>,
    ) -> Vec<Finding> {
        judge(&Measured {
            front,
            identity,
            direct,
            origin_checks: OriginChecks::default(),
        })
    }

    #[test]
    fn what_is_not_seen_behind_the_hop_is_its_fault() {
        let findings = judged(held(), None, Some(seen()));
        assert_eq!(findings[0].rule, Rule::BufferedToEnd);
        assert_eq!(findings[0].certainty, Certainty::Certain);
        assert!(
            findings[0]
                .place
                .as_ref()
                .unwrap()
                .starts_with("in front of")
        );
        let findings = judged(held(), None, Some(held()));
        assert_eq!(findings[0].certainty, Certainty::Likely);
        assert!(findings[0].place.as_ref().unwrap().starts_with("at "));
    }

    #[test]
    fn a_first_byte_that_is_much_later_is_held() {
        let mut late = seen();
        for read in &mut late.reads {
            read.at += ms(3_000);
        }
        late.ended += ms(3_000);
        let rules = |findings: Vec<Finding>| {
            findings
                .iter()
                .map(|finding| finding.rule)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            rules(judged(late, None, Some(seen()))),
            [Rule::BufferedByTime]
        );
        assert_eq!(rules(judged(seen(), None, Some(seen()))), []);
    }

    #[test]
    fn compression_is_the_cause_where_identity_is_not_held() {
        let findings = judged(held(), Some(seen()), None);
        assert!(findings[0].evidence.ends_with("the compression holds it"));
        let findings = judged(held(), Some(held()), None);
        assert!(findings[0].evidence.ends_with("held all the same"));
    }
}
