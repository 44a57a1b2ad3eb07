//! `RwLock`, the initial value, and `RwLockHandle`, which acquires the lock for reading or writing.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
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
/// the value stays the last one written back. Later acquisitions then return
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
        if !LocalCopy::<T>::FITS_REGISTERS {
            return self.read_large(until());
        }
        let tried = 'unusual: {
            let Some(slot) = self.span.ready_slot() else { break 'unusual None };
            let span = self.span.checked();
            let raw = raw_at::<T>(span.at());
            if raw.announce_read_in(&span, slot).is_err() || span.fault() != 0 {
                // The slot stays out of use until a look shows that it is empty.
                break 'unusual None;
            }
            if let Ok((true, lead)) = raw.admit_and_load(&span, slot) {
                let copy = LocalCopy::read_after(&span, raw.value(), lead);
                if let (Some(private), 0) = (copy, span.fault()) {
                    return Ok(RwLockReadGuard { lock: self, slot, private, thread: PhantomData });
                }
            }
            Some(slot)
        };
        let mut copy = None;
        match self.read_slow(tried, until(), &mut copy) {
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
            Some(slot) => raw.read_announced(&self.place, slot.announced(), until),
            None => self.deferred.take_and_enable(&self.span).and_then(|()| {
                let announced = raw.announce_read(self.place.session())?;
                raw.read_announced(&self.place, announced, until)
            }),
        };
        let reading = acquired.map_err(|error| self.place.with_object_path(error))?;
        let guard = ManuallyDrop::new(self.read_guard(reading)?);
        *copy = Some(guard.private);
        Ok(guard.slot)
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

    /// Acquires the lock for reading, for a value that does not fit in registers. It is copied out of line, straight
    /// into its guard.
    #[inline(never)]
    fn read_large(&self, until: Option<Duration>) -> LockResult<RwLockReadGuard<'_, T>> {
        self.deferred.take_and_enable(&self.span)?;
        let (raw, session) = (self.raw(), self.place.session());
        let reading = raw.announce_read(session).and_then(|announced| {
            if raw.read_at_once(session, announced) {
                return Ok(Reading::at_once(announced));
            }
            raw.read_announced(&self.place, announced, until)
        });
        self.reading(reading.map_err(|error| self.place.with_object_path(error))?)
    }

    /// Makes a guard of `reading`: copies the value out, or releases the lock if that fails.
    pub(super) fn reading(&self, reading: Reading) -> LockResult<RwLockReadGuard<'_, T>> {
        acquired(self.read_guard(reading)?, reading.died())
    }

    /// Makes a guard of `reading`. If that fails, the lock has been released.
    #[inline]
    fn read_guard(&self, reading: Reading) -> Result<RwLockReadGuard<'_, T>> {
        let (raw, session) = (self.raw(), self.place.session());
        let release = |error| {
            let _ = raw.unlock_read(session, reading);
            self.place.with_object_path(error)
        };
        let slot = self.slot_of(reading.0.announced()).map_err(release)?;
        // A reader changes no flags. The state tells only whether a death must be reported.
        let leave = reading.0.leave();
        match LocalCopy::read(session, &self.place, raw.value(), leave, READ) {
            Ok(private) => Ok(RwLockReadGuard { lock: self, slot, private, thread: PhantomData }),
            Err(error) => Err(release(error)),
        }
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
        if !LocalCopy::<T>::FITS_REGISTERS {
            return self.write_large(until);
        }
        let (tried, attempt) = 'unusual: {
            let Some(slot) = self.span.ready_slot() else {
                break 'unusual (None, Attempt::Refused);
            };
            let span = self.span.checked();
            let raw = raw_at::<T>(span.at());
            if raw.announce_write_in(&span, slot).is_err() || span.fault() != 0 {
                break 'unusual (None, Attempt::Refused);
            }
            let Ok((found, seen, lead)) = raw.write_and_load(&span, slot) else {
                break 'unusual (Some(slot), Attempt::Refused);
            };
            // Only the owner copies the value, once no reader is left. A panic that began earlier does not count
            // against the guard, which must be told.
            if found | u64::from(seen) | span.fault() as u64 == 0 && !std::thread::panicking() {
                let copy = LocalCopy::read_after(&span, raw.value(), lead);
                if let (Some(private), 0) = (copy, span.fault()) {
                    return Ok(RwLockWriteGuard { lock: self, slot, private, thread: PhantomData });
                }
            }
            (Some(slot), Attempt::of(found))
        };
        let mut copy = None;
        match self.write_slow(tried, attempt, until, &mut copy) {
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
        let held = acquired.map_err(|error| self.place.with_object_path(error))?;
        let guard = ManuallyDrop::new(self.write_guard(held)?);
        *copy = Some(guard.private);
        Ok(guard.slot)
    }

    /// Acquires the lock for writing, for a value that does not fit in registers.
    #[inline(never)]
    fn write_large(&self, until: Option<Duration>) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.deferred.take_and_enable(&self.span)?;
        let held = self.raw().write_on(self.place.session(), &self.place, until);
        self.writing(held.map_err(|error| self.place.with_object_path(error))?)
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
    #[inline]
    pub(super) fn write_guard(&self, held: Acquisition) -> Result<RwLockWriteGuard<'_, T>> {
        // The flags stay as they were found: this owner has neither accepted nor changed the value.
        let (raw, session, leave) = (self.raw(), self.place.session(), held.leave());
        let release = |error| {
            let _ = raw.unlock(session, held, leave);
            self.place.with_object_path(error)
        };
        let slot = self.slot_of(held.announced()).map_err(release)?;
        // The guard leaves the flags as found until `mark_consistent` is called.
        match LocalCopy::read(session, &self.place, raw.value(), leave, WRITE) {
            Ok(private) => Ok(RwLockWriteGuard { lock: self, slot, private, thread: PhantomData }),
            Err(error) => Err(release(error)),
        }
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
