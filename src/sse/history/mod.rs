//! [`History`]: what a stream has said, kept for clients that return, with the places at which they can go on.

mod ids;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

pub use self::ids::base36;
use self::ids::{hash, id_of, write_id};
use super::position::Position;

/// The last bytes of one stream, and where its events end in them.
///
/// Events are numbered from 1, as they are dispatched: a client that has seen event *n* goes on at [`after(n)`](Self::after). What
/// has been appended is never changed, so a reader's place stays right until it is trimmed away.
#[derive(Debug)]
pub struct History {
    blocks: VecDeque<Block>,
    marks: VecDeque<Mark>,
    /// Of the first mark.
    first: u64,
    /// Offsets in the stream of what is kept.
    start: u64,
    end: u64,
    /// The event at `start` has lost its beginning.
    is_headless: bool,
    position: Position,
    /// The last two bytes.
    tail: [u8; 2],
    /// The backend's own ids, in order.
    ids: VecDeque<OwnId>,
    /// The capacity of all blocks.
    capacity: usize,
}

#[derive(Debug)]
struct Block {
    /// The offset of its first byte.
    start: u64,
    bytes: Vec<u8>,
}

/// The end of one event.
#[derive(Debug, Clone, Copy)]
struct Mark {
    /// The offset behind its blank line.
    end: u64,
    /// How long the blank line is.
    blank: u8,
    /// How its lines end.
    terminator: Terminator,
    /// It has no id, nor had any event before it, so that one of ours may go in.
    takes_id: bool,
}

#[derive(Debug, Clone, Copy)]
enum Terminator {
    Lf,
    CrLf,
    Cr,
}

/// An id of the backend's.
#[derive(Debug, Clone, Copy)]
struct OwnId {
    hash: u64,
    /// The event that it came with.
    sequence: u64,
}

/// Where a reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    offset: u64,
    /// The event in which it is, or before which it is.
    next: u64,
    /// That event has got its id.
    has_id: bool,
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    /// Where a stream begins.
    pub const START: Self = Self {
        offset: 0,
        next: 1,
        has_id: false,
    };

    /// How many events are behind it.
    pub fn passed(&self) -> u64 {
        self.next - 1
    }
}

/// Why a reader cannot go on where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// So many events after its place are not kept any more.
    Missed(u64),
    /// Nothing has come so far.
    Ahead,
}

/// How blocks grow: a short stream wastes little, a long one is not scattered.
const BLOCKS: std::ops::RangeInclusive<usize> = 128..=16 * 1024;

/// The longest line that an id is inserted as.
pub const LONGEST_ID: usize = 64;

impl History {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            blocks: VecDeque::new(),
            marks: VecDeque::new(),
            first: 1,
            start: 0,
            end: 0,
            is_headless: false,
            position: Position::start(),
            tail: [0; 2],
            ids: VecDeque::new(),
            capacity: 0,
        }
    }

    /// The stream goes on with `bytes`.
    pub fn append(&mut self, bytes: &[u8]) {
        if let Some(last) = self.marks.back_mut()
            && last.end == self.end
            && self.position.is_after_cr()
            && bytes.first() == Some(&b'\n')
        {
            last.end += 1; // the second half of its blank line
            last.blank += 1;
        }
        let known = self.marks.len();
        let mut seen = 0;
        while let Some(length) = self.position.advance_to_event(&bytes[seen..]) {
            seen += length;
            let is_half = bytes[seen - 1] == b'\r' && bytes.get(seen) == Some(&b'\n');
            self.marks.push_back(Mark {
                end: self.end + (seen + usize::from(is_half)) as u64,
                blank: 1 + u8::from(is_half),
                terminator: self.terminator(bytes, seen - 1),
                takes_id: !self.position.id_seen(),
            });
        }
        self.push(bytes);
        if self.position.id_seen() {
            self.note_ids(known);
        }
    }

    /// How the line ends that does before `index` of what is being appended.
    fn terminator(&self, bytes: &[u8], index: usize) -> Terminator {
        let before = |distance: usize| match index.checked_sub(distance) {
            Some(index) => bytes[index],
            None => self.tail[2 + index - distance],
        };
        match (before(2), before(1)) {
            (b'\r', b'\n') => Terminator::CrLf,
            (_, b'\n') => Terminator::Lf,
            _ => Terminator::Cr,
        }
    }

    fn push(&mut self, mut bytes: &[u8]) {
        for &byte in &bytes[bytes.len().saturating_sub(2)..] {
            self.tail = [self.tail[1], byte];
        }
        while !bytes.is_empty() {
            let is_full = |block: &Block| block.bytes.len() == block.bytes.capacity();
            if self.blocks.back().is_none_or(is_full) {
                let capacity = (self.capacity / 8).clamp(*BLOCKS.start(), *BLOCKS.end());
                let bytes = Vec::with_capacity(capacity);
                self.capacity += bytes.capacity();
                if self.blocks.is_empty() {
                    self.blocks.reserve_exact(1); // many streams never get a second
                }
                self.blocks.push_back(Block {
                    start: self.end,
                    bytes,
                });
            }
            let Some(block) = self.blocks.back_mut() else {
                return;
            };
            let room = block.bytes.capacity() - block.bytes.len();
            let (fits, rest) = bytes.split_at(bytes.len().min(room));
            block.bytes.extend_from_slice(fits);
            self.end += fits.len() as u64;
            bytes = rest;
        }
    }

    /// Notes the ids of the events from the mark `known` on.
    fn note_ids(&mut self, known: usize) {
        for index in known..self.marks.len() {
            let Some(event) = self.event(index) else {
                continue; // so long that its beginning is gone
            };
            if let Some(id) = id_of(&event) {
                self.ids.push_back(OwnId {
                    hash: hash(id),
                    sequence: self.first + index as u64,
                });
            }
        }
    }

    /// The bytes of the event that the mark `index` ends.
    fn event(&self, index: usize) -> Option<Vec<u8>> {
        let start = match index.checked_sub(1) {
            Some(before) => self.marks[before].end,
            None if self.is_headless => return None,
            None => self.start,
        };
        Some(self.copy(start, self.marks[index].end))
    }

    fn copy(&self, start: u64, end: u64) -> Vec<u8> {
        let length = usize::try_from(end - start).unwrap_or_default();
        let mut bytes = vec![0; length];
        self.copy_into(start, &mut bytes);
        bytes
    }

    /// Fills `buffer` with the bytes from `offset` on, all of which are here.
    fn copy_into(&self, mut offset: u64, mut buffer: &mut [u8]) {
        // Most readers want what has come last.
        let last = self.blocks.len().saturating_sub(1);
        let first = if self
            .blocks
            .back()
            .is_some_and(|block| block.start <= offset)
        {
            last
        } else {
            let after = self.blocks.partition_point(|block| block.start <= offset);
            after.saturating_sub(1)
        };
        for block in self.blocks.range(first..) {
            let skipped = usize::try_from(offset - block.start).unwrap_or(usize::MAX);
            let bytes = block.bytes.get(skipped..).unwrap_or_default();
            let length = bytes.len().min(buffer.len());
            let (filled, rest) = buffer.split_at_mut(length);
            filled.copy_from_slice(&bytes[..length]);
            offset += length as u64;
            buffer = rest;
            if buffer.is_empty() {
                break;
            }
        }
    }

    /// Copies what comes after `place` into `buffer` and moves it on. With a `token`, each event that takes one gets the id
    /// `token.SEQUENCE`, in base 36. A buffer of [`LONGEST_ID`] bytes and more is filled by at least one byte, if one has come.
    pub fn read(&self, place: &mut Place, token: Option<&[u8]>, buffer: &mut [u8]) -> usize {
        if place.offset == self.end {
            return 0;
        }
        let mut filled = 0;
        loop {
            let mark = place.next.checked_sub(self.first);
            let mark = mark.and_then(|index| self.marks.get(usize::try_from(index).ok()?));
            let (blank, end) = match mark {
                Some(mark) => (mark.end - u64::from(mark.blank), mark.end),
                None => (self.end, self.end),
            };
            // An id stands right before the blank line: what came before that may have left long ago.
            let waits = token.zip(mark).filter(|(_, mark)| mark.takes_id);
            let waits = waits.filter(|_| !place.has_id && place.offset <= blank);
            let stop = if waits.is_some() { blank } else { end };
            let rest = usize::try_from(stop.saturating_sub(place.offset)).unwrap_or(usize::MAX);
            let length = rest.min(buffer.len() - filled);
            self.copy_into(place.offset, &mut buffer[filled..filled + length]);
            place.offset += length as u64;
            filled += length;
            if place.offset < stop {
                return filled; // the buffer is full
            }
            if let Some((token, mark)) = waits {
                if buffer.len() - filled < LONGEST_ID {
                    return filled;
                }
                filled += write_id(token, place.next, mark.terminator, &mut buffer[filled..]);
                place.has_id = true;
            } else if mark.is_some() {
                place.next += 1;
                place.has_id = false;
            } else {
                return filled;
            }
        }
    }

    /// The place behind the event `sequence`; that of the stream's start is behind 0.
    pub fn after(&self, sequence: u64) -> Result<Place, Gap> {
        let oldest = self.oldest();
        let next = sequence.checked_add(1).ok_or(Gap::Ahead)?; // a cursor may say anything
        let Some(index) = next.checked_sub(self.first) else {
            return Err(Gap::Missed(oldest - sequence));
        };
        let offset = match index.checked_sub(1) {
            None if self.is_headless => return Err(Gap::Missed(oldest - sequence)),
            None => self.start,
            Some(index) => {
                let mark = self.marks.get(usize::try_from(index).unwrap_or(usize::MAX));
                mark.ok_or(Gap::Ahead)?.end
            }
        };
        Ok(Place {
            offset,
            next,
            has_id: false,
        })
    }

    /// The earliest event behind which a reader can still go on.
    pub fn oldest(&self) -> u64 {
        self.first - 1 + u64::from(self.is_headless)
    }

    /// The last event that was dispatched.
    pub fn newest(&self) -> u64 {
        self.position.events()
    }

    /// The event behind which a client goes on that was given the backend's `id`: the first that had it, since events without one may
    /// have followed each.
    pub fn find(&self, id: &[u8]) -> Option<u64> {
        let hash = hash(id);
        let own = self.ids.iter().find(|own| own.hash == hash)?;
        Some(own.sequence)
    }

    /// Whether the backend names its events itself.
    pub fn has_own_ids(&self) -> bool {
        self.position.id_seen()
    }

    /// Drops events from the front until at most `most` bytes are left, but nothing that comes after `reader`.
    pub fn trim(&mut self, most: u64, reader: Option<Place>) {
        if self.length() <= most {
            return;
        }
        let reader = reader.map_or(self.end, |place| place.offset);
        while self.end - self.start > most {
            match self.marks.front() {
                Some(mark) if mark.end <= reader => {
                    self.start = mark.end;
                    self.marks.pop_front();
                    self.first += 1;
                    self.is_headless = false;
                }
                Some(_) => break,
                None => {
                    // Half an event that is longer than all that is kept.
                    self.is_headless |= reader > self.start;
                    self.start = self.start.max(reader);
                    break;
                }
            }
        }
        let oldest = self.first;
        while self.ids.front().is_some_and(|id| id.sequence < oldest) {
            self.ids.pop_front();
        }
        while let Some(block) = self.blocks.front()
            && block.start + block.bytes.len() as u64 <= self.start
        {
            self.capacity -= block.bytes.capacity();
            self.blocks.pop_front();
        }
    }

    /// Whether what comes after `place` is all here.
    pub fn has(&self, place: Place) -> bool {
        place.offset >= self.start
    }

    /// How many bytes are kept.
    pub fn length(&self) -> u64 {
        self.end - self.start
    }

    /// How many bytes came after `place`.
    pub fn behind(&self, place: Place) -> u64 {
        self.end.saturating_sub(place.offset)
    }

    /// How many bytes of memory it takes.
    pub fn memory(&self) -> usize {
        self.capacity
            + self.marks.capacity() * size_of::<Mark>()
            + self.ids.capacity() * size_of::<OwnId>()
    }

    /// Whether the last event was one after which its protocol sends nothing more.
    pub fn last_event_terminal(&self) -> bool {
        self.position.last_event_terminal()
    }

    /// The last event, if it is kept.
    pub fn last_event(&self) -> Option<Vec<u8>> {
        self.event(self.marks.len().checked_sub(1)?)
    }

    /// Whether no event is half here.
    pub fn is_at_boundary(&self) -> bool {
        self.position.is_boundary()
    }
}
