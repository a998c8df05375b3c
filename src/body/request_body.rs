//! A request's body on its way to the upstream, under its own timeout.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::{Aborted, Broken, Incoming};
use crate::alarm::Alarm;
use crate::exchange::{Progress, WeakProgress};
use crate::reason::Reason;
use crate::sending::Unsent;

/// A request's body.
pub struct RequestBody {
    /// `None` where there is none.
    incoming: Option<Incoming>,
    progress: Rc<RequestBodyProgress>,
    /// The `request_body` timeout, which runs until the response begins.
    timeout: Option<Duration>,
    alarm: Alarm,
    /// How much more of it may come, in bytes.
    room: u64,
    /// What the client is not to be asked for yet.
    hold: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

/// A client that waits to be asked for its request's body.
#[derive(Debug, Default)]
pub struct Hold {
    /// The upstream has asked for it.
    wanted: Notify,
    /// The client is asked.
    over: Notify,
}

impl Hold {
    /// The upstream asks for the body.
    pub fn release(&self) {
        self.wanted.notify_one();
    }

    /// Waits until the client is being asked. There must be only one such waiter.
    pub async fn over(&self) {
        self.over.notified().await;
    }
}

/// How long an upstream may take to send `100 Continue` before the client is asked without it: many never do (RFC 9110, section
/// 10.1.1: a client that waits "SHOULD NOT wait for an indefinite period").
const CONTINUE_PATIENCE: Duration = Duration::from_secs(1);

/// The progress of a request's body while it is sent.
#[derive(Debug)]
pub struct RequestBodyProgress {
    empty: bool,
    done: Cell<bool>,
    /// Whether the client's next bytes are waited for, rather than the upstream that takes none.
    waiting_for_client: Cell<bool>,
    /// When that last changed, or bytes last passed.
    moved: Cell<Instant>,
    failure: Cell<Option<Reason>>,
    /// The response that has begun: the rest of the request may take its time from then on, as in a gRPC call.
    response: RefCell<Option<WeakProgress>>,
    /// The first bytes, kept to see what was asked.
    kept: RefCell<Vec<u8>>,
    keep: Cell<usize>,
    /// How long the whole body is, if it says so.
    length: Option<u64>,
}

impl RequestBody {
    /// The body `incoming`, which may pause for `timeout`. Its first `keep` bytes are kept.
    pub fn new(
        incoming: Incoming,
        timeout: Option<Duration>,
        keep: usize,
    ) -> (Self, Rc<RequestBodyProgress>) {
        let empty = incoming.is_end_stream();
        let length = incoming.size_hint().exact();
        let progress = Rc::new(RequestBodyProgress::new(empty, keep, length));
        let incoming = Some(incoming).filter(|_| !empty);
        (
            Self {
                incoming,
                progress: progress.clone(),
                timeout,
                alarm: Alarm::default(),
                room: u64::MAX,
                hold: None,
            },
            progress,
        )
    }

    /// No body.
    pub fn empty() -> Self {
        Self {
            incoming: None,
            progress: Rc::new(RequestBodyProgress::new(true, 0, Some(0))),
            timeout: None,
            alarm: Alarm::default(),
            room: u64::MAX,
            hold: None,
        }
    }

    /// No more than so many bytes may come.
    pub fn limit(&mut self, most: u64) {
        self.room = most;
    }

    /// The client waits to be asked for its body (`Expect: 100-continue`), which hyper does as soon as it is read. So it is not
    /// read before the upstream has asked for it: then the returned one is to be released.
    pub fn hold(&mut self) -> Rc<Hold> {
        let hold = Rc::new(Hold::default());
        let waits = hold.clone();
        self.hold = Some(Box::pin(async move {
            let _ = timeout(CONTINUE_PATIENCE, waits.wanted.notified()).await;
            waits.over.notify_one();
        }));
        hold
    }

    /// Whether all of it is kept while it passes, so that it can be sent once more.
    pub fn is_repeatable(&self) -> bool {
        let progress = &self.progress;
        progress.empty
            || progress
                .length
                .is_some_and(|length| length <= progress.keep.get() as u64)
    }

    /// Why this body broke off, as `unsent` says that it did.
    pub fn why(&self, unsent: Unsent) -> Unsent {
        match unsent {
            Unsent::Body if self.progress.failure.get().is_none() => Unsent::Abandoned,
            unsent => unsent,
        }
    }

    fn fail(&mut self, reason: Reason) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        self.progress.failure.set(Some(reason));
        self.incoming = None;
        Poll::Ready(Some(Err(Aborted { code: None })))
    }
}

impl RequestBodyProgress {
    /// For a body that is not read.
    pub fn of_none() -> Rc<Self> {
        Rc::new(Self::new(true, 0, Some(0)))
    }

    fn new(empty: bool, keep: usize, length: Option<u64>) -> Self {
        Self {
            empty,
            done: Cell::new(empty),
            waiting_for_client: Cell::new(!empty),
            moved: Cell::new(Instant::now()),
            failure: Cell::new(None),
            response: RefCell::new(None),
            kept: RefCell::default(),
            keep: Cell::new(keep),
            length,
        }
    }

    /// Whether the request has no body.
    pub fn is_empty(&self) -> bool {
        self.empty
    }

    /// Whether all of the body has been passed on.
    pub fn is_done(&self) -> bool {
        self.done.get()
    }

    /// Why the body broke off, if it did other than by its client's leaving.
    pub fn failure(&self) -> Option<Reason> {
        self.failure.get()
    }

    /// The response has begun. Until it has ended, the timeout does not run: nothing waits for the rest of the body that could
    /// report it to the client.
    pub fn answered(&self, response: &Progress) {
        *self.response.borrow_mut() = Some(response.downgrade());
    }

    fn is_being_answered(&self) -> bool {
        let response = self.response.borrow();
        response.as_ref().is_some_and(WeakProgress::is_alive)
    }

    /// Since when it is the upstream that is waited for; `None` while the client's next bytes are.
    pub fn waiting_for_upstream_since(&self) -> Option<Instant> {
        Some(self.moved.get()).filter(|_| !self.waiting_for_client.get())
    }

    /// The request is about to be sent, perhaps again: from now on the upstream is waited for, unless the client is.
    pub fn restart(&self) {
        if !self.waiting_for_client.get() {
            self.moved.set(Instant::now());
        }
    }

    /// The same body once more, if all of it has passed and was kept.
    pub fn again(self: &Rc<Self>) -> Option<RequestBody> {
        if self.empty {
            return Some(RequestBody::empty());
        }
        let kept = self.kept.borrow();
        if !self.done.get() || self.length != Some(kept.len() as u64) {
            return None;
        }
        self.keep.set(kept.len()); // it is not kept twice
        Some(RequestBody {
            incoming: Some(Incoming::Kept(Bytes::copy_from_slice(&kept))),
            progress: self.clone(),
            timeout: None,
            alarm: Alarm::default(),
            room: u64::MAX,
            hold: None,
        })
    }

    /// The body's first bytes, as far as they were to be kept.
    pub fn take_kept(&self) -> Vec<u8> {
        self.kept.take()
    }

    fn moved(&self, bytes: &[u8]) {
        self.moved.set(Instant::now());
        self.waiting_for_client.set(false);
        let mut kept = self.kept.borrow_mut();
        let left = self.keep.get().saturating_sub(kept.len()).min(bytes.len());
        kept.extend_from_slice(&bytes[..left]);
    }

    fn finished(&self) {
        self.moved(&[]);
        self.done.set(true);
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let request_body = &mut *self;
        if let Some(hold) = &mut request_body.hold {
            ready!(hold.as_mut().poll(cx));
            request_body.hold = None;
        }
        let Some(incoming) = &mut request_body.incoming else {
            return Poll::Ready(None);
        };
        match Pin::new(incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                let Some(room) = request_body.room.checked_sub(length) else {
                    return request_body.fail(Reason::RequestBodyTooLarge);
                };
                request_body.room = room;
                request_body
                    .progress
                    .moved(frame.data_ref().map_or(&[], Bytes::as_ref));
                if frame.is_trailers() || request_body.is_end_stream() {
                    request_body.progress.finished();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(Broken::Failed | Broken::File))) => {
                request_body.fail(Reason::RequestBodyFailed)
            }
            Poll::Ready(Some(Err(Broken::Closed | Broken::Reset(_)))) => {
                request_body.incoming = None;
                Poll::Ready(Some(Err(Aborted { code: None })))
            }
            Poll::Ready(None) => {
                request_body.progress.finished();
                request_body.incoming = None;
                Poll::Ready(None)
            }
            Poll::Pending => {
                if !request_body.progress.waiting_for_client.replace(true) {
                    request_body.progress.moved.set(Instant::now());
                }
                let Some(timeout) = request_body.timeout else {
                    return Poll::Pending;
                };
                ready!(
                    request_body
                        .alarm
                        .poll(cx, request_body.progress.moved.get() + timeout)
                );
                if !request_body.progress.is_being_answered() {
                    return request_body.fail(Reason::RequestBodyTimeout);
                }
                let now = Instant::now();
                request_body.progress.moved.set(now);
                request_body.alarm.poll(cx, now + timeout).map(|()| None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody")
            .field("incoming", &self.incoming)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}
