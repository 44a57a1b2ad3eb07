//! `Mutex<[T]>`: one owner at a time, who sees the elements in their place.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::time::Duration;

use super::{Elements, Head, fits};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Layout, Pod, Shareable};
use crate::peer::Machine;
use crate::sync::algorithms::mutex::{Acquisition, RawMutex, ReleaseState};
use crate::sync::api::error::{LockError, LockResult, OwnerDiedGuard, Reclaim, recovered};
use crate::sync::api::lock_target::Zeros;
use crate::sync::api::mutex::Mutex;
use crate::sync::api::private::{Calm, Kept};
use crate::sync::api::shared_type::{LayoutReader, LayoutSize, LayoutWriter, LockRef, SharedType};
use crate::view::{View, ViewMut};

const LOCK: &str = "lock the mutex";

const HEAD: Head = Head { bytes: 16, count_at: 8 };

impl<T: Pod + Shareable> Mutex<[T]> {
    /// A mutex over so many elements, zeros at first, that stay in their place. The number is the
    /// object's from then on: whoever opens it finds it there.
    ///
    /// ```
    /// use sharemap::{Location, Mutex, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let samples = Shared::create_new(Location::anonymous(), || Mutex::<[f32]>::zeroed(1 << 20))?;
    /// let guard = samples.lock()?;
    /// let view = guard.view();
    /// view.set(7, 1.5)?;
    /// assert_eq!(view.iter().sum::<sharemap::Result<f32>>()?, 1.5);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn zeroed(len: usize) -> Self {
        const { assert!(fits::<T>(), "elements have a size, and an alignment of at most 16") };
        Self(Zeros(len as u64))
    }
}

impl<T: Pod + Shareable> SharedType for Mutex<[T]> {
    type Handle = MutexSliceHandle<T>;
    const ROOM: LayoutSize = HEAD.room();

    fn describe(layout: &mut Layout) {
        Head::describe::<T>(layout, "mutex");
    }

    fn fill(&self, blank: &mut LayoutWriter<'_>) -> Result<()> {
        HEAD.fill::<T>(self.0, blank)
    }

    fn handle(found: &mut LayoutReader) -> Result<Self::Handle> {
        let (place, elements) = HEAD.find::<T>(found)?;
        let raw = RawMutex::new(place.at, 0);
        Ok(MutexSliceHandle { place, raw, elements, kept: Kept::default(), element: PhantomData })
    }
}

/// A mutex that processes share, over elements that stay in their place: what a
/// [`Mutex<[T]>`](Mutex::zeroed) is used through.
///
/// Its guard has a [`ViewMut`] of them. What is written is there at once: an owner that dies may
/// leave it half-written, and the next owner is [told](LockError::OwnerDied), to look at it and accept,
/// repair or poison it. The same holds for an owner that panics, whatever it wrote.
pub struct MutexSliceHandle<T> {
    place: LockRef,
    raw: RawMutex,
    elements: Elements,
    kept: Kept,
    element: PhantomData<fn() -> T>,
}

impl<T: Pod + Shareable> MutexSliceHandle<T> {
    /// Elements that it guards.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "there is one at least")]
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Acquires the mutex, blocking the current thread until it is available.
    ///
    /// # Errors
    /// As for [`MutexHandle::lock`](crate::MutexHandle::lock), except `Invalid`. An owner that died may
    /// have left the elements half-written.
    pub fn lock(&self) -> LockResult<MutexSliceGuard<'_, T>> {
        self.lock_until(None)
    }

    /// Acquires the mutex like [`lock`](Self::lock), but blocks for at most `timeout` while it is held.
    ///
    /// # Errors
    /// As for `lock`, and
    ///
    /// - `Timeout` - the mutex was not acquired within `timeout`.
    pub fn lock_timeout(&self, timeout: Duration) -> LockResult<MutexSliceGuard<'_, T>> {
        self.lock_until(self.place.after(timeout))
    }

    fn lock_until(&self, until: Option<Duration>) -> LockResult<MutexSliceGuard<'_, T>> {
        self.kept.take()?;
        let held = self.raw.lock_on(self.place.session(), &self.place, until);
        self.guard(held.map_err(|error| self.place.with_object_path(error))?)
    }

    /// Attempts to acquire the mutex without waiting for its owner.
    ///
    /// A dead owner is detected, though not necessarily by the first call.
    ///
    /// # Errors
    /// As for [`lock`](Self::lock), except `Deadlock` and `Cancelled`, and
    ///
    /// - `WouldBlock` - the mutex is held, by this thread or another.
    pub fn try_lock(&self) -> LockResult<MutexSliceGuard<'_, T>> {
        self.kept.take()?;
        match self.raw.try_lock(self.place.session()) {
            Ok(Some(held)) => self.guard(held),
            Ok(None) => Err(self.place.error(ErrorKind::WouldBlock, LOCK).into()),
            Err(error) => Err(self.place.with_object_path(error).into()),
        }
    }

    /// Acquires the mutex, and lets the caller repair elements that a dead owner left, perhaps
    /// half-written.
    ///
    /// If an earlier owner died or panicked and no owner since has accepted the elements, calls
    /// `repair` with the elements and accepts the result. If `repair` fails or panics, the next
    /// owner gets `OwnerDied` again.
    ///
    /// # Errors
    /// The kinds of [`lock`](Self::lock), except `OwnerDied`, and the error of `repair`.
    ///
    /// ```
    /// use sharemap::{Location, Mutex, Shared};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let samples = Shared::create_new(Location::anonymous(), || Mutex::<[f32]>::zeroed(1000))?;
    /// let guard = samples.lock_or_recover(|samples| samples.fill(0.0))?;
    /// guard.view().set(7, 1.5)?;
    /// # Ok(()) }
    /// ```
    pub fn lock_or_recover(
        &self,
        repair: impl FnOnce(ViewMut<'_, T>) -> Result<()>,
    ) -> Result<MutexSliceGuard<'_, T>> {
        recovered(self.lock(), |guard| repair(guard.view()))
    }

    /// Acquires the mutex like [`lock_or_recover`](Self::lock_or_recover), but blocks for at most
    /// `timeout` while it is held.
    ///
    /// # Errors
    /// As for `lock_or_recover`, and
    ///
    /// - `Timeout` - the mutex was not acquired within `timeout`.
    pub fn lock_or_recover_timeout(
        &self,
        timeout: Duration,
        repair: impl FnOnce(ViewMut<'_, T>) -> Result<()>,
    ) -> Result<MutexSliceGuard<'_, T>> {
        recovered(self.lock_timeout(timeout), |guard| repair(guard.view()))
    }

    /// Acquires the mutex also if it is poisoned, blocking the current thread until it is available.
    ///
    /// [`mark_consistent`](OwnerDiedGuard::mark_consistent) makes the elements usable again. If the mutex is released
    /// without it, the mutex stays poisoned.
    ///
    /// # Errors
    /// As for [`lock`](Self::lock), except `OwnerDied` and `Poisoned`.
    pub fn lock_poisoned(&self) -> Result<OwnerDiedGuard<MutexSliceGuard<'_, T>>> {
        self.lock_poisoned_until(None)
    }

    /// Acquires the mutex like [`lock_poisoned`](Self::lock_poisoned), but blocks for at most `timeout`
    /// while it is held.
    ///
    /// # Errors
    /// As for `lock_poisoned`, and
    ///
    /// - `Timeout` - the mutex was not acquired within `timeout`.
    pub fn lock_poisoned_timeout(
        &self,
        timeout: Duration,
    ) -> Result<OwnerDiedGuard<MutexSliceGuard<'_, T>>> {
        self.lock_poisoned_until(self.place.after(timeout))
    }

    fn lock_poisoned_until(
        &self,
        until: Option<Duration>,
    ) -> Result<OwnerDiedGuard<MutexSliceGuard<'_, T>>> {
        self.kept.take()?;
        let held = self.raw.lock_poisoned(&self.place, until);
        let held = held.map_err(|error| self.place.with_object_path(error))?;
        Ok(OwnerDiedGuard(self.guard_of(held)))
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

    pub(in crate::sync::api) fn guard(
        &self,
        held: Acquisition,
    ) -> LockResult<MutexSliceGuard<'_, T>> {
        let guard = self.guard_of(held);
        if held.died() { Err(LockError::OwnerDied(OwnerDiedGuard(guard))) } else { Ok(guard) }
    }

    fn guard_of(&self, held: Acquisition) -> MutexSliceGuard<'_, T> {
        let (leave, calm) = (held.leave(), Calm::now());
        MutexSliceGuard { mutex: self, held, leave, calm, thread: PhantomData }
    }

    pub(in crate::sync::api) fn place(&self) -> &LockRef {
        &self.place
    }

    pub(in crate::sync::api) fn raw(&self) -> RawMutex {
        self.raw
    }
}

impl<T> fmt::Debug for MutexSliceHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutexSliceHandle")
            .field("at", &self.place.at)
            .field("len", &self.elements.count)
            .finish_non_exhaustive()
    }
}

/// That this thread has the mutex, and sees its elements.
#[must_use = "the mutex is released at once if the guard is not kept"]
pub struct MutexSliceGuard<'a, T: Pod + Shareable> {
    mutex: &'a MutexSliceHandle<T>,
    held: Acquisition,
    leave: ReleaseState,
    calm: Calm,
    /// Locks belong to threads.
    thread: PhantomData<*const ()>,
}

impl<'a, T: Pod + Shareable> MutexSliceGuard<'a, T> {
    /// The elements. In a child process, which has none of its parent's locks, there are none.
    #[must_use]
    pub fn view(&self) -> ViewMut<'_, T> {
        let elements = self.mutex.elements;
        let shown = if self.is_own() { elements } else { elements.none() };
        shown.view_mut(&self.mutex.place)
    }

    /// Releases the mutex, as dropping does, and says whether it worked.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault) if the memory is gone.
    pub fn unlock(self) -> Result<()> {
        ManuallyDrop::new(self).release()
    }

    fn is_own(&self) -> bool {
        self.mutex.place.session().is_own(self.held.lane())
    }

    fn release(&mut self) -> Result<()> {
        if !self.is_own() {
            return Ok(());
        }
        let (leave, session) = (self.leaving(), self.mutex.place.session());
        let released = self.mutex.raw.unlock(session, self.held, leave);
        released.map_err(|error| self.mutex.place.with_object_path(error))
    }

    /// What was written before a panic cannot be told.
    fn leaving(&self) -> ReleaseState {
        match self.leave {
            ReleaseState::Sound if self.calm.is_over() => ReleaseState::Died,
            leave => leave,
        }
    }

    /// Returns the handle of the mutex.
    pub(in crate::sync::api) fn handle(&self) -> &'a MutexSliceHandle<T> {
        self.mutex
    }

    /// For a condition variable; `None` if this thread does not have it.
    pub(in crate::sync::api) fn into_parts(
        self,
    ) -> Result<Option<(&'a MutexSliceHandle<T>, Acquisition, ReleaseState)>> {
        let this = ManuallyDrop::new(self);
        Ok(this.is_own().then(|| (this.mutex, this.held, this.leaving())))
    }
}

impl<T: Pod + Shareable> Reclaim for MutexSliceGuard<'_, T> {
    fn mark_consistent(&mut self) {
        self.leave = ReleaseState::Sound;
    }

    fn poison(self) -> Result<()> {
        let mut this = ManuallyDrop::new(self);
        this.leave = ReleaseState::Poisoned;
        this.release()
    }

    fn error(&self, kind: ErrorKind, operation: &'static str) -> Error {
        self.mutex.place.error(kind, operation)
    }
}

impl<T: Pod + Shareable> OwnerDiedGuard<MutexSliceGuard<'_, T>> {
    /// The elements as they were left, perhaps half-written: to look at, and to repair.
    #[must_use]
    pub fn view(&self) -> ViewMut<'_, T> {
        self.0.view()
    }
}

impl<T: Pod + Shareable> Drop for MutexSliceGuard<'_, T> {
    fn drop(&mut self) {
        if let Err(error) = self.release() {
            self.mutex.kept.keep(error);
        }
    }
}

impl<T: Pod + Shareable> fmt::Debug for MutexSliceGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MutexSliceGuard").field(&self.view()).finish()
    }
}
