//! nginx's durations and sizes, and how the sidecar's file writes the same.

/// A year, the longest duration that the sidecar's file may name.
const LONGEST_MS: u64 = 365 * 24 * 3_600_000;

/// Reads a duration as nginx does: a bare number is seconds, and `1h 30m`, `1d` and `500ms` are durations too. In milliseconds.
pub(super) fn duration(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 8] = [
        ("y", 365 * 24 * 3_600_000),
        ("M", 30 * 24 * 3_600_000),
        ("w", 7 * 24 * 3_600_000),
        ("d", 24 * 3_600_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    let mut left = UNITS.iter();
    let mut total = 0_u64;
    let mut rest = text.trim_matches(' ');
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, tail) = split_digits(rest);
        let unit_length = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_length);
        let unit = if unit.is_empty() { "s" } else { unit };
        // Behind the unit that was found: none comes twice, none before a larger one.
        let (_, milliseconds) = left.find(|(name, _)| *name == unit)?;
        total = number
            .parse::<u64>()
            .ok()?
            .checked_mul(*milliseconds)?
            .checked_add(total)?;
        rest = tail.trim_start_matches(' ');
    }
    Some(total)
}

/// Reads a size as nginx does: bytes, or with `k`, `m` or `g`.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = split_digits(text);
    let factor = match unit {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// A duration in the sidecar's notation; `off` for none, and for one that is longer than a year.
pub(super) fn written_duration(milliseconds: u64) -> String {
    if milliseconds == 0 || milliseconds > LONGEST_MS {
        return "off".to_owned();
    }
    let mut rest = milliseconds;
    let part = |(name, length): (&str, u64)| {
        let number = rest / length;
        rest %= length;
        (number > 0).then(|| format!("{number}{name}"))
    };
    [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)]
        .into_iter()
        .filter_map(part)
        .collect()
}

/// A size as the sidecar's file has it.
pub(super) fn written_size(bytes: u64) -> String {
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units
        .iter()
        .find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit))
    {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, written) in [
            ("60", Some("1m")),
            ("60000", Some("16h40m")),
            ("1d", Some("24h")),
            ("1h30m", Some("1h30m")),
            ("1h 30m", Some("1h30m")),
            ("500ms", Some("500ms")),
            ("75s", Some("1m15s")),
            ("1y", Some("8760h")),
            ("2y", Some("off")),
            ("0", Some("off")),
            ("", None),
            ("1m1h", None),
            ("1.5s", None),
            ("s", None),
            ("99999999999999999999", None),
            ("1x", None),
        ] {
            assert_eq!(
                duration(text).map(written_duration).as_deref(),
                written,
                "{text}"
            );
        }
    }

    #[test]
    fn sizes() {
        for (text, written) in [
            ("10m", Some("10MiB")),
            ("5G", Some("5GiB")),
            ("1000", Some("1000B")),
            ("2048", Some("2KiB")),
            ("1536k", Some("1536KiB")),
            ("m", None),
            ("10mb", None),
        ] {
            assert_eq!(size(text).map(written_size).as_deref(), written, "{text}");
        }
    }
}
