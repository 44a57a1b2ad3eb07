//! What one who has the lock holds, with a copy of the value.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::RwLockHandle;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Element, Shareable};
use crate::peer::Machine;
use crate::sync::algorithms::mutex::{Acquisition, ReleaseState};
use crate::sync::algorithms::rwlock::Reading;
use crate::sync::api::error::{Reclaim, reclaim_inner};
use crate::sync::api::private::{Calm, Private};
use crate::sync::api::upgrade::upgrade;

/// That this thread reads, with its copy of the value.
#[must_use = "the lock is released at once if the guard is not kept"]
pub struct RwLockReadGuard<'a, T: Element + Shareable> {
    pub(super) lock: &'a RwLockHandle<T>,
    pub(super) reading: Reading,
    pub(super) private: Private<T>,
    pub(super) thread: PhantomData<*const ()>,
}

impl<T: Element + Shareable> Reclaim for RwLockReadGuard<'_, T> {
    /// A reader reads; that an owner died stays for a writer to accept.
    fn mark_consistent(&mut self) {}

    fn poison(self) -> Result<()> {
        let error = self.lock.place.error(ErrorKind::NotWritable, "poison the lock");
        Err(error.with_detail("who reads cannot; lock it for writing"))
    }

    fn error(&self, kind: ErrorKind, operation: &'static str) -> Error {
        self.lock.place.error(kind, operation)
    }
}

impl<T: Element + Shareable> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.private.value
    }
}

impl<T: Element + Shareable> Drop for RwLockReadGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        let session = self.lock.place.session();
        if session.is_own(self.reading.0.lane()) {
            if let Err(error) = self.lock.raw.unlock_read(session, self.reading) {
                self.lock.kept.keep(self.lock.place.with_object_path(error));
            }
        }
    }
}

/// What a writer and whoever may become one have.
pub(super) struct Holding<'a, T: Element + Shareable> {
    pub(super) lock: &'a RwLockHandle<T>,
    pub(super) held: Option<Acquisition>,
    pub(super) private: Private<T>,
    pub(super) calm: Calm,
    pub(super) way: Way,
    pub(super) thread: PhantomData<*const ()>,
}

/// What whoever has the word may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Read,
    Write,
}

impl<T: Element + Shareable> Holding<'_, T> {
    #[inline(always)]
    fn release(&mut self) -> Result<()> {
        let Some(held) = self.held.take() else { return Ok(()) };
        let (place, raw) = (&self.lock.place, self.lock.raw);
        if !place.session().is_own(held.lane()) {
            return Ok(());
        }
        let mut written = Ok(());
        let mut leave = self.private.leave();
        if self.way == Way::Read || leave == ReleaseState::Poisoned {
            // There is nothing new, or what was to be repaired was not.
        } else if self.calm.is_over() {
            leave = ReleaseState::Died;
        } else {
            written = self.private.write(place.session(), raw.value());
        }
        let released = raw.unlock(place.session(), held, leave);
        written.and(released).map_err(|error| place.with_object_path(error))
    }

    fn leave(&mut self, leave: ReleaseState) {
        self.private.set_leave(leave);
    }
}

impl<T: Element + Shareable> Drop for Holding<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Err(error) = self.release() {
            self.lock.kept.keep(error);
        }
    }
}

/// That this thread alone has the lock, with its copy of the value.
#[must_use = "the lock is released at once if the guard is not kept"]
pub struct RwLockWriteGuard<'a, T: Element + Shareable> {
    pub(super) inner: Holding<'a, T>,
}

impl<T: Element + Shareable> RwLockWriteGuard<'_, T> {
    /// Writes the value back and releases the lock, as dropping does, and says whether it worked.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault) if the memory is gone. The lock is released all the same,
    /// unless it is its word that cannot be written: then whoever recovers this process does it.
    pub fn unlock(mut self) -> Result<()> {
        self.inner.release()
    }
}

impl<T: Element + Shareable> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner.private.value
    }
}

impl<T: Element + Shareable> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.inner.private.change()
    }
}

/// That this thread reads, and may go on to write.
#[must_use = "the lock is released at once if the guard is not kept"]
pub struct RwLockUpgradableGuard<'a, T: Element + Shareable> {
    pub(super) inner: Holding<'a, T>,
}

impl<'a, T: Element + Shareable> RwLockUpgradableGuard<'a, T> {
    /// Upgrades to writing, blocking the current thread until all readers have released the lock.
    /// No other thread can write in between: the value is the same.
    ///
    /// # Errors
    /// The guard, unchanged, and an error of kind
    ///
    /// - `Deadlock` - this thread also holds a guard for reading.
    /// - `Cancelled` - the call had to block after [`Shared::cancel`](crate::Shared::cancel).
    /// - `Invalid` - the lock's word was overwritten, or the guard was copied into a forked child.
    /// - `Fault` - the memory could not be accessed.
    pub fn upgrade(self) -> std::result::Result<RwLockWriteGuard<'a, T>, (Self, Error)> {
        self.upgrade_until(None)
    }

    /// Upgrades like [`upgrade`](Self::upgrade), but blocks for at most `timeout`.
    ///
    /// # Errors
    /// As for `upgrade`, and
    ///
    /// - `Timeout` - a reader still held the lock after `timeout`.
    pub fn upgrade_timeout(
        self,
        timeout: Duration,
    ) -> std::result::Result<RwLockWriteGuard<'a, T>, (Self, Error)> {
        let until = self.inner.lock.place.after(timeout);
        self.upgrade_until(until)
    }

    fn upgrade_until(
        self,
        until: Option<Duration>,
    ) -> std::result::Result<RwLockWriteGuard<'a, T>, (Self, Error)> {
        let Holding { lock, held, .. } = &self.inner;
        match upgrade(&lock.place, lock.raw, held.as_ref(), until) {
            Ok(()) => {
                let mut inner = self.inner;
                inner.way = Way::Write;
                Ok(RwLockWriteGuard { inner })
            }
            Err(error) => Err((self, error)),
        }
    }
}

impl<T: Element + Shareable> Deref for RwLockUpgradableGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner.private.value
    }
}

macro_rules! shown {
    ($($guard:ident)*) => { $(
        impl<T: Element + Shareable + fmt::Debug> fmt::Debug for $guard<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }
    )* };
}

reclaim_inner!(Element: RwLockWriteGuard RwLockUpgradableGuard);
shown!(RwLockReadGuard RwLockWriteGuard RwLockUpgradableGuard);
