//! Mutual exclusion, with a value that is never seen half-written.
//!
//! A release is a plain store where the process is registered for the fence of those who wait.

use std::time::Duration;

use crate::error::{ErrorKind, Result};
use crate::peer::{Announced, Machine};
use crate::sync::core::announcement::Kind;
use crate::sync::core::double_buffer::DoubleBuffer;
use crate::sync::core::gate::{self, Wake};
use crate::sync::core::unlock::Unlock;
use crate::sync::core::waiter::{Change, OWNED, Waiter};
use crate::sync::core::word::{self, AcquireRequest, Acquired, DIED, LANE, POISONED, named};

// The word is at the start.
const GATE: u64 = 4;
const SELECTOR: u64 = 8;

/// A mutex in an object: where it is, and how much value it has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawMutex {
    at: u64,
    len: u32,
}

/// That this thread has a lock's word. Two numbers, which the compiler keeps in registers: a structure
/// of three is moved through memory, by pieces that do not fit each other.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(crate) struct Acquisition {
    slot: u64,
    /// The lane, and above it the word as it was found.
    lane_and_word: u64,
}

impl Acquisition {
    #[inline(always)]
    pub(in crate::sync) fn of(announced: Announced, found: u32) -> Self {
        let lane_and_word = u64::from(announced.lane) | u64::from(found) << 32;
        Self { slot: announced.slot, lane_and_word }
    }

    #[inline(always)]
    pub(in crate::sync) fn announced(self) -> Announced {
        Announced { lane: self.lane(), slot: self.slot }
    }

    /// The word as it was found: its flags.
    #[inline(always)]
    pub(in crate::sync) fn found(self) -> u32 {
        (self.lane_and_word >> 32) as u32
    }

    /// The lane that the word names.
    #[inline(always)]
    pub(crate) fn lane(self) -> u32 {
        self.lane_and_word as u32
    }

    /// An owner died, and none since has accepted the value.
    #[inline(always)]
    pub(crate) fn died(self) -> bool {
        self.found() & DIED != 0
    }

    /// How it is to be left by one who changes nothing.
    #[inline(always)]
    pub(crate) fn leave(self) -> ReleaseState {
        ReleaseState::as_found(self.found())
    }
}

/// Whether a poisoned lock may be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Poison {
    Refuse = POISONED,
    Accept = 0,
}

/// In what state a lock is left for the next owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum ReleaseState {
    Sound = 0,
    /// To be told that an owner died.
    Died = DIED,
    /// Not to be had before it is repaired.
    Poisoned = POISONED,
}

impl ReleaseState {
    /// The state that a word's flags tell.
    #[inline(always)]
    pub(crate) fn as_found(word: u32) -> Self {
        match word & (POISONED | DIED) {
            0 => Self::Sound,
            DIED => Self::Died,
            _ => Self::Poisoned,
        }
    }
}

impl RawMutex {
    /// Where the current copy of a new one is.
    pub(crate) const VALUE: u64 = 16;

    /// The mutex at `at`, a multiple of 16, with a value of `len` bytes.
    #[inline(always)]
    pub(crate) fn new(at: u64, len: u32) -> Self {
        Self { at, len }
    }

    /// Bytes that a mutex with a value of `len` bytes takes; zeros are a free one, of zeros.
    pub(crate) const fn size(len: u32) -> u64 {
        Self::VALUE + DoubleBuffer::size(len)
    }

    #[inline(always)]
    pub(crate) fn value(self) -> DoubleBuffer {
        DoubleBuffer::new(self.at, SELECTOR, Self::VALUE, self.len)
    }

    /// Waits until `until`, or for ever.
    #[inline(always)]
    pub(crate) fn lock<W: Machine>(
        self,
        machine: &W,
        until: Option<Duration>,
    ) -> Result<Acquisition> {
        self.lock_on(machine, machine, until)
    }

    /// Acquires the mutex like [`lock`](Self::lock), but waits on `waits`, another world of the
    /// same object, which tells when waits are cancelled.
    #[inline(always)]
    pub(crate) fn lock_on<W: Machine, P: Machine>(
        self,
        machine: &W,
        waits: &P,
        until: Option<Duration>,
    ) -> Result<Acquisition> {
        let announced = self.announce(machine)?;
        if self.lock_at_once(machine, named(announced.lane)) {
            return Ok(Acquisition::of(announced, 0));
        }
        self.lock_slowly(waits, announced, until).map(|found| Acquisition::of(announced, found))
    }

    /// What comes first.
    #[inline(always)]
    pub(crate) fn announce<W: Machine>(self, machine: &W) -> Result<Announced> {
        machine.announce(self.announcement())
    }

    #[inline(always)]
    pub(crate) fn announcement(self) -> u64 {
        Kind::Mutex.of(self.at)
    }

    /// Locks it in the name of a lane, if nobody has it and there is nothing to tell.
    #[inline(always)]
    pub(crate) fn lock_at_once<W: Machine>(self, machine: &W, mine: u32) -> bool {
        matches!(machine.compare_exchange_32(self.at, 0, mine), Ok(0))
    }

    /// Locks it after that failed; gives the word as it was found.
    #[cold]
    #[inline(never)]
    pub(crate) fn lock_slowly<W: Machine>(
        self,
        machine: &W,
        announced: Announced,
        until: Option<Duration>,
    ) -> Result<u32> {
        self.contend(machine, announced, until, Poison::Refuse)
    }

    /// Acquires the mutex like [`lock`](Self::lock), even if it is poisoned.
    pub(crate) fn lock_poisoned<W: Machine>(
        self,
        machine: &W,
        until: Option<Duration>,
    ) -> Result<Acquisition> {
        let announced = self.announce(machine)?;
        let found = self.contend(machine, announced, until, Poison::Accept)?;
        Ok(Acquisition::of(announced, found))
    }

    fn contend<W: Machine>(
        self,
        machine: &W,
        announced: Announced,
        until: Option<Duration>,
        poison: Poison,
    ) -> Result<u32> {
        let mut waiter = self.waiter(until);
        let taken = word::take(
            machine,
            AcquireRequest::new(self.at, announced, poison as u32),
            &mut waiter,
        );
        if let Ok(Acquired::Mine(word)) = taken {
            // If the memory is gone, the owner will find out.
            let _ = waiter.restore_sleeper_bit(machine);
            return Ok(word);
        }
        let _ = waiter.wake_next(machine, || Ok(machine.load_32(self.at)? & LANE == 0));
        let _ = machine.withdraw(announced);
        Err(taken.err().unwrap_or_else(|| waiter.error(ErrorKind::Poisoned)))
    }

    fn waiter(self, until: Option<Duration>) -> Waiter {
        Waiter::new("lock the mutex", self.at, self.at + GATE, Change::Plain, OWNED, until)
    }

    /// Acquires the mutex without waiting. Returns `None` if it is held, by this thread or another.
    /// A dead owner is detected, though not necessarily by the first call.
    #[inline]
    pub(crate) fn try_lock<W: Machine>(self, machine: &W) -> Result<Option<Acquisition>> {
        let announced = self.announce(machine)?;
        if self.lock_at_once(machine, named(announced.lane)) {
            return Ok(Some(Acquisition::of(announced, 0)));
        }
        self.try_slowly(machine, announced)
    }

    #[cold]
    #[inline(never)]
    fn try_slowly<W: Machine>(
        self,
        machine: &W,
        announced: Announced,
    ) -> Result<Option<Acquisition>> {
        let taken = word::try_take(machine, AcquireRequest::new(self.at, announced, POISONED));
        if let Ok(Some(Acquired::Mine(word))) = taken {
            return Ok(Some(Acquisition::of(announced, word)));
        }
        let _ = machine.withdraw(announced);
        match taken? {
            None => Ok(None),
            Some(_) => Err(self.waiter(None).error(ErrorKind::Poisoned)),
        }
    }

    #[inline(always)]
    pub(crate) fn unlock<W: Machine>(
        self,
        machine: &W,
        held: Acquisition,
        leave: ReleaseState,
    ) -> Result<()> {
        self.unlocking(leave).run(machine, held.announced())
    }

    /// What unlocking is.
    #[inline(always)]
    pub(crate) fn unlocking(self, leave: ReleaseState) -> Unlock {
        let (flags, gate) = (leave as u32, self.at + GATE);
        Unlock { word: self.at, flags, gate, wake: Wake::One }
    }
}

/// The lane died with the mutex, or while it asked for it.
pub(crate) fn recover<W: Machine>(machine: &W, at: u64, lane: u32) -> Result<()> {
    word::release_dead_owner(machine, at, lane)?;
    gate::wake_all_after_recovery(machine, at + GATE)
}
