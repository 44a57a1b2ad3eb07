//! Acquiring a reader-writer lock over elements for reading with the right to upgrade.

use std::time::Duration;

use super::{RwLockSliceHandle, RwLockSliceUpgradableGuard};
use crate::layout::{Pod, Shareable};
use crate::sync::algorithms::mutex::Acquisition;
use crate::sync::api::error::{LockResult, acquired};
use crate::sync::api::rwlock::READ;

impl<T: Pod + Shareable> RwLockSliceHandle<T> {
    /// Acquires the lock for reading with the right to upgrade, blocking the current thread until no
    /// other thread holds it for writing or upgradably.
    ///
    /// The call does not wait for readers, and readers are admitted while the guard exists. A thread
    /// that may have to write after it has read the elements should use this method in place of
    /// `read`: it can [upgrade](RwLockSliceUpgradableGuard::upgrade) without a release in between.
    ///
    /// # Errors
    /// As for [`read`](Self::read), except that
    ///
    /// - `Deadlock` - this thread already holds the lock for writing or upgradably; or it reads, and
    ///   another thread waits for that read in order to write.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, RwLock, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100))?;
    /// let guard = table.upgradable()?;
    /// if guard.view().get(99)? == 0 {
    ///     guard.upgrade().map_err(|(_guard, error)| error)?.view().set(99, 5)?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn upgradable(&self) -> LockResult<RwLockSliceUpgradableGuard<'_, T>> {
        self.upgradable_until(None)
    }

    /// Acquires the lock like [`upgradable`](Self::upgradable), but blocks for at most `timeout` while
    /// another thread holds it for writing or upgradably.
    ///
    /// Claiming a lane is not bounded by `timeout`.
    ///
    /// # Errors
    /// As for [`upgradable`](Self::upgradable), and
    ///
    /// - `Timeout` - the lock was not acquired within `timeout`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use sharemap::{Location, RwLock, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100))?;
    /// let guard = table.upgradable_timeout(Duration::from_secs(1))?;
    /// assert_eq!(guard.view().get(99)?, table.read()?.view().get(99)?); // readers are admitted
    /// # Ok(()) }
    /// ```
    pub fn upgradable_timeout(
        &self,
        timeout: Duration,
    ) -> LockResult<RwLockSliceUpgradableGuard<'_, T>> {
        self.upgradable_until(self.place.after(timeout))
    }

    fn upgradable_until(
        &self,
        until: Option<Duration>,
    ) -> LockResult<RwLockSliceUpgradableGuard<'_, T>> {
        self.kept.take()?;
        let held = self.raw.upgradable(&self.place, until);
        self.upgrading(held.map_err(|error| self.place.with_object_path(error))?)
    }

    /// Attempts to acquire the lock for reading with the right to upgrade, without waiting for its
    /// holder.
    ///
    /// A dead holder is detected, though not necessarily by the first call.
    ///
    /// # Errors
    /// As for [`upgradable`](Self::upgradable), except `Deadlock` and `Cancelled`, and
    ///
    /// - `WouldBlock` - a thread, this one or another, holds the lock for writing or upgradably.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::{ErrorKind, Location, RwLock, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100))?;
    /// let guard = table.upgradable()?;
    /// assert_eq!(table.try_upgradable().unwrap_err().kind(), ErrorKind::WouldBlock);
    /// drop(guard);
    /// assert_eq!(table.try_upgradable()?.view().get(99)?, 0);
    /// # Ok(()) }
    /// ```
    pub fn try_upgradable(&self) -> LockResult<RwLockSliceUpgradableGuard<'_, T>> {
        self.kept.take()?;
        let attempt = self.raw.try_upgradable(self.place.session());
        self.upgrading(self.place.attempted(attempt, READ)?)
    }

    /// Returns the guard of a lock that was acquired upgradably.
    fn upgrading(&self, held: Acquisition) -> LockResult<RwLockSliceUpgradableGuard<'_, T>> {
        let guard = RwLockSliceUpgradableGuard { inner: self.holding(held) };
        acquired(guard, held.died())
    }
}
