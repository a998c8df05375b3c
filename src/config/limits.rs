//! The `[limits]` table: how much of the backend one client may have.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use http::HeaderName;

use super::file::{Table, Value};
use super::problem::Mistake;
use super::value::{number, text};
use super::written::{Keys, text as written};

/// How much of the backend one client may have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Event streams and changed protocols that are open at once.
    pub streams_per_client: Option<u32>,
    /// How often it may ask.
    pub requests_per_client: Option<Rate>,
    /// Who counts as one client.
    pub by: LimitBy,
    /// The longest body of a request, in bytes.
    pub request_body: Option<u64>,
}

/// How often something may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// So often
    pub count: NonZeroU32,
    /// in this time.
    pub period: Period,
    /// How often at once, after a pause.
    pub burst: NonZeroU32,
}

/// The time that a rate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// `s`
    Second,
    /// `m`
    Minute,
    /// `h`
    Hour,
}

/// Who counts as one client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LimitBy {
    /// An address, or for IPv6 its network of 64 bits, all of which one client may have.
    #[default]
    Client,
    /// Clients that send the same value in this field; without it, by address.
    Header(HeaderName),
}

/// More streams than any client has, and more requests in a period or at once.
const MOST: u32 = 100_000;

impl Limits {
    /// Reads the table of the whole file or of a route.
    pub(super) fn read(&mut self, table: &mut Table<'_>) {
        let Self {
            streams_per_client,
            requests_per_client,
            by,
            request_body,
        } = self;
        table.table("limits", |table| {
            table.set("streams_per_client", streams_per_client, streams);
            table.set("requests_per_client", requests_per_client, text(rate));
            table.set("by", by, text(limit_by));
            table.set("request_body", request_body, text(size));
        });
    }

    /// Its keys, as they are written.
    pub(super) fn keys(&self) -> Keys {
        let Self {
            streams_per_client,
            requests_per_client,
            by,
            request_body,
        } = self;
        let off = || written("off");
        let by = match by {
            LimitBy::Client => written("client"),
            LimitBy::Header(name) => written(format_args!("header:{name}")),
        };
        let size = |size: u64| written(written_size(size));
        vec![
            (
                "streams_per_client",
                streams_per_client.map_or_else(off, |most| most.to_string()),
            ),
            (
                "requests_per_client",
                requests_per_client.map_or_else(off, written),
            ),
            ("by", by),
            ("request_body", request_body.map_or_else(off, size)),
        ]
    }

    /// Whether clients are counted.
    pub fn counts(&self) -> bool {
        self.streams_per_client.is_some() || self.requests_per_client.is_some()
    }
}

impl Period {
    const ALL: [(Self, &'static str, u64); 3] = [
        (Self::Second, "s", 1),
        (Self::Minute, "m", 60),
        (Self::Hour, "h", 3600),
    ];

    fn row(self) -> (Self, &'static str, u64) {
        let [second, minute, hour] = Self::ALL;
        match self {
            Self::Second => second,
            Self::Minute => minute,
            Self::Hour => hour,
        }
    }

    /// How long it is.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.row().2)
    }
}

/// `10/s, burst 20`
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            count,
            period,
            burst,
        } = self;
        write!(f, "{count}/{}, burst {burst}", period.row().1)
    }
}

fn streams(value: Value<'_>) -> Result<Option<u32>, Mistake> {
    match value {
        Value::String("off") => Ok(None),
        value => number(value, 1..=MOST).map(Some),
    }
}

/// `10/s`, `30/m, burst 5`, or `off`.
fn rate(text: &str) -> Result<Option<Rate>, Mistake> {
    if text == "off" {
        return Ok(None);
    }
    let help = "write such as `\"10/s\"`, `\"30/m\"`, `\"10/s, burst 20\"`, or `\"off\"`";
    let mistake = || Mistake::new(format!("`{text}` is not a rate")).help(help);
    let number = |text: &str| {
        let number = text.parse::<u32>().ok().filter(|_| !text.starts_with('+'));
        let number = number.filter(|number| *number <= MOST);
        number.and_then(NonZeroU32::new).ok_or_else(mistake)
    };
    let mut words = text.split([' ', ',']).filter(|word| !word.is_empty());
    let (count, unit) = words
        .next()
        .and_then(|rate| rate.split_once('/'))
        .ok_or_else(mistake)?;
    if let Some(bare) = count.strip_suffix('r')
        && number(bare).is_ok()
    {
        return Err(mistake().help(format!("write `\"{bare}/{unit}\"`")));
    }
    let count = number(count)?;
    let period = Period::ALL.iter().find(|(_, name, _)| *name == unit);
    let period = period.ok_or_else(mistake)?.0;
    let burst = match (words.next(), words.next(), words.next()) {
        (None, None, None) => count,
        (Some("burst"), Some(burst), None) => number(burst)?,
        _ => return Err(mistake()),
    };
    Ok(Some(Rate {
        count,
        period,
        burst,
    }))
}

fn limit_by(text: &str) -> Result<LimitBy, Mistake> {
    let help = "write `\"client\"`, or a header such as `\"header:X-Api-Key\"`";
    if text == "client" {
        return Ok(LimitBy::Client);
    }
    let name = text.strip_prefix("header:").map(str::parse);
    match name {
        Some(Ok(name)) => Ok(LimitBy::Header(name)),
        Some(Err(_)) | None => {
            Err(Mistake::new(format!("`{text}` does not tell clients apart")).help(help))
        }
    }
}

/// The units of sizes, with their bytes.
const SIZES: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// `10MiB`, or `off`.
pub(super) fn size(text: &str) -> Result<Option<u64>, Mistake> {
    if text == "off" {
        return Ok(None);
    }
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let (unit, number) = (&text[digits.len()..], digits.parse::<u64>().ok());
    let number = number.filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let known = SIZES.iter().find(|(name, _)| *name == unit);
    if let Some((_, bytes)) = known
        && let Some(size) = number.and_then(|number| number.checked_mul(*bytes))
        && size > 0
    {
        return Ok(Some(size));
    }
    let meant = match unit.trim().to_ascii_lowercase().as_str() {
        "k" | "kb" | "kib" => "KiB",
        "g" | "gb" | "gib" => "GiB",
        "" => "B",
        _ => "MiB",
    };
    let help = match number {
        Some(0) => "write `\"off\"` for no limit".to_owned(),
        Some(number) => format!("write `\"{number}{meant}\"`; the units are B, KiB, MiB and GiB"),
        None => "write such as `\"10MiB\"`, or `\"off\"`".to_owned(),
    };
    Err(Mistake::new(format!("`{text}` is not a size")).help(help))
}

/// A size with the largest unit that leaves no rest.
pub(super) fn written_size(size: u64) -> String {
    let fitting = SIZES.iter().find(|(_, bytes)| size.is_multiple_of(*bytes));
    let (unit, bytes) = fitting.unwrap_or(&("B", 1));
    format!("{}{unit}", size / bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written() {
        for (text, expected) in [
            ("10/s", "10/s, burst 10"),
            ("30/m, burst 5", "30/m, burst 5"),
            ("1/h burst 1", "1/h, burst 1"),
        ] {
            let rate = rate(text).unwrap().unwrap();
            assert_eq!(rate.to_string(), expected);
        }
        assert_eq!(rate("off"), Ok(None));
        for text in [
            "",
            "10",
            "0/s",
            "10/d",
            "/s",
            "-1/s",
            "+1/s",
            "1/s, burst",
            "1/s, burst 0",
            "1/s, burst 2 3",
            "100001/s",
            "1/s, 2",
        ] {
            assert!(rate(text).is_err(), "{text}");
        }
        let nginx = rate("10r/s").unwrap_err();
        assert_eq!(nginx.help.unwrap(), "write `\"10/s\"`");
    }

    #[test]
    fn sizes_are_read_and_written() {
        for (text, expected) in [
            ("1B", 1),
            ("1500B", 1500),
            ("64KiB", 65_536),
            ("10MiB", 10_485_760),
            ("3GiB", 3_221_225_472),
        ] {
            assert_eq!(size(text), Ok(Some(expected)));
            assert_eq!(written_size(expected), text);
        }
        assert_eq!(size("off"), Ok(None));
        for (text, help) in [
            ("10m", Some("`\"10MiB\"`")),
            ("10 MB", None),
            ("10", Some("`\"10B\"`")),
            ("0B", Some("`\"off\"`")),
            ("", None),
            ("-1B", None),
            ("99999999999999GiB", None),
        ] {
            let said = size(text).unwrap_err().help.unwrap();
            assert!(
                help.is_none_or(|help| said.contains(help)),
                "{text}: {said}"
            );
        }
    }
}
