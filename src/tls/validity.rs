//! From when until when a certificate is good.

use std::fmt;
use std::path::PathBuf;

use rustls::pki_types::UnixTime;

use super::der::{SEQUENCE, element, from_issuer};
use super::files::{Files, Part};
use super::settings::FileSettings;

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const DAY: i64 = 86_400;

/// A certificate that the sidecar shows: the first of its file, since clients may never look at the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its file.
    pub path: PathBuf,
    /// From when until when it is good.
    pub validity: Validity,
}

/// From when until when a certificate is good, in seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: i64,
    /// The last second.
    pub not_after: i64,
}

/// The state of a certificate at some moment; the later, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It is good, and will be for a while.
    Good,
    /// It should have been renewed.
    ExpiresSoon,
    /// It is not valid yet, or the clock is wrong.
    NotYetValid,
    /// It is no longer accepted.
    Expired,
}

/// What `settings` show of their `files`. What cannot be read is left out.
pub fn certificates(settings: &impl FileSettings, files: &Files) -> Vec<Certificate> {
    let certificate = |path: &PathBuf| {
        let chain = files.certificates(Part::Certificate, path).ok()?;
        Some(Certificate {
            path: path.clone(),
            validity: Validity::of(chain.first()?)?,
        })
    };
    let identities = settings.identities().into_iter();
    identities
        .filter_map(|identity| certificate(&identity.certificate))
        .collect()
}

/// The wall clock, in seconds since the Unix epoch.
pub fn now() -> i64 {
    i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX)
}

impl Validity {
    /// The validity of a certificate in DER; `None` if it is malformed.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let (_, _, rest) = element(from_issuer(certificate)?)?;
        let (tag, times, _) = element(rest)?;
        if tag != SEQUENCE {
            return None;
        }
        let (tag, first, rest) = element(times)?;
        let not_before = seconds(tag, first)?;
        let (tag, last, _) = element(rest)?;
        let not_after = seconds(tag, last)?;
        Some(Self {
            not_before,
            not_after,
        })
    }

    /// Its state at `now`. It expires soon within the last fifth of its life, and no more than two weeks: timely renewal happens at
    /// two thirds.
    pub fn standing(self, now: i64) -> Standing {
        let remaining = self.not_after.saturating_sub(now);
        let life = self.not_after.saturating_sub(self.not_before);
        if remaining < 0 {
            Standing::Expired
        } else if now < self.not_before {
            Standing::NotYetValid
        } else if remaining < (life / 5).min(14 * DAY) {
            Standing::ExpiresSoon
        } else {
            Standing::Good
        }
    }

    /// A complaint about it at `now`, unless it is valid.
    pub fn complaint(self, now: i64) -> Option<String> {
        let (first, last) = (Date(self.not_before), Date(self.not_after));
        match self.standing(now) {
            Standing::Good => None,
            Standing::ExpiresSoon => Some(format!("expires soon, at {last}")),
            Standing::NotYetValid => Some(format!("is not valid before {first}")),
            Standing::Expired => Some(format!("expired at {last}")),
        }
    }
}

impl Standing {
    /// As a word for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::ExpiresSoon => "expires_soon",
            Self::NotYetValid => "not_yet_valid",
            Self::Expired => "expired",
        }
    }
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`, as RFC 5280, section 4.1.2.5, has them.
fn seconds(tag: u8, text: &[u8]) -> Option<i64> {
    let digits = text.strip_suffix(b"Z")?;
    let mut pairs = digits.chunks_exact(2).map(|pair| match pair {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
            Some(i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
        }
        _ => None,
    });
    let mut next = || pairs.next().flatten();
    let year = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let year = next()?;
            year + if year < 50 { 2000 } else { 1900 }
        }
        (GENERALIZED_TIME, 14) => next()? * 100 + next()?,
        _ => return None,
    };
    let (month, day) = (next()?, next()?);
    let (hour, minute, second) = (next()?, next()?, next()?);
    let is_time = hour < 24 && minute < 60 && second <= 60;
    let is_date = (1..=12).contains(&month) && (1..=31).contains(&day);
    let time = hour * 3600 + minute * 60 + second;
    (is_date && is_time).then(|| days(year, month, day) * DAY + time)
}

/// Days since the epoch. The year begins in March here, so that the leap day is its last:
/// <https://howardhinnant.github.io/date_algorithms.html#days_from_civil>
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Seconds since the epoch as people write them, to the minute.
struct Date(i64);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (day, time) = (self.0.div_euclid(DAY), self.0.rem_euclid(DAY));
        let day = day + 719_468;
        let (era, day_of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * from_march + 2) / 5 + 1;
        let month = (from_march + 2) % 12 + 1;
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        let (hour, minute) = (time / 3600, time / 60 % 60);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(first: (i32, u8, u8), last: (i32, u8, u8)) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(first.0, first.1, first.2);
        params.not_after = date_time_ymd(last.0, last.1, last.2);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn both_forms_of_a_time_are_read() {
        for (first, last) in [
            ((1970, 1, 1), (2024, 2, 29)),
            ((1999, 12, 31), (2049, 12, 31)),
            ((2000, 3, 1), (2050, 1, 1)),
            ((2100, 2, 28), (4096, 1, 1)),
        ] {
            let seconds = |(year, month, day)| date_time_ymd(year, month, day).unix_timestamp();
            let validity = Validity::of(&certificate(first, last)).unwrap();
            assert_eq!(validity.not_before, seconds(first));
            assert_eq!(validity.not_after, seconds(last));
        }
        assert_eq!(seconds(UTC_TIME, b"700101000001Z"), Some(1));
        assert_eq!(
            seconds(GENERALIZED_TIME, b"20240229235959Z"),
            Some(1_709_251_199)
        );
    }

    #[test]
    fn what_is_no_time_is_none() {
        for (tag, text) in [
            (UTC_TIME, &b"7001010000Z"[..]),
            (UTC_TIME, b"700101000000"),
            (UTC_TIME, b"19700101000000Z"),
            (GENERALIZED_TIME, b"700101000000Z"),
            (UTC_TIME, b"7O0101000000Z"),
            (UTC_TIME, b"701301000000Z"),
            (UTC_TIME, b"700100000000Z"),
            (UTC_TIME, b"700101240000Z"),
            (4, b"700101000000Z"),
        ] {
            assert_eq!(seconds(tag, text), None, "{text:?}");
        }
    }

    #[test]
    fn no_byte_and_no_cut_panics() {
        let whole = certificate((2020, 1, 1), (2060, 1, 1));
        for length in 0..whole.len() {
            let _ = Validity::of(&whole[..length]);
            let mut changed = whole.clone();
            changed[length] ^= 0xFF;
            let _ = Validity::of(&changed);
        }
    }

    #[test]
    fn dates_are_written_as_they_were_read() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (-1, "1969-12-31 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (4_107_542_399, "2100-02-28 23:59 UTC"),
            (1_709_251_199, "2024-02-29 23:59 UTC"),
        ] {
            assert_eq!(Date(seconds).to_string(), text);
        }
    }

    #[test]
    fn soon_is_measured_by_the_life_of_a_certificate() {
        let standing = |life, remaining| {
            let validity = Validity {
                not_before: 0,
                not_after: life,
            };
            validity.standing(life - remaining)
        };
        assert_eq!(standing(90 * DAY, 15 * DAY), Standing::Good);
        assert_eq!(standing(90 * DAY, 13 * DAY), Standing::ExpiresSoon);
        assert_eq!(standing(3650 * DAY, 15 * DAY), Standing::Good);
        assert_eq!(standing(DAY, 8 * 3600), Standing::Good, "renewed daily");
        assert_eq!(standing(DAY, 4 * 3600), Standing::ExpiresSoon);
        assert_eq!(standing(DAY, 0), Standing::ExpiresSoon);
        assert_eq!(standing(DAY, -1), Standing::Expired);
        assert_eq!(standing(DAY, DAY + 1), Standing::NotYetValid);
    }
}
