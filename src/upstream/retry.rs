//! Connecting again: an upstream that restarts refuses connections for a moment, and nothing of a request has been sent by then.

use std::time::Duration;

use super::Terms;
use crate::config::ConnectRetry;
use crate::reason::Reason;

/// How long requests that do not ask for events wait for an upstream that may be down.
const BRIEF: Duration = Duration::from_secs(1);
/// A year: any point in time can carry it.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The pauses between attempts: each about twice as long as the one before.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Backoff {
    /// How long to wait before the next attempt; varied, so that requests which failed together do not come back together.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.0.mul_f64(0.75 + 0.5 * fastrand::f64());
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
        pause
    }
}

/// How long connecting is retried for such a request; `None` is never.
pub(super) fn patience(terms: &Terms<'_>) -> Option<Duration> {
    let patience = match terms.connect_retry {
        ConnectRetry::Off => return None,
        ConnectRetry::For(time) => time,
        // A browser's `EventSource` never comes back after an error status (WHATWG HTML, section 9.2.3).
        ConnectRetry::Auto if terms.wants_events => terms.connect.unwrap_or(FOREVER),
        ConnectRetry::Auto => BRIEF,
    };
    Some(patience.min(terms.connect.unwrap_or(FOREVER)))
}

/// Whether the same may work in a moment.
pub(super) fn is_worthwhile(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::UpstreamUnreachable | Reason::UpstreamUnresolved
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..20).map(|_| backoff.next()).collect();
        assert!(pauses[0] < FIRST_PAUSE.mul_f64(1.3));
        assert!(pauses[19] > LONGEST_PAUSE.mul_f64(0.7));
        assert!(
            pauses
                .iter()
                .all(|&pause| pause < LONGEST_PAUSE.mul_f64(1.3))
        );
    }
}
