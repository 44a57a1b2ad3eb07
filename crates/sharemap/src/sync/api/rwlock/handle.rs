//! `RwLock`, the initial value, and `RwLockHandle`, which the acquisitions of `reading`, `writing` and
//! `upgradable` are methods of.

use std::fmt;

use crate::error::Result;
use crate::layout::{Element, Layout, Shareable};
use crate::sync::algorithms::rwlock::RawRwLock;
use crate::sync::api::lock::Lock;
use crate::sync::api::lock_target::LockTarget;
use crate::sync::api::shared_type::{LayoutReader, LayoutSize, LayoutWriter, LockRef, SharedType};

/// The initial value of a shared reader-writer lock.
///
/// Creating a [`Shared`](crate::Shared) object stores this value in the object; later openings use the
/// stored one. The lock itself is accessed through [`RwLockHandle`], which `Shared` dereferences to.
///
/// `RwLock<[T]>` guards elements in place, for data that is too large to copy. Its initial value is
/// created by [`RwLock::zeroed`].
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

impl<T: ?Sized + LockTarget> SharedType for RwLock<T> {
    type Handle = RwLockHandle<T>;
    const ROOM: LayoutSize = Lock::<RawRwLock, T>::ROOM;

    fn describe(layout: &mut Layout) {
        layout.push("rwlock<");
        T::describe_target(layout);
        layout.push(">");
    }

    fn fill(&self, blank: &mut LayoutWriter<'_>) -> Result<()> {
        Lock::<RawRwLock, T>::fill(&self.0, blank)
    }

    fn handle(found: &mut LayoutReader) -> Result<Self::Handle> {
        Lock::find(found).map(RwLockHandle)
    }
}

/// A reader-writer lock that is shared between processes.
///
/// Any number of threads may hold the lock for reading, or one thread for writing. One more thread
/// may hold it [upgradably](Self::upgradable) beside readers. Each guard has a local copy of the
/// value. A write guard writes its copy back in one step when it is released. The elements of an
/// `RwLock<[T]>` stay in place; see [`RwLockSliceHandle`](crate::RwLockSliceHandle).
///
/// If a reader dies, its read lock is released, and nothing else changes. If a writer dies or panics,
/// the value stays the last one written back. Later acquisitions then return
/// [`LockError::OwnerDied`](crate::LockError::OwnerDied), until a writer or an upgradable holder has called
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
pub struct RwLockHandle<T: ?Sized>(pub(super) Lock<RawRwLock, T>);

impl<T: ?Sized> RwLockHandle<T> {
    pub(in crate::sync::api) fn place(&self) -> &LockRef {
        &self.0.place
    }
}

impl<T: ?Sized> fmt::Debug for RwLockHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt_as("RwLockHandle", f)
    }
}
