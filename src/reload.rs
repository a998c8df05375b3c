//! The current configuration, and how a new one replaces it: for everything that begins from then on. Open streams, requests in
//! progress and their upstreams keep what they began with.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use crate::admin::Admin;
use crate::client::{ConnectionSettings, Limits};
use crate::config::{Config, Listener, Problems, Reloaded, Source};
use crate::exchange::AccessSink;
use crate::log;
use crate::metrics::{Metrics, Reload};
use crate::proxy::{Guards, Probe, Proxy};
use crate::resume::Streams;
use crate::server::{Admission, ListenerSettings};
use crate::tls::{self, ClientConfigs};
use crate::upstream::Background;

/// How often the file is checked. Its content is compared: that notices files written in place as well as the symlinks that
/// Kubernetes swaps, on every file system.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long a changed file has to stay the same: it may still be being written, and half of a file can be a good one.
const SETTLING: Duration = Duration::from_millis(200);
/// How long a reload waits for the workers to switch; a stuck one follows when it can.
const PATIENCE: Duration = Duration::from_millis(500);

/// The current configuration, and everything that uses it.
#[derive(Debug)]
pub struct InForce {
    config: Config,
    /// The TLS of its upstreams.
    tls: ClientConfigs,
    /// What its requests have to pass.
    guards: Guards,
    /// What outlives its clients.
    streams: Arc<Streams>,
    /// Has all certificates looked at at once.
    look: watch::Sender<()>,
    /// What holds for the next connection.
    pub admission: watch::Sender<Admission>,
    newest: watch::Sender<Arc<Newest>>,
    /// Looks after upstreams for all workers.
    background: Background,
    /// How many follow.
    workers: u32,
    metrics: Arc<Metrics>,
    /// The errors of the file, while it has any.
    rejected: Option<Problems>,
}

/// What the workers are sent.
#[derive(Debug)]
pub struct Newest {
    config: Config,
    tls: ClientConfigs,
    guards: Guards,
    probe: Option<Arc<Probe>>,
    /// Gets a permit from every worker that has switched to it.
    adopted: Semaphore,
}

/// Why the configuration is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// An operator has asked for it, and for its result.
    Asked,
    /// The file has changed, or has an error that may be fixed by now, perhaps in a file that it names.
    File,
}

impl InForce {
    /// Starts with `config`; the certificates of its upstreams are read and watched. Call it on a tokio `LocalRuntime`.
    pub fn new(
        config: &Config,
        workers: usize,
        streams: &Arc<Streams>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, tls::Error> {
        streams.limit(&config.history);
        let look = watch::Sender::new(());
        let tls = watch_upstreams(config, &ClientConfigs::new(), &look)?;
        let guards = watch_guards(config, &Guards::default(), &look);
        let mut background = Background::default();
        background.adopt(config, &tls, metrics);
        Ok(Self {
            background,
            config: config.clone(),
            admission: watch::Sender::new(admission(config)),
            newest: watch::Sender::new(Arc::new(Newest::new(config, &tls, &guards, None))),
            tls,
            guards,
            streams: streams.clone(),
            look,
            workers: u32::try_from(workers).unwrap_or(u32::MAX),
            metrics: metrics.clone(),
            rejected: None,
        })
    }

    /// It.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The TLS of its upstreams.
    pub fn upstream_tls(&self) -> &ClientConfigs {
        &self.tls
    }

    /// What outlives its clients.
    pub fn streams(&self) -> &Arc<Streams> {
        &self.streams
    }

    /// What makes the proxy of each worker, which then follows.
    pub fn proxies(&self) -> impl Fn() -> Rc<Proxy> + Clone + Send + use<> {
        let (newest, metrics) = (self.newest.subscribe(), self.metrics.clone());
        let streams = self.streams.clone();
        let first = newest.borrow().clone();
        move || {
            let proxy = Proxy::new(&first.config, &first.tls, &first.guards, &streams, &metrics);
            started(proxy, &first, newest.clone())
        }
    }

    /// The proxy of a worker on this thread, where `access_sink` takes the lines of the access log.
    pub fn proxy(&self, access_sink: AccessSink) -> Rc<Proxy> {
        let newest = self.newest.subscribe();
        let first = newest.borrow().clone();
        let proxy = Proxy::with_access_sink(
            &first.config,
            &first.tls,
            &first.guards,
            &self.streams,
            &self.metrics,
            access_sink,
        );
        started(proxy, &first, newest)
    }

    /// What the connections of `listener` have to pass, with certificates that are watched.
    pub fn listener_settings(&self, listener: &Listener) -> Result<ListenerSettings, tls::Error> {
        let tls = match &listener.tls {
            Some(settings) => {
                let (tls, watcher) = tls::watch(settings.clone())?;
                spawn_local(watcher.run(self.look.subscribe()));
                Some(tls)
            }
            None => None,
        };
        Ok(ListenerSettings {
            name: listener.name.clone(),
            proxy_protocol: listener.proxy_protocol,
            tls,
        })
    }

    /// Waits until there is a reason to read the file of `source` again.
    pub async fn outdated(&self, source: &Source) {
        loop {
            sleep(INTERVAL).await;
            let change = source.change();
            if change.is_none() && self.rejected.is_none() {
                continue;
            }
            sleep(SETTLING).await;
            if source.change() == change {
                return;
            }
        }
    }

    /// Applies the configuration of `source`, if it is valid.
    pub async fn reload(&mut self, source: &mut Source, cause: Cause, admin: &Admin) {
        if cause == Cause::Asked {
            self.look.send_replace(());
        }
        if source.file().is_none() {
            tracing::info!("nothing to reload: there is no configuration file");
            return;
        }
        let read = source.reload(&self.config).and_then(|reloaded| {
            let tls = watch_upstreams(&reloaded.config, &self.tls, &self.look)?;
            Ok((reloaded, tls))
        });
        match read {
            Ok((reloaded, tls)) => self.apply(reloaded, tls, admin).await,
            // Once is enough.
            Err(problems) if cause == Cause::File && self.rejected.as_ref() == Some(&problems) => {}
            Err(problems) => self.reject(problems, admin),
        }
    }

    async fn apply(&mut self, reloaded: Reloaded, tls: ClientConfigs, admin: &Admin) {
        let Reloaded {
            config,
            warnings,
            waiting,
        } = reloaded;
        log::adopt(&config.log);
        self.streams.limit(&config.history);
        self.admission.send_replace(admission(&config));
        let before = self.newest.borrow().probe.clone();
        self.guards = watch_guards(&config, &self.guards, &self.look);
        let newest = Arc::new(Newest::new(&config, &tls, &self.guards, before.as_ref()));
        self.background.adopt(&config, &tls, &self.metrics);
        (self.config, self.tls, self.rejected) = (config, tls, None);
        self.newest.send_replace(newest.clone());
        let adopted = timeout(PATIENCE, newest.adopted.acquire_many(self.workers)).await;
        tracing::info!(
            routes = self.config.routes.len(),
            waiting_for_restart = waiting.len(),
            "configuration reloaded: new requests use it"
        );
        if adopted.is_err() {
            tracing::warn!(
                "a worker is too busy to switch to the configuration now: it will later"
            );
        }
        warnings.iter().chain(&waiting).for_each(log::problem);
        admin.adopt(&self.config, waiting);
        admin.show_upstreams(&self.tls);
        self.metrics.reloaded(Reload::Applied);
    }

    fn reject(&mut self, problems: Problems, admin: &Admin) {
        tracing::warn!(
            problems = problems.iter().count(),
            "configuration not reloaded: the previous one stays active"
        );
        problems.iter().for_each(log::problem);
        admin.reject(problems.clone());
        self.metrics.reloaded(Reload::Rejected);
        self.rejected = Some(problems);
    }
}

impl Newest {
    fn new(
        config: &Config,
        tls: &ClientConfigs,
        guards: &Guards,
        before: Option<&Arc<Probe>>,
    ) -> Self {
        Self {
            config: config.clone(),
            tls: tls.clone(),
            guards: guards.clone(),
            probe: Probe::of(config, before),
            adopted: Semaphore::new(0),
        }
    }
}

/// `proxy`, which uses `first` and will follow `newest`.
fn started(proxy: Proxy, first: &Newest, newest: watch::Receiver<Arc<Newest>>) -> Rc<Proxy> {
    let proxy = Rc::new(proxy);
    proxy.set_probe(first.probe.clone());
    spawn_local(follow(proxy.clone(), newest));
    proxy
}

/// Keeps `proxy` on the newest configuration, for ever.
async fn follow(proxy: Rc<Proxy>, mut newest: watch::Receiver<Arc<Newest>>) {
    while newest.changed().await.is_ok() {
        let newest = newest.borrow_and_update().clone();
        proxy.adopt(&newest.config, &newest.tls, &newest.guards);
        proxy.set_probe(newest.probe.clone());
        newest.adopted.add_permits(1);
    }
}

/// The TLS of all upstreams; files that are not `known` are read and watched.
fn watch_upstreams(
    config: &Config,
    known: &ClientConfigs,
    look: &watch::Sender<()>,
) -> Result<ClientConfigs, tls::Error> {
    let settings = config
        .upstreams()
        .filter_map(|upstream| upstream.tls.as_ref());
    let (configs, watchers) = tls::watch_all(settings, known)?;
    for watcher in watchers {
        spawn_local(watcher.run(look.subscribe()));
    }
    Ok(configs)
}

/// The guards; those of `before` continue, and new files are watched.
fn watch_guards(config: &Config, before: &Guards, look: &watch::Sender<()>) -> Guards {
    let (guards, watchers) = Guards::new(config, before);
    for watcher in watchers {
        spawn_local(watcher.run(look.subscribe()));
    }
    guards
}

fn admission(config: &Config) -> Admission {
    Admission {
        max_connections: config.server.max_connections,
        connection_settings: connection_settings(config),
    }
}

/// What holds for a client's connection.
fn connection_settings(config: &Config) -> ConnectionSettings {
    ConnectionSettings {
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
