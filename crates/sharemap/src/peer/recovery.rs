//! What is done for those who died: by exactly one survivor, again from the beginning if that one
//! dies too.
//!
//! Whether a participant lives, the kernel says: it keeps the participant's slot locked. Whoever wins
//! the lock of a slot whose record is in use goes through the lanes of its last owner, has all that
//! they announce released, and only then makes the record free; so a slot that is won with a free
//! record has nothing left of anybody.

use std::ops::Range;
use std::sync::atomic::Ordering;

use crate::error::{ErrorKind, Result};
use crate::peer::header::WAITS_SINCE;
use crate::peer::machine::{Liveness, SLOTS};
use crate::peer::participants::IN_USE;
use crate::peer::session::{FIRST, Session};
use crate::sys::{SlotMode, liveness};

/// After this many single recoveries, all dead participants are recovered at once. Each recovery is
/// one pass over all lanes, for any number of participants.
const ONE_BY_ONE: u32 = 16;

impl Session {
    /// Finds out whether a lane's participant lives, and recovers it if it is dead.
    #[cold]
    pub(super) fn probe_lane(&self, lane: u32) -> Result<Liveness> {
        if lane >= self.header.lanes {
            return Ok(Liveness::Recovered);
        }
        let owner = self.memory.load::<u32>(self.header.lane(lane))?;
        match owner.checked_sub(1) {
            Some(participant) if participant < self.header.participants => {
                self.probe_participant(participant)
            }
            _ => Ok(Liveness::Recovered),
        }
    }

    /// Returns how many of these lanes, in any order, are owned by participants that are dead and not
    /// recovered. Changes nothing.
    pub(crate) fn count_dead(&self, lanes: &[u32]) -> Result<u32> {
        let mut owners = Vec::new();
        for &lane in lanes.iter().filter(|&&lane| lane < self.header.lanes) {
            let owner = self.memory.load::<u32>(self.header.lane(lane))?.checked_sub(1);
            owners.extend(owner.filter(|&owner| owner < self.header.participants));
        }
        owners.sort_unstable();
        // Asked in runs: a question for each takes a second for the largest tables.
        let (mut count, mut runs) = (0, vec![&owners[..]]);
        while let Some(run) = runs.pop() {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            match self.held_among(&(*first..last + 1))? {
                None => count += run.len() as u32,
                Some(held) => {
                    let (before, rest) = run.split_at(run.partition_point(|&it| it < held.start));
                    runs.extend([before, &rest[rest.partition_point(|&it| it < held.end)..]]);
                }
            }
        }
        Ok(count)
    }

    /// The same for a participant.
    pub(crate) fn probe_participant(&self, participant: u32) -> Result<Liveness> {
        let slot = FIRST + u64::from(participant);
        if self.own.participant() == Some(participant)
            || !self.slots.is_free(slot).map_err(|error| self.with_object_path(error))?
        {
            return Ok(Liveness::Alive);
        }
        // Another thread of this process may be at it, or another process.
        let Some(_alone) = self.own.begin_recovery() else { return Ok(Liveness::Alive) };
        if !self.recover(participant)? {
            return Ok(Liveness::Alive);
        }
        if self.recoveries.fetch_add(1, Ordering::Relaxed) % ONE_BY_ONE == ONE_BY_ONE - 1 {
            self.recover_all_dead()?;
        }
        Ok(Liveness::Recovered)
    }

    /// Recovers a dead participant, unless it is already recovered. Returns `false` if its slot is
    /// held.
    fn recover(&self, participant: u32) -> Result<bool> {
        let slot = FIRST + u64::from(participant);
        let hold =
            self.slots.take(slot, SlotMode::Alone).map_err(|error| self.with_object_path(error))?;
        if hold.is_some() && self.use_of(participant)? == IN_USE {
            self.recover_held(&(participant..participant + 1))?;
            self.erase(participant)?;
        }
        Ok(hold.is_some())
    }

    /// Releases everything that the lanes of dead participants announce, and frees the lanes. The
    /// caller holds the participants' slots.
    pub(super) fn recover_held(&self, participants: &Range<u32>) -> Result<()> {
        #[cfg(test)]
        counts::PASSES.set(counts::PASSES.get() + 1);
        for lane in 0..self.header.lanes {
            let record = self.header.lane(lane);
            let owner = self.memory.load::<u32>(record)?.checked_sub(1);
            if !owner.is_some_and(|owner| participants.contains(&owner)) {
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
    pub(crate) fn recover_dead(&self) -> Result<u32> {
        // Another thread of this process may be recovering already.
        match self.own.begin_recovery() {
            Some(_alone) => self.recover_all_dead(),
            None => Ok(0),
        }
    }

    /// Recovers a few dead participants one by one, which leaves other slots free, and many with
    /// one pass over the lanes.
    fn recover_all_dead(&self) -> Result<u32> {
        let most = u32::try_from(liveness::MOST_AT_ONCE).unwrap_or(u32::MAX);
        let (mut recovered, mut from) = (0, 0);
        while from < self.header.participants {
            let end = from.saturating_add(most).min(self.header.participants);
            recovered += self.recover_dead_among(from..end)?;
            from = end;
        }
        Ok(recovered)
    }

    /// Recovers the dead of a range of participants whose slots can be locked at once.
    fn recover_dead_among(&self, participants: Range<u32>) -> Result<u32> {
        let mut recovered = 0;
        let mut spans = vec![participants];
        while let Some(span) = spans.pop() {
            let Some(span) = self.span_in_use(&span)? else { continue };
            if let Some(held) = self.held_among(&span)? {
                spans.push(held.end.max(span.start)..span.end);
                spans.push(span.start..held.start.min(span.end));
                continue;
            }
            let mut dead = Vec::new();
            for participant in span.clone() {
                if self.use_of(participant)? == IN_USE {
                    dead.push(participant);
                }
            }
            if dead.len() > ONE_BY_ONE as usize {
                let slots = slots_of(&span);
                let holds =
                    self.slots.take_all(&slots).map_err(|error| self.with_object_path(error))?;
                if holds.is_some() {
                    self.recover_held(&span)?;
                    for participant in dead {
                        if self.use_of(participant)? == IN_USE {
                            self.erase(participant)?;
                            recovered += 1;
                        }
                    }
                    continue;
                }
                // A process has locked one of the slots since.
                let middle = span.start + (span.end - span.start) / 2;
                spans.push(middle..span.end);
                spans.push(span.start..middle);
                continue;
            }
            for participant in dead {
                recovered += u32::from(self.recover(participant)?);
            }
        }
        Ok(recovered)
    }

    /// Returns the range from the first to the last participant in `among` whose record is in use.
    pub(super) fn span_in_use(&self, among: &Range<u32>) -> Result<Option<Range<u32>>> {
        let mut span: Option<Range<u32>> = None;
        for participant in among.clone() {
            if self.use_of(participant)? == IN_USE {
                span.get_or_insert(participant..participant).end = participant + 1;
            }
        }
        Ok(span)
    }

    /// Returns a range of participants whose slots one lock covers, at least one of them in
    /// `among`.
    pub(super) fn held_among(&self, among: &Range<u32>) -> Result<Option<Range<u32>>> {
        #[cfg(test)]
        counts::ASKED.set(counts::ASKED.get() + 1);
        let held = self
            .slots
            .held_among(&slots_of(among))
            .map_err(|error| self.with_object_path(error))?;
        let participant = |slot: u64| {
            let number = slot.saturating_sub(FIRST).min(self.header.participants.into());
            number as u32
        };
        Ok(held.map(|held| participant(held.start)..participant(held.end)))
    }
}

fn slots_of(participants: &Range<u32>) -> Range<u64> {
    FIRST + u64::from(participants.start)..FIRST + u64::from(participants.end)
}

/// Counts of this thread's work, for tests.
#[cfg(test)]
pub(super) mod counts {
    use std::cell::Cell;

    thread_local! {
        /// Passes over the lanes.
        pub(in crate::peer) static PASSES: Cell<u32> = const { Cell::new(0) };
        /// Queries about slots.
        pub(in crate::peer) static ASKED: Cell<u32> = const { Cell::new(0) };
    }
}
