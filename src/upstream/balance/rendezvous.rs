//! Rendezvous hashing: every backend has a score for a key, and the highest one wins. When a backend goes, only its own keys move,
//! and all who know the same backends choose alike: threads, processes, the next start.

use std::cmp::Ordering;

/// How many groups keys fall into. Keys of a group go together, so that each group is decided once and not each request: with 200
/// backends each has about 80 groups.
const SLOTS: usize = 1 << 14;
/// A slot that has not been used yet.
const UNKNOWN: u16 = u16::MAX;

/// A backend with what its score depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    /// Its identity, the same on every machine.
    pub(super) identity: u64,
    pub(super) weight: u32,
}

/// Whose each key is.
#[derive(Debug)]
pub(super) struct Slots {
    candidates: Vec<Candidate>,
    is_weighted: bool,
    owners: Vec<u16>,
    #[cfg(test)]
    pub(super) decided: usize,
}

impl Slots {
    pub(super) fn new(candidates: Vec<Candidate>) -> Self {
        let first = candidates.first().map(|candidate| candidate.weight);
        Self {
            is_weighted: candidates
                .iter()
                .any(|candidate| Some(candidate.weight) != first),
            candidates,
            owners: vec![UNKNOWN; SLOTS],
            #[cfg(test)]
            decided: 0,
        }
    }

    /// The index of the backend for `key`.
    pub(super) fn owner(&mut self, key: u64) -> usize {
        let slot = slot_of(key);
        let known = self.owners[slot];
        if known != UNKNOWN {
            return usize::from(known);
        }
        #[cfg(test)]
        {
            self.decided += 1;
        }
        let all = 0..self.candidates.len();
        let owner = all.max_by(|&a, &b| self.compare(key, a, b)).unwrap_or(0);
        self.owners[slot] = u16::try_from(owner).unwrap_or(UNKNOWN);
        owner
    }

    /// Compares the scores of two for `key`: the greater one wins.
    pub(super) fn compare(&self, key: u64, a: usize, b: usize) -> Ordering {
        let slot = slot_of(key) as u64;
        let hash = |at: usize| mix(self.candidates[at].identity ^ mix(slot));
        if !self.is_weighted {
            return hash(a).cmp(&hash(b));
        }
        // -w / ln(u) with u between 0 and 1 gives each the share w of the highest scores.
        let score = |at: usize| {
            #[expect(
                clippy::cast_precision_loss,
                reason = "53 bits of a hash are as good as 64"
            )]
            let unit = ((hash(at) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
            -f64::from(self.candidates[at].weight) / unit.ln()
        };
        score(a).total_cmp(&score(b))
    }
}

fn slot_of(key: u64) -> usize {
    usize::try_from(mix(key) >> 50).unwrap_or(0) // 14 bits of it
}

/// The hash of a key or a name: FNV-1a, which is the same everywhere.
pub fn identity(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

/// The finalizer of `SplitMix64`: every bit of the input moves half of those of the output.
fn mix(mut value: u64) -> u64 {
    value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
