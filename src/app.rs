//! The composition root: a configuration becomes listeners, workers and an admin port, runs, and ends.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::Instant;

use crate::admin::Admin;
use crate::config::{Config, ListenAddress, Source, Workers as WorkerCount};
use crate::metrics::Metrics;
use crate::reload::{Cause, InForce};
use crate::resume::Streams;
use crate::server::{
    self, Admission, Listener, ListenerSettings, Reserve, ShutdownWatch, Stage, Workers,
};
use crate::signal::{Request, Signals};
use crate::supervisor::Supervisor;
use crate::tls;

/// A sidecar whose addresses are bound and whose workers run; [`run`](Self::run) begins to accept.
#[derive(Debug)]
pub struct App {
    /// The sockets of each address, and what its connections have to pass.
    listeners: Vec<(Vec<Listener>, ListenerSettings)>,
    admin: Option<Listener>,
    workers: Arc<Workers>,
    metrics: Arc<Metrics>,
    in_force: InForce,
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
    /// A certificate or key is not usable.
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
    /// Every response was complete, or ended where its client can resume.
    Complete,
    /// This many responses were aborted.
    Cut(u64),
}

/// How many file descriptors are kept for the admin port: a probe, a scrape, and what they read of `/proc`.
const ADMIN_RESERVE: usize = 4;
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
        let metrics = Arc::new(Metrics::new());
        let count = match config.server.workers {
            WorkerCount::Auto => server::available_cores(),
            WorkerCount::Count(count) => count.get(),
        };
        let streams = Streams::new(&metrics).map_err(StartError::Workers)?;
        let in_force = InForce::new(config, count, &streams, &metrics)?;
        let mut listeners = Vec::new();
        for listener in &config.listeners {
            let settings = in_force.listener_settings(listener)?;
            let address = &listener.address;
            let sockets = Listener::bind_for(address, listener.mode, count)
                .await
                .map_err(|source| cannot_bind(address, source))?;
            listeners.push((sockets, settings));
        }
        let admin = match config.admin.listen {
            Some(address) => {
                let address = ListenAddress::Tcp(address);
                let listener = Listener::bind(&address).await;
                Some(listener.map_err(|source| cannot_bind(&address, source))?)
            }
            None => None,
        };
        let workers =
            Workers::start(count, &metrics, in_force.proxies()).map_err(StartError::Workers)?;
        Ok(Self {
            listeners,
            admin,
            workers: Arc::new(workers),
            metrics,
            in_force,
        })
    }

    /// Where clients connect, as bound.
    pub fn addresses(&self) -> Vec<ListenAddress> {
        self.listeners
            .iter()
            .filter_map(|(sockets, _)| sockets.first()?.address().ok())
            .collect()
    }

    /// Where the admin port is, as bound.
    pub fn admin_address(&self) -> Option<ListenAddress> {
        self.admin.as_ref().and_then(|admin| admin.address().ok())
    }

    /// Serves until a signal says to stop, and then until nothing is left or the drain's time is up. `supervisor` is notified of
    /// both. Until the stop, the configuration is reloaded from `source` when that changes or a signal asks for it.
    pub async fn run(
        self,
        mut signals: Signals,
        supervisor: Supervisor,
        mut source: Source,
    ) -> Ending {
        let Self {
            listeners,
            admin: admin_listener,
            workers,
            metrics,
            mut in_force,
        } = self;
        let admission = &in_force.admission;
        let ready = Arc::new(AtomicBool::new(true));
        let mut admin_port = JoinSet::new();
        let config = in_force.config();
        let admin = Admin::new(
            config,
            workers.clone(),
            metrics.clone(),
            in_force.streams().clone(),
            ready.clone(),
        );
        let tls = listeners
            .iter()
            .filter_map(|(_, entrance)| entrance.tls.clone());
        admin.show_listeners(tls.collect());
        admin.show_upstreams(in_force.upstream_tls());
        let admin = Rc::new(admin);
        if let Some(listener) = admin_listener {
            tracing::info!(
                address = listener.address().ok().map(tracing::field::display),
                "admin port open"
            );
            let (handler, metrics) = (admin.clone(), metrics.clone());
            admin_port.spawn_local(serve_admin(
                listener,
                handler,
                metrics,
                admission.subscribe(),
            ));
        }
        for (sockets, entrance) in listeners {
            let address = sockets.first().and_then(|socket| socket.address().ok());
            tracing::info!(
                address = address.map(tracing::field::display),
                tls = entrance.tls.is_some(),
                "listening"
            );
            workers.listen(sockets, &entrance, admission);
        }

        supervisor.ready();

        let stop = loop {
            let cause = tokio::select! {
                asked = signals.next() => match asked {
                    Request::Stop(stop) => break stop,
                    Request::Reload => Cause::Asked,
                },
                () = in_force.outdated(&source) => Cause::File,
            };
            in_force.reload(&mut source, cause, &admin).await;
        };
        let drain = &in_force.config().drain;
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
        workers.close().await;
        tracing::info!(
            connections = workers.connections(),
            ?timeout,
            "draining: accepting no more; a second signal closes what is open"
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
            tracing::warn!(
                connections = workers.connections(),
                "closing remaining connections"
            );
            workers.enter(Stage::Cutting);
            let _ = tokio::time::timeout(LAST_GRACE, workers.done()).await;
        }
        match metrics.cuts() {
            0 => Ending::Complete,
            cut => Ending::Cut(cut),
        }
    }
}

fn cannot_bind(address: &ListenAddress, source: io::Error) -> StartError {
    StartError::Bind {
        address: address.to_string(),
        source,
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; the address is in use: stop the other process, or choose another address"
        }
        io::ErrorKind::PermissionDenied => {
            "; choose a port above 1023 or a folder that may be written to"
        }
        io::ErrorKind::AddrNotAvailable => {
            "; no interface has this address: `0.0.0.0` means all of them"
        }
        _ => "",
    }
}

/// The admin port is served on the main thread: a busy worker delays no probe.
async fn serve_admin(
    listener: Listener,
    handler: Rc<Admin>,
    metrics: Arc<Metrics>,
    admission: watch::Receiver<Admission>,
) {
    let shutdown = Rc::new(ShutdownWatch::new());
    let reserve = Rc::new(Reserve::new(ADMIN_RESERVE));
    let what = "connections to the admin port";
    let mut connections = match listener.accepting(what, Arc::default()) {
        Ok(connections) => connections.with_reserve(reserve.clone()),
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot accept {what}"
            );
            return;
        }
    };
    loop {
        let accepted = connections.next().await;
        let client = accepted.into_client(admission.borrow().connection_settings);
        let (handler, shutdown, metrics) = (handler.clone(), shutdown.clone(), metrics.clone());
        let reserve = reserve.clone();
        spawn_local(async move {
            server::serve(Rc::new(client), handler, shutdown, &metrics).await;
            reserve.fill();
        });
    }
}
