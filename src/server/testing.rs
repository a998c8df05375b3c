//! What tests of the workers and of the admin port need.

use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;

use super::Handler;
use crate::body::Incoming;
use crate::client::Reader;

/// Answers with nothing.
#[derive(Debug)]
pub(crate) struct Silent;

impl Handler for Silent {
    type Body = Full<Bytes>;

    async fn handle(
        self: Rc<Self>,
        _: Rc<dyn Reader>,
        _: Request<Incoming>,
    ) -> Response<Self::Body> {
        Response::default()
    }
}
