//! The choice, by figures.

use std::cell::Cell;
use std::collections::HashMap;

use proptest::prelude::*;

use super::super::rendezvous::identity;
use super::*;
use crate::config::HashKey;

fn entries(weights: &[u32]) -> Vec<Entry> {
    let entry = |(index, weight): (usize, &u32)| Entry {
        index,
        identity: identity(format!("http://10.0.0.{index}:80").as_bytes()),
        weight: *weight,
    };
    weights.iter().enumerate().map(entry).collect()
}

fn table(policy: &Policy, weights: &[u32]) -> Table {
    Table::new(policy, entries(weights), fastrand::Rng::with_seed(7))
}

const HASH: Policy = Policy::Hash(HashKey::ClientIp);

/// How often each is chosen in so many requests, one after the other.
fn shares(table: &mut Table, count: usize, requests: u32) -> Vec<u32> {
    let mut shares = vec![0; count];
    for key in 0..requests {
        shares[table.choose(Some(identity(&key.to_le_bytes())), |_| 0)] += 1;
    }
    shares
}

#[test]
fn shares_are_as_the_weights_say() {
    for (policy, tolerance) in [
        (Policy::LeastRequests, 0.03),
        (Policy::RoundRobin, 0.001),
        (HASH, 0.1),
    ] {
        for weights in [&[1, 1, 1][..], &[3, 1], &[5, 3, 2], &[100, 1, 1, 50]] {
            let requests = 120_000;
            let shares = shares(&mut table(&policy, weights), weights.len(), requests);
            let total: u32 = weights.iter().sum();
            for (share, weight) in shares.iter().zip(weights) {
                let expected = f64::from(*weight) / f64::from(total) * f64::from(requests);
                let off = (f64::from(*share) - expected).abs() / expected;
                // A weight of one in a hundred has few groups of keys, so chance shows.
                let tolerance = if *weight * 20 < total {
                    0.35
                } else {
                    tolerance
                };
                assert!(off <= tolerance, "{policy:?} {weights:?}: {shares:?}");
            }
        }
    }
}

#[test]
fn turns_are_spread() {
    assert_eq!(turns([2, 2, 2].into_iter()), [0, 1, 2]);
    assert_eq!(turns([4, 2].into_iter()), [0, 1, 0]);
    assert_eq!(turns([5, 1, 1].into_iter()), [0, 0, 0, 1, 2, 0, 0]);
}

#[test]
fn who_has_fewer_requests_gets_the_next_one() {
    let mut table = table(&Policy::LeastRequests, &[1, 1]);
    for _ in 0..100 {
        assert_eq!(table.choose(None, |index| [5, 4][index]), 1);
        assert_eq!(table.choose(None, |index| [0, 1][index]), 0);
    }
}

#[test]
fn open_requests_level_out_by_weight() {
    let mut table = table(&Policy::LeastRequests, &[3, 1, 1, 1]);
    let mut open = [0_usize; 4];
    for _ in 0..6_000 {
        let chosen = table.choose(None, |index| open[index]);
        open[chosen] += 1;
    }
    for (open, expected) in open.iter().zip([3_000, 1_000, 1_000, 1_000]) {
        assert!(open.abs_diff(expected) < 60, "{open} of {expected}");
    }
}

#[test]
fn two_hundred_cost_as_much_as_three() {
    for policy in [Policy::LeastRequests, Policy::RoundRobin, HASH] {
        let steps = [3, 200].map(|count| {
            let mut table = table(&policy, &vec![1; count]);
            let looks = Cell::new(0);
            let load = |_| {
                looks.set(looks.get() + 1);
                0
            };
            let keys = (0..64_000_u64).map(|key| identity(&key.to_le_bytes()));
            let keys: Vec<_> = keys.collect();
            for key in &keys {
                table.choose(Some(*key), load); // by now every group of keys has its owner
            }
            looks.set(0);
            let decided = |table: &Table| match &table.choice {
                Choice::Hash { slots, .. } => slots.decided,
                Choice::LeastRequests(_) | Choice::RoundRobin { .. } => 0,
            };
            let before = decided(&table);
            for key in &keys {
                table.choose(Some(*key), load);
            }
            (looks.get(), decided(&table) - before)
        });
        assert_eq!(steps[0], steps[1], "{policy:?}");
        assert!(steps[0].0 <= 2 * 64_000 && steps[0].1 == 0, "{steps:?}");
    }
}

proptest! {
    #[test]
    fn a_backend_that_goes_takes_only_its_own_keys_with_it(
        weights in prop::collection::vec(1_u32..5, 2..30),
        gone in any::<prop::sample::Index>(),
        keys in prop::collection::vec(any::<u64>(), 1..300),
    ) {
        let gone = gone.index(weights.len());
        let all = entries(&weights);
        let mut left = all.clone();
        left.remove(gone);
        let random = fastrand::Rng::with_seed(1);
        let mut before = Table::new(&HASH, all, random.clone());
        let mut after = Table::new(&HASH, left, random);
        for key in keys {
            let (was, is) = (before.choose(Some(key), |_| 0), after.choose(Some(key), |_| 0));
            // The second choice is known in advance: a failed request goes there at once.
            let next = before.choose_other(Some(key), |_| 0, |index| index != gone);
            prop_assert_eq!(next, Some(is));
            prop_assert!(was == is || was == gone);
        }
    }

    #[test]
    fn whichever_is_chosen_otherwise_is_free(
        weights in prop::collection::vec(1_u32..100, 1..40),
        free in any::<u64>(),
        key in any::<Option<u64>>(),
        loads in prop::collection::vec(0_usize..10, 40),
    ) {
        for policy in [Policy::LeastRequests, Policy::RoundRobin, HASH] {
            let is_free = |index: usize| free >> index & 1 == 1;
            let chosen = table(&policy, &weights).choose_other(key, |index| loads[index], is_free);
            prop_assert_eq!(chosen.is_some(), (0..weights.len()).any(is_free));
            prop_assert!(chosen.is_none_or(is_free));
        }
    }
}

#[test]
fn a_hash_without_a_key_uses_request_counts() {
    let mut table = table(&HASH, &[1, 1]);
    assert_eq!(table.choose(None, |index| [5, 4][index]), 1);
    let mut seen = HashMap::new();
    for _ in 0..100 {
        *seen.entry(table.choose(None, |_| 0)).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 2);
}
