//! Work that is done once for the whole process, and not by each thread: health checks, and looking up names.

use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::net::lookup_host;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::check::{self, Health};
use crate::config::{self, Config, HealthCheck, UpstreamAddress};
use crate::metrics::Metrics;
use crate::tls::ClientConfigs;
use crate::upstream::Upstream;
use crate::upstream_stats::UpstreamStats;

/// How often a name is looked up, which takes a thread: pods come and go within seconds, and connecting discovers one that has
/// gone.
const LOOKUP: Duration = Duration::from_secs(5);
/// How long a lookup may take. Resolvers do not wait longer.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(30);

/// The tasks that look.
#[derive(Debug, Default)]
pub struct Background {
    /// Every upstream exists from the start, not only when a thread first uses it: its counters begin at zero.
    stats: Vec<Arc<UpstreamStats>>,
    tasks: JoinSet<()>,
    known: HashMap<Job, Running>,
}

/// What one of them does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Job {
    Health {
        upstream: Arc<config::Upstream>,
        check: Check,
        host: Option<HeaderValue>,
    },
    Addresses {
        upstream: Arc<config::Upstream>,
    },
}

/// A check that can be looked up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Check {
    path: String,
    interval: Duration,
    timeout: Duration,
    after: (u32, u32),
}

#[derive(Debug)]
struct Running {
    task: AbortHandle,
    upstream: Rc<Upstream>,
}

impl Background {
    /// Looks at what `config` names from now on, and no longer at anything else. Call it on a tokio `LocalRuntime`.
    pub fn adopt(&mut self, config: &Config, tls: &ClientConfigs, metrics: &Arc<Metrics>) {
        let stats = |upstream: &Arc<config::Upstream>| {
            let url = upstream.address.to_string();
            metrics.upstreams.at(&url)
        };
        self.stats = config.upstreams().map(stats).collect();
        let mut before = std::mem::take(&mut self.known);
        for route in &config.routes {
            let proxied = route.action.proxied();
            let Some((proxied, balance)) = proxied.and_then(|proxied| {
                let balance = proxied.balance.as_ref()?;
                Some((proxied, balance))
            }) else {
                continue;
            };
            for backend in &balance.backends {
                let upstream = &backend.upstream;
                let make = || {
                    let tls = upstream.tls.as_ref().and_then(|settings| tls.get(settings));
                    let made = Upstream::new(upstream.clone(), tls.cloned(), metrics);
                    Rc::new(made)
                };
                if let Some((host, port)) = name_of(&upstream.address) {
                    let job = Job::Addresses {
                        upstream: upstream.clone(),
                    };
                    self.keep(job, &mut before, make, |upstream| {
                        resolve(upstream, host.to_owned(), port, metrics.clone())
                    });
                }
                // The first route with the backend decides how it is checked.
                let is_asked = self.known.keys().any(
                    |job| matches!(job, Job::Health { upstream: known, .. } if known == upstream),
                );
                if let Some(check) = balance.health.as_ref().filter(|_| !is_asked) {
                    let job = Job::Health {
                        upstream: upstream.clone(),
                        check: Check::of(check),
                        host: proxied.host.clone(),
                    };
                    self.keep(job, &mut before, make, |upstream| {
                        watch(
                            upstream,
                            check.clone(),
                            proxied.host.clone(),
                            metrics.clone(),
                        )
                    });
                }
            }
        }
        for (job, running) in before {
            let Running { task, upstream } = running;
            task.abort();
            // Nothing could clear its bad health or its addresses any more.
            let stats = upstream.health();
            match job {
                Job::Health { .. } => {
                    let now = metrics.upstreams.now();
                    stats.standing.checked(true, now);
                    for address in stats.addresses() {
                        let one = upstream.at_address(address, metrics);
                        one.health().standing.checked(true, now);
                    }
                }
                Job::Addresses { .. } => drop(stats.resolved(Vec::new())),
            }
        }
        metrics.upstreams.changed();
    }

    fn keep<F: Future<Output = ()> + 'static>(
        &mut self,
        job: Job,
        before: &mut HashMap<Job, Running>,
        upstream: impl FnOnce() -> Rc<Upstream>,
        task: impl FnOnce(Rc<Upstream>) -> F,
    ) {
        if self.known.contains_key(&job) {
            return;
        }
        let running = before.remove(&job).unwrap_or_else(|| {
            let upstream = upstream();
            Running {
                task: self.tasks.spawn_local(task(upstream.clone())),
                upstream,
            }
        });
        self.known.insert(job, running);
    }
}

impl Check {
    fn of(check: &HealthCheck) -> Self {
        let HealthCheck {
            path,
            interval,
            timeout,
            healthy_after,
            unhealthy_after,
        } = check;
        Self {
            path: path.to_string(),
            interval: *interval,
            timeout: *timeout,
            after: (*healthy_after, *unhealthy_after),
        }
    }
}

/// A name that may have several addresses, and its port.
fn name_of(address: &UpstreamAddress) -> Option<(&str, u16)> {
    match address {
        UpstreamAddress::Tcp { host, port, .. } if host.parse::<IpAddr>().is_err() => {
            Some((host, *port))
        }
        UpstreamAddress::Tcp { .. } | UpstreamAddress::Unix { .. } => None,
    }
}

/// Keeps the addresses of a name up to date, for ever. A failed lookup changes nothing: connecting reports the problem.
async fn resolve(upstream: Rc<Upstream>, host: String, port: u16, metrics: Arc<Metrics>) {
    loop {
        let looked_up = timeout(LOOKUP_TIMEOUT, lookup_host((&*host, port))).await;
        if let Ok(Ok(found)) = looked_up {
            let mut addresses: Vec<_> = found.map(|address| address.ip()).collect();
            addresses.sort_unstable();
            addresses.dedup();
            let count = addresses.len();
            if upstream.health().resolved(addresses) {
                metrics.upstreams.changed();
                tracing::info!(
                    upstream = upstream.name(),
                    addresses = count,
                    "upstream resolved"
                );
            }
        }
        sleep(LOOKUP).await;
    }
}

/// Checks an upstream's health, each of its addresses separately, for ever.
async fn watch(
    upstream: Rc<Upstream>,
    check: HealthCheck,
    host: Option<HeaderValue>,
    metrics: Arc<Metrics>,
) {
    let mut tasks = JoinSet::new();
    let mut asked: HashMap<IpAddr, (Arc<UpstreamStats>, AbortHandle)> = HashMap::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let addresses = upstream.health().addresses();
        if addresses.len() < 2 {
            for (_, (_, task)) in asked.drain() {
                task.abort();
            }
            if tasks.is_empty() {
                let (check, host) = (check.clone(), host.clone());
                tasks.spawn_local(watch_one(upstream.clone(), check, host, metrics.clone()));
            }
        } else {
            if asked.is_empty() {
                tasks.abort_all();
                while tasks.join_next().await.is_some() {}
                upstream
                    .health()
                    .standing
                    .checked(true, metrics.upstreams.now());
            }
            asked.retain(|address, (_, task)| {
                let is_there = addresses.contains(address);
                if !is_there {
                    task.abort();
                }
                is_there
            });
            for address in addresses {
                asked.entry(address).or_insert_with(|| {
                    let one = Rc::new(upstream.at_address(address, &metrics));
                    let stats = one.health().clone();
                    let (check, host) = (check.clone(), host.clone());
                    let task = watch_one(one, check, host, metrics.clone());
                    (stats, tasks.spawn_local(task))
                });
            }
        }
        sleep(LOOKUP.min(check.interval)).await;
    }
}

async fn watch_one(
    upstream: Rc<Upstream>,
    check: HealthCheck,
    host: Option<HeaderValue>,
    metrics: Arc<Metrics>,
) {
    let mut health = Health::new();
    loop {
        let answer = check::ask(&upstream, &check, host.as_ref()).await;
        if let Some(is_well) = health.answered(answer.is_ok(), &check) {
            let upstreams = &metrics.upstreams;
            upstream.health().standing.checked(is_well, upstreams.now());
            upstreams.changed();
            match answer {
                Ok(()) => tracing::info!(upstream = upstream.name(), "upstream healthy"),
                Err((reason, detail)) => tracing::warn!(
                    upstream = upstream.name(),
                    reason,
                    detail,
                    "upstream unhealthy"
                ),
            }
        }
        sleep(check.interval).await;
    }
}
