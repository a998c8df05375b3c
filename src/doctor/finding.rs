//! A finding: the problem, its evidence, where it is, and what to change.

use std::time::Duration;

use super::fixes::Fix;
use super::rule::{Rule, Weight};

/// Something that was found.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Which rule found it.
    pub rule: Rule,
    /// How sure it is.
    pub certainty: Certainty,
    /// What was seen, with its numbers.
    pub evidence: String,
    /// Where it happens, as far as that can be known.
    pub place: Option<String>,
    /// What to change, for the products that were seen in the chain first.
    pub fixes: Vec<&'static Fix>,
}

/// How sure a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// It was measured.
    Certain,
    /// Hardly anything else explains what was seen.
    Likely,
    /// The backend itself may have caused it: a probe or `--direct` would show.
    Possible,
}

impl Finding {
    /// A certain finding.
    pub fn certain(rule: Rule, evidence: impl Into<String>) -> Self {
        Self::new(rule, Certainty::Certain, evidence)
    }

    /// A likely finding.
    pub fn likely(rule: Rule, evidence: impl Into<String>) -> Self {
        Self::new(rule, Certainty::Likely, evidence)
    }

    /// A possible finding.
    pub fn possible(rule: Rule, evidence: impl Into<String>) -> Self {
        Self::new(rule, Certainty::Possible, evidence)
    }

    fn new(rule: Rule, certainty: Certainty, evidence: impl Into<String>) -> Self {
        Self {
            rule,
            certainty,
            evidence: evidence.into(),
            place: None,
            fixes: Vec::new(),
        }
    }

    /// Whether it makes the command fail.
    pub fn counts(&self) -> bool {
        self.rule.weight() != Weight::Note
    }
}

impl Certainty {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Certain => "certain",
            Self::Likely => "likely",
            Self::Possible => "possible",
        }
    }
}

/// A duration as people read it: `0.12 s`, `3.0 s`, `61 s`.
pub fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 0.995 {
        format!("{seconds:.2} s")
    } else if seconds < 59.95 {
        format!("{seconds:.1} s")
    } else {
        format!("{seconds:.0} s")
    }
}

/// A number of bytes as people read it.
pub fn size(bytes: usize) -> String {
    if bytes < 10_000 {
        format!("{bytes} bytes")
    } else {
        format!("{} KiB", bytes.div_ceil(1024))
    }
}

/// `1 event`, `2 events`
pub fn counted(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}
