//! Acquiring a reader-writer lock for reading with the right to upgrade, and the upgrade.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::time::Duration;

use super::{READ, RwLockHandle, RwLockUpgradableGuard};
use crate::error::{ErrorKind, Result};
use crate::layout::{Element, Shareable};
use crate::peer::Machine;
use crate::sync::algorithms::mutex::Acquisition;
use crate::sync::algorithms::rwlock::RawRwLock;
use crate::sync::api::error::{LockResult, acquired};
use crate::sync::api::shared_type::LockRef;

impl<T: Element + Shareable> RwLockHandle<T> {
    /// Acquires the lock for reading with the right to upgrade, blocking the current thread until no
    /// other thread holds it for writing or upgradably.
    ///
    /// The call does not wait for readers, and readers are admitted while the guard exists. A thread
    /// that may have to write after it has read the value should use this method in place of `read`:
    /// it can [upgrade](RwLockUpgradableGuard::upgrade) without a release in between.
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
    /// let limit = Shared::create_new(Location::anonymous(), || RwLock::new(10_u32))?;
    /// let guard = limit.upgradable()?;
    /// if *guard < 20 {
    ///     *guard.upgrade().map_err(|(_guard, error)| error)? = 20;
    /// }
    /// assert_eq!(*limit.read()?, 20);
    /// # Ok(()) }
    /// ```
    pub fn upgradable(&self) -> LockResult<RwLockUpgradableGuard<'_, T>> {
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
    /// # let limit = Shared::create_new(Location::anonymous(), || RwLock::new(10_u32))?;
    /// let guard = limit.upgradable_timeout(Duration::from_secs(1))?;
    /// assert_eq!(*guard, *limit.read()?); // readers are admitted
    /// # Ok(()) }
    /// ```
    pub fn upgradable_timeout(
        &self,
        timeout: Duration,
    ) -> LockResult<RwLockUpgradableGuard<'_, T>> {
        self.upgradable_until(self.place.after(timeout))
    }

    fn upgradable_until(
        &self,
        until: Option<Duration>,
    ) -> LockResult<RwLockUpgradableGuard<'_, T>> {
        self.deferred.take_and_enable(&self.span)?;
        let held = self.raw().upgradable(&self.place, until);
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
    /// # let limit = Shared::create_new(Location::anonymous(), || RwLock::new(10_u32))?;
    /// let guard = limit.upgradable()?;
    /// assert_eq!(limit.try_upgradable().unwrap_err().kind(), ErrorKind::WouldBlock);
    /// drop(guard);
    /// assert_eq!(*limit.try_upgradable()?, 10);
    /// # Ok(()) }
    /// ```
    pub fn try_upgradable(&self) -> LockResult<RwLockUpgradableGuard<'_, T>> {
        self.deferred.take_and_enable(&self.span)?;
        let attempt = self.raw().try_upgradable(self.place.session());
        self.upgrading(self.place.attempted(attempt, READ)?)
    }

    /// Returns the guard of a lock that was acquired upgradably.
    fn upgrading(&self, held: Acquisition) -> LockResult<RwLockUpgradableGuard<'_, T>> {
        let guard = ManuallyDrop::new(self.write_guard(held)?);
        let (slot, private, thread) = (guard.slot, guard.private, PhantomData);
        let guard = RwLockUpgradableGuard { lock: self, slot, private, thread };
        acquired(guard, held.died())
    }
}

/// Turns the upgradable lock `held` into a write lock, blocking until all readers have released it.
///
/// Fails with `Invalid` if `held` is a copy in a forked child: the lock belongs to the parent. If the
/// call fails in the owning process, the lock is upgradable as before.
pub(super) fn upgrade(
    place: &LockRef,
    raw: RawRwLock,
    held: Option<u32>,
    until: Option<Duration>,
) -> Result<()> {
    match held {
        Some(lane) if place.is_own(lane) => {
            raw.upgrade(place, lane, until).map_err(|error| place.with_object_path(error))
        }
        _ => Err(place
            .error(ErrorKind::Invalid, "upgrade the lock")
            .with_detail("the parent of this forked process holds it; acquire it in this process")),
    }
}
