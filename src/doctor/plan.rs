//! What a probe sends, and when: both sides know every byte before it is sent.
//!
//! A plan travels in the query of the probe's URL as steps with dots between them: `1200q.300e20.250c`. A step is how long to
//! wait in milliseconds, a letter, and for some letters a size.

use std::fmt;
use std::time::Duration;

/// A stream of the probe's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    steps: Vec<Step>,
}

/// One thing that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// How long after the one before.
    pub wait: Duration,
    /// What.
    pub what: What,
}

/// What a step sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The request as the origin saw it: the only event whose bytes are not known before.
    Request,
    /// An event with so many bytes of filling.
    Event(usize),
    /// An event whose lines end in CR LF.
    CrLf,
    /// An event whose lines end in CR.
    Cr,
    /// An event with a type and several lines of data.
    Lines,
    /// An event with an ID.
    Id,
    /// An event with characters beyond ASCII.
    Unicode,
    /// A comment.
    Comment,
    /// The end.
    End,
}

/// A plan that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPlan {
    /// No plan at all.
    #[error("the plan is not a list of steps such as `300e20`")]
    Syntax,
    /// Longer than a probe may be.
    #[error(
        "the plan is longer than a probe may be: {MAX_STEPS} steps, {MAX_BYTES} bytes and {} seconds", MAX_DURATION.as_secs()
    )]
    TooLong,
}

/// The most steps of a plan.
const MAX_STEPS: usize = 400;
/// The most bytes of a stream.
const MAX_BYTES: usize = 512 * 1024;
/// The longest stream: an hour is the longest limit that is worth looking for, and the rest of the plan takes a while.
const MAX_DURATION: Duration = Duration::from_secs(3_900);

/// How long a person may have a stream watched, or a probe be silent.
pub const LONGEST_WATCH: Duration = Duration::from_hours(1);
/// The digits of a stamp: milliseconds are too coarse to compare with, microseconds of [`MAX_DURATION`] have ten.
pub(super) const STAMP: usize = 10;
/// The digits of a number.
pub(super) const NUMBER: usize = 4;

impl Plan {
    /// The plan whose longest silence is `silence`: first nothing, which shows a held head; then small events at uneven gaps, so
    /// that delays show; more than 32 KiB in steps, which fill any buffer; bytes that a proxy might change; the silence; and an
    /// end.
    pub fn standard(silence: Duration) -> Self {
        let mut plan = Self::rhythm();
        plan.step(silence, What::Event(20));
        plan.step(ms(300), What::Event(20));
        plan.step(ms(300), What::End);
        plan
    }

    /// The same without the silence.
    pub fn short() -> Self {
        let mut plan = Self::rhythm();
        plan.step(ms(300), What::End);
        plan
    }

    fn rhythm() -> Self {
        let mut plan = Self { steps: Vec::new() };
        plan.step(ms(1200), What::Request);
        for wait in [300, 700, 350, 900, 400, 300] {
            plan.step(ms(wait), What::Event(20));
        }
        for size in [1000; 10].into_iter().chain([4000; 6]) {
            plan.step(ms(150), What::Event(size));
        }
        plan.step(ms(500), What::Comment);
        for what in [
            What::Event(20),
            What::CrLf,
            What::Cr,
            What::Lines,
            What::Id,
            What::Unicode,
            What::Comment,
        ] {
            plan.step(ms(200), what);
        }
        plan.step(ms(400), What::Event(20));
        for _ in 0..10 {
            plan.step(ms(0), What::Event(20));
        }
        plan
    }

    /// A stream to disconnect from: it is silent from [`QUIET_FROM`](Self::QUIET_FROM) for a while, then continues.
    pub fn to_leave() -> Self {
        let mut plan = Self { steps: Vec::new() };
        for _ in 0..4 {
            plan.step(Self::QUIET_FROM / 4, What::Event(20));
        }
        plan.step(Self::QUIET, What::Event(20));
        for _ in 0..32 {
            plan.step(ms(250), What::Event(20));
        }
        plan.step(ms(250), What::End);
        plan
    }

    /// When the silence of [`to_leave`](Self::to_leave) begins.
    pub const QUIET_FROM: Duration = ms(1000);
    /// How long it lasts.
    pub const QUIET: Duration = ms(4000);

    fn step(&mut self, wait: Duration, what: What) {
        self.steps.push(Step { wait, what });
    }

    /// Its steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// How long it takes.
    pub fn duration(&self) -> Duration {
        self.steps.iter().map(|step| step.wait).sum()
    }

    /// Its longest wait.
    pub fn silence(&self) -> Duration {
        let waits = self.steps.iter().map(|step| step.wait);
        waits.max().unwrap_or_default()
    }

    /// Reads what [`Display`](fmt::Display) writes.
    pub fn parse(text: &str) -> Result<Self, BadPlan> {
        let mut plan = Self { steps: Vec::new() };
        let mut bytes = 0;
        let mut duration = Duration::ZERO;
        for part in text.split('.') {
            let step = Step::parse(part).ok_or(BadPlan::Syntax)?;
            bytes += match step.what {
                What::Event(size) => size,
                _ => 0,
            };
            duration += step.wait;
            plan.steps.push(step);
            if plan.steps.len() > MAX_STEPS || bytes > MAX_BYTES || duration > MAX_DURATION {
                return Err(BadPlan::TooLong);
            }
        }
        Ok(plan)
    }
}

impl Step {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (wait, rest) = text.split_at(digits);
        let wait = ms(wait.parse::<u32>().ok()?.into());
        let mut rest = rest.chars();
        let letter = rest.next()?;
        let size = rest.as_str();
        let what = match (letter, size) {
            ('e', size) if size.bytes().all(|byte| byte.is_ascii_digit()) => {
                What::Event(size.parse().ok().filter(|&size| size <= MAX_BYTES)?)
            }
            (letter, "") => *[
                What::Request,
                What::CrLf,
                What::Cr,
                What::Lines,
                What::Id,
                What::Unicode,
                What::Comment,
                What::End,
            ]
            .iter()
            .find(|what| what.letter() == letter)?,
            _ => return None,
        };
        Some(Self { wait, what })
    }
}

impl What {
    fn letter(self) -> char {
        match self {
            Self::Request => 'q',
            Self::Event(_) => 'e',
            Self::CrLf => 'n',
            Self::Cr => 'r',
            Self::Lines => 'l',
            Self::Id => 'i',
            Self::Unicode => 'u',
            Self::Comment => 'c',
            Self::End => 'z',
        }
    }

    /// Its bytes as the step `number`, sent `at` after the stream's begin; none for [`Request`](Self::Request) and [`End`](Self::End).
    pub fn bytes(self, number: usize, at: Duration) -> Vec<u8> {
        let at = at.as_micros();
        let stamp = format!("{number:0NUMBER$} {at:0STAMP$}");
        let text = match self {
            Self::Request | Self::End => String::new(),
            Self::Event(size) => format!("data: {stamp} {}\n\n", "x".repeat(size)),
            Self::CrLf => format!("data: {stamp} crlf\r\n\r\n"),
            Self::Cr => format!("data: {stamp} cr\r\r"),
            Self::Lines => {
                format!("event: lines\ndata: {stamp} one\ndata: two\ndata\ndata:  three\n\n")
            }
            Self::Id => format!("id: {number}\ndata: {stamp} id\n\n"),
            Self::Unicode => format!("data: {stamp} é 漢字 😀\n\n"),
            Self::Comment => format!(": {stamp} comment\n\n"),
        };
        text.into_bytes()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Step { wait, what }) in self.steps.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            write!(f, "{}{}", wait.as_millis(), what.letter())?;
            if let What::Event(size) = what {
                write!(f, "{size}")?;
            }
        }
        Ok(())
    }
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_read_as_they_are_written() {
        for plan in [
            Plan::standard(Duration::from_secs(65)),
            Plan::standard(LONGEST_WATCH),
            Plan::short(),
            Plan::to_leave(),
        ] {
            assert_eq!(Plan::parse(&plan.to_string()), Ok(plan));
        }
        let text = "1200q.300e20.0c.5z";
        assert_eq!(Plan::parse(text).unwrap().to_string(), text);
    }

    #[test]
    fn a_plan_is_bounded() {
        for bad in [
            "",
            "e20",
            "300",
            "300x",
            "300c5",
            "300e",
            "300e20.",
            "-3c",
            "9999999999c",
        ] {
            assert_eq!(Plan::parse(bad), Err(BadPlan::Syntax), "{bad}");
        }
        for long in [
            "3900001z".to_owned(),
            "3900000c.1z".to_owned(),
            vec!["0e2000"; 300].join("."),
            vec!["0c"; 401].join("."),
        ] {
            assert_eq!(Plan::parse(&long), Err(BadPlan::TooLong));
        }
        assert!(Plan::parse("3900000z").is_ok());
    }

    #[test]
    fn a_step_has_the_same_length_whenever_it_is_sent() {
        for what in [What::Event(5), What::Cr, What::Lines, What::Comment] {
            let early = what.bytes(3, Duration::ZERO);
            let late = what.bytes(3, MAX_DURATION);
            assert_eq!(early.len(), late.len());
        }
    }
}
