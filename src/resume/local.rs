//! [`LocalStreams`]: the kept streams whose upstreams are read on this thread.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::detached::{Detached, Left};
use super::kept::KeptStream;
use super::streams::Streams;
use crate::body::EventSource;
use crate::config::DrainStreams;
use crate::sse::{EndReason, UpstreamEnd};

/// What one thread does for kept streams whose clients are away.
#[derive(Debug)]
pub struct LocalStreams {
    streams: Arc<Streams>,
    /// Those without a client of this thread's that reads their upstream.
    detached: RefCell<Vec<Arc<KeptStream>>>,
    stage: Cell<Stage>,
    /// One of them is over.
    parted: Notify,
}

/// How far the shutdown has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    Draining,
    Cutting,
}

/// A detached stream's place on the list.
struct Guard {
    local: Rc<LocalStreams>,
    stream: Arc<KeptStream>,
}

impl LocalStreams {
    /// None so far.
    pub fn new(streams: &Arc<Streams>) -> Rc<Self> {
        Rc::new(Self {
            streams: streams.clone(),
            detached: RefCell::default(),
            stage: Cell::new(Stage::Running),
            parted: Notify::new(),
        })
    }

    /// Those of the whole process.
    pub fn streams(&self) -> &Arc<Streams> {
        &self.streams
    }

    /// The process drains: no client comes back to this one.
    pub fn drain(&self) {
        self.enter(Stage::Draining);
    }

    /// What is left ends now.
    pub fn cut(&self) {
        self.enter(Stage::Cutting);
    }

    fn enter(&self, stage: Stage) {
        self.stage.set(stage);
        for stream in self.detached.borrow().iter() {
            stream.lock().wake_driver();
        }
    }

    /// Waits until no upstream is read here any more for a client that is away.
    pub async fn idle(&self) {
        while !self.is_idle() {
            self.parted.notified().await;
        }
    }

    /// Whether that is so.
    pub fn is_idle(&self) -> bool {
        self.detached.borrow().is_empty()
    }

    /// Why a detached stream is to end, as far as the process goes.
    pub(super) fn verdict(&self, stream: &KeptStream) -> Option<EndReason> {
        match self.stage.get() {
            Stage::Running => None,
            Stage::Draining => {
                let rotates = stream.origin().settings.drain_streams == DrainStreams::Rotate;
                rotates.then_some(EndReason::Rotated)
            }
            Stage::Cutting => Some(EndReason::Shutdown),
        }
    }

    /// Has `stream`, which begins after its client has left, go on without one.
    pub fn begin_unread(
        self: &Rc<Self>,
        stream: Arc<KeptStream>,
        source: Box<dyn EventSource>,
        left: Left,
    ) {
        stream.begin_unread();
        self.run(Detached::new(stream, source, self, left));
    }

    /// Has `detached` go on without a client.
    pub(super) fn run(self: &Rc<Self>, detached: Detached) {
        if Handle::try_current().is_err() {
            return; // the thread ends
        }
        let stream = detached.stream().clone();
        self.detached.borrow_mut().push(stream.clone());
        let guard = Guard {
            local: self.clone(),
            stream,
        };
        spawn_local(async move {
            detached.await;
            drop(guard);
        });
    }

    /// The upstream's part of `stream` is over: from now on its history is kept for its time.
    pub(super) fn ended(self: &Rc<Self>, stream: &Arc<KeptStream>, end: UpstreamEnd) {
        if !stream.end(end) {
            return;
        }
        self.streams.ended(stream);
        let keep = stream.origin().settings.resume.keep;
        if keep.is_zero() || Handle::try_current().is_err() {
            return self.streams.remove(stream);
        }
        let (streams, stream) = (self.streams.clone(), Arc::downgrade(stream));
        spawn_local(async move {
            sleep(keep).await;
            if let Some(stream) = stream.upgrade() {
                streams.remove(&stream);
            }
        });
    }

    /// Nobody can come back for `stream`.
    pub(super) fn forget(&self, stream: &Arc<KeptStream>) {
        stream.end(UpstreamEnd::Judged(EndReason::GraceOver));
        self.streams.remove(stream);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut detached = self.local.detached.borrow_mut();
        if let Some(index) = detached
            .iter()
            .position(|one| Arc::ptr_eq(one, &self.stream))
        {
            detached.swap_remove(index);
        }
        self.local.parted.notify_one();
    }
}
