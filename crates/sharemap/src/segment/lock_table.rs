//! The lock table: the locks of a segment, a word each, on cache lines of their own.
//!
//! A word has the owning lane's number + 1 in its low 16 bits (0: free), and a sequence above. Each release after a
//! change advances the sequence, and so does recovery. A reader without a lock therefore knows that nothing has
//! changed between two loads of the same free word.
//!
//! The words lie in a table of their own, never inside the memory that they protect. That memory may be freed and
//! used again, and a thread that still locks by its old place would become a second owner.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::peer::{Liveness, Machine};

/// The distance from one word to the next, in bytes: a cache line.
pub(super) const STRIDE: u64 = 64;

/// The low bits of a word, which name the owning lane.
const OWNER: u64 = 0xffff;
/// One step of the sequence.
const STEP: u64 = OWNER + 1;

/// The first nap of a waiter; each further one is twice as long.
const FIRST_NAP: Duration = Duration::from_micros(50);
/// The longest nap. A waiter probes the owner after each.
const LONGEST_NAP: Duration = Duration::from_millis(1);

/// After so many probes that find the owner's lane free, without a change of the word, no process will release it.
const ORPHANED: u32 = 3;

/// The place of a segment's lock table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LockTable {
    /// The offset of the first word, a multiple of [`STRIDE`].
    pub(super) at: u64,
    /// The number of words.
    pub(super) count: u32,
}

impl LockTable {
    /// Returns the offset of a word.
    #[inline(always)]
    pub(super) fn word(self, index: u32) -> u64 {
        debug_assert!(index < self.count);
        self.at + STRIDE * u64::from(index)
    }
}

/// A word of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LockWord(pub(super) u64);

impl LockWord {
    /// Returns the lane that owns the lock.
    #[inline(always)]
    pub(super) fn owner(self) -> Option<u32> {
        ((self.0 & OWNER) as u32).checked_sub(1)
    }

    /// Returns the word, now owned by `lane`. The sequence stays.
    #[inline(always)]
    pub(super) fn owned_by(self, lane: u32) -> Self {
        Self(self.0 & !OWNER | u64::from(lane + 1) & OWNER)
    }

    /// Returns the free word after a release.
    #[inline(always)]
    pub(super) fn released(self, outcome: Outcome) -> Self {
        let free = self.0 & !OWNER;
        Self(match outcome {
            Outcome::Unchanged => free,
            Outcome::Changed => free.wrapping_add(STEP),
        })
    }
}

/// Whether the memory that a lock protects may have changed while the lock was held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Unchanged,
    Changed,
}

/// Acquires the lock with the word at `at`, until the moment `until`. The lane's area lists the lock already. Returns
/// the word, which names the lane.
///
/// Waits while another lane owns it, and recovers that lane if its participant has died. Fails with `Timeout`, with
/// `Deadlock` if this lane owns the lock already, and with `Malformed` if no process has the lane that the word names:
/// a misbehaving peer stored it, or the area of the lane was malformed when its participant died.
#[inline(always)]
pub(super) fn acquire<M: Machine>(
    machine: &M,
    at: u64,
    lane: u32,
    until: Option<Duration>,
) -> Result<LockWord> {
    let word = LockWord(machine.load_64(at)?);
    let mine = word.owned_by(lane);
    if word.owner().is_none() && machine.compare_exchange_64(at, word.0, mine.0)? == word.0 {
        return Ok(mine);
    }
    acquire_later(machine, at, lane, until)
}

/// Acquires a lock that was not free at once.
#[cold]
fn acquire_later<M: Machine>(
    machine: &M,
    at: u64,
    lane: u32,
    until: Option<Duration>,
) -> Result<LockWord> {
    let (mut turn, mut nap) = (0, FIRST_NAP);
    let mut orphan = (LockWord(0), 0);
    loop {
        let word = LockWord(machine.load_64(at)?);
        match word.owner() {
            None => {
                let mine = word.owned_by(lane);
                if machine.compare_exchange_64(at, word.0, mine.0)? == word.0 {
                    return Ok(mine);
                }
            }
            Some(owner) if owner == lane => {
                return Err(Error::new(ErrorKind::Deadlock, "lock").with_offset(at));
            }
            Some(_) => {}
        }
        // A failed exchange counts as a turn too: a misbehaving peer may change the word without end.
        if let Some(next) = machine.spin(turn) {
            turn = next;
            continue;
        }
        if let Some(owner) = word.owner() {
            if machine.probe_throttled(owner)? == Liveness::Recovered {
                // The first time, the word may have been loaded before the recovery.
                orphan = (word, if orphan.0 == word { orphan.1 + 1 } else { 1 });
            }
            if orphan == (word, ORPHANED) {
                return Err(Error::new(ErrorKind::Malformed, "lock")
                    .with_offset(at)
                    .with_detail("no process has the lane that owns the lock"));
            }
        }
        if until.is_some_and(|until| machine.now() >= until) {
            return Err(Error::new(ErrorKind::Timeout, "lock").with_offset(at));
        }
        machine.nap_while(at, word.0, nap)?;
        (turn, nap) = (0, LONGEST_NAP.min(2 * nap));
    }
}

/// Releases the lock whose word is at `at` if `lane` owns it, by a plain release store.
///
/// Only this thread changes a word that names its lane; after its death only the recoverer of its participant does.
#[inline(always)]
pub(super) fn release<M: Machine>(machine: &M, at: u64, lane: u32, outcome: Outcome) -> Result<()> {
    let word = LockWord(machine.load_64(at)?);
    match word.owner() == Some(lane) {
        true => machine.store_64(at, word.released(outcome).0),
        false => Ok(()),
    }
}
