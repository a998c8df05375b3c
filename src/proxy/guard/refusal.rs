//! What a request gets that is not passed on.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::reason::Reason;
use crate::upstream::Error;

/// Why a request is not passed on, and what its client is told besides.
#[derive(Debug)]
pub(in crate::proxy) struct Refusal {
    pub(in crate::proxy) error: Error,
    /// Fields of the response, besides those that each such response has.
    pub(in crate::proxy) fields: HeaderMap,
}

impl Refusal {
    pub(super) fn new(reason: Reason) -> Self {
        Error::new(reason, None).into()
    }

    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.fields.insert(name, value);
        self
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self {
            error,
            fields: HeaderMap::new(),
        }
    }
}
