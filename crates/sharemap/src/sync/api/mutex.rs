//! `Mutex<T>`: one owner at a time, with a local copy of the value.

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

/// The initial value of a shared mutex. The mutex itself is accessed through [`MutexHandle`].
///
/// Creating a [`Shared`](crate::Shared) object stores this value in the object. Later openings use
/// the stored value.
///
/// A guard of a `Mutex<T>` copies the value out and back. A `Mutex<[T]>`, made by
/// [`zeroed`](Mutex::zeroed), guards large data in place and is accessed through
/// [`MutexSliceHandle`](crate::MutexSliceHandle).
///
/// # Examples
/// ```
/// use sharemap::{Location, Mutex, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// let hits = Shared::create_new(Location::anonymous(), || Mutex::new(7_u64))?;
/// assert_eq!(*hits.lock()?, 7);
/// # Ok(()) }
/// ```
#[doc(alias("pthread_mutex_t", "CreateMutex"))]
pub struct Mutex<T: ?Sized + LockTarget>(pub(super) T::First);

impl<T: Element + Shareable> Mutex<T> {
    /// Creates the initial value of a mutex that guards `value`.
    #[doc(alias = "pthread_mutex_init")]
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

/// The extent of a mutex with a value of type `T`: its words and the copies of the value.
struct Whole<T>(PhantomData<T>);

impl<T> Extent for Whole<T> {
    const LEN: u64 = RawMutex::size(size_of::<T>() as u32);
}

/// A mutex that processes share, with a value of type `T`.
///
/// A [`Shared`](crate::Shared) object of a [`Mutex`] derefs to this handle. Acquiring the mutex
/// returns a guard with a local copy of the value, and dropping the guard writes the copy back in
/// one step. If an owner dies or panics before that, the value stays as it was, and the next owner
/// gets [`LockError::OwnerDied`].
///
/// A thread owns the mutex, not its process. The mutex is not recursive, and acquisition is not
/// fair: a thread that releases the mutex may acquire it again before a waiter wakes. Once a waiter
/// has waited for 10 ms, the next release pauses for 0.1 ms to let a waiter in.
///
/// # Platforms
/// Waiting threads sleep in `futex` on Linux, in `os_sync_wait_on_address` on macOS (before macOS
/// 14.4, they poll once a millisecond), and on named semaphores on Windows. The mutex is not a
/// `pthread_mutex_t`: programs of different C libraries and word sizes can share it.
///
/// # Examples
/// ```
/// use sharemap::{Mutex, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// # let name = format!("doc-mutex-{}", std::process::id());
/// # let name = name.as_str();
/// let hits = Shared::open_or_create(name, || Mutex::new(0_u64))?; // in each process
/// *hits.lock()? += 1;
/// assert_eq!(*hits.lock()?, 1);
/// # sharemap::SharedMemory::unlink(name)?;
/// # Ok(()) }
/// ```
pub struct MutexHandle<T> {
    place: LockRef,
    span: Span<Whole<T>>,
    kept: Kept,
}

impl<T: Element + Shareable> MutexHandle<T> {
    /// Acquires the mutex, blocking the current thread until it is available.
    ///
    /// If the owner dies, a waiter detects the death within milliseconds and releases the mutex. The
    /// value is the last one written back.
    ///
    /// # Errors
    /// [`LockError::OwnerDied`] if the mutex was acquired, but an earlier owner died or panicked while
    /// holding it and no owner since has called `mark_consistent`.
    /// Otherwise [`LockError::Failed`], of kind
    ///
    /// - `Deadlock` - this thread already holds the mutex.
    /// - `Poisoned` - an owner poisoned it; use [`lock_poisoned`](Self::lock_poisoned).
    /// - `Cancelled` - the call had to block after [`Shared::cancel`](crate::Shared::cancel).
    /// - `Invalid` - the stored bytes are not a valid `T`.
    /// - `Fault` - the memory could not be accessed.
    /// - `NotWritable` - the object was opened read-only or copy-on-write.
    /// - `TooManyThreads` - no [lane](crate::SharedOptions::lanes) became free within about 100 ms, or
    ///   the thread is running its last destructors.
    /// - `TooManyProcesses` - a forked child could not attach within about 100 ms.
    ///
    /// Other kinds report a failed system call, or why a forked child could not attach. An error from
    /// dropping an earlier guard of this handle is returned by the next call, on any thread. That call
    /// acquires nothing.
    ///
    /// # Examples
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
    #[doc(alias("pthread_mutex_lock", "WaitForSingleObject"))]
    #[inline(always)]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.lock_until(|| None)
    }

    /// Acquires the mutex like [`lock`](Self::lock), but blocks for at most `timeout` while it is held.
    ///
    /// A free mutex is acquired even if `timeout` is zero. Claiming a lane for the thread may take
    /// about 100 ms more.
    ///
    /// The owner's liveness is checked when the thread is about to sleep. A `timeout` that ends before
    /// that (zero, or a few microseconds) returns `Timeout` even if the owner is dead. Use
    /// [`try_lock`](Self::try_lock) to poll a mutex: it detects dead owners.
    ///
    /// # Errors
    /// As for `lock`, and
    ///
    /// - `Timeout` - the mutex was not acquired within `timeout`.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::{Location, Mutex, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let hits = Shared::create_new(Location::anonymous(), || Mutex::new(0_u64))?;
    /// *hits.lock_timeout(std::time::Duration::from_secs(1))? += 1;
    /// # Ok(()) }
    /// ```
    #[doc(alias("pthread_mutex_timedlock", "try_lock_for"))]
    pub fn lock_timeout(&self, timeout: Duration) -> LockResult<MutexGuard<'_, T>> {
        self.lock_until(|| self.place.after(timeout))
    }

    /// Acquires the mutex, blocking until the moment that `until` returns.
    ///
    /// The slow path is out of line and returns only numbers, so that the guard is built in registers.
    #[inline(always)]
    fn lock_until(
        &self,
        until: impl FnOnce() -> Option<Duration>,
    ) -> LockResult<MutexGuard<'_, T>> {
        self.kept.take()?;
        let near = self.span.near();
        let raw = raw_at::<T>(near.at());
        // The announcement comes before the word: a word must never name a lane that does not announce
        // it, or recovery would miss it (FORMAT.md, "The word"). A plain store suffices, because the
        // exchange of the word cannot become visible before it. Death between the two: recovery finds
        // nothing to release and only wakes waiters.
        let spot = match near.announce_in_spot(raw.announcement()) {
            Ok(spot) => spot,
            Err(error) => return Err(self.failed(error)),
        };
        let mut found = 0;
        if !raw.lock_at_once(&near, spot.named()) {
            // Waits on `place`, which knows whether this opening was cancelled; the span does not.
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
    /// A dead owner is detected, though not necessarily by the first call: the threads of a process
    /// together check at most one owner per object and millisecond.
    ///
    /// A thread claims a lane with its first lock in an object, and another one for every seven further
    /// locks that it holds at once. Such a call blocks for up to about 100 ms while all lanes are in
    /// use. A forked child's first call blocks for as long while no process can be added.
    ///
    /// # Errors
    /// As for [`lock`](Self::lock), except `Deadlock` and `Cancelled`, and
    ///
    /// - `WouldBlock` - the mutex is held, by this thread or another.
    ///
    /// # Examples
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
    #[doc(alias = "pthread_mutex_trylock")]
    pub fn try_lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.kept.take()?;
        match self.raw().try_lock(self.place.session()) {
            Ok(Some(held)) => self.guard(held),
            Ok(None) => Err(LockError::Failed(self.place.error(ErrorKind::WouldBlock, LOCK))),
            Err(error) => Err(LockError::Failed(self.place.with_object_path(error))),
        }
    }

    /// Makes a guard of `held`: copies the value out, or releases the mutex if that fails.
    pub(super) fn guard(&self, held: Acquisition) -> LockResult<MutexGuard<'_, T>> {
        let near = self.span.near();
        let Some(spot) = near.spot_of(held.announced()) else {
            return Err(self.no_lane(held).into());
        };
        self.guard_near(near, spot, held.found())
    }

    /// Releases the mutex and returns an error: `held` names a lane that this process does not have. No
    /// machine returns such an acquisition.
    #[cold]
    fn no_lane(&self, held: Acquisition) -> Error {
        let _ = self.raw().unlock(self.place.session(), held, ReleaseState::Sound);
        self.place.error(ErrorKind::TooManyThreads, LOCK)
    }

    /// Makes a guard of the mutex that this thread announced in `spot`. `found` has the flags of the
    /// word as this thread found it.
    #[inline(always)]
    fn guard_near<'a>(
        &'a self,
        near: Near<'a>,
        spot: Spot<'a>,
        found: u32,
    ) -> LockResult<MutexGuard<'a, T>> {
        // The guard leaves the flags as found until `mark_consistent` is called.
        let guard = self.guard_of(near, spot, ReleaseState::as_found(found))?;
        if found & DIED != 0 { Err(LockError::OwnerDied(OwnerDiedGuard(guard))) } else { Ok(guard) }
    }

    /// Copies the value out and makes a guard. If that fails, the mutex has been released.
    #[inline(always)]
    fn guard_of<'a>(
        &'a self,
        near: Near<'a>,
        spot: Spot<'a>,
        leave: ReleaseState,
    ) -> Result<MutexGuard<'a, T>> {
        match Private::read(&near, &self.place, raw_at::<T>(near.at()).value(), leave, LOCK) {
            Ok(private) => {
                // The mark is a bit of the slot's address: a flag would cost the guard a register.
                let spot = if std::thread::panicking() { spot.marked() } else { spot };
                Ok(MutexGuard { mutex: self, spot, private, thread: PhantomData })
            }
            Err(error) => Err(self.give_back(spot, leave, error)),
        }
    }

    /// Releases the mutex after its value could not be read or written, and returns `error` with the
    /// object's name.
    #[cold]
    #[inline(never)]
    fn give_back(&self, spot: Spot<'_>, leave: ReleaseState, error: Error) -> Error {
        let held = Acquisition::of(spot.announced(), 0);
        let _ = self.raw().unlock(self.place.session(), held, leave);
        self.place.with_object_path(error)
    }

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
    mutex: &'a MutexHandle<T>,
    /// The slot that announces the mutex. Marked if the thread was already panicking when it acquired
    /// the mutex, so that this panic does not count against the guard.
    spot: Spot<'a>,
    private: Private<T>,
    /// A thread owns the mutex, so the guard must not be sent to another.
    thread: PhantomData<*const ()>,
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
    pub(super) fn handle(&self) -> &'a MutexHandle<T> {
        self.mutex
    }

    /// Writes the value back, and returns the handle, the acquisition and the state in which to leave
    /// the mutex, which a condition variable then releases. Returns `None` in a forked child, where
    /// the copy of the guard holds nothing.
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
