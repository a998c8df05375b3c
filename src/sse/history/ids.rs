//! Ids of events: ours as they are written, the backend's as they are found.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::Terminator;
use crate::sse::position::BOM;

/// Writes the line that gives an event its id, and returns how long it is.
pub(super) fn write_id(
    token: &[u8],
    sequence: u64,
    terminator: Terminator,
    buffer: &mut [u8],
) -> usize {
    let mut digits = [0; 13];
    let number = base36(sequence, &mut digits);
    let terminator: &[u8] = match terminator {
        Terminator::Lf => b"\n",
        Terminator::CrLf => b"\r\n",
        Terminator::Cr => b"\r",
    };
    let mut filled = 0;
    for part in [b"id: ", token, b".", number, terminator] {
        buffer[filled..filled + part.len()].copy_from_slice(part);
        filled += part.len();
    }
    filled
}

/// A number with the digits 0 to 9 and a to z.
pub fn base36(mut number: u64, digits: &mut [u8; 13]) -> &[u8] {
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b"0123456789abcdefghijklmnopqrstuvwxyz"[(number % 36) as usize];
        number /= 36;
        if number == 0 {
            return &digits[start..];
        }
    }
}

/// The id that a client has after `event`, if it brings one: "If the field value does not contain U+0000 NULL, then set the last event
/// ID buffer to the field value."
pub(super) fn id_of(event: &[u8]) -> Option<&[u8]> {
    let event = event.strip_prefix(&BOM).unwrap_or(event);
    let lines = event.split(|byte| matches!(byte, b'\r' | b'\n'));
    let mut values = lines.filter_map(|line| match line.strip_prefix(b"id")? {
        [] => Some(&[][..]),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    });
    let last = values.rfind(|value| !value.contains(&0))?;
    Some(last).filter(|id| !id.is_empty())
}

/// Eight bytes that stand for an id of the backend's.
pub(super) fn hash(id: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}
