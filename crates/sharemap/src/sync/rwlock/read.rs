//! Reading: announced first, and judged after.

use std::time::Duration;

use super::{AGAIN, DRAIN, GATE, Packed, RawRwLock, Reading, SEEN, admits, group};
use crate::error::{ErrorKind, Result};
use crate::peer::{Announced, World};
use crate::sync::gate::Wake;
use crate::sync::kind::Kind;
use crate::sync::mutex::Held;
use crate::sync::unlock::{self, Waiting};
use crate::sync::waiter::Waiter;
use crate::sync::word::{DIED, POISONED, UPGRADABLE, owner};

const READ: &str = "lock for reading";

impl RawRwLock {
    /// What comes first.
    #[inline(always)]
    pub(crate) fn announce_read<W: World>(self, world: &W) -> Result<Announced> {
        world.announce_first(Kind::Reader.of(self.at))
    }

    /// Whether the reader is admitted, and there is nothing to tell.
    #[inline(always)]
    pub(crate) fn read_at_once<W: World>(self, world: &W, announced: Announced) -> bool {
        let bit = group(announced.lane);
        matches!(world.load_64(self.at), Ok(pair) if pair as u32 == 0 && (pair >> 32) as u32 & bit != 0)
    }

    /// Reads after that failed. A thread that reads already is let in whoever waits.
    #[cold]
    #[inline(never)]
    pub(crate) fn read_slowly<W: World>(
        self,
        world: &W,
        announced: Announced,
        until: Option<Duration>,
    ) -> Result<Packed> {
        self.await_reading(world, announced, until).map(Reading::pack)
    }

    fn await_reading<W: World>(
        self,
        world: &W,
        mut announced: Announced,
        until: Option<Duration>,
    ) -> Result<Reading> {
        let mut waiter = self.waiter(READ, GATE, until);
        loop {
            if let Some(reading) = self.enter(world, announced)? {
                return Ok(reading);
            }
            if let Some(reading) = self.nested(world)? {
                return Ok(reading);
            }
            self.await_admission(world, &mut waiter)?;
            announced = world.announce_first(Kind::Reader.of(self.at))?;
        }
    }

    /// Does not wait; `None` if there is a writer. A dead one is noticed, if not at once.
    pub(crate) fn try_read<W: World>(self, world: &W) -> Result<Option<Reading>> {
        let mut settled = false;
        loop {
            let announced = world.announce_first(Kind::Reader.of(self.at))?;
            if let Some(reading) = self.enter(world, announced)? {
                return Ok(Some(reading));
            }
            if let Some(reading) = self.nested(world)? {
                return Ok(Some(reading));
            }
            let word = world.load_32(self.at)?;
            self.refuse(world, word, &self.waiter(READ, GATE, None))?;
            match owner(word) {
                Some(lane) if !settled => world.settle_rarely(lane)?,
                _ => return Ok(None),
            };
            settled = true;
        }
    }

    /// Judges the lock after the announcement is visible; takes that back if it is not admitted.
    fn enter<W: World>(self, world: &W, announced: Announced) -> Result<Option<Reading>> {
        let judged = self.judge(world, announced);
        if !matches!(judged, Ok(Some(_))) {
            let left = self.leave(world, announced);
            if judged.is_ok() {
                left?;
            }
        }
        judged
    }

    fn judge<W: World>(self, world: &W, announced: Announced) -> Result<Option<Reading>> {
        let bit = u64::from(group(announced.lane)) << 32;
        let mut pair = world.load_64(self.at)?;
        if admits(pair as u32) && pair & bit == 0 {
            // What counts is the word at the moment when the bit is set.
            pair = world.fetch_or_64(self.at, bit)?;
        }
        let word = pair as u32;
        Ok(admits(word).then_some(Reading(Held::of(announced, word))))
    }

    /// Another read by a thread that reads: what it announced before holds up every writer, and one
    /// who looks for readers meanwhile is made to look again.
    fn nested<W: World>(self, world: &W) -> Result<Option<Reading>> {
        let what = Kind::Reader.of(self.at);
        if world.announced(what)?.is_none() {
            return Ok(None);
        }
        let word = world.load_32(self.at)?;
        if word & POISONED != 0 {
            return Err(self.waiter(READ, GATE, None).error(ErrorKind::Poisoned));
        }
        let announced = world.announce_first(what)?;
        match self.show(world, announced) {
            Ok(()) => Ok(Some(Reading(Held::of(announced, word & DIED)))),
            Err(error) => {
                let _ = self.leave(world, announced);
                Err(error)
            }
        }
    }

    /// Has a writer see what was announced after it went by.
    fn show<W: World>(self, world: &W, announced: Announced) -> Result<()> {
        world.fetch_or_32(self.at + SEEN, group(announced.lane))?;
        world.increment_32(self.at + AGAIN)
    }

    /// An error if waiting would be in vain.
    fn refuse<W: World>(self, world: &W, word: u32, waiter: &Waiter) -> Result<()> {
        match owner(word) {
            Some(lane) if world.is_own(lane) && word & UPGRADABLE == 0 => {
                Err(waiter.error(ErrorKind::Deadlock))
            }
            None if word & POISONED != 0 => Err(waiter.error(ErrorKind::Poisoned)),
            _ => Ok(()),
        }
    }

    fn await_admission<W: World>(self, world: &W, waiter: &mut Waiter) -> Result<()> {
        loop {
            let word = world.load_32(self.at)?;
            if admits(word) {
                return Ok(());
            }
            self.refuse(world, word, waiter)?;
            if waiter.linger(world) {
                continue;
            }
            waiter.go_on(world)?;
            waiter.register_among_others(world)?;
            let word = world.load_32(self.at)?;
            let (false, Some(lane)) = (admits(word), owner(word)) else { continue };
            waiter.probe_once(world, lane)?;
            waiter.sleep(world)?;
            if let Some(lane) = owner(world.load_32(self.at)?) {
                world.settle(lane)?;
            }
        }
    }

    #[inline(always)]
    pub(crate) fn unlock_read<W: World>(self, world: &W, reading: Reading) -> Result<()> {
        self.leave(world, reading.0.announced())
    }

    /// The slot says that the reader is gone, but not from the lock's bytes.
    #[inline(always)]
    fn leave<W: World>(self, world: &W, announced: Announced) -> Result<()> {
        let leaving = Kind::Leaving.of(self.at);
        let left = if world.stores_release() {
            world.store_64(announced.slot, leaving)
        } else {
            world.swap_64(announced.slot, leaving).map(drop)
        };
        let drain = self.at + DRAIN;
        match left.and_then(|()| world.load_32(drain)).map(unlock::who_waits) {
            Ok(Waiting::Nobody) => world.withdraw(announced),
            other => unlock::finish(world, drain, Wake::All, announced, other.map(drop)),
        }
    }
}
