//! Who asks a route for a stream, and for which.

use http::header::{AUTHORIZATION, HeaderMap};
use http::{Method, Request};

use super::rules::Asker;
use super::{Call, Resuming};
use crate::body::Incoming;
use crate::resume::{Identity, Tag};

/// Who asks, and for what.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) identity: Identity,
    /// Identity and target, if there is an identity.
    pub(super) owner: Option<Tag>,
    pub(super) session: Option<Tag>,
    pub(super) share: Tag,
    is_mcp: bool,
}

impl Scope {
    pub(super) fn of(resuming: &Resuming, request: &Request<Incoming>, call: Call<'_>) -> Self {
        let streams = resuming.local.streams();
        let headers = request.headers();
        let route = &call.route.info.route;
        let credentials = &resuming.settings.resume.identity;
        let identity = streams.identity(route, credentials, headers);
        let target = request.uri().path_and_query();
        let target = target.map_or("", |target| target.as_str());
        let owner = || streams.tag(&identity, "target", &[target.as_bytes()]);
        let session = headers.get("mcp-session-id");
        let authorization = headers.get(AUTHORIZATION);
        let authorization = authorization.map_or(&b""[..], |value| value.as_bytes());
        let session = session.map(|session| {
            streams.tag_of(&[
                b"session",
                route.as_bytes(),
                authorization,
                session.as_bytes(),
            ])
        });
        // Who shows nothing is told apart by the address.
        let share = if identity.is_known {
            streams.tag(&identity, "share", &[])
        } else {
            let address = call.exchange.client_address().ip();
            let address = address.map_or_else(String::new, |address| address.to_string());
            streams.tag_of(&[b"address", address.as_bytes()])
        };
        Self {
            owner: identity.is_known.then(owner),
            identity,
            session,
            share,
            is_mcp: is_mcp(headers),
        }
    }

    pub(super) fn asker(&self, request: &Request<Incoming>) -> Asker {
        Asker {
            is_get: *request.method() == Method::GET,
            is_mcp: self.is_mcp,
        }
    }
}

fn is_mcp(headers: &HeaderMap) -> bool {
    headers.contains_key("mcp-session-id") || headers.contains_key("mcp-protocol-version")
}
