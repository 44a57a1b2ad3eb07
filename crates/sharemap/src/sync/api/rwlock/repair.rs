//! Acquisition of a reader-writer lock after its writer died or poisoned it.

use std::time::Duration;

use super::{RwLockHandle, RwLockReadGuard, RwLockWriteGuard};
use crate::error::Result;
use crate::layout::{Element, Shareable};
use crate::sync::api::error::{LockError, OwnerDiedGuard, recovered, recovered_value};
use crate::sync::api::lock_target::LockTarget;

impl<T: Element + Shareable> RwLockHandle<T> {
    /// Acquires the lock for reading, after calling `repair` if a writer died or panicked while
    /// holding it.
    ///
    /// To repair the value, the call acquires the lock for writing like
    /// [`write_or_recover`](Self::write_or_recover) and releases it. `repair` is called again if
    /// another writer dies before the lock is acquired for reading. No error borrows the handle, so
    /// `?` can convert it into a `Box<dyn Error>`.
    ///
    /// # Errors
    /// The kinds of [`read`](Self::read) and [`write`](Self::write), except `OwnerDied`. In
    /// particular
    ///
    /// - `Deadlock` - this thread holds the lock for writing; or the value must be repaired, and this
    ///   thread holds the lock in any way.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, RwLock, Shared};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limits = Shared::create_new(Location::anonymous(), || RwLock::new([1_u32, 2]))?;
    /// assert_eq!(*limits.read_or_recover(|limits| *limits = [0; 2])?, [1, 2]);
    /// # Ok(()) }
    /// ```
    pub fn read_or_recover(
        &self,
        mut repair: impl FnMut(&mut T),
    ) -> Result<RwLockReadGuard<'_, T>> {
        self.read_or_recover_until(None, |guard| {
            repair(guard);
            Ok(())
        })
    }

    /// Acquires the lock like [`read_or_recover`](Self::read_or_recover), but blocks for at most
    /// `timeout` in total.
    ///
    /// # Errors
    /// As for [`read_or_recover`](Self::read_or_recover), and
    ///
    /// - `Timeout` - the lock was not acquired within `timeout`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use sharemap::{Location, RwLock, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let limit = Shared::create_new(Location::anonymous(), || RwLock::new(10_u32))?;
    /// # std::thread::scope(|scope| {
    /// #     let owner = scope.spawn(|| {
    /// #         let _guard = limit.write().unwrap();
    /// #         std::panic::resume_unwind(Box::new("while holding the lock"));
    /// #     });
    /// #     assert!(owner.join().is_err());
    /// # });
    /// // A writer panicked while it held the lock.
    /// let guard = limit.read_or_recover_timeout(Duration::from_secs(1), |limit| *limit = 0)?;
    /// assert_eq!(*guard, 0);
    /// # Ok(()) }
    /// ```
    pub fn read_or_recover_timeout(
        &self,
        timeout: Duration,
        mut repair: impl FnMut(&mut T),
    ) -> Result<RwLockReadGuard<'_, T>> {
        self.read_or_recover_until(self.0.place.after(timeout), |guard| {
            repair(guard);
            Ok(())
        })
    }

    /// Acquires the lock for writing, and calls `repair` if a writer died or panicked while holding it.
    ///
    /// `repair` gets the last value written back. The value that it leaves is accepted and
    /// written back with the returned guard. If `repair` panics, the next owner gets `OwnerDied`
    /// again. No error borrows the handle, so `?` can convert it into a `Box<dyn Error>`.
    ///
    /// # Errors
    /// The kinds of [`write`](Self::write), except `OwnerDied`.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, RwLock, Shared};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limit = Shared::create_new(Location::anonymous(), || RwLock::new(10_u32))?;
    /// let mut guard = limit.write_or_recover(|limit| *limit = 0)?;
    /// *guard += 1;
    /// assert_eq!(*guard, 11); // no writer died
    /// # Ok(()) }
    /// ```
    pub fn write_or_recover(&self, repair: impl FnOnce(&mut T)) -> Result<RwLockWriteGuard<'_, T>> {
        recovered_value(self.write(), repair)
    }

    /// Acquires the lock like [`write_or_recover`](Self::write_or_recover), but blocks for at most
    /// `timeout` while it is held.
    ///
    /// # Errors
    /// As for [`write_or_recover`](Self::write_or_recover), and
    ///
    /// - `Timeout` - the lock was not acquired within `timeout`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use sharemap::{Location, RwLock, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let limit = Shared::create_new(Location::anonymous(), || RwLock::new(10_u32))?;
    /// # std::thread::scope(|scope| {
    /// #     let owner = scope.spawn(|| {
    /// #         let _guard = limit.write().unwrap();
    /// #         std::panic::resume_unwind(Box::new("while holding the lock"));
    /// #     });
    /// #     assert!(owner.join().is_err());
    /// # });
    /// // A writer panicked while it held the lock.
    /// let second = Duration::from_secs(1);
    /// *limit.write_or_recover_timeout(second, |limit| *limit = 0)? += 1;
    /// assert_eq!(*limit.read()?, 1);
    /// # Ok(()) }
    /// ```
    pub fn write_or_recover_timeout(
        &self,
        timeout: Duration,
        repair: impl FnOnce(&mut T),
    ) -> Result<RwLockWriteGuard<'_, T>> {
        recovered_value(self.write_timeout(timeout), repair)
    }
}

impl<T: ?Sized + LockTarget> RwLockHandle<T> {
    /// Acquires the lock for reading. If a writer died, acquires it for writing first, calls `repair`, marks the
    /// result consistent, and releases it.
    pub(super) fn read_or_recover_until(
        &self,
        until: Option<Duration>,
        mut repair: impl FnMut(&mut RwLockWriteGuard<'_, T>) -> Result<()>,
    ) -> Result<RwLockReadGuard<'_, T>> {
        loop {
            match self.read_until(|| until) {
                Ok(guard) => return Ok(guard),
                Err(LockError::Failed(error)) => return Err(error),
                // The read guard is dropped here: `write` would fail with `Deadlock` beside it.
                Err(LockError::OwnerDied(_)) => {}
            }
            recovered(self.write_until(|| until), &mut repair)?.unlock()?;
        }
    }

    /// Acquires the lock for reading even if it is poisoned, to inspect the value.
    ///
    /// The call blocks like [`read`](Self::read). The guard is returned as an [`OwnerDiedGuard`] even if
    /// the lock is not poisoned. [`write_poisoned`](Self::write_poisoned) repairs the value.
    ///
    /// # Errors
    /// As for [`read`](Self::read), except `OwnerDied` and `Poisoned`.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{ErrorKind, Location, RwLock, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let limit = Shared::create_new(Location::anonymous(), || RwLock::new(7_u64))?;
    /// limit.write_poisoned()?.poison()?;
    /// assert_eq!(limit.read().unwrap_err().kind(), ErrorKind::Poisoned);
    /// assert_eq!(*limit.read_poisoned()?, 7);
    /// # Ok(()) }
    /// ```
    pub fn read_poisoned(&self) -> Result<OwnerDiedGuard<RwLockReadGuard<'_, T>>> {
        self.0.read_poisoned(None).map(OwnerDiedGuard)
    }

    /// Acquires the lock like [`read_poisoned`](Self::read_poisoned), but blocks for at most `timeout`
    /// while readers are not admitted.
    ///
    /// # Errors
    /// As for [`read_poisoned`](Self::read_poisoned), and
    ///
    /// - `Timeout` - the lock was not acquired within `timeout`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use sharemap::{Location, RwLock, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let limit = Shared::create_new(Location::anonymous(), || RwLock::new(10_u32))?;
    /// limit.write_poisoned()?.poison()?;
    /// assert_eq!(*limit.read_poisoned_timeout(Duration::from_secs(1))?, 10);
    /// # Ok(()) }
    /// ```
    pub fn read_poisoned_timeout(
        &self,
        timeout: Duration,
    ) -> Result<OwnerDiedGuard<RwLockReadGuard<'_, T>>> {
        self.0.read_poisoned(self.0.place.after(timeout)).map(OwnerDiedGuard)
    }

    /// Acquires the lock for writing even if it is poisoned, blocking the current thread until no
    /// other thread holds it.
    ///
    /// [`mark_consistent`](OwnerDiedGuard::mark_consistent) makes the value usable again. If a poisoned
    /// lock is released without it, the lock stays poisoned. The guard is returned as an
    /// [`OwnerDiedGuard`] even if the lock is not poisoned.
    ///
    /// # Errors
    /// As for [`write`](Self::write), except `OwnerDied` and `Poisoned`.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, RwLock, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let limits = Shared::create_new(Location::anonymous(), || RwLock::new(7_u64))?;
    /// limits.write_poisoned()?.poison()?;
    /// assert_eq!(*limits.read_poisoned()?, 7);
    /// *limits.write_poisoned()?.mark_consistent() = 0;
    /// assert_eq!(*limits.read()?, 0);
    /// # Ok(()) }
    /// ```
    pub fn write_poisoned(&self) -> Result<OwnerDiedGuard<RwLockWriteGuard<'_, T>>> {
        Ok(OwnerDiedGuard(RwLockWriteGuard(self.0.lock_poisoned(None)?)))
    }

    /// Acquires the lock like [`write_poisoned`](Self::write_poisoned), but blocks for at most `timeout`
    /// while it is held.
    ///
    /// # Errors
    /// As for [`write_poisoned`](Self::write_poisoned), and
    ///
    /// - `Timeout` - the lock was not acquired within `timeout`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use sharemap::{Location, RwLock, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let limit = Shared::create_new(Location::anonymous(), || RwLock::new(10_u32))?;
    /// limit.write_poisoned()?.poison()?;
    /// let guard = limit.write_poisoned_timeout(Duration::from_secs(1))?;
    /// *guard.mark_consistent() = 0; // and releases the lock
    /// assert_eq!(*limit.read()?, 0);
    /// # Ok(()) }
    /// ```
    pub fn write_poisoned_timeout(
        &self,
        timeout: Duration,
    ) -> Result<OwnerDiedGuard<RwLockWriteGuard<'_, T>>> {
        let until = self.0.place.after(timeout);
        Ok(OwnerDiedGuard(RwLockWriteGuard(self.0.lock_poisoned(until)?)))
    }
}
