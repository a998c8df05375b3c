//! Requests that are the same: a retry joins the answer that is being given already, so that it is neither computed nor paid for twice.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request};

use super::{Call, Resuming, Scope, key};
use crate::body::Incoming;
use crate::config::{Dedupe, Second};
use crate::metrics::Deduplicated;
use crate::reason::Reason;
use crate::resume::{Claim, KeptStream, Waiting};
use crate::upstream::Error;

/// What a request turns out to be.
#[derive(Debug)]
pub(super) enum Sameness {
    /// One of its own.
    Other(Own),
    /// The one that this stream answers.
    Same(Arc<KeptStream>),
}

/// How others may turn out to be the same as it.
#[derive(Debug, Default)]
pub(super) struct Own {
    pub(super) waiting: Option<Waiting>,
    /// It has a key, with which its client can ask for the same again.
    pub(super) is_by_key: bool,
}

/// How often the SDKs that Stainless generates (OpenAI's, Anthropic's) have tried before.
const RETRIES: &str = "x-stainless-retry-count";

impl Resuming {
    pub(super) async fn sameness(
        &self,
        request: &Request<Incoming>,
        scope: &Scope,
        body: Option<&Bytes>,
        call: Call<'_>,
    ) -> Result<Sameness, Error> {
        // One with a longer body is not looked at.
        let (Some(dedupe), Some(body)) = (&self.dedupe, body) else {
            return Ok(Sameness::Other(Own::default()));
        };
        if *request.method() == Method::GET {
            return Ok(Sameness::Other(Own::default()));
        }
        let streams = self.local.streams();
        let said = streams.tag_of(&[b"body", body]);
        if let Some(key) = key::of(&dedupe.key, request, Some(body)) {
            let tag = streams.tag(&scope.identity, "idempotency", &[&key]);
            loop {
                let claim = match streams.claim(tag, said) {
                    Ok(waiting) => {
                        return Ok(Sameness::Other(Own {
                            waiting: Some(waiting),
                            is_by_key: true,
                        }));
                    }
                    Err(claim) => claim,
                };
                // The next turn of a conversation that takes the place of the one before has another body.
                let replaces = dedupe.second == Some(Second::Replace);
                if !claim.has_body(&said) && !replaces {
                    return Err(Error::new(Reason::IdempotencyKeyReused, None));
                }
                if let Some(stream) = self.second(dedupe, &claim, call).await? {
                    return Ok(Sameness::Same(stream));
                }
                // The first has come to nothing, or is to make room.
                streams.release(&claim, tag);
            }
        }
        if !scope.identity.is_known {
            return Ok(Sameness::Other(Own::default())); // two strangers may ask the same
        }
        let target = request.uri().path_and_query();
        let target = target.map_or("", |target| target.as_str());
        let parts = [
            request.method().as_str().as_bytes(),
            target.as_bytes(),
            body,
        ];
        let tag = streams.tag(&scope.identity, "same", &parts);
        if let Some(claim) = streams.claim_of(tag)
            && (is_again(dedupe, request, &claim) || is_soon(dedupe, &claim))
            && let Some(stream) = self.second(dedupe, &claim, call).await?
        {
            return Ok(Sameness::Same(stream));
        }
        Ok(Sameness::Other(Own {
            waiting: Some(streams.claim_anyway(tag, said)),
            is_by_key: false,
        }))
    }

    /// What the second request gets; `None` if that is an answer of its own.
    async fn second(
        &self,
        dedupe: &Dedupe,
        claim: &Claim,
        call: Call<'_>,
    ) -> Result<Option<Arc<KeptStream>>, Error> {
        let how = match dedupe.second {
            Some(Second::Reject) => Deduplicated::Rejected,
            Some(Second::Replace) => Deduplicated::Replaced,
            Some(Second::Join) | None => Deduplicated::Joined,
        };
        let stream = match how {
            Deduplicated::Rejected if !claim.is_over() => None,
            Deduplicated::Replaced => {
                claim.replace();
                None
            }
            Deduplicated::Joined | Deduplicated::Rejected => {
                let Some(stream) = claim.stream().await else {
                    return Ok(None);
                };
                Some(stream)
            }
        };
        self.local.streams().deduplicated(how);
        tracing::info!(
            route = &*call.route.info.route,
            request_id = call.exchange.ids().request(),
            how = how.name(),
            "request that was sent before"
        );
        match stream {
            None if how == Deduplicated::Rejected => {
                Err(Error::new(Reason::DuplicateRequest, None))
            }
            stream => Ok(stream),
        }
    }
}

/// Whether a request says that it was sent before, and nobody reads what `claim` has come to so far.
fn is_again(dedupe: &Dedupe, request: &Request<Incoming>, claim: &Claim) -> bool {
    let retries = request.headers().get(RETRIES);
    let retries = retries.and_then(|count| count.to_str().ok()?.parse::<u32>().ok());
    dedupe.retries
        && retries.is_some_and(|count| count > 0)
        && claim
            .kept()
            .map_or_else(|| claim.is_pending(), |stream| stream.is_unread())
}

/// Whether a request comes so soon after the one of `claim` that it is the same.
fn is_soon(dedupe: &Dedupe, claim: &Claim) -> bool {
    let window = dedupe.body.filter(|window| claim.age() <= *window);
    window.is_some() && (claim.is_pending() || claim.kept().is_some())
}
