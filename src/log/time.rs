//! The wall clock, as formatted in lines.

use std::cell::RefCell;
use std::fmt::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{self, FormatTime};

/// What follows the seconds of a time.
const FRACTION: usize = ".123456Z".len();

/// Adds the time, as in `2022-02-15T18:47:10.821315Z`. The calendar is looked at once a second.
pub fn push_time(line: &mut String) -> fmt::Result {
    thread_local! {
        /// The second that was written last, since 1970, and how.
        static LAST: RefCell<(Option<u64>, String)> = const { RefCell::new((None, String::new())) };
    }
    LAST.with_borrow_mut(|(second, text)| {
        let (now, microseconds) = since_1970();
        if *second != Some(now) {
            text.clear();
            time::SystemTime.format_time(&mut Writer::new(text))?;
            line.push_str(text);
            text.truncate(text.len().saturating_sub(FRACTION));
            // It has read the clock again, maybe in the next second.
            *second = Some(now).filter(|now| since_1970().0 == *now);
            return Ok(());
        }
        line.push_str(text);
        write!(line, ".{microseconds:06}Z")
    })
}

/// Seconds and microseconds. Nothing before 1970: lines then have the time of their first.
#[expect(
    clippy::disallowed_methods,
    reason = "a timestamp is of the wall clock"
)]
fn since_1970() -> (u64, u32) {
    let time = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    (time.as_secs(), time.subsec_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_that_of_the_clock() {
        let clock = || {
            let mut text = String::new();
            time::SystemTime
                .format_time(&mut Writer::new(&mut text))
                .unwrap();
            text
        };
        for _ in 0..1000 {
            let before = clock();
            let mut text = String::new();
            push_time(&mut text).unwrap();
            assert!(before <= text && text <= clock(), "{text}");
        }
    }
}
