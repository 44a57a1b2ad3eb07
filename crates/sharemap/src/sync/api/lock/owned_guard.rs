//! The part that guards of an exclusively held lock have in common, and the release.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;

use super::{Lock, raw_at};
use crate::error::{Error, ErrorKind, Result};
use crate::peer::AnnouncementRef;
use crate::sync::algorithms::exclusive::{Acquisition, Exclusive, ReleaseState};
use crate::sync::api::error::{LockResult, acquired};
use crate::sync::api::local_copy::LocalCopy;
use crate::sync::api::lock_target::LockTarget;
use crate::sync::core::unlock;

/// A guard that owns a lock's word, with a local copy of the value. Of a slice, nothing is copied.
pub(in crate::sync::api) struct OwnedGuard<'a, R: Exclusive, T: ?Sized + LockTarget> {
    pub(in crate::sync::api) lock: &'a Lock<R, T>,
    /// The slot that announces the lock.
    pub(in crate::sync::api) slot: AnnouncementRef<'a>,
    pub(in crate::sync::api) private: LocalCopy<T::Copied>,
    /// A thread owns the lock, so the guard must not be sent to another.
    pub(in crate::sync::api) thread: PhantomData<*const ()>,
}

/// Returns the guard of an acquired lock as `guard` makes it, as `OwnerDied` if an earlier owner died.
#[inline(always)]
pub(in crate::sync::api) fn told<'a, R: Exclusive, T: ?Sized + LockTarget, G>(
    owned: Result<OwnedGuard<'a, R, T>>,
    guard: impl FnOnce(OwnedGuard<'a, R, T>) -> G,
) -> LockResult<G> {
    let owned = owned?;
    let found = owned.private.leave();
    acquired(guard(owned), found)
}

impl<R: Exclusive, T: ?Sized + LockTarget> OwnedGuard<'_, R, T> {
    /// Writes the value back and releases the lock.
    pub(in crate::sync::api) fn unlock(self) -> Result<()> {
        let this = ManuallyDrop::new(self);
        if this.release_at_once() {
            return Ok(());
        }
        this.lock.release_slow(this.slot, this.private)
    }

    /// Releases the lock where that is no more than to store the value, the word and the announcement. If anything
    /// is unusual, [`Lock::release_slow`] finds out what has been done.
    #[inline(always)]
    fn release_at_once(&self) -> bool {
        let span = self.lock.span.checked();
        if !self.private.is_released_plainly(self.slot) {
            return false;
        }
        let raw = raw_at::<R, T>(span.at());
        let Ok(last) = self.private.write_before(&span, raw.value()) else {
            return false;
        };
        unlock::withdraw_at_once(&span, self.slot, raw.store_and_unlock(&span, last))
    }

    /// Writes the value back, and returns the acquisition and the state in which to leave the lock, which a condition
    /// variable then releases. Returns `None` in a forked child, where the copy of the guard holds nothing. If the
    /// write fails, the lock is released.
    pub(in crate::sync::api) fn into_parts(self) -> Result<Option<(Acquisition, ReleaseState)>> {
        let this = ManuallyDrop::new(self);
        let (lock, raw, session) = (this.lock, this.lock.raw(), this.lock.session());
        if !session.is_mine(this.slot) {
            return Ok(None);
        }
        let held = Acquisition::of(this.slot.announced(), 0);
        let (written, leave) = this.private.write_back(session, raw.value());
        if let Err(error) = written {
            let _ = raw.unlock(session, held, leave);
            return Err(lock.named(error));
        }
        Ok(Some((held, leave)))
    }

    /// Makes the release clear the record of a death and of poisoning.
    pub(in crate::sync::api) fn mark_consistent(&mut self) {
        self.private.set_leave(ReleaseState::Sound);
    }

    /// Releases the lock and leaves it poisoned. The value is not written back.
    pub(in crate::sync::api) fn poison(mut self) -> Result<()> {
        self.private.set_leave(ReleaseState::Poisoned);
        self.unlock()
    }

    /// Returns an error that names the lock.
    pub(in crate::sync::api) fn error(&self, kind: ErrorKind, operation: &'static str) -> Error {
        self.lock.place.error(kind, operation)
    }
}

impl<R: Exclusive, T: ?Sized + LockTarget> Lock<R, T> {
    /// Releases the lock like [`release_slow`](Self::release_slow), and defers an error.
    #[cold]
    #[inline(never)]
    fn drop_slow(&self, slot: AnnouncementRef<'_>, private: LocalCopy<T::Copied>) {
        if let Err(error) = self.release_slow(slot, private) {
            self.defer(error);
        }
    }

    /// Releases the lock, or completes what [`OwnedGuard::release_at_once`] left to do. The word tells which: it
    /// names this lane until it is released.
    #[cold]
    #[inline(never)]
    pub(in crate::sync::api) fn release_slow(
        &self,
        slot: AnnouncementRef<'_>,
        private: LocalCopy<T::Copied>,
    ) -> Result<()> {
        let (raw, session, announced) = (self.raw(), self.session(), slot.announced());
        // In a forked child, the lane is not this process's: the parent still holds the lock.
        if !session.is_mine(slot) {
            return Ok(());
        }
        let sound = raw.unlocking(ReleaseState::Sound);
        let released = match sound.is_held(session, announced) {
            Ok(true) => {
                // Before the word is released, or the next owner could read the old copy. Death before the
                // release: the word still names this lane, and recovery sets `DIED`.
                let (written, leave) = private.write_back(session, raw.value());
                // Released even if the write failed: the old value is then still the current one.
                written.and(raw.unlock(session, Acquisition::of(announced, 0), leave))
            }
            Ok(false) => {
                let finished = sound.finish_released(session, announced);
                // `release_at_once` may have released it. Perhaps another owner has it already.
                let is_mine = private.is_released_plainly(slot);
                if is_mine { finished } else { Err(sound.overwritten()) }
            }
            Err(error) => Err(error),
        };
        released.map_err(|error| self.named(error))
    }
}

impl<R: Exclusive, T: ?Sized + LockTarget> Drop for OwnedGuard<'_, R, T> {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.release_at_once() {
            self.lock.drop_slow(self.slot, self.private);
        }
    }
}

/// Implements [`Reclaim`](crate::sync::api::error::Reclaim) for guards that consist of an [`OwnedGuard`].
macro_rules! reclaim_owned {
    ($($guard:ident)*) => { $(
        impl<T: ?Sized + LockTarget> Reclaim for $guard<'_, T> {
            fn mark_consistent(&mut self) {
                self.0.mark_consistent();
            }

            fn poison(self) -> Result<()> {
                self.0.poison()
            }

            fn error(&self, kind: ErrorKind, operation: &'static str) -> Error {
                self.0.error(kind, operation)
            }
        }
    )* };
}
pub(in crate::sync::api) use reclaim_owned;
