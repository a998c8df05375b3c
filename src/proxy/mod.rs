//! The way of a request: [`Proxy::handle`] tells it from top to bottom.

mod authority;
mod deliver;
mod early;
mod forwarded;
mod guard;
mod headers;
mod interim;
mod probe;
mod relay;
mod request;
mod response;
mod route;
mod routing;
mod upgrade;
mod upstream_request;
mod websocket;

use std::cell::RefCell;
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response};

use self::deliver::{Delivery, RequestContext};
use self::early::First;
use self::guard::{Asker, More, Passed, Refusal};
pub use self::guard::{Guards, UsersWatcher};
pub use self::probe::Probe;
use self::route::Route;
use self::routing::Routing;
use self::upstream_request::UpstreamRequest;
use self::websocket::Handshake;
use crate::body::{Incoming, ResponseBody};
use crate::client::Downstream;
use crate::config::Config;
use crate::exchange::Exchange;
use crate::metrics::Metrics;
use crate::problem;
use crate::reason::Reason;
use crate::server::Handler;
use crate::tls::ClientConfigs;
use crate::upstream::Error;

/// The proxy as one thread sees it.
#[derive(Debug)]
pub struct Proxy {
    routing: RefCell<Rc<Routing>>,
    probe: RefCell<Option<Arc<Probe>>>,
    metrics: Arc<Metrics>,
}

impl Proxy {
    /// A proxy for the routes of `config`, whose upstreams' TLS is in `tls`, and whose `guards` all threads share. Routes with the same
    /// upstream share its connections.
    pub fn new(
        config: &Config,
        tls: &ClientConfigs,
        guards: &Guards,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let routing = Routing::new(config, tls, guards, metrics, &Routing::default());
        Self {
            routing: RefCell::new(Rc::new(routing)),
            probe: RefCell::default(),
            metrics: metrics.clone(),
        }
    }

    /// Goes by another configuration from the next request on. Requests that have begun go on as they are; upstreams that are in
    /// both keep their connections.
    pub fn adopt(&self, config: &Config, tls: &ClientConfigs, guards: &Guards) {
        let before = self.routing.borrow().clone();
        let routing = Routing::new(config, tls, guards, &self.metrics, &before);
        *self.routing.borrow_mut() = Rc::new(routing);
    }

    /// From now on this is the probe, which all threads share.
    pub fn set_probe(&self, probe: Option<Arc<Probe>>) {
        *self.probe.borrow_mut() = probe;
    }

    /// Where a request goes: its route, and what has to be answered to a WebSocket over HTTP/2.
    fn route(
        routing: &Routing,
        request: &mut Request<Incoming>,
        client: &Rc<dyn Downstream>,
    ) -> Result<(Rc<Route>, Option<Handshake>), Error> {
        let handshake = websocket::translate(request);
        request::check(request)?;
        let route = route::find(&routing.routes, request)
            .ok_or_else(|| Error::new(Reason::NoRoute, None))?;
        client.set_write_timeout(route.config.timeouts.write);
        Ok((route.clone(), handshake))
    }

    /// What is asked of the upstream of the request's route; or why nothing is.
    async fn upstream_request(
        routing: &Routing,
        mut request: Request<Incoming>,
        client: &Rc<dyn Downstream>,
        exchange: &mut Exchange,
    ) -> Result<UpstreamRequest, Refusal> {
        let (route, handshake) = Self::route(routing, &mut request, client)?;
        let mut passed = Passed::default();
        if let Some(guard) = &route.guard {
            // Seldom there, and large.
            let asker = Asker {
                client: &**client,
                address: exchange.client_address(),
                trusted_proxies: &routing.trusted_proxies,
            };
            passed = Box::pin(guard.check(&request, &route, asker, exchange)).await?;
        }
        let version = request.version();
        let stream_limit = passed.stream_limit.take();
        let outgoing = request::outgoing(
            request,
            handshake,
            &route,
            &**client,
            exchange.client_address(),
            exchange.ids(),
            &routing.trusted_proxies,
            passed,
        )?;
        exchange.start_upstream(&route.info, route.upstream.health());
        Ok(UpstreamRequest {
            route,
            outgoing,
            stream_limit,
            version,
            client: client.clone(),
            progress: exchange.progress(),
        })
    }
}

impl Handler for Proxy {
    type Body = ResponseBody;

    async fn handle(
        self: Rc<Self>,
        client: Rc<dyn Downstream>,
        request: Request<Incoming>,
    ) -> Response<ResponseBody> {
        if let Some(probe) = &*self.probe.borrow()
            && let Some(answer) = probe.answer(&request, &*client)
        {
            return answer;
        }
        let context = RequestContext::of(&request);
        let routing = self.routing.borrow().clone();
        let trusted = &routing.trusted_proxies;
        let mut exchange = Exchange::new(self.metrics.clone(), client.clone(), &request, trusted);
        let asked = Self::upstream_request(&routing, request, &client, &mut exchange).await;
        let mut upstream_request = match asked {
            Ok(upstream_request) => upstream_request,
            Err(refusal) => return refuse(refusal, &context, exchange),
        };
        drop(routing);
        let delivery = Delivery {
            route: upstream_request.route.clone(),
            context,
            request_body: upstream_request.outgoing.progress.clone(),
            websocket: upstream_request.outgoing.websocket.take(),
            client,
            exchange,
            stream_limit: upstream_request.stream_limit.take(),
        };
        let response = match early::ask(upstream_request).await {
            First::Answer(Ok(answer)) => delivery.deliver(answer),
            // Whoever serves the client is about to see that it is gone, and to drop this.
            First::Answer(Err(error)) if error.reason == Reason::ClientGone => None,
            First::Answer(Err(error)) => Some(refuse(error, &delivery.context, delivery.exchange)),
            First::HeadDeadline(pending_answer) => delivery.deliver_early(pending_answer),
        };
        match response {
            Some(response) => response,
            None => pending().await, // the connection has gone to somebody else
        }
    }
}

/// The sidecar's own answer: there is none of the upstream's.
fn refuse(
    refusal: impl Into<Refusal>,
    context: &RequestContext,
    mut exchange: Exchange,
) -> Response<ResponseBody> {
    let Refusal { error, more } = refusal.into();
    let More { fields, answered } = *more;
    let Error { reason, detail } = error;
    exchange.refuse(reason, detail.as_deref());
    let mut response = match answered {
        Some(answered) => answered.into_response(),
        None => problem::response(reason, detail.as_deref(), &context.accept),
    };
    response.headers_mut().extend(fields);
    exchange.ids().tell_client(response.headers_mut());
    response.map(ResponseBody::Own)
}
