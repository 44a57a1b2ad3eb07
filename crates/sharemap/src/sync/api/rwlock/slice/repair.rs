//! Acquisition of a reader-writer lock over elements after an owner died, panicked or poisoned it.

use std::marker::PhantomData;
use std::time::Duration;

use super::{RwLockSliceHandle, RwLockSliceReadGuard, RwLockSliceWriteGuard};
use crate::error::Result;
use crate::layout::{Pod, Shareable};
use crate::sync::api::error::{LockError, OwnerDiedGuard, recovered};
use crate::sync::api::local_copy::PanicFlag;
use crate::view::ViewMut;

impl<T: Pod + Shareable> RwLockSliceHandle<T> {
    /// Acquires the lock for reading, after calling `repair` if a writer died or panicked while
    /// holding it.
    ///
    /// To repair the elements, the call acquires the lock for writing like
    /// [`write_or_recover`](Self::write_or_recover) and releases it. `repair` is called again if
    /// another writer dies before the lock is acquired for reading. No error borrows the handle, so
    /// `?` can convert it into a `Box<dyn Error>`.
    ///
    /// # Errors
    /// The error of `repair`, and the kinds of [`read`](Self::read) and [`write`](Self::write), except
    /// `OwnerDied`. In particular
    ///
    /// - `Deadlock` - this thread holds the lock for writing; or the elements must be repaired, and
    ///   this thread holds the lock in any way.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, RwLock, Shared};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100))?;
    /// let guard = table.read_or_recover(|table| table.fill(0))?;
    /// assert_eq!(guard.view().get(99)?, 0);
    /// # Ok(()) }
    /// ```
    pub fn read_or_recover(
        &self,
        repair: impl FnMut(ViewMut<'_, T>) -> Result<()>,
    ) -> Result<RwLockSliceReadGuard<'_, T>> {
        self.read_or_recover_until(None, repair)
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
    /// # let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100))?;
    /// let second = Duration::from_secs(1);
    /// let guard = table.read_or_recover_timeout(second, |table| table.fill(0))?;
    /// assert_eq!(guard.view().get(99)?, 0);
    /// # Ok(()) }
    /// ```
    pub fn read_or_recover_timeout(
        &self,
        timeout: Duration,
        repair: impl FnMut(ViewMut<'_, T>) -> Result<()>,
    ) -> Result<RwLockSliceReadGuard<'_, T>> {
        self.read_or_recover_until(self.place.after(timeout), repair)
    }

    fn read_or_recover_until(
        &self,
        until: Option<Duration>,
        mut repair: impl FnMut(ViewMut<'_, T>) -> Result<()>,
    ) -> Result<RwLockSliceReadGuard<'_, T>> {
        loop {
            match self.read_until(until) {
                Ok(guard) => return Ok(guard),
                Err(LockError::Failed(error)) => return Err(error),
                // The read guard is dropped here: `write` would fail with `Deadlock` beside it.
                Err(LockError::OwnerDied(_)) => {}
            }
            recovered(self.write_until(until), |guard| repair(guard.view()))?.unlock()?;
        }
    }

    /// Acquires the lock for reading even if it is poisoned, to inspect the elements.
    ///
    /// The call blocks like [`read`](Self::read). The guard is returned as an [`OwnerDiedGuard`] even if
    /// the lock is not poisoned. [`write_poisoned`](Self::write_poisoned) repairs the elements.
    ///
    /// # Errors
    /// As for [`read`](Self::read), except `OwnerDied` and `Poisoned`.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::{ErrorKind, Location, RwLock, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100))?;
    /// table.write_poisoned()?.poison()?;
    /// assert_eq!(table.read().unwrap_err().kind(), ErrorKind::Poisoned);
    /// assert_eq!(table.read_poisoned()?.view().get(99)?, 0);
    /// # Ok(()) }
    /// ```
    pub fn read_poisoned(&self) -> Result<OwnerDiedGuard<RwLockSliceReadGuard<'_, T>>> {
        self.read_poisoned_until(None)
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
    /// # let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100))?;
    /// table.write_poisoned()?.poison()?;
    /// let guard = table.read_poisoned_timeout(Duration::from_secs(1))?;
    /// assert_eq!(guard.view().get(99)?, 0);
    /// # Ok(()) }
    /// ```
    pub fn read_poisoned_timeout(
        &self,
        timeout: Duration,
    ) -> Result<OwnerDiedGuard<RwLockSliceReadGuard<'_, T>>> {
        self.read_poisoned_until(self.place.after(timeout))
    }

    fn read_poisoned_until(
        &self,
        until: Option<Duration>,
    ) -> Result<OwnerDiedGuard<RwLockSliceReadGuard<'_, T>>> {
        self.kept.take()?;
        let reading = self.raw.read_poisoned(&self.place, until);
        let reading = reading.map_err(|error| self.place.with_object_path(error))?;
        Ok(OwnerDiedGuard(RwLockSliceReadGuard { lock: self, reading, thread: PhantomData }))
    }

    /// Acquires the lock for writing, and lets the caller repair elements that a dead owner left.
    ///
    /// Blocks the current thread like [`write`](Self::write). If an owner died or panicked and no owner
    /// since has called `mark_consistent`, calls `repair` with the elements, which may be half-written,
    /// and marks the result consistent. If `repair` fails or panics, the next owner gets `OwnerDied`
    /// again. A poisoned lock is refused without a call of `repair`.
    ///
    /// No error borrows the handle, so `?` can convert it into a `Box<dyn Error>`.
    ///
    /// # Errors
    /// The error of `repair`, and the kinds of [`write`](Self::write), except `OwnerDied`.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, RwLock, Shared};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100))?;
    /// let guard = table.write_or_recover(|table| table.fill(0))?;
    /// guard.view().set(99, 5)?;
    /// # Ok(()) }
    /// ```
    pub fn write_or_recover(
        &self,
        repair: impl FnOnce(ViewMut<'_, T>) -> Result<()>,
    ) -> Result<RwLockSliceWriteGuard<'_, T>> {
        recovered(self.write(), |guard| repair(guard.view()))
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
    /// # let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100))?;
    /// let second = Duration::from_secs(1);
    /// let guard = table.write_or_recover_timeout(second, |table| table.fill(0))?;
    /// guard.view().set(99, 5)?;
    /// # Ok(()) }
    /// ```
    pub fn write_or_recover_timeout(
        &self,
        timeout: Duration,
        repair: impl FnOnce(ViewMut<'_, T>) -> Result<()>,
    ) -> Result<RwLockSliceWriteGuard<'_, T>> {
        recovered(self.write_timeout(timeout), |guard| repair(guard.view()))
    }

    /// Acquires the lock for writing even if it is poisoned, blocking the current thread until no
    /// other thread holds it.
    ///
    /// [`mark_consistent`](OwnerDiedGuard::mark_consistent) makes the elements usable again. If a
    /// poisoned lock is released without it, the lock stays poisoned. The guard is returned as an
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
    /// let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100))?;
    /// table.write_poisoned()?.poison()?;
    /// let poisoned = table.write_poisoned()?;
    /// poisoned.view().fill(0)?;
    /// drop(poisoned.mark_consistent());
    /// assert_eq!(table.read()?.view().get(99)?, 0);
    /// # Ok(()) }
    /// ```
    pub fn write_poisoned(&self) -> Result<OwnerDiedGuard<RwLockSliceWriteGuard<'_, T>>> {
        self.write_poisoned_until(None)
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
    /// # let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100))?;
    /// table.write_poisoned()?.poison()?;
    /// let guard = table.write_poisoned_timeout(Duration::from_secs(1))?;
    /// guard.view().fill(0)?;
    /// guard.mark_consistent().unlock()?;
    /// # Ok(()) }
    /// ```
    pub fn write_poisoned_timeout(
        &self,
        timeout: Duration,
    ) -> Result<OwnerDiedGuard<RwLockSliceWriteGuard<'_, T>>> {
        self.write_poisoned_until(self.place.after(timeout))
    }

    fn write_poisoned_until(
        &self,
        until: Option<Duration>,
    ) -> Result<OwnerDiedGuard<RwLockSliceWriteGuard<'_, T>>> {
        self.kept.take()?;
        let held = self.raw.write_poisoned(&self.place, until);
        let inner = self.holding(held.map_err(|error| self.place.with_object_path(error))?);
        Ok(OwnerDiedGuard(RwLockSliceWriteGuard { inner, panic_flag: PanicFlag::now() }))
    }
}
