//! Acquiring a reader-writer lock over elements after its writer died or poisoned it.

use std::marker::PhantomData;
use std::time::Duration;

use super::{RwLockSliceHandle, RwLockSliceReadGuard, RwLockSliceWriteGuard};
use crate::error::Result;
use crate::layout::{Pod, Shareable};
use crate::sync::api::error::{LockError, OwnerDiedGuard, recovered};
use crate::sync::api::private::Calm;
use crate::view::ViewMut;

impl<T: Pod + Shareable> RwLockSliceHandle<T> {
    /// Acquires the lock for reading, and lets the caller repair elements that a dead writer left.
    ///
    /// If a writer died or panicked and no writer since has accepted the elements, this call first
    /// acquires the lock by [`write_or_recover`](Self::write_or_recover) with `repair`, and
    /// releases it. It calls `repair` again if another writer dies before the lock is acquired for
    /// reading.
    ///
    /// # Errors
    /// The kinds of [`read`](Self::read) and [`write`](Self::write), except `OwnerDied`, and the error of
    /// `repair`. `Deadlock` also if a repair is needed and this thread already holds the lock for
    /// reading.
    pub fn read_or_recover(
        &self,
        repair: impl FnMut(ViewMut<'_, T>) -> Result<()>,
    ) -> Result<RwLockSliceReadGuard<'_, T>> {
        self.read_or_recover_until(None, repair)
    }

    /// Acquires the lock like [`read_or_recover`](Self::read_or_recover), but blocks for at most
    /// `timeout` in all while it is held.
    ///
    /// # Errors
    /// As for `read_or_recover`, and
    ///
    /// - `Timeout` - the lock was not acquired within `timeout`.
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
                // Dropped first: with a read guard, this thread cannot write.
                Err(LockError::OwnerDied(_)) => {}
            }
            recovered(self.write_until(until), |guard| repair(guard.view()))?.unlock()?;
        }
    }

    /// Acquires the lock for reading even if it is poisoned, to inspect the elements.
    ///
    /// # Errors
    /// As for [`read`](Self::read), except `OwnerDied` and `Poisoned`.
    pub fn read_poisoned(&self) -> Result<OwnerDiedGuard<RwLockSliceReadGuard<'_, T>>> {
        self.read_poisoned_until(None)
    }

    /// Acquires the lock like [`read_poisoned`](Self::read_poisoned), but blocks for at most `timeout`
    /// while it is held.
    ///
    /// # Errors
    /// As for `read_poisoned`, and
    ///
    /// - `Timeout` - the lock was not acquired within `timeout`.
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

    /// Acquires the lock for writing, and lets the caller repair elements that a dead writer left, as
    /// [`MutexSliceHandle::lock_or_recover`](crate::MutexSliceHandle::lock_or_recover) does.
    ///
    /// # Errors
    /// The kinds of [`write`](Self::write), except `OwnerDied`, and the error of `repair`.
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
    /// As for `write_or_recover`, and
    ///
    /// - `Timeout` - the lock was not acquired within `timeout`.
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
    /// [`mark_consistent`](OwnerDiedGuard::mark_consistent) makes the elements usable again. If the lock is released without
    /// it, the lock stays poisoned.
    ///
    /// # Errors
    /// As for [`write`](Self::write), except `OwnerDied` and `Poisoned`.
    pub fn write_poisoned(&self) -> Result<OwnerDiedGuard<RwLockSliceWriteGuard<'_, T>>> {
        self.write_poisoned_until(None)
    }

    /// Acquires the lock like [`write_poisoned`](Self::write_poisoned), but blocks for at most `timeout`
    /// while it is held.
    ///
    /// # Errors
    /// As for `write_poisoned`, and
    ///
    /// - `Timeout` - the lock was not acquired within `timeout`.
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
        Ok(OwnerDiedGuard(RwLockSliceWriteGuard { inner, calm: Calm::now() }))
    }
}
