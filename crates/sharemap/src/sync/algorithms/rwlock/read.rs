//! Read access: the announcement first, the admission afterwards.
//!
//! | Step | A death after it leaves | Repaired by |
//! |---|---|---|
//! | announce `Reader` | a slot that holds up writers | recoverer: `Leaving`, opens `drain` |
//! | set the bit in `seen` | as above, and a bit | the next writer that drains |
//! | store `Leaving` | a writer that may sleep at `drain` | recoverer: opens `drain` |
//! | open `drain` | a slot that announces nothing held | recoverer: clears it |
//!
//! A reader that waits at the gate announces nothing, so that no writer waits for it. It cannot lose a wake,
//! because a release of the word wakes all.

use std::time::Duration;

use super::{AGAIN, DRAIN, RawRwLock, Reading, SEEN, admits, group};
use crate::error::{Error, ErrorKind, Result};
use crate::peer::{Announced, Machine, Slot};
use crate::sync::algorithms::exclusive::{Acquisition, Exclusive, Poison};
use crate::sync::core::announcement::Kind;
use crate::sync::core::double_buffer::is_word;
use crate::sync::core::gate::Wake;
use crate::sync::core::unlock::{self, Waiting};
use crate::sync::core::waiter::Waiter;
use crate::sync::core::word::{DIED, UPGRADABLE, owner};

const READ: &str = "lock for reading";

impl RawRwLock {
    /// Announces a read by an exchange: the load of the word that follows executes after the announcement is
    /// visible to writers.
    #[inline(always)]
    pub(crate) fn announce_read<W: Machine>(self, machine: &W) -> Result<Announced> {
        machine.announce_seq_cst(Kind::Reader.of(self.at))
    }

    /// Announces a read in an empty `slot` by an exchange.
    ///
    /// The announcement comes before the load of the word: a writer either finds this reader in its lane, or this
    /// reader finds the writer's word. Death after the announcement: recovery replaces it and wakes the writer at
    /// `drain`.
    #[inline(always)]
    pub(crate) fn announce_read_in<M: Machine, S: Slot<M>>(
        self,
        machine: &M,
        slot: S,
    ) -> Result<()> {
        slot.swap(machine, Kind::Reader.of(self.at))
    }

    /// Loads the word, whether the bit of the reader that `slot` announces is set, and what
    /// [`DoubleBuffer::read_after`] needs. The reader is admitted to a free, consistent lock if the word is 0, its
    /// bit is set, and no access faulted. Otherwise, [`read_announced`](Self::read_announced) continues.
    ///
    /// The value is loaded after the word that admits the reader: from then on, no writer changes it.
    ///
    /// [`DoubleBuffer::read_after`]: crate::sync::core::double_buffer::DoubleBuffer::read_after
    #[inline(always)]
    pub(crate) fn admit_and_load<M: Machine, S: Slot<M>>(
        self,
        machine: &M,
        slot: S,
    ) -> Result<(u32, bool, u64)> {
        // One load of both words. Between two loads, a writer that has passed this lane could clear `seen` and
        // release the word. The next writer would then not look at this lane.
        let (pair, lead) = if is_word(self.len as usize) {
            machine.load_two::<{ Self::VALUE }>(self.at)?
        } else {
            machine.load_two::<{ Self::SELECTOR }>(self.at)?
        };
        Ok((pair as u32, (pair >> 32) as u32 & slot.group() != 0, lead))
    }

    /// Acquires the lock for the announced reader, after [`admit_and_load`](Self::admit_and_load) did not admit it,
    /// blocking until the word admits readers or the moment `until`. After an error, nothing is announced for this
    /// call.
    #[cold]
    #[inline(never)]
    pub(crate) fn read_announced<W: Machine>(
        self,
        machine: &W,
        announced: Announced,
        until: Option<Duration>,
    ) -> Result<Reading> {
        self.await_reading(machine, announced, until, Poison::Refuse)
    }

    /// Begins the release of a read lock: `Leaving` by a plain store, and the load of `drain`. Returns whether a
    /// writer may sleep there. If no writer may, the caller empties the slot.
    ///
    /// The caller knows that [`Machine::stores_release`] is `true`, and tests for faults before it empties the
    /// slot. After an error or a fault, [`unlock_read`](Self::unlock_read) does it again.
    #[inline(always)]
    pub(crate) fn begin_leaving<M: Machine, S: Slot<M>>(
        self,
        machine: &M,
        slot: S,
    ) -> Result<Waiting> {
        // The load may overtake the plain store. A writer at `drain` fences after it has registered, so either
        // it sees `Leaving`, or this load sees its bit.
        slot.store(machine, Kind::Leaving.of(self.at))?;
        machine.load_32(self.at + DRAIN).map(unlock::waiting_at)
    }

    /// Returns `true` if the announced reader is admitted to a free, consistent lock, and its bit is set.
    ///
    /// Returns `false` also after a fault, which [`read_announced`](Self::read_announced) meets again and reports.
    #[inline(always)]
    pub(crate) fn read_at_once<W: Machine>(self, machine: &W, announced: Announced) -> bool {
        // One load of both words. Between two loads, a writer that has passed this lane could clear `seen` and
        // release the word. The next writer would then not look at this lane.
        let bit = group(announced.lane);
        matches!(machine.load_64(self.at), Ok(pair) if pair as u32 == 0 && (pair >> 32) as u32 & bit != 0)
    }

    /// Acquires the lock for reading, also if it is poisoned. Only the admission differs: writers, including
    /// those that repair, wait for this reader as for any other.
    pub(crate) fn read_poisoned<W: Machine>(
        self,
        machine: &W,
        until: Option<Duration>,
    ) -> Result<Reading> {
        let announced = self.announce_read(machine)?;
        self.await_reading(machine, announced, until, Poison::Accept)
    }

    /// Acquires the lock for the announced reader: at once, as a nested read, or after a wait.
    fn await_reading<W: Machine>(
        self,
        machine: &W,
        mut announced: Announced,
        until: Option<Duration>,
        poison: Poison,
    ) -> Result<Reading> {
        let mut waiter = self.owner_waiter(READ, until);
        loop {
            if let Some(reading) = self.enter(machine, announced, poison)? {
                return Ok(reading);
            }
            // `enter` has withdrawn the refused announcement, so another one is that of an earlier read.
            if let Some(reading) = self.nested(machine, poison)? {
                return Ok(reading);
            }
            self.await_admission(machine, &mut waiter, poison)?;
            announced = machine.announce_seq_cst(Kind::Reader.of(self.at))?;
        }
    }

    /// Acquires the lock for reading without blocking. Returns `None` if this thread or another holds it for
    /// writing.
    ///
    /// A dead writer is detected, though not necessarily by the first call. Fails with `Poisoned`, or with the
    /// error of an access or of a claim of a lane.
    pub(crate) fn try_read<W: Machine>(self, machine: &W) -> Result<Option<Reading>> {
        let mut probed = false;
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
                Some(lane) if !probed => machine.probe_throttled(lane)?,
                None if word & Poison::Refuse as u32 != 0 => return Err(self.poisoned()),
                _ => return Ok(None),
            };
            probed = true;
        }
    }

    /// Admits the announced reader, or withdraws its announcement and returns `None`.
    fn enter<W: Machine>(
        self,
        machine: &W,
        announced: Announced,
        poison: Poison,
    ) -> Result<Option<Reading>> {
        let admitted = self.admit(machine, announced, poison);
        if !matches!(admitted, Ok(Some(_))) {
            // As after a read: a writer may already be waiting for this slot at `drain`.
            let left = self.leave(machine, announced);
            if admitted.is_ok() {
                left?;
            }
        }
        admitted
    }

    /// Returns the proof of a read if the word admits the announced reader. Its bit in `seen` is set then.
    fn admit<W: Machine>(
        self,
        machine: &W,
        announced: Announced,
        poison: Poison,
    ) -> Result<Option<Reading>> {
        let bit = u64::from(group(announced.lane)) << 32;
        let mut pair = machine.load_64(self.at)?;
        if admits(pair as u32, poison) && pair & bit == 0 {
            // The word may have been acquired since the load, and its owner may have loaded `seen` already.
            // So the word at the instant at which the bit is set decides. The bit of a refused reader stays,
            // and costs the next writer a look at some slots.
            pair = machine.fetch_or_64(self.at, bit)?;
        }
        let word = pair as u32;
        Ok(admits(word, poison).then_some(Reading(Acquisition::of(announced, word))))
    }

    /// Admits another read by a thread that reads already, even if a writer owns the word. Returns `None` if
    /// this thread does not read.
    ///
    /// The slot of the earlier read keeps every writer from having drained the lock. A writer that is draining
    /// may have passed the slot of this read already, and is made to look again
    /// ([`count_again`](Self::count_again)).
    fn nested<W: Machine>(self, machine: &W, poison: Poison) -> Result<Option<Reading>> {
        let announcement = Kind::Reader.of(self.at);
        if machine.announced(announcement)?.is_none() {
            return Ok(None);
        }
        let word = machine.load_32(self.at)?;
        if word & poison as u32 != 0 {
            return Err(self.poisoned());
        }
        let announced = machine.announce_seq_cst(announcement)?;
        match self.count_again(machine, announced) {
            Ok(()) => Ok(Some(Reading(Acquisition::of(announced, word & DIED)))),
            Err(error) => {
                let _ = self.leave(machine, announced);
                Err(error)
            }
        }
    }

    /// Makes a draining writer look again at all lanes, this one included.
    ///
    /// The order matters: slot, bit, count. The writer loads the count, looks at `seen` and the slots, and loads
    /// the count again. It waits for the slot of the earlier read, which this thread leaves only after the
    /// increment. So its second load sees the increment. If its first load did, too, it saw bit and slot.
    /// A death before the increment leaves two slots, and recovery changes each to `Leaving`.
    fn count_again<W: Machine>(self, machine: &W, announced: Announced) -> Result<()> {
        machine.fetch_or_32(self.at + SEEN, group(announced.lane))?;
        machine.increment_32(self.at + AGAIN)
    }

    /// Fails if a wait for admission could not end: this thread writes, or the lock is poisoned.
    fn refuse<W: Machine>(self, machine: &W, word: u32, poison: Poison) -> Result<()> {
        match owner(word) {
            Some(lane) if machine.is_own(lane) && word & UPGRADABLE == 0 => {
                Err(self.owner_waiter(READ, None).error(ErrorKind::Deadlock))
            }
            None if word & poison as u32 != 0 => Err(self.poisoned()),
            _ => Ok(()),
        }
    }

    #[cold]
    fn poisoned(self) -> Error {
        self.owner_waiter(READ, None).error(ErrorKind::Poisoned)
    }

    /// Blocks until the word admits readers. This thread announces nothing meanwhile.
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
            // A free word that admits no reader was refused above.
            let Some(lane) = owner(word) else { continue };
            if waiter.check_deadline_of(machine, lane)? {
                continue;
            }
            // As in `word::acquire`: after the bit and the fence, this load sees the release of the word, or
            // the releaser sees the bit.
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

    /// Releases a read lock. The slot is empty afterwards, unless the memory could not be accessed.
    #[inline(always)]
    pub(crate) fn unlock_read<W: Machine>(self, machine: &W, reading: Reading) -> Result<()> {
        self.leave(machine, reading.0.announced())
    }

    /// Withdraws a reader's announcement in three steps: `Leaving`, `drain`, empty slot.
    ///
    /// `Leaving` no longer holds up writers, but still announces the lock. If this thread emptied the slot at
    /// once and died before it opened `drain`, recovery would not know of the writer that sleeps there.
    #[inline(always)]
    fn leave<W: Machine>(self, machine: &W, announced: Announced) -> Result<()> {
        let drain = self.at + DRAIN;
        let begun = if machine.stores_release() {
            self.begin_leaving(machine, announced)
        } else {
            let left = machine.swap_64(announced.slot, Kind::Leaving.of(self.at));
            left.and_then(|_| machine.load_32(drain)).map(unlock::waiting_at)
        };
        match begun {
            Ok(Waiting::Nobody) => machine.withdraw(announced),
            other => unlock::finish(machine, drain, Wake::All, announced, other.map(drop)),
        }
    }
}
