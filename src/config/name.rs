//! The name of a route: what the log, the status page and the metrics call it.

use std::collections::HashMap;

use super::draft::{Draft, RouteDraft};
use super::file::Report;
use super::problem::Mistake;
use super::{Matcher, Route};

/// Longer than any name that a person reads in a legend.
const LONGEST: usize = 64;

impl Route {
    /// Its label in the log, on the status page and in metrics: its name, or else its conditions.
    pub fn label(&self) -> String {
        label(self.name.as_deref(), &self.matcher)
    }
}

/// A `name`: nothing that has to be escaped in a label, a query or a URL.
pub(super) fn name(text: &str) -> Result<String, Mistake> {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let help = "write a short name such as `\"chat\"`";
    if text.is_empty() {
        return Err(Mistake::new("a name cannot be empty").help(help));
    }
    if let Some(c) = text.chars().find(|&c| !is_safe(c)) {
        let mistake = Mistake::new(format!("`{c}` cannot stand in a name"));
        return Err(mistake.help("write letters, digits, `-`, `_` and `.` only"));
    }
    if text.len() > LONGEST {
        let mistake = Mistake::new(format!("a name has {LONGEST} characters or less"));
        return Err(mistake.help(help));
    }
    Ok(text.to_owned())
}

/// Reports a name that another route has, or that is what the log calls one without a name: their numbers would be added up.
pub(super) fn check(draft: &Draft, report: &mut Report) {
    let mut taken = HashMap::new();
    for RouteDraft { key, matcher, .. } in draft.routes.iter().filter(|route| route.name.is_none())
    {
        taken.insert(label(None, matcher), key.clone());
    }
    if draft.upstream.is_given {
        taken.insert(Matcher::default().to_string(), "[upstream]".to_owned());
    }
    for route in &draft.routes {
        let Some(name) = &route.name else { continue };
        if let Some(other) = taken.insert(name.clone(), route.key.clone()) {
            let mistake = Mistake::new(format!("`{name}` is already what {other} is called"))
                .help("give each route a name of its own");
            report.error(&format!("{}.name", route.key), &mistake);
        }
    }
}

fn label(name: Option<&str>, matcher: &Matcher) -> String {
    name.map_or_else(|| matcher.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_need_no_escape() {
        for text in ["a", "chat-v1.2_x", &"x".repeat(LONGEST)] {
            assert_eq!(name(text).as_deref(), Ok(text));
        }
        for text in ["", "a b", "a/b", "\"", "é", "a\n", &"x".repeat(LONGEST + 1)] {
            assert!(name(text).is_err(), "{text}");
        }
    }
}
