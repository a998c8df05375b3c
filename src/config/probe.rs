//! The end of a chain that `sse-sidecar doctor` measures.

use std::fmt;

/// Streams for `sse-sidecar doctor --probe`.
#[derive(Clone, PartialEq, Eq)]
pub struct Probe {
    /// Their path, in its normal form ([`normal_path`](super::normal_path)).
    pub path: String,
    /// Requests with this token are probes; all others are handled as if there were none.
    pub token: String,
}

/// The token is a secret.
impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
