//! Values as they are written in the access log, so that none ends where it should not.

use std::fmt::Write;
use std::time::Duration;

use crate::log::push_time;

/// A longer value is cut, in bytes.
pub(super) const LONGEST_VALUE: usize = 2048;
/// The end of a truncated value.
const CUT: &str = "...";

/// Adds foreign text: bytes that are not printable ASCII, a double quote, a backslash, the character that follows the value in the
/// line, and outside of quotes a space, are escaped as `\x20`, as nginx does.
pub(super) fn push_text(text: &mut String, bytes: &[u8], until: Option<char>, is_quoted: bool) {
    let (bytes, is_cut) = cut(bytes);
    for &byte in bytes {
        let is_plain = match byte {
            b'"' | b'\\' => false,
            b' ' => is_quoted && until != Some(' '),
            b'!'..=b'~' => until != Some(char::from(byte)),
            _ => false,
        };
        if is_plain {
            text.push(char::from(byte));
        } else {
            write!(text, "\\x{byte:02x}").expect("writing to memory does not fail");
        }
    }
    if is_cut {
        text.push_str(CUT);
    }
}

/// Adds foreign text as a JSON string. Control characters are escaped, DEL and those of C1 too, which terminals obey; invalid UTF-8
/// becomes U+FFFD.
pub(super) fn push_json(text: &mut String, bytes: &[u8]) {
    let (bytes, is_cut) = cut(bytes);
    text.push('"');
    for c in String::from_utf8_lossy(bytes).chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => {
                write!(text, "\\u{:04x}", u32::from(c)).expect("writing to memory does not fail");
            }
            c => text.push(c),
        }
    }
    if is_cut {
        text.push_str(CUT);
    }
    text.push('"');
}

fn cut(bytes: &[u8]) -> (&[u8], bool) {
    match bytes.get(..LONGEST_VALUE) {
        Some(beginning) if bytes.len() > LONGEST_VALUE => (beginning, true),
        _ => (bytes, false),
    }
}

pub(super) fn push_seconds(text: &mut String, time: Duration) {
    write!(text, "{}.{:03}", time.as_secs(), time.subsec_millis())
        .expect("writing to memory does not fail");
}

/// `2022-02-15T18:47:10.821315Z`
pub(super) fn now() -> String {
    let mut time = String::with_capacity("2022-02-15T18:47:10.821315Z".len());
    push_time(&mut time).expect("writing to memory does not fail");
    time
}

/// The same as in Apache's Common Log Format: `15/Feb/2022:18:47:10 +0000`.
pub(super) fn common(time: &str) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let part = |range| time.get(range).unwrap_or_default();
    let month = part(5..7).parse::<usize>().ok();
    let month = month.and_then(|month| MONTHS.get(month.wrapping_sub(1)));
    let (year, day, clock) = (part(0..4), part(8..10), part(11..19));
    format!("{day}/{}/{year}:{clock} +0000", month.unwrap_or(&"???"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_ends_itself_or_its_line() {
        let every_byte: Vec<u8> = (0..=255).collect();
        for (until, is_quoted) in [
            (Some(' '), false),
            (Some('"'), true),
            (Some('|'), false),
            (Some(' '), true),
            (None, false),
        ] {
            let mut text = String::new();
            push_text(&mut text, &every_byte, until, is_quoted);
            assert!(
                text.bytes().all(|byte| matches!(byte, b' '..=b'~')),
                "{text}"
            );
            assert!(!text.contains('"'), "{text}");
            assert!(until.is_none_or(|until| !text.contains(until)), "{text}");
            assert_eq!(
                text.contains(' '),
                is_quoted && until != Some(' '),
                "{text}"
            );
            assert!(
                text.starts_with("\\x00\\x01") && text.contains("\\x5c]^_"),
                "{text}"
            );
        }
    }

    #[test]
    fn json_takes_every_byte() {
        let bytes: Vec<u8> = (0..=255).chain("é\u{85}\u{2028}".bytes()).collect();
        let mut text = String::new();
        push_json(&mut text, &bytes);
        let read: String = serde_json::from_str(&text).unwrap();
        assert_eq!(read, String::from_utf8_lossy(&bytes));
        assert!(!text.contains(char::is_control), "{text}");
    }

    #[test]
    fn long_values_are_cut_and_say_so() {
        let cut_to = |length: usize| {
            let mut text = String::new();
            push_text(&mut text, &vec![b'x'; length], None, false);
            text
        };
        assert_eq!(cut_to(LONGEST_VALUE), "x".repeat(LONGEST_VALUE));
        let cut = format!("{}...", "x".repeat(LONGEST_VALUE));
        assert_eq!(cut_to(LONGEST_VALUE + 1), cut);
    }

    #[test]
    fn times() {
        assert_eq!(
            common("2022-02-15T18:47:10.821315Z"),
            "15/Feb/2022:18:47:10 +0000"
        );
        assert!(!common(&now()).contains('?'));
        let mut text = String::new();
        push_seconds(&mut text, Duration::from_micros(61_023_999));
        assert_eq!(text, "61.023");
    }
}
