//! Events in the form that both sides know: `data: `, the moment of sending as ten digits, filler, a blank line.

use std::sync::LazyLock;

use memchr::{memchr_iter, memmem};
use tokio::time::Instant;

/// The smallest event there is.
pub const SMALLEST: usize = FIELD.len() + DIGITS + 2;

const FIELD: &[u8] = b"data: ";
const DIGITS: usize = 10;

/// Microseconds since the first call.
pub fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_micros() as u64
}

/// `burst` events of `size` bytes, each a chunk of its own.
pub fn chunks(size: usize, burst: usize) -> Vec<u8> {
    let filler = "x".repeat(size - SMALLEST);
    format!("{size:x}\r\ndata: {:010}{filler}\n\n\r\n", 0)
        .repeat(burst)
        .into_bytes()
}

/// Writes the moment to the first of `chunks`.
pub fn stamp(chunks: &mut [u8]) {
    if let Some(at) = memmem::find(chunks, FIELD) {
        let mut moment = now();
        for digit in chunks[at + FIELD.len()..][..DIGITS].iter_mut().rev() {
            *digit = b'0' + (moment % 10) as u8;
            moment /= 10;
        }
    }
}

/// Counts events in the bytes of a response, framing and all.
#[derive(Debug, Default)]
pub struct Counter {
    pub count: u64,
    /// Whether the last chunk has come.
    pub ended: bool,
    last: [u8; LAST_CHUNK.len()],
}

const LAST_CHUNK: &[u8; 7] = b"\r\n0\r\n\r\n";

impl Counter {
    pub fn feed(&mut self, bytes: &[u8]) {
        let [.., mut before] = self.last;
        let mut next = 0;
        for at in memchr_iter(b'\n', bytes) {
            if at > next {
                before = bytes[at - 1];
            }
            self.count += u64::from(before == b'\n');
            before = b'\n';
            next = at + 1;
        }
        let kept = bytes.len().min(self.last.len());
        self.last.rotate_left(kept);
        let from = self.last.len() - kept;
        self.last[from..].copy_from_slice(&bytes[bytes.len() - kept..]);
        self.ended = self.last == *LAST_CHUNK;
    }
}

/// Calls `note` with the age in microseconds of each event whose moment is whole in `bytes`.
pub fn ages(bytes: &[u8], mut note: impl FnMut(u64)) {
    let now = now();
    for at in memmem::find_iter(bytes, FIELD) {
        if let Some(digits) = bytes.get(at + FIELD.len()..at + FIELD.len() + DIGITS) {
            let moment = digits
                .iter()
                .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
            note(now.saturating_sub(moment));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_count_however_they_are_cut() {
        let mut response = b"HTTP/1.1 200 OK\r\nkeep-alive: timeout=60\r\n\r\n".to_vec();
        response.extend(chunks(SMALLEST, 3));
        response.extend(b"0\r\n\r\n");
        for size in 1..=response.len() {
            let mut counter = Counter::default();
            for piece in response.chunks(size) {
                assert!(!counter.ended);
                counter.feed(piece);
            }
            assert!(counter.ended);
            assert_eq!(counter.count, 3, "in pieces of {size}");
        }
    }
}
