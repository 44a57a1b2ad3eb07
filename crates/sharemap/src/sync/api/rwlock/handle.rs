//! `RwLock`, the initial value, and `RwLockHandle`, which the acquisitions of `reading`, `writing` and
//! `upgradable` are methods of.

use std::fmt;
use std::marker::PhantomData;

use super::READ;
use crate::error::{ErrorKind, Result};
use crate::layout::{Element, Layout, Shareable};
use crate::peer::{Announced, AnnouncementRef, FixedLen, TypedSpan};
use crate::sync::algorithms::rwlock::RawRwLock;
use crate::sync::api::deferred_error::DeferredError;
use crate::sync::api::lock_target::LockTarget;
use crate::sync::api::shared_type::{LayoutReader, LayoutSize, LayoutWriter, LockRef, SharedType};

/// The initial value of a shared reader-writer lock.
///
/// Creating a [`Shared`](crate::Shared) object stores this value in the object; later openings use the
/// stored one. The lock itself is accessed through [`RwLockHandle`], which `Shared` dereferences to.
///
/// `RwLock<[T]>` guards elements in place, for data that is too large to copy. Its initial value is
/// created by [`RwLock::zeroed`], and the lock is accessed through
/// [`RwLockSliceHandle`](crate::RwLockSliceHandle).
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

impl<T: Element + Shareable> SharedType for RwLock<T> {
    type Handle = RwLockHandle<T>;
    const ROOM: LayoutSize = LayoutSize::exactly(RawRwLock::size(size_of::<T>() as u32));

    fn describe(layout: &mut Layout) {
        layout.push("rwlock<");
        T::describe(layout);
        layout.push(">");
    }

    fn fill(&self, blank: &mut LayoutWriter<'_>) -> Result<()> {
        blank.take(Self::ROOM)?.write(RawRwLock::VALUE, self.0.as_bytes())
    }

    fn handle(found: &mut LayoutReader) -> Result<Self::Handle> {
        let place = found.take(Self::ROOM)?;
        let span = place.span()?;
        Ok(RwLockHandle { place, span, deferred: DeferredError::default() })
    }
}

/// The words of a lock and its value.
pub(super) struct Whole<T>(PhantomData<T>);

impl<T> FixedLen for Whole<T> {
    const LEN: u64 = RawRwLock::size(size_of::<T>() as u32);
}

/// A reader-writer lock that is shared between processes.
///
/// Any number of threads may hold the lock for reading, or one thread for writing. One more thread
/// may hold it [upgradably](Self::upgradable) beside readers. Each guard has a local copy of the
/// value. A write guard writes its copy back in one step when it is released.
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
pub struct RwLockHandle<T> {
    pub(super) place: LockRef,
    pub(super) span: TypedSpan<Whole<T>>,
    pub(super) deferred: DeferredError,
}

impl<T: Element + Shareable> RwLockHandle<T> {
    /// Returns the mapped slot of an announcement of this thread. A session returns no other announcements.
    pub(super) fn slot_of(&self, announced: Announced) -> Result<AnnouncementRef<'_>> {
        let slot = self.place.session().slot_of(announced);
        slot.ok_or_else(|| self.place.error(ErrorKind::TooManyThreads, READ))
    }

    pub(super) fn raw(&self) -> RawRwLock {
        raw_at::<T>(self.place.at)
    }
}

#[inline(always)]
pub(super) fn raw_at<T>(at: u64) -> RawRwLock {
    RawRwLock::new(at, size_of::<T>() as u32)
}

impl<T> RwLockHandle<T> {
    pub(in crate::sync::api) fn place(&self) -> &LockRef {
        &self.place
    }
}

impl<T> fmt::Debug for RwLockHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLockHandle").field("at", &self.place.at).finish_non_exhaustive()
    }
}
