//! Invariant: no text of a configuration panics. Whatever is wrong with it is said with a line and a column of the text, unless
//! what is wrong is that something is missing from all of it, and in characters that a terminal shows as they are. The same text
//! always means the same.
//!
//! Input: the text of a configuration file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sse_sidecar::config::{self, Overrides, Problem, Severity};

const FILE: &str = "sidecar.toml";

fuzz_target!(|text: &str| {
    let parse = || config::parse(text, FILE, &Overrides::default());
    let first = parse();
    match &first {
        Ok((config, warnings)) => {
            assert!(!config.listeners.is_empty() && !config.routes.is_empty());
            for warning in warnings {
                assert_eq!(warning.severity, Severity::Warning);
                check(warning, text);
            }
        }
        Err(problems) => {
            assert!(problems.iter().any(|it| it.severity == Severity::Error));
            for problem in problems {
                check(problem, text);
            }
        }
    }
    assert_eq!(first, parse());
});

fn check(problem: &Problem, text: &str) {
    let shown = problem.to_string();
    let is_shown = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    assert!(shown.chars().all(is_shown), "{shown:?}");
    let Some(place) = &problem.place else {
        assert!(problem.message.starts_with("missing"), "{shown}");
        return;
    };
    assert_eq!(place.file, FILE);
    let line = text.split('\n').nth(place.line - 1);
    let line = line.expect("the line is one of the text");
    assert!(place.column <= line.chars().count() + 1, "{shown}");
}
