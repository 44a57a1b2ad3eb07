//! The lock word: the owner's lane, and flags for the next owner (FORMAT.md, "The word").
//!
//! | Word | Meaning | Changed by, to |
//! |---|---|---|
//! | `0` | free, consistent | acquirer: adds `lane + 1`, and `UPGRADABLE` for an upgradable read |
//! | `DIED` | free, an owner died or panicked | acquirer: as above; it receives `OwnerDied` |
//! | `POISONED` (± `DIED`) | free, poisoned | acquirer that accepts poison: adds `lane + 1` |
//! | `DONE` | a once, complete | no thread |
//! | `lane + 1` (± `DIED`) | held exclusively | owner: a free word; recoverer: `DIED` |
//! | `lane + 1`, `POISONED` (± `DIED`) | held for repair | owner: a free word; recoverer: both flags |
//! | `lane + 1`, `UPGRADABLE` (± `DIED`) | held for reading | owner: a free word, or clears `UPGRADABLE`; |
//! | | | recoverer: `0`, or `DIED` if that was set |
//!
//! The owner of a mutex or a reader-writer lock releases to `0` (consistent), to `DIED` (it panicked, or it
//! was told of a death and did not mark the value consistent), or to `POISONED`. The owner of a once
//! releases to `DONE`, or, if the action failed, to `0` or `DIED`. An upgrade clears `UPGRADABLE`, and sets
//! it again if it fails. No other combination is written: `UPGRADABLE` needs a lane, `DONE` has none, and
//! neither stands beside `POISONED`. A misbehaving peer may store anything, and so make this lock useless.
//!
//! Invariants:
//!
//! - A lane that the word names announces the lock. The lane announces it before the exchange that
//!   writes the lane into the word, and withdraws only after a store that takes the lane out of it.
//! - While a lane lives, only its thread changes a word that names it. After the lane's participant died,
//!   only the recoverer does, while it holds the participant's liveness lock.
//! - The recoverer sets `DIED`, so that the next owner is told. The exception is an owner that held the
//!   word upgradably: it had not begun to write, so its death leaves the flags as they were.

use crate::error::{ErrorKind, Result};
use crate::peer::{Announced, Liveness, Machine};
use crate::sync::core::waiter::Waiter;

/// The bits that name the owner: its lane plus one, or 0 while the word is free.
pub(crate) const LANE: u32 = 0xffff;
/// The owner reads, and may upgrade; other readers are admitted.
pub(crate) const UPGRADABLE: u32 = 1 << 16;
/// An owner declared the value unusable.
pub(crate) const POISONED: u32 = 1 << 17;
/// An owner died or panicked, and no owner since has marked the value consistent.
pub(crate) const DIED: u32 = 1 << 18;
/// The action of a once has succeeded.
pub(crate) const DONE: u32 = 1 << 19;

/// Returns the bits by which a word names `lane`.
pub(crate) fn named(lane: u32) -> u32 {
    lane + 1
}

/// Returns the lane that `word` names, or `None` if the word is free.
pub(crate) fn owner(word: u32) -> Option<u32> {
    (word & LANE).checked_sub(1)
}

/// The outcome of a request for a word, with the word as it was found: its flags concern the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acquired {
    /// The word names the caller's lane now.
    Owned(u32),
    /// The word is free, but has one of the flags that the request refuses.
    Refused(u32),
}

/// A request for a word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AcquireRequest {
    /// The word's offset.
    pub(crate) at: u64,
    /// The bits to add to a free word: the lane's name, and possibly `UPGRADABLE`.
    pub(crate) mine: u32,
    /// The flags that make a free word unacceptable.
    pub(crate) refuse: u32,
    /// The announcement by which this thread would itself hold up the owner of the word; 0 if there is none.
    pub(crate) reading: u64,
}

impl AcquireRequest {
    /// Creates a request in the name of the lane that has `announced` the lock.
    pub(crate) fn new(at: u64, announced: Announced, refuse: u32) -> Self {
        Self { at, mine: named(announced.lane), refuse, reading: 0 }
    }

    /// Returns `true` if this thread reads the lock and therefore cannot acquire `word`, which is held.
    ///
    /// A write could not begin before the read ends. An upgradable read could begin beside it, but not before
    /// the owner releases the word, and an owner that writes first waits for the read.
    fn can_never_end<W: Machine>(self, machine: &W, word: u32) -> Result<bool> {
        let excludes = |word: u32| word & UPGRADABLE == 0;
        Ok(self.reading != 0
            && (excludes(self.mine) || excludes(word))
            && machine.announced(self.reading)?.is_some())
    }
}

/// Acquires the word, blocking until it is free or `waiter` gives up.
///
/// The caller has announced the lock, and withdraws the announcement if it acquires nothing. If the
/// waiter has slept, the caller also passes on the wake that it may have consumed
/// ([`Waiter::restore_sleeper_bit`], [`Waiter::wake_next`]) where one waiter is woken at a time.
pub(crate) fn acquire<W: Machine>(
    machine: &W,
    request: AcquireRequest,
    waiter: &mut Waiter,
) -> Result<Acquired> {
    loop {
        let word = machine.load_32(request.at)?;
        let Some(lane) = owner(word) else {
            if word & request.refuse != 0 {
                return Ok(Acquired::Refused(word));
            }
            // The exchange is a full fence: the plain store of the announcement is visible before the
            // word names the lane. It keeps the flags, so that a death here loses no earlier death.
            // A death after it leaves a word that recovery finds through the announcement.
            if machine.compare_exchange_32(request.at, word, word | request.mine)? == word {
                return Ok(Acquired::Owned(word));
            }
            continue;
        };
        if machine.is_own(lane) {
            return Err(waiter.error(ErrorKind::Deadlock));
        }
        if waiter.spin(machine) {
            continue;
        }
        if request.can_never_end(machine, word)? {
            return Err(waiter.error(ErrorKind::Deadlock));
        }
        if waiter.check_deadline_of(machine, lane)? {
            continue;
        }
        // Sets bit 0 of the gate, then fences: either the releaser's load of the gate sees the bit, or
        // the load below sees the free word (FORMAT.md, "The gate").
        waiter.register_among_others(machine)?;
        let Some(lane) = owner(machine.load_32(request.at)?) else { continue };
        // The owner may have died before this thread came, when no waiter was there to notice. Its
        // recovery advances the gate, so that the sleep below returns at once.
        waiter.probe_once(machine, lane)?;
        // Death here: the lane announces the lock, but no word names it. Recovery wakes all waiters, in
        // case this one had consumed the wake that was meant for one of them.
        waiter.sleep(machine)?;
        if let Some(lane) = owner(machine.load_32(request.at)?) {
            // The sleep was bounded for this: a dead owner wakes no waiter.
            machine.probe_liveness(lane)?;
        }
    }
}

/// Acquires the word without blocking, if it is free or its owner is found dead.
///
/// Returns `None` if this thread or another holds the word. A call probes the owner at most once, and not
/// at all if this process made such a probe in the same millisecond.
pub(crate) fn try_acquire<W: Machine>(
    machine: &W,
    request: AcquireRequest,
) -> Result<Option<Acquired>> {
    let mut probed = false;
    loop {
        let word = machine.load_32(request.at)?;
        if let Some(lane) = owner(word) {
            if probed || machine.is_own(lane) || machine.probe_throttled(lane)? == Liveness::Alive {
                return Ok(None);
            }
            probed = true;
            continue;
        }
        if word & request.refuse != 0 {
            return Ok(Some(Acquired::Refused(word)));
        }
        // As in `acquire`: the announcement is visible before the word names the lane.
        if machine.compare_exchange_32(request.at, word, word | request.mine)? == word {
            return Ok(Some(Acquired::Owned(word)));
        }
    }
}

/// Releases the word of a dead owner, if it names `lane` (FORMAT.md, "Burying" in "The word").
///
/// The caller holds the liveness lock of the lane's participant. The exchange happens once: a word that
/// does not name the lane was released by the owner, or by an earlier recoverer that died afterwards.
pub(crate) fn release_dead_owner<W: Machine>(machine: &W, at: u64, lane: u32) -> Result<()> {
    loop {
        let word = machine.load_32(at)?;
        if owner(word) != Some(lane) {
            return Ok(());
        }
        let kept = word & (POISONED | DIED);
        // An upgradable owner has only read. An upgrade clears `UPGRADABLE` before it waits for readers,
        // so an owner that died during the upgrade is reported.
        let left = if word & UPGRADABLE != 0 { kept } else { kept | DIED };
        // Death after the exchange: waiters sleep, but the announcement is still there. The next
        // recoverer finds a word that does not name the lane, and wakes them.
        if machine.compare_exchange_32(at, word, left)? == word {
            return Ok(());
        }
    }
}
