//! Acquiring a reader-writer lock for writing.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::time::Duration;

use super::handle::raw_at;
use super::{RwLockHandle, RwLockWriteGuard, WRITE};
use crate::error::Result;
use crate::layout::{Element, Shareable};
use crate::peer::AnnouncementRef;
use crate::sync::algorithms::mutex::{Acquisition, Attempt, ReleaseState};
use crate::sync::api::error::{LockError, LockResult, acquired};
use crate::sync::api::local_copy::LocalCopy;

impl<T: Element + Shareable> RwLockHandle<T> {
    /// Acquires the lock for writing, blocking the current thread until no other thread holds it.
    ///
    /// If a holder dies, a blocked writer detects the death within milliseconds and releases the lock.
    ///
    /// # Errors
    /// As for [`read`](Self::read), except that
    ///
    /// - `Deadlock` - this thread already holds the lock, even if only for reading.
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
}
