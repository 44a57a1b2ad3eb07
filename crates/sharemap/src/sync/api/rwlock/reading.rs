//! Acquiring a reader-writer lock for reading.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::time::Duration;

use super::handle::raw_at;
use super::{READ, RwLockHandle, RwLockReadGuard};
use crate::error::Result;
use crate::layout::{Element, Shareable};
use crate::peer::AnnouncementRef;
use crate::sync::algorithms::mutex::ReleaseState;
use crate::sync::algorithms::rwlock::Reading;
use crate::sync::api::error::{LockError, LockResult, acquired};
use crate::sync::api::local_copy::LocalCopy;

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
}
