//! Looking at an object from outside: without taking part, and without changing it.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::{Error, ErrorKind, Result};
use crate::peer::attach::real_path;
use crate::peer::create::{OpenOptions, find};
use crate::peer::header::{self, Header, VERSION, WAITS_SINCE};
use crate::peer::identity;
use crate::peer::machine::SLOTS;
use crate::peer::memory::{Attachment, Memory};
use crate::peer::participants::{IN_USE, Record};
use crate::peer::session::{CREATION, FIRST, READERS};
use crate::shm::Location;
use crate::sys::{Owner, liveness, process};

const OPERATION: &str = "inspect";

/// What never changes of an object, from its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectInfo {
    /// What kind of object it is; 1 is made of locks.
    pub kind: u32,
    /// The version of the format.
    pub version: u16,
    /// Its own, never the same twice.
    pub id: [u8; 16],
    /// Bytes, header and tables included.
    pub len: u64,
    /// Of the payload's type.
    pub fingerprint: [u8; 16],
    /// Processes that it has room for.
    pub participants: u32,
    /// Threads that it has room for.
    pub lanes: u32,
    /// Where the payload is.
    pub payload_at: u64,
    /// Bytes of the payload.
    pub payload: u64,
}

/// How far an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// It is being made, or was when its creator died.
    Creating,
    /// It can be used.
    Ready,
    /// A process that used it found its contents wrong: nobody attaches any more.
    Faulted,
}

/// A process that is attached to an object, or was when it died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Participant {
    /// Its place in the object's table.
    pub number: u32,
    /// Its process id, as its own pid namespace has it.
    pub process: u32,
    /// When the process started, in the system's own units.
    pub start_time: u64,
    /// The pid namespace; 0 if unknown.
    pub id_space: u64,
    /// Since when it is attached.
    pub since: SystemTime,
    /// Whether the kernel says that it lives; `None` where it cannot be asked from here.
    pub is_alive: Option<bool>,
}

/// A lane that somebody has, as it was at the moment.
#[derive(Clone, Debug)]
pub(crate) struct LaneSnapshot {
    pub(crate) lane: u32,
    pub(crate) participant: u32,
    pub(crate) asleep_for: Option<Duration>,
    /// Where each is announced, and what.
    pub(crate) announced: Vec<(u64, u64)>,
}

/// An object that is looked at.
#[derive(Debug)]
pub(crate) struct ObjectObserver {
    memory: Memory,
    header: Option<Header>,
    /// `None`: nobody has taken one that is to be seen here.
    slots: Option<liveness::Slots>,
}

impl ObjectObserver {
    pub(crate) fn open(location: &Location) -> Result<Self> {
        // An inspection never waits.
        let terms = OpenOptions {
            owner: Owner::Any,
            open_timeout: Duration::ZERO,
            ..OpenOptions::default()
        };
        let named = |error: Error| error.with_path(location.path());
        let file = find(location, &terms, false).map_err(named)?;
        Self::over(&file, location.path(), real_path(location))
    }

    /// Looks at what is in this file; `name` is for errors.
    pub(crate) fn over(file: &File, name: Option<&Path>, path: Option<PathBuf>) -> Result<Self> {
        let memory = Memory::map(file, name, Attachment::ReadOnly, header::LEN)?;
        let header = Header::read(&memory)?;
        let id = header.map_or([0; 16], |header| header.id);
        let slots = liveness::Slots::find(memory.file().unwrap_or(file), path.as_deref(), id)
            .map_err(|error| error.with_path(name))?;
        Ok(Self { memory, header, slots })
    }

    /// Whether the kernel says that nobody is attached to what is in this file, as nobody can be to
    /// what is no object: raw memory, or nothing. Of an object that is not understood it is not known.
    pub(crate) fn is_nobodys(
        file: &File,
        name: Option<&Path>,
        path: Option<PathBuf>,
    ) -> Result<bool> {
        match Self::over(file, name, path) {
            Ok(look) => Ok(look.is_unattached()? == Some(true)),
            Err(error) => match error.kind() {
                ErrorKind::NotAnObject | ErrorKind::ZeroLength => Ok(true),
                // Cut short, but of those who were attached before?
                ErrorKind::Truncated if !begins_as_object(file)? => Ok(true),
                _ => Err(error),
            },
        }
    }

    /// `None`: there is no header yet.
    pub(crate) fn facts(&self) -> Option<ObjectInfo> {
        self.header.map(|header| ObjectInfo {
            kind: header.kind,
            version: VERSION,
            id: header.id,
            len: header.len,
            fingerprint: header.fingerprint,
            participants: header.participants,
            lanes: header.lanes,
            payload_at: header.payload_at,
            payload: header.payload,
        })
    }

    pub(crate) fn state(&self) -> Result<State> {
        if self.header.is_none() {
            return Ok(State::Creating);
        }
        match self.memory.load::<u32>(header::STATE)? {
            header::CREATING => Ok(State::Creating),
            header::READY => Ok(State::Ready),
            header::FAULTED => Ok(State::Faulted),
            _ => Err(self.malformed(header::STATE, "it is in no state that there is")),
        }
    }

    pub(crate) fn is_clean(&self) -> Result<bool> {
        Ok(self.memory.load::<u32>(header::CLEAN)? == 1)
    }

    pub(crate) fn attachments(&self) -> Result<u64> {
        self.memory.load(header::EPOCH)
    }

    /// Whether it was last used in this boot; `None` where the system does not tell its boots apart.
    pub(crate) fn is_of_this_boot(&self) -> Result<Option<bool>> {
        let mut boot = [0; 16];
        self.memory.read(header::BOOT, &mut boot)?;
        Ok(identity::boot().map(|now| now == boot))
    }

    /// Whether somebody holds a slot; `None`: the kernel cannot be asked about it from here, as the
    /// slots are locked elsewhere (in another container).
    fn is_held(&self, slot: u64) -> Result<Option<bool>> {
        self.is_any_held(&(slot..slot + 1))
    }

    /// Whether somebody holds one of these slots, as above.
    fn is_any_held(&self, among: &Range<u64>) -> Result<Option<bool>> {
        if let Some(slots) = &self.slots {
            let held = slots.held_among(among);
            // What is held here is held, whatever is recorded.
            if held.map_err(|error| error.with_path(self.memory.path()))?.is_some() {
                return Ok(Some(true));
            }
        }
        let home = match self.header {
            Some(_) => header::read_home(&self.memory)?,
            None => None,
        };
        let is_here = home.is_none() || home == self.slots.as_ref().map(liveness::Slots::home);
        Ok((is_here || self.is_of_this_boot()? == Some(false)).then_some(false))
    }

    /// Whether somebody is making it, or taking it over from an earlier boot.
    pub(crate) fn has_creator(&self) -> Result<Option<bool>> {
        self.is_held(CREATION)
    }

    pub(crate) fn has_readers(&self) -> Result<Option<bool>> {
        self.is_held(READERS)
    }

    pub(crate) fn participants(&self) -> Result<Vec<Participant>> {
        let mut found = Vec::new();
        for number in 0..self.header.map_or(0, |header| header.participants) {
            found.extend(self.participant(number)?);
        }
        Ok(found)
    }

    /// Returns the record of a participant; `None` if the record is not in use.
    fn record(&self, number: u32) -> Result<Option<Record>> {
        let Some(header) = self.header else { return Ok(None) };
        let at = header.participant(number);
        match self.memory.load::<u32>(at)? {
            0 => Ok(None),
            IN_USE => Record::read(&self.memory, at).map(Some),
            _ => Err(self.malformed(at, "a participant is neither there nor not")),
        }
    }

    /// Returns the process that a participant's record names, without asking the kernel.
    pub(crate) fn process_of(&self, number: u32) -> Result<Option<u32>> {
        Ok(self.record(number)?.map(|record| record.process))
    }

    /// Returns a participant; `None` if its record is free.
    fn participant(&self, number: u32) -> Result<Option<Participant>> {
        let Some(record) = self.record(number)? else { return Ok(None) };
        let Record { process, start_time, id_space, since, .. } = record;
        Ok(Some(Participant {
            number,
            process,
            start_time,
            id_space,
            since: SystemTime::UNIX_EPOCH + Duration::from_nanos(since),
            is_alive: self.is_held(FIRST + u64::from(number))?,
        }))
    }

    /// Whether the kernel says of every slot that nobody holds it.
    pub(crate) fn is_unattached(&self) -> Result<Option<bool>> {
        let last = FIRST + u64::from(self.header.map_or(0, |header| header.participants));
        Ok(self.is_any_held(&(CREATION..last))?.map(|held| !held))
    }

    pub(crate) fn lanes(&self) -> Result<Vec<LaneSnapshot>> {
        let Some(header) = self.header else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for lane in 0..header.lanes {
            let at = header.lane(lane);
            let Some(participant) = self.memory.load::<u32>(at)?.checked_sub(1) else { continue };
            if participant >= header.participants {
                return Err(self.malformed(at, "a lane is a participant's that there is not"));
            }
            let mut announced = Vec::new();
            for slot in 1..=SLOTS {
                let what = self.memory.load::<u64>(at + slot * 8)?;
                if what != 0 {
                    announced.push((at + slot * 8, what));
                }
            }
            let asleep_for = self.asleep_for(at)?;
            found.push(LaneSnapshot { lane, participant, asleep_for, announced });
        }
        Ok(found)
    }

    fn asleep_for(&self, lane: u64) -> Result<Option<Duration>> {
        let since = self.memory.load::<u32>(lane + WAITS_SINCE)?;
        let for_so_long = (process::milliseconds() as u32).wrapping_sub(since);
        // Above half of the range it would be in the future.
        let known = since != 0 && for_so_long < u32::MAX / 2;
        Ok(known.then(|| Duration::from_millis(for_so_long.into())))
    }

    /// The participant whose lane it is, if it is anybody's.
    pub(crate) fn participant_of(&self, lane: u32) -> Result<Option<u32>> {
        let Some(header) = self.header else { return Ok(None) };
        let participant = self.memory.load::<u32>(header.lane(lane))?.checked_sub(1);
        Ok(participant.filter(|&participant| participant < header.participants))
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    #[cold]
    pub(crate) fn malformed(&self, at: u64, why: &str) -> Error {
        Error::new(ErrorKind::Malformed, OPERATION)
            .with_path(self.memory.path())
            .with_offset(at)
            .with_detail(why)
    }
}

fn begins_as_object(mut file: &File) -> Result<bool> {
    let mut beginning = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(header::MAGIC.len() as u64).read_to_end(&mut beginning)?;
    Ok(beginning == header::MAGIC)
}
