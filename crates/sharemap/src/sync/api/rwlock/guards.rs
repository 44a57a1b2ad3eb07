//! The guards of `RwLock<T>`, each with a local copy of the value.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::RwLockHandle;
use super::upgradable::upgrade;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Element, Shareable};
use crate::peer::Machine;
use crate::sync::algorithms::mutex::{Acquisition, ReleaseState};
use crate::sync::algorithms::rwlock::Reading;
use crate::sync::api::error::{Reclaim, reclaim_inner};
use crate::sync::api::private::{Calm, Private};

/// An RAII guard that holds a reader-writer lock for reading, with a local copy of its value.
///
/// Dropping the guard releases the lock. While the guard exists, no thread can change the shared
/// value. A forgotten guard holds the lock until its process ends. In a forked child, a copy of the
/// guard holds nothing, and dropping it has no effect.
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
pub struct RwLockReadGuard<'a, T: Element + Shareable> {
    pub(super) lock: &'a RwLockHandle<T>,
    pub(super) reading: Reading,
    pub(super) private: Private<T>,
    /// Keeps the guard on its thread, which the lock belongs to.
    pub(super) thread: PhantomData<*const ()>,
}

impl<T: Element + Shareable> Reclaim for RwLockReadGuard<'_, T> {
    /// Does nothing: readers may share the lock, so none of them may change its flags.
    fn mark_consistent(&mut self) {}

    fn poison(self) -> Result<()> {
        let error = self.lock.place.error(ErrorKind::NotWritable, "poison the lock");
        Err(error.with_detail("a reader cannot poison the value; acquire the lock for writing"))
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

impl<T: Element + Shareable> Drop for RwLockReadGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        let session = self.lock.place.session();
        // In a forked child, the lane is not this process's: the parent still holds the lock.
        if session.is_own(self.reading.0.lane()) {
            if let Err(error) = self.lock.raw.unlock_read(session, self.reading) {
                self.lock.kept.keep(self.lock.place.with_object_path(error));
            }
        }
    }
}

/// The part that write and upgradable guards share: the lock's word, and a local copy of the value.
pub(super) struct Holding<'a, T: Element + Shareable> {
    pub(super) lock: &'a RwLockHandle<T>,
    /// `None` once the lock has been released.
    pub(super) held: Option<Acquisition>,
    pub(super) private: Private<T>,
    pub(super) calm: Calm,
    pub(super) way: Way,
    /// Keeps the guard on its thread, which the lock belongs to.
    pub(super) thread: PhantomData<*const ()>,
}

/// What the owner of the word may do with the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Read,
    Write,
}

impl<T: Element + Shareable> Holding<'_, T> {
    /// Writes a changed value back and releases the lock, once.
    #[inline(always)]
    fn release(&mut self) -> Result<()> {
        let Some(held) = self.held.take() else { return Ok(()) };
        let (place, raw) = (&self.lock.place, self.lock.raw);
        // In a forked child, the lane is not this process's: the parent still holds the lock.
        if !place.session().is_own(held.lane()) {
            return Ok(());
        }
        let mut written = Ok(());
        let mut leave = self.private.leave();
        if self.way == Way::Read || leave == ReleaseState::Poisoned {
            // A reader has changed nothing; a poisoned value that was not accepted is discarded.
        } else if self.calm.is_over() {
            // A panic may have interrupted a change, so the copy is discarded, as after a death.
            leave = ReleaseState::Died;
        } else {
            // Before the word is released, or the next owner could read the old copy. Death before
            // the release: the word still names this lane, and recovery sets `DIED`.
            written = self.private.write(place.session(), raw.value());
        }
        // Released even if the write failed: the old value is then still the current one.
        let released = raw.unlock(place.session(), held, leave);
        written.and(released).map_err(|error| place.with_object_path(error))
    }

    /// Sets the state that the lock is released in.
    fn leave(&mut self, leave: ReleaseState) {
        self.private.set_leave(leave);
    }
}

impl<T: Element + Shareable> Drop for Holding<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Err(error) = self.release() {
            self.lock.kept.keep(error);
        }
    }
}

/// An RAII guard that holds a reader-writer lock for writing, with a local copy of its value.
///
/// Dropping the guard writes a changed copy back in one step and releases the lock. During a panic
/// that began while the guard existed, the copy is discarded and the next owner gets
/// [`OwnerDied`](crate::LockError::OwnerDied). If the process dies, the next owner gets `OwnerDied`
/// and the last value written back.
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
pub struct RwLockWriteGuard<'a, T: Element + Shareable> {
    pub(super) inner: Holding<'a, T>,
}

impl<T: Element + Shareable> RwLockWriteGuard<'_, T> {
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
    pub fn unlock(mut self) -> Result<()> {
        self.inner.release()
    }
}

impl<T: Element + Shareable> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner.private.value
    }
}

impl<T: Element + Shareable> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.inner.private.change()
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
pub struct RwLockUpgradableGuard<'a, T: Element + Shareable> {
    pub(super) inner: Holding<'a, T>,
}

impl<'a, T: Element + Shareable> RwLockUpgradableGuard<'a, T> {
    /// Upgrades to writing, blocking the current thread until all readers have released the lock.
    ///
    /// New readers block from the start of the call. No other thread can write in between, so the
    /// value stays the same. A process that dies during the call counts as a dead writer.
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
        let until = self.inner.lock.place.after(timeout);
        self.upgrade_until(until)
    }

    /// Upgrades, blocking until all readers have released the lock or the moment `until`; `None`: no
    /// limit.
    fn upgrade_until(
        self,
        until: Option<Duration>,
    ) -> std::result::Result<RwLockWriteGuard<'a, T>, (Self, Error)> {
        let Holding { lock, held, .. } = &self.inner;
        match upgrade(&lock.place, lock.raw, held.as_ref(), until) {
            Ok(()) => {
                let mut inner = self.inner;
                inner.way = Way::Write;
                Ok(RwLockWriteGuard { inner })
            }
            Err(error) => Err((self, error)),
        }
    }
}

impl<T: Element + Shareable> Deref for RwLockUpgradableGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner.private.value
    }
}

macro_rules! shown {
    ($($guard:ident)*) => { $(
        impl<T: Element + Shareable + fmt::Debug> fmt::Debug for $guard<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }
    )* };
}

reclaim_inner!(Element: RwLockWriteGuard RwLockUpgradableGuard);
shown!(RwLockReadGuard RwLockWriteGuard RwLockUpgradableGuard);
