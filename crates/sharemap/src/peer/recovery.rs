//! What is done for those who died: by exactly one survivor, again from the beginning if that one
//! dies too.
//!
//! Whether a participant lives, the kernel says: it keeps the participant's slot locked. Whoever wins
//! the lock of a slot whose record is in use goes through the lanes of its last owner, has all that
//! they announce released, and only then makes the record free; so a slot that is won with a free
//! record has nothing left of anybody.

use crate::error::{ErrorKind, Result};
use crate::peer::header::WAITS_SINCE;
use crate::peer::participants::IN_USE;
use crate::peer::session::{FIRST, Session};
use crate::peer::world::{SLOTS, Settled};
use crate::sys::SlotMode;

impl Session {
    /// Finds out whether a lane's participant lives, and recovers it if it is dead.
    #[cold]
    pub(super) fn settle_lane(&self, lane: u32) -> Result<Settled> {
        if lane >= self.header.lanes {
            return Ok(Settled::Recovered);
        }
        let owner = self.memory.load::<u32>(self.header.lane(lane))?;
        match owner.checked_sub(1) {
            Some(participant) if participant < self.header.participants => {
                self.settle_participant(participant)
            }
            _ => Ok(Settled::Recovered),
        }
    }

    /// Returns `true` if the participant that owns the lane is dead and not recovered. Changes nothing.
    pub(crate) fn is_lane_dead(&self, lane: u32) -> Result<bool> {
        if lane >= self.header.lanes {
            return Ok(false);
        }
        match self.memory.load::<u32>(self.header.lane(lane))?.checked_sub(1) {
            Some(participant) if participant < self.header.participants => {
                let slot = FIRST + u64::from(participant);
                self.slots.is_free(slot).map_err(|error| self.named(error))
            }
            _ => Ok(false),
        }
    }

    /// The same for a participant.
    pub(crate) fn settle_participant(&self, participant: u32) -> Result<Settled> {
        let slot = FIRST + u64::from(participant);
        if self.own.participant() == Some(participant)
            || !self.slots.is_free(slot).map_err(|error| self.named(error))?
        {
            return Ok(Settled::Alive);
        }
        // Another thread of this process may be at it, or another process.
        let Some(_alone) = self.own.begin_recovery() else { return Ok(Settled::Alive) };
        let hold = self.slots.take(slot, SlotMode::Alone).map_err(|error| self.named(error))?;
        let Some(hold) = hold else { return Ok(Settled::Alive) };
        if self.use_of(participant)? == IN_USE {
            self.recover_held(participant)?;
            self.erase(participant)?;
        }
        drop(hold);
        Ok(Settled::Recovered)
    }

    /// Releases everything that the lanes of a dead participant announce, and frees them. Whoever
    /// calls holds its slot.
    pub(super) fn recover_held(&self, participant: u32) -> Result<()> {
        for lane in 0..self.header.lanes {
            let record = self.header.lane(lane);
            if self.memory.load::<u32>(record)? != participant + 1 {
                continue;
            }
            for slot in 1..=SLOTS {
                let at = record + slot * 8;
                let what = self.memory.load::<u64>(at)?;
                if what == 0 {
                    continue;
                }
                match (self.release)(self, at, what, lane) {
                    Err(error) if error.kind() == ErrorKind::Fault => return Err(error),
                    // What makes no sense was scribbled, and keeps nobody from the rest.
                    Ok(()) | Err(_) => self.memory.store(at, 0u64)?,
                }
            }
            if self.memory.load::<u32>(record + WAITS_SINCE)? != 0 {
                self.memory.store(record + WAITS_SINCE, 0u32)?;
            }
            self.memory.store(record, 0u32)?;
        }
        Ok(())
    }

    /// Recovers all participants that are dead; how many there were.
    pub(crate) fn sweep(&self) -> Result<u32> {
        let mut recovered = 0;
        for participant in 0..self.header.participants {
            if self.use_of(participant)? == IN_USE
                && self.settle_participant(participant)? == Settled::Recovered
            {
                recovered += 1;
            }
        }
        Ok(recovered)
    }
}
