//! The composition root: a configuration becomes listeners, workers and an admin port, runs, and ends.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::admin::Admin;
use crate::client::{Clocks, Limits};
use crate::config::{Config, ListenAddress, Workers as WorkerCount};
use crate::metrics::Metrics;
use crate::proxy::Proxy;
use crate::server::{self, Acceptor, Entrance, Listener, Lobby, Stage, Workers};
use crate::signal::Signals;
use crate::supervisor::Supervisor;
use crate::tls;

/// A sidecar whose addresses are bound and whose workers run; [`run`](Self::run) lets connections in.
#[derive(Debug)]
pub struct App {
    listeners: Vec<(Listener, Entrance)>,
    admin: Option<Listener>,
    /// What keeps certificates up to date.
    watchers: JoinSet<()>,
    workers: Arc<Workers>,
    metrics: Arc<Metrics>,
    clocks: Clocks,
    config: Config,
}

/// Why the sidecar could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error("cannot listen on {address}: {source}{}", hint(source))]
    Bind {
        /// Which one.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// A certificate or key is no good.
    #[error("{source}; {}", source.help())]
    Tls {
        /// What is wrong with it.
        #[from]
        source: tls::Error,
    },
    /// A thread cannot be started.
    #[error("cannot start the workers: {0}")]
    Workers(io::Error),
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Every response was complete, or ended where its client can go on.
    Complete,
    /// So many responses were cut.
    Cut(u64),
}

/// How long threads have to end after everything was cut.
const LAST_GRACE: Duration = Duration::from_secs(2);

impl App {
    /// Binds every address of `config` and starts the workers. Call it on a tokio `LocalRuntime`.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        // A proxied stream takes two descriptors; the usual soft limit of 1,024 is for programs that use select(2).
        if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "cannot raise the limit of open files"
            );
        }
        let mut watchers = JoinSet::new();
        let upstreams = config.routes.iter().map(|route| &route.upstream);
        let (tls, to_watch) =
            tls::watch_all(upstreams.filter_map(|upstream| upstream.tls.as_ref()))?;
        for watcher in to_watch {
            watchers.spawn_local(watcher.run());
        }
        let mut listeners = Vec::new();
        for listener in &config.listeners {
            let tls = match &listener.tls {
                Some(settings) => {
                    let (tls, watcher) = tls::watch(settings.clone())?;
                    watchers.spawn_local(watcher.run());
                    Some(tls)
                }
                None => None,
            };
            let entrance = Entrance {
                proxy_protocol: listener.proxy_protocol,
                tls,
            };
            listeners.push((bind(&listener.address).await?, entrance));
        }
        let admin = match config.admin.listen {
            Some(address) => Some(bind(&ListenAddress::Tcp(address)).await?),
            None => None,
        };
        let metrics = Arc::new(Metrics::new());
        let count = match config.server.workers {
            WorkerCount::Auto => server::available_cores(),
            WorkerCount::Count(count) => count.get(),
        };
        let (for_workers, shared) = (config.clone(), metrics.clone());
        let proxy = move || Rc::new(Proxy::new(&for_workers, &tls, &shared));
        let workers = Workers::start(count, &metrics, proxy).map_err(StartError::Workers)?;
        let clocks = clocks(config);
        Ok(Self {
            listeners,
            admin,
            watchers,
            workers: Arc::new(workers),
            metrics,
            clocks,
            config: config.clone(),
        })
    }

    /// Where clients connect, as bound.
    pub fn addresses(&self) -> Vec<ListenAddress> {
        self.listeners
            .iter()
            .filter_map(|(listener, _)| listener.address().ok())
            .collect()
    }

    /// Where the admin port is, as bound.
    pub fn admin_address(&self) -> Option<ListenAddress> {
        self.admin.as_ref().and_then(|admin| admin.address().ok())
    }

    /// Serves until a signal says to stop, and then until nothing is left or the time for that is up. `supervisor` is told of both.
    pub async fn run(self, mut signals: Signals, supervisor: Supervisor) -> Ending {
        let Self {
            listeners,
            admin,
            watchers: _watchers,
            workers,
            metrics,
            clocks,
            config,
        } = self;
        let Config { server, drain, .. } = &config;
        let ready = Arc::new(AtomicBool::new(true));
        let mut admin_port = JoinSet::new();
        if let Some(listener) = admin {
            tracing::info!(
                address = listener.address().ok().map(tracing::field::display),
                "admin port open"
            );
            let admin = Admin::new(&config, workers.clone(), metrics.clone(), ready.clone());
            let handler = Rc::new(admin);
            admin_port.spawn_local(serve_admin(listener, handler, metrics.clone(), clocks));
        }
        let mut accepting = JoinSet::new();
        for (listener, entrance) in listeners {
            tracing::info!(
                address = listener.address().ok().map(tracing::field::display),
                tls = entrance.tls.is_some(),
                "listening"
            );
            let acceptor = Acceptor {
                workers: workers.clone(),
                max_connections: server.max_connections,
                entrance,
                metrics: metrics.clone(),
            };
            accepting.spawn_local(async move { acceptor.run(&listener, clocks).await });
        }

        supervisor.ready();

        let stop = signals.stop().await;
        ready.store(false, Ordering::Relaxed);
        supervisor.stopping(drain.delay + drain.timeout + LAST_GRACE);
        let mut timeout = drain.timeout;
        if stop.waits_for_withdrawal() && !drain.delay.is_zero() {
            tracing::info!(delay = ?drain.delay, "draining: not ready any more, still accepting");
            if tokio::time::timeout(drain.delay, signals.stop())
                .await
                .is_ok()
            {
                timeout = Duration::ZERO;
            }
        }
        accepting.shutdown().await; // closes the listeners
        tracing::info!(
            connections = workers.connections(),
            ?timeout,
            "draining: accepting no more"
        );
        let until = Instant::now() + timeout;
        workers.enter(Stage::Draining { until });
        let drained = tokio::select! {
            biased;
            () = workers.done() => true,
            _ = signals.stop() => false,
            () = tokio::time::sleep_until(until) => false,
        };
        if !drained {
            tracing::warn!(connections = workers.connections(), "ending what is left");
            workers.enter(Stage::Cutting);
            let _ = tokio::time::timeout(LAST_GRACE, workers.done()).await;
        }
        match metrics.cut.get() {
            0 => Ending::Complete,
            cut => Ending::Cut(cut),
        }
    }
}

/// What holds for a client's connection.
pub fn clocks(config: &Config) -> Clocks {
    Clocks {
        request_head: config.timeouts.request_head,
        keep_alive: config.timeouts.keep_alive,
        write: config.timeouts.write,
        connection_age: config.timeouts.connection_age,
        limits: Limits {
            request_head: config.server.max_request_head,
            request_headers: config.server.max_request_headers,
            streams: config.server.max_streams,
        },
    }
}

async fn bind(address: &ListenAddress) -> Result<Listener, StartError> {
    Listener::bind(address)
        .await
        .map_err(|source| StartError::Bind {
            address: address.to_string(),
            source,
        })
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another process has it: stop that, or choose another address"
        }
        io::ErrorKind::PermissionDenied => {
            "; choose a port above 1023 or a folder that may be written to"
        }
        io::ErrorKind::AddrNotAvailable => {
            "; no interface has this address: `0.0.0.0` stands for all of them"
        }
        _ => "",
    }
}

/// The admin port is served on the main thread: a busy worker delays no probe.
async fn serve_admin(
    listener: Listener,
    handler: Rc<Admin>,
    metrics: Arc<Metrics>,
    clocks: Clocks,
) {
    let lobby = Rc::new(Lobby::new());
    loop {
        match listener
            .accept()
            .await
            .and_then(|accepted| accepted.into_client(clocks))
        {
            Ok(client) => {
                let (handler, lobby, metrics) = (handler.clone(), lobby.clone(), metrics.clone());
                tokio::task::spawn_local(async move {
                    server::serve(Rc::new(client), handler, lobby, &metrics).await;
                });
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot accept on the admin port"
                );
                tokio::time::sleep(server::PAUSE).await;
            }
        }
    }
}
