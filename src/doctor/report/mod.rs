//! What comes of it: for a person, and for a program.

mod json;
mod text;

use super::expect::Expectation;
use super::finding::Finding;
use super::judge::{Measured, judge};
use super::rule::Weight;

/// The result of an examination.
#[derive(Debug)]
pub struct Report {
    /// What was measured.
    pub measured: Measured,
    /// What was found, the gravest first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Judges the measurements, also against what is expected.
    pub fn new(measured: Measured, expectations: &[Expectation]) -> Self {
        let mut findings = judge(&measured);
        let unmet = expectations
            .iter()
            .filter_map(|expectation| expectation.judge(&measured.front, &findings))
            .collect::<Vec<_>>();
        let faults = findings
            .iter()
            .take_while(|finding| finding.counts() && finding.rule.weight() == Weight::Fault)
            .count();
        findings.splice(faults..faults, unmet);
        Self { measured, findings }
    }

    /// Whether the stream arrives as it should, and as it is expected to.
    pub fn is_well(&self) -> bool {
        !self.findings.iter().any(Finding::counts)
    }

    /// It all in one sentence.
    pub fn verdict(&self) -> String {
        let first = self.findings.iter().find(|finding| finding.counts());
        match first {
            None => "Streams well".to_owned(),
            Some(finding) => {
                let others = self
                    .findings
                    .iter()
                    .filter(|finding| finding.counts())
                    .count()
                    - 1;
                let more = match others {
                    0 => String::new(),
                    1 => ", and one more finding".to_owned(),
                    others => format!(", and {others} more findings"),
                };
                format!("{}{more}", finding.rule.title())
            }
        }
    }
}
