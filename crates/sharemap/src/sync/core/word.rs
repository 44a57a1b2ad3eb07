//! A lock's word: who has it, and what the next owner is to know.
//!
//! It names the owner's lane, which has announced the lock before. Only whoever recovers a dead lane
//! changes a word that names it, and never so that it looks as if nobody had died.

use crate::error::{ErrorKind, Result};
use crate::peer::{Announced, Liveness, Machine};
use crate::sync::core::waiter::Waiter;

/// The lane that has it, plus one; 0 is nobody.
pub(crate) const LANE: u32 = 0xffff;
/// The lane has it upgradably: readers are admitted.
pub(crate) const UPGRADABLE: u32 = 1 << 16;
/// An owner declared the value unusable.
pub(crate) const POISONED: u32 = 1 << 17;
/// An owner died; stays until an owner who was told releases it without.
pub(crate) const DIED: u32 = 1 << 18;

/// What was to be done once has been done.
pub(crate) const DONE: u32 = 1 << 19;

/// The word's name of a lane.
pub(crate) fn named(lane: u32) -> u32 {
    lane + 1
}

/// The lane that the word names.
pub(crate) fn owner(word: u32) -> Option<u32> {
    (word & LANE).checked_sub(1)
}

/// What came of asking for a word. With the word as it was found: its flags are the owner's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acquired {
    Mine(u32),
    /// Nobody has it, and it has one of the flags that are not to be had.
    Refused(u32),
}

/// What to ask a word for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AcquireRequest {
    pub(crate) at: u64,
    /// The name to write, with flags.
    pub(crate) mine: u32,
    /// Flags of a free word that end the asking.
    pub(crate) refuse: u32,
}

impl AcquireRequest {
    pub(crate) fn new(at: u64, announced: Announced, refuse: u32) -> Self {
        Self { at, mine: named(announced.lane), refuse }
    }
}

/// Waits until the word is free, and takes it.
pub(crate) fn take<W: Machine>(
    machine: &W,
    ask: AcquireRequest,
    waiter: &mut Waiter,
) -> Result<Acquired> {
    loop {
        let word = machine.load_32(ask.at)?;
        let Some(lane) = owner(word) else {
            if word & ask.refuse != 0 {
                return Ok(Acquired::Refused(word));
            }
            if machine.compare_exchange_32(ask.at, word, word | ask.mine)? == word {
                return Ok(Acquired::Mine(word));
            }
            continue;
        };
        if machine.is_own(lane) {
            return Err(waiter.error(ErrorKind::Deadlock));
        }
        if waiter.spin(machine) {
            continue;
        }
        waiter.check_deadline(machine)?;
        waiter.register_among_others(machine)?;
        let Some(lane) = owner(machine.load_32(ask.at)?) else { continue };
        // If it is recovered now, the gate opens: nothing is slept through.
        waiter.probe_once(machine, lane)?;
        waiter.sleep(machine)?;
        if let Some(lane) = owner(machine.load_32(ask.at)?) {
            machine.probe_liveness(lane)?;
        }
    }
}

/// Acquires the word if it is free or its owner is found dead. Returns `None` if this thread or
/// another holds it.
pub(crate) fn try_take<W: Machine>(machine: &W, ask: AcquireRequest) -> Result<Option<Acquired>> {
    let mut settled = false;
    loop {
        let word = machine.load_32(ask.at)?;
        if let Some(lane) = owner(word) {
            if settled || machine.is_own(lane) || machine.probe_throttled(lane)? == Liveness::Alive
            {
                return Ok(None);
            }
            settled = true;
            continue;
        }
        if word & ask.refuse != 0 {
            return Ok(Some(Acquired::Refused(word)));
        }
        if machine.compare_exchange_32(ask.at, word, word | ask.mine)? == word {
            return Ok(Some(Acquired::Mine(word)));
        }
    }
}

/// Takes the word from a dead lane, if it names it. Who had it upgradably changed nothing.
pub(crate) fn release_dead_owner<W: Machine>(machine: &W, at: u64, lane: u32) -> Result<()> {
    loop {
        let word = machine.load_32(at)?;
        if owner(word) != Some(lane) {
            return Ok(());
        }
        let kept = word & (POISONED | DIED);
        let left = if word & UPGRADABLE != 0 { kept } else { kept | DIED };
        if machine.compare_exchange_32(at, word, left)? == word {
            return Ok(());
        }
    }
}
