//! Acquiring a reader-writer lock for reading.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::time::Duration;

use super::{READ, RwLockHandle, RwLockReadGuard};
use crate::error::Result;
use crate::peer::AnnouncementRef;
use crate::sync::algorithms::exclusive::Exclusive;
use crate::sync::algorithms::rwlock::{RawRwLock, Reading};
use crate::sync::api::error::{LockResult, acquired};
use crate::sync::api::local_copy::LocalCopy;
use crate::sync::api::lock::Lock;
use crate::sync::api::lock_target::LockTarget;

impl<T: ?Sized + LockTarget> RwLockHandle<T> {
    /// Acquires the lock for reading, blocking the current thread until no writer holds it.
    ///
    /// The call also blocks while a writer waits for readers to release the lock. A thread that
    /// already holds a read guard of this lock does not block.
    ///
    /// If the writer dies, a blocked reader detects the death within milliseconds and releases the
    /// lock.
    ///
    /// # Errors
    /// [`LockError::OwnerDied`](crate::LockError::OwnerDied) if the lock was acquired, but an earlier writer died or panicked while
    /// holding it and no owner since has called `mark_consistent`. Elements in place may be
    /// half-written.
    /// Otherwise [`LockError::Failed`](crate::LockError::Failed), of kind
    ///
    /// - `Deadlock` - this thread holds the lock for writing.
    /// - `Poisoned` - an owner poisoned the lock; use [`read_poisoned`](Self::read_poisoned), or
    ///   [`write_poisoned`](Self::write_poisoned) to repair the value or the elements.
    /// - `Cancelled` - the call had to block after [`Shared::cancel`](crate::Shared::cancel).
    /// - `Invalid` - the stored bytes are not a valid value. Any bytes are elements of a slice.
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
        self.read_until(|| self.0.place.after(timeout))
    }

    /// Acquires the lock for reading, blocking until the moment that `until` returns; `None`: no limit.
    #[inline(always)]
    pub(super) fn read_until(
        &self,
        until: impl FnOnce() -> Option<Duration>,
    ) -> LockResult<RwLockReadGuard<'_, T>> {
        told(self.0.read_until(until))
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
        told(self.0.try_read())
    }
}

/// Returns the guard of an acquired lock, as `OwnerDied` if a writer died.
#[inline(always)]
fn told<T: ?Sized + LockTarget>(
    guard: Result<RwLockReadGuard<'_, T>>,
) -> LockResult<RwLockReadGuard<'_, T>> {
    let guard = guard?;
    let found = guard.private.leave();
    acquired(guard, found)
}

impl<T: ?Sized + LockTarget> Lock<RawRwLock, T> {
    /// Acquires the lock for reading, blocking until the moment that `until` returns.
    ///
    /// Inlined is what a free, consistent lock with a valid value needs, for a thread that has a lane. Everything
    /// else is out of line, as in [`lock_until`](Self::lock_until).
    #[inline(always)]
    fn read_until(
        &self,
        until: impl FnOnce() -> Option<Duration>,
    ) -> Result<RwLockReadGuard<'_, T>> {
        if !LocalCopy::<T::Copied>::FITS_REGISTERS {
            return self.read_large(until());
        }
        // Initialised out of line.
        let mut copy;
        let slot = 'slow: {
            let Some((slot, span, raw)) = self.announce_at_once(RawRwLock::announce_read_in) else {
                copy = None;
                break 'slow self.read_slow(until(), &mut copy);
            };
            if let Ok((word, has_bit, lead)) = raw.admit_and_load(&span, slot) {
                if u64::from(word) | span.fault() as u64 == 0 && has_bit {
                    if let Some(private) = LocalCopy::read_after(&span, raw.value(), lead) {
                        return Ok(RwLockReadGuard {
                            lock: self,
                            slot,
                            private,
                            thread: PhantomData,
                        });
                    }
                }
            }
            copy = None;
            self.read_again(slot, until(), &mut copy)
        }?;
        let Some(private) = copy else { unreachable!("it was acquired") };
        Ok(RwLockReadGuard { lock: self, slot, private, thread: PhantomData })
    }

    /// Acquires the lock for reading without a ready slot. Returns the slot that announces it, and the value in
    /// `copy`.
    #[cold]
    #[inline(never)]
    fn read_slow(
        &self,
        until: Option<Duration>,
        copy: &mut Option<LocalCopy<T::Copied>>,
    ) -> Result<AnnouncementRef<'_>> {
        let guard = ManuallyDrop::new(self.read_large(until)?);
        *copy = Some(guard.private);
        Ok(guard.slot)
    }

    /// Acquires the lock for reading after an attempt with `slot`. Returns the slot that announces it, and the value
    /// in `copy`.
    #[cold]
    #[inline(never)]
    fn read_again<'a>(
        &'a self,
        slot: AnnouncementRef<'a>,
        until: Option<Duration>,
        copy: &mut Option<LocalCopy<T::Copied>>,
    ) -> Result<AnnouncementRef<'a>> {
        // Waits on `place`, which knows whether this opening was cancelled; the session does not.
        let reading = self.raw().read_announced(&self.place, slot.announced(), until);
        let guard = ManuallyDrop::new(self.read_guard(reading)?);
        *copy = Some(guard.private);
        Ok(guard.slot)
    }

    /// Acquires the lock for reading, for a value that does not fit in registers. It is copied out of line, straight
    /// into its guard.
    #[inline(never)]
    fn read_large(&self, until: Option<Duration>) -> Result<RwLockReadGuard<'_, T>> {
        self.take_deferred()?;
        let (raw, session) = (self.raw(), self.session());
        self.read_guard(raw.announce_read(session).and_then(|announced| {
            if raw.read_at_once(session, announced) {
                return Ok(Reading::at_once(announced));
            }
            raw.read_announced(&self.place, announced, until)
        }))
    }

    /// Acquires the lock for reading, but fails with `WouldBlock` if no reader is admitted.
    fn try_read(&self) -> Result<RwLockReadGuard<'_, T>> {
        self.take_deferred()?;
        let attempt = self.raw().try_read(self.session());
        self.read_guard(self.place.attempted(attempt, READ))
    }

    /// Acquires the lock for reading, blocking until the moment `until`, also if it is poisoned.
    pub(super) fn read_poisoned(&self, until: Option<Duration>) -> Result<RwLockReadGuard<'_, T>> {
        self.take_deferred()?;
        self.read_guard(self.raw().read_poisoned(&self.place, until))
    }

    /// Returns the guard of an acquired lock: copies the value out, or releases the lock if that fails.
    ///
    /// A reader changes no flags. The state of the guard tells only whether a death must be reported.
    #[inline]
    fn read_guard(&self, reading: Result<Reading>) -> Result<RwLockReadGuard<'_, T>> {
        let reading = reading.map_err(|error| self.named(error))?;
        self.copy(reading.0, READ)
            .map(|(slot, private)| RwLockReadGuard {
                lock: self,
                slot,
                private,
                thread: PhantomData,
            })
            .inspect_err(|_| drop(self.raw().unlock_read(self.session(), reading)))
    }
}
