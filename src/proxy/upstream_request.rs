//! A request on its way to the upstream of its route.

use std::rc::Rc;

use http::{StatusCode, Version};

use super::interim;
use super::request::Outgoing;
use super::route::{Backend, Route};
use crate::client::Downstream;
use crate::exchange::Progress;
use crate::upstream::{Answer, Decision, Error, Terms};

/// A request that is about to be sent. It owns its data, so that it may outlive the start of the response.
#[derive(Debug)]
pub(super) struct UpstreamRequest {
    pub(super) route: Rc<Route>,
    pub(super) backend: Rc<Backend>,
    pub(super) outgoing: Outgoing,
    /// What the client speaks.
    pub(super) version: Version,
    pub(super) client: Rc<dyn Downstream>,
    pub(super) progress: Progress,
    /// What decides which of several upstreams gets it, where that is a hash.
    pub(super) affinity: Option<u64>,
}

impl UpstreamRequest {
    /// Sends the request, and waits for its answer's head. Dropping the future cancels the request.
    pub(super) async fn ask(self) -> Result<Answer, Error> {
        let Self {
            route,
            backend,
            outgoing,
            version,
            client,
            progress,
            affinity,
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
            other_streams: outgoing.other_streams,
            upgrades: outgoing.upgrades,
            raw_head: outgoing.raw_head,
            limits: backend.limits,
            connect: timeouts.connect,
            connect_retry: timeouts.connect_retry,
            wants_events: outgoing.wants_events,
            client: &client,
            response_head: timeouts.response_head,
            request_body: &outgoing.progress,
            interim: &interim,
            phase: progress.phase(),
        };
        let answer = match &backend.pool {
            None => backend.upstream.send(outgoing.request, &terms).await?,
            Some(pool) => {
                let infos = &backend.infos;
                let tell = |decision| match decision {
                    Decision::Asked(backend, in_flight) => {
                        progress.engage(&infos[backend], in_flight);
                    }
                    Decision::FailedOver(reason) => progress.failed_over(reason),
                };
                let sent = pool.send(outgoing.request, &terms, affinity, &tell);
                Box::pin(sent).await?
            }
        };
        if let Some(handshake) = &outgoing.handshake {
            handshake.check(&answer)?;
        }
        outgoing.progress.answered(&progress);
        Ok(answer)
    }
}
