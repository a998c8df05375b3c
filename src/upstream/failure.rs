//! Why there is no response, and whether the request may be sent again.

use http::Request;

use crate::body::RequestBody;
use crate::reason::Reason;

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
#[error("{}", reason.name())]
pub struct Error {
    /// What happened.
    pub reason: Reason,
    /// Details, for a person.
    pub detail: Option<String>,
}

impl Error {
    pub(crate) fn new(reason: Reason, detail: Option<String>) -> Self {
        Self { reason, detail }
    }
}

/// Why a request got no response on one connection, and whether another attempt makes sense.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, in any combination"
)]
pub(super) struct Failed {
    pub(super) error: Error,
    /// The request, if it can be sent again.
    pub(super) request: Option<Box<Request<RequestBody>>>,
    /// Nothing of it was sent.
    pub(super) is_unsent: bool,
    /// The connection was kept or is shared, so a new one may work.
    pub(super) was_kept: bool,
    /// Nothing was received, not even an interim response.
    pub(super) is_silent: bool,
    /// The upstream closed a kept connection before it responded: it may never have seen the request.
    pub(super) is_stale: bool,
    /// The upstream has said that it did not process the request.
    pub(super) is_refused: bool,
}

impl Failed {
    /// There was no connection to send `request` on.
    pub(super) fn unsent(error: Error, request: Box<Request<RequestBody>>) -> Self {
        Self {
            request: Some(request),
            is_unsent: true,
            ..Self::from(error)
        }
    }

    /// Takes the request if it may be sent again on another connection.
    pub(super) fn take_request(&mut self) -> Option<Box<Request<RequestBody>>> {
        self.request.take_if(|request| {
            self.is_unsent && self.was_kept
                || self.is_refused
                || self.is_stale && request.method().is_idempotent()
        })
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self {
            error,
            request: None,
            is_unsent: false,
            was_kept: false,
            is_silent: false,
            is_stale: false,
            is_refused: false,
        }
    }
}
