//! Noticing that a worker has panicked: its thread ends, or accepts no more, and nobody takes that up again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Held by the tasks that a worker cannot do without. Dropped in a panic, it says so.
#[derive(Debug, Clone)]
pub(super) struct PanicGuard {
    failed: Arc<AtomicBool>,
}

impl PanicGuard {
    /// One that sets `failed`.
    pub(super) fn new(failed: &Arc<AtomicBool>) -> Self {
        Self {
            failed: failed.clone(),
        }
    }
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.failed.store(true, Ordering::Relaxed);
        }
    }
}
