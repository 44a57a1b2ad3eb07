//! What an inspection tells about a lock and the threads that use it.

use std::time::Duration;

use crate::sync::core::announcement::Kind;

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

impl LockKind {
    /// Returns the kind of lock that is announced by `part`.
    pub(super) fn of(part: Kind) -> Self {
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
    pub(super) fn extent(self) -> (u64, u64) {
        match self {
            Self::Mutex | Self::CountingSemaphoreOrEvent | Self::Once | Self::Barrier => (16, 4),
            Self::RwLock => (32, 8),
            Self::Condvar => (16, 0),
            Self::Semaphore => (16, 8),
        }
    }

    /// Returns `true` if the lock begins with a word that names an owner.
    pub(super) fn has_word(self) -> bool {
        matches!(self, Self::Mutex | Self::RwLock | Self::Once)
    }
}

impl LockInfo {
    /// Adds a thread that announces the lock by `part`.
    pub(super) fn add(&mut self, part: Kind, thread: ThreadInfo) {
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
    pub(super) fn conclude(&mut self) {
        if self.owner.is_some() {
            self.held_for = self.waiters.iter().filter_map(|thread| thread.asleep_for).max();
        }
    }
}
