//! `Mutex<T>`: one owner at a time, who has a copy of the value.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::guarded::Guarded;
use super::private::{Calm, Kept, Private};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Element, Layout, Shareable};
use crate::peer::World;
use crate::sync::anchor::{Anchored, Blank, Found, Place, Room};
use crate::sync::error::{LockError, LockResult, Reclaim, Recover};
use crate::sync::mutex::{Held, Leave, RawMutex, all};

const LOCK: &str = "lock the mutex";

/// How a mutex is to begin: with this value. Used it is through [`MutexHandle`].
///
/// A `Mutex<[T]>` guards large data in place: [`slice`](Mutex::slice) makes one, and
/// [`MutexSliceHandle`](crate::MutexSliceHandle) is what it is used through.
pub struct Mutex<T: ?Sized + Guarded>(pub(super) T::First);

impl<T: Element + Shareable> Mutex<T> {
    /// A mutex with this value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T: Element + Shareable> Anchored for Mutex<T> {
    type Handle = MutexHandle<T>;
    const ROOM: Room = Room::exactly(RawMutex::size(size_of::<T>() as u32));

    fn describe(layout: &mut Layout) {
        layout.push("mutex<");
        T::describe(layout);
        layout.push(">");
    }

    fn fill(&self, blank: &mut Blank<'_>) -> Result<()> {
        blank.take(Self::ROOM)?.write(RawMutex::VALUE, self.0.as_bytes())
    }

    fn handle(found: &mut Found) -> Result<Self::Handle> {
        let place = found.take(Self::ROOM)?;
        let raw = RawMutex::new(place.at, size_of::<T>() as u32);
        Ok(MutexHandle { place, raw, kept: Kept::default(), value: PhantomData })
    }
}

/// A mutex that processes share.
///
/// Its guard owns a copy of the value, which is written back when the guard is dropped, in one step:
/// if the owner dies or panics before, the value stays as it was, and the next owner is told.
pub struct MutexHandle<T> {
    place: Place,
    raw: RawMutex,
    kept: Kept,
    value: PhantomData<fn() -> T>,
}

impl<T: Element + Shareable> MutexHandle<T> {
    /// Waits until nobody has it.
    ///
    /// # Errors
    /// [`LockError::OwnerDied`]: it was had, from one who died. Else `Failed`, with an error of kind
    /// [`Deadlock`](ErrorKind::Deadlock) if this thread has it, [`Poisoned`](ErrorKind::Poisoned),
    /// [`Cancelled`](ErrorKind::Cancelled), [`Invalid`](ErrorKind::Invalid) if the bytes are no
    /// value of `T`, [`Fault`](ErrorKind::Fault) if the memory is gone; also if that happened to
    /// the guard before, when it was dropped.
    #[inline(always)]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.lock_until(|| None)
    }

    /// Waits so long at most.
    ///
    /// # Errors
    /// As for [`lock`](Self::lock), and of kind [`Timeout`](ErrorKind::Timeout).
    pub fn lock_timeout(&self, timeout: Duration) -> LockResult<MutexGuard<'_, T>> {
        self.lock_until(|| self.place.after(timeout))
    }

    /// What is done out of line gives numbers back, so that the guard is made in registers.
    #[inline(always)]
    fn lock_until(
        &self,
        until: impl FnOnce() -> Option<Duration>,
    ) -> LockResult<MutexGuard<'_, T>> {
        if self.kept.is_any() {
            return Err(self.failed_before());
        }
        let session = &*self.place.session;
        let announced = match self.raw.announce(session) {
            Ok(announced) => announced,
            Err(error) => return Err(self.failed(error)),
        };
        let mut found = 0;
        if !self.raw.lock_at_once(session, announced) {
            found = match self.raw.lock_slowly(session, announced, until()) {
                Ok(found) => found,
                Err(error) => return Err(self.failed(error)),
            };
        }
        self.guard(Held::of(announced, found))
    }

    #[cold]
    #[inline(never)]
    fn failed<R>(&self, error: Error) -> LockError<R> {
        LockError::Failed(self.place.named(error))
    }

    #[cold]
    #[inline(never)]
    fn failed_before<R>(&self) -> LockError<R> {
        match self.kept.take() {
            Err(error) => LockError::Failed(error),
            Ok(()) => LockError::Failed(self.place.error(ErrorKind::Fault, LOCK)),
        }
    }

    /// Does not wait.
    ///
    /// # Errors
    /// As for [`lock`](Self::lock), and of kind [`WouldBlock`](ErrorKind::WouldBlock) if somebody has
    /// it. That its owner died is found out, if not at once.
    pub fn try_lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.kept.take()?;
        match self.raw.try_lock(&*self.place.session) {
            Ok(Some(held)) => self.guard(held),
            Ok(None) => Err(LockError::Failed(self.place.error(ErrorKind::WouldBlock, LOCK))),
            Err(error) => Err(LockError::Failed(self.place.named(error))),
        }
    }

    /// Waits until nobody has it, and has it even if it is poisoned: to repair the value.
    /// [`accept`](Recover::accept) makes it sound again.
    ///
    /// # Errors
    /// As for [`lock`](Self::lock).
    pub fn repair(&self) -> Result<Recover<MutexGuard<'_, T>>> {
        let held = self.raw.repair(&*self.place.session, None);
        let held = held.map_err(|error| self.place.named(error))?;
        self.guard_of(held, Leave::Poisoned).map(Recover)
    }

    #[inline(always)]
    pub(super) fn guard(&self, held: Held) -> LockResult<MutexGuard<'_, T>> {
        let leave = if held.died() { Leave::Died } else { Leave::Sound };
        let guard = self.guard_of(held, leave)?;
        if held.died() { Err(LockError::OwnerDied(Recover(guard))) } else { Ok(guard) }
    }

    #[inline(always)]
    fn guard_of(&self, held: Held, leave: Leave) -> Result<MutexGuard<'_, T>> {
        match Private::read(&self.place, self.raw.value(), LOCK) {
            Ok(private) => Ok(MutexGuard {
                mutex: self,
                held,
                private,
                leave,
                calm: Calm::now(),
                thread: PhantomData,
            }),
            Err(error) => Err(self.give_back(held, leave, error)),
        }
    }

    /// The value could not be had.
    #[cold]
    #[inline(never)]
    fn give_back(&self, held: Held, leave: Leave, error: Error) -> Error {
        let _ = self.raw.unlock(&*self.place.session, held, leave);
        self.place.named(error)
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn raw(&self) -> RawMutex {
        self.raw
    }
}

impl<T> fmt::Debug for MutexHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutexHandle").field("at", &self.place.at).finish_non_exhaustive()
    }
}

/// That this thread has the mutex, with its copy of the value.
#[must_use = "the mutex is released at once if the guard is not kept"]
pub struct MutexGuard<'a, T: Element + Shareable> {
    mutex: &'a MutexHandle<T>,
    held: Held,
    private: Private<T>,
    leave: Leave,
    calm: Calm,
    /// Locks belong to threads.
    thread: PhantomData<*const ()>,
}

impl<'a, T: Element + Shareable> MutexGuard<'a, T> {
    /// Writes the value back and releases the mutex, as dropping does, and says whether it worked.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault) if the memory is gone. The mutex is released all the same.
    pub fn unlock(self) -> Result<()> {
        let mut this = ManuallyDrop::new(self);
        this.release().map_err(|error| this.mutex.place.named(error))
    }

    #[inline(always)]
    fn release(&mut self) -> Result<()> {
        let session = &*self.mutex.place.session;
        // A copy of a thread in a child process has nothing.
        if !session.is_own(self.held.lane()) {
            return Ok(());
        }
        let written = self.write();
        let released = self.mutex.raw.unlock(session, self.held, self.leave);
        all(written, released, Ok(()))
    }

    /// Writes the value back, unless it is not to be relied on.
    #[inline(always)]
    fn write(&mut self) -> Result<()> {
        if self.leave == Leave::Poisoned {
            // What was to be repaired was not.
            return Ok(());
        }
        if self.calm.is_over() {
            self.leave = Leave::Died;
            return Ok(());
        }
        self.private.write(&self.mutex.place, self.mutex.raw.value())
    }

    /// For a condition variable: the handle, and the mutex with the value written back. `None` if
    /// this thread does not have it.
    pub(super) fn into_parts(self) -> Result<Option<(&'a MutexHandle<T>, Held, Leave)>> {
        let mut this = ManuallyDrop::new(self);
        let (mutex, held) = (this.mutex, this.held);
        if !mutex.place.session.is_own(held.lane()) {
            return Ok(None);
        }
        match this.write() {
            Ok(()) => Ok(Some((mutex, held, this.leave))),
            Err(error) => Err(mutex.give_back(held, this.leave, error)),
        }
    }
}

impl<T: Element + Shareable> Reclaim for MutexGuard<'_, T> {
    fn accept(&mut self) {
        self.leave = Leave::Sound;
    }

    fn poison(self) -> Result<()> {
        let mut this = ManuallyDrop::new(self);
        this.leave = Leave::Poisoned;
        this.release().map_err(|error| this.mutex.place.named(error))
    }

    fn error(&self, kind: ErrorKind, operation: &'static str) -> Error {
        self.mutex.place.error(kind, operation)
    }
}

impl<T: Element + Shareable> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.private.value
    }
}

impl<T: Element + Shareable> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.private.change()
    }
}

impl<T: Element + Shareable> Drop for MutexGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Err(error) = self.release() {
            self.mutex.kept.keep(self.mutex.place.named(error));
        }
    }
}

impl<T: Element + Shareable + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.private.value.fmt(f)
    }
}
