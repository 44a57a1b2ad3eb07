//! Mutual exclusion, with a value in two copies: an owner that dies leaves the old one or the new.
//!
//! The word names the owner's lane, which has announced the lock before. Only whoever recovers a
//! dead lane changes a word that names it, and only to `DIED`. A release is a plain store where the
//! process is registered for the fence of those who wait.

use std::time::Duration;

use super::gate::{self, Wake};
use super::kind::Kind;
use super::waiter::{Change, Waiter};
use super::word::{DIED, LANE, POISONED, named, owner};
use crate::error::{ErrorKind, Result};
use crate::peer::{Announced, Settled, World};

/// The word, at the start.
const GATE: u64 = 4;
const SELECTOR: u64 = 8;
const VALUE: u64 = 16;

const OPERATION: &str = "lock the mutex";

/// A mutex in an object: where it is, and how much value it has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawMutex {
    at: u64,
    /// From one copy to the other.
    stride: u64,
}

/// That this thread has a mutex.
#[derive(Debug)]
#[must_use]
pub(crate) struct Held {
    announced: Announced,
    /// An owner died, and none since has accepted the value.
    pub(crate) died: bool,
}

/// Whether a poisoned mutex may be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Poison {
    Refuse,
    Accept,
}

/// In what state a mutex is left for the next owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Leave {
    Sound = 0,
    /// To be told that an owner died.
    Died = DIED,
    /// Not to be had before it is repaired.
    Poisoned = POISONED,
}

impl RawMutex {
    /// The mutex at `at`, a multiple of 16, with a value of `len` bytes.
    pub(crate) fn new(at: u64, len: u32) -> Self {
        Self { at, stride: stride(len) }
    }

    /// Bytes that a mutex with a value of `len` bytes takes; zeros are a free one, of zeros.
    pub(crate) fn size(len: u32) -> u64 {
        VALUE + 2 * stride(len)
    }

    pub(crate) fn at(self) -> u64 {
        self.at
    }

    /// Waits until `until`, or for ever.
    #[inline]
    pub(crate) fn lock<W: World>(self, world: &W, until: Option<Duration>) -> Result<Held> {
        let announced = world.announce(Kind::Mutex.of(self.at))?;
        if let Ok(0) = world.compare_exchange_32(self.at, 0, named(announced.lane)) {
            return Ok(Held { announced, died: false });
        }
        self.lock_slowly(world, announced, until, Poison::Refuse)
    }

    /// The same, also if it is poisoned: to repair it.
    pub(crate) fn repair<W: World>(self, world: &W, until: Option<Duration>) -> Result<Held> {
        let announced = world.announce(Kind::Mutex.of(self.at))?;
        self.lock_slowly(world, announced, until, Poison::Accept)
    }

    #[cold]
    #[inline(never)]
    fn lock_slowly<W: World>(
        self,
        world: &W,
        announced: Announced,
        until: Option<Duration>,
        poison: Poison,
    ) -> Result<Held> {
        let mut waiter = Waiter::new(OPERATION, self.at, self.at + GATE, Change::Plain, until);
        let acquired = self.contend(world, announced, &mut waiter, poison);
        match acquired {
            Ok(word) => {
                // If the memory is gone, the owner will find out.
                let _ = waiter.wake_next_at_release(world);
                Ok(Held { announced, died: word & DIED != 0 })
            }
            Err(error) => {
                let _ = waiter.give_up(world, || Ok(world.load_32(self.at)? & LANE == 0));
                let _ = world.withdraw(announced);
                Err(error)
            }
        }
    }

    /// Gives the word as it was before it named this lane.
    fn contend<W: World>(
        self,
        world: &W,
        announced: Announced,
        waiter: &mut Waiter,
        poison: Poison,
    ) -> Result<u32> {
        let mut probed = false;
        loop {
            let word = world.load_32(self.at)?;
            let Some(lane) = owner(word) else {
                if word & POISONED != 0 && poison == Poison::Refuse {
                    return Err(waiter.error(ErrorKind::Poisoned));
                }
                let mine = word | named(announced.lane);
                if world.compare_exchange_32(self.at, word, mine)? == word {
                    return Ok(word);
                }
                continue;
            };
            if world.is_own(lane) {
                return Err(waiter.error(ErrorKind::Deadlock));
            }
            if waiter.linger(world) {
                continue;
            }
            waiter.go_on(world)?;
            waiter.register(world)?;
            let Some(lane) = owner(world.load_32(self.at)?) else { continue };
            if !probed {
                probed = true;
                world.settle(lane)?;
                // Recovery opens the gate; nothing is slept through.
            }
            waiter.sleep(world)?;
            if let Some(lane) = owner(world.load_32(self.at)?) {
                world.settle(lane)?;
            }
        }
    }

    /// Does not wait; `None` if somebody has it. A dead owner is noticed, if not at once.
    #[inline]
    pub(crate) fn try_lock<W: World>(self, world: &W) -> Result<Option<Held>> {
        let announced = world.announce(Kind::Mutex.of(self.at))?;
        if let Ok(0) = world.compare_exchange_32(self.at, 0, named(announced.lane)) {
            return Ok(Some(Held { announced, died: false }));
        }
        let tried = self.try_slowly(world, announced);
        if !matches!(tried, Ok(Some(_))) {
            let _ = world.withdraw(announced);
        }
        tried
    }

    #[cold]
    #[inline(never)]
    fn try_slowly<W: World>(self, world: &W, announced: Announced) -> Result<Option<Held>> {
        let waiter = Waiter::new(OPERATION, self.at, self.at + GATE, Change::Plain, None);
        let mut settled = false;
        loop {
            let word = world.load_32(self.at)?;
            if let Some(lane) = owner(word) {
                if world.is_own(lane) {
                    return Err(waiter.error(ErrorKind::Deadlock));
                }
                if settled || world.settle_rarely(lane)? == Settled::Alive {
                    return Ok(None);
                }
                settled = true;
                continue;
            }
            if word & POISONED != 0 {
                return Err(waiter.error(ErrorKind::Poisoned));
            }
            let mine = word | named(announced.lane);
            if world.compare_exchange_32(self.at, word, mine)? == word {
                return Ok(Some(Held { announced, died: word & DIED != 0 }));
            }
        }
    }

    #[inline]
    pub(crate) fn unlock<W: World>(self, world: &W, held: Held, leave: Leave) -> Result<()> {
        let released = if world.stores_release() {
            world.store_32(self.at, leave as u32)
        } else {
            world.swap_32(self.at, leave as u32).map(drop)
        };
        let opened = gate::open(world, self.at + GATE, Wake::One);
        let withdrawn = world.withdraw(held.announced);
        released.and(opened).and(withdrawn)
    }

    /// Copies the value out; gives which copy it is. To be called by the owner.
    #[inline]
    pub(crate) fn read<W: World>(self, world: &W, into: &mut [u8]) -> Result<u32> {
        let selector = world.load_32(self.at + SELECTOR)? & 1;
        world.read(self.copy(selector), into)?;
        Ok(selector)
    }

    /// Writes the value that replaces copy `selector`. To be called by the owner.
    #[inline]
    pub(crate) fn write<W: World>(self, world: &W, selector: u32, from: &[u8]) -> Result<()> {
        let other = 1 - (selector & 1);
        world.write(self.copy(other), from)?;
        world.store_32(self.at + SELECTOR, other)
    }

    fn copy(self, selector: u32) -> u64 {
        self.at + VALUE + u64::from(selector) * self.stride
    }
}

fn stride(len: u32) -> u64 {
    u64::from(len).next_multiple_of(8)
}

/// The lane died with the mutex, or while it asked for it.
pub(crate) fn recover<W: World>(world: &W, at: u64, lane: u32) -> Result<()> {
    loop {
        let word = world.load_32(at)?;
        if owner(word) != Some(lane) {
            break;
        }
        if world.compare_exchange_32(at, word, word & POISONED | DIED)? == word {
            break;
        }
    }
    gate::open_for_the_dead(world, at + GATE)
}
