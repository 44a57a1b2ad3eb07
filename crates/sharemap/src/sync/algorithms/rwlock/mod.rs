//! The reader-writer lock: many readers or one writer, and a value that is replaced in one step (FORMAT.md,
//! "Reader-writer lock").
//!
//! Readers share no word that each of them writes. A reader announces the lock in its own lane, and then loads
//! the lock word together with `seen` in one load. A writer acquires the word, which blocks new readers, and
//! then waits until no lane that may read announces a read.
//!
//! | Word | New readers | Changed by, to |
//! |---|---|---|
//! | free (± `DIED`) | admitted | writer: `lane + 1`; upgradable reader: `lane + 1`, `UPGRADABLE` |
//! | free, `POISONED` (± `DIED`) | refused, but for `read_poisoned` | `write_poisoned`: adds `lane + 1` |
//! | `lane + 1`, `UPGRADABLE` (± `DIED`) | admitted | its owner: `lane + 1` to upgrade, or a free word |
//! | `lane + 1` (± flags) | blocked, but for nested reads | its owner: a free word, or `UPGRADABLE` again |
//!
//! The table of `core/word.rs` has the flags, and what a recoverer does. While the word is `lane + 1`, its
//! owner first *drains* the lock: readers that were admitted before may still hold it. The owner writes the
//! value only after they have left.
//!
//! | Word | Meaning | Changed by, to |
//! |---|---|---|
//! | `seen`, bit n | a lane with number n modulo 32 may read | reader: sets its bit; drained writer: all to 0 |
//! | `gate` | a gate (`core/gate.rs`): readers and writers wait for the word | |
//! | `drain` | a gate: the owner of the word waits for readers | |
//! | `again` | nested reads so far, modulo 2^32 | nested reader: adds 1 |
//! | slot, kind `Reader` | the thread reads, or is about to be admitted or refused | it: `Leaving` |
//! | slot, kind `Leaving` | it does not read any more, but may have to open `drain` | it: 0 |
//!
//! A recoverer changes a dead lane's `Reader` to `Leaving`, opens `drain`, and then clears the slot. It leaves
//! `seen` and `again` as they are: a bit too many costs a writer a look at some slots.
//!
//! # Why no writer misses a reader
//!
//! A reader's announcement is an exchange, and so is a writer's acquisition of the word. Either the reader's
//! load sees the writer, or the writer's look at the slot sees the reader. The writer looks only at lanes with
//! a bit in `seen`. A reader is admitted only if, at one instant, the word admits it and its bit is set.
//! A later writer acquires the word after that instant, and clears `seen` only after this reader has left.
//!
//! A *nested* read, by a thread that reads already, is admitted even while a writer drains: otherwise that
//! writer and the thread would wait for each other. The writer may have passed the slot of the nested read
//! already, so the reader advances `again` before it may leave its other slot, and the writer looks once more.

mod read;
mod write;

use std::time::Duration;

use crate::error::Result;
use crate::peer::{Announced, Machine};
use crate::sync::algorithms::exclusive::{Acquisition, Poison};
use crate::sync::core::announcement::Kind;
use crate::sync::core::gate;
use crate::sync::core::waiter::{Change, OWNED, Waiter};
use crate::sync::core::word::{LANE, UPGRADABLE};

// Offsets in the lock. Its first four bytes are the word, which is loaded with `seen` as one of 64 bits.
const SEEN: u64 = 4;
const DRAIN: u64 = 12;
/// The number of nested reads that were admitted in spite of the word.
const AGAIN: u64 = 24;

/// A reader-writer lock in an object: its offset, and the length of its value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawRwLock {
    at: u64,
    len: u32,
}

/// The proof that this thread acquired a lock for reading.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(crate) struct Reading(pub(crate) Acquisition);

impl Reading {
    /// Returns the proof after [`read_at_once`](RawRwLock::read_at_once) admitted the reader.
    #[inline(always)]
    pub(crate) fn at_once(announced: Announced) -> Self {
        Self(Acquisition::of(announced, 0))
    }
}

/// Returns `true` if `word` admits readers: it is free or held upgradably, and not poisoned, unless the
/// reader accepts poison.
fn admits(word: u32, poison: Poison) -> bool {
    word & poison as u32 == 0 && (word & LANE == 0 || word & UPGRADABLE != 0)
}

/// Returns the bit of `seen` that stands for `lane` and every 32nd lane from it.
fn group(lane: u32) -> u32 {
    1 << (lane % 32)
}

impl RawRwLock {
    /// Creates a waiter for readers: they change their slots by plain stores, and their lanes can be probed.
    fn drain_waiter(self, operation: &'static str, until: Option<Duration>) -> Waiter {
        Waiter::new(operation, self.at, self.at + DRAIN, Change::Plain, OWNED, until)
    }
}

/// Recovers a lock that a dead lane announced for reading in `slot`: it read, was about to, or was leaving.
pub(crate) fn recover_reader<W: Machine>(machine: &W, at: u64, slot: u64) -> Result<()> {
    // The slot before the gate: a woken writer must find that the slot does not hold it up. The slot is not
    // cleared here, so that a recoverer that dies before the wake leaves something to recover.
    machine.swap_64(slot, Kind::Leaving.of(at))?;
    gate::wake_all_after_recovery(machine, at + DRAIN)
}
