//! Where requests go: what a new configuration replaces as a whole.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use ipnet::IpNet;

use super::guard::{Authorizer, Guards};
use super::route::Route;
use super::route_index::RouteIndex;
use crate::config::{self, Config};
use crate::exchange::{AccessLog, AccessSink};
use crate::http1::Limits;
use crate::metrics::Metrics;
use crate::resume::LocalStreams;
use crate::tls::ClientConfigs;
use crate::upstream::{Pool, Upstream};

/// One thread's routes of a configuration. A request keeps those that it began with.
#[derive(Debug, Default)]
pub(super) struct Routing {
    pub(super) routes: Vec<Rc<Route>>,
    /// Where there are many.
    pub(super) index: Option<RouteIndex>,
    /// Proxies that are trusted to name their clients.
    pub(super) trusted_proxies: Vec<IpNet>,
    pub(super) access_log: Option<AccessLog>,
    /// Streams of some route outlive their clients.
    pub(super) resumes: bool,
}

impl Routing {
    /// The routes of `config`, whose upstreams' TLS is in `tls`. Routes with the same upstream share its connections, and an
    /// upstream of `before` keeps its own.
    pub(super) fn new(
        config: &Config,
        tls: &ClientConfigs,
        (guards, streams, metrics): (&Guards, &Rc<LocalStreams>, &Arc<Metrics>),
        before: &Self,
        sink: &AccessSink,
    ) -> Self {
        let pools = before
            .routes
            .iter()
            .filter_map(|route| route.backend.as_ref()?.pool.as_ref());
        let known = before.routes.iter();
        let known = known.flat_map(Route::upstreams);
        let mut upstreams: HashMap<_, Rc<Upstream>> = known.collect();
        let mut pools: Vec<Rc<Pool>> = pools.cloned().collect();
        let mut upstream_of = |config: &Arc<config::Upstream>| {
            let tls = config.tls.as_ref().and_then(|settings| tls.get(settings));
            let make = || Rc::new(Upstream::new(config.clone(), tls.cloned(), metrics));
            upstreams.entry(config.clone()).or_insert_with(make).clone()
        };
        let limits = Limits {
            bytes: config.server.max_response_head,
            fields: config.server.max_response_headers,
        };
        let routes: Vec<_> = config
            .routes
            .iter()
            .enumerate()
            .map(|(index, route)| {
                let upstream = route.action.upstream().map(&mut upstream_of);
                let mut pool_of = |balance: &Arc<config::Balance>| {
                    if let Some(known) = pools.iter().find(|pool| pool.config() == balance) {
                        return known.clone();
                    }
                    let backends = balance.backends.iter();
                    let upstreams = backends.map(|backend| upstream_of(&backend.upstream));
                    let pool = Pool::new(balance.clone(), upstreams.collect(), metrics.clone());
                    let pool = Rc::new(pool);
                    pools.push(pool.clone());
                    pool
                };
                let proxied = route.action.proxied();
                let balance = proxied.and_then(|proxied| proxied.balance.as_ref());
                let pool = balance.map(&mut pool_of);
                let guard = guards.of_route(index);
                let service = route.access.authorize.as_ref();
                let authorizer = service.map(|service| {
                    let upstream = upstream_of(&service.upstream);
                    Authorizer::new(&route.access, service.clone(), upstream, limits)
                });
                Rc::new(Route::new(
                    route.clone(),
                    upstream,
                    pool,
                    limits,
                    (guard, authorizer),
                    streams,
                    metrics,
                ))
            })
            .collect();
        let access_log = config.log.access.as_ref();
        Self {
            index: RouteIndex::new(config.routes.iter().map(|route| &route.matcher)),
            resumes: routes.iter().any(|route| route.resuming.is_some()),
            routes,
            trusted_proxies: config.server.trusted_proxies.clone(),
            access_log: access_log.map(|form| AccessLog::new(form, sink.clone())),
        }
    }
}
