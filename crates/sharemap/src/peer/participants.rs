//! Participants: attached processes, each with a record in the object and a liveness lock that the
//! kernel holds for as long as the process's address space exists (FORMAT.md, "Participant", "Slots").
//!
//! | Liveness lock | Record | The participant is |
//! |---|---|---|
//! | free | free | free |
//! | held | free | attaching, detaching, or just recovered |
//! | held | in use | alive, or being recovered |
//! | free | in use | dead |
//!
//! Only the holder of the liveness lock changes the record: it acquires the lock first and releases
//! it last. Recovery goes by the record, which is in use before the participant can claim a lane, and
//! until no lane names it.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use crate::error::{Error, ErrorKind, Result};
use crate::peer::clean_flag::{Mark, Others};
use crate::peer::header::{CLEAN, EPOCH, FIRST, read_home};
use crate::peer::identity::{Identity, identity};
use crate::peer::memory::Attachment;
use crate::peer::options::PowerCuts;
use crate::peer::polling::{BRIEFLY, Limit, Polling};
use crate::peer::record::{self, FREE, IN_USE, NUMBER, PROCESS, SINCE, SPACE, START, USE};
use crate::peer::session::{Session, takes_no_part};
use crate::sys::{SlotMode, fork, liveness};

const OPERATION: &str = "attach to";

/// A participant's record, with its liveness.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Participant {
    pub(crate) number: u32,
    pub(crate) process: u32,
    pub(crate) start_time: u64,
    pub(crate) epoch: u64,
    pub(crate) id_space: u64,
    pub(crate) since: u64,
    pub(crate) is_alive: bool,
}

impl Session {
    /// Returns this process's participant. Attaches first if this process is a forked child that has
    /// none yet: as [`attach`](Self::attach), polling for about 100 ms.
    pub(super) fn participant(&self) -> Result<u32> {
        match self.own.participant() {
            Some(participant) => Ok(participant),
            None => self.attach(BRIEFLY),
        }
    }

    /// Returns this process's participant. Attaches first if there is none, blocking until `limit` at most,
    /// until a participant is free or dead.
    ///
    /// Fails with `TooManyProcesses` when that time has passed, and with `NotWritable` if the object
    /// was opened read-only or copy-on-write.
    #[cold]
    pub(super) fn attach(&self, limit: impl Into<Limit>) -> Result<u32> {
        if self.attachment != Attachment::Participant {
            return Err(takes_no_part(self, "take part in"));
        }
        let mut polling = Polling::new(limit);
        loop {
            if let Some(participant) = self.try_attach()? {
                return Ok(participant);
            }
            if !polling.nap() {
                return Err(match self.is_attaching() {
                    true => self.with_object_path(
                        Error::new(ErrorKind::TooManyProcesses, OPERATION)
                            .with_detail("another thread of this process is attaching; try again"),
                    ),
                    false => self.all_in_use(),
                });
            }
        }
    }

    /// Returns `true` if a thread of this process is attaching.
    fn is_attaching(&self) -> bool {
        self.own.fields().attaching.load(Ordering::Relaxed) == fork::process()
    }

    /// Returns this process's participant, attaching first if there is none. `None` if no participant
    /// is free or dead, or if another thread of this process is attaching.
    fn try_attach(&self) -> Result<Option<u32>> {
        let attaching = &self.own.fields().attaching;
        // A parent's thread may have held this lock at the fork. Its number is not this process's.
        if attaching.swap(fork::process(), Ordering::Acquire) == fork::process() {
            return Ok(None);
        }
        let result = match self.own.participant() {
            Some(participant) => Ok(Some(participant)),
            None => self.claim_participant(),
        };
        attaching.store(0, Ordering::Release);
        result
    }

    /// Attaches this process: FORMAT.md, "Attaching", steps 3 to 5. `None` if no participant is free
    /// or dead. One thread at a time calls it.
    fn claim_participant(&self) -> Result<Option<u32>> {
        // A forked child first forgets its parent's participant and lanes. The lanes are noted before
        // the records of lanes are emptied and before this process can claim a lane, so that it never claims one
        // that a copied guard names.
        self.own.wipe();
        self.inherited.take_over();
        self.lane_caches.wipe();
        // From here on this process holds the liveness lock of `participant`. Death before the record
        // is written leaves the record as it was found, and the kernel releases the lock.
        let Some((participant, lock)) = self.find_participant()? else { return Ok(None) };
        // First the record, then the mark (see `clean_flag`). Death from here on leaves the record in
        // use; the recoverer frees it.
        let recorded = self.write_record(participant).and_then(|()| self.mark().attach(self));
        if let Err(error) = recorded {
            // Before the lock is released: otherwise a dead participant would be left.
            let _ = self.erase(participant);
            return Err(error);
        }
        // After the record is in use: a process that adopts the object from a previous boot stores
        // the home of the locks first, then searches the records. It finds this record, or this
        // process finds the new home.
        if read_home(&self.memory)? != Some(self.slots.home()) {
            // Adopted by a process that looks for liveness locks elsewhere and takes this participant
            // for dead. The record is left to it, because it may be recovering the participant now.
            return Err(self.with_object_path(record::elsewhere()));
        }
        self.own.set(participant, lock);
        Ok(Some(participant))
    }

    /// Acquires the liveness lock of the lowest free participant, or, if there is none, of the lowest
    /// dead one, which it recovers. Returns `None` if there is neither.
    ///
    /// A free participant comes first, because it needs no recovery. Each of the two searches gives up
    /// after about 300 ms, as if it had found none. A recovered record stays in use until the caller
    /// writes it, so a death in between leaves a dead participant. After an error, no lock is held,
    /// and a dead participant is still dead.
    fn find_participant(&self) -> Result<Option<(u32, liveness::LivenessLock)>> {
        for wanted in [FREE, IN_USE] {
            if let Some(found) = self.find_participant_in(wanted)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Acquires the liveness lock of the lowest participant with a record in the state `wanted` and a
    /// lock that is free. Gives up after about 300 ms.
    fn find_participant_in(&self, wanted: u32) -> Result<Option<(u32, liveness::LivenessLock)>> {
        // A peer may hold the liveness locks of thousands of participants, each by a lock of its own;
        // a query then takes time in proportion to the number of locks.
        const MOST: Duration = Duration::from_millis(300);
        let mut start = None;
        let mut held = 0..0;
        for participant in 0..self.header.participants {
            if self.use_of(participant)? != wanted || held.contains(&participant) {
                continue;
            }
            // The lock of a free record is probably free: an attempt needs no query before it. The
            // lock of a record in use is probably held, and a query is cheaper than an attempt.
            if wanted == FREE || !self.is_held(participant, &mut held)? {
                if let Some(lock) = self.try_claim_participant(participant)? {
                    return Ok(Some((participant, lock)));
                }
                self.is_held(participant, &mut held)?;
            }
            // Counted from the end of the first attempt, which succeeds in most cases.
            if start.get_or_insert_with(Instant::now).elapsed() >= MOST {
                break;
            }
        }
        Ok(None)
    }

    /// Returns `true` if the participant's liveness lock is held, and stores in `held` the participants
    /// that the same kernel lock covers.
    fn is_held(&self, participant: u32, held: &mut Range<u32>) -> Result<bool> {
        let found = self.held_among(&(participant..participant + 1))?;
        let is_held = found.is_some();
        *held = found.unwrap_or(0..0);
        Ok(is_held)
    }

    /// Acquires a participant's liveness lock, and recovers the dead participant that had it, if
    /// the record is still in use. Returns `None` if the lock is held.
    ///
    /// A recovered record stays in use for this process, which writes it next. A death in between
    /// leaves a dead participant without lanes.
    fn try_claim_participant(&self, participant: u32) -> Result<Option<liveness::LivenessLock>> {
        let slot = FIRST + u64::from(participant);
        let lock =
            self.slots.take(slot, SlotMode::Alone).map_err(|error| self.with_object_path(error))?;
        let Some(lock) = lock else { return Ok(None) };
        // Under the lock: the record may have been claimed, and its process may have died, since the
        // caller read it.
        if self.use_of(participant)? != FREE {
            self.recover_held(&(participant..participant + 1))?;
        }
        Ok(Some(lock))
    }

    /// Writes this process's record, and then makes it in use. The caller holds the participant's
    /// liveness lock.
    ///
    /// After an error or a death on the way, the record is free or in use, as it was found. After an
    /// error, the caller erases it. A record that is in use already, because its dead participant was
    /// recovered, shows fields of both processes meanwhile.
    fn write_record(&self, participant: u32) -> Result<()> {
        let (memory, record) = (&self.memory, self.header.participant(participant));
        let Identity { process, start_time, id_space } = identity();
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        memory.store(record + PROCESS, process)?;
        memory.store(record + START, start_time)?;
        memory.store(record + NUMBER, memory.fetch_add(EPOCH, 1u64)?)?;
        memory.store(record + SPACE, id_space)?;
        memory.store(record + SINCE, since)?;
        // Last, so that a free record becomes one in use when it is complete. An exchange, here and in
        // `erase`: the caller's next accesses, to the mark and to other records, must not overtake it
        // (see `clean_flag`).
        memory.swap(record + USE, IN_USE).map(drop)
    }

    /// Returns the first word of a participant's record: `FREE` or `IN_USE`, unless a peer has
    /// corrupted it.
    pub(super) fn use_of(&self, participant: u32) -> Result<u32> {
        self.memory.load(self.header.participant(participant) + USE)
    }

    /// Frees a participant's record. The caller holds the participant's liveness lock, and no lane names
    /// the participant any more.
    pub(super) fn erase(&self, participant: u32) -> Result<()> {
        let record = self.header.participant(participant);
        self.memory.store(record + PROCESS, 0u32)?;
        self.memory.swap(record + USE, FREE).map(drop)
    }

    /// The error of a process that found no free participant in time.
    #[cold]
    fn all_in_use(&self) -> Error {
        const MOST_NAMED: usize = 8;
        let processes = self.processes().unwrap_or_default();
        let named: Vec<_> = processes.iter().map(u32::to_string).take(MOST_NAMED).collect();
        let more = if processes.len() > MOST_NAMED { ", …" } else { "" };
        self.with_object_path(Error::new(ErrorKind::TooManyProcesses, OPERATION))

            .with_detail(format!(
                "all {} participants are in use (processes {}{more}); wait longer, end one of them, or \
                 re-create the object with more participants",
                self.header.participants,
                named.join(", ")
            ))
    }

    /// Returns the ids of the attached processes, each once.
    fn processes(&self) -> Result<Vec<u32>> {
        let mut processes = Vec::new();
        for participant in 0..self.header.participants {
            if self.use_of(participant)? == IN_USE {
                processes.push(self.memory.load(self.header.participant(participant) + PROCESS)?);
            }
        }
        processes.sort_unstable();
        processes.dedup();
        Ok(processes)
    }

    /// Returns the participants with records in use: attached, or dead and not yet recovered.
    #[cfg(test)]
    pub(crate) fn participants(&self) -> Result<Vec<Participant>> {
        let mut found = Vec::new();
        for number in 0..self.header.participants {
            if self.use_of(number)? == FREE {
                continue;
            }
            let record = record::Record::read(&self.memory, self.header.participant(number))?;
            let record::Record { process, start_time, epoch, id_space, since } = record;
            let free = self.slots.is_free(FIRST + u64::from(number));
            let is_alive = !free.map_err(|error| self.with_object_path(error))?;
            found.push(Participant {
                number,
                process,
                start_time,
                epoch,
                id_space,
                since,
                is_alive,
            });
        }
        Ok(found)
    }

    /// Detaches this process, at the end of the session: FORMAT.md, "Leaving".
    ///
    /// A lane that still announces something (its guard was forgotten) keeps its participant attached
    /// until this process dies: then a recoverer releases what the lane announces.
    pub(super) fn detach(&self) {
        let Some((participant, lock)) = self.own.take() else { return };
        // First the lanes, then the record, then the mark, and the lock last. Death in between leaves
        // a record in use, which a recoverer finds, or, after the record, a mark that counts as
        // unclean until the next participant leaves.
        let left = self.release_empty_lanes(participant).and_then(|empty| {
            if empty {
                self.erase(participant)?;
                self.mark().leave(self, participant, || self.find_others(participant))?;
            }
            Ok(empty)
        });
        match left {
            // Forgotten, so that the kernel releases the lock with the address space.
            Ok(false) => drop(lock.into_raw()),
            // After an error (the object is truncated, or a flush failed) a record still in use is
            // that of a dead participant. A recoverer frees it, if the object still exists.
            Ok(true) | Err(_) => drop(lock),
        }
    }

    /// Prepares this session for another opening. In a forked child, attaches again, blocking until `limit` at
    /// most, until a participant is free or dead.
    ///
    /// If `power_cuts` is `Told`, the session detects power cuts from now on, and the mark is on the
    /// disk when the call succeeds. `limit` does not bound the flush that this may take.
    ///
    /// Fails like [`attach`](Self::attach), with `Unclean` if the object was adopted under another
    /// home, and with the error of the flush. An error neither detaches a process that was attached
    /// nor undoes `Told`.
    pub(super) fn rejoin(&self, power_cuts: PowerCuts, limit: Limit) -> Result<()> {
        if power_cuts == PowerCuts::Told {
            self.detect_unclean();
        }
        self.attach(limit)?;
        if read_home(&self.memory)? != Some(self.slots.home()) {
            return Err(self.with_object_path(record::elsewhere()));
        }
        match power_cuts {
            PowerCuts::Told => self.mark().attach(self),
            PowerCuts::Overlooked => Ok(()),
        }
    }

    /// Returns access to the object's mark.
    fn mark(&self) -> Mark<impl Fn() -> Result<()> + '_> {
        Mark { at: CLEAN, power_cuts: self.power_cuts(), flush: || self.memory.flush() }
    }

    /// Searches the records for participants other than `own`, which has freed its own record.
    ///
    /// Recovers the dead if no other participant is found alive. A dead participant that held nothing
    /// blocks no waiter, so that no other call would ever recover it, and the object would never be
    /// marked clean.
    fn find_others(&self, own: u32) -> Result<Others> {
        let Some(span) = self.span_in_use(&(0..self.header.participants))? else {
            return Ok(Others::Nobody);
        };
        // A live peer is usually found by one query on each side of this participant's own liveness
        // lock, which is still held. A held lock without a record in use decides nothing: an attacher, a
        // leaver or a recoverer has it. The recovery below then looks at all records.
        let before = span.start..own.clamp(span.start, span.end);
        let after = (own + 1).clamp(span.start, span.end)..span.end;
        for part in [before, after].into_iter().filter(|part| !part.is_empty()) {
            if let Some(held) = self.held_among(&part)? {
                if self.span_in_use(&held)?.is_some() {
                    return Ok(Others::Somebody);
                }
            }
        }
        // A record still in use belongs to a live participant, or to a dead one under recovery by a
        // process that will itself come to the mark.
        self.recover_dead()?;
        Ok(match self.span_in_use(&(0..self.header.participants))? {
            Some(_) => Others::Somebody,
            None => Others::Dead,
        })
    }
}
