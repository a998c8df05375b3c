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
mod routing;
mod upgrade;

use std::cell::RefCell;
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response, StatusCode};

use self::deliver::{Asked, Delivery};
use self::route::Route;
use self::routing::Routing;
use crate::body::{Incoming, ResponseBody, UploadProgress};
use crate::client::Reader;
use crate::config::Config;
use crate::exchange::Exchange;
use crate::metrics::Metrics;
use crate::problem;
use crate::reason::Reason;
use crate::server::Handler;
use crate::tls::ClientConfigs;
use crate::upstream::{Answer, Error, Terms};

/// The proxy as one thread sees it.
#[derive(Debug)]
pub struct Proxy {
    routing: RefCell<Rc<Routing>>,
    metrics: Arc<Metrics>,
}

impl Proxy {
    /// A proxy for the routes of `config`, whose upstreams' TLS is in `tls`. Routes with the same upstream share its connections.
    pub fn new(config: &Config, tls: &ClientConfigs, metrics: &Arc<Metrics>) -> Self {
        let routing = Routing::new(config, tls, metrics, &Routing::default());
        Self {
            routing: RefCell::new(Rc::new(routing)),
            metrics: metrics.clone(),
        }
    }

    /// Goes by another configuration from the next request on. Requests that have begun go on as they are; upstreams that are in
    /// both keep their connections.
    pub fn adopt(&self, config: &Config, tls: &ClientConfigs) {
        let before = self.routing.borrow().clone();
        let routing = Routing::new(config, tls, &self.metrics, &before);
        *self.routing.borrow_mut() = Rc::new(routing);
    }

    /// Sends a request to the upstream of its route, and returns what comes back.
    async fn ask<'a>(
        &self,
        routing: &'a Routing,
        request: Request<Incoming>,
        client: &dyn Reader,
        exchange: &mut Exchange,
    ) -> Result<(&'a Route, Answer, Rc<UploadProgress>), Error> {
        request::check(&request)?;
        let route = route::find(&routing.routes, &request)
            .ok_or_else(|| Error::new(Reason::NoRoute, None))?;
        let timeouts = &route.config.timeouts;
        client.set_write_timeout(timeouts.write);
        let version = request.version();
        let ids = exchange.ids();
        let outgoing = request::outgoing(request, route, client, ids, &routing.trusted_proxies);
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
        let routing = self.routing.borrow().clone();
        match self.ask(&routing, request, &*client, &mut exchange).await {
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
