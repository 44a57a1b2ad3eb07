//! The results of acquiring a lock: a guard, a guard after an owner's death, or an error.

use std::error::Error as StdError;
use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::error::{Error, ErrorKind, Result};
use crate::sync::algorithms::exclusive::ReleaseState;

/// The result of acquiring a lock. `G` is the guard.
///
/// # Examples
/// ```
/// use sharemap::{LockResult, MutexGuard, MutexHandle};
///
/// fn acquire(hits: &MutexHandle<u64>) -> LockResult<MutexGuard<'_, u64>> {
///     hits.lock()
/// }
/// ```
pub type LockResult<G> = std::result::Result<G, LockError<OwnerDiedGuard<G>>>;

/// The error returned when a lock cannot be acquired normally.
///
/// There will be no third variant. `?` converts a `LockError` into an [`Error`]. An `OwnerDied` becomes
/// an error of kind [`OwnerDied`](ErrorKind::OwnerDied): the lock is released, and the next owner gets
/// `OwnerDied`, too.
///
/// A `LockError` borrows the handle, so `?` cannot convert it into a `Box<dyn Error>`. Use
/// [`lock_or_recover`](crate::MutexHandle::lock_or_recover), which returns a plain [`Error`], or
/// `lock().map_err(sharemap::Error::from)?`.
///
/// # Examples
/// ```
/// use sharemap::{Location, LockError, Mutex, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// let hits = Shared::create_new(Location::anonymous(), || Mutex::new(0_u64))?;
/// let mut count = match hits.lock() {
///     Ok(guard) => guard,
///     Err(LockError::OwnerDied(guard)) => guard.mark_consistent(), // the last value will do
///     Err(LockError::Failed(error)) => return Err(error),
/// };
/// *count += 1;
/// # Ok(()) }
/// ```
#[doc(alias("PoisonError", "TryLockError"))]
pub enum LockError<R> {
    /// The lock was acquired, but an earlier owner died or panicked while holding it, and no owner since
    /// has called `mark_consistent`.
    ///
    /// A value is the last one written back. Elements in place may be half-written.
    #[doc(alias("EOWNERDEAD", "WAIT_ABANDONED"))]
    OwnerDied(R),
    /// The lock was not acquired, for the reason that the error's kind names.
    Failed(Error),
}

impl<R> LockError<R> {
    /// Returns [`ErrorKind::OwnerDied`], or the kind of the error.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let jobs = Shared::create_new(Location::anonymous(), || Mutex::new(0_u64))?;
    /// let guard = jobs.lock()?;
    /// assert_eq!(jobs.lock().unwrap_err().kind(), ErrorKind::Deadlock); // instead of blocking for ever
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::OwnerDied(_) => ErrorKind::OwnerDied,
            Self::Failed(error) => error.kind(),
        }
    }
}

impl<G: Reclaim> From<LockError<OwnerDiedGuard<G>>> for Error {
    fn from(error: LockError<OwnerDiedGuard<G>>) -> Self {
        match error {
            LockError::OwnerDied(dead) => {
                let error = dead.0.error(ErrorKind::OwnerDied, "use the lock");
                error.with_detail(
                    "use `lock_or_recover`, or match `LockError::OwnerDied`, check the value, and \
                     call `mark_consistent` or `poison`",
                )
            }
            LockError::Failed(error) => error,
        }
    }
}

/// Returns the guard of an acquired lock, as `OwnerDied` unless the lock was found consistent.
#[inline(always)]
pub(super) fn acquired<G>(guard: G, found: ReleaseState) -> LockResult<G> {
    match found {
        ReleaseState::Sound => Ok(guard),
        _ => Err(LockError::OwnerDied(OwnerDiedGuard(guard))),
    }
}

/// Returns the guard. If an owner died, calls `repair` and marks the value consistent first. If `repair`
/// fails or panics, the guard is dropped unmarked, and the next owner gets `OwnerDied` again.
#[inline]
pub(in crate::sync) fn recovered<G: Reclaim>(
    acquired: LockResult<G>,
    repair: impl FnOnce(&mut G) -> Result<()>,
) -> Result<G> {
    match acquired {
        Ok(guard) => Ok(guard),
        Err(LockError::OwnerDied(mut dead)) => repair(&mut dead.0).map(|()| dead.mark_consistent()),
        Err(LockError::Failed(error)) => Err(error),
    }
}

/// Like [`recovered`], for a `repair` of the value, which cannot fail.
#[inline]
pub(super) fn recovered_value<G: Reclaim + DerefMut>(
    acquired: LockResult<G>,
    repair: impl FnOnce(&mut G::Target),
) -> Result<G> {
    recovered(acquired, |guard| {
        repair(guard);
        Ok(())
    })
}

impl<R> From<Error> for LockError<R> {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<R> fmt::Debug for LockError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnerDied(_) => f.write_str("OwnerDied(..)"),
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
        }
    }
}

impl<R> fmt::Display for LockError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnerDied(_) => {
                f.write_str("an earlier owner of the lock died or panicked while holding it")
            }
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl<R> StdError for LockError<R> {}

/// An RAII guard of a lock that an earlier owner held when it died or panicked.
///
/// Check the value, then call [`mark_consistent`](Self::mark_consistent) to continue with the ordinary
/// guard, or [`poison`](Self::poison). Dropping this guard leaves the record of the death in the lock,
/// and the next owner gets [`LockError::OwnerDied`], too.
///
/// The guard of a value derefs to the value. The guard of a slice has a `view`. The calls that acquire
/// poisoned locks, such as [`lock_poisoned`](crate::MutexHandle::lock_poisoned), also return this guard.
/// Dropping it then leaves the lock as poisoned as it was.
///
/// # Examples
/// ```
/// use sharemap::{Location, LockError, Mutex, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// let hits = Shared::create_new(Location::anonymous(), || Mutex::new(7_u64))?;
/// let panicked = std::thread::scope(|scope| {
///     let owner = scope.spawn(|| {
///         *hits.lock().unwrap() = 8;
///         let mut guard = hits.lock().unwrap();
///         *guard = 9;
///         std::panic::resume_unwind(Box::new("while holding the mutex"));
///     });
///     owner.join()
/// });
/// assert!(panicked.is_err());
///
/// let Err(LockError::OwnerDied(guard)) = hits.lock() else { panic!("the owner died") };
/// assert_eq!(*guard, 8); // the last value that was written back
/// *guard.mark_consistent() += 1;
/// assert_eq!(*hits.lock()?, 9);
/// # Ok(()) }
/// ```
#[must_use = "dropping the guard releases the lock, and the next owner gets `OwnerDied` again"]
pub struct OwnerDiedGuard<G>(pub(in crate::sync) G);

/// A guard that an [`OwnerDiedGuard`] can hold.
#[doc(hidden)]
pub trait Reclaim {
    /// Makes the guard's release clear the record of the death and of poisoning.
    #[doc(hidden)]
    fn mark_consistent(&mut self);
    /// Releases the lock and leaves it poisoned.
    #[doc(hidden)]
    fn poison(self) -> Result<()>;
    /// Returns an error that names the lock.
    #[doc(hidden)]
    fn error(&self, kind: ErrorKind, operation: &'static str) -> Error;
}

impl<G: Reclaim> OwnerDiedGuard<G> {
    /// Marks the value consistent, and returns the ordinary guard, which can change the value.
    ///
    /// The mark takes effect when that guard is released. If this owner dies or panics before, the next
    /// owner gets [`LockError::OwnerDied`] again. On a read guard the call has no effect on the lock:
    /// only an owner that could write can mark the value consistent.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::{Location, LockError, Mutex, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let hits = Shared::create_new(Location::anonymous(), || Mutex::new(0_u64))?;
    /// match hits.lock() {
    ///     Ok(mut count) => *count += 1,
    ///     Err(LockError::OwnerDied(guard)) => *guard.mark_consistent() = 1, // repairs the value
    ///     Err(LockError::Failed(error)) => return Err(error),
    /// }
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pthread_mutex_consistent")]
    pub fn mark_consistent(mut self) -> G {
        self.0.mark_consistent();
        self.0
    }

    /// Poisons the lock and releases it.
    ///
    /// From then on, acquiring the lock fails with [`Poisoned`](ErrorKind::Poisoned), except by
    /// `lock_poisoned`, `read_poisoned` and `write_poisoned`.
    ///
    /// # Errors
    /// - `NotWritable` - this is a read guard. The lock is released, and not poisoned.
    /// - `Fault` - the memory could not be accessed.
    ///
    /// Other kinds report a failed system call while waking a waiter; the lock is then poisoned and
    /// released.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::{ErrorKind, Location, Mutex, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let hits = Shared::create_new(Location::anonymous(), || Mutex::new(0_u64))?;
    /// hits.lock_poisoned()?.poison()?;
    /// assert_eq!(hits.lock().unwrap_err().kind(), ErrorKind::Poisoned);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "ENOTRECOVERABLE")]
    pub fn poison(self) -> Result<()> {
        self.0.poison()
    }
}

impl<G: Reclaim + Deref> Deref for OwnerDiedGuard<G> {
    type Target = G::Target;

    /// Returns the value for inspection. To change it, call [`mark_consistent`](Self::mark_consistent)
    /// first.
    fn deref(&self) -> &G::Target {
        &self.0
    }
}

impl<G> fmt::Debug for OwnerDiedGuard<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnerDiedGuard").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_name_of_the_type() {
        assert_eq!(format!("{:?}", OwnerDiedGuard(())), "OwnerDiedGuard { .. }");
        let died: LockError<()> = LockError::OwnerDied(());
        assert_eq!(format!("{died:?}"), "OwnerDied(..)");
    }
}
