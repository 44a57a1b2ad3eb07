//! `MutexGuard`: a local copy of the value, and the release that writes it back.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

use super::MutexHandle;
use super::handle::raw_at;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Element, Shareable};
use crate::peer::Spot;
use crate::sync::algorithms::mutex::{Acquisition, ReleaseState};
use crate::sync::api::error::Reclaim;
use crate::sync::api::private::Private;
use crate::sync::core::unlock::Waiting;

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
    pub(super) mutex: &'a MutexHandle<T>,
    /// The slot that announces the mutex. Marked if the thread was already panicking when it acquired
    /// the mutex, so that this panic does not count against the guard.
    pub(super) spot: Spot<'a>,
    pub(super) private: Private<T>,
    /// A thread owns the mutex, so the guard must not be sent to another.
    pub(super) thread: PhantomData<*const ()>,
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
        match this.release_at_once() {
            Progress::DONE => Ok(()),
            other => this.mutex.go_on_releasing(this.spot, this.private, other),
        }
    }

    /// Releases the mutex where that is no more than to store the value, the word and the announcement,
    /// and returns how far it came. Small enough to be inlined wherever a guard is dropped.
    #[inline(always)]
    fn release_at_once(&self) -> Progress {
        // Faults are collected and tested at two points, as a test after each access costs time.
        let near = self.mutex.span.near_asked_later();
        let calm = self.private.leave() == ReleaseState::Sound && !std::thread::panicking();
        // The lane must be this process's, not a copy in a forked child, and the process must be
        // registered for membarrier: then a plain store may release the word.
        if !(calm && self.spot.is_surely_plain()) {
            return Progress::NOT_BEGUN;
        }
        let raw = raw_at::<T>(near.at());
        // Value, word, gate, announcement (FORMAT.md, "The word" and "Mutex"). Death before the store of
        // the word: the stored value is the old or the new one, never a mixture, and the recoverer finds
        // the announcement and sets `DIED`.
        if self.private.write(&near, raw.value()).is_err() {
            return Progress::NOT_BEGUN;
        }
        // Death after the store of the word: it is free, and recovery wakes all waiters. The load of the
        // gate may overtake the store; the fence of a waiter makes that harmless. After a fault at a
        // value of one word, the word is released as well: the stored value is then the old one.
        if let (Ok(Waiting::Nobody), 0) =
            (raw.unlocking(ReleaseState::Sound).begin_plainly(&near), near.fault())
        {
            // Last, and only after the test for faults: while the word names this lane, recovery must
            // find the announcement.
            let _ = near.withdraw_from(self.spot);
            if near.fault() == 0 {
                return Progress::DONE;
            }
        }
        Progress::begun(near.fault())
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
        let written = this.mutex.write_back(this.spot, this.private)?;
        let held = Acquisition::of(this.spot.announced(), 0);
        Ok(written.map(|leave| (this.mutex, held, leave)))
    }
}

/// How far a release came, in one register: `NOT_BEGUN`, `DONE`, or `BEGUN` plus the address of a
/// fault, where address 0 is no fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Progress(usize);

impl Progress {
    const NOT_BEGUN: Self = Self(0);
    const DONE: Self = Self(1);
    const BEGUN: usize = 2;

    /// Returns the progress of a release that has stored the word, unless that was the access that
    /// faulted at the address `fault`.
    #[inline(always)]
    fn begun(fault: usize) -> Self {
        Self(fault.wrapping_add(Self::BEGUN))
    }
}

impl<T: Element + Shareable> MutexHandle<T> {
    /// Completes what [`MutexGuard::release_at_once`] left to do. An error is kept for the handle's
    /// next call, because `drop` cannot return it.
    #[cold]
    #[inline(never)]
    fn go_on_dropping(&self, spot: Spot<'_>, private: Private<T>, progress: Progress) {
        if let Err(error) = self.go_on_releasing(spot, private, progress) {
            self.kept.keep(error);
        }
    }

    /// Completes what [`MutexGuard::release_at_once`] left to do.
    fn go_on_releasing(
        &self,
        spot: Spot<'_>,
        private: Private<T>,
        progress: Progress,
    ) -> Result<()> {
        let (raw, near) = (self.raw(), self.span.near());
        let begun = match progress {
            // The word still names this lane, and no other thread has seen a change: begin again.
            Progress::NOT_BEGUN => {
                let Some(leave) = self.write_back(spot, private)? else { return Ok(()) };
                let unlocked = raw.unlock(&near, Acquisition::of(spot.announced(), 0), leave);
                return unlocked.map_err(|error| self.place.with_object_path(error));
            }
            // The word is released, and a waiter may sleep.
            Progress::DONE | Progress(Progress::BEGUN) => Ok(()),
            // An access faulted, perhaps before the word was released: `finish` looks at the word.
            Progress(begun) => Err(near.fault_at(begun - Progress::BEGUN)),
        };
        let finished = raw.unlocking(ReleaseState::Sound).finish(&near, spot.announced(), begun);
        finished.map_err(|error| self.place.with_object_path(error))
    }

    /// Writes a guard's value back, unless it must be discarded, and returns the state in which to
    /// leave the mutex. Returns `None` in a forked child, where the copy of the guard holds nothing. If the
    /// write fails, the mutex has been released.
    fn write_back(&self, spot: Spot<'_>, private: Private<T>) -> Result<Option<ReleaseState>> {
        let (near, leave) = (self.span.near(), private.leave());
        if !near.is_mine(spot) {
            return Ok(None);
        }
        if leave == ReleaseState::Poisoned {
            // The value was not repaired: the stored one stays.
            return Ok(Some(leave));
        }
        if std::thread::panicking() && !spot.is_marked() {
            // The panic began while the guard existed, so the copy may be half-changed: discard it, and
            // let the next owner know.
            return Ok(Some(ReleaseState::Died));
        }
        match private.write(&near, self.raw().value()) {
            Ok(()) => Ok(Some(leave)),
            Err(error) => Err(self.give_back(spot, leave, error)),
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
        this.mutex.go_on_releasing(this.spot, this.private, Progress::NOT_BEGUN)
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
        match self.release_at_once() {
            Progress::DONE => {}
            other => self.mutex.go_on_dropping(self.spot, self.private, other),
        }
    }
}

impl<T: Element + Shareable + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.private.value.fmt(f)
    }
}
