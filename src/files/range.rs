//! Which part of a file a `Range` field asks for (RFC 9110, section 14).

use http::HeaderValue;

/// What of a file is sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it.
    Whole,
    /// `length` bytes, at least one, from `first` on.
    Part { first: u64, length: u64 },
    /// Nothing: it has no such bytes.
    Unsatisfiable,
}

/// The part of a file of `length` bytes that is requested. A field that is malformed or asks for several ranges is ignored, as is
/// allowed: only attackers ask for several. So is any range of an empty file, as some clients ask for the first bytes of whatever
/// they get.
pub(super) fn extent(field: &HeaderValue, length: u64) -> Extent {
    read(field, length).unwrap_or(Extent::Whole)
}

fn read(field: &HeaderValue, length: u64) -> Option<Extent> {
    let (unit, range) = field.to_str().ok()?.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || length == 0 {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    let part = match (first, last) {
        ("", suffix) => {
            let suffix = number(suffix)?.min(length);
            (length - suffix, suffix)
        }
        (first, "") => (number(first)?, u64::MAX),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first, last.checked_sub(first)?.saturating_add(1))
        }
    };
    Some(match part {
        (_, 0) => Extent::Unsatisfiable,
        (first, _) if first >= length => Extent::Unsatisfiable,
        (first, asked) => Extent::Part {
            first,
            length: asked.min(length - first),
        },
    })
}

/// Digits, of which there may be more than any file is long.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Extent::{Part, Unsatisfiable, Whole};
    use super::*;

    #[test]
    fn one_range_is_read_and_clipped() {
        let part = |first, length| Part { first, length };
        for (field, expected) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=0-", part(0, 10)),
            ("Bytes = 2-4 ", part(2, 3)),
            ("bytes=9-9", part(9, 1)),
            ("bytes=5-100", part(5, 5)),
            ("bytes=5-99999999999999999999999", part(5, 5)),
            ("bytes=-3", part(7, 3)),
            ("bytes=-30", part(0, 10)),
            ("bytes=10-", Unsatisfiable),
            ("bytes=10-12", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=0-0,2-3", Whole),
            ("bytes=4-2", Whole),
            ("bytes=-", Whole),
            ("bytes=", Whole),
            ("bytes", Whole),
            ("bytes=a-b", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=1 - 2", Whole),
            ("bytes=--1", Whole),
            ("lines=0-1", Whole),
            ("", Whole),
        ] {
            assert_eq!(
                extent(&HeaderValue::from_static(field), 10),
                expected,
                "{field}"
            );
        }
        for field in ["bytes=0-", "bytes=0-5", "bytes=-5"] {
            assert_eq!(
                extent(&HeaderValue::from_static(field), 0),
                Whole,
                "{field}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_part_is_inside_the_file(field in "bytes=[0-9]{0,21}-[0-9]{0,21}", length: u64) {
            if let Part { first, length: part } = extent(&HeaderValue::from_str(&field).unwrap(), length) {
                prop_assert!(part > 0 && first.checked_add(part).unwrap() <= length);
            }
        }
    }
}
