//! Acquiring a mutex after its owner died or poisoned it.

use std::time::Duration;

use super::{MutexGuard, MutexHandle};
use crate::error::Result;
use crate::layout::{Element, Shareable};
use crate::sync::api::error::{OwnerDiedGuard, recovered_value};
use crate::sync::api::lock_target::LockTarget;

impl<T: Element + Shareable> MutexHandle<T> {
    /// Acquires the mutex, and lets the caller repair a value that a dead owner left.
    ///
    /// Blocks the current thread like [`lock`](Self::lock). If an earlier owner died or panicked and no
    /// owner since has called `mark_consistent`, calls `repair` with the last value that was written
    /// back, and marks the result consistent. If `repair` panics, its changes are discarded and the
    /// next owner gets `OwnerDied` again.
    ///
    /// The error borrows nothing, so `?` can convert it into a `Box<dyn Error>`. The error of `lock`
    /// borrows the handle.
    ///
    /// # Errors
    /// The kinds of [`lock`](Self::lock), except `OwnerDied`.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, Mutex, Shared};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let hits = Shared::create_new(Location::anonymous(), || Mutex::new(0_u64))?;
    /// *hits.lock_or_recover(|_| ())? += 1; // after a death, the last value will do
    /// assert_eq!(*hits.lock_or_recover(|count| *count = 0)?, 1);
    /// # Ok(()) }
    /// ```
    pub fn lock_or_recover(&self, repair: impl FnOnce(&mut T)) -> Result<MutexGuard<'_, T>> {
        recovered_value(self.lock(), repair)
    }

    /// Acquires the mutex like [`lock_or_recover`](Self::lock_or_recover), but blocks for at most
    /// `timeout` while it is held.
    ///
    /// Claiming a lane for the thread may take about 100 ms more. The time that `repair` takes does not
    /// count.
    ///
    /// # Errors
    /// The kinds of [`lock_timeout`](Self::lock_timeout), except `OwnerDied`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use sharemap::{Location, Mutex, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let hits = Shared::create_new(Location::anonymous(), || Mutex::new(0_u64))?;
    /// # std::thread::scope(|scope| {
    /// #     let owner = scope.spawn(|| {
    /// #         let _guard = hits.lock().unwrap();
    /// #         std::panic::resume_unwind(Box::new("while holding the lock"));
    /// #     });
    /// #     assert!(owner.join().is_err());
    /// # });
    /// // An owner panicked while it held the mutex.
    /// let count = hits.lock_or_recover_timeout(Duration::from_secs(1), |count| *count = 100)?;
    /// assert_eq!(*count, 100);
    /// # Ok(()) }
    /// ```
    pub fn lock_or_recover_timeout(
        &self,
        timeout: Duration,
        repair: impl FnOnce(&mut T),
    ) -> Result<MutexGuard<'_, T>> {
        recovered_value(self.lock_timeout(timeout), repair)
    }
}

impl<T: ?Sized + LockTarget> MutexHandle<T> {
    /// Acquires the mutex even if it is poisoned, blocking the current thread until it is available.
    ///
    /// Returns an [`OwnerDiedGuard`] in every case, also if no owner died.
    /// [`mark_consistent`](OwnerDiedGuard::mark_consistent) makes the mutex usable again, and its guard
    /// can change the value. If the mutex is released without this call, a poisoned mutex stays
    /// poisoned, and the death of an owner stays recorded.
    ///
    /// # Errors
    /// The kinds of [`lock`](Self::lock), except `OwnerDied` and `Poisoned`. `Invalid` is returned for
    /// a poisoned mutex, too: an invalid value cannot be repaired through the mutex.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, Mutex, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let hits = Shared::create_new(Location::anonymous(), || Mutex::new(7_u64))?;
    /// hits.lock_poisoned()?.poison()?;
    /// assert!(hits.is_poisoned()?);
    /// *hits.lock_poisoned()?.mark_consistent() = 0;
    /// assert_eq!(*hits.lock()?, 0);
    /// # Ok(()) }
    /// ```
    pub fn lock_poisoned(&self) -> Result<OwnerDiedGuard<MutexGuard<'_, T>>> {
        Ok(OwnerDiedGuard(MutexGuard(self.0.lock_poisoned(None)?)))
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
    /// # let hits = Shared::create_new(Location::anonymous(), || Mutex::new(0_u64))?;
    /// hits.lock_poisoned()?.poison()?;
    /// let guard = hits.lock_poisoned_timeout(Duration::from_secs(1))?;
    /// *guard.mark_consistent() = 0; // and releases the mutex
    /// assert!(!hits.is_poisoned()?);
    /// # Ok(()) }
    /// ```
    pub fn lock_poisoned_timeout(
        &self,
        timeout: Duration,
    ) -> Result<OwnerDiedGuard<MutexGuard<'_, T>>> {
        let until = self.0.place.after(timeout);
        Ok(OwnerDiedGuard(MutexGuard(self.0.lock_poisoned(until)?)))
    }
}
