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

pub use barrier::{Barrier, BarrierHandle, Member};
pub use condvar::{Condvar, CondvarHandle, WaitTimeoutResult, Waiting};
pub use event::{Event, EventHandle};
pub use guarded::Guarded;
pub use mutex::{Mutex, MutexGuard, MutexHandle};
pub use once::{Once, OnceHandle, OnceTurn};
pub use permits::{Permit, Permits, PermitsHandle};
pub use rwlock::{RwLock, RwLockHandle, RwLockReadGuard, RwLockUpgradableGuard, RwLockWriteGuard};
pub use signal::{Signal, SignalHandle};
pub use slices::{
    MutexSliceGuard, MutexSliceHandle, RwLockSliceHandle, RwLockSliceReadGuard,
    RwLockSliceUpgradableGuard, RwLockSliceWriteGuard,
};
