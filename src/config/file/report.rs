//! The problems found in a file, each with its position.

use std::collections::HashMap;
use std::iter;
use std::ops::Range;

use crate::config::problem::{Location, Mistake, Problem, Severity};

/// The problems found so far, and the position of every key.
#[derive(Debug)]
pub(in crate::config) struct Report {
    pub(super) file: String,
    pub(super) text: String,
    pub(super) problems: Vec<Problem>,
    pub(super) positions: HashMap<String, Range<usize>>,
}

impl Report {
    /// Reports that a key is wrong, at its position or that of the table it is missing from.
    ///
    /// `key` may also be a flag or an environment variable; those have no position.
    pub(in crate::config) fn error(&mut self, key: &str, mistake: &Mistake) {
        self.push(Severity::Error, key, mistake);
    }

    /// Reports that a key is allowed but probably not meant.
    pub(in crate::config) fn warning(&mut self, key: &str, mistake: &Mistake) {
        self.push(Severity::Warning, key, mistake);
    }

    /// Whether the file has this key, valid or not.
    pub(in crate::config) fn is_written(&self, key: &str) -> bool {
        self.positions.contains_key(key)
    }

    /// Whether the configuration cannot be used.
    pub(in crate::config) fn has_errors(&self) -> bool {
        self.problems
            .iter()
            .any(|problem| problem.severity == Severity::Error)
    }

    /// The problems in the order of the file; those without a position come first.
    pub(in crate::config) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| {
            problem
                .place
                .as_ref()
                .map(|place| (place.line, place.column))
        });
        self.problems
    }

    fn push(&mut self, severity: Severity, key: &str, mistake: &Mistake) {
        let problem = self.problem(severity, key, mistake);
        self.problems.push(problem);
    }

    /// A problem with its position, which is not reported.
    pub(in crate::config) fn problem(
        &self,
        severity: Severity,
        key: &str,
        mistake: &Mistake,
    ) -> Problem {
        let mut ancestors = iter::successors(Some(key), |key| Some(key.rsplit_once('.')?.0));
        let place = ancestors
            .find_map(|key| self.positions.get(key))
            .map(|span| {
                let place = Location::new(&self.file, &self.text, span.clone());
                if mistake.is_secret {
                    place.masked()
                } else {
                    place
                }
            });
        Problem::new(severity, Some(key), mistake, place)
    }
}
