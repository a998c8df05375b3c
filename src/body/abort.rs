//! Ending a response so that the client sees that it was cut, and still gets every byte that came before.

use std::rc::Rc;
use std::task::{Context, Poll};

use crate::client::Downstream;

/// A body was cut: on HTTP/1 the connection is dropped for it, on HTTP/2 the stream is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body was cut")]
pub struct Aborted {
    /// The code of the reset that caused it, if there was one: a gRPC client makes its status of that.
    pub code: Option<h2::Reason>,
}

/// An abort in progress. hyper discards unflushed bytes when a body fails, so the failure waits for the flush.
#[derive(Debug)]
pub(super) struct Abort {
    asked: bool,
    aborted: Aborted,
}

impl Abort {
    /// To be polled until it is ready; the body then fails with the error.
    pub(super) fn new(code: Option<h2::Reason>) -> Self {
        Self {
            asked: false,
            aborted: Aborted { code },
        }
    }

    /// Ready when everything that was given to hyper has been sent.
    pub(super) fn poll(&mut self, cx: &Context<'_>, client: &Rc<dyn Downstream>) -> Poll<Aborted> {
        if !self.asked {
            // hyper flushes between two polls of a body that is pending.
            self.asked = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if client.is_stalled() {
            return Poll::Pending; // this task is woken when bytes leave
        }
        Poll::Ready(self.aborted)
    }
}
