//! `RwLock`, the initial value, and `RwLockHandle`, which acquires the lock for reading or writing.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::{READ, RwLockReadGuard, RwLockWriteGuard, WRITE};
use crate::error::{ErrorKind, Result};
use crate::layout::{Element, Layout, Shareable};
use crate::peer::{Announced, AnnouncementRef, FixedLen, TypedSpan};
use crate::sync::algorithms::mutex::{Acquisition, Attempt, ReleaseState};
use crate::sync::algorithms::rwlock::{RawRwLock, Reading};
use crate::sync::api::deferred_error::DeferredError;
use crate::sync::api::error::{LockError, LockResult, acquired};
use crate::sync::api::local_copy::LocalCopy;
use crate::sync::api::lock_target::LockTarget;
use crate::sync::api::shared_type::{LayoutReader, LayoutSize, LayoutWriter, LockRef, SharedType};

/// The initial value of a shared reader-writer lock.
///
/// Creating a [`Shared`](crate::Shared) object stores this value in the object; later openings use the
/// stored one. The lock itself is accessed through [`RwLockHandle`], which `Shared` dereferences to.
///
/// `RwLock<[T]>` guards elements in place, for data that is too large to copy. Its initial value is
/// created by [`RwLock::zeroed`], and the lock is accessed through
/// [`RwLockSliceHandle`](crate::RwLockSliceHandle).
///
/// # Examples
/// ```
/// use sharemap::{Location, RwLock, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// let limits = Shared::create_new(Location::anonymous(), || RwLock::new([10_u32, 20]))?;
/// limits.write()?[0] = 15;
/// assert_eq!(*limits.read()?, [15, 20]);
/// # Ok(()) }
/// ```
#[doc(alias = "pthread_rwlock_t")]
#[doc(alias = "SRWLock")]
pub struct RwLock<T: ?Sized + LockTarget>(pub(in crate::sync::api) T::First);

impl<T: Element + Shareable> RwLock<T> {
    /// Creates the initial value of a lock that guards `value`.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::{Location, RwLock, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// const LIMITS: RwLock<[u32; 2]> = RwLock::new([10, 20]);
    /// let limits = Shared::create_new(Location::anonymous(), || LIMITS)?;
    /// assert_eq!(limits.read()?[1], 20);
    /// # Ok(()) }
    /// ```
    pub const fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T: Element + Shareable> SharedType for RwLock<T> {
    type Handle = RwLockHandle<T>;
    const ROOM: LayoutSize = LayoutSize::exactly(RawRwLock::size(size_of::<T>() as u32));

    fn describe(layout: &mut Layout) {
        layout.push("rwlock<");
        T::describe(layout);
        layout.push(">");
    }

    fn fill(&self, blank: &mut LayoutWriter<'_>) -> Result<()> {
        blank.take(Self::ROOM)?.write(RawRwLock::VALUE, self.0.as_bytes())
    }

    fn handle(found: &mut LayoutReader) -> Result<Self::Handle> {
        let place = found.take(Self::ROOM)?;
        let span = place.span()?;
        Ok(RwLockHandle { place, span, deferred: DeferredError::default() })
    }
}

/// The words of a lock and its value.
pub(super) struct Whole<T>(PhantomData<T>);

impl<T> FixedLen for Whole<T> {
    const LEN: u64 = RawRwLock::size(size_of::<T>() as u32);
}

/// A reader-writer lock that is shared between processes.
///
/// Any number of threads may hold the lock for reading, or one thread for writing. One more thread
/// may hold it [upgradably](Self::upgradable) beside readers. Each guard has a local copy of the
/// value. A write guard writes its copy back in one step when it is released.
///
/// If a reader dies, its read lock is released, and nothing else changes. If a writer dies or panics,
/// the value stays the last one written back. Deferred acquisitions then return
/// [`LockError::OwnerDied`], until a writer or an upgradable holder has called
/// [`mark_consistent`](crate::OwnerDiedGuard::mark_consistent) and released the lock.
///
/// A writer that waits for readers blocks new readers, but not threads that already hold a read
/// guard. No other order of acquisition is guaranteed.
///
/// Blocked threads sleep in the kernel as those of a [`MutexHandle`](crate::MutexHandle) do. The lock
/// is not a `pthread_rwlock_t`.
///
/// # Examples
/// ```
/// use sharemap::{Location, RwLock, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// let rates = Shared::create_new(Location::anonymous(), || RwLock::new([0.5_f64; 8]))?;
/// {
///     let (first, second) = (rates.read()?, rates.read()?);
///     assert_eq!(first[7], second[7]);
/// }
/// let mut guard = rates.write()?;
/// guard[7] = 0.25;
/// guard.unlock()?; // as dropping, but returns the error if the value cannot be written
/// # Ok(()) }
/// ```
pub struct RwLockHandle<T> {
    pub(super) place: LockRef,
    pub(super) span: TypedSpan<Whole<T>>,
    pub(super) deferred: DeferredError,
}

impl<T: Element + Shareable> RwLockHandle<T> {
    /// Acquires the lock for reading, blocking the current thread until no writer holds it.
    ///
    /// The call also blocks while a writer waits for readers to release the lock. A thread that
    /// already holds a read guard of this lock does not block.
    ///
    /// If the writer dies, a blocked reader detects the death within milliseconds and releases the
    /// lock.
    ///
    /// # Errors
    /// [`LockError::OwnerDied`] if the lock was acquired, but an earlier writer died or panicked while
    /// holding it and no owner since has called `mark_consistent`.
    /// Otherwise [`LockError::Failed`], of kind
    ///
    /// - `Deadlock` - this thread holds the lock for writing.
    /// - `Poisoned` - an owner poisoned the lock; use [`read_poisoned`](Self::read_poisoned), or
    ///   [`write_poisoned`](Self::write_poisoned) to repair the value.
    /// - `Cancelled` - the call had to block after [`Shared::cancel`](crate::Shared::cancel).
    /// - `Invalid` - the stored bytes are not a valid `T`.
    /// - `Fault` - the memory could not be accessed.
    /// - `NotWritable` - the object was opened read-only or copy-on-write.
    /// - `TooManyThreads` - no [lane](crate::SharedOptions::lanes) became free within about 100 ms, or
    ///   the thread is running its last destructors.
    /// - `TooManyProcesses` - a forked child could not attach within about 100 ms.
    ///
    /// Other kinds report a failed system call, or why a forked child could not attach. An error from
    /// dropping an earlier guard of this handle is returned by the next call, which then acquires
    /// nothing.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, LockError, RwLock, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let limit = Shared::create_new(Location::anonymous(), || RwLock::new(10_u32))?;
    /// let current = match limit.read() {
    ///     Ok(guard) => *guard,
    ///     Err(LockError::OwnerDied(guard)) => *guard, // the last value written back
    ///     Err(LockError::Failed(error)) => return Err(error),
    /// };
    /// assert_eq!(current, 10);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pthread_rwlock_rdlock")]
    #[inline(always)]
    pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        self.read_until(|| None)
    }

    /// Acquires the lock like [`read`](Self::read), but blocks for at most `timeout` while readers are
    /// not admitted.
    ///
    /// A lock that admits readers is acquired even if `timeout` is zero. Claiming a lane is not
    /// bounded by `timeout`.
    ///
    /// # Errors
    /// As for [`read`](Self::read), and
    ///
    /// - `Timeout` - the lock was not acquired within `timeout`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use sharemap::{ErrorKind, Location, RwLock, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let limit = Shared::create_new(Location::anonymous(), || RwLock::new(10_u32))?;
    /// match limit.read_timeout(Duration::from_millis(100)) {
    ///     Ok(guard) => assert_eq!(*guard, 10),
    ///     Err(error) if error.kind() == ErrorKind::Timeout => println!("a writer holds the lock"),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pthread_rwlock_timedrdlock")]
    pub fn read_timeout(&self, timeout: Duration) -> LockResult<RwLockReadGuard<'_, T>> {
        self.read_until(|| self.place.after(timeout))
    }

    /// Acquires the lock for reading, blocking until the moment that `until` returns.
    ///
    /// Inlined is what a free, consistent lock with a valid value needs, for a thread that has a lane. Everything
    /// else is in [`read_slow`](Self::read_slow), which finds out what it was.
    #[inline(always)]
    pub(super) fn read_until(
        &self,
        until: impl FnOnce() -> Option<Duration>,
    ) -> LockResult<RwLockReadGuard<'_, T>> {
        let ready = self.span.ready_slot();
        if let Some(slot) = ready {
            let span = self.span.checked();
            let raw = raw_at::<T>(span.at());
            if raw.announce_read_in(&span, slot).is_ok() && span.fault() == 0 {
                if let Ok((admitted, lead)) = raw.admit_and_load(&span, slot) {
                    let copy = LocalCopy::read_after(&span, raw.value(), lead);
                    if let (true, Some(private), 0) = (admitted, copy, span.fault()) {
                        return Ok(RwLockReadGuard {
                            lock: self,
                            slot,
                            private,
                            thread: PhantomData,
                        });
                    }
                }
            }
        }
        let mut copy = None;
        match self.read_slow(ready, until(), &mut copy) {
            Ok(slot) => {
                let Some(private) = copy else { unreachable!("it was acquired") };
                let guard = RwLockReadGuard { lock: self, slot, private, thread: PhantomData };
                acquired(guard, private.leave() != ReleaseState::Sound)
            }
            Err(error) => Err(LockError::Failed(error)),
        }
    }

    /// Acquires the lock for reading after an attempt of [`read_until`](Self::read_until) with a slot, or without
    /// one. Returns the slot that announces the lock, and the value in `copy`.
    ///
    /// The results fit in registers, or in memory that the other path does not use, so that a guard is built in
    /// registers.
    #[cold]
    #[inline(never)]
    fn read_slow<'a>(
        &'a self,
        tried: Option<AnnouncementRef<'a>>,
        until: Option<Duration>,
        copy: &mut Option<LocalCopy<T>>,
    ) -> Result<AnnouncementRef<'a>> {
        let raw = self.raw();
        // Waits on `place`, which knows whether this opening was cancelled; the session does not.
        let acquired = match tried {
            Some(slot) => raw.read_again(&self.place, slot.announced(), until),
            None => self.deferred.take_and_enable(&self.span).and_then(|()| {
                let announced = raw.announce_read(self.place.session())?;
                raw.read_announced(&self.place, announced, until)
            }),
        };
        let reading = acquired.map_err(|error| self.place.with_object_path(error))?;
        let (slot, private) = self.parts_of_reading(reading)?;
        *copy = Some(private);
        Ok(slot)
    }

    /// Attempts to acquire the lock for reading without waiting for its writer.
    ///
    /// A dead writer is detected, though not necessarily by the first call.
    ///
    /// # Errors
    /// As for [`read`](Self::read), except `Deadlock` and `Cancelled`, and
    ///
    /// - `WouldBlock` - a thread, this one or another, holds the lock for writing, or has it reserved
    ///   and waits for its readers.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{ErrorKind, Location, RwLock, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let limit = Shared::create_new(Location::anonymous(), || RwLock::new(10_u32))?;
    /// let writing = limit.write()?;
    /// assert_eq!(limit.try_read().unwrap_err().kind(), ErrorKind::WouldBlock);
    /// drop(writing);
    /// assert_eq!(*limit.try_read()?, 10);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pthread_rwlock_tryrdlock")]
    pub fn try_read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        self.deferred.take_and_enable(&self.span)?;
        let attempt = self.raw().try_read(self.place.session());
        self.reading(self.place.attempted(attempt, READ)?)
    }

    /// Makes a guard of `reading`: copies the value out, or releases the lock if that fails.
    pub(super) fn reading(&self, reading: Reading) -> LockResult<RwLockReadGuard<'_, T>> {
        let (slot, private) = self.parts_of_reading(reading)?;
        let guard = RwLockReadGuard { lock: self, slot, private, thread: PhantomData };
        acquired(guard, reading.died())
    }

    /// Returns what a read guard consists of: the slot that announces the lock, and a copy of the value. If that
    /// fails, the lock has been released.
    fn parts_of_reading(&self, reading: Reading) -> Result<(AnnouncementRef<'_>, LocalCopy<T>)> {
        let (raw, session) = (self.raw(), self.place.session());
        let slot = self.slot_of(reading.0.announced());
        // A reader changes no flags. The state tells only whether a death must be reported.
        let copy = LocalCopy::read(session, &self.place, raw.value(), reading.0.leave(), READ);
        slot.and_then(|slot| Ok((slot, copy?))).map_err(|error| {
            let _ = raw.unlock_read(session, reading);
            self.place.with_object_path(error)
        })
    }

    /// Returns the mapped slot of an announcement of this thread. A session returns no other announcements.
    fn slot_of(&self, announced: Announced) -> Result<AnnouncementRef<'_>> {
        let slot = self.place.session().slot_of(announced);
        slot.ok_or_else(|| self.place.error(ErrorKind::TooManyThreads, READ))
    }

    /// Acquires the lock for writing, blocking the current thread until no other thread holds it.
    ///
    /// If a holder dies, a blocked writer detects the death within milliseconds and releases the lock.
    ///
    /// # Errors
    /// As for [`read`](Self::read), except that
    ///
    /// - `Deadlock` - this thread already holds the lock, also if only for reading.
    /// - `Poisoned` - an owner poisoned the lock; use [`write_poisoned`](Self::write_poisoned).
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, LockError, RwLock, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let limit = Shared::create_new(Location::anonymous(), || RwLock::new(10_u32))?;
    /// match limit.write() {
    ///     Ok(mut guard) => *guard += 1,
    ///     Err(LockError::OwnerDied(guard)) => *guard.mark_consistent() = 10,
    ///     Err(LockError::Failed(error)) => return Err(error),
    /// }
    /// assert_eq!(*limit.read()?, 11);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pthread_rwlock_wrlock")]
    #[inline(always)]
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.write_until(None)
    }

    /// Acquires the lock like [`write`](Self::write), but blocks for at most `timeout` while it is held.
    ///
    /// A free lock is acquired even if `timeout` is zero. Claiming a lane is not bounded by `timeout`.
    ///
    /// # Errors
    /// As for [`write`](Self::write), and
    ///
    /// - `Timeout` - the lock was not acquired within `timeout`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use sharemap::{Location, RwLock, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let limit = Shared::create_new(Location::anonymous(), || RwLock::new(10_u32))?;
    /// *limit.write_timeout(Duration::from_secs(1))? = 20;
    /// assert_eq!(*limit.read()?, 20);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pthread_rwlock_timedwrlock")]
    pub fn write_timeout(&self, timeout: Duration) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.write_until(self.place.after(timeout))
    }

    /// Acquires the lock for writing, blocking until the moment `until`; `None`: no limit.
    ///
    /// Inlined is what a free, consistent lock without readers needs, for a thread that has a lane and is not
    /// panicking. Everything else is in [`write_slow`](Self::write_slow), which finds out what it was.
    #[inline(always)]
    pub(super) fn write_until(
        &self,
        until: Option<Duration>,
    ) -> LockResult<RwLockWriteGuard<'_, T>> {
        let (ready, mut attempt) = (self.span.ready_slot(), Attempt::Refused);
        if let Some(slot) = ready {
            let span = self.span.checked();
            let raw = raw_at::<T>(span.at());
            if raw.announce_write_in(&span, slot).is_ok() && span.fault() == 0 {
                if let Ok((found, seen, lead)) = raw.write_and_load(&span, slot) {
                    let copy = LocalCopy::read_after(&span, raw.value(), lead);
                    // A panic that began earlier does not count against the guard, which must be told.
                    if let (0, Some(private), 0, false) =
                        (found | seen, copy, span.fault(), std::thread::panicking())
                    {
                        return Ok(RwLockWriteGuard {
                            lock: self,
                            slot,
                            private,
                            thread: PhantomData,
                        });
                    }
                    attempt = Attempt::of(found, span.faulted_at_start());
                }
            }
        }
        let mut copy = None;
        match self.write_slow(ready, attempt, until, &mut copy) {
            Ok(slot) => {
                let Some(private) = copy else { unreachable!("it was acquired") };
                let guard = RwLockWriteGuard { lock: self, slot, private, thread: PhantomData };
                acquired(guard, private.leave() != ReleaseState::Sound)
            }
            Err(error) => Err(LockError::Failed(error)),
        }
    }

    /// Acquires the lock for writing after an attempt of [`write_until`](Self::write_until) with a slot, or
    /// without one. Returns the slot that announces the lock, and the value in `copy`, as
    /// [`read_slow`](Self::read_slow) does.
    #[cold]
    #[inline(never)]
    fn write_slow<'a>(
        &'a self,
        tried: Option<AnnouncementRef<'a>>,
        attempt: Attempt,
        until: Option<Duration>,
        copy: &mut Option<LocalCopy<T>>,
    ) -> Result<AnnouncementRef<'a>> {
        let acquired = match tried {
            Some(slot) => self.raw().write_again(&self.place, slot.announced(), attempt, until),
            None => self
                .deferred
                .take_and_enable(&self.span)
                .and_then(|()| self.raw().write_on(self.place.session(), &self.place, until)),
        };
        let (slot, private) =
            self.exclusive(acquired.map_err(|error| self.place.with_object_path(error))?)?;
        *copy = Some(private);
        Ok(slot)
    }

    /// Attempts to acquire the lock for writing without waiting for its holders.
    ///
    /// A dead holder is detected, though not necessarily by the first call.
    ///
    /// # Errors
    /// As for [`write`](Self::write), except `Deadlock` and `Cancelled`, and
    ///
    /// - `WouldBlock` - a thread, this one or another, holds the lock.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{ErrorKind, Location, RwLock, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let limit = Shared::create_new(Location::anonymous(), || RwLock::new(10_u32))?;
    /// let reading = limit.read()?;
    /// assert_eq!(limit.try_write().unwrap_err().kind(), ErrorKind::WouldBlock);
    /// drop(reading);
    /// *limit.try_write()? = 20;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pthread_rwlock_trywrlock")]
    pub fn try_write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.deferred.take_and_enable(&self.span)?;
        let attempt = self.raw().try_write(self.place.session());
        self.writing(self.place.attempted(attempt, WRITE)?)
    }

    fn writing(&self, held: Acquisition) -> LockResult<RwLockWriteGuard<'_, T>> {
        acquired(self.write_guard(held)?, held.died())
    }

    /// Makes a guard of `held`. If that fails, the lock has been released.
    pub(super) fn write_guard(&self, held: Acquisition) -> Result<RwLockWriteGuard<'_, T>> {
        let (slot, private) = self.exclusive(held)?;
        Ok(RwLockWriteGuard { lock: self, slot, private, thread: PhantomData })
    }

    /// Returns what a guard of the lock's word consists of: the slot that announces it, and a copy of the value.
    /// If that fails, the lock has been released.
    pub(super) fn exclusive(
        &self,
        held: Acquisition,
    ) -> Result<(AnnouncementRef<'_>, LocalCopy<T>)> {
        let (raw, session, leave) = (self.raw(), self.place.session(), held.leave());
        let slot = self.slot_of(held.announced());
        // The guard leaves the flags as found until `mark_consistent` is called.
        let copy = LocalCopy::read(session, &self.place, raw.value(), leave, WRITE);
        slot.and_then(|slot| Ok((slot, copy?))).map_err(|error| {
            // The flags stay as they were found: this owner has neither accepted nor changed the value.
            let _ = raw.unlock(session, held, leave);
            self.place.with_object_path(error)
        })
    }

    pub(super) fn raw(&self) -> RawRwLock {
        raw_at::<T>(self.place.at)
    }
}

#[inline(always)]
pub(super) fn raw_at<T>(at: u64) -> RawRwLock {
    RawRwLock::new(at, size_of::<T>() as u32)
}

impl<T> RwLockHandle<T> {
    pub(in crate::sync::api) fn place(&self) -> &LockRef {
        &self.place
    }
}

impl<T> fmt::Debug for RwLockHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLockHandle").field("at", &self.place.at).finish_non_exhaustive()
    }
}
