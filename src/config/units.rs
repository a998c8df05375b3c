//! Durations as they are written: `"250ms"`, `"15s"`, `"5m"`, `"1h"`, `"1m30s"`.
//!
//! ```text
//! duration = [ number "h" ] [ number "m" ] [ number "s" ] [ number "ms" ]     ; at least one, not all zero, at most a year
//! number   = 1*DIGIT
//! ```

use std::time::Duration;

/// The units in the order they must be written, with their milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// What people write elsewhere.
const OTHER_UNITS: [(&[&str], &str); 4] = [
    (&["hour", "hours", "hr", "hrs"], "h"),
    (&["min", "mins", "minute", "minutes"], "m"),
    (&["sec", "secs", "second", "seconds"], "s"),
    (
        &["msec", "msecs", "millis", "millisecond", "milliseconds"],
        "ms",
    ),
];

/// A year in milliseconds. Any longer is `"off"` in disguise, and any point in time can carry it without overflow.
const LONGEST: u64 = 365 * 24 * 3_600_000;

/// Why something is not a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum DurationError {
    #[error("it is empty")]
    Empty,
    #[error("a number must come before each unit")]
    NoNumber,
    #[error("it has no unit")]
    NoUnit,
    #[error("the units are `h`, `m`, `s` and `ms`")]
    UnknownUnit,
    #[error("the larger unit comes first, and each only once")]
    Order,
    #[error("it is zero")]
    Zero,
    #[error("it is longer than a year")]
    TooLong,
}

/// Reads a duration: more than zero, at most a year.
pub fn duration(text: &str) -> Result<Duration, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    let mut units = UNITS.iter();
    let mut total = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, tail) = split_where(rest, |c| !c.is_ascii_digit());
        let (unit, tail) = split_where(tail, |c| c.is_ascii_digit());
        if number.is_empty() {
            return Err(DurationError::NoNumber);
        }
        if unit.is_empty() {
            return Err(DurationError::NoUnit);
        }
        // The iterator continues after the unit it found: none comes twice, none before a larger one.
        let Some((_, milliseconds)) = units.find(|(name, _)| *name == unit) else {
            let known = UNITS.iter().any(|(name, _)| *name == unit);
            return Err(if known {
                DurationError::Order
            } else {
                DurationError::UnknownUnit
            });
        };
        total = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*milliseconds)?.checked_add(total))
            .filter(|total| *total <= LONGEST)
            .ok_or(DurationError::TooLong)?;
        rest = tail;
    }
    if total == 0 {
        return Err(DurationError::Zero);
    }
    Ok(Duration::from_millis(total))
}

/// The duration that was probably meant by something that is none: `15 seconds`, `15S`, `15`.
pub(super) fn nearest_duration(text: &str) -> Option<String> {
    let mut meant = String::new();
    let text: String = text.to_lowercase().split_whitespace().collect();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (number, tail) = split_where(rest, |c| !c.is_ascii_digit());
        let (unit, tail) = split_where(tail, |c| c.is_ascii_digit());
        let unit = if unit.is_empty() { "s" } else { unit };
        let other = OTHER_UNITS.iter().find(|(names, _)| names.contains(&unit));
        meant.push_str(number);
        meant.push_str(other.map_or(unit, |(_, name)| name));
        rest = tail;
    }
    duration(&meant).is_ok().then_some(meant)
}

/// A duration as it would be written in the file, to the millisecond.
pub(super) fn written(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    let part = |(name, milliseconds): (&str, u64)| {
        let number = rest / u128::from(milliseconds);
        rest %= u128::from(milliseconds);
        (number > 0).then(|| format!("{number}{name}"))
    };
    UNITS.into_iter().filter_map(part).collect()
}

/// Splits before the first character that `is_border`.
fn split_where(text: &str, is_border: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(is_border).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_unit_and_their_sum() {
        for (text, milliseconds) in [
            ("250ms", 250),
            ("15s", 15_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1m30s", 90_000),
            ("1h2m3s4ms", 3_723_004),
            ("90s", 90_000),
            ("0m1s", 1_000),
            ("8760h", LONGEST),
        ] {
            assert_eq!(
                duration(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn everything_else_is_refused_for_its_reason() {
        for (text, error) in [
            ("", DurationError::Empty),
            ("15", DurationError::NoUnit),
            ("1m30", DurationError::NoUnit),
            ("s", DurationError::NoNumber),
            ("-1s", DurationError::NoNumber),
            (" 15s", DurationError::NoNumber),
            ("15 s", DurationError::UnknownUnit),
            ("15s ", DurationError::UnknownUnit),
            ("15S", DurationError::UnknownUnit),
            ("1.5s", DurationError::UnknownUnit),
            ("1d", DurationError::UnknownUnit),
            ("1µs", DurationError::UnknownUnit),
            ("٣s", DurationError::NoNumber),
            ("30s1m", DurationError::Order),
            ("1s1s", DurationError::Order),
            ("0s", DurationError::Zero),
            ("0h0ms", DurationError::Zero),
            ("8760h1ms", DurationError::TooLong),
            ("99999999999999999999s", DurationError::TooLong),
            ("18446744073709551615h", DurationError::TooLong),
        ] {
            assert_eq!(duration(text), Err(error), "{text}");
        }
    }

    #[test]
    fn what_was_meant() {
        for (text, meant) in [
            ("15", Some("15s")),
            ("15 seconds", Some("15s")),
            ("1 min 30 sec", Some("1m30s")),
            ("15S", Some("15s")),
            ("1.5s", None),
            ("soon", None),
            ("0", None),
        ] {
            assert_eq!(nearest_duration(text).as_deref(), meant, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(milliseconds in 1..=LONGEST) {
            let expected = Duration::from_millis(milliseconds);
            prop_assert_eq!(duration(&written(expected)), Ok(expected));
        }

        #[test]
        fn no_text_panics(text in "[0-9a-z .]{0,12}|\\PC{0,12}") {
            let _ = duration(&text);
            let _ = nearest_duration(&text);
        }
    }
}
