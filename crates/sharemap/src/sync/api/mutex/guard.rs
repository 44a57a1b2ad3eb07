//! `MutexGuard`: a local copy of the value, or a view of the elements, and the release.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Element, Shareable};
use crate::sync::algorithms::mutex::RawMutex;
use crate::sync::api::error::Reclaim;
use crate::sync::api::lock::{OwnedGuard, reclaim_owned};
use crate::sync::api::lock_target::LockTarget;

/// An RAII guard that holds a mutex and a local copy of its value.
///
/// Dropping the guard writes a changed copy back in one step and releases the mutex. During a panic
/// that began while the guard existed, the copy is discarded and the next owner gets `OwnerDied`.
/// [`unlock`](Self::unlock) returns the errors that dropping defers to the handle's next call.
///
/// The guard of a `Mutex<[T]>` has a view of the elements instead; see
/// [`MutexSliceGuard`](crate::MutexSliceGuard).
///
/// A forgotten guard holds the mutex until its process ends, as does a guard that still exists when
/// its thread ends. In a forked child, the copy of a guard holds nothing, and dropping it has no
/// effect.
///
/// # Examples
/// ```
/// # use sharemap::{Location, Mutex, Shared};
/// # fn main() -> sharemap::Result<()> {
/// # let hits = Shared::create_new(Location::anonymous(), || Mutex::new([0_u64; 2]))?;
/// let mut guard = hits.lock()?;
/// guard[0] += 1; // changes the local copy
/// drop(guard); // writes it back, and releases the mutex
/// assert_eq!(*hits.lock()?, [1, 0]);
/// # Ok(()) }
/// ```
#[must_use = "the mutex is released at once if the guard is not kept"]
pub struct MutexGuard<'a, T: ?Sized + LockTarget>(
    pub(in crate::sync::api) OwnedGuard<'a, RawMutex, T>,
);

impl<T: ?Sized + LockTarget> MutexGuard<'_, T> {
    /// Writes the value back and releases the mutex, as dropping the guard does, and returns the
    /// result. Elements are in place already.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed. The stored value is then the previous one. The
    ///   mutex is released nevertheless, unless its word could not be written: then the next owner
    ///   acquires it after this process has ended.
    ///
    /// Other kinds report a failed system call while waking a waiter; the mutex is then released.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::{Location, Mutex, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let hits = Shared::create_new(Location::anonymous(), || Mutex::new(0_u64))?;
    /// let mut count = hits.lock()?;
    /// *count += 1;
    /// count.unlock()?;
    /// # Ok(()) }
    /// ```
    #[doc(alias("pthread_mutex_unlock", "ReleaseMutex"))]
    pub fn unlock(self) -> Result<()> {
        self.0.unlock()
    }
}

reclaim_owned!(MutexGuard);

impl<T: Element + Shareable> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0.private.value
    }
}

impl<T: Element + Shareable> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.0.private.change()
    }
}

impl<T: Element + Shareable + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.private.value.fmt(f)
    }
}
