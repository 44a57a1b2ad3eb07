//! The public API: the initial state of each lock, its handle, and its guards.
//!
//! A folder has all of its lock: the handle, the guards, the acquisitions after a death in `repair`, and in
//! `slice` what the lock over elements has of its own. `lock` is common to `Mutex` and `RwLock`, and `storage`
//! says what they do with a value, and with elements.

mod barrier;
mod condvar;
mod counting_semaphore;
mod deferred_error;
mod elements;
pub(in crate::sync) mod error;
mod event;
mod file_lock;
mod local_copy;
mod lock;
mod lock_target;
mod mutex;
mod once;
pub(in crate::sync) mod options;
mod rwlock;
mod semaphore;
pub(in crate::sync) mod shared;
pub(in crate::sync) mod shared_type;
#[cfg(test)]
mod site_faults;
mod storage;

// After the locks, because rustdoc lists the methods of a type in the order of the modules.
mod queries;

pub use barrier::{Barrier, BarrierHandle, BarrierMember};
pub use condvar::{Condvar, CondvarGuard, CondvarHandle, WaitTimeoutResult};
pub use counting_semaphore::{CountingSemaphore, CountingSemaphoreHandle};
pub use error::{LockError, LockResult, OwnerDiedGuard};
pub use event::{Event, EventHandle};
pub use file_lock::{FileLock, FileLockGuard};
pub use lock_target::LockTarget;
pub use mutex::{Mutex, MutexGuard, MutexHandle, MutexSliceGuard, MutexSliceHandle};
pub use once::{Once, OnceHandle, OnceState};
pub use options::SharedOptions;
pub use rwlock::{
    RwLock, RwLockHandle, RwLockReadGuard, RwLockSliceHandle, RwLockSliceReadGuard,
    RwLockSliceUpgradableGuard, RwLockSliceWriteGuard, RwLockUpgradableGuard, RwLockWriteGuard,
};
pub use semaphore::{Semaphore, SemaphoreHandle, SemaphorePermit};
pub use shared::Shared;
pub use shared_type::{LayoutReader, LayoutSize, LayoutWriter, SharedType};
