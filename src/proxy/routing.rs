//! Where requests go: what a new configuration replaces as a whole.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use ipnet::IpNet;

use super::route::Route;
use super::route_index::RouteIndex;
use crate::config::{self, Config};
use crate::exchange::{AccessLog, AccessSink};
use crate::http1::Limits;
use crate::metrics::Metrics;
use crate::tls::ClientConfigs;
use crate::upstream::Upstream;

/// The routes of a configuration, as one thread has them. A request keeps the one that it began with.
#[derive(Debug, Default)]
pub(super) struct Routing {
    pub(super) routes: Vec<Rc<Route>>,
    /// Where there are many.
    pub(super) index: Option<RouteIndex>,
    /// Whose word about other clients is believed.
    pub(super) trusted_proxies: Vec<IpNet>,
    pub(super) access_log: Option<AccessLog>,
}

impl Routing {
    /// The routes of `config`, whose upstreams' TLS is in `tls`. Routes with the same upstream share its connections, and one that
    /// was there `before` keeps those that it has.
    pub(super) fn new(
        config: &Config,
        tls: &ClientConfigs,
        metrics: &Metrics,
        before: &Self,
        sink: &AccessSink,
    ) -> Self {
        let known = before
            .routes
            .iter()
            .filter_map(|route| route.backend.as_ref());
        let known =
            known.map(|backend| (backend.config.upstream.clone(), backend.upstream.clone()));
        let mut upstreams: HashMap<_, Rc<Upstream>> = known.collect();
        let mut upstream_of = |config: &Arc<config::Upstream>| {
            let tls = config.tls.as_ref().and_then(|settings| tls.get(settings));
            let make = || Rc::new(Upstream::new(config.clone(), tls.cloned(), metrics));
            upstreams.entry(config.clone()).or_insert_with(make).clone()
        };
        let limits = Limits {
            bytes: config.server.max_response_head,
            fields: config.server.max_response_headers,
        };
        let routes = config
            .routes
            .iter()
            .map(|route| {
                let upstream = route.action.upstream().map(&mut upstream_of);
                Rc::new(Route::new(route.clone(), upstream, limits, metrics))
            })
            .collect();
        let access_log = config.log.access.as_ref();
        Self {
            index: RouteIndex::new(config.routes.iter().map(|route| &route.matcher)),
            routes,
            trusted_proxies: config.server.trusted_proxies.clone(),
            access_log: access_log.map(|form| AccessLog::new(form, sink.clone())),
        }
    }
}
