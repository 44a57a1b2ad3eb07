//! Locks that survive their owner, and what else processes coordinate with.
//!
//! Each algorithm is written once, over a [`Machine`]: guarded memory, or the explorer of the tests,
//! which schedules every step, delays stores as processors do, and kills.

mod anchor;
mod barrier;
mod condvar;
mod counting_semaphore;
mod error;
mod event;
mod exclusive_claim;
mod file_lock;
mod gate;
mod handles;
pub mod inspect;
mod kind;
mod mutex;
mod object_file;
mod once;
mod options;
#[cfg(test)]
mod races;
mod rwlock;
mod scan;
mod semaphore;
mod shared;
mod unlock;
mod value;
mod waiter;
mod word;

#[cfg(test)]
mod explorer;

pub use anchor::{LayoutReader, LayoutSize, LayoutWriter, SharedType};
pub use error::{LockError, LockResult, OwnerDiedGuard};
pub use handles::{
    Barrier, BarrierHandle, BarrierMember, Condvar, CondvarGuard, CondvarHandle, CountingSemaphore,
    CountingSemaphoreHandle, Event, EventHandle, LockTarget, Mutex, MutexGuard, MutexHandle,
    MutexSliceGuard, MutexSliceHandle, Once, OnceHandle, OnceState, RwLock, RwLockHandle,
    RwLockReadGuard, RwLockSliceHandle, RwLockSliceReadGuard, RwLockSliceUpgradableGuard,
    RwLockSliceWriteGuard, RwLockUpgradableGuard, RwLockWriteGuard, Semaphore, SemaphoreHandle,
    SemaphorePermit, WaitTimeoutResult,
};
pub use options::SharedOptions;
pub use shared::Shared;

use crate::error::Result;
use crate::peer::{Machine, Session};
pub use file_lock::{FileLock, FileLockGuard};
use kind::Kind;

/// Recovers one announcement of a dead lane: what is in `slot`. Called by the one process that won
/// the right to recover the lane, and again by the next if that one dies; the caller empties the
/// slot afterwards.
///
/// Locks lie in the payload. An announcement of another offset is malformed and holds nothing.
/// Recovering it would change the header or the tables, and might never end: a slot can announce a
/// permit at its own offset.
pub(crate) fn recover(session: &Session, slot: u64, announcement: u64, lane: u32) -> Result<()> {
    let (payload, (at, _)) = (session.payload(), kind::parse(announcement));
    match (payload.0..payload.1).contains(&at) {
        true => recover_lock(session, slot, announcement, lane),
        false => Ok(()),
    }
}

/// Recovers an announcement of a lock in the payload.
fn recover_lock<W: Machine>(machine: &W, slot: u64, announcement: u64, lane: u32) -> Result<()> {
    let (at, kind) = kind::parse(announcement);
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
