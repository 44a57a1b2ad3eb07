//! `Mutex<T>`: one owner at a time, who has a copy of the value.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::private::{Calm, Kept, Private};
use crate::error::{ErrorKind, Result};
use crate::layout::{Element, Layout, Shareable};
use crate::peer::World;
use crate::sync::error::{LockError, LockResult, Reclaim, Recover};
use crate::sync::mutex::{Held, Leave, RawMutex};
use crate::sync::shared::{Anchored, Blank, Place};

const LOCK: &str = "lock the mutex";

/// How a mutex is to begin: with this value. Used it is through [`MutexHandle`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Mutex<T>(T);

impl<T> Mutex<T> {
    /// A mutex with this value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T: Element + Shareable> Anchored for Mutex<T> {
    type Handle = MutexHandle<T>;
    const SIZE: u64 = RawMutex::size(size_of::<T>() as u32).next_multiple_of(16);

    fn describe(layout: &mut Layout) {
        layout.push("mutex<");
        T::describe(layout);
        layout.push(">");
    }

    fn fill(&self, blank: &Blank<'_>) -> Result<()> {
        blank.write(RawMutex::VALUE, self.0.as_bytes())
    }

    fn handle(place: Place) -> Result<Self::Handle> {
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
    #[inline]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.kept.take()?;
        match self.raw.lock(&*self.place.session, None) {
            Ok(held) => self.guard(held),
            Err(error) => Err(LockError::Failed(self.place.named(error))),
        }
    }

    /// Waits so long at most.
    ///
    /// # Errors
    /// As for [`lock`](Self::lock), and of kind [`Timeout`](ErrorKind::Timeout).
    pub fn lock_timeout(&self, timeout: Duration) -> LockResult<MutexGuard<'_, T>> {
        self.kept.take()?;
        let until = self.place.after(timeout);
        match self.raw.lock(&*self.place.session, until) {
            Ok(held) => self.guard(held),
            Err(error) => Err(LockError::Failed(self.place.named(error))),
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

    #[inline]
    pub(super) fn guard(&self, held: Held) -> LockResult<MutexGuard<'_, T>> {
        if held.died {
            let guard = self.guard_of(held, Leave::Died).map_err(LockError::Failed)?;
            return Err(LockError::OwnerDied(Recover(guard)));
        }
        self.guard_of(held, Leave::Sound).map_err(LockError::Failed)
    }

    #[inline]
    fn guard_of(&self, held: Held, leave: Leave) -> Result<MutexGuard<'_, T>> {
        match Private::read(&self.place, self.raw.value(), LOCK) {
            Ok(private) => Ok(MutexGuard {
                mutex: self,
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
    /// `None` once it is released.
    held: Option<Held>,
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
    pub fn unlock(mut self) -> Result<()> {
        self.release()
    }

    #[inline]
    fn release(&mut self) -> Result<()> {
        let Some((held, written)) = self.finish() else { return Ok(()) };
        let leave = self.leave;
        let released = self.mutex.raw.unlock(&*self.mutex.place.session, held, leave);
        written.and(released).map_err(|error| self.mutex.place.named(error))
    }

    /// Writes the value back; what is left to do is to release the mutex. `None` if this thread does
    /// not have it: it is released, or the thread is a copy in a child process.
    #[inline]
    fn finish(&mut self) -> Option<(Held, Result<()>)> {
        let held = self.held.take()?;
        if !self.mutex.place.session.is_own(held.announced.lane) {
            return None;
        }
        let mut written = Ok(());
        if self.leave == Leave::Poisoned {
            // What was to be repaired was not.
        } else if self.calm.is_over() {
            self.leave = Leave::Died;
        } else {
            written = self.private.write(&self.mutex.place, self.mutex.raw.value());
        }
        Some((held, written))
    }

    /// For a condition variable: the handle, and the mutex with the value written back.
    pub(super) fn into_parts(mut self) -> Result<Option<(&'a MutexHandle<T>, Held, Leave)>> {
        let Some((held, written)) = self.finish() else { return Ok(None) };
        if let Err(error) = written {
            let _ = self.mutex.raw.unlock(&*self.mutex.place.session, held, self.leave);
            return Err(self.mutex.place.named(error));
        }
        Ok(Some((self.mutex, held, self.leave)))
    }
}

impl<T: Element + Shareable> Reclaim for MutexGuard<'_, T> {
    fn accept(&mut self) {
        self.leave = Leave::Sound;
    }

    fn poison(mut self) -> Result<()> {
        self.leave = Leave::Poisoned;
        self.release()
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
        self.private.changed = true;
        &mut self.private.value
    }
}

impl<T: Element + Shareable> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if let Err(error) = self.release() {
            self.mutex.kept.keep(error);
        }
    }
}

impl<T: Element + Shareable + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.private.value.fmt(f)
    }
}
