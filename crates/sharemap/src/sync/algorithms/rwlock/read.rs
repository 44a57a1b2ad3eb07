//! Reading: announced first, and judged after.

use std::time::Duration;

use super::{AGAIN, DRAIN, GATE, Packed, RawRwLock, Reading, SEEN, admits, group};
use crate::error::{Error, ErrorKind, Result};
use crate::peer::{Announced, Machine};
use crate::sync::algorithms::mutex::{Acquisition, Poison};
use crate::sync::core::announcement::Kind;
use crate::sync::core::gate::Wake;
use crate::sync::core::unlock::{self, Waiting};
use crate::sync::core::waiter::Waiter;
use crate::sync::core::word::{DIED, UPGRADABLE, owner};

const READ: &str = "lock for reading";

impl RawRwLock {
    /// What comes first.
    #[inline(always)]
    pub(crate) fn announce_read<W: Machine>(self, machine: &W) -> Result<Announced> {
        machine.announce_seq_cst(Kind::Reader.of(self.at))
    }

    /// Whether the reader is admitted, and there is nothing to tell.
    #[inline(always)]
    pub(crate) fn read_at_once<W: Machine>(self, machine: &W, announced: Announced) -> bool {
        let bit = group(announced.lane);
        matches!(machine.load_64(self.at), Ok(pair) if pair as u32 == 0 && (pair >> 32) as u32 & bit != 0)
    }

    /// Reads after that failed. A thread that reads already is let in whoever waits.
    #[cold]
    #[inline(never)]
    pub(crate) fn read_slowly<W: Machine>(
        self,
        machine: &W,
        announced: Announced,
        until: Option<Duration>,
    ) -> Result<Packed> {
        self.await_reading(machine, announced, until, Poison::Refuse).map(Reading::pack)
    }

    /// Acquires the lock for reading, even if it is poisoned. Only the admission differs: writers,
    /// including those of a repair, wait for this reader as for any other.
    pub(crate) fn read_poisoned<W: Machine>(
        self,
        machine: &W,
        until: Option<Duration>,
    ) -> Result<Reading> {
        let announced = self.announce_read(machine)?;
        self.await_reading(machine, announced, until, Poison::Accept)
    }

    fn await_reading<W: Machine>(
        self,
        machine: &W,
        mut announced: Announced,
        until: Option<Duration>,
        poison: Poison,
    ) -> Result<Reading> {
        let mut waiter = self.waiter(READ, GATE, until);
        loop {
            if let Some(reading) = self.enter(machine, announced, poison)? {
                return Ok(reading);
            }
            if let Some(reading) = self.nested(machine, poison)? {
                return Ok(reading);
            }
            self.await_admission(machine, &mut waiter, poison)?;
            announced = machine.announce_seq_cst(Kind::Reader.of(self.at))?;
        }
    }

    /// Acquires the lock for reading without waiting. Returns `None` if a writer, this thread or
    /// another, holds it. A dead writer is detected, though not necessarily by the first call.
    pub(crate) fn try_read<W: Machine>(self, machine: &W) -> Result<Option<Reading>> {
        let mut settled = false;
        loop {
            let announced = machine.announce_seq_cst(Kind::Reader.of(self.at))?;
            if let Some(reading) = self.enter(machine, announced, Poison::Refuse)? {
                return Ok(Some(reading));
            }
            if let Some(reading) = self.nested(machine, Poison::Refuse)? {
                return Ok(Some(reading));
            }
            let word = machine.load_32(self.at)?;
            match owner(word) {
                Some(lane) if !settled => machine.probe_throttled(lane)?,
                None if word & Poison::Refuse as u32 != 0 => return Err(self.poisoned()),
                _ => return Ok(None),
            };
            settled = true;
        }
    }

    /// Judges the lock after the announcement is visible; takes that back if it is not admitted.
    fn enter<W: Machine>(
        self,
        machine: &W,
        announced: Announced,
        poison: Poison,
    ) -> Result<Option<Reading>> {
        let judged = self.judge(machine, announced, poison);
        if !matches!(judged, Ok(Some(_))) {
            let left = self.leave(machine, announced);
            if judged.is_ok() {
                left?;
            }
        }
        judged
    }

    fn judge<W: Machine>(
        self,
        machine: &W,
        announced: Announced,
        poison: Poison,
    ) -> Result<Option<Reading>> {
        let bit = u64::from(group(announced.lane)) << 32;
        let mut pair = machine.load_64(self.at)?;
        if admits(pair as u32, poison) && pair & bit == 0 {
            // What counts is the word at the moment when the bit is set.
            pair = machine.fetch_or_64(self.at, bit)?;
        }
        let word = pair as u32;
        Ok(admits(word, poison).then_some(Reading(Acquisition::of(announced, word))))
    }

    /// Another read by a thread that reads: what it announced before holds up every writer, and one
    /// who looks for readers meanwhile is made to look again.
    fn nested<W: Machine>(self, machine: &W, poison: Poison) -> Result<Option<Reading>> {
        let what = Kind::Reader.of(self.at);
        if machine.announced(what)?.is_none() {
            return Ok(None);
        }
        let word = machine.load_32(self.at)?;
        if word & poison as u32 != 0 {
            return Err(self.poisoned());
        }
        let announced = machine.announce_seq_cst(what)?;
        match self.show(machine, announced) {
            Ok(()) => Ok(Some(Reading(Acquisition::of(announced, word & DIED)))),
            Err(error) => {
                let _ = self.leave(machine, announced);
                Err(error)
            }
        }
    }

    /// Has a writer see what was announced after it went by.
    fn show<W: Machine>(self, machine: &W, announced: Announced) -> Result<()> {
        machine.fetch_or_32(self.at + SEEN, group(announced.lane))?;
        machine.increment_32(self.at + AGAIN)
    }

    /// An error if waiting would be in vain.
    fn refuse<W: Machine>(self, machine: &W, word: u32, poison: Poison) -> Result<()> {
        match owner(word) {
            Some(lane) if machine.is_own(lane) && word & UPGRADABLE == 0 => {
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

    fn await_admission<W: Machine>(
        self,
        machine: &W,
        waiter: &mut Waiter,
        poison: Poison,
    ) -> Result<()> {
        loop {
            let word = machine.load_32(self.at)?;
            if admits(word, poison) {
                return Ok(());
            }
            self.refuse(machine, word, poison)?;
            if waiter.spin(machine) {
                continue;
            }
            waiter.check_deadline(machine)?;
            waiter.register_among_others(machine)?;
            let word = machine.load_32(self.at)?;
            let (false, Some(lane)) = (admits(word, poison), owner(word)) else { continue };
            waiter.probe_once(machine, lane)?;
            waiter.sleep(machine)?;
            if let Some(lane) = owner(machine.load_32(self.at)?) {
                machine.probe_liveness(lane)?;
            }
        }
    }

    #[inline(always)]
    pub(crate) fn unlock_read<W: Machine>(self, machine: &W, reading: Reading) -> Result<()> {
        self.leave(machine, reading.0.announced())
    }

    /// The slot says that the reader is gone, but not from the lock's bytes.
    #[inline(always)]
    fn leave<W: Machine>(self, machine: &W, announced: Announced) -> Result<()> {
        let leaving = Kind::Leaving.of(self.at);
        let left = if machine.stores_release() {
            machine.store_64(announced.slot, leaving)
        } else {
            machine.swap_64(announced.slot, leaving).map(drop)
        };
        let drain = self.at + DRAIN;
        match left.and_then(|()| machine.load_32(drain)).map(unlock::who_waits) {
            Ok(Waiting::Nobody) => machine.withdraw(announced),
            other => unlock::finish(machine, drain, Wake::All, announced, other.map(drop)),
        }
    }
}
