//! Reading: announced first, and judged after.

use std::time::Duration;

use super::{AGAIN, DRAIN, GATE, Packed, RawRwLock, Reading, SEEN, admits, group};
use crate::error::{Error, ErrorKind, Result};
use crate::peer::{Announced, World};
use crate::sync::gate::Wake;
use crate::sync::kind::Kind;
use crate::sync::mutex::{Held, Poison};
use crate::sync::unlock::{self, Waiting};
use crate::sync::waiter::Waiter;
use crate::sync::word::{DIED, UPGRADABLE, owner};

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
        self.await_reading(world, announced, until, Poison::Refuse).map(Reading::pack)
    }

    /// Acquires the lock for reading, even if it is poisoned. Only the admission differs: writers,
    /// including those of a repair, wait for this reader as for any other.
    pub(crate) fn read_poisoned<W: World>(
        self,
        world: &W,
        until: Option<Duration>,
    ) -> Result<Reading> {
        let announced = self.announce_read(world)?;
        self.await_reading(world, announced, until, Poison::Accept)
    }

    fn await_reading<W: World>(
        self,
        world: &W,
        mut announced: Announced,
        until: Option<Duration>,
        poison: Poison,
    ) -> Result<Reading> {
        let mut waiter = self.waiter(READ, GATE, until);
        loop {
            if let Some(reading) = self.enter(world, announced, poison)? {
                return Ok(reading);
            }
            if let Some(reading) = self.nested(world, poison)? {
                return Ok(reading);
            }
            self.await_admission(world, &mut waiter, poison)?;
            announced = world.announce_first(Kind::Reader.of(self.at))?;
        }
    }

    /// Acquires the lock for reading without waiting. Returns `None` if a writer, this thread or
    /// another, holds it. A dead writer is detected, though not necessarily by the first call.
    pub(crate) fn try_read<W: World>(self, world: &W) -> Result<Option<Reading>> {
        let mut settled = false;
        loop {
            let announced = world.announce_first(Kind::Reader.of(self.at))?;
            if let Some(reading) = self.enter(world, announced, Poison::Refuse)? {
                return Ok(Some(reading));
            }
            if let Some(reading) = self.nested(world, Poison::Refuse)? {
                return Ok(Some(reading));
            }
            let word = world.load_32(self.at)?;
            match owner(word) {
                Some(lane) if !settled => world.settle_rarely(lane)?,
                None if word & Poison::Refuse as u32 != 0 => return Err(self.poisoned()),
                _ => return Ok(None),
            };
            settled = true;
        }
    }

    /// Judges the lock after the announcement is visible; takes that back if it is not admitted.
    fn enter<W: World>(
        self,
        world: &W,
        announced: Announced,
        poison: Poison,
    ) -> Result<Option<Reading>> {
        let judged = self.judge(world, announced, poison);
        if !matches!(judged, Ok(Some(_))) {
            let left = self.leave(world, announced);
            if judged.is_ok() {
                left?;
            }
        }
        judged
    }

    fn judge<W: World>(
        self,
        world: &W,
        announced: Announced,
        poison: Poison,
    ) -> Result<Option<Reading>> {
        let bit = u64::from(group(announced.lane)) << 32;
        let mut pair = world.load_64(self.at)?;
        if admits(pair as u32, poison) && pair & bit == 0 {
            // What counts is the word at the moment when the bit is set.
            pair = world.fetch_or_64(self.at, bit)?;
        }
        let word = pair as u32;
        Ok(admits(word, poison).then_some(Reading(Held::of(announced, word))))
    }

    /// Another read by a thread that reads: what it announced before holds up every writer, and one
    /// who looks for readers meanwhile is made to look again.
    fn nested<W: World>(self, world: &W, poison: Poison) -> Result<Option<Reading>> {
        let what = Kind::Reader.of(self.at);
        if world.announced(what)?.is_none() {
            return Ok(None);
        }
        let word = world.load_32(self.at)?;
        if word & poison as u32 != 0 {
            return Err(self.poisoned());
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
    fn refuse<W: World>(self, world: &W, word: u32, poison: Poison) -> Result<()> {
        match owner(word) {
            Some(lane) if world.is_own(lane) && word & UPGRADABLE == 0 => {
                Err(self.waiter(READ, GATE, None).error(ErrorKind::Deadlock))
            }
            None if word & poison as u32 != 0 => Err(self.poisoned()),
            _ => Ok(()),
        }
    }

    #[cold]
    fn poisoned(self) -> Error {
        self.waiter(READ, GATE, None).error(ErrorKind::Poisoned)
    }

    fn await_admission<W: World>(
        self,
        world: &W,
        waiter: &mut Waiter,
        poison: Poison,
    ) -> Result<()> {
        loop {
            let word = world.load_32(self.at)?;
            if admits(word, poison) {
                return Ok(());
            }
            self.refuse(world, word, poison)?;
            if waiter.linger(world) {
                continue;
            }
            waiter.go_on(world)?;
            waiter.register_among_others(world)?;
            let word = world.load_32(self.at)?;
            let (false, Some(lane)) = (admits(word, poison), owner(word)) else { continue };
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
