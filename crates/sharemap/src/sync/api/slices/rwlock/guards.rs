//! What one who has the lock holds: views of the elements.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::{Elements, RwLockSliceHandle};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Pod, Shareable};
use crate::peer::Machine;
use crate::sync::algorithms::mutex::{Acquisition, ReleaseState};
use crate::sync::algorithms::rwlock::Reading;
use crate::sync::api::error::{OwnerDiedGuard, Reclaim, reclaim_inner};
use crate::sync::api::private::Calm;
use crate::sync::api::upgrade::upgrade;
use crate::view::{View, ViewMut};

/// That this thread reads the elements.
#[must_use = "the lock is released at once if the guard is not kept"]
pub struct RwLockSliceReadGuard<'a, T: Pod + Shareable> {
    pub(super) lock: &'a RwLockSliceHandle<T>,
    pub(super) reading: Reading,
    pub(super) thread: PhantomData<*const ()>,
}

impl<T: Pod + Shareable> RwLockSliceReadGuard<'_, T> {
    /// The elements. In a child process, which has none of its parent's locks, there are none.
    #[must_use]
    pub fn view(&self) -> View<'_, T> {
        let elements = self.lock.elements;
        let shown = if self.is_own() { elements } else { elements.none() };
        shown.view(&self.lock.place)
    }

    fn is_own(&self) -> bool {
        self.lock.place.session().is_own(self.reading.0.lane())
    }
}

impl<T: Pod + Shareable> Reclaim for RwLockSliceReadGuard<'_, T> {
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

impl<T: Pod + Shareable> Drop for RwLockSliceReadGuard<'_, T> {
    fn drop(&mut self) {
        if self.is_own() {
            let session = self.lock.place.session();
            if let Err(error) = self.lock.raw.unlock_read(session, self.reading) {
                self.lock.kept.keep(self.lock.place.with_object_path(error));
            }
        }
    }
}

/// What a writer and whoever may become one have.
pub(super) struct Holding<'a, T: Pod + Shareable> {
    pub(super) lock: &'a RwLockSliceHandle<T>,
    pub(super) held: Option<Acquisition>,
    pub(super) leave: ReleaseState,
    pub(super) thread: PhantomData<*const ()>,
}

impl<T: Pod + Shareable> Holding<'_, T> {
    fn elements(&self) -> Elements {
        let session = self.lock.place.session();
        let is_own = self.held.is_some_and(|held| session.is_own(held.lane()));
        if is_own { self.lock.elements } else { self.lock.elements.none() }
    }

    fn release(&mut self) -> Result<()> {
        let Some(held) = self.held.take() else { return Ok(()) };
        let place = &self.lock.place;
        if !place.session().is_own(held.lane()) {
            return Ok(());
        }
        let released = self.lock.raw.unlock(place.session(), held, self.leave);
        released.map_err(|error| place.with_object_path(error))
    }

    fn leave(&mut self, leave: ReleaseState) {
        self.leave = leave;
    }
}

impl<T: Pod + Shareable> Drop for Holding<'_, T> {
    fn drop(&mut self) {
        if let Err(error) = self.release() {
            self.lock.kept.keep(error);
        }
    }
}

/// That this thread alone has the lock, and changes the elements.
#[must_use = "the lock is released at once if the guard is not kept"]
pub struct RwLockSliceWriteGuard<'a, T: Pod + Shareable> {
    pub(super) inner: Holding<'a, T>,
    pub(super) calm: Calm,
}

impl<T: Pod + Shareable> RwLockSliceWriteGuard<'_, T> {
    /// The elements. In a child process, which has none of its parent's locks, there are none.
    #[must_use]
    pub fn view(&self) -> ViewMut<'_, T> {
        self.inner.elements().view_mut(&self.inner.lock.place)
    }

    /// Releases the lock, as dropping does, and says whether it worked.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault) if the memory is gone.
    pub fn unlock(mut self) -> Result<()> {
        self.note_panic();
        self.inner.release()
    }

    /// What was written before a panic cannot be told.
    fn note_panic(&mut self) {
        if self.inner.leave == ReleaseState::Sound && self.calm.is_over() {
            self.inner.leave = ReleaseState::Died;
        }
    }
}

impl<T: Pod + Shareable> Drop for RwLockSliceWriteGuard<'_, T> {
    fn drop(&mut self) {
        self.note_panic();
    }
}

/// That this thread reads the elements, and may go on to write.
#[must_use = "the lock is released at once if the guard is not kept"]
pub struct RwLockSliceUpgradableGuard<'a, T: Pod + Shareable> {
    pub(super) inner: Holding<'a, T>,
}

impl<'a, T: Pod + Shareable> RwLockSliceUpgradableGuard<'a, T> {
    /// The elements. In a child process, which has none of its parent's locks, there are none.
    #[must_use]
    pub fn view(&self) -> View<'_, T> {
        self.inner.elements().view(&self.inner.lock.place)
    }

    /// Upgrades to writing, blocking the current thread until all readers have released the lock.
    /// No other thread can write in between: the elements are the same.
    ///
    /// # Errors
    /// The guard, unchanged, and an error of kind
    ///
    /// - `Deadlock` - this thread also holds a guard for reading.
    /// - `Cancelled` - the call had to block after [`Shared::cancel`](crate::Shared::cancel).
    /// - `Invalid` - the lock's word was overwritten, or the guard was copied into a forked child.
    /// - `Fault` - the memory could not be accessed.
    pub fn upgrade(self) -> std::result::Result<RwLockSliceWriteGuard<'a, T>, (Self, Error)> {
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
    ) -> std::result::Result<RwLockSliceWriteGuard<'a, T>, (Self, Error)> {
        let until = self.inner.lock.place.after(timeout);
        self.upgrade_until(until)
    }

    fn upgrade_until(
        self,
        until: Option<Duration>,
    ) -> std::result::Result<RwLockSliceWriteGuard<'a, T>, (Self, Error)> {
        let Holding { lock, held, .. } = &self.inner;
        match upgrade(&lock.place, lock.raw, held.as_ref(), until) {
            Ok(()) => Ok(RwLockSliceWriteGuard { inner: self.inner, calm: Calm::now() }),
            Err(error) => Err((self, error)),
        }
    }
}

reclaim_inner!(Pod: RwLockSliceWriteGuard RwLockSliceUpgradableGuard);

macro_rules! shown {
    ($($guard:ident $view:ident)*) => { $(
        impl<T: Pod + Shareable> OwnerDiedGuard<$guard<'_, T>> {
            /// The elements as they were left, perhaps half-written.
            #[must_use]
            pub fn view(&self) -> $view<'_, T> {
                self.0.view()
            }
        }

        impl<T: Pod + Shareable> fmt::Debug for $guard<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($guard)).field(&self.view()).finish()
            }
        }
    )* };
}

shown!(
    RwLockSliceReadGuard View
    RwLockSliceWriteGuard ViewMut
    RwLockSliceUpgradableGuard View
);
