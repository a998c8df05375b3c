//! The life of a request: [`Proxy::handle`] shows it from top to bottom.

mod affinity;
mod authority;
mod changes;
mod cors;
mod deliver;
mod early;
mod edits;
mod forwarded;
mod guard;
mod headers;
mod hint;
mod interim;
mod matching;
mod own_answer;
mod prefix;
mod probe;
mod relay;
mod request;
mod response;
mod resume;
mod route;
mod route_index;
mod routing;
mod upgrade;
mod upstream_request;
mod values;
mod websocket;

use std::cell::RefCell;
use std::fmt;
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response};
use ipnet::IpNet;

use self::changes::{AnswerChanges, Changes};
use self::deliver::{Delivery, RequestContext};
use self::early::First;
use self::guard::{Asker, More, Refusal};
pub use self::guard::{Guards, UsersWatcher};
pub use self::probe::Probe;
use self::request::RequestChanges;
pub use self::resume::without_cursors;
use self::resume::{Call, GoUp, Step};
use self::route::Route;
use self::routing::Routing;
use self::upstream_request::UpstreamRequest;
use self::websocket::Handshake;
use crate::body::{Incoming, RequestBodyProgress, ResponseBody};
use crate::client::Downstream;
use crate::config::Config;
use crate::exchange::{AccessLine, AccessSink, Exchange};
use crate::metrics::Metrics;
use crate::output::STDOUT;
use crate::problem;
use crate::reason::Reason;
use crate::resume::{LocalStreams, Streams};
use crate::server::{self, Handler, Stage};
use crate::tls::ClientConfigs;
use crate::upstream::{Answer, Error};

/// The proxy as one thread sees it.
pub struct Proxy {
    routing: RefCell<Rc<Routing>>,
    probe: RefCell<Option<Arc<Probe>>>,
    /// The streams that this thread reads for clients that are away.
    streams: Rc<LocalStreams>,
    metrics: Arc<Metrics>,
    access_sink: AccessSink,
}

impl Proxy {
    /// A proxy for the routes of `config`, whose upstreams' TLS is in `tls`, and whose `guards` and `streams` all threads share. Routes with
    /// the same upstream share its connections.
    pub fn new(
        config: &Config,
        tls: &ClientConfigs,
        guards: &Guards,
        streams: &Arc<Streams>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let sink = Rc::new(|line: &[u8]| STDOUT.push(line));
        Self::with_access_sink(config, tls, guards, streams, metrics, sink)
    }

    /// The same, but `access_sink` takes the lines of the access log.
    pub fn with_access_sink(
        config: &Config,
        tls: &ClientConfigs,
        guards: &Guards,
        streams: &Arc<Streams>,
        metrics: &Arc<Metrics>,
        access_sink: AccessSink,
    ) -> Self {
        let before = Routing::default();
        let streams = LocalStreams::new(streams);
        let shared = (guards, &streams, metrics);
        let routing = Routing::new(config, tls, shared, &before, &access_sink);
        Self {
            streams,
            routing: RefCell::new(Rc::new(routing)),
            probe: RefCell::default(),
            metrics: metrics.clone(),
            access_sink,
        }
    }

    /// Switches to another configuration from the next request on. Requests in progress keep theirs; upstreams that are in both
    /// keep their connections.
    pub fn adopt(&self, config: &Config, tls: &ClientConfigs, guards: &Guards) {
        let before = self.routing.borrow().clone();
        let sink = &self.access_sink;
        let shared = (guards, &self.streams, &self.metrics);
        let routing = Routing::new(config, tls, shared, &before, sink);
        *self.routing.borrow_mut() = Rc::new(routing);
    }

    /// From now on this is the probe, which all threads share.
    pub fn set_probe(&self, probe: Option<Arc<Probe>>) {
        *self.probe.borrow_mut() = probe;
    }

    /// The exchange that begins with `request`.
    fn exchange(
        &self,
        routing: &Routing,
        client: &Rc<dyn Downstream>,
        request: &Request<Incoming>,
    ) -> Exchange {
        let metrics = self.metrics.clone();
        let trusted_proxies = &routing.trusted_proxies;
        let mut exchange = Exchange::new(metrics, client.clone(), request, trusted_proxies);
        if let Some(log) = &routing.access_log {
            exchange.record(log, request);
        }
        exchange
    }

    /// The route that a request takes.
    fn route_of(
        routing: &Routing,
        request: &Request<Incoming>,
        client: &dyn Downstream,
    ) -> Result<Rc<Route>, Error> {
        request::check(request)?;
        let route = matching::find(routing, request, client.listener()).cloned();
        route.ok_or_else(|| Error::new(Reason::NoRoute, None))
    }
}

impl Handler for Proxy {
    type Body = ResponseBody;

    #[expect(
        clippy::too_many_lines,
        reason = "it is the story of a request, told once"
    )]
    async fn handle(
        self: Rc<Self>,
        client: Rc<dyn Downstream>,
        mut request: Request<Incoming>,
    ) -> Response<ResponseBody> {
        if let Some(probe) = &*self.probe.borrow()
            && let Some(answer) = probe.answer(&request, &*client)
        {
            return answer;
        }
        let routing = self.routing.borrow().clone();
        if routing.resumes && request.uri().path() == resume::STOP_PATH {
            let streams = self.streams.streams();
            return Box::pin(resume::stop_by_cursor(streams, request, &*client)).await;
        }
        let context = RequestContext::of(&request);
        let trusted_proxies = &routing.trusted_proxies;
        let mut exchange = self.exchange(&routing, &client, &request);
        let handshake = websocket::translate(&mut request);
        let route = match Self::route_of(&routing, &request, &*client) {
            Ok(route) => route,
            Err(error) => return refuse(error, &context, None, exchange),
        };
        exchange.take_route(&route.info, &route.counters);
        client.set_write_timeout(route.config.timeouts.write);
        let asker = Asker {
            client: &*client,
            address: exchange.client_address(),
            trusted_proxies,
        };
        let mut changes = Changes::of(&route, &request, asker, exchange.ids().request());
        if let Some(guard) = &route.guard
            && !changes.is_preflight
        {
            // Seldom there, and large.
            match Box::pin(guard.check(&request, &route, asker, &mut exchange)).await {
                Ok(passed) => changes.request.passed = passed,
                Err(refusal) => {
                    return refuse(refusal, &context, changes.answer.as_deref(), exchange);
                }
            }
        }
        let stream_limit = changes.request.passed.stream_limit.take();
        let mut go_up = GoUp::default();
        // In a box: whatever lives across an await makes each request's future larger, which is copied.
        let mut kept = None;
        if let (Some(resuming), None, None) = (&route.resuming, &changes.own_answer, &handshake) {
            let call = Call {
                route: &route,
                context: &context,
                client: &client,
                exchange: &exchange,
            };
            match Box::pin(resuming.look(&mut request, call)).await {
                Ok(Step::GoUp(how)) => go_up = how,
                Ok(step) => kept = Some(Box::new(step)),
                Err(error) => return refuse(error, &context, changes.answer.as_deref(), exchange),
            }
        }
        changes.request.had_cursor_in_target = go_up.had_cursor_in_target;
        let own = changes.own_answer.take().map(Next::Deliver);
        let (next, request_body, websocket) = match own.or_else(|| kept.map(Next::Kept)) {
            Some(next) => (next, RequestBodyProgress::of_none(), None),
            None if route.files.is_some() => {
                (Next::File(request), RequestBodyProgress::of_none(), None)
            }
            None => match upstream_request(
                request,
                handshake.clone(),
                &route,
                trusted_proxies,
                changes.request,
                &client,
                &mut exchange,
            ) {
                Ok(mut upstream_request) => {
                    let progress = upstream_request.outgoing.progress.clone();
                    let websocket = upstream_request.outgoing.websocket.take();
                    (Next::Ask(upstream_request), progress, websocket)
                }
                Err(error) => return refuse(error, &context, changes.answer.as_deref(), exchange),
            },
        };
        drop(routing);
        let delivery = Delivery {
            route,
            context,
            changes: changes.answer,
            request_body,
            websocket,
            client,
            exchange,
            stream_limit,
            keep: go_up.keep,
            after: go_up.after,
        };
        let response = match next {
            Next::Kept(step) => delivery.kept(*step),
            Next::Deliver(answer) => delivery.own(*answer, handshake.as_ref()),
            Next::File(request) => delivery.file(request, handshake.as_ref()).await,
            Next::Ask(upstream_request) => delivery.proxy(upstream_request).await,
        };
        match response {
            Some(response) => response,
            None => pending().await, // the connection was taken over
        }
    }

    fn enter(&self, stage: Stage) {
        match stage {
            Stage::Running => {}
            Stage::Draining { .. } => self.streams.drain(),
            Stage::Cutting => self.streams.cut(),
        }
    }

    fn is_idle(&self) -> bool {
        self.streams.is_idle()
    }

    async fn idle(&self) {
        self.streams.idle().await;
    }

    fn refused(&self, refusal: &server::Refusal<'_>) {
        let routing = self.routing.borrow();
        let Some(log) = &routing.access_log else {
            return;
        };
        let peer = refusal.client.peer();
        log.write(&AccessLine {
            client_ip: peer.map(|peer| peer.ip().to_canonical()),
            peer,
            is_tls: refusal.client.is_tls(),
            method: refusal.head.map(|head| &head.method),
            path: refusal.head.map_or("", |head| head.uri.path()),
            version: refusal.head.map(|head| head.version),
            status: refusal.reason.status(),
            bytes: refusal.bytes as u64,
            reason: Some(refusal.reason),
            ..AccessLine::default()
        });
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("routing", &self.routing)
            .finish_non_exhaustive()
    }
}

/// What answers a request.
enum Next {
    /// The route, by itself.
    Deliver(Box<Answer>),
    /// The route, with a file for this request.
    File(Request<Incoming>),
    /// Its backend.
    Ask(UpstreamRequest),
    /// A stream that is kept, or what there is instead of one.
    Kept(Box<Step>),
}

/// The request to the route's backend.
fn upstream_request(
    request: Request<Incoming>,
    handshake: Option<Handshake>,
    route: &Rc<Route>,
    trusted_proxies: &[IpNet],
    changes: RequestChanges,
    client: &Rc<dyn Downstream>,
    exchange: &mut Exchange,
) -> Result<UpstreamRequest, Error> {
    let Some(backend) = route.backend.clone() else {
        return Err(Error::new(Reason::NoRoute, None)); // a route without one has answered by itself
    };
    let version = request.version();
    let target = (&**route, &*backend);
    let ids = exchange.ids();
    let asker = Asker {
        client: &**client,
        address: exchange.client_address(),
        trusted_proxies,
    };
    let pool = backend.pool.as_ref();
    let affinity =
        pool.and_then(|pool| affinity::of(&pool.config().policy, &request, asker.address));
    let outgoing = request::outgoing(request, handshake, target, asker, ids, changes)?;
    if backend.pool.is_none() {
        exchange.start_upstream(&route.info, backend.upstream.health());
    }
    Ok(UpstreamRequest {
        route: route.clone(),
        backend,
        outgoing,
        version,
        client: client.clone(),
        progress: exchange.progress(),
        affinity,
    })
}

impl Delivery {
    /// Sends the request and delivers the response; `None` if that is written past hyper, or the client is gone.
    async fn proxy(self, upstream_request: UpstreamRequest) -> Option<Response<ResponseBody>> {
        match early::ask(upstream_request, self.keep.as_ref(), &self.exchange).await {
            First::Answer(Ok(answer)) => self.deliver(answer),
            // The connection's task is about to notice that the client is gone, and to drop this.
            First::Answer(Err(error)) if error.reason == Reason::ClientGone => None,
            First::Answer(Err(error)) => Some(self.refuse(error)),
            First::HeadDeadline(pending_answer) => self.deliver_early(pending_answer),
        }
    }

    /// Delivers what the route answers by itself.
    fn own(self, answer: Answer, handshake: Option<&Handshake>) -> Option<Response<ResponseBody>> {
        match handshake.map(|handshake| handshake.check(&answer)) {
            Some(Err(error)) => Some(self.refuse(error)),
            _ => self.deliver(answer),
        }
    }

    /// Delivers a stream that is kept, or what there is instead of one.
    fn kept(self, step: Step) -> Option<Response<ResponseBody>> {
        match step {
            Step::Resume(resumed) => self.resumed(*resumed),
            Step::Refuse(reason) => Some(self.refuse(Error::new(reason, None))),
            Step::Status(status) => self.deliver(resume::status(status)),
            Step::Events(events) => self.deliver(resume::events(events)),
            Step::Broken | Step::GoUp(_) => self.broken(),
        }
    }

    /// Delivers a file of the route's.
    async fn file(
        self,
        request: Request<Incoming>,
        handshake: Option<&Handshake>,
    ) -> Option<Response<ResponseBody>> {
        let files = self.route.files.as_ref()?;
        match own_answer::file(files, &self.route, &request).await {
            Ok(answer) => self.own(answer, handshake),
            Err(error) => Some(self.refuse(error)),
        }
    }

    /// Answers with the error, since there is no answer of a backend's.
    fn refuse(self, refusal: impl Into<Refusal>) -> Response<ResponseBody> {
        refuse(
            refusal,
            &self.context,
            self.changes.as_deref(),
            self.exchange,
        )
    }
}

/// The sidecar's own answer: there is none of the upstream's.
fn refuse(
    refusal: impl Into<Refusal>,
    context: &RequestContext,
    changes: Option<&AnswerChanges>,
    mut exchange: Exchange,
) -> Response<ResponseBody> {
    let Refusal { error, more } = refusal.into();
    let More { fields, answered } = *more;
    let Error { reason, detail } = error;
    let mut response = match answered {
        Some(answered) => answered.into_response(),
        None => problem::response(reason, detail.as_deref(), &context.accept),
    };
    if !context.is_head() {
        exchange.sent(response.body().len() as u64);
    }
    exchange.refuse(reason, detail.as_deref());
    if let Some(changes) = changes {
        changes.apply(response.headers_mut());
    }
    response.headers_mut().extend(fields);
    exchange.ids().tell_client(response.headers_mut());
    response.map(ResponseBody::Own)
}
