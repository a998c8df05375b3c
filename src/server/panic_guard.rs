//! Notices that a worker has panicked: its thread has ended, or no longer accepts, and nothing restarts it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Held by the tasks that a worker cannot do without. Dropped in a panic, it reports that.
#[derive(Debug, Clone)]
pub(super) struct PanicGuard {
    failed: Arc<AtomicBool>,
}

impl PanicGuard {
    /// A guard that sets `failed`.
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
