//! The guards of a reader-writer lock, each with a local copy of the value, or a view of the elements.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Element, Shareable};
use crate::peer::AnnouncementRef;
use crate::sync::algorithms::rwlock::{RawRwLock, Reading};
use crate::sync::api::error::Reclaim;
use crate::sync::api::local_copy::LocalCopy;
use crate::sync::api::lock::{Lock, OwnedGuard, raw_at, reclaim_owned};
use crate::sync::api::lock_target::LockTarget;
use crate::sync::core::unlock;

/// An RAII guard that holds a reader-writer lock for reading, with a local copy of its value.
///
/// Dropping the guard releases the lock. While the guard exists, no thread can change the shared
/// value. A forgotten guard holds the lock until its process ends. In a forked child, a copy of the
/// guard holds nothing, and dropping it has no effect.
///
/// The guard of an `RwLock<[T]>` has a [`view`](RwLockReadGuard::view) of the elements instead of a
/// copy.
///
/// Only a writer or an upgradable holder can accept the value of a dead owner. For a read guard,
/// [`mark_consistent`](crate::OwnerDiedGuard::mark_consistent) leaves `OwnerDied` in place, and
/// [`poison`](crate::OwnerDiedGuard::poison) fails with [`NotWritable`](ErrorKind::NotWritable).
///
/// # Examples
/// ```
/// use sharemap::{Location, RwLock, RwLockReadGuard, Shared};
///
/// fn total(rates: &RwLockReadGuard<'_, [u32; 3]>) -> u32 {
///     rates.iter().sum()
/// }
///
/// # fn main() -> sharemap::Result<()> {
/// let rates = Shared::create_new(Location::anonymous(), || RwLock::new([1_u32, 2, 3]))?;
/// assert_eq!(total(&rates.read()?), 6);
/// # Ok(()) }
/// ```
#[must_use = "the lock is released at once if the guard is not kept"]
pub struct RwLockReadGuard<'a, T: ?Sized + LockTarget> {
    pub(super) lock: &'a Lock<RawRwLock, T>,
    /// The slot that announces the lock.
    pub(super) slot: AnnouncementRef<'a>,
    pub(super) private: LocalCopy<T::Copied>,
    /// Keeps the guard on its thread, which the lock belongs to.
    pub(super) thread: PhantomData<*const ()>,
}

impl<T: ?Sized + LockTarget> RwLockReadGuard<'_, T> {
    /// Releases the lock where that is no more than to withdraw the announcement. If anything is unusual,
    /// [`Lock::drop_reading`] does it again.
    #[inline(always)]
    fn release_at_once(&self) -> bool {
        let span = self.lock.span.checked();
        if !self.slot.releases_plainly() {
            return false;
        }
        let begun = raw_at::<RawRwLock, T>(span.at()).begin_leaving(&span, self.slot);
        unlock::withdraw_at_once(&span, self.slot, begun)
    }
}

impl<T: ?Sized + LockTarget> Lock<RawRwLock, T> {
    /// Releases a read lock. An error is deferred to the handle's next call.
    #[cold]
    #[inline(never)]
    fn drop_reading(&self, slot: AnnouncementRef<'_>) {
        // In a forked child, the lane is not this process's: the parent still holds the lock.
        if self.session().is_mine(slot) {
            let reading = Reading::at_once(slot.announced());
            if let Err(error) = self.raw().unlock_read(self.session(), reading) {
                self.defer(self.named(error));
            }
        }
    }
}

impl<T: ?Sized + LockTarget> Drop for RwLockReadGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.release_at_once() {
            self.lock.drop_reading(self.slot);
        }
    }
}

impl<T: ?Sized + LockTarget> Reclaim for RwLockReadGuard<'_, T> {
    /// Does nothing: readers may share the lock, so none of them may change its flags.
    fn mark_consistent(&mut self) {}

    fn poison(self) -> Result<()> {
        let error = self.lock.place.error(ErrorKind::NotWritable, "poison the lock");
        Err(error.with_detail("a reader cannot poison the lock; acquire it for writing"))
    }

    fn error(&self, kind: ErrorKind, operation: &'static str) -> Error {
        self.lock.place.error(kind, operation)
    }
}

impl<T: Element + Shareable> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.private.value
    }
}

/// An RAII guard that holds a reader-writer lock for writing, with a local copy of its value.
///
/// Dropping the guard writes a changed copy back in one step and releases the lock. During a panic
/// that began while the guard existed, the copy is discarded and the next owner gets
/// [`OwnerDied`](crate::LockError::OwnerDied). If the process dies, the next owner gets `OwnerDied`
/// and the last value written back.
///
/// The guard of an `RwLock<[T]>` has a view of the elements instead; see
/// [`RwLockSliceWriteGuard`](crate::RwLockSliceWriteGuard).
///
/// A forgotten guard holds the lock until its process ends. In a forked child, a copy of the guard
/// holds nothing, and dropping it has no effect.
/// [`unlock`](Self::unlock) returns the errors that dropping defers to the handle's next call.
///
/// # Examples
/// ```
/// use sharemap::{Location, RwLock, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// let rates = Shared::create_new(Location::anonymous(), || RwLock::new([1_u32, 2, 3]))?;
/// let mut guard = rates.write()?;
/// guard.reverse(); // changes the local copy
/// guard.unlock()?; // writes it back
/// assert_eq!(*rates.read()?, [3, 2, 1]);
/// # Ok(()) }
/// ```
#[must_use = "the lock is released at once if the guard is not kept"]
pub struct RwLockWriteGuard<'a, T: ?Sized + LockTarget>(pub(super) OwnedGuard<'a, RawRwLock, T>);

impl<T: ?Sized + LockTarget> RwLockWriteGuard<'_, T> {
    /// Writes the value back and releases the lock, as dropping the guard does, and returns the error
    /// if that fails.
    ///
    /// If the value cannot be written, the lock is released with the last value written
    /// back. If the lock's word cannot be written, the lock stays held until this process ends.
    ///
    /// # Errors
    /// - `Fault` - the value or the lock's word could not be written.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let table = Shared::create_new(Location::anonymous(), || RwLock::new(0_u64))?;
    /// let mut guard = table.write()?;
    /// *guard = 7;
    /// guard.unlock()?; // a failed write is an error here, not at the next call
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pthread_rwlock_unlock")]
    pub fn unlock(self) -> Result<()> {
        self.0.unlock()
    }
}

impl<T: Element + Shareable> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0.private.value
    }
}

impl<T: Element + Shareable> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.0.private.change()
    }
}

/// An RAII guard that holds a reader-writer lock for reading and may be upgraded to writing.
///
/// Other readers are admitted, but no other thread can hold the lock for writing or upgradably.
/// [`upgrade`](Self::upgrade) turns the guard into a write guard. Dropping it releases the lock.
///
/// The guard cannot change the value. Therefore the lock is released without `OwnerDied` if the
/// thread panics or the process dies. A forgotten guard holds the lock until its process ends. In a
/// forked child, a copy of the guard holds nothing, and dropping it has no effect.
///
/// # Examples
/// ```
/// use sharemap::{Location, RwLock, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// let limit = Shared::create_new(Location::anonymous(), || RwLock::new(10_u32))?;
/// let guard = limit.upgradable()?;
/// assert_eq!(*guard, *limit.read()?); // readers are admitted
/// assert!(limit.try_write().is_err());
/// # Ok(()) }
/// ```
#[must_use = "the lock is released at once if the guard is not kept"]
pub struct RwLockUpgradableGuard<'a, T: ?Sized + LockTarget>(
    pub(super) OwnedGuard<'a, RawRwLock, T>,
);

impl<T: Element + Shareable> Deref for RwLockUpgradableGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0.private.value
    }
}

reclaim_owned!(RwLockWriteGuard RwLockUpgradableGuard);

macro_rules! shown {
    ($($guard:ident)*) => { $(
        impl<T: Element + Shareable + fmt::Debug> fmt::Debug for $guard<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }
    )* };
}

shown!(RwLockReadGuard RwLockWriteGuard RwLockUpgradableGuard);
