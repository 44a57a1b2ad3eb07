//! What users hold: how a lock is to begin, its handle, and guards.

mod barrier;
mod condvar;
mod event;
mod guarded;
mod look;
mod mutex;
mod once;
mod permits;
mod private;
mod rwlock;
mod signal;
mod slices;
mod upgrade;

pub use barrier::{Barrier, BarrierHandle, BarrierMember};
pub use condvar::{Condvar, CondvarGuard, CondvarHandle, WaitTimeoutResult};
pub use event::{Event, EventHandle};
pub use guarded::LockTarget;
pub use mutex::{Mutex, MutexGuard, MutexHandle};
pub use once::{Once, OnceHandle, OnceState};
pub use permits::{Semaphore, SemaphoreHandle, SemaphorePermit};
pub use rwlock::{RwLock, RwLockHandle, RwLockReadGuard, RwLockUpgradableGuard, RwLockWriteGuard};
pub use signal::{CountingSemaphore, CountingSemaphoreHandle};
pub use slices::{
    MutexSliceGuard, MutexSliceHandle, RwLockSliceHandle, RwLockSliceReadGuard,
    RwLockSliceUpgradableGuard, RwLockSliceWriteGuard,
};
