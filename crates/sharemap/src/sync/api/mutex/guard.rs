//! `MutexGuard`: a local copy of the value, and the release that writes it back.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

use super::MutexHandle;
use super::handle::raw_at;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Element, Shareable};
use crate::peer::AnnouncementRef;
use crate::sync::algorithms::mutex::{Acquisition, ReleaseState};
use crate::sync::api::error::Reclaim;
use crate::sync::api::local_copy::LocalCopy;
use crate::sync::core::unlock;

/// An RAII guard that holds a mutex and a local copy of its value.
///
/// Dropping the guard writes a changed copy back in one step and releases the mutex. During a panic
/// that began while the guard existed, the copy is discarded and the next owner gets `OwnerDied`.
/// [`unlock`](Self::unlock) returns the errors that dropping defers to the handle's next call.
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
pub struct MutexGuard<'a, T: Element + Shareable> {
    pub(in crate::sync::api) mutex: &'a MutexHandle<T>,
    /// The slot that announces the mutex.
    pub(in crate::sync::api) slot: AnnouncementRef<'a>,
    pub(in crate::sync::api) private: LocalCopy<T>,
    /// A thread owns the mutex, so the guard must not be sent to another.
    pub(in crate::sync::api) thread: PhantomData<*const ()>,
}

impl<'a, T: Element + Shareable> MutexGuard<'a, T> {
    /// Writes the value back and releases the mutex, as dropping the guard does, and returns the
    /// result.
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
        let this = ManuallyDrop::new(self);
        if this.release_at_once() {
            return Ok(());
        }
        this.mutex.release_slow(this.slot, this.private)
    }

    /// Releases the mutex where that is no more than to store the value, the word and the announcement. If anything
    /// is unusual, [`MutexHandle::release_slow`] finds out what has been done.
    #[inline(always)]
    fn release_at_once(&self) -> bool {
        let span = self.mutex.span.checked();
        if !self.private.is_released_plainly(self.slot) {
            return false;
        }
        let raw = raw_at::<T>(span.at());
        let Ok(last) = self.private.write_before(&span, raw.value()) else {
            return false;
        };
        unlock::withdraw_at_once(&span, self.slot, raw.store_and_unlock(&span, last))
    }

    /// Returns the handle of the mutex.
    pub(in crate::sync::api) fn handle(&self) -> &'a MutexHandle<T> {
        self.mutex
    }

    /// Writes the value back, and returns the handle, the acquisition and the state in which to leave
    /// the mutex, which a condition variable then releases. Returns `None` in a forked child, where
    /// the copy of the guard holds nothing.
    pub(in crate::sync::api) fn into_parts(
        self,
    ) -> Result<Option<(&'a MutexHandle<T>, Acquisition, ReleaseState)>> {
        let this = ManuallyDrop::new(self);
        let written = this.mutex.write_back(this.slot, this.private)?;
        let held = Acquisition::of(this.slot.announced(), 0);
        Ok(written.map(|leave| (this.mutex, held, leave)))
    }
}

impl<T: Element + Shareable> MutexHandle<T> {
    /// Releases the mutex like [`release_slow`](Self::release_slow). An error is kept for the handle's next call,
    /// because `drop` cannot return it.
    #[cold]
    #[inline(never)]
    fn drop_slow(&self, slot: AnnouncementRef<'_>, private: LocalCopy<T>) {
        if let Err(error) = self.release_slow(slot, private) {
            self.deferred.keep_and_disable(error, &self.span);
        }
    }

    /// Releases the mutex, or completes what [`MutexGuard::release_at_once`] left to do. The word tells which: it
    /// names this lane until it is released.
    #[cold]
    #[inline(never)]
    pub(in crate::sync::api) fn release_slow(
        &self,
        slot: AnnouncementRef<'_>,
        private: LocalCopy<T>,
    ) -> Result<()> {
        let (raw, session, announced) = (self.raw(), self.place.session(), slot.announced());
        if !session.is_mine(slot) {
            return Ok(());
        }
        let released = match raw.unlocking(ReleaseState::Sound).is_held(session, announced) {
            Ok(true) => {
                let Some(leave) = self.write_back(slot, private)? else { return Ok(()) };
                raw.unlock(session, Acquisition::of(announced, 0), leave)
            }
            // `release_at_once` has released it. Perhaps another owner has it already.
            Ok(false) if private.is_released_plainly(slot) => {
                raw.unlocking(ReleaseState::Sound).finish_released(session, announced)
            }
            Ok(false) => {
                let _ = raw.unlocking(ReleaseState::Sound).finish_released(session, announced);
                Err(raw.unlocking(ReleaseState::Sound).overwritten())
            }
            Err(error) => Err(error),
        };
        released.map_err(|error| self.place.with_object_path(error))
    }

    /// Writes a guard's value back, unless it must be discarded, and returns the state in which to
    /// leave the mutex. Returns `None` in a forked child, where the copy of the guard holds nothing. If the
    /// write fails, the mutex has been released.
    fn write_back(
        &self,
        slot: AnnouncementRef<'_>,
        private: LocalCopy<T>,
    ) -> Result<Option<ReleaseState>> {
        let (session, leave) = (self.place.session(), private.leave());
        if !session.is_mine(slot) {
            return Ok(None);
        }
        if leave == ReleaseState::Poisoned {
            // The value was not repaired: the stored one stays.
            return Ok(Some(leave));
        }
        if private.is_interrupted() {
            // The panic began while the guard existed, so the copy may be half-changed: discard it, and
            // let the next owner know.
            return Ok(Some(ReleaseState::Died));
        }
        match private.write(session, self.raw().value()) {
            Ok(()) => Ok(Some(leave)),
            Err(error) => Err(self.give_back(slot.announced(), leave, error)),
        }
    }
}

impl<T: Element + Shareable> Reclaim for MutexGuard<'_, T> {
    fn mark_consistent(&mut self) {
        self.private.set_leave(ReleaseState::Sound);
    }

    fn poison(self) -> Result<()> {
        let mut this = ManuallyDrop::new(self);
        this.private.set_leave(ReleaseState::Poisoned);
        this.mutex.release_slow(this.slot, this.private)
    }

    fn error(&self, kind: ErrorKind, operation: &'static str) -> Error {
        self.mutex.place.error(kind, operation)
    }
}

impl<T: Element + Shareable> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.private.value
    }
}

impl<T: Element + Shareable> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.private.change()
    }
}

impl<T: Element + Shareable> Drop for MutexGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.release_at_once() {
            self.mutex.drop_slow(self.slot, self.private);
        }
    }
}

impl<T: Element + Shareable + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.private.value.fmt(f)
    }
}
