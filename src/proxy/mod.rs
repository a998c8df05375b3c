//! The way of a request: [`Proxy::handle`] tells it from top to bottom.

mod authority;
mod deliver;
mod forwarded;
mod headers;
mod interim;
mod relay;
mod request;
mod response;
mod route;
mod upgrade;

use std::collections::HashMap;
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use ipnet::IpNet;

use self::deliver::{Asked, Delivery};
use self::route::Route;
use crate::body::{Incoming, ResponseBody, UploadProgress};
use crate::client::Reader;
use crate::config::{self, Config};
use crate::exchange::Exchange;
use crate::metrics::Metrics;
use crate::problem;
use crate::reason::Reason;
use crate::server::Handler;
use crate::tls::ClientConfigs;
use crate::upstream::{Answer, Error, Terms, Upstream};

/// The proxy as one thread sees it.
#[derive(Debug)]
pub struct Proxy {
    routes: Vec<Route>,
    /// Whose word about other clients is believed.
    trusted_proxies: Vec<IpNet>,
    metrics: Arc<Metrics>,
}

impl Proxy {
    /// A proxy for the routes of `config`, whose upstreams' TLS is in `tls`. Routes with the same upstream share its connections.
    pub fn new(config: &Config, tls: &ClientConfigs, metrics: &Arc<Metrics>) -> Self {
        let mut upstreams: HashMap<_, Rc<Upstream>> = HashMap::new();
        let mut upstream_of = |config: &Arc<config::Upstream>| {
            let tls = config.tls.as_ref().and_then(|settings| tls.get(settings));
            let make = || Rc::new(Upstream::new(config.clone(), tls.cloned(), metrics.clone()));
            upstreams.entry(config.clone()).or_insert_with(make).clone()
        };
        let routes = config
            .routes
            .iter()
            .map(|route| Route::new(route.clone(), upstream_of(&route.upstream)))
            .collect();
        let trusted_proxies = config.server.trusted_proxies.clone();
        Self {
            routes,
            trusted_proxies,
            metrics: metrics.clone(),
        }
    }

    /// Sends a request to the upstream of its route, and returns what comes back.
    async fn ask(
        &self,
        request: Request<Incoming>,
        client: &dyn Reader,
        exchange: &mut Exchange,
    ) -> Result<(&Route, Answer, Rc<UploadProgress>), Error> {
        request::check(&request)?;
        let route =
            route::find(&self.routes, &request).ok_or_else(|| Error::new(Reason::NoRoute, None))?;
        let timeouts = &route.config.timeouts;
        client.set_write_timeout(timeouts.write);
        let version = request.version();
        let ids = exchange.ids();
        let outgoing = request::outgoing(request, route, client, ids, &self.trusted_proxies);
        exchange.engage_upstream(&route.way, route.upstream.health());
        let interim = |status, headers| match &outgoing.held {
            Some(held) if status == StatusCode::CONTINUE => held.notify_one(),
            _ => interim::pass_on(status, headers, version, client),
        };
        let terms = Terms {
            detect: outgoing.detect,
            upgrades: outgoing.upgrades,
            connect: timeouts.connect,
            response_head: timeouts.response_head,
            upload: &outgoing.progress,
            interim: &interim,
            phase: exchange.phase(),
        };
        let answer = route.upstream.send(outgoing.request, &terms).await?;
        outgoing.progress.answered();
        Ok((route, answer, outgoing.progress))
    }
}

impl Handler for Proxy {
    type Body = ResponseBody;

    async fn handle(
        self: Rc<Self>,
        client: Rc<dyn Reader>,
        request: Request<Incoming>,
    ) -> Response<ResponseBody> {
        let asked = Asked::of(&request);
        let mut exchange = Exchange::new(self.metrics.clone(), client.clone(), &request);
        match self.ask(request, &*client, &mut exchange).await {
            Ok((route, answer, upload)) => {
                let delivery = Delivery {
                    route,
                    asked,
                    upload,
                    client,
                    exchange,
                };
                match delivery.deliver(answer) {
                    Some(response) => response,
                    None => pending().await, // the connection has gone to somebody else
                }
            }
            Err(Error { reason, detail }) => {
                exchange.refuse(reason, detail.as_deref());
                let mut response = problem::response(reason, detail.as_deref(), &asked.headers);
                exchange.ids().tell_client(response.headers_mut());
                response.map(ResponseBody::Own)
            }
        }
    }
}
