//! `RwLock<[T]>`: what the reader-writer lock over elements has of its own.

use std::fmt;
use std::time::Duration;

use super::{RwLock, RwLockHandle, RwLockReadGuard, RwLockUpgradableGuard, RwLockWriteGuard};
use crate::error::Result;
use crate::layout::{Pod, Shareable};
use crate::sync::api::error::{OwnerDiedGuard, recovered};
use crate::sync::api::storage::Zeros;
use crate::view::{View, ViewMut};

impl<T: Pod + Shareable> RwLock<[T]> {
    /// Creates the initial value of a lock that guards `len` elements in place, all zeros.
    ///
    /// The object stores the number of elements. A process that opens an existing object gets the
    /// stored number, even if its own initial value has another.
    ///
    /// Creating an object fails with [`ZeroLength`](crate::ErrorKind::ZeroLength) if `len` is zero, and
    /// with [`Overflow`](crate::ErrorKind::Overflow) if the size of the elements overflows. The
    /// alignment of `T` must be at most 16 and its size must not be zero; other types do not compile.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, RwLock, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100_000))?;
    /// table.write()?.view().set(99_999, 5)?;
    /// let guard = table.read()?;
    /// assert_eq!(guard.view().get(99_999)?, 5);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn zeroed(len: usize) -> Self {
        Self(Zeros::new::<T>(len))
    }
}

/// The handle of a reader-writer lock that guards elements in place.
///
/// Its initial value is [`RwLock::zeroed`]. Any number of threads may hold the lock for reading, or
/// one thread for writing. One more thread may hold it [upgradably](RwLockHandle::upgradable) beside
/// readers.
/// The guards have [views](View) of the elements, which are not copied.
///
/// A writer's changes take effect at once. A writer that dies or panics may leave the elements
/// half-written. Later acquisitions then return [`LockError::OwnerDied`](crate::LockError::OwnerDied),
/// until a writer or an upgradable holder has called
/// [`mark_consistent`](crate::OwnerDiedGuard::mark_consistent) and released the lock. If a reader dies,
/// its read lock is released, and nothing else changes.
///
/// Its methods are those of [`RwLockHandle`], apart from those that repair or show the elements.
///
/// # Examples
/// ```
/// use sharemap::{Location, RwLock, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// let samples = Shared::create_new(Location::anonymous(), || RwLock::<[f32]>::zeroed(1000))?;
/// samples.write_or_recover(|samples| samples.fill(0.0))?.view().set(7, 1.5)?;
/// assert_eq!(samples.read()?.view().iter().sum::<sharemap::Result<f32>>()?, 1.5);
/// # Ok(()) }
/// ```
pub type RwLockSliceHandle<T> = RwLockHandle<[T]>;

impl<T: Pod + Shareable> RwLockHandle<[T]> {
    /// Returns the number of elements, which is never zero.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::{Location, RwLock, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100))?;
    /// assert_eq!(table.len(), 100);
    /// # Ok(()) }
    /// ```
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "there is one at least")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Acquires the lock for reading, after calling `repair` if a writer died or panicked while
    /// holding it.
    ///
    /// To repair the elements, the call acquires the lock for writing like
    /// [`write_or_recover`](Self::write_or_recover) and releases it. `repair` is called again if
    /// another writer dies before the lock is acquired for reading. No error borrows the handle, so
    /// `?` can convert it into a `Box<dyn Error>`.
    ///
    /// # Errors
    /// The error of `repair`, and the kinds of [`read`](Self::read) and [`write`](Self::write), except
    /// `OwnerDied`. In particular
    ///
    /// - `Deadlock` - this thread holds the lock for writing; or the elements must be repaired, and
    ///   this thread holds the lock in any way.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, RwLock, Shared};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100))?;
    /// let guard = table.read_or_recover(|table| table.fill(0))?;
    /// assert_eq!(guard.view().get(99)?, 0);
    /// # Ok(()) }
    /// ```
    pub fn read_or_recover(
        &self,
        mut repair: impl FnMut(ViewMut<'_, T>) -> Result<()>,
    ) -> Result<RwLockReadGuard<'_, [T]>> {
        self.read_or_recover_until(None, |guard| repair(guard.view()))
    }

    /// Acquires the lock like [`read_or_recover`](Self::read_or_recover), but blocks for at most
    /// `timeout` in total.
    ///
    /// # Errors
    /// As for [`read_or_recover`](Self::read_or_recover), and
    ///
    /// - `Timeout` - the lock was not acquired within `timeout`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use sharemap::{Location, RwLock, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100))?;
    /// let second = Duration::from_secs(1);
    /// let guard = table.read_or_recover_timeout(second, |table| table.fill(0))?;
    /// assert_eq!(guard.view().get(99)?, 0);
    /// # Ok(()) }
    /// ```
    pub fn read_or_recover_timeout(
        &self,
        timeout: Duration,
        mut repair: impl FnMut(ViewMut<'_, T>) -> Result<()>,
    ) -> Result<RwLockReadGuard<'_, [T]>> {
        self.read_or_recover_until(self.0.place.after(timeout), |guard| repair(guard.view()))
    }

    /// Acquires the lock for writing, and lets the caller repair elements that a dead owner left.
    ///
    /// Blocks the current thread like [`write`](Self::write). If an owner died or panicked and no owner
    /// since has called `mark_consistent`, calls `repair` with the elements, which may be half-written,
    /// and marks the result consistent. If `repair` fails or panics, the next owner gets `OwnerDied`
    /// again. A poisoned lock is refused without a call of `repair`.
    ///
    /// No error borrows the handle, so `?` can convert it into a `Box<dyn Error>`.
    ///
    /// # Errors
    /// The error of `repair`, and the kinds of [`write`](Self::write), except `OwnerDied`.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, RwLock, Shared};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100))?;
    /// let guard = table.write_or_recover(|table| table.fill(0))?;
    /// guard.view().set(99, 5)?;
    /// # Ok(()) }
    /// ```
    pub fn write_or_recover(
        &self,
        repair: impl FnOnce(ViewMut<'_, T>) -> Result<()>,
    ) -> Result<RwLockWriteGuard<'_, [T]>> {
        recovered(self.write(), |guard| repair(guard.view()))
    }

    /// Acquires the lock like [`write_or_recover`](Self::write_or_recover), but blocks for at most
    /// `timeout` while it is held.
    ///
    /// # Errors
    /// As for [`write_or_recover`](Self::write_or_recover), and
    ///
    /// - `Timeout` - the lock was not acquired within `timeout`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use sharemap::{Location, RwLock, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100))?;
    /// let second = Duration::from_secs(1);
    /// let guard = table.write_or_recover_timeout(second, |table| table.fill(0))?;
    /// guard.view().set(99, 5)?;
    /// # Ok(()) }
    /// ```
    pub fn write_or_recover_timeout(
        &self,
        timeout: Duration,
        repair: impl FnOnce(ViewMut<'_, T>) -> Result<()>,
    ) -> Result<RwLockWriteGuard<'_, [T]>> {
        recovered(self.write_timeout(timeout), |guard| repair(guard.view()))
    }

    /// Returns a view of the elements without acquiring the lock.
    ///
    /// Writers may change the elements at any time, so values that are read one after another may not
    /// belong together, and a value of more than 8 bytes may be half-written. The method also works if
    /// the object was opened read-only.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, RwLock, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let progress = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(4))?;
    /// let _writing = progress.write()?;
    /// assert_eq!(progress.view_unlocked().get(0)?, 0); // does not wait for the writer
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn view_unlocked(&self) -> View<'_, T> {
        self.0.view_unlocked()
    }

    /// Returns a mutable view of this process's private copy of the elements, without acquiring the
    /// lock.
    ///
    /// Other processes do not see changes that are made through the view. A page that was changed
    /// through it no longer shows the changes of other processes.
    ///
    /// # Errors
    /// - `NotWritable` - the object was not opened
    ///   [copy-on-write](crate::SharedOptions::open_copy_on_write).
    ///
    /// # Examples
    /// ```
    /// use sharemap::{RwLock, Shared, SharedOptions};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// # let name = format!("doc-private-{}", std::process::id());
    /// # let name = name.as_str();
    /// let table = Shared::create_new(name, || RwLock::<[u64]>::zeroed(100))?;
    /// let draft: Shared<RwLock<[u64]>> = SharedOptions::new().open_copy_on_write(name)?;
    /// draft.private_view_mut()?.set(0, 5)?;
    /// assert_eq!(table.read()?.view().get(0)?, 0);
    /// # Shared::<RwLock<[u64]>>::unlink(name)?;
    /// # Ok(()) }
    /// ```
    pub fn private_view_mut(&self) -> Result<ViewMut<'_, T>> {
        self.0.private_view_mut()
    }
}

/// An RAII guard that holds a reader-writer lock over elements for reading.
///
/// Dropping the guard releases the lock. While the guard exists, no thread can hold the lock for
/// writing. A forgotten guard holds the lock until its process ends. In a forked child, a copy of the
/// guard holds nothing: its view is empty, and dropping it has no effect.
///
/// Only a writer or an upgradable holder can accept the elements of a dead owner. For a read guard,
/// [`mark_consistent`](OwnerDiedGuard::mark_consistent) leaves `OwnerDied` in place, and
/// [`poison`](OwnerDiedGuard::poison) fails with [`NotWritable`](crate::ErrorKind::NotWritable).
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
pub type RwLockSliceReadGuard<'a, T> = RwLockReadGuard<'a, [T]>;

impl<T: Pod + Shareable> RwLockReadGuard<'_, [T]> {
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
        self.lock.view(self.slot)
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
/// [`unlock`](RwLockWriteGuard::unlock) returns the errors that dropping defers to the handle's next call.
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
pub type RwLockSliceWriteGuard<'a, T> = RwLockWriteGuard<'a, [T]>;

impl<T: Pod + Shareable> RwLockWriteGuard<'_, [T]> {
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
        self.0.lock.view_mut(self.0.slot)
    }
}

/// An RAII guard that holds a reader-writer lock over elements for reading and may be upgraded to
/// writing.
///
/// Other readers are admitted, but no other thread can hold the lock for writing or upgradably.
/// [`upgrade`](RwLockUpgradableGuard::upgrade) turns the guard into a write guard. Dropping it releases the lock.
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
pub type RwLockSliceUpgradableGuard<'a, T> = RwLockUpgradableGuard<'a, [T]>;

impl<T: Pod + Shareable> RwLockUpgradableGuard<'_, [T]> {
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
        self.0.lock.view(self.0.slot)
    }
}

macro_rules! shown {
    ($($guard:ident $view:ident)*) => { $(
        impl<T: Pod + Shareable> OwnerDiedGuard<$guard<'_, [T]>> {
            /// Returns a view of the elements, which the dead owner may have left half-written.
            #[must_use]
            pub fn view(&self) -> $view<'_, T> {
                self.0.view()
            }
        }

        impl<T: Pod + Shareable> fmt::Debug for $guard<'_, [T]> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($guard)).field(&self.view()).finish()
            }
        }
    )* };
}

shown!(
    RwLockReadGuard View
    RwLockWriteGuard ViewMut
    RwLockUpgradableGuard View
);
