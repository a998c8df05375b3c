//! Asking once: what one task waits for beside much else is not asked again at each of its turns.

use std::task::{Context, Poll, Waker};

use tokio::task::coop;

/// Whom something will wake that was asked, and had nothing to say.
///
/// Until it has, asking it again for the same task changes nothing, and costs a hundred instructions.
#[derive(Debug, Default)]
pub struct Asked(Option<Waker>);

impl Asked {
    /// Whether it was this task that asked last.
    #[inline]
    pub fn by(&self, cx: &Context<'_>) -> bool {
        self.0
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
    }

    /// The task has asked, and this is the `answer`.
    pub fn note<T>(&mut self, cx: &Context<'_>, answer: &Poll<T>) {
        // Whom tokio put off for the sake of other tasks it has not written down.
        let is_heard = answer.is_pending() && coop::has_budget_remaining();
        self.0 = is_heard.then(|| cx.waker().clone());
    }
}
