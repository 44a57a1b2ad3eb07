//! Locks that survive their owner, and what else processes coordinate with.
//!
//! Each algorithm is written once, over a [`Machine`]: guarded memory, or the explorer of the tests,
//! which schedules every step, delays stores as processors do, and kills.

mod algorithms;
mod api;
mod core;
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
use algorithms::{barrier, condvar, counting_semaphore, mutex, rwlock, semaphore};

/// Recovers one announcement of a dead lane: what is in `slot`. Called by the one process that won
/// the right to recover the lane, and again by the next if that one dies; the caller empties the
/// slot afterwards.
///
/// Locks lie in the payload. An announcement of another offset is malformed and holds nothing.
/// Recovering it would change the header or the tables, and might never end: a slot can announce a
/// permit at its own offset.
pub(crate) fn recover(session: &Session, slot: u64, announcement: u64, lane: u32) -> Result<()> {
    let (payload, (at, _)) = (session.payload(), announcement::parse(announcement));
    match (payload.0..payload.1).contains(&at) {
        true => recover_lock(session, slot, announcement, lane),
        false => Ok(()),
    }
}

/// Recovers an announcement of a lock in the payload.
fn recover_lock<W: Machine>(machine: &W, slot: u64, announcement: u64, lane: u32) -> Result<()> {
    let (at, kind) = announcement::parse(announcement);
    match kind {
        Some(Kind::Mutex | Kind::Once) => mutex::recover(machine, at, lane),
        Some(Kind::Writer) => rwlock::recover_writer(machine, at, lane),
        Some(Kind::Reader | Kind::Leaving) => rwlock::recover_reader(machine, at, slot),
        Some(Kind::Sleeper) => condvar::recover(machine, at),
        Some(Kind::Waiter) => counting_semaphore::recover(machine, at),
        Some(Kind::PermitWaiter | Kind::PermitTaker | Kind::Permit | Kind::PermitReturner) => {
            semaphore::recover(machine, at, slot, lane)
        }
        Some(Kind::Member | Kind::Arrived) => barrier::recover(machine, at),
        // Nothing that this version announces: a scribble, which holds nothing.
        None => Ok(()),
    }
}
