//! The way of a request: [`Proxy::handle`] tells it from top to bottom.

mod forwarded;
mod headers;
mod request;
mod response;
mod route;
mod upgrade;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderMap, UPGRADE};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use ipnet::IpNet;

use self::response::Coding;
use self::route::Route;
use crate::body::{EventStreamBody, PlainBody, ResponseBody, Upload, UploadProgress};
use crate::client::Client;
use crate::config::{self, Config, Detect};
use crate::exchange::Exchange;
use crate::metrics::Metrics;
use crate::problem;
use crate::reason::Reason;
use crate::server::Handler;
use crate::upstream::{Answer, AnswerBody, Error, Terms, Upstream};

/// The proxy as one thread sees it.
#[derive(Debug)]
pub struct Proxy {
    routes: Vec<Route>,
    /// Whose word about other clients is believed.
    trusted_proxies: Vec<IpNet>,
    metrics: Arc<Metrics>,
}

impl Proxy {
    /// A proxy for the routes of `config`. Routes with the same upstream share its connections.
    pub fn new(config: &Config, metrics: &Arc<Metrics>) -> Self {
        let mut upstreams: HashMap<_, Rc<Upstream>> = HashMap::new();
        let mut upstream_of = |config: &Arc<config::Upstream>| {
            let make = || Rc::new(Upstream::new(config.clone(), metrics.clone()));
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
        client: &Client,
        exchange: &mut Exchange,
    ) -> Result<(&Route, Answer, Rc<UploadProgress>), Error> {
        request::check(&request)?;
        let route =
            route::find(&self.routes, &request).ok_or_else(|| Error::new(Reason::NoRoute, None))?;
        let timeouts = &route.config.timeouts;
        client.set_write_timeout(timeouts.write);

        let is_head = request.method() == Method::HEAD;
        let upgrade = upgrade::offered(&request);
        let (parts, incoming) = request.into_parts();
        let (upload, progress) =
            Upload::new(incoming, timeouts.request_body, route.kept_of_request());
        let mut parts = request::outgoing(parts, route);
        let is_trusted = forwarded::is_trusted(client.peer(), &self.trusted_proxies);
        forwarded::tell(&mut parts.headers, client.peer(), is_trusted);
        let upgrades = upgrade.is_some();
        if let Some(protocols) = upgrade {
            upgrade::announce(&mut parts.headers, protocols);
        }
        let expects_continue = request::expects_continue(&parts.headers);
        let mut outgoing = Request::from_parts(parts, upload);
        if expects_continue {
            let asked = outgoing.body_mut().hold();
            hyper::ext::on_informational(&mut outgoing, move |interim| {
                if interim.status() == StatusCode::CONTINUE {
                    asked.notify_one();
                }
            });
        }
        let terms = Terms {
            detect: if is_head {
                Detect::Never
            } else {
                route.config.events.detect
            },
            upgrades,
            connect: timeouts.connect,
            response_head: timeouts.response_head,
            upload: &progress,
            phase: &exchange.phase.clone(),
        };
        exchange.engage_upstream();
        let answer = route.upstream.send(outgoing, &terms).await?;
        Ok((route, answer, progress))
    }
}

impl Handler for Proxy {
    type Body = ResponseBody;

    async fn handle(
        self: Rc<Self>,
        client: Rc<Client>,
        request: Request<Incoming>,
    ) -> Response<ResponseBody> {
        let asked = Asked {
            method: request.method().clone(),
            version: request.version(),
            headers: request.headers().clone(),
        };
        let mut exchange = Exchange::new(
            self.metrics.clone(),
            client.clone(),
            request.method(),
            request.uri().path(),
        );
        let (route, answer, upload) = match self.ask(request, &client, &mut exchange).await {
            Ok(answer) => answer,
            Err(Error { reason, detail }) => {
                exchange.refuse(reason, detail.as_deref());
                return problem::response(reason, detail.as_deref(), &asked.headers)
                    .map(ResponseBody::Own);
            }
        };
        let mut head = answer.head;
        let upgraded = head.headers.get(UPGRADE).cloned();
        head.version = Version::HTTP_11; // each side speaks its own version: hyper makes it the client's
        headers::remove_hop_by_hop(&mut head.headers);
        exchange.head(head.status);
        let close_delimited = asked.version == Version::HTTP_10;
        let body = match answer.body {
            AnswerBody::Events(source) => {
                let coding = Coding::of(&head.headers);
                response::edit_event_stream_head(&mut head.headers, &coding);
                exchange.open_stream(head.status, &route.upstream_name, coding.is_opaque());
                let stream = route.event_stream(&asked.headers, &upload, coding.is_opaque());
                let source = coding.decode(Box::new(source));
                let body = EventStreamBody::new(stream, source, client, exchange, close_delimited);
                ResponseBody::Events(Box::new(body))
            }
            AnswerBody::Upgraded(tunnel) => {
                if let Some(protocols) = upgraded {
                    upgrade::announce(&mut head.headers, protocols);
                }
                upgrade::join(&client, tunnel, exchange);
                ResponseBody::Own(Bytes::new())
            }
            AnswerBody::Plain(incoming, lease) => {
                let detect = route.config.events.detect;
                if asked.method == Method::HEAD && response::opens_event_stream(&head, detect) {
                    let coding = Coding::of(&head.headers);
                    response::edit_event_stream_head(&mut head.headers, &coding);
                }
                let upstream = route.upstream.clone();
                // While the request's body still goes up, the connection has no end to be kept for (hyper#4176).
                let keep = Box::new(move || {
                    if upload.is_done() {
                        upstream.keep(lease);
                    }
                });
                let body = PlainBody::new(
                    incoming,
                    keep,
                    client,
                    exchange,
                    route.config.timeouts.read,
                    close_delimited,
                );
                ResponseBody::Plain(Box::new(body))
            }
        };
        Response::from_parts(head, body)
    }
}

/// What the response to a request depends on, after the request itself has gone up.
struct Asked {
    method: Method,
    version: Version,
    /// The client's, before any edit.
    headers: HeaderMap,
}
