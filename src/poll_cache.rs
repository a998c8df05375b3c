//! What one task waits for beside much else is not polled again each time the task runs.

use std::task::{Context, Poll, Waker};

use tokio::task::coop;

/// Skips a poll whose waker is already registered.
///
/// Until that waker is woken, polling again from the same task changes nothing, and costs a hundred instructions.
#[derive(Debug, Default)]
pub struct PollCache(Option<Waker>);

impl PollCache {
    /// Whether this task polled last, and got nothing.
    #[inline]
    pub fn has(&self, cx: &Context<'_>) -> bool {
        self.0
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
    }

    /// The task has polled, with this `result`.
    pub fn note<T>(&mut self, cx: &Context<'_>, result: &Poll<T>) {
        // A task that tokio put off for the sake of others has no waker registered.
        let is_registered = result.is_pending() && coop::has_budget_remaining();
        self.0 = is_registered.then(|| cx.waker().clone());
    }
}
