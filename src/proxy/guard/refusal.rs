//! What a request gets that is not passed on.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::reason::Reason;
use crate::upstream::Error;

/// Why a request is refused, and what its client gets besides.
#[derive(Debug)]
pub(in crate::proxy) struct Refusal {
    pub(in crate::proxy) error: Error,
    /// Small here, since most requests are not refused.
    pub(in crate::proxy) more: Box<More>,
}

/// What its client gets besides the error.
#[derive(Debug, Default)]
pub(in crate::proxy) struct More {
    /// Fields of the response, besides those that each such response has.
    pub(in crate::proxy) fields: HeaderMap,
    /// The authorizing service's response, instead of the sidecar's own.
    pub(in crate::proxy) answered: Option<Answered>,
}

/// The response of the authorizing service.
#[derive(Debug)]
pub(in crate::proxy) struct Answered {
    pub(in crate::proxy) status: StatusCode,
    pub(in crate::proxy) body: Bytes,
}

impl Refusal {
    pub(super) fn new(reason: Reason) -> Self {
        Error::new(reason, None).into()
    }

    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.more.fields.insert(name, value);
        self
    }
}

impl Answered {
    pub(in crate::proxy) fn into_response(self) -> Response<Bytes> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        response
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self {
            error,
            more: Box::default(),
        }
    }
}
