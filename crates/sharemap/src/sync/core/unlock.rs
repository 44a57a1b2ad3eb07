//! The release of a lock word: the word, then the gate, then the announcement (FORMAT.md, "The word" and
//! "The gate").
//!
//! The owner has written the value before. The order of the three steps decides what a death leaves:
//!
//! | Death after | Left behind | Repaired by |
//! |---|---|---|
//! | the value | the word names the lane | recoverer: sets `DIED` (not if `UPGRADABLE`), wakes all |
//! | the word | a free word, sleeping waiters | recoverer: wakes all; earlier, the waiters' bounded sleeps |
//! | the gate | a clear sleeper bit, no wake yet | recoverer: wakes all, as it ignores the bit |
//! | the wake | an announcement of a lock that is not held | recoverer: finds nothing to release |
//!
//! The announcement goes last. Withdrawn before the word, it would leave a word that recovery cannot find;
//! withdrawn before the wake, it would leave waiters to their bounded sleeps, and would allow the lock's bytes
//! to be used again while this thread still accesses the gate.
//!
//! A failed step does not stop the next ones, with one exception: if the word could not be stored and still
//! names the lane, the gate stays closed and the announcement stays, so that recovery releases the word when
//! the process has ended.

use crate::error::{Error, ErrorKind, Result};
use crate::peer::{Announced, AnnouncementRef, CheckedSpan, Machine, Slot};
use crate::sync::core::double_buffer::LastStore;
use crate::sync::core::gate::{self, SLEEPER, Wake};
use crate::sync::core::word::owner;

/// A release of a lock word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unlock {
    /// The word's offset.
    pub(crate) word: u64,
    /// The free word to store: the flags for the next owner.
    pub(crate) flags: u32,
    /// The gate's offset.
    pub(crate) gate: u64,
    /// How many waiters to wake.
    pub(crate) wake: Wake,
}

/// Whether a waiter may sleep at the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    Nobody,
    Somebody,
}

impl Unlock {
    /// Releases the word that names the lane of `announced`, wakes waiters, and withdraws the announcement.
    #[inline(always)]
    pub(crate) fn run<W: Machine>(self, machine: &W, announced: Announced) -> Result<()> {
        match self.begin(machine) {
            Ok(Waiting::Nobody) => machine.withdraw(announced),
            other => self.finish(machine, announced, other.map(drop)),
        }
    }

    /// Returns `true` if the word names the lane of `announced`.
    #[inline]
    pub(crate) fn is_held<W: Machine>(self, machine: &W, announced: Announced) -> Result<bool> {
        Ok(owner(machine.load_32(self.word)?) == Some(announced.lane))
    }

    /// Wakes waiters and withdraws the announcement, after the word was released.
    pub(crate) fn finish_released<W: Machine>(
        self,
        machine: &W,
        announced: Announced,
    ) -> Result<()> {
        finish(machine, self.gate, self.wake, announced, Ok(()))
    }

    /// Returns the error of a thread that has not released the word, which does not name its lane any more.
    #[cold]
    pub(crate) fn overwritten(self) -> Error {
        Error::new(ErrorKind::Invalid, "unlock")
            .with_lock_offset(self.word)
            .with_detail("another process overwrote the word of the lock; the change is lost")
    }

    /// Finishes a release after its first step, `begun`, failed or found waiters.
    #[cold]
    #[inline(never)]
    pub(crate) fn finish<W: Machine>(
        self,
        machine: &W,
        announced: Announced,
        begun: Result<()>,
    ) -> Result<()> {
        // The word was not stored. The lock stays held until this process ends, and the announcement with
        // it: recovery must find the word. If the word cannot be loaded either, assume the same.
        if begun.is_err() && self.is_held(machine, announced)? {
            return begun;
        }
        finish(machine, self.gate, self.wake, announced, begun)
    }

    /// Stores the free word and loads the gate.
    #[inline(always)]
    fn begin<W: Machine>(self, machine: &W) -> Result<Waiting> {
        if machine.stores_release() {
            // The load may execute before the store is visible. A waiter's fence makes that harmless: either
            // the waiter sees the free word, or this load sees the waiter's bit.
            let gate = machine.store_and_load_32(self.word, self.flags, self.gate);
            return gate.map(waiting_at);
        }
        // The waiters' fences do not reach this process, so its own exchange orders the two accesses.
        machine.swap_32(self.word, self.flags)?;
        machine.load_32(self.gate).map(waiting_at)
    }
}

/// Makes the last store of a value and releases the lock at `word`, consistent, by plain stores. Returns whether a
/// waiter may sleep. If no waiter may, the caller withdraws the announcement.
///
/// The distances of the value, of its selector and of the gate from the word are constants. The caller knows that
/// [`Machine::stores_release`] is `true`, and tests for faults before it withdraws the announcement: while the word
/// names the lane, recovery must find it. After an error or a fault, the lock may still be held: the word tells
/// ([`Unlock::is_held`]).
///
/// Death before the store of the word: the stored value is the old or the new one, never a mixture, and the
/// recoverer finds the announcement and sets `DIED`. Death after it: the word is free, and recovery wakes all
/// waiters. The load of the gate may overtake the store; the fence of a waiter makes that harmless.
#[inline(always)]
pub(crate) fn store_and_unlock<
    M: Machine,
    const VALUE: u64,
    const SELECTOR: u64,
    const GATE: u64,
>(
    machine: &M,
    word: u64,
    last: LastStore,
) -> Result<Waiting> {
    let gate = match last {
        LastStore::None => machine.store_and_load_32(word, 0, word + GATE),
        LastStore::Value32(value) => machine.store_and_release::<u32, VALUE, GATE>(word, value),
        LastStore::Value64(value) => machine.store_and_release::<u64, VALUE, GATE>(word, value),
        LastStore::Selector(other) => machine.store_and_release::<u32, SELECTOR, GATE>(word, other),
    };
    gate.map(waiting_at)
}

/// Ends a release that has stored the word, or `Leaving`, and found `waiting` at the gate: withdraws the announcement
/// if no waiter may sleep. Returns `false` if the slow path must look what has been done.
///
/// Faults are tested for before the announcement is withdrawn: while the word names this lane, recovery must find
/// it.
#[inline(always)]
pub(crate) fn withdraw_at_once(
    span: &CheckedSpan<'_>,
    slot: AnnouncementRef<'_>,
    waiting: Result<Waiting>,
) -> bool {
    let Ok(Waiting::Nobody) = waiting else { return false };
    if span.fault() != 0 {
        return false;
    }
    slot.withdraw(span).is_ok()
}

/// Returns whether a waiter may sleep, from the word of a gate.
#[inline(always)]
pub(crate) fn waiting_at(gate: u32) -> Waiting {
    if gate & SLEEPER == 0 { Waiting::Nobody } else { Waiting::Somebody }
}

/// Opens the gate and then withdraws the announcement, even if the gate fails. Returns the first error,
/// beginning with `begun`.
#[cold]
#[inline(never)]
pub(crate) fn finish<W: Machine>(
    machine: &W,
    gate: u64,
    wake: Wake,
    announced: Announced,
    begun: Result<()>,
) -> Result<()> {
    let opened = gate::open(machine, gate, wake);
    let withdrawn = machine.withdraw(announced);
    begun.and(opened).and(withdrawn)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::{Error, ErrorKind};
    use crate::peer::{Liveness, Session, delegate_world};
    use crate::sync::algorithms::exclusive::{Exclusive, ReleaseState};
    use crate::sync::algorithms::mutex::RawMutex;
    use crate::sync::core::announcement::Kind;
    use crate::sync::tests::object;

    /// A machine that fails to store the word, as happens if a full disk refuses the page.
    struct Refusing<'a> {
        session: &'a Session,
    }

    impl Machine for Refusing<'_> {
        delegate_world!(session: words lanes waits others notes);

        fn store_and_load_32(&self, _: u64, _: u32, _: u64) -> Result<u32> {
            Err(Error::new(ErrorKind::Fault, "access"))
        }
    }

    #[test]
    fn a_release_that_fails_keeps_the_announcement() {
        let Some(session) = object::of_one_lock() else { return };
        if !session.stores_release() {
            eprintln!("skipped: releases are exchanges here");
            return;
        }
        let mutex = RawMutex::new(session.payload().0, 8);
        let held = mutex.lock(&*session, None).unwrap();
        let refused = mutex.unlock(&Refusing { session: &session }, held, ReleaseState::Sound);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Fault);
        let announcement = Kind::Mutex.of(session.payload().0);
        assert_eq!(session.announced(announcement).unwrap(), Some(held.announced()));
        assert_eq!(mutex.lock(&*session, None).unwrap_err().kind(), ErrorKind::Deadlock);
        mutex.unlock(&*session, held, ReleaseState::Sound).unwrap();
        assert_eq!(session.announced(announcement).unwrap(), None);
    }
}
