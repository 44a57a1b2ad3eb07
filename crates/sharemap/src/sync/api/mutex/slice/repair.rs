//! Acquiring a mutex over elements after its owner died or poisoned it.

use std::time::Duration;

use super::{MutexSliceGuard, MutexSliceHandle};
use crate::error::Result;
use crate::layout::{Pod, Shareable};
use crate::sync::api::error::{OwnerDiedGuard, recovered};
use crate::view::ViewMut;

impl<T: Pod + Shareable> MutexSliceHandle<T> {
    /// Acquires the mutex, and lets the caller repair elements that a dead owner left.
    ///
    /// Blocks the current thread like [`lock`](Self::lock). If an earlier owner died or panicked and no
    /// owner since has called `mark_consistent`, calls `repair` with the elements, which may be
    /// half-written, and marks the result consistent. If `repair` fails or panics, the next owner gets
    /// `OwnerDied` again.
    ///
    /// # Errors
    /// The kinds of [`lock`](Self::lock), except `OwnerDied`, and the error of `repair`.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, Mutex, Shared};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let samples = Shared::create_new(Location::anonymous(), || Mutex::<[f32]>::zeroed(1000))?;
    /// let guard = samples.lock_or_recover(|samples| samples.fill(0.0))?;
    /// guard.view().set(7, 1.5)?;
    /// # Ok(()) }
    /// ```
    pub fn lock_or_recover(
        &self,
        repair: impl FnOnce(ViewMut<'_, T>) -> Result<()>,
    ) -> Result<MutexSliceGuard<'_, T>> {
        recovered(self.lock(), |guard| repair(guard.view()))
    }

    /// Acquires the mutex like [`lock_or_recover`](Self::lock_or_recover), but blocks for at most
    /// `timeout` while it is held.
    ///
    /// # Errors
    /// As for `lock_or_recover`, and
    ///
    /// - `Timeout` - the mutex was not acquired within `timeout`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use sharemap::{Location, Mutex, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let samples = Shared::create_new(Location::anonymous(), || Mutex::<[u32]>::zeroed(1000))?;
    /// let second = Duration::from_secs(1);
    /// let guard = samples.lock_or_recover_timeout(second, |samples| samples.fill(0))?;
    /// guard.view().set(7, 5)?;
    /// # Ok(()) }
    /// ```
    pub fn lock_or_recover_timeout(
        &self,
        timeout: Duration,
        repair: impl FnOnce(ViewMut<'_, T>) -> Result<()>,
    ) -> Result<MutexSliceGuard<'_, T>> {
        recovered(self.lock_timeout(timeout), |guard| repair(guard.view()))
    }

    /// Acquires the mutex even if it is poisoned, blocking the current thread until it is available.
    ///
    /// Returns an [`OwnerDiedGuard`] in every case, also if no owner died.
    /// [`mark_consistent`](OwnerDiedGuard::mark_consistent) makes the mutex usable again. If the mutex is
    /// released without this call, a poisoned mutex stays poisoned, and the death of an owner stays
    /// recorded.
    ///
    /// # Errors
    /// As for [`lock`](Self::lock), except `OwnerDied` and `Poisoned`.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, Mutex, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let samples = Shared::create_new(Location::anonymous(), || Mutex::<[f32]>::zeroed(1000))?;
    /// samples.lock_poisoned()?.poison()?;
    /// let guard = samples.lock_poisoned()?;
    /// guard.view().fill(0.0)?;
    /// guard.mark_consistent().unlock()?;
    /// assert!(!samples.is_poisoned()?);
    /// # Ok(()) }
    /// ```
    pub fn lock_poisoned(&self) -> Result<OwnerDiedGuard<MutexSliceGuard<'_, T>>> {
        self.lock_poisoned_until(None)
    }

    /// Acquires the mutex like [`lock_poisoned`](Self::lock_poisoned), but blocks for at most `timeout`
    /// while it is held.
    ///
    /// Claiming a lane for the thread may take about 100 ms more.
    ///
    /// # Errors
    /// As for `lock_poisoned`, and
    ///
    /// - `Timeout` - the mutex was not acquired within `timeout`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use sharemap::{Location, Mutex, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let samples = Shared::create_new(Location::anonymous(), || Mutex::<[u32]>::zeroed(1000))?;
    /// samples.lock_poisoned()?.poison()?;
    /// let guard = samples.lock_poisoned_timeout(Duration::from_secs(1))?;
    /// guard.view().fill(0)?;
    /// guard.mark_consistent().unlock()?;
    /// # Ok(()) }
    /// ```
    pub fn lock_poisoned_timeout(
        &self,
        timeout: Duration,
    ) -> Result<OwnerDiedGuard<MutexSliceGuard<'_, T>>> {
        self.lock_poisoned_until(self.place.after(timeout))
    }

    fn lock_poisoned_until(
        &self,
        until: Option<Duration>,
    ) -> Result<OwnerDiedGuard<MutexSliceGuard<'_, T>>> {
        self.kept.take()?;
        let held = self.raw.lock_poisoned(&self.place, until);
        let held = held.map_err(|error| self.place.with_object_path(error))?;
        Ok(OwnerDiedGuard(self.guard_of(held)))
    }
}
