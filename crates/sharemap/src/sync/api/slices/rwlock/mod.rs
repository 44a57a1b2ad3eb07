//! `RwLock<[T]>`: many readers or one writer, who see the elements in their place.

mod guards;
mod repair;

pub use guards::{RwLockSliceReadGuard, RwLockSliceUpgradableGuard, RwLockSliceWriteGuard};

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use guards::Holding;

use super::{Elements, Head, fits};
use crate::error::{ErrorKind, Result};
use crate::layout::{Layout, Pod, Shareable};
use crate::sync::algorithms::mutex::Acquisition;
use crate::sync::algorithms::rwlock::{RawRwLock, Reading};
use crate::sync::api::error::{LockError, LockResult, OwnerDiedGuard};
use crate::sync::api::lock_target::Zeros;
use crate::sync::api::private::{Calm, Kept};
use crate::sync::api::rwlock::RwLock;
use crate::sync::api::shared_type::{LayoutReader, LayoutSize, LayoutWriter, LockRef, SharedType};
use crate::view::{View, ViewMut};

const READ: &str = "lock for reading";
const WRITE: &str = "lock for writing";

const HEAD: Head = Head { bytes: 32, count_at: 16 };

impl<T: Pod + Shareable> RwLock<[T]> {
    /// A lock over so many elements, zeros at first, that stay in their place. The number is the
    /// object's from then on: whoever opens it finds it there.
    ///
    /// ```
    /// use sharemap::{Location, RwLock, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100_000))?;
    /// table.write()?.view().set(99_999, 5)?;
    /// let guard = table.read()?;
    /// assert_eq!(guard.view().iter().max_by_key(|n| n.as_ref().ok().copied()).unwrap()?, 5);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn zeroed(len: usize) -> Self {
        const { assert!(fits::<T>(), "elements have a size, and an alignment of at most 16") };
        Self(Zeros(len as u64))
    }
}

impl<T: Pod + Shareable> SharedType for RwLock<[T]> {
    type Handle = RwLockSliceHandle<T>;
    const ROOM: LayoutSize = HEAD.room();

    fn describe(layout: &mut Layout) {
        Head::describe::<T>(layout, "rwlock");
    }

    fn fill(&self, blank: &mut LayoutWriter<'_>) -> Result<()> {
        HEAD.fill::<T>(self.0, blank)
    }

    fn handle(found: &mut LayoutReader) -> Result<Self::Handle> {
        let (place, elements) = HEAD.find::<T>(found)?;
        let raw = RawRwLock::new(place.at, 0);
        Ok(RwLockSliceHandle { place, raw, elements, kept: Kept::default(), element: PhantomData })
    }
}

/// A lock that processes share, over elements that stay in their place: what an
/// [`RwLock<[T]>`](RwLock::zeroed) is used through. Many read, or one writes.
///
/// What a writer writes is there at once: one that dies, or panics, may leave it half-written, and
/// readers and writers are [told](LockError::OwnerDied) until a writer has accepted it. A reader that
/// dies goes without a trace.
pub struct RwLockSliceHandle<T> {
    place: LockRef,
    raw: RawRwLock,
    elements: Elements,
    kept: Kept,
    element: PhantomData<fn() -> T>,
}

impl<T: Pod + Shareable> RwLockSliceHandle<T> {
    /// Elements that it guards.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "there is one at least")]
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Acquires the lock for reading, blocking the current thread until no writer holds it. A thread
    /// that reads may read again.
    ///
    /// # Errors
    /// As for [`MutexSliceHandle::lock`](crate::MutexSliceHandle::lock).
    pub fn read(&self) -> LockResult<RwLockSliceReadGuard<'_, T>> {
        self.read_until(None)
    }

    /// Acquires the lock like [`read`](Self::read), but blocks for at most `timeout` while it is held.
    ///
    /// # Errors
    /// As for `read`, and
    ///
    /// - `Timeout` - the lock was not acquired within `timeout`.
    pub fn read_timeout(&self, timeout: Duration) -> LockResult<RwLockSliceReadGuard<'_, T>> {
        self.read_until(self.place.after(timeout))
    }

    fn read_until(&self, until: Option<Duration>) -> LockResult<RwLockSliceReadGuard<'_, T>> {
        self.kept.take()?;
        let session = self.place.session();
        let announced =
            self.raw.announce_read(session).map_err(|error| self.place.with_object_path(error))?;
        if self.raw.read_at_once(session, announced) {
            return self.reading(Reading::at_once(announced));
        }
        match self.raw.read_slowly(&self.place, announced, until) {
            Ok(packed) => self.reading(Reading::unpack(packed)),
            Err(error) => Err(self.place.with_object_path(error).into()),
        }
    }

    /// Attempts to acquire the lock for reading without waiting for its writer.
    ///
    /// # Errors
    /// As for [`read`](Self::read), except `Deadlock` and `Cancelled`, and
    ///
    /// - `WouldBlock` - the lock is held for writing, by this thread or another.
    pub fn try_read(&self) -> LockResult<RwLockSliceReadGuard<'_, T>> {
        self.kept.take()?;
        match self.raw.try_read(self.place.session()) {
            Ok(Some(reading)) => self.reading(reading),
            Ok(None) => Err(self.place.error(ErrorKind::WouldBlock, READ).into()),
            Err(error) => Err(self.place.with_object_path(error).into()),
        }
    }

    fn reading(&self, reading: Reading) -> LockResult<RwLockSliceReadGuard<'_, T>> {
        let guard = RwLockSliceReadGuard { lock: self, reading, thread: PhantomData };
        if reading.died() { Err(LockError::OwnerDied(OwnerDiedGuard(guard))) } else { Ok(guard) }
    }

    /// Acquires the lock for writing, blocking the current thread until no other thread holds it.
    ///
    /// # Errors
    /// As for [`MutexSliceHandle::lock`](crate::MutexSliceHandle::lock). `Deadlock` also if this
    /// thread holds the lock for reading.
    pub fn write(&self) -> LockResult<RwLockSliceWriteGuard<'_, T>> {
        self.write_until(None)
    }

    /// Acquires the lock like [`write`](Self::write), but blocks for at most `timeout` while it is held.
    ///
    /// # Errors
    /// As for `write`, and
    ///
    /// - `Timeout` - the lock was not acquired within `timeout`.
    pub fn write_timeout(&self, timeout: Duration) -> LockResult<RwLockSliceWriteGuard<'_, T>> {
        self.write_until(self.place.after(timeout))
    }

    fn write_until(&self, until: Option<Duration>) -> LockResult<RwLockSliceWriteGuard<'_, T>> {
        self.kept.take()?;
        let held = self.raw.write_on(self.place.session(), &self.place, until);
        self.writing(held.map_err(|error| self.place.with_object_path(error))?)
    }

    /// Attempts to acquire the lock for writing without waiting for its holders.
    ///
    /// # Errors
    /// As for [`write`](Self::write), except `Deadlock` and `Cancelled`, and
    ///
    /// - `WouldBlock` - a thread, this one or another, holds the lock.
    pub fn try_write(&self) -> LockResult<RwLockSliceWriteGuard<'_, T>> {
        self.kept.take()?;
        match self.raw.try_write(self.place.session()) {
            Ok(Some(held)) => self.writing(held),
            Ok(None) => Err(self.place.error(ErrorKind::WouldBlock, WRITE).into()),
            Err(error) => Err(self.place.with_object_path(error).into()),
        }
    }

    fn writing(&self, held: Acquisition) -> LockResult<RwLockSliceWriteGuard<'_, T>> {
        let guard = RwLockSliceWriteGuard { inner: self.holding(held), calm: Calm::now() };
        if held.died() { Err(LockError::OwnerDied(OwnerDiedGuard(guard))) } else { Ok(guard) }
    }

    /// Acquires the lock for reading with the right to upgrade, blocking the current thread until no
    /// other thread writes or has that right. Other readers are admitted.
    ///
    /// # Errors
    /// As for [`MutexSliceHandle::lock`](crate::MutexSliceHandle::lock).
    pub fn upgradable(&self) -> LockResult<RwLockSliceUpgradableGuard<'_, T>> {
        self.upgradable_until(None)
    }

    /// Acquires the lock like [`upgradable`](Self::upgradable), but blocks for at most `timeout` while it
    /// is held.
    ///
    /// # Errors
    /// As for `upgradable`, and
    ///
    /// - `Timeout` - the lock was not acquired within `timeout`.
    pub fn upgradable_timeout(
        &self,
        timeout: Duration,
    ) -> LockResult<RwLockSliceUpgradableGuard<'_, T>> {
        self.upgradable_until(self.place.after(timeout))
    }

    fn upgradable_until(
        &self,
        until: Option<Duration>,
    ) -> LockResult<RwLockSliceUpgradableGuard<'_, T>> {
        self.kept.take()?;
        let held = self.raw.upgradable(&self.place, until);
        self.upgrading(held.map_err(|error| self.place.with_object_path(error))?)
    }

    /// Attempts to acquire the lock like [`upgradable`](Self::upgradable), without waiting for its
    /// holders.
    ///
    /// # Errors
    /// As for `upgradable`, except `Deadlock` and `Cancelled`, and
    ///
    /// - `WouldBlock` - a thread, this one or another, writes or has the right to upgrade.
    pub fn try_upgradable(&self) -> LockResult<RwLockSliceUpgradableGuard<'_, T>> {
        self.kept.take()?;
        match self.raw.try_upgradable(self.place.session()) {
            Ok(Some(held)) => self.upgrading(held),
            Ok(None) => Err(self.place.error(ErrorKind::WouldBlock, READ).into()),
            Err(error) => Err(self.place.with_object_path(error).into()),
        }
    }

    fn upgrading(&self, held: Acquisition) -> LockResult<RwLockSliceUpgradableGuard<'_, T>> {
        let guard = RwLockSliceUpgradableGuard { inner: self.holding(held) };
        if held.died() { Err(LockError::OwnerDied(OwnerDiedGuard(guard))) } else { Ok(guard) }
    }

    fn holding(&self, held: Acquisition) -> Holding<'_, T> {
        Holding { lock: self, held: Some(held), leave: held.leave(), thread: PhantomData }
    }

    /// The elements without the lock, whoever has it: of different moments, and half-written, for all
    /// one can tell.
    #[must_use]
    pub fn view_unlocked(&self) -> View<'_, T> {
        self.elements.view(&self.place)
    }

    /// The elements in a private copy of the object, to be changed for this process alone. Nobody
    /// else sees the changes, and what others change does not show in pages that were changed here.
    ///
    /// # Errors
    /// [`NotWritable`](ErrorKind::NotWritable) if the object was not opened
    /// [copy-on-write](crate::SharedOptions::open_copy_on_write).
    pub fn private_view_mut(&self) -> Result<ViewMut<'_, T>> {
        self.elements.private_view_mut(&self.place)
    }

    pub(in crate::sync::api) fn place(&self) -> &LockRef {
        &self.place
    }
}

impl<T> fmt::Debug for RwLockSliceHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLockSliceHandle")
            .field("at", &self.place.at)
            .field("len", &self.elements.count)
            .finish_non_exhaustive()
    }
}
