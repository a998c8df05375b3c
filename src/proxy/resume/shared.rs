//! A request that others may turn out to be the same as: a task of its own sends it, so that it survives its client even before there
//! is an answer.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use http::response;
use tokio::task::spawn_local;

use super::keep::KeepCell;
use crate::body::EventSource;
use crate::exchange::Progress;
use crate::proxy::early::PendingAnswer;
use crate::proxy::headers::remove_hop_by_hop;
use crate::proxy::response::StreamCoding;
use crate::proxy::upstream_request::UpstreamRequest;
use crate::reason::Reason;
use crate::resume::{Left, SavedHead};
use crate::upstream::{Answer, AnswerBody, Error};

/// Between the task and whoever serves the client.
#[derive(Debug, Default)]
struct Slot {
    answer: RefCell<Option<Result<Answer, Error>>>,
    waker: RefCell<Option<Waker>>,
    /// The client has left; this is what it has left behind.
    left: RefCell<Option<Left>>,
}

/// The answer as the client waits for it. Dropping it leaves the request to the task.
#[derive(Debug)]
struct Waiting {
    slot: Rc<Slot>,
    keep: KeepCell,
    progress: Progress,
    is_done: Cell<bool>,
}

/// Sends the request by a task of its own.
pub(in crate::proxy) fn ask(
    upstream_request: UpstreamRequest,
    keep: &KeepCell,
    progress: Progress,
) -> PendingAnswer {
    let slot = Rc::new(Slot::default());
    spawn_local(run(upstream_request, slot.clone(), keep.clone()));
    Box::pin(Waiting {
        slot,
        keep: keep.clone(),
        progress,
        is_done: Cell::new(false),
    })
}

async fn run(upstream_request: UpstreamRequest, slot: Rc<Slot>, cell: KeepCell) {
    let claim = cell
        .borrow()
        .as_ref()
        .and_then(|keep| keep.claim().cloned());
    let replaced = async {
        match claim {
            Some(claim) => claim.replaced().await,
            None => pending().await,
        }
    };
    let answer = tokio::select! {
        answer = upstream_request.ask() => answer,
        () = replaced => {
            let detail = "another request has taken its place";
            Err(Error::new(Reason::DuplicateRequest, Some(detail.to_owned())))
        }
    };
    let left = slot.left.take();
    if let Some(left) = left {
        return go_on(answer, &cell, left);
    }
    *slot.answer.borrow_mut() = Some(answer);
    if let Some(waker) = slot.waker.take() {
        waker.wake();
    }
}

/// The answer has come, and the client has left.
fn go_on(answer: Result<Answer, Error>, cell: &KeepCell, left: Left) {
    let Some(keep) = cell.take() else {
        return;
    };
    if let Ok(Answer {
        head,
        body: AnswerBody::Events(source),
        ..
    }) = answer
        && let Some((saved, source)) = keepable(&head, Box::new(source))
    {
        keep.begin_unread(saved, source, left);
    }
}

/// What is kept of a stream with this `head`, if it can be.
fn keepable(
    head: &response::Parts,
    source: Box<dyn EventSource>,
) -> Option<(SavedHead, Box<dyn EventSource>)> {
    let coding = StreamCoding::of(&head.headers);
    if !head.status.is_success() || coding.is_opaque() {
        return None;
    }
    Some((saved(head), coding.decode(source)))
}

/// The head of a stream for whoever comes later, before anything is changed in it for its first client.
pub(in crate::proxy) fn saved(head: &response::Parts) -> SavedHead {
    let mut head = head.clone();
    remove_hop_by_hop(&mut head.headers);
    SavedHead::new(&head)
}

impl Future for Waiting {
    type Output = Result<Answer, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(answer) = self.slot.answer.take() {
            self.is_done.set(true);
            return Poll::Ready(answer);
        }
        *self.slot.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.is_done.get() {
            return;
        }
        let left = Left::of(&self.progress);
        match self.slot.answer.take() {
            // It came, and was never looked at.
            Some(answer) => go_on(answer, &self.keep, left),
            None => *self.slot.left.borrow_mut() = Some(left),
        }
    }
}
