//! Participants: processes that are attached, each with a record in the object and a slot that the
//! kernel keeps locked for as long as the process lives.

#![allow(unsafe_code, reason = "fields in memory that a child finds empty")]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::error::{Error, ErrorKind, Result};
use crate::peer::attach::elsewhere;
use crate::peer::clean_flag::{Mark, Others};
use crate::peer::create::PowerCuts;
use crate::peer::header::{CLEAN, EPOCH, read_home};
use crate::peer::identity::{Identity, identity};
use crate::peer::memory::{Attachment, Memory};
use crate::peer::polling::Polling;
use crate::peer::session::{FIRST, Session, takes_no_part};
use crate::sys::{SlotMode, fork, liveness};

const OPERATION: &str = "attach to";

/// How long an operation of a lock waits for a place that it needs on the way: one that leaves has its
/// place for a while yet, and one that recovers the dead has theirs.
pub(super) const BRIEFLY: Duration = Duration::from_millis(100);

/// A participant's record, by offset.
const USE: u64 = 0;
const PROCESS: u64 = 4;
const START: u64 = 8;
const NUMBER: u64 = 16;
const SPACE: u64 = 24;
const SINCE: u64 = 32;

const FREE: u32 = 0;
pub(super) const IN_USE: u32 = 1;

/// What a participant's record says, for people to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// As its own pid namespace knows it.
    pub(super) process: u32,
    pub(super) start_time: u64,
    /// Attachments to the object before this one.
    pub(super) epoch: u64,
    pub(super) id_space: u64,
    /// Nanoseconds since 1970.
    pub(super) since: u64,
}

impl Record {
    /// The one at this offset, as it is at the moment.
    pub(super) fn read(memory: &Memory, at: u64) -> Result<Self> {
        Ok(Self {
            process: memory.load(at + PROCESS)?,
            start_time: memory.load(at + START)?,
            epoch: memory.load(at + NUMBER)?,
            id_space: memory.load(at + SPACE)?,
            since: memory.load(at + SINCE)?,
        })
    }
}

/// A participant, and whether it lives.
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

/// This process's participant, as far as this process remembers: a forked child does not.
#[derive(Debug)]
pub(super) struct LocalParticipant {
    memory: Arc<fork::WipeOnFork>,
}

#[repr(C)]
struct Fields {
    /// Participant + 1; 0: none.
    participant: AtomicU32,
    process: AtomicU32,
    hold: AtomicUsize,
    /// One thread attaches at a time.
    attaching: AtomicU32,
    /// One thread recovers at a time.
    recovering: AtomicU32,
}

impl LocalParticipant {
    pub(super) const LEN: usize = 64;

    pub(super) fn new(memory: Arc<fork::WipeOnFork>) -> Self {
        Self { memory }
    }

    fn fields(&self) -> &Fields {
        // SAFETY: the memory is as long as this value and begins with the fields, whose every bit
        // pattern is a value; they are only used as atomics. It is private, so nobody truncates it.
        unsafe { &*self.memory.base().cast::<Fields>() }
    }

    /// This process's participant, if it has one.
    #[inline]
    pub(super) fn participant(&self) -> Option<u32> {
        let fields = self.fields();
        let participant = fields.participant.load(Ordering::Acquire).checked_sub(1)?;
        let ours = fork::wipes() || fields.process.load(Ordering::Relaxed) == fork::process();
        ours.then_some(participant)
    }

    /// Forgets what was copied from a parent, where the system does not.
    fn wipe(&self) {
        let fields = self.fields();
        if fields.process.load(Ordering::Relaxed) != fork::process() {
            fields.hold.store(0, Ordering::Relaxed);
            fields.recovering.store(0, Ordering::Relaxed);
            fields.participant.store(0, Ordering::Release);
        }
    }

    fn set(&self, participant: u32, hold: liveness::LivenessLock) {
        let fields = self.fields();
        fields.process.store(fork::process(), Ordering::Relaxed);
        fields.hold.store(hold.into_raw(), Ordering::Relaxed);
        fields.participant.store(participant + 1, Ordering::Release);
    }

    fn take(&self) -> Option<(u32, liveness::LivenessLock)> {
        let participant = self.participant()?;
        let fields = self.fields();
        fields.participant.store(0, Ordering::Release);
        let hold = fields.hold.swap(0, Ordering::Relaxed);
        // SAFETY: it was made of a hold in this process, and is taken once.
        (hold != 0).then(|| (participant, unsafe { liveness::LivenessLock::from_raw(hold) }))
    }

    pub(super) fn begin_recovery(&self) -> Option<InRecovery<'_>> {
        let recovering = &self.fields().recovering;
        (recovering.swap(fork::process(), Ordering::Acquire) != fork::process())
            .then_some(InRecovery(recovering))
    }
}

/// While it lives no other thread of this process recovers.
pub(super) struct InRecovery<'a>(&'a AtomicU32);

impl Drop for InRecovery<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

impl Session {
    /// This process's participant; a forked child that has none yet gets one.
    pub(super) fn participant(&self) -> Result<u32> {
        match self.own.participant() {
            Some(participant) => Ok(participant),
            None => self.attach(BRIEFLY),
        }
    }

    /// Returns this process's participant. Gets one, if it has none, when one is free: within `open_timeout`.
    #[cold]
    pub(super) fn attach(&self, open_timeout: Duration) -> Result<u32> {
        if self.attachment != Attachment::Participant {
            return Err(takes_no_part(self, "take part in"));
        }
        let mut polling = Polling::new(open_timeout);
        loop {
            if let Some(participant) = self.try_attach()? {
                return Ok(participant);
            }
            if !polling.nap() {
                return Err(self.no_room());
            }
        }
    }

    /// Returns this process's participant, a new one if it has none; `None` if none is free.
    fn try_attach(&self) -> Result<Option<u32>> {
        let attaching = &self.own.fields().attaching;
        // The process's number, so that a copy of the parent's is no lock.
        while attaching.swap(fork::process(), Ordering::Acquire) == fork::process() {
            std::thread::yield_now();
        }
        let result = match self.own.participant() {
            Some(participant) => Ok(Some(participant)),
            None => self.claim(),
        };
        attaching.store(0, Ordering::Release);
        result
    }

    fn claim(&self) -> Result<Option<u32>> {
        self.own.wipe();
        self.inherited.take_over();
        self.seats.wipe();
        let Some((participant, hold)) = self.find_place()? else { return Ok(None) };
        let recorded = self.record(participant).and_then(|()| self.mark().attach(self));
        if let Err(error) = recorded {
            // Before the slot goes: nobody is there.
            let _ = self.erase(participant);
            return Err(error);
        }
        if read_home(&self.memory)? != Some(self.slots.home()) {
            // Taken over in the meantime, by those who cannot see this process's slot: so the record is
            // theirs, as of one who died.
            return Err(self.with_object_path(elsewhere()));
        }
        self.own.set(participant, hold);
        Ok(Some(participant))
    }

    /// A record that may be had, and its slot: the lowest that is free, else the lowest of the dead.
    fn find_place(&self) -> Result<Option<(u32, liveness::LivenessLock)>> {
        for wanted in [FREE, IN_USE] {
            if let Some(place) = self.find_place_in(wanted)? {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// Returns the lowest record in the state `wanted` whose slot can be locked.
    fn find_place_in(&self, wanted: u32) -> Result<Option<(u32, liveness::LivenessLock)>> {
        // A peer may lock thousands of slots, each with a lock of its own; a query then takes time
        // in proportion to the number of locks.
        const MOST: Duration = Duration::from_millis(300);
        let start = Instant::now();
        let mut held = 0..0;
        for participant in 0..self.header.participants {
            if self.use_of(participant)? != wanted || held.contains(&participant) {
                continue;
            }
            // A query is cheaper than an attempt where a process probably holds the slot.
            if wanted == FREE || !self.is_held(participant, &mut held)? {
                if let Some(hold) = self.try_claim(participant)? {
                    return Ok(Some((participant, hold)));
                }
                self.is_held(participant, &mut held)?;
            }
            if start.elapsed() >= MOST {
                break;
            }
        }
        Ok(None)
    }

    /// Returns `true` if the slot is held, and stores in `held` the participants that the same lock
    /// covers.
    fn is_held(&self, participant: u32, held: &mut Range<u32>) -> Result<bool> {
        let found = self.held_among(&(participant..participant + 1))?;
        let is_held = found.is_some();
        *held = found.unwrap_or(0..0);
        Ok(is_held)
    }

    fn try_claim(&self, participant: u32) -> Result<Option<liveness::LivenessLock>> {
        let slot = FIRST + u64::from(participant);
        let hold =
            self.slots.take(slot, SlotMode::Alone).map_err(|error| self.with_object_path(error))?;
        let Some(hold) = hold else { return Ok(None) };
        if self.use_of(participant)? != FREE {
            self.recover_held(&(participant..participant + 1))?;
        }
        Ok(Some(hold))
    }

    fn record(&self, participant: u32) -> Result<()> {
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
        // Exchanged, here and below, so that what is looked at next is looked at afterwards.
        memory.swap(record + USE, IN_USE).map(drop)
    }

    pub(super) fn use_of(&self, participant: u32) -> Result<u32> {
        self.memory.load(self.header.participant(participant) + USE)
    }

    /// Makes the record free. Whoever calls holds the slot, and nothing is left of its lanes.
    pub(super) fn erase(&self, participant: u32) -> Result<()> {
        let record = self.header.participant(participant);
        self.memory.store(record + PROCESS, 0u32)?;
        self.memory.swap(record + USE, FREE).map(drop)
    }

    #[cold]
    fn no_room(&self) -> Error {
        const MOST_NAMED: usize = 8;
        let processes = self.processes().unwrap_or_default();
        let named: Vec<_> = processes.iter().map(u32::to_string).take(MOST_NAMED).collect();
        let more = if processes.len() > MOST_NAMED { ", …" } else { "" };
        self.with_object_path(Error::new(ErrorKind::TooManyProcesses, OPERATION))
            .with_length(self.header.participants.into())
            .with_detail(format!(
                "all its {} participants live (processes {}{more}): wait longer, end one, or make the \
                 object anew with room for more",
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

    /// Who is attached, or was and has not been recovered.
    #[cfg(test)]
    pub(crate) fn participants(&self) -> Result<Vec<Participant>> {
        let mut found = Vec::new();
        for number in 0..self.header.participants {
            if self.use_of(number)? == FREE {
                continue;
            }
            let record = Record::read(&self.memory, self.header.participant(number))?;
            let Record { process, start_time, epoch, id_space, since } = record;
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

    /// Gives everything back, at the end of the session. What is still announced (a guard that was
    /// forgotten) is held until this process dies.
    pub(super) fn detach(&self) {
        let Some((participant, hold)) = self.own.take() else { return };
        let left = self.release_empty_lanes(participant).and_then(|empty| {
            if empty {
                self.erase(participant)?;
                self.mark().leave(self, participant, || self.look_around(participant))?;
            }
            Ok(empty)
        });
        match left {
            Ok(false) => drop(hold.into_raw()),
            // An object that is gone needs no participant either.
            Ok(true) | Err(_) => drop(hold),
        }
    }

    /// Prepares this session for another opening. Attaches again in a forked child, within `open_timeout`.
    /// If `power_cuts` asks for it, detects unclean ends from now on, and writes the mark to the disk
    /// before it returns.
    pub(super) fn rejoin(&self, power_cuts: PowerCuts, open_timeout: Duration) -> Result<()> {
        if power_cuts == PowerCuts::Told {
            self.detect_unclean();
        }
        self.attach(open_timeout)?;
        if read_home(&self.memory)? != Some(self.slots.home()) {
            return Err(self.with_object_path(elsewhere()));
        }
        match power_cuts {
            PowerCuts::Told => self.mark().attach(self),
            PowerCuts::Overlooked => Ok(()),
        }
    }

    fn mark(&self) -> Mark<impl Fn() -> Result<()> + '_> {
        Mark { at: CLEAN, power_cuts: self.power_cuts(), flush: || self.memory.flush() }
    }

    /// Returns whether another participant is attached. Recovers the dead if no other participant
    /// lives: a dead participant that held nothing blocks no waiter, and would otherwise count for
    /// ever.
    fn look_around(&self, own: u32) -> Result<Others> {
        let Some(span) = self.span_in_use(&(0..self.header.participants))? else {
            return Ok(Others::Nobody);
        };
        // One query on each side of this participant's own slot, which it still holds, finds a live
        // peer.
        let before = span.start..own.clamp(span.start, span.end);
        let after = (own + 1).clamp(span.start, span.end)..span.end;
        for part in [before, after].into_iter().filter(|part| !part.is_empty()) {
            if let Some(held) = self.held_among(&part)? {
                if self.span_in_use(&held)?.is_some() {
                    return Ok(Others::Somebody);
                }
            }
        }
        self.recover_dead()?;
        Ok(match self.span_in_use(&(0..self.header.participants))? {
            Some(_) => Others::Somebody,
            None => Others::Dead,
        })
    }
}
