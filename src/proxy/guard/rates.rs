//! Request rates of clients, counted for all threads in memory that does not grow.
//!
//! For each client one number is kept: when it will have used up nothing (GCRA). Each request advances that by the rate's interval,
//! but no further than a burst ahead of now. A client that has been quiet is the same as one that was never seen, so forgetting it
//! changes nothing.
//!
//! The table has sets of eight buckets. A client that finds its set full takes the bucket that is nearest to having used up
//! nothing: mostly that of a client that can be forgotten at no loss, else of one that is forgiven a part of its last burst. So a
//! client with very many addresses can make the limit milder, for others and for itself, but never stricter: no client is rejected
//! for what another one has done.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Rate;

/// The clients that have a place: 65,536, in a MiB. It is taken in parts, as clients come.
const PARTS: usize = 64;
const SETS: usize = 128;
const BUCKETS: usize = 8;

/// The table of a limit.
pub(super) struct Rates {
    parts: [OnceLock<Box<[Mutex<Set>]>>; PARTS],
    start: Instant,
}

type Set = [Bucket; BUCKETS];

/// A client, and the nanoseconds from the table's start until it will have used up nothing.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    client: u64,
    idle_at: u64,
}

impl Rates {
    pub(super) fn new() -> Self {
        Self {
            parts: [const { OnceLock::new() }; PARTS],
            start: Instant::now(),
        }
    }

    /// Counts a request of `client`, a random number for each client, or returns how long it has to wait.
    pub(super) fn take(&self, client: u64, rate: &Rate) -> Result<(), Duration> {
        let (part, set) = (low(client) % PARTS, low(client >> 32) % SETS);
        let part = self.parts[part].get_or_init(|| (0..SETS).map(|_| Mutex::default()).collect());
        let mut set = part[set].lock().unwrap_or_else(PoisonError::into_inner);
        let now = nanoseconds(self.start.elapsed());
        let interval = nanoseconds(rate.period.duration()) / u64::from(rate.count.get());
        let most = interval * u64::from(rate.burst.get());
        let place = match set.iter_mut().find(|place| place.client == client) {
            Some(place) => place,
            None => free(&mut set, client),
        };
        let idle_at = place.idle_at.max(now) + interval;
        let wait = (idle_at - now).saturating_sub(most);
        if wait > 0 {
            return Err(Duration::from_nanos(wait));
        }
        place.idle_at = idle_at;
        Ok(())
    }
}

/// A bucket for a new client.
fn free(set: &mut Set, client: u64) -> &mut Bucket {
    let mut free = 0;
    for (index, place) in set.iter().enumerate() {
        if place.idle_at < set[free].idle_at {
            free = index;
        }
    }
    set[free] = Bucket { client, idle_at: 0 };
    &mut set[free]
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
fn low(number: u64) -> usize {
    number as u32 as usize
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};
    use std::num::NonZeroU32;

    use tokio::time::{advance, pause};

    use super::*;
    use crate::config::Period;

    fn rate(count: u32, burst: u32) -> Rate {
        let number = |number| NonZeroU32::new(number).unwrap();
        Rate {
            count: number(count),
            period: Period::Second,
            burst: number(burst),
        }
    }

    /// The random number of this client.
    fn client(number: u64) -> u64 {
        static KEYS: OnceLock<RandomState> = OnceLock::new();
        KEYS.get_or_init(RandomState::new).hash_one(number)
    }

    #[tokio::test]
    async fn a_burst_passes_and_then_the_rate() {
        pause();
        let (rates, rate) = (Rates::new(), rate(10, 20));
        let take = |number| rates.take(client(number), &rate);
        let passing = |number| (0..100).take_while(|_| take(number).is_ok()).count();
        assert_eq!(passing(1), 20);
        assert_eq!(take(1), Err(Duration::from_millis(100)));
        assert_eq!(passing(2), 20, "another client has its own");
        advance(Duration::from_millis(99)).await;
        assert_eq!(passing(1), 0);
        advance(Duration::from_millis(1)).await;
        assert_eq!(passing(1), 1);
        advance(Duration::from_secs(1)).await;
        assert_eq!(passing(1), 10);
        advance(Duration::from_secs(3600)).await;
        assert_eq!(passing(1), 20, "no more is saved up");
        assert_eq!(
            take(1),
            Err(Duration::from_millis(100)),
            "asking costs nothing"
        );
    }

    #[tokio::test]
    async fn a_flood_of_clients_takes_no_more_memory_and_refuses_no_other() {
        pause();
        let (rates, rate) = (Rates::new(), rate(1, 2));
        let hammers = 7_000_000;
        while rates.take(client(hammers), &rate).is_ok() {}
        let mut refused = 0;
        for number in 0..500_000 {
            refused += usize::from(rates.take(client(number), &rate).is_err());
        }
        assert_eq!(refused, 0);
        let parts = rates.parts.iter().filter_map(OnceLock::get);
        let places: usize = parts.map(|part| part.len() * BUCKETS).sum();
        assert_eq!(places, PARTS * SETS * BUCKETS);
    }

    #[tokio::test]
    async fn ten_thousand_clients_are_all_known() {
        pause();
        let (rates, rate) = (Rates::new(), rate(1, 1));
        let known = |number| rates.take(client(number), &rate).is_err();
        let all = 0..10_000;
        assert!(!all.clone().any(known));
        let forgotten = all.filter(|number| !known(*number)).count();
        assert!(forgotten < 10, "{forgotten}");
    }
}
