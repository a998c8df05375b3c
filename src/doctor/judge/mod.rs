//! From an observation to findings. Nothing here measures, and the rules know only the [`Observation`].

mod bytes;
mod compare;
mod ending;
mod head;
mod limits;
mod origin_checks;
mod probe;
mod rhythm;

use super::arrivals::Arrivals;
use super::finding::Finding;
use super::observation::{End, Observation};
use super::rule::Rule;
use super::{chain, fixes};

pub use self::origin_checks::{Disconnect, OriginChecks, Preflight};

/// Everything that was measured.
#[derive(Debug, Clone)]
pub struct Measured {
    /// The stream that is asked about.
    pub front: Observation,
    /// The same, asked for without compression: measured where compression may be the cause.
    pub identity: Option<Observation>,
    /// The same behind the hop under suspicion.
    pub direct: Option<Observation>,
    /// What only a probe shows.
    pub origin_checks: OriginChecks,
}

/// Judges all of it; the gravest findings come first.
pub fn judge(measured: &Measured) -> Vec<Finding> {
    let mut findings = judge_one(&measured.front);
    if let Some(identity) = &measured.identity {
        compare::with_identity(&mut findings, &judge_one(identity));
    }
    if let Some(direct) = &measured.direct {
        let behind = judge_one(direct);
        compare::with_direct(&mut findings, &measured.front, &behind, direct);
    }
    findings.extend(origin_checks::judge(&measured.origin_checks));
    let hops = chain::hops(&measured.front);
    let products: Vec<_> = hops.iter().map(|hop| hop.product).collect();
    fixes::attach_fixes(&mut findings, &products);
    findings.sort_by_key(|finding| {
        let weight = if finding.counts() {
            finding.rule.weight()
        } else {
            super::rule::Weight::Note
        };
        (weight, finding.rule)
    });
    findings
}

/// Judges one response by itself.
pub fn judge_one(seen: &Observation) -> Vec<Finding> {
    let Some(head) = &seen.head else {
        let why = match &seen.end {
            End::NoResponse(why) => why.clone(),
            _ => String::new(),
        };
        return vec![Finding::certain(Rule::NoResponse, why)];
    };
    let arrivals = Arrivals::of(seen);
    let mut findings = head::refused(seen, head, &arrivals);
    if !findings.is_empty() {
        return findings; // no other rule applies
    }
    let late = match &seen.plan {
        Some(plan) => {
            findings.extend(bytes::judge(seen, plan, &arrivals));
            probe::judge(seen, head, &arrivals)
        }
        None => rhythm::judge(seen, head, &arrivals),
    };
    findings.extend(head::judge(seen, head, &arrivals, !late.is_empty()));
    findings.extend(late);
    findings.extend(ending::judge(seen, head, &arrivals));
    findings
}
