//! The admin port: health, readiness, metrics, and the status page.

mod certificates;
mod ending;
mod feed;
mod host;
mod log_level;
mod page;
mod status;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use tokio::time::Instant;

use self::certificates::Certificates;
pub use self::feed::Feed;
use crate::body::Incoming;
use crate::client::Downstream;
use crate::config::{Config, Problem, Problems};
use crate::metrics::Metrics;
use crate::resume::Streams;
use crate::server::{Handler, Workers};
use crate::tls::{ClientConfigs, Reloading, ServerConfig};

/// What the admin port shows.
#[derive(Debug)]
pub struct Admin {
    metrics: Arc<Metrics>,
    streams: Arc<Streams>,
    ready: Arc<AtomicBool>,
    workers: Arc<Workers>,
    shown: RefCell<Shown>,
    certificates: Certificates,
    /// What those who look at the page share.
    viewed: feed::Shared,
    started: Instant,
}

/// The state of the configuration and of its file.
#[derive(Debug)]
struct Shown {
    max_connections: usize,
    allow_ending: bool,
    allow_log_level: bool,
    /// At these names the status page is shown.
    hosts: Vec<String>,
    text: String,
    /// The keys of the file that need a restart.
    waiting: Vec<Problem>,
    /// The errors of the current file, which is therefore not in use.
    rejected: Option<Problems>,
}

/// A whole response, or the events of the status page.
type Answer = Response<Either<Full<Bytes>, Feed>>;

/// The version 0.0.4 of the text format is what every Prometheus server reads.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

impl Admin {
    /// Shows `metrics`, what the `workers` do by `config`, and whether the process is `ready` for new requests.
    pub fn new(
        config: &Config,
        workers: Arc<Workers>,
        metrics: Arc<Metrics>,
        streams: Arc<Streams>,
        ready: Arc<AtomicBool>,
    ) -> Self {
        Self {
            shown: RefCell::new(Shown::new(config, Vec::new(), &metrics)),
            certificates: Certificates::default(),
            metrics,
            streams,
            ready,
            workers,
            viewed: feed::Shared::default(),
            started: Instant::now(),
        }
    }

    /// Switches to `config`; the keys in `waiting` need a restart.
    pub fn adopt(&self, config: &Config, waiting: Vec<Problem>) {
        *self.shown.borrow_mut() = Shown::new(config, waiting, &self.metrics);
    }

    /// These are the certificates that the listeners show.
    pub fn show_listeners(&self, tls: Vec<Reloading<ServerConfig>>) {
        *self.certificates.listeners.borrow_mut() = tls;
    }

    /// From now on these are the certificates that upstreams are shown.
    pub fn show_upstreams(&self, tls: &ClientConfigs) {
        self.certificates.upstreams.borrow_mut().clone_from(tls);
    }

    /// The configuration was to be replaced by one with these problems, and was not.
    pub fn reject(&self, problems: Problems) {
        self.shown.borrow_mut().rejected = Some(problems);
    }

    async fn show(self: Rc<Self>, method: &Method, path: &str) -> Answer {
        match path {
            "/" => see("/status"),
            "/live" | "/ready" if self.workers.have_failed() => {
                let why = "a worker has failed: only a restart brings it back\n";
                text(StatusCode::SERVICE_UNAVAILABLE, TEXT, why)
            }
            "/live" => text(StatusCode::OK, TEXT, "live\n"),
            "/ready" if self.is_ready() => text(StatusCode::OK, TEXT, "ready\n"),
            "/ready" => text(StatusCode::SERVICE_UNAVAILABLE, TEXT, "draining\n"),
            "/metrics" => {
                self.metrics.set_connections(self.workers.connections());
                let certificates = self.certificates.for_metrics();
                self.metrics.set_certificates(certificates);
                text(StatusCode::OK, PROMETHEUS_TEXT, self.metrics.text())
            }
            "/status" => page::page(),
            "/status.json" => text(StatusCode::OK, JSON, status::gather(&self).await),
            "/status/events" if *method == Method::GET => feed::open(self),
            "/status/events" => use_only("GET"),
            "/log/level" => log_level::show(),
            _ => {
                let known =
                    "there is /live, /ready, /metrics, /status, /status.json and /log/level\n";
                text(StatusCode::NOT_FOUND, TEXT, known)
            }
        }
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }
}

impl Shown {
    fn new(config: &Config, waiting: Vec<Problem>, metrics: &Metrics) -> Self {
        let max_connections = config.server.max_connections;
        metrics.set_connections_limit(max_connections);
        Self {
            max_connections,
            allow_ending: config.admin.allow_ending,
            allow_log_level: config.admin.allow_log_level,
            hosts: config.admin.hosts.clone(),
            text: config.to_string(),
            waiting,
            rejected: None,
        }
    }
}

impl Handler for Admin {
    type Body = Either<Full<Bytes>, Feed>;

    async fn handle(self: Rc<Self>, _: Rc<dyn Downstream>, request: Request<Incoming>) -> Answer {
        let (method, path) = (request.method(), request.uri().path());
        let is_guarded = path.starts_with("/status") || path.starts_with("/log/");
        if is_guarded && !host::is_ours(&request, &self.shown.borrow().hosts) {
            return host::refuse();
        }
        match *method {
            Method::PUT | Method::POST if log_level::is_asked(path) => {
                log_level::set(&self, path, request.headers())
            }
            _ if log_level::is_asked(path) => use_only("PUT, POST"),
            Method::GET | Method::HEAD if !ending::is_asked(path) => self.show(method, path).await,
            Method::POST if ending::is_asked(path) => {
                ending::end(&self, path, request.headers()).await
            }
            _ if ending::is_asked(path) => use_only("POST"),
            _ => use_only("GET, HEAD"),
        }
    }
}

fn text(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Either::Left(Full::new(body.into())));
    *response.status_mut() = status;
    fresh(&mut response, content_type);
    response
}

/// The answer to a request with another method than those.
fn use_only(methods: &'static str) -> Answer {
    let how = format!("use {methods}\n");
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, TEXT, how);
    let allowed = HeaderValue::from_static(methods);
    response.headers_mut().insert(ALLOW, allowed);
    response
}

fn see(path: &'static str) -> Answer {
    let mut response = text(StatusCode::SEE_OTHER, TEXT, format!("see {path}\n"));
    let location = HeaderValue::from_static(path);
    response.headers_mut().insert(LOCATION, location);
    response
}

/// Forbids caching and content sniffing.
fn fresh<B>(response: &mut Response<B>, content_type: &'static str) {
    for (name, value) in [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (http::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::config::{self, Overrides};
    use crate::server::ShutdownWatch;
    use crate::server::testing::Silent;

    const DEADLINE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_worker_that_has_failed_is_missed() {
        let metrics = Arc::new(Metrics::new());
        let workers = Arc::new(Workers::start(1, &metrics, || Rc::new(Silent)).unwrap());
        let text = "upstream.url = 'http://127.0.0.1:1'";
        let (config, _) = config::parse(text, "", &Overrides::default()).unwrap();
        let ready = Arc::new(AtomicBool::new(true));
        let streams = Streams::new(&metrics).unwrap();
        let admin = Admin::new(&config, workers.clone(), metrics, streams, ready);
        let admin = Rc::new(admin);
        let asked = async || {
            let status = |path| {
                let shown = admin.clone().show(&Method::GET, path);
                async { shown.await.status().as_u16() }
            };
            [
                status("/live").await,
                status("/ready").await,
                status("/metrics").await,
            ]
        };
        assert_eq!(asked().await, [200, 200, 200]);
        let fall = |_: &ShutdownWatch| -> () { panic!("a panic that a test has asked for") };
        assert_eq!(workers.ask(DEADLINE, fall).await, [None]);
        timeout(DEADLINE, workers.done()).await.unwrap();
        assert_eq!(asked().await, [503, 503, 200]);
    }
}
