//! How far a thread's shutdown has come, and the connections that must hear of it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::task::{Context, Waker};

use tokio::time::Instant;

/// How far the shutdown has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Not begun.
    Running,
    /// No new requests; open ones finish.
    Draining {
        /// When they have to be done.
        until: Instant,
    },
    /// Whatever is still open ends now.
    Cutting,
}

/// The connections of one thread.
#[derive(Debug)]
pub struct ShutdownWatch {
    stage: Cell<Stage>,
    connections: RefCell<HashMap<u64, Waker>>,
    next: Cell<u64>,
}

/// A connection's registration with its [`ShutdownWatch`], until it is dropped.
#[derive(Debug)]
pub(super) struct Registration<'a> {
    shutdown: &'a ShutdownWatch,
    id: Option<u64>,
}

impl ShutdownWatch {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            stage: Cell::new(Stage::Running),
            connections: RefCell::default(),
            next: Cell::new(0),
        }
    }

    /// How far the shutdown has come.
    pub fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// The shutdown has come so far: every connection is woken to see it.
    pub fn enter(&self, stage: Stage) {
        self.stage.set(stage);
        self.wake();
    }

    /// Wakes every connection, to look at what has changed.
    pub fn wake(&self) {
        for waker in self.connections.borrow().values() {
            waker.wake_by_ref();
        }
    }

    /// How many connections there are.
    #[cfg(test)]
    pub(super) fn connections(&self) -> usize {
        self.connections.borrow().len()
    }

    pub(super) fn register(&self) -> Registration<'_> {
        Registration {
            shutdown: self,
            id: None,
        }
    }
}

impl Default for ShutdownWatch {
    fn default() -> Self {
        Self::new()
    }
}

impl Registration<'_> {
    /// To be called from the connection's task, whose waker never changes.
    pub(super) fn update(&mut self, cx: &Context<'_>) {
        if self.id.is_none() {
            let id = self.shutdown.next.get();
            self.shutdown.next.set(id + 1);
            self.shutdown
                .connections
                .borrow_mut()
                .insert(id, cx.waker().clone());
            self.id = Some(id);
        }
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.shutdown.connections.borrow_mut().remove(&id);
        }
    }
}
