//! Inspection of shared objects from outside: which processes are attached, and which threads hold
//! or wait for which locks.
//!
//! [`Inspection`] reads the state of an object. [`ExclusiveClaim`] establishes that no process uses an
//! object. [`ObjectFile`] keeps a file open, so that the file that was inspected is the file that is
//! removed.
//!
//! An inspection changes nothing, attaches nothing, and is not visible to the participants. Each number
//! is read at a different moment, while the object is in use. A lock may, for instance, get a new owner
//! between the reads of its word and of its waiters.
//!
//! # Examples
//! ```
//! use sharemap::inspect::{Inspection, LockKind};
//! use sharemap::{Mutex, Shared};
//!
//! # fn main() -> sharemap::Result<()> {
//! # let name = format!("doc-inspect-{}", std::process::id());
//! # let name = name.as_str();
//! let hits = Shared::create_new(name, || Mutex::new(0_u64))?;
//! let held = hits.lock()?;
//!
//! let inspection = Inspection::open(name)?; // from any process
//! assert_eq!(inspection.participants()?[0].process, std::process::id());
//! let locks = inspection.locks()?;
//! assert_eq!(locks[0].kind, LockKind::Mutex);
//! assert_eq!(locks[0].owner.as_ref().unwrap().process, Some(std::process::id()));
//! # drop(held);
//! # sharemap::SharedMemory::unlink(name)?;
//! # Ok(()) }
//! ```

mod exclusive_claim;
mod lock_info;
mod object_file;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::error::Result;
use crate::peer::{self, Header, Memory, ObjectObserver};
use crate::shm::Location;
use crate::sync::algorithms::barrier;
use crate::sync::api::options::KIND;
use crate::sync::core::announcement::{self, Kind};
use crate::sync::core::gate;
use crate::sync::core::word::{self, DIED, DONE, POISONED, UPGRADABLE};

pub use crate::peer::{AttachedProcess as Participant, ObjectInfo, State};
pub use crate::sys::FileRole;
pub use exclusive_claim::ExclusiveClaim;
pub use lock_info::{LockInfo, LockKind, ThreadInfo};
pub use object_file::{InterruptedRemoval, ObjectFile};

/// A read-only inspection of a shared object.
///
/// The value maps the object, but is no participant: the object does not count as in use.
///
/// # Examples
/// ```
/// use sharemap::inspect::Inspection;
/// use sharemap::{Mutex, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// # let name = format!("doc-inspection-{}", std::process::id());
/// # let name = name.as_str();
/// let hits = Shared::create_new(name, || Mutex::new(0_u64))?;
/// let inspection = Inspection::open(name)?;
/// for participant in inspection.participants()? {
///     println!("process {} since {:?}", participant.process, participant.since);
/// }
/// assert_eq!(inspection.is_unattached()?, Some(false));
/// drop(hits);
/// assert_eq!(inspection.is_unattached()?, Some(true));
/// # sharemap::SharedMemory::unlink(name)?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Inspection {
    pub(in crate::sync) look: ObjectObserver,
}

/// A lock, and the value that its first word had when the lock was found.
struct Found {
    lock: LockInfo,
    word: u32,
}

impl Inspection {
    /// Opens an object for inspection, without blocking.
    ///
    /// The process must be permitted to read the object, which may belong to any user.
    ///
    /// # Errors
    /// - `NotFound` - there is no such object, or the location is anonymous.
    /// - `NameEmpty`, `NameTooLong`, `NameCharacter` - not every system accepts the name.
    /// - `PermissionDenied` - this user may not read the object.
    /// - `ForeignOwner` - a symbolic link of another user is on the path.
    /// - `IsDirectory` - the path leads to a directory.
    /// - `NotAnObject` - the file is special, has several names, or does not begin with a header.
    /// - `Truncated`, `Malformed` - the header is damaged.
    /// - `WrongVersion` - another version of the format created the object.
    /// - `Busy` - another process holds a lease on the file, which hides its state; try again.
    /// - `Unsupported` - faults are not recovered in place here, or the file system cannot carry the
    ///   liveness locks.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let name = format!("doc-inspection-open-{}", std::process::id());
    /// # let name = name.as_str();
    /// use sharemap::inspect::Inspection;
    ///
    /// let jobs = Shared::create_new(name, || Mutex::new(0_u64))?;
    /// let guard = jobs.lock()?;
    /// // Usually in another process, which does not attach by this.
    /// for lock in Inspection::open(name)?.locks()? {
    ///     println!("{:?} at {}: {:?}", lock.kind, lock.offset, lock.owner);
    /// }
    /// # drop(guard);
    /// # drop(jobs);
    /// # unlink(name)?;
    /// # Ok(()) }
    /// ```
    pub fn open(location: impl Into<Location>) -> Result<Self> {
        Ok(Self { look: ObjectObserver::open(&location.into())? })
    }

    /// Returns the validated header; `None` as for [`facts`](Self::facts).
    pub(crate) fn header(&self) -> Option<&Header> {
        self.look.header()
    }

    /// Returns the memory of the object.
    pub(crate) fn memory(&self) -> &Memory {
        self.look.memory()
    }

    /// Returns the constant part of the header. Returns `None` if the object has no header yet, because
    /// it is being created.
    #[must_use]
    pub fn facts(&self) -> Option<ObjectInfo> {
        self.look.facts()
    }

    /// Returns whether the object is being created, ready or faulted.
    ///
    /// # Errors
    /// - `Malformed` - the stored state is none of these.
    /// - `Fault` - the memory could not be accessed; the object may have been truncated.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let name = format!("doc-inspection-state-{}", std::process::id());
    /// # let name = name.as_str();
    /// use sharemap::inspect::{Inspection, State};
    ///
    /// let jobs = Shared::create_new(name, || Mutex::new(0_u64))?;
    /// assert_eq!(Inspection::open(name)?.state()?, State::Ready);
    /// # drop(jobs);
    /// # unlink(name)?;
    /// # Ok(()) }
    /// ```
    pub fn state(&self) -> Result<State> {
        self.look.state()
    }

    /// Returns `true` if the object is marked as clean: its last participant left it consistent, and no
    /// process is attached.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed; the object may have been truncated.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-inspection-clean-{}", std::process::id()));
    /// use sharemap::inspect::Inspection;
    ///
    /// let jobs = Shared::create_new(&path, || Mutex::new(0_u64))?;
    /// assert!(!Inspection::open(path.as_path())?.is_clean()?);
    /// drop(jobs);
    /// assert!(Inspection::open(path.as_path())?.is_clean()?);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn is_clean(&self) -> Result<bool> {
        self.look.is_clean()
    }

    /// Returns how many times a process has attached to the object as a participant.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed; the object may have been truncated.
    pub fn attachments(&self) -> Result<u64> {
        self.look.attachments()
    }

    /// Returns `true` if the last process that created the object or attached to it as a participant
    /// did so since the system started. Returns `None` if the system does not identify its boots.
    ///
    /// Read-only and copy-on-write openings do not count. The result is also `None` if no boot is
    /// recorded: while a process adopts the object under another home, and after a creator that did
    /// not know its boot.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed; the object may have been truncated.
    pub fn is_of_this_boot(&self) -> Result<Option<bool>> {
        self.look.is_of_this_boot()
    }

    /// Returns `true` if, according to the kernel, a process is creating the object or adopting it
    /// from an earlier boot.
    ///
    /// Returns `None` if the kernel cannot be asked: the object is in use in another mount or container,
    /// where its liveness locks are.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed; the object may have been truncated.
    ///
    /// Other kinds report a failed system call.
    pub fn has_creator(&self) -> Result<Option<bool>> {
        self.look.has_creator()
    }

    /// Returns `true` if, according to the kernel, a process has the object open read-only or
    /// copy-on-write. Returns `None` if the kernel [cannot be asked](Self::has_creator).
    ///
    /// # Errors
    /// As for [`has_creator`](Self::has_creator).
    pub fn has_readers(&self) -> Result<Option<bool>> {
        self.look.has_readers()
    }

    /// Returns `true` if, according to the kernel, no process is attached to the object or creating
    /// it. Returns `None` if the kernel [cannot be asked](Self::has_creator).
    ///
    /// # Errors
    /// As for [`has_creator`](Self::has_creator).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let name = format!("doc-inspection-unattached-{}", std::process::id());
    /// # let name = name.as_str();
    /// use sharemap::inspect::Inspection;
    ///
    /// let jobs = Shared::create_new(name, || Mutex::new(0_u64))?;
    /// assert_ne!(Inspection::open(name)?.is_unattached()?, Some(true));
    /// # drop(jobs);
    /// # unlink(name)?;
    /// # Ok(()) }
    /// ```
    pub fn is_unattached(&self) -> Result<Option<bool>> {
        self.look.is_unattached()
    }

    /// Returns the attached processes, and those that died and have not been recovered, in the order
    /// of their numbers.
    ///
    /// # Errors
    /// - `Malformed` - a participant's record is damaged.
    /// - `Fault` - the memory could not be accessed; the object may have been truncated.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let name = format!("doc-inspection-participants-{}", std::process::id());
    /// # let name = name.as_str();
    /// use sharemap::inspect::Inspection;
    ///
    /// let jobs = Shared::create_new(name, || Mutex::new(0_u64))?;
    /// for participant in Inspection::open(name)?.participants()? {
    ///     println!("{participant:?}");
    /// }
    /// # drop(jobs);
    /// # unlink(name)?;
    /// # Ok(()) }
    /// ```
    pub fn participants(&self) -> Result<Vec<Participant>> {
        self.look.participants()
    }

    /// Returns how many lanes are claimed by threads.
    ///
    /// # Errors
    /// - `Malformed` - a lane names a participant that does not exist.
    /// - `Fault` - the memory could not be accessed; the object may have been truncated.
    pub fn lanes(&self) -> Result<u32> {
        Ok(self.look.lanes()?.len() as u32)
    }

    /// Returns the locks that threads hold or wait for, in the order of their offsets.
    ///
    /// The locks of a [`Segment`](crate::Segment), which a thread holds for one change only, are not among them. The ends
    /// of a [channel](crate::channel) are no locks.
    ///
    /// # Errors
    /// - `Malformed` - a lane, an announcement or a lock's word is damaged.
    /// - `Fault` - the memory could not be accessed; the object may have been truncated.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let name = format!("doc-inspection-locks-{}", std::process::id());
    /// # let name = name.as_str();
    /// use sharemap::inspect::{Inspection, LockKind};
    ///
    /// let jobs = Shared::create_new(name, || Mutex::new(0_u64))?;
    /// assert!(Inspection::open(name)?.locks()?.is_empty());
    /// let guard = jobs.lock()?;
    /// let locks = Inspection::open(name)?.locks()?;
    /// assert_eq!(locks[0].kind, LockKind::Mutex);
    /// let owner = locks[0].owner.as_ref().unwrap();
    /// assert_eq!(owner.process, Some(std::process::id()));
    /// # drop(guard);
    /// # drop(jobs);
    /// # unlink(name)?;
    /// # Ok(()) }
    /// ```
    pub fn locks(&self) -> Result<Vec<LockInfo>> {
        // A misbehaving peer can announce a different lock in each slot. A map keeps the time of each
        // step independent of the number of locks found so far.
        let mut found: BTreeMap<(u64, LockKind), Found> = BTreeMap::new();
        // In a segment, a slot of each thread is kept for its changes. In a channel, each end announces its role.
        let has_others = self.look.facts().is_some_and(|facts| facts.kind != KIND);
        for lane in self.look.lanes()? {
            let process = self.look.process_of(lane.participant)?;
            for &(slot, what) in &lane.announced {
                if has_others && matches!(what & peer::KIND_MASK, peer::KEPT | peer::END) {
                    continue;
                }
                let (at, Some(part)) = announcement::parse(what) else {
                    return Err(self
                        .look
                        .malformed(slot, "a lane announces a lock of an unknown kind"));
                };
                // The thread has released its read lock, and is about to clear the slot.
                if part == Kind::Leaving {
                    continue;
                }
                let thread = ThreadInfo {
                    lane: lane.lane,
                    participant: Some(lane.participant),
                    process,
                    asleep_for: lane.asleep_for,
                };
                let kind = LockKind::of(part);
                let Found { lock, word } = match found.entry((at, kind)) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => new.insert(self.lock(at, kind, slot)?),
                };
                match part {
                    // The slot still holds an earlier round: the member has not arrived in this one.
                    Kind::Arrived if !barrier::has_arrived(what, at, *word) => {
                        lock.add(Kind::Member, thread);
                    }
                    part => lock.add(part, thread),
                }
            }
        }
        let mut found: Vec<LockInfo> = found.into_values().map(|Found { lock, .. }| lock).collect();
        found.iter_mut().for_each(LockInfo::conclude);
        Ok(found)
    }

    /// Reads the lock at `at`, an offset that the announcement in `slot` names.
    fn lock(&self, at: u64, kind: LockKind, slot: u64) -> Result<Found> {
        let Some(facts) = self.look.facts() else {
            return Err(self
                .look
                .malformed(slot, "a lane announces a lock in an object without a header"));
        };
        let (size, gate) = kind.extent();
        if at < facts.payload_at || at.checked_add(size).is_none_or(|end| end > facts.len) {
            return Err(self.look.malformed(slot, "a lane announces a lock outside the payload"));
        }
        let memory = self.look.memory();
        let first = memory.load::<u32>(at)?;
        let word = if kind.has_word() { first } else { 0 };
        let owner = match word::owner(word) {
            Some(lane) if lane >= facts.lanes => {
                return Err(self
                    .look
                    .malformed(at, "the lock's owner is a lane that does not exist"));
            }
            Some(lane) => Some(self.thread(lane)?),
            None => None,
        };
        let lock = LockInfo {
            offset: at,
            kind,
            owner,
            holders: Vec::new(),
            waiters: Vec::new(),
            is_upgradable: word & UPGRADABLE != 0,
            is_poisoned: word & POISONED != 0,
            owner_died: word & DIED != 0,
            is_done: word & DONE != 0,
            has_sleepers: memory.load::<u32>(at + gate)? & gate::SLEEPER != 0,
            held_for: None,
        };
        Ok(Found { lock, word: first })
    }

    /// Returns the thread of a lane that a lock's word names.
    fn thread(&self, lane: u32) -> Result<ThreadInfo> {
        let participant = self.look.participant_of(lane)?;
        let process = match participant {
            Some(number) => self.look.process_of(number)?,
            None => None,
        };
        Ok(ThreadInfo { lane, participant, process, asleep_for: None })
    }
}
