//! Observing an object without attaching to it and without changing it.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::{Error, ErrorKind, Result};
use crate::peer::find::{find, real_path};
use crate::peer::header::{self, CREATION, FIRST, Header, READERS, VERSION, WAITS_SINCE};
use crate::peer::identity;
use crate::peer::machine::SLOTS;
use crate::peer::memory::{Attachment, Memory};
use crate::peer::options::OpenOptions;
use crate::peer::record::{IN_USE, Record};
use crate::shm::Location;
use crate::sys::{Owner, liveness, process};

const OPERATION: &str = "inspect";

/// The constant properties of an object, from its header.
///
/// ```
/// use sharemap::inspect::Inspection;
/// use sharemap::{Mutex, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// # let name = format!("doc-info-{}", std::process::id());
/// # let name = name.as_str();
/// let hits = Shared::create_new(name, || Mutex::new(0_u64))?;
/// let info = Inspection::open(name)?.facts().expect("the object is ready");
/// assert_eq!((info.kind, info.version), (1, 1));
/// assert!(info.payload_at + info.payload <= info.len);
/// # drop(hits);
/// # sharemap::SharedMemory::unlink(name)?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectInfo {
    /// The kind of object: 1 for an object of locks, 2 for a segment.
    pub kind: u32,
    /// The version of the format.
    pub version: u16,
    /// The random id, which no other object has.
    pub id: [u8; 16],
    /// The length in bytes, including the header and the tables.
    pub len: u64,
    /// The fingerprint of the payload's type.
    pub fingerprint: [u8; 16],
    /// The number of processes that can be attached at a time.
    pub participants: u32,
    /// The number of lanes. A thread that uses the object occupies one, and another for every seven
    /// locks that it holds at a time.
    pub lanes: u32,
    /// The offset of the payload.
    pub payload_at: u64,
    /// The length of the payload in bytes.
    pub payload: u64,
}

/// The state of an object, from its header.
///
/// ```
/// use sharemap::inspect::{Inspection, State};
/// use sharemap::{Mutex, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// # let name = format!("doc-state-{}", std::process::id());
/// # let name = name.as_str();
/// let hits = Shared::create_new(name, || Mutex::new(0_u64))?;
/// assert_eq!(Inspection::open(name)?.state()?, State::Ready);
/// # drop(hits);
/// # sharemap::SharedMemory::unlink(name)?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// The object is being created, or its creator died before completing it.
    Creating,
    /// The object is complete, and processes can attach to it.
    Ready,
    /// A process found the contents to be wrong. No process can attach any more.
    Faulted,
}

/// A process that is attached to an object, or that died attached and is not yet recovered.
///
/// ```
/// use sharemap::inspect::Inspection;
/// use sharemap::{Mutex, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// # let name = format!("doc-participant-{}", std::process::id());
/// # let name = name.as_str();
/// let hits = Shared::create_new(name, || Mutex::new(0_u64))?;
/// let participants = Inspection::open(name)?.participants()?;
/// assert_eq!(participants[0].process, std::process::id());
/// assert_ne!(participants[0].is_alive, Some(false));
/// # drop(hits);
/// # sharemap::SharedMemory::unlink(name)?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Participant {
    /// The index in the object's table of participants.
    pub number: u32,
    /// The process id, in the process's own pid namespace.
    pub process: u32,
    /// The start time of the process, in units of the system.
    pub start_time: u64,
    /// The inode number of the pid namespace on Linux; 0 if unknown, and elsewhere.
    pub id_space: u64,
    /// The time at which the process attached.
    pub since: SystemTime,
    /// `true` if the kernel reports that the process is alive. `None` if this process cannot ask,
    /// because the liveness locks are in another container or mount.
    pub is_alive: Option<bool>,
}

/// The state of a claimed lane, read word by word while its thread may change it.
#[derive(Clone, Debug)]
pub(crate) struct LaneSnapshot {
    pub(crate) lane: u32,
    pub(crate) participant: u32,
    pub(crate) asleep_for: Option<Duration>,
    /// The offset of each slot in use, and its announcement.
    pub(crate) announced: Vec<(u64, u64)>,
}

/// An object that is observed without being attached to.
#[derive(Debug)]
pub(crate) struct ObjectObserver {
    memory: Memory,
    /// `None` if the creator has not written the header yet.
    header: Option<Header>,
    /// `None` if the object's liveness locks are in a companion that does not exist or is not
    /// visible to this process.
    slots: Option<liveness::Slots>,
}

impl ObjectObserver {
    /// Opens the object at `location` for observation. Any user may own it.
    ///
    /// Fails at once with `Busy` if another process holds a lease on the file: an inspection never
    /// waits.
    pub(crate) fn open(location: &Location) -> Result<Self> {
        let terms = OpenOptions {
            owner: Owner::Any,
            open_timeout: Duration::ZERO,
            ..OpenOptions::default()
        };
        let named = |error: Error| error.with_path(location.path());
        let file = find(location, &terms, false).map_err(named)?.file;
        Self::over(&file, location.path(), real_path(location))
    }

    /// Observes the object in `file`. `name` is for errors; `path` is where the file was opened.
    pub(crate) fn over(file: &File, name: Option<&Path>, path: Option<PathBuf>) -> Result<Self> {
        let memory = Memory::map(file, name, Attachment::ReadOnly, header::LEN, 0)?;
        let header = Header::read(&memory)?;
        let id = header.map_or([0; 16], |header| header.id);
        let slots = liveness::Slots::find(memory.file().unwrap_or(file), path.as_deref(), id)
            .map_err(|error| error.with_path(name))?;
        Ok(Self { memory, header, slots })
    }

    /// Returns `true` if the kernel reports that no process is attached to the object in `file`, or
    /// if `file` holds no object, such as raw memory or nothing.
    ///
    /// Fails for an object that cannot be read: its participants are unknown.
    pub(crate) fn is_surely_unattached(
        file: &File,
        name: Option<&Path>,
        path: Option<PathBuf>,
    ) -> Result<bool> {
        match Self::over(file, name, path) {
            Ok(look) => Ok(look.is_unattached()? == Some(true)),
            Err(error) => match error.kind() {
                ErrorKind::NotAnObject | ErrorKind::ZeroLength => Ok(true),
                // A file shorter than a header that begins with the magic was an object, to which
                // processes may still be attached.
                ErrorKind::Truncated if !begins_as_object(file)? => Ok(true),
                _ => Err(error),
            },
        }
    }

    /// Returns the constant properties, as they were when the object was opened for inspection; `None` if its creator
    /// had not written the header by then.
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

    /// Returns the state. An object without a header is being created.
    pub(crate) fn state(&self) -> Result<State> {
        if self.header.is_none() {
            return Ok(State::Creating);
        }
        match self.memory.load::<u32>(header::STATE)? {
            header::CREATING => Ok(State::Creating),
            header::READY => Ok(State::Ready),
            header::FAULTED => Ok(State::Faulted),
            _ => Err(self.malformed(header::STATE, "its state has no known value")),
        }
    }

    /// Returns `true` if the header says that no process is attached and the last one detached
    /// cleanly.
    pub(crate) fn is_clean(&self) -> Result<bool> {
        Ok(self.memory.load::<u32>(header::CLEAN)? == 1)
    }

    /// Returns the number of attachments so far.
    pub(crate) fn attachments(&self) -> Result<u64> {
        self.memory.load(header::EPOCH)
    }

    /// Returns `true` if the last process that created the object or attached to it as a participant did so
    /// in the current boot. `None` if the system has no boot id or the object records none: zeros stand
    /// for an adoption that has not finished, or for processes that did not know their boot.
    pub(crate) fn is_of_this_boot(&self) -> Result<Option<bool>> {
        let mut boot = [0; 16];
        self.memory.read(header::BOOT, &mut boot)?;
        // Zeros prove nothing: a live process under another home may use the object.
        Ok(identity::boot().filter(|_| boot != header::NO_BOOT).map(|now| now == boot))
    }

    /// Returns `true` if a process holds `slot`. `None` if this process cannot ask the kernel,
    /// because the liveness locks are in another container or mount.
    fn is_held(&self, slot: u64) -> Result<Option<bool>> {
        self.is_any_held(&(slot..slot + 1))
    }

    /// Returns `true` if a process holds one of the slots; `None` as for [`is_held`](Self::is_held).
    fn is_any_held(&self, among: &Range<u64>) -> Result<Option<bool>> {
        if let Some(slots) = &self.slots {
            let held = slots.held_among(among);
            // A lock that is held here proves a live process, wherever the header says the locks are.
            if held.map_err(|error| error.with_path(self.memory.path()))?.is_some() {
                return Ok(Some(true));
            }
        }
        let home = match self.header {
            Some(_) => header::read_home(&self.memory)?,
            None => None,
        };
        // Only the recorded home can prove that a slot is free. Before the first attachment none is
        // recorded, and no process of an earlier boot can be alive.
        let is_here = home.is_none() || home == self.slots.as_ref().map(liveness::Slots::home);
        Ok((is_here || self.is_of_this_boot()? == Some(false)).then_some(false))
    }

    /// Returns `true` if a process is creating the object, or adopting it from an earlier boot or
    /// another home; `None` as for [`is_held`](Self::is_held).
    pub(crate) fn has_creator(&self) -> Result<Option<bool>> {
        self.is_held(CREATION)
    }

    /// Returns `true` if a process has the object open read-only or copy-on-write; `None` as for
    /// [`is_held`](Self::is_held).
    pub(crate) fn has_readers(&self) -> Result<Option<bool>> {
        self.is_held(READERS)
    }

    /// Returns the participants with records in use, in order of their numbers.
    pub(crate) fn participants(&self) -> Result<Vec<Participant>> {
        let mut found = Vec::new();
        for number in 0..self.header.map_or(0, |header| header.participants) {
            found.extend(self.participant(number)?);
        }
        Ok(found)
    }

    /// Returns the record of a participant; `None` if the record is free, or if the object has no
    /// header yet. Fails with `Malformed` if the record is neither free nor in use.
    fn record(&self, number: u32) -> Result<Option<Record>> {
        let Some(header) = self.header else { return Ok(None) };
        let at = header.participant(number);
        match self.memory.load::<u32>(at)? {
            0 => Ok(None),
            IN_USE => Record::read(&self.memory, at).map(Some),
            _ => Err(self.malformed(at, "a participant's record is neither free nor in use")),
        }
    }

    /// Returns the process id in a participant's record, without asking the kernel; `None` if the
    /// record is free.
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

    /// Returns `true` if the kernel reports that every slot is free: no process is attached, observes
    /// the object read-only, or is creating it. `None` as for [`is_held`](Self::is_held).
    pub(crate) fn is_unattached(&self) -> Result<Option<bool>> {
        let last = FIRST + u64::from(self.header.map_or(0, |header| header.participants));
        Ok(self.is_any_held(&(CREATION..last))?.map(|held| !held))
    }

    /// Returns the claimed lanes, in order of their numbers.
    pub(crate) fn lanes(&self) -> Result<Vec<LaneSnapshot>> {
        let Some(header) = self.header else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for lane in 0..header.lanes {
            let at = header.lane(lane);
            let Some(participant) = self.memory.load::<u32>(at)?.checked_sub(1) else { continue };
            if participant >= header.participants {
                return Err(self.malformed(at, "a lane names a participant that does not exist"));
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

    /// Returns the time since the lane's thread noted that it sleeps; `None` if it does not sleep.
    fn asleep_for(&self, lane: u64) -> Result<Option<Duration>> {
        let since = self.memory.load::<u32>(lane + WAITS_SINCE)?;
        let for_so_long = (process::milliseconds() as u32).wrapping_sub(since);
        // More than half of the range is a time in the future, which no honest thread notes.
        let known = since != 0 && for_so_long < u32::MAX / 2;
        Ok(known.then(|| Duration::from_millis(for_so_long.into())))
    }

    /// Returns the participant that has claimed `lane`, which must be in range; `None` if the lane is
    /// free or names a participant that does not exist.
    pub(crate) fn participant_of(&self, lane: u32) -> Result<Option<u32>> {
        let Some(header) = self.header else { return Ok(None) };
        let participant = self.memory.load::<u32>(header.lane(lane))?.checked_sub(1);
        Ok(participant.filter(|&participant| participant < header.participants))
    }

    pub(crate) fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Returns the error for a word at offset `at` that has an impossible value.
    #[cold]
    pub(crate) fn malformed(&self, at: u64, why: &str) -> Error {
        Error::new(ErrorKind::Malformed, OPERATION)
            .with_path(self.memory.path())
            .with_offset(at)
            .with_detail(why)
    }
}

/// Returns `true` if the file begins with the magic of a shared object.
fn begins_as_object(mut file: &File) -> Result<bool> {
    let mut beginning = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(header::MAGIC.len() as u64).read_to_end(&mut beginning)?;
    Ok(beginning == header::MAGIC)
}
