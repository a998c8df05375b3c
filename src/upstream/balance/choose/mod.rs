//! Which of several backends gets a request: prepared when one of them comes, goes, fails or returns, so that a request costs the
//! same with three of them as with two hundred.
//!
//! No I/O, no clock: the state of the backends comes in with each call.

use super::rendezvous::{Candidate, Slots};
use super::sampler::Sampler;
use crate::config::Policy;

/// A backend in the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// Its index in the pool.
    pub(super) index: usize,
    /// Its identity, whatever its index and whoever computes it.
    pub(super) identity: u64,
    /// Its share, in comparison with the others'.
    pub(super) weight: u32,
}

/// The available backends, prepared for choosing.
#[derive(Debug)]
pub(super) struct Table {
    entries: Vec<Entry>,
    choice: Choice,
    random: fastrand::Rng,
}

#[derive(Debug)]
enum Choice {
    /// The one with fewer requests of two that are drawn ("power of two choices").
    LeastRequests(Sampler),
    /// One slot for each unit of weight, spread evenly.
    RoundRobin { turns: Vec<u16>, next: usize },
    Hash {
        slots: Slots,
        /// For requests without the hashed value.
        others: Sampler,
    },
}

impl Table {
    /// A table of these, of which there is at least one. It begins anywhere: all threads at once would begin with the same.
    pub(super) fn new(policy: &Policy, entries: Vec<Entry>, mut random: fastrand::Rng) -> Self {
        let weights = || entries.iter().map(|entry| entry.weight);
        let choice = match policy {
            Policy::LeastRequests => Choice::LeastRequests(Sampler::new(weights())),
            Policy::RoundRobin => {
                let turns = turns(weights());
                let next = random.usize(..turns.len().max(1));
                Choice::RoundRobin { turns, next }
            }
            Policy::Hash(_) => {
                let candidates = entries.iter().map(|entry| Candidate {
                    identity: entry.identity,
                    weight: entry.weight,
                });
                Choice::Hash {
                    slots: Slots::new(candidates.collect()),
                    others: Sampler::new(weights()),
                }
            }
        };
        Self {
            entries,
            choice,
            random,
        }
    }

    /// The index of the backend for the next request. `key` is the hashed value; `load` returns the requests that a backend has.
    pub(super) fn choose(&mut self, key: Option<u64>, load: impl Fn(usize) -> usize) -> usize {
        let Self {
            entries,
            choice,
            random,
        } = self;
        let at = match (choice, key) {
            (Choice::Hash { slots, .. }, Some(key)) => slots.owner(key),
            (
                Choice::LeastRequests(sampler)
                | Choice::Hash {
                    others: sampler, ..
                },
                _,
            ) => {
                let (one, other) = sampler.two(random);
                let is_less = |a: &Entry, b: &Entry| {
                    let (a_load, b_load) = (load(a.index) as u64, load(b.index) as u64);
                    a_load * u64::from(b.weight) < b_load * u64::from(a.weight)
                };
                if is_less(&entries[other], &entries[one]) {
                    other
                } else {
                    one
                }
            }
            (Choice::RoundRobin { turns, next }, _) => {
                let at = turns[*next];
                *next = (*next + 1) % turns.len();
                usize::from(at)
            }
        };
        entries[at].index
    }

    /// The next best of those that are `free`, by its index in the pool: for a request whose first choice has failed or is full. This
    /// looks at all of them.
    pub(super) fn choose_other(
        &self,
        key: Option<u64>,
        load: impl Fn(usize) -> usize,
        is_free: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let free = || {
            let entries = self.entries.iter().enumerate();
            entries.filter(|(_, entry)| is_free(entry.index))
        };
        let found = match (&self.choice, key) {
            (Choice::Hash { slots, .. }, Some(key)) => {
                free().max_by(|(a, _), (b, _)| slots.compare(key, *a, *b))
            }
            (Choice::RoundRobin { turns, next }, _) => {
                let order = turns[*next..].iter().chain(&turns[..*next]);
                let mut order = order.map(|&at| usize::from(at));
                let found = order.find(|&at| is_free(self.entries[at].index));
                found.map(|at| (at, &self.entries[at]))
            }
            (Choice::LeastRequests(_) | Choice::Hash { .. }, _) => {
                free().min_by(|(_, a), (_, b)| {
                    let (a_load, b_load) = (load(a.index) as u64, load(b.index) as u64);
                    (a_load * u64::from(b.weight)).cmp(&(b_load * u64::from(a.weight)))
                })
            }
        };
        found.map(|(_, entry)| entry.index)
    }
}

/// Each backend as often as its weight says, its slots as far apart as possible.
fn turns(weights: impl Iterator<Item = u32> + Clone) -> Vec<u16> {
    let divisor = weights.clone().fold(0, gcd).max(1);
    let mut turns = Vec::new();
    for (at, weight) in weights.enumerate() {
        let at = u16::try_from(at).unwrap_or(u16::MAX);
        let weight = weight / divisor;
        // The k-th of its slots is at (k + ½) / weight of the round.
        turns.extend((0..weight).map(|k| ((f64::from(k) + 0.5) / f64::from(weight), at)));
    }
    turns.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    turns.into_iter().map(|(_, at)| at).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests;
