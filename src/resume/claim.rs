//! [`Claim`]: a request that others may turn out to be the same as.

use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::identity::Tag;
use super::kept::KeptStream;
use super::streams::Streams;

/// What has become of a request that others may be the same as.
#[derive(Debug)]
pub struct Claim {
    /// What its body said.
    body: Tag,
    began: Instant,
    state: Mutex<State>,
    /// Closed when it is decided.
    decided: Mutex<Option<watch::Sender<()>>>,
}

#[derive(Debug, Clone)]
enum State {
    /// Its answer is still to come.
    Pending,
    /// It is this stream.
    Kept(Arc<KeptStream>),
    /// There is nothing that could be shared.
    Failed,
    /// Another request has taken its place.
    Replaced,
}

/// A claim that is to be decided: dropped before, it has failed.
#[derive(Debug)]
pub struct Waiting {
    claim: Arc<Claim>,
    tag: Tag,
    streams: Arc<Streams>,
}

impl Claim {
    /// Whether this is what its request's body said.
    pub fn has_body(&self, body: &Tag) -> bool {
        self.body == *body
    }

    /// Waits until it is known what became of the request: the stream that it began, if it began one.
    pub async fn stream(&self) -> Option<Arc<KeptStream>> {
        let decided = lock(&self.decided).as_ref().map(watch::Sender::subscribe);
        if let Some(mut decided) = decided {
            let _ = decided.changed().await; // an error: the sender is gone
        }
        self.kept()
    }

    /// The stream, if there is one by now.
    pub fn kept(&self) -> Option<Arc<KeptStream>> {
        match &*lock(&self.state) {
            State::Kept(stream) => Some(stream.clone()),
            State::Pending | State::Failed | State::Replaced => None,
        }
    }

    /// Whether its answer is still to come.
    pub fn is_pending(&self) -> bool {
        matches!(&*lock(&self.state), State::Pending)
    }

    /// Waits until another request has taken its place; for ever if none does before there is an answer.
    pub async fn replaced(&self) {
        let _ = self.stream().await;
        if !matches!(&*lock(&self.state), State::Replaced) {
            pending::<()>().await;
        }
    }

    /// Whether its stream has ended.
    pub fn is_over(&self) -> bool {
        self.kept().is_some_and(|stream| stream.has_ended())
    }

    /// How long ago its request came.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Another request takes its place: what is there of it is to end.
    pub fn replace(&self) {
        if let Some(stream) = self.kept() {
            stream.stop(crate::sse::EndReason::Superseded);
        }
        self.decide(State::Replaced);
    }

    fn decide(&self, state: State) {
        {
            let mut now = lock(&self.state);
            if matches!(&*now, State::Pending) {
                *now = state;
            }
        }
        drop(lock(&self.decided).take());
    }
}

impl Waiting {
    pub(super) fn new(body: Tag, tag: Tag, streams: &Arc<Streams>) -> Self {
        let claim = Arc::new(Claim {
            body,
            began: Instant::now(),
            state: Mutex::new(State::Pending),
            decided: Mutex::new(Some(watch::Sender::new(()))),
        });
        Self {
            claim,
            tag,
            streams: streams.clone(),
        }
    }

    /// The claim, as others see it.
    pub fn claim(&self) -> &Arc<Claim> {
        &self.claim
    }

    /// By what others find it.
    pub fn tag(&self) -> Tag {
        self.tag
    }

    /// It has begun this stream.
    pub fn keep(self, stream: &Arc<KeptStream>) {
        self.claim.decide(State::Kept(stream.clone()));
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.claim.kept().is_none() {
            self.claim.decide(State::Failed);
            self.streams.release(&self.claim, self.tag);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
