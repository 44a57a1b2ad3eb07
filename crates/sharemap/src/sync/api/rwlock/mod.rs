//! `RwLock<T>`: many readers or one writer, each with a copy of the value.

mod guards;
mod repair;

pub use guards::{RwLockReadGuard, RwLockUpgradableGuard, RwLockWriteGuard};

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use guards::{Holding, Way};

use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Element, Layout, Shareable};
use crate::sync::algorithms::mutex::{Acquisition, ReleaseState};
use crate::sync::algorithms::rwlock::{RawRwLock, Reading};
use crate::sync::api::error::{LockError, LockResult, OwnerDiedGuard};
use crate::sync::api::lock_target::LockTarget;
use crate::sync::api::private::{Calm, Kept, Private};
use crate::sync::api::shared_type::{LayoutReader, LayoutSize, LayoutWriter, LockRef, SharedType};

const READ: &str = "lock for reading";
const WRITE: &str = "lock for writing";

/// How a lock for readers and writers is to begin: with this value. Used it is through
/// [`RwLockHandle`].
///
/// An `RwLock<[T]>` guards large data in place: [`slice`](RwLock::zeroed) makes one, and
/// [`RwLockSliceHandle`](crate::RwLockSliceHandle) is what it is used through.
pub struct RwLock<T: ?Sized + LockTarget>(pub(in crate::sync::api) T::First);

impl<T: Element + Shareable> RwLock<T> {
    /// A lock with this value.
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
        let raw = RawRwLock::new(place.at, size_of::<T>() as u32);
        Ok(RwLockHandle { place, raw, kept: Kept::default(), value: PhantomData })
    }
}

/// A lock that processes share: many read, or one writes.
///
/// A reader that dies goes without a trace. A writer that dies, or panics, leaves the value as it
/// was, and readers and writers are told until a writer has accepted it. Who waits to write holds up
/// new readers, except those that read already; nothing else is promised about the order.
pub struct RwLockHandle<T> {
    place: LockRef,
    raw: RawRwLock,
    kept: Kept,
    value: PhantomData<fn() -> T>,
}

impl<T: Element + Shareable> RwLockHandle<T> {
    /// Acquires the lock for reading, blocking the current thread until no writer holds it. A thread
    /// that reads may read again.
    ///
    /// # Errors
    /// As for [`MutexHandle::lock`](crate::MutexHandle::lock). Readers get `OwnerDied` until a
    /// writer accepts the value, and `Poisoned` until a writer acquires the lock by
    /// [`write_poisoned`](Self::write_poisoned) and accepts the value.
    #[inline(always)]
    pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        self.read_until(|| None)
    }

    /// Acquires the lock like [`read`](Self::read), but blocks for at most `timeout` while it is held.
    ///
    /// # Errors
    /// As for `read`, and
    ///
    /// - `Timeout` - the lock was not acquired within `timeout`.
    pub fn read_timeout(&self, timeout: Duration) -> LockResult<RwLockReadGuard<'_, T>> {
        self.read_until(|| self.place.after(timeout))
    }

    /// What is done out of line gives numbers back, so that the guard is made in registers.
    #[inline(always)]
    fn read_until(
        &self,
        until: impl FnOnce() -> Option<Duration>,
    ) -> LockResult<RwLockReadGuard<'_, T>> {
        self.kept.take()?;
        let session = self.place.session();
        let announced = match self.raw.announce_read(session) {
            Ok(announced) => announced,
            Err(error) => return Err(self.failed(error)),
        };
        let reading = if self.raw.read_at_once(session, announced) {
            Reading::at_once(announced)
        } else {
            match self.raw.read_slowly(&self.place, announced, until()) {
                Ok(packed) => Reading::unpack(packed),
                Err(error) => return Err(self.failed(error)),
            }
        };
        self.reading(reading)
    }

    #[cold]
    #[inline(never)]
    fn failed<R>(&self, error: Error) -> LockError<R> {
        LockError::Failed(self.place.with_object_path(error))
    }

    /// Attempts to acquire the lock for reading without waiting for its writer.
    ///
    /// A dead writer is detected, though not necessarily by the first call.
    ///
    /// # Errors
    /// As for [`read`](Self::read), except `Deadlock` and `Cancelled`, and
    ///
    /// - `WouldBlock` - the lock is held for writing, by this thread or another.
    pub fn try_read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        self.kept.take()?;
        match self.raw.try_read(self.place.session()) {
            Ok(Some(reading)) => self.reading(reading),
            Ok(None) => Err(self.place.error(ErrorKind::WouldBlock, READ).into()),
            Err(error) => Err(self.place.with_object_path(error).into()),
        }
    }

    #[inline(always)]
    fn reading(&self, reading: Reading) -> LockResult<RwLockReadGuard<'_, T>> {
        match Private::read(
            self.place.session(),
            &self.place,
            self.raw.value(),
            ReleaseState::Sound,
            READ,
        ) {
            Ok(private) => {
                let thread = PhantomData;
                let guard = RwLockReadGuard { lock: self, reading, private, thread };
                if reading.died() {
                    Err(LockError::OwnerDied(OwnerDiedGuard(guard)))
                } else {
                    Ok(guard)
                }
            }
            Err(error) => Err(LockError::Failed(self.give_back(reading, error))),
        }
    }

    /// The value could not be had.
    #[cold]
    #[inline(never)]
    fn give_back(&self, reading: Reading, error: Error) -> Error {
        let _ = self.raw.unlock_read(self.place.session(), reading);
        self.place.with_object_path(error)
    }

    /// Acquires the lock for writing, blocking the current thread until no other thread holds it.
    ///
    /// # Errors
    /// As for [`MutexHandle::lock`](crate::MutexHandle::lock). `Deadlock` also if this thread holds
    /// the lock for reading.
    #[inline(always)]
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.write_until(None)
    }

    /// Acquires the lock like [`write`](Self::write), but blocks for at most `timeout` while it is held.
    ///
    /// # Errors
    /// As for `write`, and
    ///
    /// - `Timeout` - the lock was not acquired within `timeout`.
    pub fn write_timeout(&self, timeout: Duration) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.write_until(self.place.after(timeout))
    }

    #[inline(always)]
    fn write_until(&self, until: Option<Duration>) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.kept.take()?;
        let held = self.raw.write_on(self.place.session(), &self.place, until);
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
    pub fn try_write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.kept.take()?;
        match self.raw.try_write(self.place.session()) {
            Ok(Some(held)) => self.writing(held),
            Ok(None) => Err(self.place.error(ErrorKind::WouldBlock, WRITE).into()),
            Err(error) => Err(self.place.with_object_path(error).into()),
        }
    }

    #[inline(always)]
    fn writing(&self, held: Acquisition) -> LockResult<RwLockWriteGuard<'_, T>> {
        let guard = RwLockWriteGuard { inner: self.holding(held, Way::Write)? };
        if held.died() { Err(LockError::OwnerDied(OwnerDiedGuard(guard))) } else { Ok(guard) }
    }

    /// Acquires the lock for reading with the right to upgrade, blocking the current thread until no
    /// other thread writes or has that right. Other readers are admitted.
    ///
    /// # Errors
    /// As for [`MutexHandle::lock`](crate::MutexHandle::lock).
    pub fn upgradable(&self) -> LockResult<RwLockUpgradableGuard<'_, T>> {
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
    ) -> LockResult<RwLockUpgradableGuard<'_, T>> {
        self.upgradable_until(self.place.after(timeout))
    }

    fn upgradable_until(
        &self,
        until: Option<Duration>,
    ) -> LockResult<RwLockUpgradableGuard<'_, T>> {
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
    pub fn try_upgradable(&self) -> LockResult<RwLockUpgradableGuard<'_, T>> {
        self.kept.take()?;
        match self.raw.try_upgradable(self.place.session()) {
            Ok(Some(held)) => self.upgrading(held),
            Ok(None) => Err(self.place.error(ErrorKind::WouldBlock, READ).into()),
            Err(error) => Err(self.place.with_object_path(error).into()),
        }
    }

    fn upgrading(&self, held: Acquisition) -> LockResult<RwLockUpgradableGuard<'_, T>> {
        let guard = RwLockUpgradableGuard { inner: self.holding(held, Way::Read)? };
        if held.died() { Err(LockError::OwnerDied(OwnerDiedGuard(guard))) } else { Ok(guard) }
    }

    #[inline(always)]
    fn holding(&self, held: Acquisition, way: Way) -> Result<Holding<'_, T>> {
        match Private::read(
            self.place.session(),
            &self.place,
            self.raw.value(),
            held.leave(),
            WRITE,
        ) {
            Ok(private) => Ok(Holding {
                lock: self,
                held: Some(held),
                private,
                calm: Calm::now(),
                way,
                thread: PhantomData,
            }),
            Err(error) => {
                let _ = self.raw.unlock(self.place.session(), held, held.leave());
                Err(self.place.with_object_path(error))
            }
        }
    }
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
