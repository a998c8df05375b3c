//! What a route changes in a request and its response, decided when the request arrives.

use http::{HeaderMap, Request};

use super::cors::{self, Allowance};
use super::edits::Edits;
use super::guard::Asker;
use super::own_answer;
use super::prefix::{Replacement, WayBack};
use super::request::RequestChanges;
use super::route::{Backend, Route};
use super::values::Values;
use crate::config::Action;
use crate::upstream::Answer;

/// All of it. Most routes change nothing.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// What the route answers by itself.
    pub(super) own_answer: Option<Box<Answer>>,
    pub(super) request: RequestChanges,
    pub(super) answer: Option<Box<AnswerChanges>>,
    /// The route's own response is that to a preflight, which needs no authorization.
    pub(super) is_preflight: bool,
}

/// The edits of a response head, wherever it comes from.
#[derive(Debug)]
pub(super) struct AnswerChanges {
    back: Option<WayBack>,
    cors: Option<Allowance>,
    edits: Option<Edits>,
}

impl Changes {
    pub(super) fn of<B>(
        route: &Route,
        request: &Request<B>,
        asker: Asker<'_>,
        request_id: &str,
    ) -> Self {
        if route.changes_nothing {
            return Self::default();
        }
        let config = &route.config;
        let values = Values::of(request, asker, request_id);
        let mut changes = Self::default();
        let mut back = None;
        if let Some(backend) = &route.backend {
            let proxied = &backend.config;
            changes.request.edits = Edits::of(&proxied.request_headers, &values);
            let replacement = proxied.replace_prefix.as_ref();
            changes.request.prefix =
                replacement.map(|text| Replacement::new(values.path(), route.segments(), text));
            back = way_back(backend, changes.request.prefix.as_ref(), &values);
        }
        let allowance = config
            .cors
            .as_ref()
            .map(|cors| Allowance::of(cors, request.headers()));
        let own_answer = match (&config.action, &config.cors, &allowance) {
            (_, Some(cors), Some(allowance)) if cors::preflight(request).is_some() => {
                let head = allowance.preflight(cors, request.headers());
                Some(own_answer::answer(head, bytes::Bytes::new()))
            }
            (Action::Redirect(redirect), ..) => {
                Some(own_answer::redirect(redirect, &values, route.segments()))
            }
            (Action::Respond(respond), ..) => Some(own_answer::respond(respond)),
            (Action::Proxy(_) | Action::Files(_), ..) => None,
        };
        changes.own_answer = own_answer.map(Box::new);
        changes.is_preflight = allowance.is_some() && cors::preflight(request).is_some();
        let answer = AnswerChanges {
            back,
            cors: allowance.filter(|_| !changes.is_preflight), // which carries its own already
            edits: Edits::of(&config.response_headers, &values),
        };
        let has_any = answer.back.is_some() || answer.cors.is_some() || answer.edits.is_some();
        changes.answer = has_any.then(|| Box::new(answer));
        changes
    }
}

/// How the backend's addresses become the client's, where it has others.
fn way_back(
    backend: &Backend,
    prefix: Option<&Replacement>,
    values: &Values<'_>,
) -> Option<WayBack> {
    let host = backend.config.host.as_ref();
    if prefix.is_none() && host.is_none() {
        return None;
    }
    let own_name = host.and_then(|host| host.to_str().ok()).map(str::to_owned);
    let own_hosts = own_name.into_iter().chain([backend.authority.clone()]);
    let origin = values.host().map(|host| {
        let port = values.stated_port().map(|port| format!(":{port}"));
        let port = port.unwrap_or_default();
        format!("{}://{host}{port}", values.scheme())
    });
    Some(WayBack {
        prefix: prefix.map(Replacement::back),
        own_hosts: own_hosts.collect(),
        origin,
    })
}

impl AnswerChanges {
    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        if let Some(back) = &self.back {
            back.apply(headers);
        }
        if let Some(cors) = &self.cors {
            cors.apply(headers);
        }
        if let Some(edits) = &self.edits {
            edits.apply(headers);
        }
    }
}
