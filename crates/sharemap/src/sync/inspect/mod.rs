//! Inspection of shared objects from outside: which processes are attached, and which threads hold
//! or wait for which locks.
//!
//! [`Inspection`] reads the state of an object. [`ExclusiveClaim`] establishes that no process uses an
//! object. [`ObjectFile`] keeps a file open, so that the file that was inspected is the file that is
//! removed.
//!
//! An inspection changes nothing, attaches nothing, and is not visible to the participants. Each number
//! is read at another moment, while the object is in use. A lock may, for instance, get a new owner
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
mod object_file;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use crate::error::Result;
use crate::peer::ObjectObserver;
use crate::shm::Location;
use crate::sync::algorithms::barrier;
use crate::sync::core::announcement::{self, Kind};
use crate::sync::core::gate;
use crate::sync::core::word::{self, DIED, DONE, POISONED, UPGRADABLE};

pub use crate::peer::{AttachedProcess as Participant, ObjectInfo, State};
pub use crate::sys::FileRole;
pub use exclusive_claim::ExclusiveClaim;
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

/// The kind of a lock, as the lanes that use it announce it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LockKind {
    /// A [`Mutex`](crate::Mutex).
    Mutex,
    /// An [`RwLock`](crate::RwLock).
    RwLock,
    /// A [`Condvar`](crate::Condvar).
    Condvar,
    /// A [`CountingSemaphore`](crate::CountingSemaphore) or an [`Event`](crate::Event).
    CountingSemaphoreOrEvent,
    /// A [`Once`](crate::Once).
    Once,
    /// A [`Semaphore`](crate::Semaphore).
    Semaphore,
    /// A [`Barrier`](crate::Barrier).
    Barrier,
}

/// A thread that holds a lock or waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadInfo {
    /// The number of the thread's lane in the object.
    pub lane: u32,
    /// The number of the participant that owns the lane. `None` if the lane is free by now.
    pub participant: Option<u32>,
    /// The process id of the participant, in its own pid namespace.
    pub process: Option<u32>,
    /// For how long the thread has been asleep without a release of the lock. `None` if it does not
    /// sleep.
    pub asleep_for: Option<Duration>,
}

/// A lock that at least one thread holds or waits for.
///
/// Locks are found by the announcements of the lanes, so an inspection does not find a lock that no
/// thread uses.
///
/// # Examples
/// ```
/// use sharemap::inspect::{Inspection, LockInfo};
/// # use sharemap::{Mutex, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// # let name = format!("doc-lock-info-{}", std::process::id());
/// # let name = name.as_str();
/// # let hits = Shared::create_new(name, || Mutex::new(0_u64))?;
/// # let held = hits.lock()?;
/// for LockInfo { offset, kind, owner, waiters, .. } in Inspection::open(name)?.locks()? {
///     let owner = owner.and_then(|thread| thread.process);
///     println!("{kind:?} at {offset}: owner {owner:?}, {} waiters", waiters.len());
/// }
/// # drop(held);
/// # sharemap::SharedMemory::unlink(name)?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockInfo {
    /// The offset of the lock in the object.
    pub offset: u64,
    /// The kind of the lock.
    pub kind: LockKind,
    /// The owner of a mutex or a once, or the writer or upgradable reader of a reader-writer lock.
    pub owner: Option<ThreadInfo>,
    /// The other holders: readers, holders of permits, and members of a barrier that have not arrived.
    pub holders: Vec<ThreadInfo>,
    /// The threads that wait for the lock or have arrived at the barrier. Blocked readers are missing:
    /// they withdraw their announcement before they sleep.
    pub waiters: Vec<ThreadInfo>,
    /// `true` if the owner holds an upgradable read lock: it reads beside other readers, and may
    /// upgrade to a writer.
    pub is_upgradable: bool,
    /// `true` if an owner poisoned the value.
    pub is_poisoned: bool,
    /// `true` if an owner died, and no owner since has marked the value as consistent.
    pub owner_died: bool,
    /// `true` if the action of a once has been completed.
    pub is_done: bool,
    /// `true` if a thread may be asleep at the gate, including threads missing in `waiters`.
    pub has_sleepers: bool,
    /// The time for which the owner has held the lock at least: the longest `asleep_for` of a waiter.
    ///
    /// Acquiring a free lock records no time, so the value is `None` for a lock without a sleeping
    /// waiter.
    ///
    /// A release wakes one of several waiters. The records of the others stay for up to 4 ms, and are
    /// attributed to the next owner for that time. To exclude this, inspect again after more than 4 ms:
    /// a value that is found again, with the same owner, is that owner's. A stopped waiter keeps its
    /// record, and does not notice releases.
    pub held_for: Option<Duration>,
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

    /// Returns `true` if the object was last used since the system started. Returns `None` if the system
    /// does not identify its boots.
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
        for lane in self.look.lanes()? {
            let process = self.look.process_of(lane.participant)?;
            for &(slot, what) in &lane.announced {
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

impl LockKind {
    /// Returns the kind of lock that is announced by `part`.
    fn of(part: Kind) -> Self {
        match part {
            Kind::Mutex => Self::Mutex,
            Kind::Writer | Kind::Reader | Kind::Leaving => Self::RwLock,
            Kind::Sleeper => Self::Condvar,
            Kind::Waiter => Self::CountingSemaphoreOrEvent,
            Kind::Once => Self::Once,
            Kind::PermitWaiter | Kind::PermitTaker | Kind::Permit | Kind::PermitReturner => {
                Self::Semaphore
            }
            Kind::Member | Kind::Arrived => Self::Barrier,
        }
    }

    /// Returns the length of the lock's fixed part, and the offset of its gate (FORMAT.md, "Locks").
    fn extent(self) -> (u64, u64) {
        match self {
            Self::Mutex | Self::CountingSemaphoreOrEvent | Self::Once | Self::Barrier => (16, 4),
            Self::RwLock => (32, 8),
            Self::Condvar => (16, 0),
            Self::Semaphore => (16, 8),
        }
    }

    /// Returns `true` if the lock begins with a word that names an owner.
    fn has_word(self) -> bool {
        matches!(self, Self::Mutex | Self::RwLock | Self::Once)
    }
}

impl LockInfo {
    /// Adds a thread that announces the lock by `part`.
    fn add(&mut self, part: Kind, thread: ThreadInfo) {
        match part {
            // Owner and waiters announce the lock alike; the word tells which lane is the owner.
            Kind::Mutex | Kind::Writer | Kind::Once => match &mut self.owner {
                Some(owner) if owner.lane == thread.lane => {
                    owner.asleep_for = thread.asleep_for;
                }
                _ => self.waiters.push(thread),
            },
            Kind::Reader | Kind::Permit | Kind::PermitReturner | Kind::Member => {
                self.holders.push(thread);
            }
            Kind::Sleeper
            | Kind::Waiter
            | Kind::PermitWaiter
            | Kind::PermitTaker
            | Kind::Arrived => self.waiters.push(thread),
            Kind::Leaving => {}
        }
    }

    /// Derives `held_for` after all threads have been added.
    fn conclude(&mut self) {
        if self.owner.is_some() {
            self.held_for = self.waiters.iter().filter_map(|thread| thread.asleep_for).max();
        }
    }
}
