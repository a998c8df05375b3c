//! What is under the lock of a kept stream: its history, how it ended, and who waits for it.

use std::task::{Context, Waker};

use tokio::time::Instant;

use crate::sse::{EndReason, History, Place, UpstreamEnd};

/// The state of one kept stream.
#[derive(Debug)]
pub(super) struct State {
    pub(super) history: History,
    /// The memory that is accounted for.
    pub(super) accounted: usize,
    pub(super) readers: Vec<Attached>,
    pub(super) next_reader: u32,
    /// Who reads the upstream, where no reader does so itself.
    pub(super) driver: Option<Waker>,
    /// How the upstream has ended.
    pub(super) end: Option<UpstreamEnd>,
    /// The stream is to end, for this reason.
    pub(super) stop: Option<EndReason>,
    /// Since when nobody reads it.
    pub(super) unread_since: Option<Instant>,
    /// It counts as one that goes on while nobody reads it.
    pub(super) is_counted: bool,
}

/// A client that reads it.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) id: u32,
    pub(super) place: Place,
    pub(super) waker: Option<Waker>,
    /// Another one has taken its place.
    pub(super) is_superseded: bool,
}

impl State {
    /// That of a stream that begins.
    pub(super) fn new(accounted: usize) -> Self {
        Self {
            history: History::new(),
            accounted,
            readers: Vec::new(),
            next_reader: 0,
            driver: None,
            end: None,
            stop: None,
            unread_since: None,
            is_counted: false,
        }
    }

    /// A reader comes to `place`; an `only` one takes the place of all others. Its name among them.
    pub(super) fn add(&mut self, place: Place, only: bool) -> u32 {
        if only {
            for reader in &mut self.readers {
                reader.is_superseded = true;
                wake(&mut reader.waker);
            }
        }
        let id = self.next_reader;
        self.next_reader += 1;
        if self.readers.is_empty() {
            self.readers.reserve_exact(1); // hardly any stream has more
        }
        self.readers.push(Attached {
            id,
            place,
            waker: None,
            is_superseded: false,
        });
        id
    }

    /// Why the reader `id` is to end, if it is.
    pub(super) fn verdict(&self, id: u32) -> Option<EndReason> {
        let reader = self.readers.iter().find(|reader| reader.id == id)?;
        if reader.is_superseded {
            return Some(EndReason::Superseded);
        }
        (!self.history.has(reader.place)).then_some(EndReason::Lagged)
    }

    /// The reader `id` has come to `place`.
    pub(super) fn moved(&mut self, id: u32, place: Place) {
        if let Some(reader) = self.readers.iter_mut().find(|reader| reader.id == id) {
            reader.place = place;
        }
        self.wake_driver(); // if it waits for room, there may be some
    }

    /// The reader `id` waits.
    pub(super) fn wait(&mut self, id: u32, cx: &Context<'_>) {
        if let Some(reader) = self.readers.iter_mut().find(|reader| reader.id == id) {
            note(&mut reader.waker, cx);
        }
    }

    /// The reader `id` is gone; whether it was the last.
    pub(super) fn leave(&mut self, id: u32) -> bool {
        self.readers.retain(|reader| reader.id != id);
        if self.readers.is_empty() && self.unread_since.is_none() {
            self.unread_since = Some(Instant::now());
        }
        self.wake_driver();
        self.readers.is_empty()
    }

    /// Who reads the upstream waits.
    pub(super) fn drive(&mut self, cx: &Context<'_>) {
        note(&mut self.driver, cx);
    }

    /// Whether the fastest reader, if there is one, is so far behind that nothing more is to be read.
    pub(super) fn is_full(&self, most: u64) -> bool {
        let fastest = self.fastest();
        fastest.is_some_and(|place| self.history.behind(place) >= most)
    }

    pub(super) fn fastest(&self) -> Option<Place> {
        let live = self.readers.iter().filter(|reader| !reader.is_superseded);
        live.map(|reader| reader.place).max()
    }

    /// Wakes all readers, but not the one that has the news.
    pub(super) fn wake_readers(&mut self, but: Option<u32>) {
        for reader in &mut self.readers {
            if Some(reader.id) != but {
                wake(&mut reader.waker);
            }
        }
    }

    pub(super) fn wake_driver(&mut self) {
        wake(&mut self.driver);
    }
}

/// A waker that is the same is not cloned again.
fn note(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

fn wake(slot: &mut Option<Waker>) {
    if let Some(waker) = slot.take() {
        waker.wake();
    }
}
