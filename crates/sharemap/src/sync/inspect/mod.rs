//! Looking at shared objects from outside: who is attached, who holds which lock, who waits.
//!
//! Nothing is changed by it, and nobody notices; it does not count as being attached. What others
//! change meanwhile is seen as it is at the moment at which each number is looked at: a lock may have
//! been handed on between a look at its word and a look at who waits.
//!
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
//! let look = Inspection::open(name)?; // from any process
//! assert_eq!(look.participants()?[0].process, std::process::id());
//! let locks = look.locks()?;
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

/// A shared object that is looked at.
#[derive(Debug)]
pub struct Inspection {
    pub(in crate::sync) look: ObjectObserver,
}

/// What a lock is, as far as those who use it say.
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
    /// [`Semaphore`](crate::Semaphore).
    Semaphore,
    /// A [`Barrier`](crate::Barrier).
    Barrier,
}

/// A thread that has to do with a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadInfo {
    /// Its lane in the object.
    pub lane: u32,
    /// Whose lane it is: the number of the participant. `None` if it is nobody's any more.
    pub participant: Option<u32>,
    /// The participant's process id, as its own pid namespace has it.
    pub process: Option<u32>,
    /// For how long it sleeps while the lock has not been released; `None` if it does not sleep.
    pub asleep_for: Option<Duration>,
}

/// A lock that somebody holds or asks for. One that nobody has to do with is not to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockInfo {
    /// Where it is in the object.
    pub offset: u64,
    /// What it is.
    pub kind: LockKind,
    /// Who has it: of mutexes, of locks for readers and writers (a writer, or an upgradable
    /// reader), and of what is done once.
    pub owner: Option<ThreadInfo>,
    /// Those who have a part of it: readers, those with permits, members of a barrier that have not
    /// come.
    pub holders: Vec<ThreadInfo>,
    /// Those who ask for it, or have come to the barrier. Readers who have to wait do not show.
    pub waiters: Vec<ThreadInfo>,
    /// The owner reads beside others, and may go on to write.
    pub is_upgradable: bool,
    /// An owner declared the value unusable.
    pub is_poisoned: bool,
    /// An owner died, and none since has accepted the value.
    pub owner_died: bool,
    /// What is to be done once has been done.
    pub is_done: bool,
    /// Somebody sleeps, also such as do not show among those who wait.
    pub has_sleepers: bool,
    /// For how long at least the owner has had it: for as long as one who waits has slept without
    /// the lock's being released. Nobody takes the time when a lock is taken at once, so of a lock
    /// that nobody waits for it is not known.
    ///
    /// Of several who wait a release wakes one; what the others noted stays for up to four
    /// milliseconds, and is told of the new owner so long. It is the owner's if it is found again,
    /// with the same owner, after that time. A waiter that is stopped sleeps on, and does not notice a
    /// release at all.
    pub held_for: Option<Duration>,
}

/// A lock, and its first word as it was when it was found.
struct Found {
    lock: LockInfo,
    word: u32,
}

impl Inspection {
    /// Opens an object for inspection, without waiting. This process must be allowed to read the
    /// object; the owner does not matter.
    ///
    /// # Errors
    /// [`Busy`](crate::ErrorKind::Busy) while another process holds a lease on its file, so that its
    /// state cannot be seen;
    /// [`NotAnObject`](crate::ErrorKind::NotAnObject), [`Truncated`](crate::ErrorKind::Truncated),
    /// [`WrongVersion`](crate::ErrorKind::WrongVersion), [`Malformed`](crate::ErrorKind::Malformed) if it is no
    /// shared object with a header, or not one of this format; [`NotFound`](crate::ErrorKind::NotFound).
    pub fn open(location: impl Into<Location>) -> Result<Self> {
        Ok(Self { look: ObjectObserver::open(&location.into())? })
    }

    /// What never changes of it; `None`: it is being made, and has no header yet.
    #[must_use]
    pub fn facts(&self) -> Option<ObjectInfo> {
        self.look.facts()
    }

    /// How far it is.
    ///
    /// # Errors
    /// [`Malformed`](crate::ErrorKind::Malformed), [`Fault`](crate::ErrorKind::Fault) if it has been cut short: so
    /// of all questions below.
    pub fn state(&self) -> Result<State> {
        self.look.state()
    }

    /// Whether it says that nobody takes part in it, and that whoever did left it in order.
    ///
    /// # Errors
    /// As for [`state`](Self::state).
    pub fn is_clean(&self) -> Result<bool> {
        self.look.is_clean()
    }

    /// How often a process attached to it.
    ///
    /// # Errors
    /// As for [`state`](Self::state).
    pub fn attachments(&self) -> Result<u64> {
        self.look.attachments()
    }

    /// Whether it was last used since the system started; `None` where that cannot be told.
    ///
    /// # Errors
    /// As for [`state`](Self::state).
    pub fn is_of_this_boot(&self) -> Result<Option<bool>> {
        self.look.is_of_this_boot()
    }

    /// Whether the kernel says that somebody is making it. `None`: that cannot be asked from here,
    /// in another container than where it is in use.
    ///
    /// # Errors
    /// As for [`state`](Self::state).
    pub fn has_creator(&self) -> Result<Option<bool>> {
        self.look.has_creator()
    }

    /// Whether the kernel says that somebody is attached who only reads; `None` as above.
    ///
    /// # Errors
    /// As for [`state`](Self::state).
    pub fn has_readers(&self) -> Result<Option<bool>> {
        self.look.has_readers()
    }

    /// Whether the kernel says that nobody is attached, or making it; `None` as above.
    ///
    /// # Errors
    /// As for [`state`](Self::state).
    pub fn is_unattached(&self) -> Result<Option<bool>> {
        self.look.is_unattached()
    }

    /// The processes that take part, and those that died and have not been cleared away, by number.
    ///
    /// # Errors
    /// As for [`state`](Self::state).
    pub fn participants(&self) -> Result<Vec<Participant>> {
        self.look.participants()
    }

    /// How many threads have a lane.
    ///
    /// # Errors
    /// As for [`state`](Self::state).
    pub fn lanes(&self) -> Result<u32> {
        Ok(self.look.lanes()?.len() as u32)
    }

    /// The locks that threads hold or ask for, by offset.
    ///
    /// # Errors
    /// As for [`state`](Self::state); [`Malformed`](crate::ErrorKind::Malformed) also if a thread announces
    /// what cannot be.
    pub fn locks(&self) -> Result<Vec<LockInfo>> {
        // Peers choose what their lanes announce, so no step may depend on the number found so far.
        let mut found: BTreeMap<(u64, LockKind), Found> = BTreeMap::new();
        for lane in self.look.lanes()? {
            let process = self.look.process_of(lane.participant)?;
            for &(slot, what) in &lane.announced {
                let (at, Some(part)) = announcement::parse(what) else {
                    return Err(self.look.malformed(slot, "a thread announces what there is not"));
                };
                if part == Kind::Leaving {
                    continue;
                }
                let who = ThreadInfo {
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
                    Kind::Arrived if !barrier::has_come(what, at, *word) => {
                        lock.add(Kind::Member, who);
                    }
                    part => lock.add(part, who),
                }
            }
        }
        let mut found: Vec<LockInfo> = found.into_values().map(|Found { lock, .. }| lock).collect();
        found.iter_mut().for_each(LockInfo::conclude);
        Ok(found)
    }

    /// The lock at an offset that the announcement in `slot` names, as its own bytes have it.
    fn lock(&self, at: u64, kind: LockKind, slot: u64) -> Result<Found> {
        let Some(facts) = self.look.facts() else {
            return Err(self.look.malformed(slot, "a thread uses what is not made yet"));
        };
        let (size, gate) = kind.extent();
        if at < facts.payload_at || at.checked_add(size).is_none_or(|end| end > facts.len) {
            return Err(self.look.malformed(slot, "a thread announces what is outside of it"));
        }
        let memory = self.look.memory();
        let first = memory.load::<u32>(at)?;
        let word = if kind.has_word() { first } else { 0 };
        let owner = match word::owner(word) {
            Some(lane) if lane >= facts.lanes => {
                return Err(self.look.malformed(at, "its owner is a lane that there is not"));
            }
            Some(lane) => Some(self.who(lane)?),
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

    fn who(&self, lane: u32) -> Result<ThreadInfo> {
        let participant = self.look.participant_of(lane)?;
        let process = match participant {
            Some(number) => self.look.process_of(number)?,
            None => None,
        };
        Ok(ThreadInfo { lane, participant, process, asleep_for: None })
    }
}

impl LockKind {
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

    /// Bytes of its fixed part, and where its gate is.
    fn extent(self) -> (u64, u64) {
        match self {
            Self::Mutex | Self::CountingSemaphoreOrEvent | Self::Once | Self::Barrier => (16, 4),
            Self::RwLock => (32, 8),
            Self::Condvar => (16, 0),
            Self::Semaphore => (16, 8),
        }
    }

    fn has_word(self) -> bool {
        matches!(self, Self::Mutex | Self::RwLock | Self::Once)
    }
}

impl LockInfo {
    fn add(&mut self, part: Kind, who: ThreadInfo) {
        match part {
            Kind::Mutex | Kind::Writer | Kind::Once => match &mut self.owner {
                Some(owner) if owner.lane == who.lane => owner.asleep_for = who.asleep_for,
                _ => self.waiters.push(who),
            },
            Kind::Reader | Kind::Permit | Kind::PermitReturner | Kind::Member => {
                self.holders.push(who);
            }
            Kind::Sleeper
            | Kind::Waiter
            | Kind::PermitWaiter
            | Kind::PermitTaker
            | Kind::Arrived => self.waiters.push(who),
            Kind::Leaving => {}
        }
    }

    /// What follows from all that was found.
    fn conclude(&mut self) {
        if self.owner.is_some() {
            self.held_for = self.waiters.iter().filter_map(|who| who.asleep_for).max();
        }
    }
}
