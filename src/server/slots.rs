//! How many connections each worker has, and who takes the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The connections of all workers.
#[derive(Debug)]
pub(super) struct ConnectionSlots {
    loads: Vec<AtomicUsize>,
    total: AtomicUsize,
}

/// One connection's slot on a worker, freed on drop.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<ConnectionSlots>,
    worker: usize,
}

impl ConnectionSlots {
    /// The slots of this many workers, without connections.
    pub(super) fn new(workers: usize) -> Self {
        Self {
            loads: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            total: AtomicUsize::new(0),
        }
    }

    /// How many connections there are.
    pub(super) fn connections(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Whether `worker` has no connection, not even one that it has yet to begin.
    pub(super) fn is_idle(&self, worker: usize) -> bool {
        self.load(worker) == 0
    }

    /// A place for a connection that `here` has accepted; `None` if there are `max` already.
    pub(super) fn reserve(self: &Arc<Self>, here: usize, max: usize) -> Option<Slot> {
        let one_more = |total| (total < max).then_some(total + 1);
        self.total
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()?;
        let worker = self.choose(here);
        self.loads[worker].fetch_add(1, Ordering::Relaxed);
        Some(Slot {
            slots: self.clone(),
            worker,
        })
    }

    /// The worker with the fewest connections: a few long streams are spread as evenly as many short requests. Among many an
    /// eighth more or less is even enough, and spares most of them the way to another thread.
    fn choose(&self, here: usize) -> usize {
        let loads = (0..self.loads.len()).map(|worker| (self.load(worker), worker));
        match loads.min() {
            Some((fewest, worker)) if self.load(here) > fewest + (fewest + 4) / 8 => worker,
            _ => here,
        }
    }

    fn load(&self, worker: usize) -> usize {
        self.loads[worker].load(Ordering::Relaxed)
    }
}

impl Slot {
    /// Whose connection it is.
    pub(super) fn worker(&self) -> usize {
        self.worker
    }

    /// It is that of `worker` now.
    pub(super) fn move_to(&mut self, worker: usize) {
        self.slots.loads[worker].fetch_add(1, Ordering::Relaxed);
        self.slots.loads[self.worker].fetch_sub(1, Ordering::Relaxed);
        self.worker = worker;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.loads[self.worker].fetch_sub(1, Ordering::Relaxed);
        self.slots.total.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The loads of `workers` after connections that were accepted by those in `accepting`, one after the other.
    fn loads(workers: usize, accepting: impl IntoIterator<Item = usize>) -> Vec<usize> {
        let slots = Arc::new(ConnectionSlots::new(workers));
        let taken: Vec<_> = accepting
            .into_iter()
            .map(|here| slots.reserve(here, usize::MAX))
            .collect();
        let loads = (0..workers).map(|worker| slots.load(worker)).collect();
        drop(taken);
        assert!((0..workers).all(|worker| slots.is_idle(worker)));
        assert_eq!(slots.connections(), 0);
        loads
    }

    #[test]
    fn a_few_are_spread_evenly_whoever_accepts_them() {
        assert_eq!(loads(2, [0, 0, 0, 0]), [2, 2]);
        assert_eq!(loads(2, [1, 1, 1, 1]), [2, 2]);
        assert_eq!(loads(4, [2; 8]), [2, 2, 2, 2]);
        assert_eq!(loads(1, [0; 8]), [8]);
    }

    #[test]
    fn of_many_each_has_an_eighth_more_at_most() {
        for accepting in [[0; 900], std::array::from_fn(|i| i / 300)] {
            let loads = loads(3, accepting);
            let (most, fewest) = (loads.iter().max().unwrap(), loads.iter().min().unwrap());
            assert!(*most <= fewest + (fewest + 4) / 8 + 1, "{loads:?}");
        }
    }

    #[test]
    fn there_are_never_more_than_there_may_be() {
        let slots = Arc::new(ConnectionSlots::new(2));
        let taken: Vec<_> = (0..8)
            .map(|worker| {
                let slots = slots.clone();
                std::thread::spawn(move || {
                    let places = (0..1000).map(|_| slots.reserve(worker % 2, 100));
                    places.flatten().collect::<Vec<_>>()
                })
            })
            .flat_map(|thread| thread.join().unwrap())
            .collect();
        assert_eq!(taken.len(), 100);
        assert!(slots.reserve(0, 100).is_none());
        drop(taken);
        assert!(slots.reserve(0, 100).is_some());
    }

    #[test]
    fn a_place_can_move() {
        let slots = Arc::new(ConnectionSlots::new(2));
        let mut slot = slots.reserve(0, 1).unwrap();
        slot.move_to(1);
        assert!(slots.is_idle(0) && !slots.is_idle(1));
        assert_eq!((slot.worker(), slots.connections()), (1, 1));
    }
}
