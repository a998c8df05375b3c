//! The routes that a draft without errors means.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::action::{Action, Forwarded, OwnAction, Proxied};
use super::draft::{RouteDraft, Settings, Target};
use super::upstream_host::UpstreamHost;
use super::{Balance, Limits, Matcher, Route, Upstream, balance, tls};

/// The `drafts`, and the route to `fallback` after them, if the file names one.
pub(super) fn resolve(
    drafts: Vec<RouteDraft>,
    fallback: &Target,
    settings: Settings,
    folder: &Path,
) -> Vec<Route> {
    let top_limits = settings.limits.clone();
    let scope = Scope {
        folder,
        limits: &top_limits,
    };
    let mut shared = Shared::default();
    let last = shared.target(fallback, folder);
    let mut routes = Vec::with_capacity(drafts.len() + 1);
    for draft in drafts {
        let own = shared.target(&draft.upstream, folder);
        // Another upstream has another name.
        let inherited = (own.is_none()).then_some(fallback);
        let balance = balance::resolve(&draft.upstream, Some(fallback), folder);
        let host = match (draft.upstream.host, inherited) {
            (UpstreamHost::Default, Some(fallback)) => fallback.host.clone(),
            (host, _) => host,
        };
        let forwarded = draft.upstream.forwarded;
        let forwarded = forwarded.or_else(|| inherited?.forwarded);
        let target = own.or_else(|| last.clone());
        let place = Destination {
            upstream: target,
            balance,
            host,
            replace_prefix: draft.replace_prefix,
            forwarded: forwarded.unwrap_or_default(),
        };
        // `check_upstreams` saw to it that no route is lost here.
        routes.extend(route(
            &scope,
            draft.name,
            draft.matcher,
            draft.own_action.map(|action| action.below(folder)),
            place,
            draft.settings,
        ));
    }
    let place = Destination {
        upstream: last,
        balance: balance::resolve(fallback, None, folder),
        host: fallback.host.clone(),
        replace_prefix: None,
        forwarded: fallback.forwarded.unwrap_or_default(),
    };
    routes.extend(route(
        &scope,
        None,
        Matcher::default(),
        None,
        place,
        settings,
    ));
    routes
}

/// Context of the whole file.
struct Scope<'a> {
    /// Where its files are relative to.
    folder: &'a Path,
    /// The limits of the top level.
    limits: &'a Limits,
}

/// The backend of a route, unless the route answers by itself.
struct Destination {
    upstream: Option<Arc<Upstream>>,
    balance: Option<Balance>,
    host: UpstreamHost,
    replace_prefix: Option<String>,
    forwarded: Forwarded,
}

/// Equal upstreams share one instance, and so its connections.
#[derive(Default)]
struct Shared(HashMap<Upstream, Arc<Upstream>>);

impl Shared {
    fn target(&mut self, target: &Target, folder: &Path) -> Option<Arc<Upstream>> {
        let upstream = Upstream {
            address: target.address.clone()?,
            tls: tls::client(target, folder),
        };
        let known = self.0.entry(upstream);
        let shared = known.or_insert_with_key(|upstream| Arc::new(upstream.clone()));
        Some(shared.clone())
    }
}

fn route(
    scope: &Scope<'_>,
    name: Option<String>,
    matcher: Matcher,
    own_action: Option<OwnAction>,
    place: Destination,
    settings: Settings,
) -> Option<Route> {
    let Settings {
        timeouts,
        heartbeat,
        events,
        drain_streams,
        request_headers,
        response_headers,
        cors,
        access,
        limits,
        resume,
        dedupe,
    } = settings;
    let action = match own_action {
        Some(OwnAction::Redirect(redirect)) => Action::Redirect(redirect),
        Some(OwnAction::Respond(respond)) => Action::Respond(respond),
        Some(OwnAction::Files(files)) => Action::Files(files),
        None => {
            let upstream = place.upstream?;
            Action::Proxy(Proxied {
                host: place.host.resolve(&upstream.address),
                upstream,
                balance: place.balance.map(Arc::new),
                request_headers,
                replace_prefix: place.replace_prefix,
                forwarded: place.forwarded,
            })
        }
    };
    Some(Route {
        name,
        matcher,
        action,
        response_headers,
        cors,
        timeouts,
        heartbeat,
        events,
        drain_streams,
        access: access.within(scope.folder),
        has_own_limits: limits != *scope.limits,
        limits,
        resume,
        dedupe,
    })
}
