//! How long connecting to several upstreams may take.

use std::time::Duration;

use crate::upstream::Terms;
use crate::upstream::retry::{self, Backoff};

/// At least how many upstreams share the `connect` timeout of those that are left: the first must not use it up, nor have next to
/// nothing because there are two hundred others.
const SHARES: u32 = 4;

/// The rest of the `connect` timeout, and of the time for retries.
#[derive(Debug)]
pub(super) struct Connecting {
    left: Option<Duration>,
    again: Option<Duration>,
    backoff: Backoff,
}

impl Connecting {
    pub(super) fn new(terms: &Terms<'_>) -> Self {
        Self {
            left: terms.connect,
            again: retry::patience(terms),
            backoff: Backoff::default(),
        }
    }

    /// How long the next attempt has, with `left` to go.
    pub(super) fn share(&self, left: usize) -> Option<Duration> {
        let shares = u32::try_from(left).unwrap_or(u32::MAX).clamp(1, SHARES);
        self.left.map(|time| time / shares)
    }

    pub(super) fn spend(&mut self, time: Duration) {
        self.left = self.left.map(|left| left.saturating_sub(time));
        self.again = self.again.map(|again| again.saturating_sub(time));
    }

    /// How long to wait before all of them are tried once more; `None` if the time for that is over.
    pub(super) fn pause(&mut self) -> Option<Duration> {
        let again = self.again.filter(|again| !again.is_zero())?;
        Some(self.backoff.next().min(again))
    }
}
