//! What users hold: how a lock is to begin, its handle, and guards.

mod barrier;
mod condvar;
mod counting_semaphore;
mod event;
mod lock_target;
mod look;
mod mutex;
mod once;
mod private;
mod rwlock;
mod semaphore;
mod slices;
mod upgrade;

pub use barrier::{Barrier, BarrierHandle, BarrierMember};
pub use condvar::{Condvar, CondvarGuard, CondvarHandle, WaitTimeoutResult};
pub use counting_semaphore::{CountingSemaphore, CountingSemaphoreHandle};
pub use event::{Event, EventHandle};
pub use lock_target::LockTarget;
pub use mutex::{Mutex, MutexGuard, MutexHandle};
pub use once::{Once, OnceHandle, OnceState};
pub use rwlock::{RwLock, RwLockHandle, RwLockReadGuard, RwLockUpgradableGuard, RwLockWriteGuard};
pub use semaphore::{Semaphore, SemaphoreHandle, SemaphorePermit};
pub use slices::{
    MutexSliceGuard, MutexSliceHandle, RwLockSliceHandle, RwLockSliceReadGuard,
    RwLockSliceUpgradableGuard, RwLockSliceWriteGuard,
};
