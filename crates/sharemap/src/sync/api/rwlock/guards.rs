//! The guards of `RwLock<T>`, each with a local copy of the value.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::RwLockHandle;
use super::handle::raw_at;
use super::upgradable::upgrade;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Element, Shareable};
use crate::peer::AnnouncementRef;
use crate::sync::algorithms::mutex::{Acquisition, ReleaseState};
use crate::sync::algorithms::rwlock::Reading;
use crate::sync::api::error::Reclaim;
use crate::sync::api::local_copy::LocalCopy;
use crate::sync::core::unlock;

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
    /// The slot that announces the lock.
    pub(super) slot: AnnouncementRef<'a>,
    pub(super) private: LocalCopy<T>,
    /// Keeps the guard on its thread, which the lock belongs to.
    pub(super) thread: PhantomData<*const ()>,
}

impl<T: Element + Shareable> RwLockReadGuard<'_, T> {
    /// Releases the lock where that is no more than to withdraw the announcement. If anything is unusual,
    /// [`RwLockHandle::drop_reading`] does it again.
    #[inline(always)]
    fn release_at_once(&self) -> bool {
        let span = self.lock.span.checked();
        if !self.slot.releases_plainly() {
            return false;
        }
        let begun = raw_at::<T>(span.at()).begin_leaving(&span, self.slot);
        unlock::withdraw_at_once(&span, self.slot, begun)
    }
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
        if !self.release_at_once() {
            self.lock.drop_reading(self.slot);
        }
    }
}

/// What the owner of the word may do with the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

impl<T: Element + Shareable> RwLockHandle<T> {
    /// Releases a read lock. An error is kept for the handle's next call, because `drop` cannot return it.
    #[cold]
    #[inline(never)]
    fn drop_reading(&self, slot: AnnouncementRef<'_>) {
        let session = self.place.session();
        // In a forked child, the lane is not this process's: the parent still holds the lock.
        if session.is_mine(slot) {
            let reading = Reading::at_once(slot.announced());
            if let Err(error) = self.raw().unlock_read(session, reading) {
                self.keep(self.place.with_object_path(error));
            }
        }
    }

    /// Releases the word like [`release_slow`](Self::release_slow), and keeps an error for the next call.
    #[cold]
    #[inline(never)]
    fn drop_slow(&self, slot: AnnouncementRef<'_>, private: LocalCopy<T>, access: Access) {
        if let Err(error) = self.release_slow(slot, private, access) {
            self.keep(error);
        }
    }

    /// Releases the lock's word, or completes what [`RwLockWriteGuard::release_at_once`] left to do. The word
    /// tells which: it names this lane until it is released.
    fn release_slow(
        &self,
        slot: AnnouncementRef<'_>,
        private: LocalCopy<T>,
        access: Access,
    ) -> Result<()> {
        let (raw, session, announced) = (self.raw(), self.place.session(), slot.announced());
        // In a forked child, the lane is not this process's: the parent still holds the lock.
        if !session.is_mine(slot) {
            return Ok(());
        }
        let named = |error| self.place.with_object_path(error);
        let sound = raw.unlocking(ReleaseState::Sound);
        if !sound.is_held(session, announced).map_err(named)? {
            // `release_at_once` has released it, and perhaps another owner has it already. Only write guards do so.
            let finished = sound.finish_released(session, announced);
            if access == Access::Read || !private.is_released_plainly(slot) {
                return Err(named(sound.overwritten()));
            }
            return finished.map_err(named);
        }
        let (mut written, mut leave) = (Ok(()), private.leave());
        if access == Access::Read || leave == ReleaseState::Poisoned {
            // A reader has changed nothing; a poisoned value that was not accepted is discarded.
        } else if private.is_interrupted() {
            // A panic may have interrupted a change, so the copy is discarded, as after a death.
            leave = ReleaseState::Died;
        } else {
            // Before the word is released, or the next owner could read the old copy. Death before
            // the release: the word still names this lane, and recovery sets `DIED`.
            written = private.write(session, raw.value());
        }
        // Released even if the write failed: the old value is then still the current one.
        let released = raw.unlock(session, Acquisition::of(announced, 0), leave);
        written.and(released).map_err(named)
    }

    fn keep(&self, error: Error) {
        self.deferred.keep_and_disable(error, &self.span);
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
    pub(super) lock: &'a RwLockHandle<T>,
    /// The slot that announces the lock.
    pub(super) slot: AnnouncementRef<'a>,
    pub(super) private: LocalCopy<T>,
    /// Keeps the guard on its thread, which the lock belongs to.
    pub(super) thread: PhantomData<*const ()>,
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
    pub fn unlock(self) -> Result<()> {
        let this = ManuallyDrop::new(self);
        if this.release_at_once() {
            return Ok(());
        }
        this.lock.release_slow(this.slot, this.private, Access::Write)
    }

    /// Releases the lock where that is no more than to store the value, the word and the announcement. If anything
    /// is unusual, [`RwLockHandle::release_slow`] finds out what has been done.
    #[inline(always)]
    fn release_at_once(&self) -> bool {
        let span = self.lock.span.checked();
        if !self.private.is_released_plainly(self.slot) {
            return false;
        }
        let raw = raw_at::<T>(span.at());
        let Ok(last) = self.private.write_before(&span, raw.value()) else {
            return false;
        };
        unlock::withdraw_at_once(&span, self.slot, raw.store_and_unlock(&span, last))
    }
}

impl<T: Element + Shareable> Drop for RwLockWriteGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.release_at_once() {
            self.lock.drop_slow(self.slot, self.private, Access::Write);
        }
    }
}

impl<T: Element + Shareable> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.private.value
    }
}

impl<T: Element + Shareable> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.private.change()
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
    pub(super) lock: &'a RwLockHandle<T>,
    /// The slot that announces the lock.
    pub(super) slot: AnnouncementRef<'a>,
    pub(super) private: LocalCopy<T>,
    /// Keeps the guard on its thread, which the lock belongs to.
    pub(super) thread: PhantomData<*const ()>,
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
        let until = self.lock.place.after(timeout);
        self.upgrade_until(until)
    }

    /// Upgrades, blocking until all readers have released the lock or the moment `until`; `None`: no
    /// limit.
    fn upgrade_until(
        self,
        until: Option<Duration>,
    ) -> std::result::Result<RwLockWriteGuard<'a, T>, (Self, Error)> {
        let (lock, slot) = (self.lock, self.slot);
        match upgrade(&lock.place, lock.raw(), Some(slot.announced().lane), until) {
            Ok(()) => {
                let this = ManuallyDrop::new(self);
                let (private, thread) = (this.private, PhantomData);
                Ok(RwLockWriteGuard { lock, slot, private, thread })
            }
            Err(error) => Err((self, error)),
        }
    }
}

impl<T: Element + Shareable> Drop for RwLockUpgradableGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.drop_slow(self.slot, self.private, Access::Read);
    }
}

impl<T: Element + Shareable> Deref for RwLockUpgradableGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.private.value
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

macro_rules! exclusive {
    ($($guard:ident $access:ident)*) => { $(
        impl<T: Element + Shareable> Reclaim for $guard<'_, T> {
            fn mark_consistent(&mut self) {
                self.private.set_leave(ReleaseState::Sound);
            }

            fn poison(self) -> Result<()> {
                let mut this = ManuallyDrop::new(self);
                this.private.set_leave(ReleaseState::Poisoned);
                this.lock.release_slow(this.slot, this.private, Access::$access)
            }

            fn error(&self, kind: ErrorKind, operation: &'static str) -> Error {
                self.lock.place.error(kind, operation)
            }
        }
    )* };
}

exclusive!(RwLockWriteGuard Write RwLockUpgradableGuard Read);
shown!(RwLockReadGuard RwLockWriteGuard RwLockUpgradableGuard);
