//! Mistakes planted in what is watched: a store that does not happen, or happens after the next.
//!
//! The tracer sees each store to the object, so it can take one back, and make it later, whatever
//! the program meant. Nothing in the program knows.

/// A store to the object that changed something: eight bytes that begin on a multiple of eight.
#[derive(Clone, Copy, Debug)]
pub struct Store {
    pub at: usize,
    pub before: u64,
    pub after: u64,
}

impl Store {
    /// The half of it that begins at `at`, a multiple of four: before and after, if that changed.
    pub fn word(self, at: usize) -> Option<(u32, u32)> {
        let half = |all: u64| (all >> (at % 8 * 8)) as u32;
        let words = (half(self.before), half(self.after));
        (self.at == at / 8 * 8 && words.0 != words.1).then_some(words)
    }

    /// All of it, if it changed the eight bytes at `at`.
    pub fn long(self, at: usize) -> Option<(u64, u64)> {
        (self.at == at).then_some((self.before, self.after))
    }

    /// What the store from `old` to `new` was.
    pub fn between(old: &[u8], new: &[u8]) -> Option<Self> {
        let at = old.iter().zip(new).position(|(old, new)| old != new)? / 8 * 8;
        let number = |bytes: &[u8]| {
            bytes.get(at..at + 8).map_or(0, |all| u64::from_le_bytes(all.try_into().unwrap()))
        };
        Some(Self { at, before: number(old), after: number(new) })
    }
}

/// What becomes of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Kept,
    Dropped,
    /// It happens after the next one that is kept.
    Late,
}

/// Decides of each store, in the operation and in those who survive it.
pub type Plant = fn(Store) -> Fate;

/// Drops what this is true of.
pub fn drop_if(wrong: bool) -> Fate {
    if wrong { Fate::Dropped } else { Fate::Kept }
}

/// Swaps what this is true of with the next.
pub fn swap_if(wrong: bool) -> Fate {
    if wrong { Fate::Late } else { Fate::Kept }
}
