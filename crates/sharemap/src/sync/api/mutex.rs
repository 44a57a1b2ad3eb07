//! `Mutex<T>`: one owner at a time, who has a copy of the value.

mod repair;

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::lock_target::LockTarget;
use super::private::{Kept, Private};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Element, Layout, Shareable};
use crate::peer::{Extent, Near, Span, Spot};
use crate::sync::algorithms::mutex::{Acquisition, RawMutex, ReleaseState};
use crate::sync::api::error::{LockError, LockResult, OwnerDiedGuard, Reclaim};
use crate::sync::api::shared_type::{LayoutReader, LayoutSize, LayoutWriter, LockRef, SharedType};
use crate::sync::core::unlock::Waiting;
use crate::sync::core::word::DIED;

const LOCK: &str = "lock the mutex";

/// How a mutex is to begin: with this value. Used it is through [`MutexHandle`].
///
/// A `Mutex<[T]>` guards large data in place: [`slice`](Mutex::zeroed) makes one, and
/// [`MutexSliceHandle`](crate::MutexSliceHandle) is what it is used through.
pub struct Mutex<T: ?Sized + LockTarget>(pub(super) T::First);

impl<T: Element + Shareable> Mutex<T> {
    /// A mutex with this value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T: Element + Shareable> SharedType for Mutex<T> {
    type Handle = MutexHandle<T>;
    const ROOM: LayoutSize = LayoutSize::exactly(RawMutex::size(size_of::<T>() as u32));

    fn describe(layout: &mut Layout) {
        layout.push("mutex<");
        T::describe(layout);
        layout.push(">");
    }

    fn fill(&self, blank: &mut LayoutWriter<'_>) -> Result<()> {
        blank.take(Self::ROOM)?.write(RawMutex::VALUE, self.0.as_bytes())
    }

    fn handle(found: &mut LayoutReader) -> Result<Self::Handle> {
        let place = found.take(Self::ROOM)?;
        let span = place.span()?;
        Ok(MutexHandle { place, span, kept: Kept::default() })
    }
}

/// All of a mutex with such a value.
struct Whole<T>(PhantomData<T>);

impl<T> Extent for Whole<T> {
    const LEN: u64 = RawMutex::size(size_of::<T>() as u32);
}

/// A mutex that processes share.
///
/// Its guard owns a copy of the value, which is written back when the guard is dropped, in one step:
/// if the owner dies or panics before, the value stays as it was, and the next owner is told.
pub struct MutexHandle<T> {
    place: LockRef,
    span: Span<Whole<T>>,
    kept: Kept,
}

impl<T: Element + Shareable> MutexHandle<T> {
    /// Acquires the mutex, blocking the current thread until it is available.
    ///
    /// If the owner dies, a waiter detects the death within milliseconds and releases the mutex. The
    /// value is the last one that was written back.
    ///
    /// # Errors
    /// [`LockError::OwnerDied`] if the mutex was acquired, but an earlier owner died or panicked while
    /// holding it and no owner since has accepted the value.
    /// Otherwise [`LockError::Failed`], of kind
    ///
    /// - `Deadlock` - this thread already holds the mutex.
    /// - `Poisoned` - an owner poisoned it; use [`lock_poisoned`](Self::lock_poisoned).
    /// - `Cancelled` - the call had to block after [`Shared::cancel`](crate::Shared::cancel).
    /// - `Invalid` - the stored bytes are not a valid `T`.
    /// - `Fault` - the memory could not be accessed.
    /// - `NotWritable` - the object was opened read-only.
    /// - `TooManyThreads` - no lane became free within about 100 ms.
    /// - `TooManyProcesses` - a forked child could not attach within about 100 ms.
    ///
    /// Other kinds report a failed system call. An error from dropping an earlier guard of this handle
    /// is returned by the next call, which then acquires nothing.
    ///
    /// ```
    /// use sharemap::{Location, LockError, Mutex, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let hits = Shared::create_new(Location::anonymous(), || Mutex::new(0_u64))?;
    /// match hits.lock() {
    ///     Ok(mut count) => *count += 1,
    ///     Err(LockError::OwnerDied(guard)) => *guard.mark_consistent() += 1,
    ///     Err(LockError::Failed(error)) => return Err(error),
    /// }
    /// assert_eq!(*hits.lock()?, 1);
    /// # Ok(()) }
    /// ```
    #[inline(always)]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.lock_until(|| None)
    }

    /// Acquires the mutex like [`lock`](Self::lock), but blocks for at most `timeout` while it is held.
    ///
    /// A free mutex is acquired even if `timeout` is zero. Claiming a lane does not count.
    ///
    /// # Errors
    /// As for `lock`, and
    ///
    /// - `Timeout` - the mutex was not acquired within `timeout`.
    pub fn lock_timeout(&self, timeout: Duration) -> LockResult<MutexGuard<'_, T>> {
        self.lock_until(|| self.place.after(timeout))
    }

    /// What is done out of line gives numbers back, so that the guard is made in registers.
    #[inline(always)]
    fn lock_until(
        &self,
        until: impl FnOnce() -> Option<Duration>,
    ) -> LockResult<MutexGuard<'_, T>> {
        self.kept.take()?;
        let near = self.span.near();
        let raw = raw_at::<T>(near.at());
        let spot = match near.announce_in_spot(raw.announcement()) {
            Ok(spot) => spot,
            Err(error) => return Err(self.failed(error)),
        };
        let mut found = 0;
        if !raw.lock_at_once(&near, spot.named()) {
            found = match self.raw().lock_slowly(&self.place, spot.announced(), until()) {
                Ok(found) => found,
                Err(error) => return Err(self.failed(error)),
            };
        }
        self.guard_near(near, spot, found)
    }

    #[cold]
    #[inline(never)]
    fn failed<R>(&self, error: Error) -> LockError<R> {
        LockError::Failed(self.place.with_object_path(error))
    }

    /// Attempts to acquire the mutex without waiting for its owner.
    ///
    /// A dead owner is detected, though not necessarily by the first call.
    ///
    /// # Errors
    /// As for [`lock`](Self::lock), except `Deadlock` and `Cancelled`, and
    ///
    /// - `WouldBlock` - the mutex is held, by this thread or another.
    ///
    /// ```
    /// use sharemap::{ErrorKind, Location, Mutex, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let hits = Shared::create_new(Location::anonymous(), || Mutex::new(0_u64))?;
    /// match hits.try_lock() {
    ///     Ok(mut count) => *count += 1,
    ///     Err(error) if error.kind() == ErrorKind::WouldBlock => {}
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn try_lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.kept.take()?;
        match self.raw().try_lock(self.place.session()) {
            Ok(Some(held)) => self.guard(held),
            Ok(None) => Err(LockError::Failed(self.place.error(ErrorKind::WouldBlock, LOCK))),
            Err(error) => Err(LockError::Failed(self.place.with_object_path(error))),
        }
    }

    pub(super) fn guard(&self, held: Acquisition) -> LockResult<MutexGuard<'_, T>> {
        let near = self.span.near();
        let Some(spot) = near.spot_of(held.announced()) else {
            return Err(self.no_lane(held).into());
        };
        self.guard_near(near, spot, held.found())
    }

    /// What a world gave as this thread's cannot be.
    #[cold]
    fn no_lane(&self, held: Acquisition) -> Error {
        let _ = self.raw().unlock(self.place.session(), held, ReleaseState::Sound);
        self.place.error(ErrorKind::TooManyThreads, LOCK)
    }

    #[inline(always)]
    fn guard_near<'a>(
        &'a self,
        near: Near<'a>,
        spot: Spot<'a>,
        found: u32,
    ) -> LockResult<MutexGuard<'a, T>> {
        let guard = self.guard_of(near, spot, ReleaseState::as_found(found))?;
        if found & DIED != 0 { Err(LockError::OwnerDied(OwnerDiedGuard(guard))) } else { Ok(guard) }
    }

    #[inline(always)]
    fn guard_of<'a>(
        &'a self,
        near: Near<'a>,
        spot: Spot<'a>,
        leave: ReleaseState,
    ) -> Result<MutexGuard<'a, T>> {
        match Private::read(&near, &self.place, raw_at::<T>(near.at()).value(), leave, LOCK) {
            Ok(private) => {
                // A mark costs no register where there is none.
                let spot = if std::thread::panicking() { spot.marked() } else { spot };
                Ok(MutexGuard { mutex: self, spot, private, thread: PhantomData })
            }
            Err(error) => Err(self.give_back(spot, leave, error)),
        }
    }

    /// The value could not be had.
    #[cold]
    #[inline(never)]
    fn give_back(&self, spot: Spot<'_>, leave: ReleaseState, error: Error) -> Error {
        let held = Acquisition::of(spot.announced(), 0);
        let _ = self.raw().unlock(self.place.session(), held, leave);
        self.place.with_object_path(error)
    }

    /// What [`MutexGuard::release_at_once`] left to do. What becomes of it is for the next call to
    /// tell.
    #[cold]
    #[inline(never)]
    fn go_on_dropping(&self, spot: Spot<'_>, private: Private<T>, progress: Progress) {
        if let Err(error) = self.go_on_releasing(spot, private, progress) {
            self.kept.keep(error);
        }
    }

    /// The same, and tells what becomes of it.
    fn go_on_releasing(
        &self,
        spot: Spot<'_>,
        private: Private<T>,
        progress: Progress,
    ) -> Result<()> {
        let (raw, near) = (self.raw(), self.span.near());
        let begun = match progress {
            Progress::NOT_BEGUN => {
                let Some(leave) = self.write_back(spot, private)? else { return Ok(()) };
                let unlocked = raw.unlock(&near, Acquisition::of(spot.announced(), 0), leave);
                return unlocked.map_err(|error| self.place.with_object_path(error));
            }
            Progress::DONE | Progress(Progress::BEGUN) => Ok(()),
            Progress(begun) => Err(near.fault_at(begun - Progress::BEGUN)),
        };
        let finished = raw.unlocking(ReleaseState::Sound).finish(&near, spot.announced(), begun);
        finished.map_err(|error| self.place.with_object_path(error))
    }

    /// Writes a guard's value back, unless it is not to be relied on; gives how the mutex is to be
    /// left. `None` if the guard is a copy in a child process, which has nothing. If it fails, the
    /// mutex has been released.
    fn write_back(&self, spot: Spot<'_>, private: Private<T>) -> Result<Option<ReleaseState>> {
        let (near, leave) = (self.span.near(), private.leave());
        if !near.is_mine(spot) {
            return Ok(None);
        }
        if leave == ReleaseState::Poisoned {
            // What was to be repaired was not.
            return Ok(Some(leave));
        }
        if std::thread::panicking() && !spot.is_marked() {
            return Ok(Some(ReleaseState::Died));
        }
        match private.write(&near, self.raw().value()) {
            Ok(()) => Ok(Some(leave)),
            Err(error) => Err(self.give_back(spot, leave, error)),
        }
    }

    pub(super) fn place(&self) -> &LockRef {
        &self.place
    }

    pub(super) fn raw(&self) -> RawMutex {
        raw_at::<T>(self.place.at)
    }
}

#[inline(always)]
fn raw_at<T>(at: u64) -> RawMutex {
    RawMutex::new(at, size_of::<T>() as u32)
}

impl<T> fmt::Debug for MutexHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutexHandle").field("at", &self.place.at).finish_non_exhaustive()
    }
}

/// How far a release came, in one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Progress(usize);

impl Progress {
    const NOT_BEGUN: Self = Self(0);
    const DONE: Self = Self(1);
    const BEGUN: usize = 2;

    /// The word is given back, unless there was a fault at this address; 0: there was none.
    #[inline(always)]
    fn begun(fault: usize) -> Self {
        Self(fault.wrapping_add(Self::BEGUN))
    }
}

/// That this thread has the mutex, with its copy of the value.
#[must_use = "the mutex is released at once if the guard is not kept"]
pub struct MutexGuard<'a, T: Element + Shareable> {
    mutex: &'a MutexHandle<T>,
    /// Marked if it was announced by a thread that was panicking already.
    spot: Spot<'a>,
    private: Private<T>,
    /// Locks belong to threads.
    thread: PhantomData<*const ()>,
}

impl<'a, T: Element + Shareable> MutexGuard<'a, T> {
    /// Writes the value back and releases the mutex, as dropping does, and says whether it worked.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault) if the memory is gone. The mutex is released all the same,
    /// unless it is its word that cannot be written: then whoever recovers this process does it.
    pub fn unlock(self) -> Result<()> {
        let this = ManuallyDrop::new(self);
        match this.release_at_once() {
            Progress::DONE => Ok(()),
            other => this.mutex.go_on_releasing(this.spot, this.private, other),
        }
    }

    /// A release with nothing unusual to it: so little that it is inlined wherever a guard ends.
    #[inline(always)]
    fn release_at_once(&self) -> Progress {
        let near = self.mutex.span.near_asked_later();
        let calm = self.private.leave() == ReleaseState::Sound && !std::thread::panicking();
        if !(calm && self.spot.is_surely_plain()) {
            return Progress::NOT_BEGUN;
        }
        let raw = raw_at::<T>(near.at());
        if self.private.write(&near, raw.value()).is_err() {
            return Progress::NOT_BEGUN;
        }
        if let (Ok(Waiting::Nobody), 0) =
            (raw.unlocking(ReleaseState::Sound).begin_plainly(&near), near.fault())
        {
            let _ = near.withdraw_from(self.spot);
            if near.fault() == 0 {
                return Progress::DONE;
            }
        }
        Progress::begun(near.fault())
    }

    /// Returns the handle of the mutex.
    pub(super) fn handle(&self) -> &'a MutexHandle<T> {
        self.mutex
    }

    /// For a condition variable: the handle, and the mutex with the value written back. `None` if
    /// this thread does not have it.
    pub(super) fn into_parts(
        self,
    ) -> Result<Option<(&'a MutexHandle<T>, Acquisition, ReleaseState)>> {
        let this = ManuallyDrop::new(self);
        let written = this.mutex.write_back(this.spot, this.private)?;
        let held = Acquisition::of(this.spot.announced(), 0);
        Ok(written.map(|leave| (this.mutex, held, leave)))
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
