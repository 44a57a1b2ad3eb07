//! Acquiring a lock exclusively: a mutex, or a reader-writer lock for writing.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::time::Duration;

use super::{Lock, OwnedGuard, raw_at};
use crate::error::{ErrorKind, Result};
use crate::peer::{AnnouncementRef, CheckedSpan};
use crate::sync::algorithms::exclusive::{Acquisition, Exclusive};
use crate::sync::api::local_copy::LocalCopy;
use crate::sync::api::lock_target::LockTarget;

impl<R: Exclusive, T: ?Sized + LockTarget> Lock<R, T> {
    /// Acquires the lock, blocking until the moment that `until` returns.
    ///
    /// Inlined is what a free, consistent lock with a valid value and without readers needs, for a thread that has a
    /// lane and is not panicking. Everything else is out of line, and finds out what it was. Its results fit in
    /// registers, or in memory that the other path does not use, so that a guard is built in registers.
    #[inline(always)]
    pub(in crate::sync::api) fn lock_until(
        &self,
        until: impl FnOnce() -> Option<Duration>,
    ) -> Result<OwnedGuard<'_, R, T>> {
        // A large value is copied out of line, straight into its guard.
        if !LocalCopy::<T::Copied>::FITS_REGISTERS {
            return self.lock_large(until());
        }
        // Initialised out of line.
        let mut copy;
        let slot = 'slow: {
            let Some((slot, span, raw)) = self.announce_at_once(R::announce_in) else {
                copy = None;
                break 'slow self.lock_slow(until(), &mut copy);
            };
            let tried = raw.lock_and_load(&span, slot);
            if let Ok((exchange, seen, lead)) = tried {
                // Only the owner copies the value, once no reader is left. A thread that panics already is recorded
                // in the guard, so that this panic does not discard the change.
                if exchange.found | seen | span.fault() as u64 == 0 && !std::thread::panicking() {
                    if let Some(private) = LocalCopy::read_after(&span, raw.value(), lead) {
                        return Ok(OwnedGuard { lock: self, slot, private, thread: PhantomData });
                    }
                }
            }
            let has_word = tried.is_ok_and(|(exchange, ..)| exchange.has_acquired());
            copy = None;
            self.lock_again(slot, has_word, until(), &mut copy)
        }?;
        let Some(private) = copy else { unreachable!("it was acquired") };
        Ok(OwnedGuard { lock: self, slot, private, thread: PhantomData })
    }

    /// Announces the lock by `announce` in a slot that is known to be empty. `None`: there is none, or it faulted.
    #[inline(always)]
    pub(in crate::sync::api) fn announce_at_once<'a>(
        &'a self,
        announce: impl FnOnce(R, &CheckedSpan<'a>, AnnouncementRef<'a>) -> Result<()>,
    ) -> Option<(AnnouncementRef<'a>, CheckedSpan<'a>, R)> {
        let slot = self.span.ready_slot()?;
        let span = self.span.checked();
        let raw = raw_at::<R, T>(span.at());
        let announced = announce(raw, &span, slot);
        // After a fault, the slot stays out of use until a look shows that it is empty.
        (announced.is_ok() && span.fault() == 0).then_some((slot, span, raw))
    }

    /// Acquires the lock without a ready slot. Returns the slot that announces it, and the value in `copy`.
    #[cold]
    #[inline(never)]
    fn lock_slow(
        &self,
        until: Option<Duration>,
        copy: &mut Option<LocalCopy<T::Copied>>,
    ) -> Result<AnnouncementRef<'_>> {
        self.take_deferred()?;
        // Waits on `place`, which knows whether this opening was cancelled; the session does not.
        self.copied(self.raw().lock_on(self.session(), &self.place, until), copy)
    }

    /// Acquires the lock after an attempt with `slot`, which may have acquired the word. Returns the slot that announces
    /// it, and the value in `copy`.
    #[cold]
    #[inline(never)]
    fn lock_again<'a>(
        &'a self,
        slot: AnnouncementRef<'a>,
        has_word: bool,
        until: Option<Duration>,
        copy: &mut Option<LocalCopy<T::Copied>>,
    ) -> Result<AnnouncementRef<'a>> {
        self.copied(self.raw().lock_again(&self.place, slot.announced(), has_word, until), copy)
    }

    /// Copies the value of an acquired lock into `copy`, and returns the slot that announces the lock.
    fn copied(
        &self,
        held: Result<Acquisition>,
        copy: &mut Option<LocalCopy<T::Copied>>,
    ) -> Result<AnnouncementRef<'_>> {
        let guard = ManuallyDrop::new(self.guard(held)?);
        *copy = Some(guard.private);
        Ok(guard.slot)
    }

    /// Acquires the lock like [`lock_until`](Self::lock_until), for a value that does not fit in registers.
    #[inline(never)]
    fn lock_large(&self, until: Option<Duration>) -> Result<OwnedGuard<'_, R, T>> {
        self.take_deferred()?;
        self.guard(self.raw().lock_on(self.session(), &self.place, until))
    }

    /// Acquires the lock, but fails with `WouldBlock` if a thread holds it.
    pub(in crate::sync::api) fn try_lock(&self) -> Result<OwnedGuard<'_, R, T>> {
        self.take_deferred()?;
        let attempt = self.raw().try_lock(self.session());
        self.guard(self.place.attempted(attempt, R::OPERATION))
    }

    /// Acquires the lock, blocking until the moment `until`, also if it is poisoned.
    pub(in crate::sync::api) fn lock_poisoned(
        &self,
        until: Option<Duration>,
    ) -> Result<OwnedGuard<'_, R, T>> {
        self.take_deferred()?;
        self.guard(self.raw().lock_poisoned(&self.place, until))
    }

    /// Returns the guard of an acquired lock: copies the value out, or releases the lock if that fails.
    ///
    /// The guard leaves the flags as found until it is marked consistent.
    #[inline]
    pub(in crate::sync::api) fn guard(
        &self,
        held: Result<Acquisition>,
    ) -> Result<OwnedGuard<'_, R, T>> {
        let held = held.map_err(|error| self.named(error))?;
        self.copy(held, R::OPERATION)
            .map(|(slot, private)| OwnedGuard { lock: self, slot, private, thread: PhantomData })
            .inspect_err(|_| drop(self.raw().unlock(self.session(), held, held.leave())))
    }

    /// Returns the mapped slot of an acquired lock, and a copy of the value.
    #[inline]
    pub(in crate::sync::api) fn copy(
        &self,
        held: Acquisition,
        operation: &'static str,
    ) -> Result<(AnnouncementRef<'_>, LocalCopy<T::Copied>)> {
        let session = self.session();
        // A session returns no announcement but those of lanes that this process has.
        let slot = session
            .slot_of(held.announced())
            .ok_or_else(|| self.place.error(ErrorKind::TooManyThreads, operation))?;
        let copy =
            LocalCopy::read(session, &self.place, self.raw().value(), held.leave(), operation);
        Ok((slot, copy.map_err(|error| self.named(error))?))
    }
}
