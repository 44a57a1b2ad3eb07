//! Recovery of dead participants: what they held is released by one survivor at a time.
//!
//! A participant is alive while the kernel holds its liveness lock (FORMAT.md, "Slots"). A process
//! that acquires the liveness lock of a participant with a record still in use is its recoverer
//! (FORMAT.md, "Recovering"). The recoverer goes through the lanes that name the participant and
//!
//! 1. releases what each slot announces, then empties the slot;
//! 2. clears the lane's first word, after all slots: from then on other threads may claim the lane;
//! 3. frees the participant's record, after all lanes: the record in use is what tells survivors
//!    that there is something to recover;
//! 4. releases the liveness lock, last: otherwise another process could attach as this participant
//!    before step 3, which would then free the record of a living participant.
//!
//! If the recoverer dies, the kernel releases the liveness lock, and the next recoverer begins at
//! step 1. Every step may be repeated. So if a process acquires a liveness lock and finds the record
//! free, no lane names the participant any more.

use std::ops::Range;
use std::sync::atomic::Ordering;

use crate::error::{ErrorKind, Result};
use crate::peer::header::{FIRST, PARTICIPANT, WAITS_SINCE};
use crate::peer::machine::{Liveness, SLOTS};
use crate::peer::record::{IN_USE, USE};
use crate::peer::session::Session;
use crate::sys::{SlotMode, liveness};

/// After this many single recoveries, all dead participants are recovered together. Each recovery
/// is one pass over all lanes, for any number of participants.
const ONE_BY_ONE: u32 = 16;

impl Session {
    /// Determines whether the participant of `lane` is alive, and recovers it if it is dead.
    ///
    /// A lane that is free, out of range, or names no possible participant counts as recovered: its
    /// number came from a lock word, which a misbehaving peer may have overwritten.
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

    /// Returns how many of `lanes`, in any order, belong to participants that are dead and not yet
    /// recovered. Changes nothing, so that read-only attachments may call it.
    pub(crate) fn count_dead(&self, lanes: &[u32]) -> Result<u32> {
        let mut owners = Vec::new();
        for &lane in lanes.iter().filter(|&&lane| lane < self.header.lanes) {
            let owner = self.memory.load::<u32>(self.header.lane(lane))?.checked_sub(1);
            owners.extend(owner.filter(|&owner| owner < self.header.participants));
        }
        owners.sort_unstable();
        // One query covers a run of participants: single queries take a second for the largest
        // tables.
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

    /// Determines whether a participant is alive, and recovers it if it is dead.
    ///
    /// Returns `Alive` also while another thread or process recovers the participant: the caller
    /// waits and probes again.
    pub(crate) fn probe_participant(&self, participant: u32) -> Result<Liveness> {
        let slot = FIRST + u64::from(participant);
        if self.own.participant() == Some(participant)
            || !self.slots.is_free(slot).map_err(|error| self.with_object_path(error))?
        {
            return Ok(Liveness::Alive);
        }
        // `None`: another thread of this process is recovering.
        let Some(_only_recoverer) = self.own.begin_recovery() else { return Ok(Liveness::Alive) };
        // `false`: another process has acquired the liveness lock since, to recover or to attach.
        if !self.recover(participant)? {
            return Ok(Liveness::Alive);
        }
        if self.recoveries.fetch_add(1, Ordering::Relaxed) % ONE_BY_ONE == ONE_BY_ONE - 1 {
            self.recover_all_dead()?;
        }
        Ok(Liveness::Recovered)
    }

    /// Recovers a dead participant, unless it is already recovered. Returns `false` if its liveness
    /// lock is held.
    fn recover(&self, participant: u32) -> Result<bool> {
        let slot = FIRST + u64::from(participant);
        // Held to the end of the function, past the last store.
        let lock =
            self.slots.take(slot, SlotMode::Alone).map_err(|error| self.with_object_path(error))?;
        // The record is read under the lock: a free one was recovered by another process, or freed
        // by its own.
        if lock.is_some() && self.use_of(participant)? == IN_USE {
            self.recover_held(&(participant..participant + 1))?;
            self.erase(participant)?;
        }
        Ok(lock.is_some())
    }

    /// Releases everything that the lanes of dead participants announce, and frees the lanes.
    ///
    /// The caller holds the participants' liveness locks, and frees or reuses their records
    /// afterwards. If this process dies on the way, the records still in use tell the next recoverer
    /// to repeat the pass. Fails with `Fault` if memory cannot be accessed; recovery is then
    /// incomplete, and the records must stay in use.
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
                // Release, then empty the slot. In the other order, a death in between would leave a
                // lock word that names the dead lane, and no announcement that leads to it.
                match (self.release)(self, at, what, lane) {
                    Err(error) if error.kind() == ErrorKind::Fault => return Err(error),
                    // Malformed announcements are skipped so that they cannot block recovery of the
                    // others.
                    Ok(()) | Err(_) => self.memory.store(at, 0u64)?,
                }
            }
            if self.memory.load::<u32>(record + WAITS_SINCE)? != 0 {
                self.memory.store(record + WAITS_SINCE, 0u32)?;
            }
            // Last: the lane is free from here on, and a free lane announces nothing.
            self.memory.store(record, 0u32)?;
        }
        Ok(())
    }

    /// Recovers all dead participants. Returns how many this call recovered.
    ///
    /// Returns 0 at once while another thread of this process is recovering. Leaves out participants
    /// that another process is recovering.
    pub(crate) fn recover_dead(&self) -> Result<u32> {
        match self.own.begin_recovery() {
            Some(_only_recoverer) => self.recover_all_dead(),
            None => Ok(0),
        }
    }

    /// Recovers a few dead participants one by one, which locks no other participants, and many with
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

    /// Recovers the dead in a range of at most `MOST_AT_ONCE` participants: as many liveness locks as
    /// can be acquired together. Returns how many this call recovered.
    fn recover_dead_among(&self, participants: Range<u32>) -> Result<u32> {
        let mut recovered = 0;
        let mut spans = vec![participants];
        while let Some(span) = spans.pop() {
            let Some(span) = self.span_in_use(&span)? else { continue };
            // Participants under a held lock are alive, or another process is recovering them.
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
                let locks =
                    self.slots.take_all(&slots).map_err(|error| self.with_object_path(error))?;
                if locks.is_some() {
                    self.recover_held(&span)?;
                    // A participant that attached and died since is not in `dead`. Its record stays
                    // in use, so the next recovery finds it.
                    for participant in dead {
                        if self.use_of(participant)? == IN_USE {
                            self.erase(participant)?;
                            recovered += 1;
                        }
                    }
                    continue;
                }
                // A process has acquired one of the locks since: halve the range to leave it out.
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

    /// Returns the range from the first to the last participant in `among` with a record in use.
    pub(super) fn span_in_use(&self, among: &Range<u32>) -> Result<Option<Range<u32>>> {
        let mut span: Option<Range<u32>> = None;
        let first = self.header.participant(among.start) + USE;
        self.memory.load_each(first, PARTICIPANT, among.len(), |index, found| {
            if found == IN_USE {
                let participant = among.start + index as u32;
                span.get_or_insert(participant..participant).end = participant + 1;
            }
        })?;
        Ok(span)
    }

    /// Returns a range of participants with liveness locks that are held, all by one kernel lock, and
    /// of which at least one is in `among`. `None` if no liveness lock in `among` is held.
    ///
    /// This process's own lock counts as held.
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

/// Returns the numbers of the participants' liveness locks.
fn slots_of(participants: &Range<u32>) -> Range<u64> {
    FIRST + u64::from(participants.start)..FIRST + u64::from(participants.end)
}

/// Counts of the work of this thread, for tests.
#[cfg(test)]
pub(super) mod counts {
    use std::cell::Cell;

    thread_local! {
        /// Passes over the lanes.
        pub(in crate::peer) static PASSES: Cell<u32> = const { Cell::new(0) };
        /// Queries about liveness locks.
        pub(in crate::peer) static ASKED: Cell<u32> = const { Cell::new(0) };
    }
}
