//! What is known of a request that has passed its guard.

use super::counted::StreamLimit;

/// What follows from the checks.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Passed {
    /// The client may have no place for another stream.
    pub(in crate::proxy) stream_limit: Option<StreamLimit>,
}
