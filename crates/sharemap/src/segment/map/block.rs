//! Blocks of a map: keys and values that do not fit into an entry's words.
//!
//! ```text
//! 0   id      u64     of what fills the block
//! 8   lens    u64     the value's length << 32 | the key's length
//! 16  key     bytes   none if keys are words
//!     value   bytes   at the next multiple of 16
//! ```
//!
//! The value of an entry is then `{block's offset / 16 : 36, id : 28}`. A reader copies what it needs, and looks at
//! the entry again: had the block been freed and filled meanwhile, even for the same entry, then the id would differ. The
//! id is made of the lane that fills the block and its count of fills. It depends on nothing that the memory had before,
//! which may have been another object meanwhile.

use super::hash;
use crate::error::Result;
use crate::peer::Machine;
use crate::segment::heap::malformed;
use crate::segment::lane_area::{LaneArea, Space};

/// The length of what precedes the key.
pub(super) const HEAD: u64 = 16;

/// A reference to replaceable memory: its offset / 16 above [`Self::COUNTER`], a number that tells apart its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ref(pub(super) u64);

impl Ref {
    /// The bits of the counter.
    const COUNTER: u64 = (1 << 28) - 1;

    pub(super) fn new(at: u64, counter: u64) -> Self {
        Self((at / 16) << 28 | counter & Self::COUNTER)
    }

    pub(super) fn at(self) -> u64 {
        self.0 >> 28 << 4
    }

    /// Returns this reference with the later counter of the two.
    pub(super) fn later(self, other: Self) -> Self {
        match other.0 & Self::COUNTER > self.0 & Self::COUNTER {
            true => Self::new(self.at(), other.0),
            false => self,
        }
    }

    /// Returns the reference to `at` that replaces this one.
    pub(super) fn replaced_by(self, at: u64) -> Self {
        Self::new(at, self.0.wrapping_add(1))
    }
}

/// A filled block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) at: u64,
    key_len: u64,
    pub(super) value_len: u64,
}

/// Returns the length of a block with a key and a value of these lengths; `None` if one is too long for any block.
pub(super) fn len(key_len: usize, value_len: usize) -> Option<u64> {
    let key_len = u32::try_from(key_len).ok()?;
    let value_len = u32::try_from(value_len).ok()?;
    Some(HEAD + u64::from(key_len).next_multiple_of(16) + u64::from(value_len))
}

impl Block {
    /// Fills a block at `at` that nothing refers to, in the name of the lane with this area. Returns the word that
    /// refers to it.
    pub(super) fn fill<M: Machine>(
        machine: &M,
        area: LaneArea,
        at: u64,
        key: &[u8],
        value: &[u8],
    ) -> Result<Ref> {
        let id = hash::of_fill(area.count_fill(machine)?);
        // The block was detached by an earlier store of this lane or another. A reader that sees what is stored now
        // must also see that, when it looks at the entry again.
        machine.fence_stores();
        machine.store_64(at, id)?;
        machine.store_64(at + 8, (value.len() as u64) << 32 | key.len() as u64)?;
        let block = Self { at, key_len: key.len() as u64, value_len: value.len() as u64 };
        if !key.is_empty() {
            machine.write(at + HEAD, key)?;
        }
        if !value.is_empty() {
            machine.write(block.value_at(), value)?;
        }
        Ok(Ref::new(at, id))
    }

    /// Returns the block that a word refers to.
    ///
    /// Fails with `Malformed` if it lies outside the segment. To a reader without a lock this may also mean that it
    /// came too late.
    #[inline]
    pub(super) fn of<M: Machine>(machine: &M, space: &Space, word: Ref) -> Result<Self> {
        let at = word.at();
        if !space.changeable.contains(&at) {
            return Err(malformed(at));
        }
        Self::with_lens(machine.load_64(at + 8)?, at, space).ok_or_else(|| malformed(at))
    }

    /// Returns the block that `word` refers to, if it lies in the segment. `lens` is the block's second word.
    #[inline(always)]
    pub(super) fn of_lens(lens: u64, word: Ref, space: &Space) -> Option<Self> {
        match space.changeable.contains(&word.at()) {
            true => Self::with_lens(lens, word.at(), space),
            false => None,
        }
    }

    /// Returns the block at `at` whose second word is `lens`, if it lies in the segment.
    #[inline(always)]
    fn with_lens(lens: u64, at: u64, space: &Space) -> Option<Self> {
        let block = Self { at, key_len: lens & 0xffff_ffff, value_len: lens >> 32 };
        (block.value_at() + block.value_len <= space.changeable.end).then_some(block)
    }

    /// Returns the offset of the value.
    #[inline]
    pub(super) fn value_at(self) -> u64 {
        self.at + HEAD + self.key_len.next_multiple_of(16)
    }

    /// Returns the key's offset and length.
    pub(super) fn key(self) -> (u64, u64) {
        (self.at + HEAD, self.key_len)
    }

    /// Returns `true` if the block has this key.
    #[inline]
    pub(super) fn has_key<M: Machine>(self, machine: &M, key: &[u8]) -> Result<bool> {
        if self.key_len != key.len() as u64 {
            return Ok(false);
        }
        let mut at = self.at + HEAD;
        let mut buffer = [0; 64];
        for part in key.chunks(buffer.len()) {
            let there = &mut buffer[..part.len()];
            machine.read(at, there)?;
            if there != part {
                return Ok(false);
            }
            at += part.len() as u64;
        }
        Ok(true)
    }
}
