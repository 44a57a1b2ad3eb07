//! Locks that survive the death of their owner, and other means of coordination between processes.
//!
//! `api` has the public types, `algorithms` the protocols behind them, and `core` their common parts: the lock
//! word, the gate, waiters, announcements. `inspect` examines objects without attaching to them. Each
//! algorithm is written once, over a [`Machine`]: guarded memory in a program, or the explorer of the tests,
//! which schedules every step, delays stores as processors do, and kills.

mod algorithms;
mod api;
pub(crate) mod core;
pub mod inspect;
#[cfg(test)]
mod tests;

pub use api::{
    Barrier, BarrierHandle, BarrierMember, Condvar, CondvarGuard, CondvarHandle, CountingSemaphore,
    CountingSemaphoreHandle, Event, EventHandle, FileLock, FileLockGuard, LayoutReader, LayoutSize,
    LayoutWriter, LockError, LockResult, LockTarget, Mutex, MutexGuard, MutexHandle,
    MutexSliceGuard, MutexSliceHandle, Once, OnceHandle, OnceState, OwnerDiedGuard, RwLock,
    RwLockHandle, RwLockReadGuard, RwLockSliceHandle, RwLockSliceReadGuard,
    RwLockSliceUpgradableGuard, RwLockSliceWriteGuard, RwLockUpgradableGuard, RwLockWriteGuard,
    Semaphore, SemaphoreHandle, SemaphorePermit, Shared, SharedOptions, SharedType,
    WaitTimeoutResult,
};

use self::core::announcement::{self, Kind};
use crate::error::Result;
use crate::peer::{Machine, Session};
use algorithms::exclusive::Exclusive;
use algorithms::mutex::RawMutex;
use algorithms::rwlock::{RawRwLock, recover_reader};
use algorithms::{barrier, condvar, counting_semaphore, semaphore};

/// Releases what a dead `lane` holds by the `announcement` in its `slot` (FORMAT.md, "What a lane announces").
///
/// The caller holds the liveness lock of the lane's participant, and clears the slot after this call. If the
/// caller dies before that, the next recoverer repeats the call from the beginning, so each step of a recovery
/// must be repeatable.
///
/// Locks lie in the payload. An announcement of an offset outside it is malformed and holds nothing. Its
/// recovery would change the header or the tables, and might not end, because a slot can announce a permit at
/// its own offset.
pub(crate) fn recover(session: &Session, slot: u64, announcement: u64, lane: u32) -> Result<()> {
    let (payload, (at, _)) = (session.payload(), announcement::parse(announcement));
    match (payload.0..payload.1).contains(&at) {
        true => recover_lock(session, slot, announcement, lane),
        false => Ok(()),
    }
}

/// Recovers a lock in the payload, by the kind of its announcement.
pub(crate) fn recover_lock<W: Machine>(
    machine: &W,
    slot: u64,
    announcement: u64,
    lane: u32,
) -> Result<()> {
    let (at, kind) = announcement::parse(announcement);
    match kind {
        // A once has its word and gate in the same places.
        Some(Kind::Mutex | Kind::Once) => RawMutex::recover(machine, at, lane),
        Some(Kind::Writer) => RawRwLock::recover(machine, at, lane),
        Some(Kind::Reader | Kind::Leaving) => recover_reader(machine, at, slot),
        Some(Kind::Sleeper) => condvar::recover(machine, at),
        Some(Kind::Waiter) => counting_semaphore::recover(machine, at),
        Some(Kind::PermitWaiter | Kind::PermitTaker | Kind::Permit | Kind::PermitReturner) => {
            semaphore::recover(machine, at, slot, lane)
        }
        Some(Kind::Member | Kind::Arrived) => barrier::recover(machine, at),
        // This version never writes such a kind. A misbehaving peer did, and holds nothing by it.
        None => Ok(()),
    }
}
