//! Acquiring a reader-writer lock for writing.

use std::time::Duration;

use super::{RwLockHandle, RwLockWriteGuard};
use crate::sync::api::error::LockResult;
use crate::sync::api::lock::told;
use crate::sync::api::lock_target::LockTarget;

impl<T: ?Sized + LockTarget> RwLockHandle<T> {
    /// Acquires the lock for writing, blocking the current thread until no other thread holds it.
    ///
    /// If a holder dies, a blocked writer detects the death within milliseconds and releases the lock.
    ///
    /// # Errors
    /// As for [`read`](Self::read), except that
    ///
    /// - `Deadlock` - this thread already holds the lock, even if only for reading.
    /// - `Poisoned` - an owner poisoned the lock; use [`write_poisoned`](Self::write_poisoned).
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, LockError, RwLock, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let limit = Shared::create_new(Location::anonymous(), || RwLock::new(10_u32))?;
    /// match limit.write() {
    ///     Ok(mut guard) => *guard += 1,
    ///     Err(LockError::OwnerDied(guard)) => *guard.mark_consistent() = 10,
    ///     Err(LockError::Failed(error)) => return Err(error),
    /// }
    /// assert_eq!(*limit.read()?, 11);
    /// # Ok(()) }
    /// ```
    ///
    /// Elements in place are repaired through the guard's view:
    /// ```
    /// use sharemap::{Location, LockError, RwLock, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100))?;
    /// let guard = match table.write() {
    ///     Ok(guard) => guard,
    ///     Err(LockError::OwnerDied(guard)) => {
    ///         guard.view().fill(0)?; // a dead writer left it, perhaps half-written
    ///         guard.mark_consistent()
    ///     }
    ///     Err(LockError::Failed(error)) => return Err(error),
    /// };
    /// guard.view().set(99, 5)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pthread_rwlock_wrlock")]
    #[inline(always)]
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.write_until(|| None)
    }

    /// Acquires the lock like [`write`](Self::write), but blocks for at most `timeout` while it is held.
    ///
    /// A free lock is acquired even if `timeout` is zero. Claiming a lane is not bounded by `timeout`.
    ///
    /// # Errors
    /// As for [`write`](Self::write), and
    ///
    /// - `Timeout` - the lock was not acquired within `timeout`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use sharemap::{Location, RwLock, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let limit = Shared::create_new(Location::anonymous(), || RwLock::new(10_u32))?;
    /// *limit.write_timeout(Duration::from_secs(1))? = 20;
    /// assert_eq!(*limit.read()?, 20);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pthread_rwlock_timedwrlock")]
    pub fn write_timeout(&self, timeout: Duration) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.write_until(|| self.0.place.after(timeout))
    }

    /// Acquires the lock for writing, blocking until the moment that `until` returns; `None`: no limit.
    #[inline(always)]
    pub(super) fn write_until(
        &self,
        until: impl FnOnce() -> Option<Duration>,
    ) -> LockResult<RwLockWriteGuard<'_, T>> {
        told(self.0.lock_until(until), RwLockWriteGuard)
    }

    /// Attempts to acquire the lock for writing without waiting for its holders.
    ///
    /// A dead holder is detected, though not necessarily by the first call.
    ///
    /// # Errors
    /// As for [`write`](Self::write), except `Deadlock` and `Cancelled`, and
    ///
    /// - `WouldBlock` - a thread, this one or another, holds the lock.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{ErrorKind, Location, RwLock, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let limit = Shared::create_new(Location::anonymous(), || RwLock::new(10_u32))?;
    /// let reading = limit.read()?;
    /// assert_eq!(limit.try_write().unwrap_err().kind(), ErrorKind::WouldBlock);
    /// drop(reading);
    /// *limit.try_write()? = 20;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pthread_rwlock_trywrlock")]
    pub fn try_write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        told(self.0.try_lock(), RwLockWriteGuard)
    }
}
