//! The guards of `RwLock<[T]>`, which have views of the elements in place.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::RwLockSliceHandle;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Pod, Shareable};
use crate::peer::Machine;
use crate::sync::algorithms::mutex::{Acquisition, ReleaseState};
use crate::sync::algorithms::rwlock::Reading;
use crate::sync::api::elements::Elements;
use crate::sync::api::error::{OwnerDiedGuard, Reclaim, reclaim_inner};
use crate::sync::api::local_copy::PanicFlag;
use crate::sync::api::rwlock::upgradable::upgrade;
use crate::view::{View, ViewMut};

/// An RAII guard that holds a reader-writer lock over elements for reading.
///
/// Dropping the guard releases the lock. While the guard exists, no thread can hold the lock for
/// writing. A forgotten guard holds the lock until its process ends. In a forked child, a copy of the
/// guard holds nothing: its view is empty, and dropping it has no effect.
///
/// Only a writer or an upgradable holder can accept the elements of a dead owner. For a read guard,
/// [`mark_consistent`](OwnerDiedGuard::mark_consistent) leaves `OwnerDied` in place, and
/// [`poison`](OwnerDiedGuard::poison) fails with [`NotWritable`](ErrorKind::NotWritable).
///
/// # Examples
/// ```
/// use sharemap::{Location, RwLock, RwLockSliceReadGuard, Shared};
///
/// fn total(samples: &RwLockSliceReadGuard<'_, u32>) -> sharemap::Result<u32> {
///     samples.view().iter().sum()
/// }
///
/// # fn main() -> sharemap::Result<()> {
/// let samples = Shared::create_new(Location::anonymous(), || RwLock::<[u32]>::zeroed(64))?;
/// assert_eq!(total(&samples.read()?)?, 0);
/// # Ok(()) }
/// ```
#[must_use = "the lock is released at once if the guard is not kept"]
pub struct RwLockSliceReadGuard<'a, T: Pod + Shareable> {
    pub(super) lock: &'a RwLockSliceHandle<T>,
    pub(super) reading: Reading,
    /// Keeps the guard on its thread, which the lock belongs to.
    pub(super) thread: PhantomData<*const ()>,
}

impl<T: Pod + Shareable> RwLockSliceReadGuard<'_, T> {
    /// Returns a view of the elements, or an empty view in a forked child.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, RwLock, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let samples = Shared::create_new(Location::anonymous(), || RwLock::<[u16]>::zeroed(64))?;
    /// let guard = samples.read()?;
    /// assert_eq!(guard.view().len(), 64);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn view(&self) -> View<'_, T> {
        let elements = self.lock.elements;
        let shown = if self.is_own() { elements } else { elements.none() };
        shown.view(&self.lock.place)
    }

    /// Returns `true` unless the guard is a copy in a forked child.
    fn is_own(&self) -> bool {
        self.lock.place.session().is_own(self.reading.0.lane())
    }
}

impl<T: Pod + Shareable> Reclaim for RwLockSliceReadGuard<'_, T> {
    /// Does nothing: readers may share the lock, so none of them may change its flags.
    fn mark_consistent(&mut self) {}

    fn poison(self) -> Result<()> {
        let error = self.lock.place.error(ErrorKind::NotWritable, "poison the lock");
        Err(error.with_detail("a reader cannot poison the elements; acquire the lock for writing"))
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

/// The part that write and upgradable guards share: the lock's word, and the state to release it in.
pub(super) struct ExclusiveGuard<'a, T: Pod + Shareable> {
    pub(super) lock: &'a RwLockSliceHandle<T>,
    /// `None` once the lock has been released.
    pub(super) held: Option<Acquisition>,
    pub(super) leave: ReleaseState,
    /// Keeps the guard on its thread, which the lock belongs to.
    pub(super) thread: PhantomData<*const ()>,
}

impl<T: Pod + Shareable> ExclusiveGuard<'_, T> {
    /// Returns the elements to show: none in a forked child, as the parent holds the lock.
    fn elements(&self) -> Elements {
        let session = self.lock.place.session();
        let is_own = self.held.is_some_and(|held| session.is_own(held.lane()));
        if is_own { self.lock.elements } else { self.lock.elements.none() }
    }

    /// Releases the lock, once.
    fn release(&mut self) -> Result<()> {
        let Some(held) = self.held.take() else { return Ok(()) };
        let place = &self.lock.place;
        // In a forked child, the lane is not this process's: the parent still holds the lock.
        if !place.session().is_own(held.lane()) {
            return Ok(());
        }
        let released = self.lock.raw.unlock(place.session(), held, self.leave);
        released.map_err(|error| place.with_object_path(error))
    }

    /// Sets the state that the lock is released in.
    fn leave(&mut self, leave: ReleaseState) {
        self.leave = leave;
    }
}

impl<T: Pod + Shareable> Drop for ExclusiveGuard<'_, T> {
    fn drop(&mut self) {
        if let Err(error) = self.release() {
            self.lock.kept.keep(error);
        }
    }
}

/// An RAII guard that holds a reader-writer lock over elements for writing.
///
/// Dropping the guard releases the lock. Changes to the elements take effect at once, so a panic that
/// began while the guard existed may have interrupted one: the next owner then gets
/// [`OwnerDied`](crate::LockError::OwnerDied), as after the death of the process.
///
/// A forgotten guard holds the lock until its process ends. In a forked child, a copy of the guard
/// holds nothing: its view is empty, and dropping it has no effect.
/// [`unlock`](Self::unlock) returns the errors that dropping defers to the handle's next call.
///
/// # Examples
/// ```
/// use sharemap::{Location, RwLock, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// let samples = Shared::create_new(Location::anonymous(), || RwLock::<[u32]>::zeroed(64))?;
/// let guard = samples.write()?;
/// guard.view().set(0, 8)?; // takes effect at once
/// guard.unlock()?;
/// # Ok(()) }
/// ```
#[must_use = "the lock is released at once if the guard is not kept"]
pub struct RwLockSliceWriteGuard<'a, T: Pod + Shareable> {
    pub(super) inner: ExclusiveGuard<'a, T>,
    pub(super) panic_flag: PanicFlag,
}

impl<T: Pod + Shareable> RwLockSliceWriteGuard<'_, T> {
    /// Returns a mutable view of the elements, or an empty view in a forked child.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, RwLock, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let samples = Shared::create_new(Location::anonymous(), || RwLock::<[u16]>::zeroed(64))?;
    /// let guard = samples.write()?;
    /// let view = guard.view();
    /// view.fill(7)?;
    /// view.set(0, 8)?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn view(&self) -> ViewMut<'_, T> {
        self.inner.elements().view_mut(&self.inner.lock.place)
    }

    /// Releases the lock, as dropping the guard does, and returns the error if that fails.
    ///
    /// If the lock's word cannot be written, the lock stays held until this process ends.
    ///
    /// # Errors
    /// - `Fault` - the lock's word could not be written.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::{Location, RwLock, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100))?;
    /// let guard = table.write()?;
    /// guard.view().fill(1)?;
    /// guard.unlock()?; // returns an error that dropping would defer
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pthread_rwlock_unlock")]
    pub fn unlock(mut self) -> Result<()> {
        self.note_panic();
        self.inner.release()
    }

    /// Records that a panic may have interrupted a change of the elements, so that the next owner
    /// gets `OwnerDied`.
    fn note_panic(&mut self) {
        if self.inner.leave == ReleaseState::Sound && self.panic_flag.has_panicked_since() {
            self.inner.leave = ReleaseState::Died;
        }
    }
}

impl<T: Pod + Shareable> Drop for RwLockSliceWriteGuard<'_, T> {
    fn drop(&mut self) {
        // Runs before `inner` is dropped, which releases the lock.
        self.note_panic();
    }
}

/// An RAII guard that holds a reader-writer lock over elements for reading and may be upgraded to
/// writing.
///
/// Other readers are admitted, but no other thread can hold the lock for writing or upgradably.
/// [`upgrade`](Self::upgrade) turns the guard into a write guard. Dropping it releases the lock.
///
/// The guard cannot change the elements. Therefore the lock is released without `OwnerDied` if the
/// thread panics or the process dies. A forgotten guard holds the lock until its process ends. In a
/// forked child, a copy of the guard holds nothing: its view is empty, and dropping it has no effect.
///
/// # Examples
/// ```
/// use sharemap::{Location, RwLock, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// let samples = Shared::create_new(Location::anonymous(), || RwLock::<[u32]>::zeroed(64))?;
/// let guard = samples.upgradable()?;
/// assert_eq!(guard.view().get(0)?, samples.read()?.view().get(0)?); // readers are admitted
/// assert!(samples.try_write().is_err());
/// # Ok(()) }
/// ```
#[must_use = "the lock is released at once if the guard is not kept"]
pub struct RwLockSliceUpgradableGuard<'a, T: Pod + Shareable> {
    pub(super) inner: ExclusiveGuard<'a, T>,
}

impl<'a, T: Pod + Shareable> RwLockSliceUpgradableGuard<'a, T> {
    /// Returns a view of the elements, or an empty view in a forked child.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::{Location, RwLock, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100))?;
    /// let guard = table.upgradable()?;
    /// assert_eq!(guard.view().get(99)?, 0);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn view(&self) -> View<'_, T> {
        self.inner.elements().view(&self.inner.lock.place)
    }

    /// Upgrades to writing, blocking the current thread until all readers have released the lock.
    ///
    /// New readers block from the start of the call. No other thread can write in between, so the
    /// elements stay the same. A process that dies during the call counts as a dead writer.
    ///
    /// # Errors
    /// The guard, unchanged, and an error of kind
    ///
    /// - `Deadlock` - this thread also holds a read guard of this lock.
    /// - `Cancelled` - the call had to block after [`Shared::cancel`](crate::Shared::cancel).
    /// - `Invalid` - another process overwrote the lock's word, or the guard was copied into a forked
    ///   child.
    /// - `Fault` - the memory could not be accessed.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, RwLock, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100))?;
    /// let guard = table.upgradable()?;
    /// let next = guard.view().get(0)? + 1;
    /// match guard.upgrade() {
    ///     Ok(guard) => guard.view().set(0, next)?,
    ///     Err((_guard, error)) => return Err(error),
    /// }
    /// assert_eq!(table.read()?.view().get(0)?, 1);
    /// # Ok(()) }
    /// ```
    pub fn upgrade(self) -> std::result::Result<RwLockSliceWriteGuard<'a, T>, (Self, Error)> {
        self.upgrade_until(None)
    }

    /// Upgrades like [`upgrade`](Self::upgrade), but blocks for at most `timeout`.
    ///
    /// # Errors
    /// As for [`upgrade`](Self::upgrade), and
    ///
    /// - `Timeout` - a reader still held the lock after `timeout`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use sharemap::{ErrorKind, Location, RwLock, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100))?;
    /// let guard = table.upgradable()?;
    /// match guard.upgrade_timeout(Duration::from_millis(100)) {
    ///     Ok(guard) => guard.view().set(0, 5)?,
    ///     Err((guard, error)) if error.kind() == ErrorKind::Timeout => drop(guard), // gives up
    ///     Err((_guard, error)) => return Err(error),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn upgrade_timeout(
        self,
        timeout: Duration,
    ) -> std::result::Result<RwLockSliceWriteGuard<'a, T>, (Self, Error)> {
        let until = self.inner.lock.place.after(timeout);
        self.upgrade_until(until)
    }

    /// Upgrades, blocking until all readers have released the lock or the moment `until`; `None`: no
    /// limit.
    fn upgrade_until(
        self,
        until: Option<Duration>,
    ) -> std::result::Result<RwLockSliceWriteGuard<'a, T>, (Self, Error)> {
        let ExclusiveGuard { lock, held, .. } = self.inner;
        match upgrade(&lock.place, lock.raw, held.map(Acquisition::lane), until) {
            Ok(()) => Ok(RwLockSliceWriteGuard { inner: self.inner, panic_flag: PanicFlag::now() }),
            Err(error) => Err((self, error)),
        }
    }
}

reclaim_inner!(Pod: RwLockSliceWriteGuard RwLockSliceUpgradableGuard);

macro_rules! shown {
    ($($guard:ident $view:ident)*) => { $(
        impl<T: Pod + Shareable> OwnerDiedGuard<$guard<'_, T>> {
            /// Returns a view of the elements, which the dead owner may have left half-written.
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
