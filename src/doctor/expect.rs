//! What a person expects of a stream, as a test: `first_event < 1s`, `events >= 10`, `not compressed`.

use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

use super::arrivals::Arrivals;
use super::finding::{Finding, seconds};
use super::observation::Observation;
use super::request::UsageError;
use super::rule::Rule;
use crate::config::duration;

/// An expectation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// As it was written.
    text: String,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// A rule that must find nothing.
    Not(Rule),
    /// A number with its bound.
    Bound(Metric, Operator, Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metric {
    Status,
    Head,
    FirstByte,
    FirstEvent,
    Gap,
    Duration,
    Events,
    Comments,
    Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Time(Duration),
    Number(u64),
}

const METRICS: [(&str, Metric); 9] = [
    ("status", Metric::Status),
    ("head", Metric::Head),
    ("first_byte", Metric::FirstByte),
    ("first_event", Metric::FirstEvent),
    ("gap", Metric::Gap),
    ("duration", Metric::Duration),
    ("events", Metric::Events),
    ("comments", Metric::Comments),
    ("bytes", Metric::Bytes),
];

/// The longer ones before those that they begin with.
const OPERATORS: [(&str, Operator); 5] = [
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("==", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

impl Expectation {
    /// Reads an expectation.
    pub fn parse(text: &str) -> Result<Self, UsageError> {
        let kind = match text.trim().strip_prefix("not ") {
            Some(name) => Kind::Not(rule(text, name.trim())?),
            None => bound(text)?,
        };
        let text = text.trim().to_owned();
        Ok(Self { text, kind })
    }

    /// The finding if what was `seen` does not meet it, given the other `findings`.
    pub fn judge(&self, seen: &Observation, findings: &[Finding]) -> Option<Finding> {
        let evidence = match &self.kind {
            Kind::Not(rule) => {
                let found = findings.iter().find(|finding| finding.rule == *rule)?;
                format!("`{self}`: {}", found.evidence)
            }
            Kind::Bound(metric, operator, bound) => {
                let value = metric.of(seen);
                match value {
                    Some(value) if operator.holds(value, *bound) => return None,
                    Some(value) => format!("`{self}`: it was {value}"),
                    None => format!("`{self}`: there was none"),
                }
            }
        };
        Some(Finding::certain(Rule::Expectation, evidence))
    }
}

fn rule(text: &str, name: &str) -> Result<Rule, UsageError> {
    Rule::named(name).ok_or_else(|| {
        let names: Vec<_> = Rule::ALL.iter().map(|rule| rule.name()).collect();
        UsageError::new(
            format!("`{text}`: nothing that can be found is called `{name}`"),
            format!("write one of {}", names.join(", ")),
        )
    })
}

fn bound(text: &str) -> Result<Kind, UsageError> {
    let bad = |what: String| {
        let names: Vec<_> = METRICS.iter().map(|(name, _)| *name).collect();
        let help = format!(
            "write such as `first_event < 1s`, `events >= 10` or `not compressed`; there is {}",
            names.join(", ")
        );
        UsageError::new(format!("`{text}`: {what}"), help)
    };
    let found = OPERATORS
        .iter()
        .find_map(|(sign, operator)| Some((text.split_once(sign)?, *operator)));
    let ((name, value), operator) = found.ok_or_else(|| bad("it has no comparison".to_owned()))?;
    let (name, value) = (name.trim(), value.trim());
    let metric = METRICS.iter().find(|(known, _)| *known == name);
    let &(_, metric) = metric.ok_or_else(|| bad(format!("`{name}` is not measured")))?;
    let value = if metric.is_time() {
        let time =
            duration(value).map_err(|error| bad(format!("`{value}` is no time: {error}")))?;
        Value::Time(time)
    } else {
        let number = value
            .parse()
            .map_err(|_| bad(format!("`{value}` is no number")))?;
        Value::Number(number)
    };
    Ok(Kind::Bound(metric, operator, value))
}

impl Metric {
    fn is_time(self) -> bool {
        matches!(
            self,
            Self::Head | Self::FirstByte | Self::FirstEvent | Self::Gap | Self::Duration
        )
    }

    fn of(self, seen: &Observation) -> Option<Value> {
        let head = seen.head.as_ref()?;
        let count = |number: usize| Value::Number(number as u64);
        Some(match self {
            Self::Status => Value::Number(head.status.as_u16().into()),
            Self::Head => Value::Time(head.at),
            Self::FirstByte => Value::Time(seen.reads.first()?.at),
            Self::FirstEvent => Value::Time(Arrivals::of(seen).events().next()?.1),
            Self::Gap => Value::Time(Arrivals::longest_gap(seen, head.at).0),
            Self::Duration => Value::Time(seen.ended),
            Self::Events => count(Arrivals::of(seen).events().count()),
            Self::Comments => count(Arrivals::of(seen).comments()),
            Self::Bytes => count(seen.body.len()),
        })
    }
}

impl Operator {
    fn holds(self, value: Value, bound: Value) -> bool {
        let order = value.cmp(&bound);
        match self {
            Self::Less => order == Ordering::Less,
            Self::LessOrEqual => order != Ordering::Greater,
            Self::Equal => order == Ordering::Equal,
            Self::GreaterOrEqual => order != Ordering::Less,
            Self::Greater => order == Ordering::Greater,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => f.write_str(&seconds(*time)),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::judge::judge_one;
    use crate::doctor::testing::{found, seen};

    #[test]
    fn what_is_met_and_what_is_not() {
        // The headers of `seen` arrive after 0.1 s, ten events from 0.5 s on, one each second.
        for (text, is_met) in [
            ("first_event < 1s", true),
            ("first_event<500ms", false),
            ("first_byte <= 500ms", true),
            ("head < 1s", true),
            ("gap < 1s", false),
            ("gap <= 1s", true),
            ("duration > 10s", true),
            ("events >= 10", true),
            ("events > 10", false),
            ("comments == 0", true),
            ("bytes == 90", true),
            ("status == 200", true),
            ("not compressed", true),
        ] {
            let expectation = Expectation::parse(text).unwrap();
            let finding = expectation.judge(&seen(), &[]);
            assert_eq!(finding.is_none(), is_met, "{text}");
        }
        let mut compressed = seen();
        compressed.add_field("content-encoding", "unknown");
        assert_ne!(found(&compressed), []);
        let expectation = Expectation::parse("not compressed").unwrap();
        let finding = expectation.judge(&compressed, &judge_one(&compressed));
        assert!(finding.unwrap().evidence.starts_with("`not compressed`: "));
        let mut empty = seen();
        empty.reads.clear();
        empty.body.clear();
        let late = Expectation::parse("first_event < 1s").unwrap();
        let finding = late.judge(&empty, &[]).unwrap();
        assert_eq!(finding.evidence, "`first_event < 1s`: there was none");
    }

    #[test]
    fn mistakes_say_what_to_write() {
        for (text, part) in [
            ("fast", "no comparison"),
            ("speed < 1s", "`speed` is not measured"),
            ("gap < 1", "no time: it has no unit"),
            ("events > many", "no number"),
            ("not good", "called `good`"),
        ] {
            let error = Expectation::parse(text).unwrap_err().to_string();
            assert!(
                error.contains(part) && error.contains("help: write"),
                "{error}"
            );
        }
    }
}
