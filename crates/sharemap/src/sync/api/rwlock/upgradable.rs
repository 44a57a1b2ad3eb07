//! Acquiring a reader-writer lock for reading with the right to upgrade, and the upgrade.

use std::time::Duration;

use super::{READ, RwLockHandle, RwLockUpgradableGuard, RwLockWriteGuard};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::algorithms::exclusive::Acquisition;
use crate::sync::algorithms::rwlock::RawRwLock;
use crate::sync::api::error::LockResult;
use crate::sync::api::lock::{OwnedGuard, told};
use crate::sync::api::lock_target::LockTarget;

impl<T: ?Sized + LockTarget> RwLockHandle<T> {
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
        self.upgradable_until(self.0.place.after(timeout))
    }

    fn upgradable_until(
        &self,
        until: Option<Duration>,
    ) -> LockResult<RwLockUpgradableGuard<'_, T>> {
        self.0.take_deferred()?;
        self.upgrading(self.0.raw().upgradable(&self.0.place, until))
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
        self.0.take_deferred()?;
        let attempt = self.0.raw().try_upgradable(self.0.session());
        self.upgrading(self.0.place.attempted(attempt, READ))
    }

    /// Returns the guard of a lock that was acquired upgradably.
    fn upgrading(&self, held: Result<Acquisition>) -> LockResult<RwLockUpgradableGuard<'_, T>> {
        told(self.0.guard(held), |mut owned| {
            owned.private.set_upgradable();
            RwLockUpgradableGuard(owned)
        })
    }
}

impl<'a, T: ?Sized + LockTarget> RwLockUpgradableGuard<'a, T> {
    /// Upgrades to writing, blocking the current thread until all readers have released the lock.
    ///
    /// New readers block from the start of the call. No other thread can write in between, so the
    /// value or the elements stay the same. A process that dies during the call counts as a dead writer.
    ///
    /// # Errors
    /// The guard, unchanged, and an error of kind
    ///
    /// - `Deadlock` - this thread also holds a read guard of this lock.
    /// - `Cancelled` - the call had to block after [`Shared::cancel`](crate::Shared::cancel).
    /// - `Invalid` - another process overwrote the lock's word, or the guard was copied into a forked
    ///   child.
    /// - `Fault` - the memory could not be accessed.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{ErrorKind, Location, RwLock, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let limit = Shared::create_new(Location::anonymous(), || RwLock::new(10_u32))?;
    /// let reading = limit.read()?;
    /// let (guard, error) = limit.upgradable()?.upgrade().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Deadlock); // `reading` belongs to this thread
    /// drop(reading);
    /// let Ok(mut guard) = guard.upgrade() else { panic!("no reader is left") };
    /// *guard = 20;
    /// # Ok(()) }
    /// ```
    pub fn upgrade(self) -> std::result::Result<RwLockWriteGuard<'a, T>, (Self, Error)> {
        self.upgrade_until(None)
    }

    /// Upgrades like [`upgrade`](Self::upgrade), but blocks for at most `timeout`.
    ///
    /// # Errors
    /// As for [`upgrade`](Self::upgrade), and
    ///
    /// - `Timeout` - a reader still held the lock after `timeout`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use sharemap::{ErrorKind, Location, RwLock, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let limit = Shared::create_new(Location::anonymous(), || RwLock::new(10_u32))?;
    /// let guard = limit.upgradable()?;
    /// match guard.upgrade_timeout(Duration::from_millis(100)) {
    ///     Ok(mut guard) => *guard += 1,
    ///     Err((guard, error)) if error.kind() == ErrorKind::Timeout => drop(guard), // gives up
    ///     Err((_guard, error)) => return Err(error),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn upgrade_timeout(
        self,
        timeout: Duration,
    ) -> std::result::Result<RwLockWriteGuard<'a, T>, (Self, Error)> {
        let until = self.0.lock.place.after(timeout);
        self.upgrade_until(until)
    }

    /// Upgrades, blocking until all readers have released the lock or the moment `until`; `None`: no
    /// limit.
    fn upgrade_until(
        mut self,
        until: Option<Duration>,
    ) -> std::result::Result<RwLockWriteGuard<'a, T>, (Self, Error)> {
        match self.0.upgrade(until) {
            Ok(()) => Ok(RwLockWriteGuard(self.0)),
            Err(error) => Err((self, error)),
        }
    }
}

impl<T: ?Sized + LockTarget> OwnedGuard<'_, RawRwLock, T> {
    /// Turns the upgradable lock into a write lock, blocking until all readers have released it.
    ///
    /// Fails with `Invalid` if the guard is a copy in a forked child: the lock belongs to the parent. If the
    /// call fails in the owning process, the lock is upgradable as before.
    fn upgrade(&mut self, until: Option<Duration>) -> Result<()> {
        let lock = self.lock;
        if !lock.session().is_mine(self.slot) {
            return Err(self.error(ErrorKind::Invalid, "upgrade the lock").with_detail(
                "the parent of this forked process holds it; acquire it in this process",
            ));
        }
        let upgraded = lock.raw().upgrade(&lock.place, self.slot.announced().lane, until);
        upgraded.map_err(|error| lock.named(error))?;
        self.private.set_upgraded();
        Ok(())
    }
}
