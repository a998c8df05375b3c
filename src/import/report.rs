//! What became of every directive: kept, implied, or left out with a reason that one can act on.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use serde_json::{Value, json};

use super::tree::{Directive, Location, Tree};

/// What became of a directive. Where it counts in several places, the last of these that is true of one of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// The sidecar does it by itself.
    Implied(&'static str),
    /// It is in the output.
    Kept,
    /// It is not in the output.
    LeftOut,
    /// It decides who may call, and is not in the output.
    Guard,
}

#[derive(Debug)]
struct Entry {
    text: String,
    place: Location,
    verdict: Option<Verdict>,
    reasons: Vec<String>,
}

/// What became of every directive.
#[derive(Debug, Default)]
pub struct Report {
    /// By the number of the directive.
    entries: Vec<Option<Entry>>,
    notes: Vec<String>,
}

/// How an import ended, which is its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is kept or implied.
    Complete,
    /// Something was left out.
    Incomplete,
    /// Something that decides who may call was left out.
    Unguarded,
}

impl Report {
    /// A report of which every directive is still open.
    pub(super) fn new(tree: &Tree) -> Self {
        let mut report = Self::default();
        report.entries.resize_with(tree.count, || None);
        report.add(&tree.directives);
        report
    }

    fn add(&mut self, directives: &[Directive]) {
        for directive in directives {
            if let Some(entry) = self.entries.get_mut(directive.id) {
                *entry = Some(Entry {
                    text: directive.to_string(),
                    place: directive.place.clone(),
                    verdict: None,
                    reasons: Vec::new(),
                });
            }
            if !directive.is_table() {
                self.add(directive.body());
            }
        }
    }

    pub(super) fn kept(&mut self, directive: &Directive) {
        self.judge(directive.id, Verdict::Kept, None);
    }

    /// `group` says what the sidecar does by itself.
    pub(super) fn implied(&mut self, directive: &Directive, group: &'static str) {
        self.judge(directive.id, Verdict::Implied(group), None);
    }

    pub(super) fn left_out(&mut self, directive: &Directive, reason: impl Into<String>) {
        self.judge(directive.id, Verdict::LeftOut, Some(reason.into()));
    }

    /// Something that decides who may call is not kept.
    pub(super) fn guard(&mut self, directive: &Directive, reason: impl Into<String>) {
        self.judge(directive.id, Verdict::Guard, Some(reason.into()));
    }

    /// A note that is no loss of a directive. Each is added once.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Whether nothing was said of a directive yet.
    pub(super) fn is_open(&self, directive: &Directive) -> bool {
        let entry = self.entries.get(directive.id).and_then(Option::as_ref);
        entry.is_some_and(|entry| entry.verdict.is_none())
    }

    /// Whether it is a guard that is not kept.
    pub(super) fn is_guard(&self, directive: &Directive) -> bool {
        let entry = self.entries.get(directive.id).and_then(Option::as_ref);
        entry.is_some_and(|entry| entry.verdict == Some(Verdict::Guard))
    }

    /// The sidecar does not know the key that a directive became.
    pub(super) fn withheld(&mut self, id: usize, is_guard: bool, reason: String) {
        let verdict = if is_guard {
            Verdict::Guard
        } else {
            Verdict::LeftOut
        };
        self.judge(id, verdict, Some(reason));
    }

    fn judge(&mut self, id: usize, verdict: Verdict, reason: Option<String>) {
        let Some(Some(entry)) = self.entries.get_mut(id) else {
            return;
        };
        if entry
            .verdict
            .as_ref()
            .is_none_or(|before| *before < verdict)
        {
            entry.verdict = Some(verdict);
        }
        entry
            .reasons
            .extend(reason.filter(|reason| !entry.reasons.contains(reason)));
    }

    /// How the import ended.
    pub fn outcome(&self) -> Outcome {
        let worst = self
            .entries()
            .filter_map(|entry| entry.verdict.as_ref())
            .max();
        match worst {
            Some(Verdict::Guard) => Outcome::Unguarded,
            Some(Verdict::LeftOut) => Outcome::Incomplete,
            _ => Outcome::Complete,
        }
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }

    fn with(&self, wanted: impl Fn(&Verdict) -> bool) -> impl Iterator<Item = &Entry> {
        let is_wanted = move |entry: &&Entry| entry.verdict.as_ref().is_some_and(&wanted);
        self.entries().filter(is_wanted)
    }

    /// For a script: every directive with what became of it.
    pub fn json(&self) -> Value {
        let directives = self.entries().map(|entry| {
            let (verdict, reason) = match &entry.verdict {
                Some(Verdict::Kept) => ("kept", None),
                Some(Verdict::Implied(group)) => ("implied", Some((*group).to_owned())),
                Some(Verdict::Guard) => ("guard", Some(entry.reasons.join("; "))),
                Some(Verdict::LeftOut) | None => ("left_out", Some(entry.reasons.join("; "))),
            };
            json!({
                "file": &*entry.place.file,
                "line": entry.place.line,
                "directive": entry.text,
                "result": verdict,
                "reason": reason,
            })
        });
        json!({
            "outcome": match self.outcome() {
                Outcome::Complete => "complete",
                Outcome::Incomplete => "incomplete",
                Outcome::Unguarded => "unguarded",
            },
            "directives": directives.collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }
}

/// For a person. What needs work comes last, where a terminal shows it.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept: Vec<_> = self.with(|verdict| *verdict == Verdict::Kept).collect();
        if !kept.is_empty() {
            writeln!(f, "kept: {}", counted(kept.len(), "directive"))?;
        }
        let mut groups: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
        for entry in self.entries() {
            if let Some(Verdict::Implied(group)) = entry.verdict {
                groups.entry(group).or_default().push(entry);
            }
        }
        if !groups.is_empty() {
            f.write_str("\nimplied: the sidecar does this by itself\n")?;
        }
        for (group, entries) in groups {
            writeln!(f, "  {}: {group}", names(&entries))?;
        }
        if !self.notes.is_empty() {
            f.write_str("\nto know:\n")?;
        }
        for note in &self.notes {
            writeln!(f, "  - {note}")?;
        }
        let left_out: Vec<_> = self.with(|verdict| *verdict == Verdict::LeftOut).collect();
        if !left_out.is_empty() {
            f.write_str("\nleft out:\n")?;
            reasons(f, &left_out)?;
        }
        let guards: Vec<_> = self.with(|verdict| *verdict == Verdict::Guard).collect();
        if !guards.is_empty() {
            f.write_str("\nGUARDS that are not kept. What they guard answers 403 until you have replaced them:\n")?;
            reasons(f, &guards)?;
        }
        Ok(())
    }
}

/// Directives by their reasons, in the order of the first of each.
fn reasons(f: &mut fmt::Formatter<'_>, entries: &[&Entry]) -> fmt::Result {
    let mut by_reason: Vec<(&[String], Vec<&Entry>)> = Vec::new();
    for entry in entries {
        match by_reason
            .iter_mut()
            .find(|(reasons, _)| *reasons == entry.reasons)
        {
            Some((_, same)) => same.push(entry),
            None => by_reason.push((&entry.reasons, vec![entry])),
        }
    }
    for (reasons, entries) in by_reason {
        for entry in entries {
            writeln!(f, "  {}: {}", entry.place, entry.text)?;
        }
        for reason in reasons {
            writeln!(f, "      {reason}")?;
        }
    }
    Ok(())
}

/// `listen (2), ssl_protocols`
fn names(entries: &[&Entry]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for entry in entries {
        let name = entry.text.split(' ').next().unwrap_or_default();
        // A field is identified by its name.
        let name = match name {
            "proxy_set_header" | "add_header" | "include" => entry
                .text
                .match_indices(' ')
                .nth(1)
                .map_or(&*entry.text, |(end, _)| &entry.text[..end]),
            name => name,
        };
        match counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name, 1)),
        }
    }
    let mut shown = String::new();
    for (name, count) in counts {
        let comma = if shown.is_empty() { "" } else { ", " };
        let times = if count > 1 {
            format!(" ({count})")
        } else {
            String::new()
        };
        let _ = write!(shown, "{comma}{name}{times}");
    }
    shown
}

fn counted(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}
