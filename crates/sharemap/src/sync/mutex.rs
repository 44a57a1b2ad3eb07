//! Mutual exclusion, with a value that is never seen half-written.
//!
//! A release is a plain store where the process is registered for the fence of those who wait.

use std::time::Duration;

use super::gate::{self, Wake};
use super::kind::Kind;
use super::unlock::Unlock;
use super::value::Copies;
use super::waiter::{Change, OWNED, Waiter};
use super::word::{self, Ask, DIED, LANE, POISONED, Taken, named};
use crate::error::{ErrorKind, Result};
use crate::peer::{Announced, World};

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
pub(crate) struct Held {
    slot: u64,
    /// The lane, and above it the word as it was found.
    lane_and_word: u64,
}

impl Held {
    #[inline(always)]
    pub(super) fn of(announced: Announced, found: u32) -> Self {
        let lane_and_word = u64::from(announced.lane) | u64::from(found) << 32;
        Self { slot: announced.slot, lane_and_word }
    }

    #[inline(always)]
    pub(super) fn announced(self) -> Announced {
        Announced { lane: self.lane(), slot: self.slot }
    }

    /// The word as it was found: its flags.
    #[inline(always)]
    pub(super) fn found(self) -> u32 {
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
    pub(crate) fn leave(self) -> Leave {
        Leave::as_found(self.found())
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
pub(crate) enum Leave {
    Sound = 0,
    /// To be told that an owner died.
    Died = DIED,
    /// Not to be had before it is repaired.
    Poisoned = POISONED,
}

impl Leave {
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
        Self::VALUE + Copies::size(len)
    }

    #[inline(always)]
    pub(crate) fn value(self) -> Copies {
        Copies::new(self.at, SELECTOR, Self::VALUE, self.len)
    }

    /// Waits until `until`, or for ever.
    #[inline(always)]
    pub(crate) fn lock<W: World>(self, world: &W, until: Option<Duration>) -> Result<Held> {
        self.lock_on(world, world, until)
    }

    /// Acquires the mutex like [`lock`](Self::lock), but waits on `waits`, another world of the
    /// same object, which tells when waits are cancelled.
    #[inline(always)]
    pub(crate) fn lock_on<W: World, P: World>(
        self,
        world: &W,
        waits: &P,
        until: Option<Duration>,
    ) -> Result<Held> {
        let announced = self.announce(world)?;
        if self.lock_at_once(world, named(announced.lane)) {
            return Ok(Held::of(announced, 0));
        }
        self.lock_slowly(waits, announced, until).map(|found| Held::of(announced, found))
    }

    /// What comes first.
    #[inline(always)]
    pub(crate) fn announce<W: World>(self, world: &W) -> Result<Announced> {
        world.announce(self.announcement())
    }

    #[inline(always)]
    pub(crate) fn announcement(self) -> u64 {
        Kind::Mutex.of(self.at)
    }

    /// Locks it in the name of a lane, if nobody has it and there is nothing to tell.
    #[inline(always)]
    pub(crate) fn lock_at_once<W: World>(self, world: &W, mine: u32) -> bool {
        matches!(world.compare_exchange_32(self.at, 0, mine), Ok(0))
    }

    /// Locks it after that failed; gives the word as it was found.
    #[cold]
    #[inline(never)]
    pub(crate) fn lock_slowly<W: World>(
        self,
        world: &W,
        announced: Announced,
        until: Option<Duration>,
    ) -> Result<u32> {
        self.contend(world, announced, until, Poison::Refuse)
    }

    /// Acquires the mutex like [`lock`](Self::lock), even if it is poisoned.
    pub(crate) fn lock_poisoned<W: World>(
        self,
        world: &W,
        until: Option<Duration>,
    ) -> Result<Held> {
        let announced = self.announce(world)?;
        let found = self.contend(world, announced, until, Poison::Accept)?;
        Ok(Held::of(announced, found))
    }

    fn contend<W: World>(
        self,
        world: &W,
        announced: Announced,
        until: Option<Duration>,
        poison: Poison,
    ) -> Result<u32> {
        let mut waiter = self.waiter(until);
        let taken = word::take(world, Ask::new(self.at, announced, poison as u32), &mut waiter);
        if let Ok(Taken::Mine(word)) = taken {
            // If the memory is gone, the owner will find out.
            let _ = waiter.stand_in(world);
            return Ok(word);
        }
        let _ = waiter.hand_on(world, || Ok(world.load_32(self.at)? & LANE == 0));
        let _ = world.withdraw(announced);
        Err(taken.err().unwrap_or_else(|| waiter.error(ErrorKind::Poisoned)))
    }

    fn waiter(self, until: Option<Duration>) -> Waiter {
        Waiter::new("lock the mutex", self.at, self.at + GATE, Change::Plain, OWNED, until)
    }

    /// Acquires the mutex without waiting. Returns `None` if it is held, by this thread or another.
    /// A dead owner is detected, though not necessarily by the first call.
    #[inline]
    pub(crate) fn try_lock<W: World>(self, world: &W) -> Result<Option<Held>> {
        let announced = self.announce(world)?;
        if self.lock_at_once(world, named(announced.lane)) {
            return Ok(Some(Held::of(announced, 0)));
        }
        self.try_slowly(world, announced)
    }

    #[cold]
    #[inline(never)]
    fn try_slowly<W: World>(self, world: &W, announced: Announced) -> Result<Option<Held>> {
        let taken = word::try_take(world, Ask::new(self.at, announced, POISONED));
        if let Ok(Some(Taken::Mine(word))) = taken {
            return Ok(Some(Held::of(announced, word)));
        }
        let _ = world.withdraw(announced);
        match taken? {
            None => Ok(None),
            Some(_) => Err(self.waiter(None).error(ErrorKind::Poisoned)),
        }
    }

    #[inline(always)]
    pub(crate) fn unlock<W: World>(self, world: &W, held: Held, leave: Leave) -> Result<()> {
        self.unlocking(leave).run(world, held.announced())
    }

    /// What unlocking is.
    #[inline(always)]
    pub(crate) fn unlocking(self, leave: Leave) -> Unlock {
        let (flags, gate) = (leave as u32, self.at + GATE);
        Unlock { word: self.at, flags, gate, wake: Wake::One }
    }
}

/// The lane died with the mutex, or while it asked for it.
pub(crate) fn recover<W: World>(world: &W, at: u64, lane: u32) -> Result<()> {
    word::bury(world, at, lane)?;
    gate::open_for_the_dead(world, at + GATE)
}
