//! Arrivals as marks on a time axis.

use std::time::Duration;

use super::finding::seconds;

/// How many marks a line has.
const WIDTH: usize = 60;

/// One phase, as it is drawn while it runs.
#[derive(Debug, Clone)]
pub struct Timeline {
    name: String,
    span: Duration,
    /// How many bytes each part of the span brought.
    bytes: [usize; WIDTH],
    now: Duration,
}

impl Timeline {
    /// An empty line for a phase that takes about `span`.
    pub fn new(name: &str, span: Duration) -> Self {
        Self {
            name: name.to_owned(),
            span: span.max(Duration::from_millis(1)),
            bytes: [0; WIDTH],
            now: Duration::ZERO,
        }
    }

    /// So many bytes arrived.
    pub fn mark(&mut self, at: Duration, bytes: usize) {
        let place = at.as_secs_f64() / self.span.as_secs_f64() * 60.0;
        // A phase that is longer than its span ends in the last part.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is no time before the beginning, and a float's cast saturates"
        )]
        let place = (place as usize).min(WIDTH - 1);
        self.bytes[place] += bytes;
        self.now = at;
    }

    /// It is so late.
    pub fn advance(&mut self, now: Duration) {
        self.now = now;
    }

    /// The line: `stream    |··  :··#      | 12.3 s`.
    pub fn line(&self) -> String {
        let marks: String = self.bytes.iter().map(|&bytes| mark(bytes)).collect();
        format!("{:<9} |{marks}| {}", self.name, seconds(self.now))
    }
}

/// A few events, some, and what fills a buffer.
fn mark(bytes: usize) -> char {
    match bytes {
        0 => ' ',
        1..256 => '.',
        256..2048 => ':',
        2048..4096 => '|',
        4096.. => '#',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_where_their_time_is() {
        let mut line = Timeline::new("stream", Duration::from_secs(60));
        line.mark(Duration::ZERO, 10);
        line.mark(Duration::from_millis(2_500), 300);
        line.mark(Duration::from_millis(2_900), 5_000);
        line.mark(Duration::from_secs(75), 10);
        let marks = format!("|. #{}.|", " ".repeat(56));
        assert_eq!(line.line(), format!("stream    {marks} 75 s"));
    }
}
