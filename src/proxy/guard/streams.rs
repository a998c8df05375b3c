//! How many streams clients have open, counted for all threads. A client is in the table for as long as it has one, so the table is
//! no larger than what its streams take anyway.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

const PARTS: usize = 64;

/// The table of a limit.
pub(super) struct Streams([Mutex<HashMap<u64, u32>>; PARTS]);

/// One stream, which is counted for as long as this lives.
#[derive(Debug)]
pub(in crate::proxy) struct StreamSlot {
    streams: Arc<Streams>,
    client: u64,
}

impl Streams {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }

    /// Counts one more stream of `client`, if it has less than `most`.
    pub(super) fn take(self: &Arc<Self>, client: u64, most: u32) -> Option<StreamSlot> {
        let mut part = self
            .part(client)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let open = part.entry(client).or_default(); // `most` is never zero, so a new entry stays
        if *open >= most {
            return None;
        }
        *open += 1;
        Some(StreamSlot {
            streams: self.clone(),
            client,
        })
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
    fn part(&self, client: u64) -> &Mutex<HashMap<u64, u32>> {
        &self.0[client as usize % PARTS]
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let part = self.streams.part(self.client);
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut open) = part.entry(self.client) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_and_nothing_is_left_of_one_without() {
        let streams = Arc::new(Streams::new());
        let (one, two) = (streams.take(7, 2), streams.take(7, 2));
        assert!(one.is_some() && two.is_some());
        assert!(streams.take(7, 2).is_none());
        assert!(streams.take(7, 3).is_some(), "a limit that was raised");
        let other = streams.take(7 + PARTS as u64, 2);
        assert!(other.is_some());
        drop(one);
        assert!(streams.take(7, 2).is_some());
        drop((two, other));
        let left = |part: &Mutex<HashMap<_, _>>| part.lock().unwrap().len();
        assert_eq!(streams.0.iter().map(left).sum::<usize>(), 0);
    }
}
