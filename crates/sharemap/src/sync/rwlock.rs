//! Many readers or one writer, with a value that is never seen half-written.
//!
//! Readers write nothing that they share: each announces the lock in its own lane, and then loads
//! the word together with `seen`, in one load. `seen` has a bit for each group of lanes from which
//! there were readers since a writer last had the lock; a reader whose bit is missing sets it. A
//! writer takes the word, which holds up new readers, looks through the lanes of the groups seen, and
//! sleeps on a second gate, `drain`, until each has left.

use std::time::Duration;

use super::gate::{self, Wake};
use super::kind::Kind;
use super::mutex::{Held, Leave, Poison, all};
use super::value::Copies;
use super::waiter::{Change, OWNED, Waiter};
use super::word::{self, Ask, DIED, LANE, POISONED, Taken, UPGRADABLE, named, owner};
use crate::error::{ErrorKind, Result};
use crate::peer::{Announced, OFFSET_MASK, World};

// The word is at the start, and with `seen` behind it a word of 64 bits.
const SEEN: u64 = 4;
const GATE: u64 = 8;
const DRAIN: u64 = 12;
const SELECTOR: u64 = 16;

const READ: &str = "lock for reading";
const WRITE: &str = "lock for writing";
const UPGRADE: &str = "upgrade the lock";

/// A lock for readers and writers in an object: where it is, and how much value it has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawRwLock {
    at: u64,
    value: Copies,
}

/// That this thread reads.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(crate) struct Reading(pub(super) Held);

/// A [`Reading`] as a number, which is returned in a register: slot, lane, and whether one died.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packed(u64);

impl Reading {
    fn pack(self) -> Packed {
        let Announced { lane, slot } = self.0.announced();
        Packed(slot | u64::from(lane) << 48 | u64::from(self.died()))
    }

    #[inline(always)]
    pub(crate) fn unpack(Packed(packed): Packed) -> Self {
        let announced = Announced { lane: (packed >> 48) as u32, slot: packed & (OFFSET_MASK | 8) };
        Self(Held::of(announced, if packed & 1 == 0 { 0 } else { DIED }))
    }

    #[inline(always)]
    pub(crate) fn at_once(announced: Announced) -> Self {
        Self(Held::of(announced, 0))
    }

    /// An owner died, and none since has accepted the value.
    #[inline(always)]
    pub(crate) fn died(self) -> bool {
        self.0.died()
    }
}

/// Whether readers are let in beside whoever the word names.
fn admits(word: u32) -> bool {
    word & POISONED == 0 && (word & LANE == 0 || word & UPGRADABLE != 0)
}

/// The bit of a lane's group in `seen`.
fn group(lane: u32) -> u32 {
    1 << (lane % 32)
}

impl RawRwLock {
    /// Where the current copy of a new one is.
    pub(crate) const VALUE: u64 = 32;

    /// The lock at `at`, a multiple of 16, with a value of `len` bytes.
    pub(crate) fn new(at: u64, len: u32) -> Self {
        Self { at, value: Copies::new(at + SELECTOR, at + Self::VALUE, len) }
    }

    /// Bytes that a lock with a value of `len` bytes takes; zeros are a free one, of zeros.
    pub(crate) const fn size(len: u32) -> u64 {
        Self::VALUE + Copies::size(len)
    }

    pub(crate) fn value(self) -> Copies {
        self.value
    }

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

    /// Another read by a thread that reads: what it announced holds up every writer.
    fn nested<W: World>(self, world: &W) -> Result<Option<Reading>> {
        let what = Kind::Reader.of(self.at);
        if world.announced(what)?.is_none() {
            return Ok(None);
        }
        let announced = world.announce(what)?;
        Ok(Some(Reading(Held::of(announced, 0))))
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
            waiter.register(world)?;
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
        let opened = gate::open(world, self.at + DRAIN, Wake::All);
        all(left, opened, world.withdraw(announced))
    }

    /// Waits until `until`, or for ever.
    #[inline(always)]
    pub(crate) fn write<W: World>(self, world: &W, until: Option<Duration>) -> Result<Held> {
        let announced = world.announce(Kind::Writer.of(self.at))?;
        if let Ok(0) = world.compare_exchange_32(self.at, 0, named(announced.lane)) {
            if let Ok(0) = world.load_32(self.at + SEEN) {
                return Ok(Held::of(announced, 0));
            }
            return self.exclude(world, Held::of(announced, 0), WRITE, until);
        }
        self.write_slowly(world, announced, until, Poison::Refuse)
    }

    /// The same, also if it is poisoned: to repair it.
    pub(crate) fn repair<W: World>(self, world: &W, until: Option<Duration>) -> Result<Held> {
        let announced = world.announce(Kind::Writer.of(self.at))?;
        self.write_slowly(world, announced, until, Poison::Accept)
    }

    #[cold]
    #[inline(never)]
    fn write_slowly<W: World>(
        self,
        world: &W,
        announced: Announced,
        until: Option<Duration>,
        poison: Poison,
    ) -> Result<Held> {
        let held =
            self.own(world, Ask::new(self.at, announced, poison as u32), announced, until)?;
        self.exclude(world, held, WRITE, until)
    }

    /// Waits for the word; readers may be inside yet.
    fn own<W: World>(
        self,
        world: &W,
        ask: Ask,
        announced: Announced,
        until: Option<Duration>,
    ) -> Result<Held> {
        let mut waiter = self.waiter(WRITE, GATE, until);
        match word::take(world, ask, &mut waiter) {
            Ok(Taken::Mine(word)) => Ok(Held::of(announced, word)),
            other => {
                let _ = world.withdraw(announced);
                Err(other.err().unwrap_or_else(|| waiter.error(ErrorKind::Poisoned)))
            }
        }
    }

    /// Waits for the readers to leave; gives the word back if they do not.
    #[cold]
    #[inline(never)]
    fn exclude<W: World>(
        self,
        world: &W,
        held: Held,
        operation: &'static str,
        until: Option<Duration>,
    ) -> Result<Held> {
        match self.drain(world, operation, until) {
            Ok(()) => Ok(held),
            Err(error) => {
                let leave = if held.died() { Leave::Died } else { Leave::Sound };
                let _ = self.unlock(world, held, leave);
                Err(error)
            }
        }
    }

    fn drain<W: World>(
        self,
        world: &W,
        operation: &'static str,
        until: Option<Duration>,
    ) -> Result<()> {
        let seen = world.load_32(self.at + SEEN)?;
        if seen == 0 {
            return Ok(());
        }
        let mut waiter = self.waiter(operation, DRAIN, until);
        for lane in (0..world.lanes()).filter(|&lane| seen & group(lane) != 0) {
            for index in 0..W::SLOTS {
                self.await_departure(world, lane, world.slots(lane) + 8 * index, &mut waiter)?;
            }
        }
        // Alone: whoever sets a bit now is not admitted, and sets it again.
        world.swap_32(self.at + SEEN, 0)?;
        Ok(())
    }

    fn await_departure<W: World>(
        self,
        world: &W,
        lane: u32,
        slot: u64,
        waiter: &mut Waiter,
    ) -> Result<()> {
        let reads = || world.load_64(slot).map(|what| what == Kind::Reader.of(self.at));
        while reads()? {
            if world.is_own(lane) {
                return Err(waiter.error(ErrorKind::Deadlock));
            }
            if waiter.linger(world) {
                continue;
            }
            // Also for those who only try.
            waiter.probe_once(world, lane)?;
            if !reads()? {
                break;
            }
            waiter.go_on(world)?;
            waiter.register(world)?;
            if !reads()? {
                break;
            }
            waiter.sleep(world)?;
            if reads()? {
                world.settle(lane)?;
            }
        }
        Ok(())
    }

    /// Does not wait; `None` if somebody reads or writes.
    pub(crate) fn try_write<W: World>(self, world: &W) -> Result<Option<Held>> {
        let announced = world.announce(Kind::Writer.of(self.at))?;
        let Some(held) = self.try_own(world, Ask::new(self.at, announced, POISONED), announced)?
        else {
            return Ok(None);
        };
        match self.exclude(world, held, WRITE, Some(Duration::ZERO)) {
            Ok(held) => Ok(Some(held)),
            Err(error) if error.kind() == ErrorKind::Timeout => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn try_own<W: World>(self, world: &W, ask: Ask, announced: Announced) -> Result<Option<Held>> {
        let waiter = self.waiter(WRITE, GATE, None);
        let taken = word::try_take(world, ask, &waiter);
        if let Ok(Some(Taken::Mine(word))) = taken {
            return Ok(Some(Held::of(announced, word)));
        }
        let _ = world.withdraw(announced);
        match taken? {
            None => Ok(None),
            Some(_) => Err(waiter.error(ErrorKind::Poisoned)),
        }
    }

    /// Waits to read beside other readers, as the only one who may go on to write.
    pub(crate) fn upgradable<W: World>(self, world: &W, until: Option<Duration>) -> Result<Held> {
        let announced = world.announce(Kind::Writer.of(self.at))?;
        let mut ask = Ask::new(self.at, announced, POISONED);
        ask.mine |= UPGRADABLE;
        self.own(world, ask, announced, until)
    }

    /// The same without waiting; `None` if somebody writes, or may go on to.
    pub(crate) fn try_upgradable<W: World>(self, world: &W) -> Result<Option<Held>> {
        let announced = world.announce(Kind::Writer.of(self.at))?;
        let mut ask = Ask::new(self.at, announced, POISONED);
        ask.mine |= UPGRADABLE;
        self.try_own(world, ask, announced)
    }

    /// From upgradable to exclusive; upgradable as before if that fails.
    pub(crate) fn upgrade<W: World>(
        self,
        world: &W,
        held: &Held,
        until: Option<Duration>,
    ) -> Result<()> {
        let exclusive = named(held.lane()) | if held.died() { DIED } else { 0 };
        let upgradable = exclusive | UPGRADABLE;
        if world.compare_exchange_32(self.at, upgradable, exclusive)? != upgradable {
            // The word was scribbled over: this thread does not have it.
            return Err(self.waiter(UPGRADE, GATE, None).error(ErrorKind::Invalid));
        }
        let drained = self.drain(world, UPGRADE, until);
        if drained.is_err() {
            let _ = world.fetch_or_32(self.at, UPGRADABLE);
            let _ = gate::open(world, self.at + GATE, Wake::All);
        }
        drained
    }

    /// Releases what was had for writing or upgradably.
    #[inline(always)]
    pub(crate) fn unlock<W: World>(self, world: &W, held: Held, leave: Leave) -> Result<()> {
        let released = word::release(world, self.at, leave as u32);
        let opened = gate::open(world, self.at + GATE, Wake::All);
        all(released, opened, world.withdraw(held.announced()))
    }

    fn waiter(self, operation: &'static str, gate: u64, until: Option<Duration>) -> Waiter {
        Waiter::new(operation, self.at, self.at + gate, Change::Plain, OWNED, until)
    }
}

/// The lane died with the word, or while it asked for it.
pub(crate) fn recover_writer<W: World>(world: &W, at: u64, lane: u32) -> Result<()> {
    word::bury(world, at, lane)?;
    gate::open_for_the_dead(world, at + GATE)
}

/// The lane died reading, or on its way out. The slot says so before the writers are woken.
pub(crate) fn recover_reader<W: World>(world: &W, at: u64, slot: u64) -> Result<()> {
    world.swap_64(slot, Kind::Leaving.of(at))?;
    gate::open_for_the_dead(world, at + DRAIN)
}
