//! `RwLock<T>`: many readers or one writer, each with a copy of the value.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::private::{Calm, Kept, Private};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Element, Layout, Shareable};
use crate::peer::World;
use crate::sync::error::{LockError, LockResult, Reclaim, Recover};
use crate::sync::mutex::{Held, Leave};
use crate::sync::rwlock::{RawRwLock, Reading};
use crate::sync::shared::{Anchored, Blank, Place};

const READ: &str = "lock for reading";
const WRITE: &str = "lock for writing";

/// How a lock for readers and writers is to begin: with this value. Used it is through
/// [`RwLockHandle`].
#[derive(Clone, Copy, Debug, Default)]
pub struct RwLock<T>(T);

impl<T> RwLock<T> {
    /// A lock with this value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T: Element + Shareable> Anchored for RwLock<T> {
    type Handle = RwLockHandle<T>;
    const SIZE: u64 = RawRwLock::size(size_of::<T>() as u32).next_multiple_of(16);

    fn describe(layout: &mut Layout) {
        layout.push("rwlock<");
        T::describe(layout);
        layout.push(">");
    }

    fn fill(&self, blank: &Blank<'_>) -> Result<()> {
        blank.write(RawRwLock::VALUE, self.0.as_bytes())
    }

    fn handle(place: Place) -> Result<Self::Handle> {
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
    place: Place,
    raw: RawRwLock,
    kept: Kept,
    value: PhantomData<fn() -> T>,
}

impl<T: Element + Shareable> RwLockHandle<T> {
    /// Waits until nobody writes. A thread that reads may read again.
    ///
    /// # Errors
    /// As for [`MutexHandle::lock`](crate::MutexHandle::lock).
    #[inline(always)]
    pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        self.read_until(|| None)
    }

    /// Waits so long at most.
    ///
    /// # Errors
    /// As for [`read`](Self::read), and of kind [`Timeout`](ErrorKind::Timeout).
    pub fn read_timeout(&self, timeout: Duration) -> LockResult<RwLockReadGuard<'_, T>> {
        self.read_until(|| self.place.after(timeout))
    }

    /// What is done out of line gives numbers back, so that the guard is made in registers.
    #[inline(always)]
    fn read_until(
        &self,
        until: impl FnOnce() -> Option<Duration>,
    ) -> LockResult<RwLockReadGuard<'_, T>> {
        if self.kept.is_any() {
            self.kept.take()?;
        }
        let session = &*self.place.session;
        let announced = match self.raw.announce_read(session) {
            Ok(announced) => announced,
            Err(error) => return Err(self.failed(error)),
        };
        let reading = if self.raw.read_at_once(session, announced) {
            Reading::at_once(announced)
        } else {
            match self.raw.read_slowly(session, announced, until()) {
                Ok(packed) => Reading::unpack(packed),
                Err(error) => return Err(self.failed(error)),
            }
        };
        self.reading(reading)
    }

    #[cold]
    #[inline(never)]
    fn failed<R>(&self, error: Error) -> LockError<R> {
        LockError::Failed(self.place.named(error))
    }

    /// Does not wait.
    ///
    /// # Errors
    /// As for [`read`](Self::read), and of kind [`WouldBlock`](ErrorKind::WouldBlock).
    pub fn try_read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        self.kept.take()?;
        match self.raw.try_read(&*self.place.session) {
            Ok(Some(reading)) => self.reading(reading),
            Ok(None) => Err(self.place.error(ErrorKind::WouldBlock, READ).into()),
            Err(error) => Err(self.place.named(error).into()),
        }
    }

    #[inline(always)]
    fn reading(&self, reading: Reading) -> LockResult<RwLockReadGuard<'_, T>> {
        match Private::read(&self.place, self.raw.value(), READ) {
            Ok(private) => {
                let thread = PhantomData;
                let guard = RwLockReadGuard { lock: self, reading, private, thread };
                if reading.died() { Err(LockError::OwnerDied(Recover(guard))) } else { Ok(guard) }
            }
            Err(error) => Err(LockError::Failed(self.give_back(reading, error))),
        }
    }

    /// The value could not be had.
    #[cold]
    #[inline(never)]
    fn give_back(&self, reading: Reading, error: Error) -> Error {
        let _ = self.raw.unlock_read(&*self.place.session, reading);
        self.place.named(error)
    }

    /// Waits until nobody reads or writes.
    ///
    /// # Errors
    /// As for [`MutexHandle::lock`](crate::MutexHandle::lock).
    #[inline(always)]
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.kept.take()?;
        let held = self.raw.write(&*self.place.session, None);
        self.writing(held.map_err(|error| self.place.named(error))?)
    }

    /// Waits so long at most.
    ///
    /// # Errors
    /// As for [`write`](Self::write), and of kind [`Timeout`](ErrorKind::Timeout).
    pub fn write_timeout(&self, timeout: Duration) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.kept.take()?;
        let held = self.raw.write(&*self.place.session, self.place.after(timeout));
        self.writing(held.map_err(|error| self.place.named(error))?)
    }

    /// Does not wait.
    ///
    /// # Errors
    /// As for [`write`](Self::write), and of kind [`WouldBlock`](ErrorKind::WouldBlock).
    pub fn try_write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.kept.take()?;
        match self.raw.try_write(&*self.place.session) {
            Ok(Some(held)) => self.writing(held),
            Ok(None) => Err(self.place.error(ErrorKind::WouldBlock, WRITE).into()),
            Err(error) => Err(self.place.named(error).into()),
        }
    }

    #[inline(always)]
    fn writing(&self, held: Held) -> LockResult<RwLockWriteGuard<'_, T>> {
        let (died, leave) = left(&held);
        let guard = RwLockWriteGuard { inner: self.holding(held, leave)? };
        if died { Err(LockError::OwnerDied(Recover(guard))) } else { Ok(guard) }
    }

    /// Waits until nobody reads or writes, and has the lock even if it is poisoned: to repair the
    /// value. [`accept`](Recover::accept) makes it sound again.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn repair(&self) -> Result<Recover<RwLockWriteGuard<'_, T>>> {
        let held = self.raw.repair(&*self.place.session, None);
        let held = held.map_err(|error| self.place.named(error))?;
        Ok(Recover(RwLockWriteGuard { inner: self.holding(held, Leave::Poisoned)? }))
    }

    /// Waits until nobody writes or may go on to; reads beside other readers, as the only one who
    /// may go on to write.
    ///
    /// # Errors
    /// As for [`MutexHandle::lock`](crate::MutexHandle::lock).
    pub fn upgradable(&self) -> LockResult<RwLockUpgradableGuard<'_, T>> {
        self.kept.take()?;
        let held = self.raw.upgradable(&*self.place.session, None);
        self.upgrading(held.map_err(|error| self.place.named(error))?)
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// As for [`upgradable`](Self::upgradable), and of kind [`WouldBlock`](ErrorKind::WouldBlock).
    pub fn try_upgradable(&self) -> LockResult<RwLockUpgradableGuard<'_, T>> {
        self.kept.take()?;
        match self.raw.try_upgradable(&*self.place.session) {
            Ok(Some(held)) => self.upgrading(held),
            Ok(None) => Err(self.place.error(ErrorKind::WouldBlock, READ).into()),
            Err(error) => Err(self.place.named(error).into()),
        }
    }

    fn upgrading(&self, held: Held) -> LockResult<RwLockUpgradableGuard<'_, T>> {
        let (died, leave) = left(&held);
        let guard = RwLockUpgradableGuard { inner: self.holding(held, leave)? };
        if died { Err(LockError::OwnerDied(Recover(guard))) } else { Ok(guard) }
    }

    #[inline(always)]
    fn holding(&self, held: Held, leave: Leave) -> Result<Holding<'_, T>> {
        match Private::read(&self.place, self.raw.value(), WRITE) {
            Ok(private) => Ok(Holding {
                lock: self,
                held: Some(held),
                private,
                leave,
                calm: Calm::now(),
                thread: PhantomData,
            }),
            Err(error) => {
                let _ = self.raw.unlock(&*self.place.session, held, leave);
                Err(self.place.named(error))
            }
        }
    }
}

/// Whether a death is to be told of, and how the lock is left unless it is accepted.
#[inline(always)]
fn left(held: &Held) -> (bool, Leave) {
    (held.died(), if held.died() { Leave::Died } else { Leave::Sound })
}

impl<T> fmt::Debug for RwLockHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLockHandle").field("at", &self.place.at).finish_non_exhaustive()
    }
}

/// That this thread reads, with its copy of the value.
#[must_use = "the lock is released at once if the guard is not kept"]
pub struct RwLockReadGuard<'a, T: Element + Shareable> {
    lock: &'a RwLockHandle<T>,
    reading: Reading,
    private: Private<T>,
    thread: PhantomData<*const ()>,
}

impl<T: Element + Shareable> Reclaim for RwLockReadGuard<'_, T> {
    /// A reader reads; that an owner died stays for a writer to accept.
    fn accept(&mut self) {}

    fn poison(self) -> Result<()> {
        let error = self.lock.place.error(ErrorKind::NotWritable, "poison the lock");
        Err(error.with_detail("who reads cannot; lock it for writing"))
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
        let session = &*self.lock.place.session;
        if session.is_own(self.reading.0.lane()) {
            if let Err(error) = self.lock.raw.unlock_read(session, self.reading) {
                self.lock.kept.keep(self.lock.place.named(error));
            }
        }
    }
}

/// What a writer and whoever may become one have.
struct Holding<'a, T: Element + Shareable> {
    lock: &'a RwLockHandle<T>,
    held: Option<Held>,
    private: Private<T>,
    leave: Leave,
    calm: Calm,
    thread: PhantomData<*const ()>,
}

impl<T: Element + Shareable> Holding<'_, T> {
    #[inline(always)]
    fn release(&mut self) -> Result<()> {
        let Some(held) = self.held.take() else { return Ok(()) };
        let (place, raw) = (&self.lock.place, self.lock.raw);
        if !place.session.is_own(held.lane()) {
            return Ok(());
        }
        let mut written = Ok(());
        if self.leave == Leave::Poisoned {
            // What was to be repaired was not.
        } else if self.private.is_changed() && self.calm.is_over() {
            self.leave = Leave::Died;
        } else {
            written = self.private.write(place, raw.value());
        }
        let released = raw.unlock(&*place.session, held, self.leave);
        written.and(released).map_err(|error| place.named(error))
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
    inner: Holding<'a, T>,
}

impl<T: Element + Shareable> RwLockWriteGuard<'_, T> {
    /// Writes the value back and releases the lock, as dropping does, and says whether it worked.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault) if the memory is gone. The lock is released all the same.
    pub fn unlock(mut self) -> Result<()> {
        self.inner.release()
    }
}

impl<T: Element + Shareable> Reclaim for RwLockWriteGuard<'_, T> {
    fn accept(&mut self) {
        self.inner.leave = Leave::Sound;
    }

    fn poison(mut self) -> Result<()> {
        self.inner.leave = Leave::Poisoned;
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
    inner: Holding<'a, T>,
}

impl<'a, T: Element + Shareable> RwLockUpgradableGuard<'a, T> {
    /// Waits until all who read have left. Nobody wrote meanwhile: the value is the same.
    ///
    /// # Errors
    /// This guard, as it was, with the error: of kind [`Deadlock`](ErrorKind::Deadlock) if this
    /// thread also has a guard for reading.
    pub fn upgrade(self) -> std::result::Result<RwLockWriteGuard<'a, T>, (Self, Error)> {
        self.upgrade_until(None)
    }

    /// Waits so long at most.
    ///
    /// # Errors
    /// As for [`upgrade`](Self::upgrade), and of kind [`Timeout`](ErrorKind::Timeout).
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
        let lock = self.inner.lock;
        let upgraded = match &self.inner.held {
            Some(held) => lock.raw.upgrade(&*lock.place.session, held, until),
            None => Ok(()),
        };
        match upgraded {
            Ok(()) => Ok(RwLockWriteGuard { inner: self.inner }),
            Err(error) => Err((self, lock.place.named(error))),
        }
    }
}

impl<T: Element + Shareable> Reclaim for RwLockUpgradableGuard<'_, T> {
    fn accept(&mut self) {
        self.inner.leave = Leave::Sound;
    }

    fn poison(mut self) -> Result<()> {
        self.inner.leave = Leave::Poisoned;
        self.inner.release()
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

shown!(RwLockReadGuard RwLockWriteGuard RwLockUpgradableGuard);
