//! Ending a response so that the client sees that it was cut, and still gets every byte that came before.

use std::rc::Rc;
use std::task::{Context, Poll};

use crate::client::Client;

/// A response was cut: hyper drops the connection for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the response was cut")]
pub struct Aborted;

/// An abort under way. hyper forgets what it has not flushed when a body fails, so the failure waits for the flush.
#[derive(Debug)]
pub(super) struct Abort {
    asked: bool,
}

impl Abort {
    /// To be polled until it is ready; the body then fails with the error.
    pub(super) fn new() -> Self {
        Self { asked: false }
    }

    /// Ready when what was handed to hyper has left.
    pub(super) fn poll(&mut self, cx: &Context<'_>, client: &Rc<Client>) -> Poll<Aborted> {
        if !self.asked {
            // hyper flushes between two polls of a body that is pending.
            self.asked = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if client.is_stalled() {
            return Poll::Pending; // the gate wakes this task when bytes leave
        }
        Poll::Ready(Aborted)
    }
}
