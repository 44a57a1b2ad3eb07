//! Many readers or one writer, with a value that is never seen half-written.
//!
//! Readers write nothing that they share: each announces the lock in its own lane, and then loads
//! the word together with `seen`, in one load. `seen` has a bit for each group of lanes from which
//! there were readers since a writer last had the lock; a reader whose bit is missing sets it. A
//! writer takes the word, which holds up new readers, looks through the lanes of the groups seen, and
//! sleeps on a second gate, `drain`, until each has left. A thread that reads already may read again
//! all the same, from another slot; it counts that, and the writer looks again.

mod read;
mod write;

use std::time::Duration;

use crate::error::Result;
use crate::peer::{Announced, Machine, OFFSET_MASK};
use crate::sync::algorithms::mutex::{Acquisition, Poison};
use crate::sync::core::announcement::Kind;
use crate::sync::core::double_buffer::DoubleBuffer;
use crate::sync::core::gate;
use crate::sync::core::waiter::{Change, OWNED, Waiter};
use crate::sync::core::word::{self, DIED, LANE, UPGRADABLE};

// The word is at the start, and with `seen` behind it a word of 64 bits.
const SEEN: u64 = 4;
const GATE: u64 = 8;
const DRAIN: u64 = 12;
const SELECTOR: u64 = 16;
/// How often a thread that read has announced another read, whoever has the word.
const AGAIN: u64 = 24;

/// A lock for readers and writers in an object: where it is, and how much value it has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawRwLock {
    at: u64,
    len: u32,
}

/// That this thread reads.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(crate) struct Reading(pub(crate) Acquisition);

/// A [`Reading`] as a number, which is returned in a register: slot, lane, and whether one died.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packed(u64);

impl Reading {
    fn pack(self) -> Packed {
        let Announced { lane, slot } = self.0.announced();
        Packed(slot | u64::from(lane) << 48 | u64::from(self.died()))
    }

    #[inline(always)]
    pub(crate) fn unpack(Packed(packed): Packed) -> Self {
        let announced = Announced { lane: (packed >> 48) as u32, slot: packed & (OFFSET_MASK | 8) };
        Self(Acquisition::of(announced, if packed & 1 == 0 { 0 } else { DIED }))
    }

    #[inline(always)]
    pub(crate) fn at_once(announced: Announced) -> Self {
        Self(Acquisition::of(announced, 0))
    }

    /// An owner died, and none since has accepted the value.
    #[inline(always)]
    pub(crate) fn died(self) -> bool {
        self.0.died()
    }
}

/// Returns `true` if readers are admitted beside the owner that the word names.
fn admits(word: u32, poison: Poison) -> bool {
    word & poison as u32 == 0 && (word & LANE == 0 || word & UPGRADABLE != 0)
}

/// The bit of a lane's group in `seen`.
fn group(lane: u32) -> u32 {
    1 << (lane % 32)
}

impl RawRwLock {
    /// Where the current copy of a new one is.
    pub(crate) const VALUE: u64 = 32;

    /// The lock at `at`, a multiple of 16, with a value of `len` bytes.
    #[inline(always)]
    pub(crate) fn new(at: u64, len: u32) -> Self {
        Self { at, len }
    }

    /// Bytes that a lock with a value of `len` bytes takes; zeros are a free one, of zeros.
    pub(crate) const fn size(len: u32) -> u64 {
        Self::VALUE + DoubleBuffer::size(len)
    }

    #[inline(always)]
    pub(crate) fn value(self) -> DoubleBuffer {
        DoubleBuffer::new(self.at, SELECTOR, Self::VALUE, self.len)
    }

    fn waiter(self, operation: &'static str, gate: u64, until: Option<Duration>) -> Waiter {
        Waiter::new(operation, self.at, self.at + gate, Change::Plain, OWNED, until)
    }
}

/// The lane died with the word, or while it asked for it.
pub(crate) fn recover_writer<W: Machine>(machine: &W, at: u64, lane: u32) -> Result<()> {
    word::release_dead_owner(machine, at, lane)?;
    gate::wake_all_after_recovery(machine, at + GATE)
}

/// The lane died reading, or on its way out. The slot says so before the writers are woken.
pub(crate) fn recover_reader<W: Machine>(machine: &W, at: u64, slot: u64) -> Result<()> {
    machine.swap_64(slot, Kind::Leaving.of(at))?;
    gate::wake_all_after_recovery(machine, at + DRAIN)
}
