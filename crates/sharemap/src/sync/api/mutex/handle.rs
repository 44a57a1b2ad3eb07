//! `Mutex`, the initial value, and `MutexHandle`, which acquires the mutex.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::time::Duration;

use super::{LOCK, MutexGuard};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Element, Layout, Shareable};
use crate::peer::{Announced, AnnouncementRef, FixedLen, TypedSpan};
use crate::sync::algorithms::mutex::{Acquisition, Attempt, RawMutex, ReleaseState};
use crate::sync::api::deferred_error::DeferredError;
use crate::sync::api::error::{LockError, LockResult, acquired};
use crate::sync::api::local_copy::LocalCopy;
use crate::sync::api::lock_target::LockTarget;
use crate::sync::api::shared_type::{LayoutReader, LayoutSize, LayoutWriter, LockRef, SharedType};
use crate::sync::core::word::DIED;

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
pub struct Mutex<T: ?Sized + LockTarget>(pub(in crate::sync::api) T::First);

impl<T: Element + Shareable> Mutex<T> {
    /// Creates the initial value of a mutex that guards `value`.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::{Mutex, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let name = format!("doc-mutex-new-{}", std::process::id());
    /// # let name = name.as_str();
    /// let hits = Shared::open_or_create(name, || Mutex::new(7_u64))?;
    /// let same = Shared::open_or_create(name, || Mutex::new(0_u64))?; // opens: the 0 is not used
    /// assert_eq!(*same.lock()?, 7);
    /// # sharemap::SharedMemory::unlink(name)?;
    /// # Ok(()) }
    /// ```
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
        Ok(MutexHandle { place, span, deferred: DeferredError::default() })
    }
}

/// The extent of a mutex with a value of type `T`: its words and the copies of the value.
pub(super) struct Whole<T>(PhantomData<T>);

impl<T> FixedLen for Whole<T> {
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
    pub(super) place: LockRef,
    pub(super) span: TypedSpan<Whole<T>>,
    pub(super) deferred: DeferredError,
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
    /// A dead owner is detected even if `timeout` is zero, though not necessarily by the first call:
    /// calls that end before they sleep check, like [`try_lock`](Self::try_lock), at most one owner
    /// per object and millisecond.
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
    /// Inlined is what a free, consistent mutex with a valid value needs, for a thread that has a lane and is not
    /// panicking. Everything else is in [`lock_slow`](Self::lock_slow), which finds out what it was.
    #[inline(always)]
    fn lock_until(
        &self,
        until: impl FnOnce() -> Option<Duration>,
    ) -> LockResult<MutexGuard<'_, T>> {
        // A large value is copied out of line, straight into its guard.
        if !LocalCopy::<T>::FITS_REGISTERS {
            return self.lock_large(until());
        }
        let (tried, attempt) = 'unusual: {
            let Some(slot) = self.span.ready_slot() else {
                break 'unusual (None, Attempt::Refused);
            };
            let span = self.span.checked();
            let raw = raw_at::<T>(span.at());
            if raw.announce_in(&span, slot).is_err() || span.fault() != 0 {
                // The slot stays out of use until a look shows that it is empty.
                break 'unusual (None, Attempt::Refused);
            }
            let Ok((found, lead)) = raw.lock_and_load(&span, slot) else {
                break 'unusual (Some(slot), Attempt::Refused);
            };
            // Only the owner copies the value. A panic that began earlier does not count against the guard, which
            // must be told.
            if found == 0 && span.fault() == 0 && !std::thread::panicking() {
                let copy = LocalCopy::read_after(&span, raw.value(), lead);
                if let (Some(private), 0) = (copy, span.fault()) {
                    return Ok(MutexGuard { mutex: self, slot, private, thread: PhantomData });
                }
            }
            (Some(slot), Attempt::of(found))
        };
        let mut copy = None;
        match self.lock_slow(tried, attempt, until(), &mut copy) {
            Ok(held) => {
                let Some(private) = copy else { unreachable!("it was acquired") };
                let guard = MutexGuard { mutex: self, slot: held, private, thread: PhantomData };
                acquired(guard, private.leave() != ReleaseState::Sound)
            }
            Err(error) => Err(LockError::Failed(error)),
        }
    }

    /// Acquires the mutex after an attempt of [`lock_until`](Self::lock_until) with a slot, or without one. Returns
    /// the slot that announces the mutex, and the value in `copy`.
    ///
    /// The results fit in registers, or in memory that the other path does not use, so that a guard is built in
    /// registers.
    #[cold]
    #[inline(never)]
    fn lock_slow<'a>(
        &'a self,
        tried: Option<AnnouncementRef<'a>>,
        attempt: Attempt,
        until: Option<Duration>,
        copy: &mut Option<LocalCopy<T>>,
    ) -> Result<AnnouncementRef<'a>> {
        // Waits on `place`, which knows whether this opening was cancelled; the session does not.
        let acquired = match tried {
            Some(slot) => self.raw().lock_again(&self.place, slot.announced(), attempt, until),
            None => self
                .deferred
                .take_and_enable(&self.span)
                .and_then(|()| self.raw().lock_on(self.place.session(), &self.place, until)),
        };
        let held = acquired.map_err(|error| self.place.with_object_path(error))?;
        let guard = ManuallyDrop::new(self.guard_of(held)?);
        *copy = Some(guard.private);
        Ok(guard.slot)
    }

    /// Acquires the mutex like [`lock_until`](Self::lock_until), for a value that does not fit in registers.
    #[inline(never)]
    fn lock_large(&self, until: Option<Duration>) -> LockResult<MutexGuard<'_, T>> {
        self.deferred.take_and_enable(&self.span)?;
        // Waits on `place`, which knows whether this opening was cancelled; the session does not.
        let held = self.raw().lock_on(self.place.session(), &self.place, until);
        self.guard(held.map_err(|error| self.place.with_object_path(error))?)
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
        self.deferred.take_and_enable(&self.span)?;
        let attempt = self.raw().try_lock(self.place.session());
        self.guard(self.place.attempted(attempt, LOCK)?)
    }

    /// Makes a guard of `held`: copies the value out, or releases the mutex if that fails.
    pub(in crate::sync::api) fn guard(&self, held: Acquisition) -> LockResult<MutexGuard<'_, T>> {
        // The guard leaves the flags as found until `mark_consistent` is called.
        let guard = self.guard_of(held)?;
        acquired(guard, held.found() & DIED != 0)
    }

    /// Makes a guard of `held`. If that fails, the mutex has been released.
    #[inline]
    pub(super) fn guard_of(&self, held: Acquisition) -> Result<MutexGuard<'_, T>> {
        let session = self.place.session();
        let Some(slot) = session.slot_of(held.announced()) else {
            // `held` names a lane that this process does not have, which no session does.
            let error = self.place.error(ErrorKind::TooManyThreads, LOCK);
            return Err(self.give_back(held.announced(), ReleaseState::Sound, error));
        };
        match LocalCopy::read(session, &self.place, self.raw().value(), held.leave(), LOCK) {
            Ok(private) => Ok(MutexGuard { mutex: self, slot, private, thread: PhantomData }),
            Err(error) => Err(self.give_back(held.announced(), held.leave(), error)),
        }
    }

    /// Releases the mutex after its value could not be read or written, and returns `error` with the
    /// object's name.
    pub(super) fn give_back(
        &self,
        announced: Announced,
        leave: ReleaseState,
        error: Error,
    ) -> Error {
        let held = Acquisition::of(announced, 0);
        let _ = self.raw().unlock(self.place.session(), held, leave);
        self.place.with_object_path(error)
    }

    pub(in crate::sync::api) fn place(&self) -> &LockRef {
        &self.place
    }

    pub(in crate::sync::api) fn raw(&self) -> RawMutex {
        raw_at::<T>(self.place.at)
    }
}

#[inline(always)]
pub(super) fn raw_at<T>(at: u64) -> RawMutex {
    RawMutex::new(at, size_of::<T>() as u32)
}

impl<T> fmt::Debug for MutexHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutexHandle").field("at", &self.place.at).finish_non_exhaustive()
    }
}
