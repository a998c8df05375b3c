//! The members of a pool, and which of them are available.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use super::choose::{Entry, Table};
use super::rendezvous::identity;
use crate::config::{Balance, Policy};
use crate::metrics::Metrics;
use crate::upstream::Upstream;
use crate::upstream_stats::UpstreamStats;

/// A member that requests may go to: a backend, or one of the addresses of its name.
#[derive(Debug)]
pub(super) struct Member {
    /// The index of its backend in the configuration.
    pub(super) backend: usize,
    pub(super) upstream: Rc<Upstream>,
    /// Who waits for it, or for any of them.
    pub(super) queue: Arc<Notify>,
    /// Which of the addresses of the backend's name it is; `None` where it is the backend as a whole.
    address: Option<IpAddr>,
    identity: u64,
    weight: u32,
    backup: bool,
}

/// A pool's members, and the table of those that are available.
#[derive(Debug)]
pub(super) struct Roster {
    pub(super) members: Vec<Rc<Member>>,
    pub(super) table: Table,
    /// It is right as long as this is the one of all standings,
    generation: u64,
    /// and until this time, when an ejection ends.
    until: u64,
}

impl Roster {
    /// The roster of the backends of `config`, which are these `upstreams`. Members of `before` stay as they are; requests that
    /// wait for any member wait in `queue`.
    pub(super) fn new(
        config: &Balance,
        upstreams: &[Rc<Upstream>],
        before: &[Rc<Member>],
        queue: &Arc<Notify>,
        metrics: &Metrics,
    ) -> Self {
        // Before the standings are looked at: what changes meanwhile is seen the next time.
        let generation = metrics.upstreams.generation();
        let now = metrics.upstreams.now();
        let mut members = Vec::new();
        for (backend, upstream) in upstreams.iter().enumerate() {
            let mut add = |address| {
                let mut known = before.iter();
                let is_same =
                    |known: &&Rc<Member>| known.backend == backend && known.address == address;
                let member = known.find(is_same).cloned();
                let make = || {
                    Rc::new(Member::new(
                        config, backend, upstream, address, queue, metrics,
                    ))
                };
                members.push(member.unwrap_or_else(make));
            };
            // A single address is that of the backend: connecting looks it up.
            match &*upstream.health().addresses() {
                [] | [_] => add(None),
                several => several.iter().for_each(|address| add(Some(*address))),
            }
        }
        let entries = |is_in: &dyn Fn(&Member) -> bool| {
            let members = members.iter().enumerate();
            let entries = members.filter(|(_, member)| is_in(member));
            Some(entries.map(Member::entry).collect::<Vec<_>>()).filter(|found| !found.is_empty())
        };
        let is_good = |member: &Member| member.stats().standing.is_good(now);
        // If none is good, all are used: any response is better than none.
        let asked = entries(&|member| !member.backup && is_good(member))
            .or_else(|| entries(&is_good))
            .or_else(|| entries(&|member| member.stats().standing.is_well()))
            .or_else(|| entries(&|_| true))
            .unwrap_or_default();
        let ejections = members
            .iter()
            .filter_map(|member| member.stats().standing.ejected_until(now));
        let until = ejections.min().unwrap_or(u64::MAX);
        Self {
            table: Table::new(&config.policy, asked, fastrand::Rng::new()),
            until,
            generation,
            members,
        }
    }

    /// Whether nothing has changed since.
    pub(super) fn is_current(&self, metrics: &Metrics) -> bool {
        let upstreams = &metrics.upstreams;
        self.generation == upstreams.generation()
            && (self.until == u64::MAX || upstreams.now() < self.until)
    }

    /// One of those that are `free`: an available one if possible, else any.
    pub(super) fn choose_other(
        &self,
        policy: &Policy,
        key: Option<u64>,
        is_free: impl Fn(&Rc<Member>) -> bool,
    ) -> Option<Rc<Member>> {
        let is_free = |index: usize| is_free(&self.members[index]);
        let load = |index: usize| self.load(index);
        let chosen = self.table.choose_other(key, load, is_free);
        let chosen = chosen.or_else(|| {
            let all = self.members.iter().enumerate().map(Member::entry);
            let all = Table::new(policy, all.collect(), fastrand::Rng::new());
            all.choose_other(key, load, is_free)
        });
        chosen.map(|index| self.members[index].clone())
    }

    /// One of the available members that is `free`.
    pub(super) fn choose_free(
        &self,
        key: Option<u64>,
        is_free: impl Fn(&Rc<Member>) -> bool,
    ) -> Option<Rc<Member>> {
        let is_free = |index: usize| is_free(&self.members[index]);
        let chosen = self
            .table
            .choose_other(key, |index| self.load(index), is_free);
        chosen.map(|index| self.members[index].clone())
    }

    /// The member for the next request.
    pub(super) fn choose(&mut self, key: Option<u64>) -> Rc<Member> {
        let members = &self.members;
        let chosen = self
            .table
            .choose(key, |index| members[index].stats().active());
        self.members[chosen].clone()
    }

    fn load(&self, index: usize) -> usize {
        self.members[index].stats().active()
    }
}

impl Member {
    fn new(
        config: &Balance,
        backend: usize,
        upstream: &Rc<Upstream>,
        address: Option<IpAddr>,
        queue: &Arc<Notify>,
        metrics: &Metrics,
    ) -> Self {
        let named = upstream.config().address.to_string();
        let upstream = match address {
            Some(address) => Rc::new(upstream.at_address(address, metrics)),
            None => upstream.clone(),
        };
        let is_hash = matches!(config.policy, Policy::Hash(_));
        // With a hash, no other one will do.
        let queue = if is_hash {
            Arc::default()
        } else {
            queue.clone()
        };
        if config.limit.is_some() {
            upstream.health().wake(&queue);
        }
        let identified = match address {
            Some(address) => format!("{named} {address}"),
            None => named,
        };
        let settings = &config.backends[backend];
        Self {
            backend,
            upstream,
            queue,
            address,
            identity: identity(identified.as_bytes()),
            weight: settings.weight,
            backup: settings.backup,
        }
    }

    pub(super) fn stats(&self) -> &Arc<UpstreamStats> {
        self.upstream.health()
    }

    /// Its URL in the configuration, and which of its addresses it is.
    pub(super) fn name(&self) -> String {
        self.upstream.name()
    }

    fn entry((index, member): (usize, &Rc<Self>)) -> Entry {
        Entry {
            index,
            identity: member.identity,
            weight: member.weight,
        }
    }
}
