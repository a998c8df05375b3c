//! Counters that cost a request next to nothing: each thread has its own, and whoever wants to know adds them up.
//!
//! A counter that all threads share is a cache line that travels from core to core with every event. So what is counted often is in a
//! [`Block`] of the thread that counts it. Its handle ([`Local`]) cannot leave that thread: with one writer, to add is a plain load and
//! a plain store. A [`Registry`] has the blocks of all threads by name, and the sums.

use std::array;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A number that one thread changes, up or down, and every thread may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// Numbers that all threads change, by index, for rare events.
#[derive(Debug)]
pub struct Shared<const N: usize>([AtomicU64; N]);

/// How often values were how large, and their sum. Values are millionths of the unit, such as microseconds.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    buckets: [Counter; N],
    /// Values above the last bound.
    beyond: Counter,
    sum: Counter,
}

/// Everything that one thread counts under one name.
pub trait Block: Default + Send + Sync {
    /// All of it, in an order that is always the same.
    fn counters(&self) -> impl Iterator<Item = &Counter>;
}

/// This thread's block of some name. It is not `Send`: only this thread counts in it.
#[derive(Debug)]
#[expect(
    clippy::redundant_allocation,
    reason = "each request clones it, and that is to be no atomic operation"
)]
pub struct Local<B>(Rc<Arc<B>>);

/// The blocks of all threads, by name. A name exists as long as a thread has its block.
#[derive(Debug, Default)]
pub struct Registry<B>(Mutex<State<B>>);

#[derive(Debug, Default)]
struct State<B> {
    series: BTreeMap<Box<str>, Series<B>>,
    /// The counts of names that are gone.
    gone: B,
}

#[derive(Debug, Default)]
struct Series<B> {
    blocks: Vec<Arc<B>>,
    /// The counts of blocks that are gone.
    gone: B,
}

impl Counter {
    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds `more`.
    pub fn add(&self, more: u64) {
        self.0
            .store(self.get().wrapping_add(more), Ordering::Relaxed);
    }

    /// One more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// One less.
    pub fn decrement(&self) {
        self.add(1_u64.wrapping_neg());
    }
}

impl<const N: usize> Shared<N> {
    /// One more of `index`.
    pub fn increment(&self, index: usize) {
        self.0[index].fetch_add(1, Ordering::Relaxed);
    }

    /// The number at `index`.
    pub fn get(&self, index: usize) -> u64 {
        self.0[index].load(Ordering::Relaxed)
    }
}

impl<const N: usize> Default for Shared<N> {
    fn default() -> Self {
        Self(array::from_fn(|_| AtomicU64::default()))
    }
}

/// `N` counters at zero.
pub fn zeros<const N: usize>() -> [Counter; N] {
    array::from_fn(|_| Counter::default())
}

/// A duration in millionths of a second, to the nearest.
pub fn micros(duration: Duration) -> u64 {
    let nanos = u64::from(duration.subsec_nanos());
    let seconds = duration.as_secs().saturating_mul(1_000_000);
    seconds.saturating_add((nanos + 500) / 1000)
}

impl<const N: usize> Histogram<N> {
    /// Counts `value` in the first bucket whose bound it does not exceed.
    pub fn observe(&self, bounds: &[u64; N], value: u64) {
        let bucket = bounds.iter().position(|bound| value <= *bound);
        bucket
            .map_or(&self.beyond, |bucket| &self.buckets[bucket])
            .increment();
        self.sum.add(value);
    }

    /// The number of values in each bucket alone; the last is above all bounds.
    pub fn buckets(&self) -> impl Iterator<Item = u64> {
        let buckets = self.buckets.iter().chain([&self.beyond]);
        buckets.map(Counter::get)
    }

    /// The sum of all values.
    pub fn sum(&self) -> u64 {
        self.sum.get()
    }

    /// All of its counters.
    pub fn counters(&self) -> impl Iterator<Item = &Counter> {
        self.buckets.iter().chain([&self.beyond, &self.sum])
    }
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self {
            buckets: zeros(),
            beyond: Counter::default(),
            sum: Counter::default(),
        }
    }
}

impl<B: Block> Registry<B> {
    /// A block for this thread to count in under `name`.
    pub fn local(&self, name: &str) -> Local<B> {
        let block = Arc::new(B::default());
        let mut state = self.state();
        let series = state.series.entry(name.into()).or_default();
        series.blocks.push(block.clone());
        Local(Rc::new(block))
    }

    /// The counts of each name, in the order of names.
    pub fn by_name(&self) -> Vec<(Box<str>, B)> {
        let state = self.state();
        let series = state.series.iter();
        series
            .map(|(name, series)| (name.clone(), series.sum()))
            .collect()
    }

    /// The sum of all counts, names that are gone included.
    pub fn total(&self) -> B {
        let state = self.state();
        let total = B::default();
        add(&total, &state.gone);
        for series in state.series.values() {
            add(&total, &series.sum());
        }
        total
    }

    /// The blocks, without those that are no longer in use.
    fn state(&self) -> MutexGuard<'_, State<B>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let State { series, gone } = &mut *state;
        series.retain(|_, series| {
            series.give_up_blocks();
            let is_known = !series.blocks.is_empty();
            if !is_known {
                add(gone, &series.gone);
            }
            is_known
        });
        state
    }
}

impl<B: Block> Series<B> {
    fn give_up_blocks(&mut self) {
        let Self { blocks, gone } = self;
        blocks.retain_mut(|block| match Arc::get_mut(block) {
            // The thread has dropped its handle, so its last writes can be read now.
            Some(block) => {
                add(gone, block);
                false
            }
            None => true,
        });
    }

    fn sum(&self) -> B {
        let sum = B::default();
        add(&sum, &self.gone);
        for block in &self.blocks {
            add(&sum, block);
        }
        sum
    }
}

fn add<B: Block>(sum: &B, block: &B) {
    for (sum, counter) in sum.counters().zip(block.counters()) {
        sum.add(counter.get());
    }
}

impl<B> Clone for Local<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B> Deref for Local<B> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Two {
        up: Counter,
        sizes: Histogram<2>,
    }

    impl Block for Two {
        fn counters(&self) -> impl Iterator<Item = &Counter> {
            let Self { up, sizes } = self;
            [up].into_iter().chain(sizes.counters())
        }
    }

    fn seen(registry: &Registry<Two>) -> Vec<(String, u64)> {
        let by_name = registry.by_name().into_iter();
        by_name
            .map(|(name, block)| (name.into(), block.up.get()))
            .collect()
    }

    #[test]
    fn threads_count_for_themselves_and_nothing_is_lost() {
        let registry = Arc::new(Registry::<Two>::default());
        let here = registry.local("a");
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let registry = registry.clone();
                std::thread::spawn(move || {
                    for _ in 0..100 {
                        // Each time a worker switches to another configuration.
                        let there = registry.local("a");
                        (0..100).for_each(|_| there.up.increment());
                    }
                })
            })
            .collect();
        for _ in 0..1000 {
            here.up.increment();
            registry.by_name();
        }
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(seen(&registry), [("a".to_owned(), 41_000)]);
    }

    #[test]
    fn a_name_is_gone_with_its_last_handle_and_what_was_counted_is_not() {
        let registry = Registry::<Two>::default();
        let (a, b) = (registry.local("a"), registry.local("b"));
        a.up.add(3);
        b.up.add(4);
        let again = registry.local("a");
        drop(a);
        assert_eq!(seen(&registry), [("a".to_owned(), 3), ("b".to_owned(), 4)]);
        again.up.add(2);
        drop(b);
        assert_eq!(seen(&registry), [("a".to_owned(), 5)]);
        drop(again);
        assert_eq!(seen(&registry), []);
        assert_eq!(registry.total().up.get(), 9);
        let _new = registry.local("a");
        assert_eq!(seen(&registry), [("a".to_owned(), 0)]);
        assert_eq!(registry.total().up.get(), 9);
        assert!(registry.state().series["a"].blocks.len() == 1);
    }

    #[test]
    fn a_value_is_counted_in_the_first_bucket_that_takes_it() {
        let sizes = Histogram::default();
        for value in [0, 10, 11, 20, 21] {
            sizes.observe(&[10, 20], value);
        }
        assert_eq!(sizes.buckets().collect::<Vec<_>>(), [2, 2, 1]);
        assert_eq!(sizes.sum(), 62);
    }

    #[test]
    fn a_gauge_goes_down_again() {
        let gauge = Counter::default();
        gauge.increment();
        gauge.increment();
        gauge.decrement();
        assert_eq!(gauge.get(), 1);
    }

    #[test]
    fn durations_are_rounded() {
        assert_eq!(micros(Duration::from_nanos(1_499)), 1);
        assert_eq!(micros(Duration::from_nanos(1_500)), 2);
        assert_eq!(micros(Duration::from_millis(2_001)), 2_001_000);
        assert_eq!(micros(Duration::MAX), u64::MAX);
    }
}
