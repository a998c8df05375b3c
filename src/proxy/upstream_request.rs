//! A request on its way to the upstream of its route.

use std::rc::Rc;

use http::{StatusCode, Version};

use super::guard::StreamLimit;
use super::interim;
use super::request::Outgoing;
use super::route::Route;
use crate::client::Downstream;
use crate::exchange::Progress;
use crate::upstream::{Answer, Error, Terms};

/// A request as it is about to be sent. It owns what it needs, so that its answer may come after the response has begun.
#[derive(Debug)]
pub(super) struct UpstreamRequest {
    pub(super) route: Rc<Route>,
    pub(super) outgoing: Outgoing,
    /// What its client may have no place for.
    pub(super) stream_limit: Option<StreamLimit>,
    /// What the client speaks.
    pub(super) version: Version,
    pub(super) client: Rc<dyn Downstream>,
    pub(super) progress: Progress,
}

impl UpstreamRequest {
    /// Sends the request, and waits for its answer's head. Dropping the future cancels the request.
    pub(super) async fn ask(self) -> Result<Answer, Error> {
        let Self {
            route,
            outgoing,
            stream_limit: _,
            version,
            client,
            progress,
        } = self;
        let interim = |status, headers| match &outgoing.held {
            Some(held) if status == StatusCode::CONTINUE => {
                held.release();
                client.go_on();
            }
            _ if progress.is_open() => {} // its place was before the head
            _ => interim::pass_on(status, headers, version, &*client),
        };
        let timeouts = &route.config.timeouts;
        let terms = Terms {
            detect: outgoing.detect,
            upgrades: outgoing.upgrades,
            raw_head: outgoing.raw_head,
            limits: route.limits,
            connect: timeouts.connect,
            connect_retry: timeouts.connect_retry,
            wants_events: outgoing.wants_events,
            client: &client,
            response_head: timeouts.response_head,
            request_body: &outgoing.progress,
            interim: &interim,
            phase: progress.phase(),
        };
        let answer = route.upstream.send(outgoing.request, &terms).await?;
        if let Some(handshake) = &outgoing.handshake {
            handshake.check(&answer)?;
        }
        outgoing.progress.answered(&progress);
        Ok(answer)
    }
}
