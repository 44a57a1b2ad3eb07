//! Mistakes planted in the traced program: a store that is dropped, or delayed until after the
//! next.
//!
//! The tracer sees each store to the object. It can undo a store and repeat it later, without the
//! knowledge of the program.

/// A store that changed the object: eight bytes at an offset that is a multiple of eight.
#[derive(Clone, Copy, Debug)]
pub struct Store {
    pub at: usize,
    pub before: u64,
    pub after: u64,
}

impl Store {
    /// Returns the four bytes at `at`, a multiple of four, before and after the store, if it
    /// changed them.
    pub fn word(self, at: usize) -> Option<(u32, u32)> {
        let half = |all: u64| (all >> (at % 8 * 8)) as u32;
        let words = (half(self.before), half(self.after));
        (self.at == at / 8 * 8 && words.0 != words.1).then_some(words)
    }

    /// Returns the eight bytes at `at` before and after the store, if it changed them.
    pub fn long(self, at: usize) -> Option<(u64, u64)> {
        (self.at == at).then_some((self.before, self.after))
    }

    /// Returns the store that turned `old` into `new`.
    pub fn between(old: &[u8], new: &[u8]) -> Option<Self> {
        let at = old.iter().zip(new).position(|(old, new)| old != new)? / 8 * 8;
        let number = |bytes: &[u8]| {
            bytes.get(at..at + 8).map_or(0, |all| u64::from_le_bytes(all.try_into().unwrap()))
        };
        Some(Self { at, before: number(old), after: number(new) })
    }
}

/// The treatment of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Kept,
    Dropped,
    /// The store is delayed until after the next store that is kept.
    Late,
}

/// Decides the fate of each store, in the operation and in its survivors.
pub type Plant = fn(Store) -> Fate;

/// Drops the store if `wrong` is `true`.
pub fn drop_if(wrong: bool) -> Fate {
    if wrong { Fate::Dropped } else { Fate::Kept }
}

/// Swaps the store with the next one if `wrong` is `true`.
pub fn swap_if(wrong: bool) -> Fate {
    if wrong { Fate::Late } else { Fate::Kept }
}
