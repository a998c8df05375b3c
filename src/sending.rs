//! Requests that are sent in the background: a response may begin, and end, while the body of its request is still being sent, and
//! a response is not polled while its client accepts nothing.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::task::{JoinHandle, spawn_local};

/// Why a request was not sent whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsent {
    /// Its body broke off: it was malformed, or came too slowly.
    Body,
    /// Its client is gone. Whatever serves the client ends all that is done for it.
    Abandoned,
    /// The upstream accepts no more of it.
    Refused,
}

/// A request that is still being sent although its response has begun. Dropping it stops it.
pub struct Sending(JoinHandle<Result<(), Unsent>>);

/// A request that is still being sent although its response has ended: the upstream gets the rest of the body all the same.
/// Dropping it stops it.
#[derive(Debug)]
pub struct Remainder(Sending);

impl Sending {
    /// Runs `sent` as a task of its own.
    pub fn spawn(sent: impl Future<Output = Result<(), Unsent>> + 'static) -> Self {
        Self(spawn_local(sent))
    }

    /// Ready when the request is sent, or will not be.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        let sent = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(sent.unwrap_or(Err(Unsent::Body))) // a task that panicked
    }

    /// The response has ended.
    pub fn outlive(self) -> Remainder {
        Remainder(self)
    }
}

impl Remainder {
    /// Whether nothing is left to be done.
    pub fn is_over(&self) -> bool {
        self.0.0.is_finished()
    }

    /// Waits until nothing is left to be done.
    pub async fn over(mut self) {
        let _ = poll_fn(|cx| self.0.poll(cx)).await;
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sending")
    }
}
