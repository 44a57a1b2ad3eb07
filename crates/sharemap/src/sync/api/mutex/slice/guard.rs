//! `MutexSliceGuard`: a view of the elements in place.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;

use super::MutexSliceHandle;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Pod, Shareable};
use crate::peer::Machine;
use crate::sync::algorithms::mutex::{Acquisition, ReleaseState};
use crate::sync::api::error::{OwnerDiedGuard, Reclaim};
use crate::sync::api::local_copy::PanicFlag;
use crate::view::ViewMut;

/// An RAII guard that holds a mutex over elements in place.
///
/// Dropping the guard releases the mutex. During a panic that began while the guard existed, the next
/// owner gets `OwnerDied`, because the elements may be half-written. [`unlock`](Self::unlock) returns
/// the errors that dropping defers to the handle's next call.
///
/// A forgotten guard holds the mutex until its process ends, as does a guard that still exists when
/// its thread ends. In a forked child, the copy of a guard holds nothing and shows no elements.
///
/// # Examples
/// ```
/// # use sharemap::{Location, Mutex, Shared};
/// # fn main() -> sharemap::Result<()> {
/// # let samples = Shared::create_new(Location::anonymous(), || Mutex::<[u32]>::zeroed(1000))?;
/// let guard = samples.lock()?;
/// guard.view().set(7, 5)?; // in place: other processes may see it at once
/// guard.unlock()?;
/// # Ok(()) }
/// ```
#[must_use = "the mutex is released at once if the guard is not kept"]
pub struct MutexSliceGuard<'a, T: Pod + Shareable> {
    pub(super) mutex: &'a MutexSliceHandle<T>,
    pub(super) held: Acquisition,
    pub(super) leave: ReleaseState,
    pub(super) panic_flag: PanicFlag,
    /// A thread owns the mutex, so the guard must not be sent to another.
    pub(super) thread: PhantomData<*const ()>,
}

impl<'a, T: Pod + Shareable> MutexSliceGuard<'a, T> {
    /// Returns a view of the elements. The view is empty in a forked child, which holds none of its
    /// parent's locks.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::{Location, Mutex, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let samples = Shared::create_new(Location::anonymous(), || Mutex::<[u32]>::zeroed(1000))?;
    /// let guard = samples.lock()?;
    /// let view = guard.view();
    /// view.set(7, 5)?;
    /// assert_eq!(view.iter().sum::<sharemap::Result<u32>>()?, 5);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn view(&self) -> ViewMut<'_, T> {
        let elements = self.mutex.elements;
        let shown = if self.is_own() { elements } else { elements.none() };
        shown.view_mut(&self.mutex.place)
    }

    /// Releases the mutex, as dropping the guard does, and returns the result.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed. If the mutex's word could not be written, the next
    ///   owner acquires the mutex after this process has ended.
    ///
    /// Other kinds report a failed system call while waking a waiter; the mutex is then released.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::{Location, Mutex, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let samples = Shared::create_new(Location::anonymous(), || Mutex::<[u32]>::zeroed(1000))?;
    /// let guard = samples.lock()?;
    /// guard.view().fill(1)?;
    /// guard.unlock()?; // returns an error that dropping would defer
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pthread_mutex_unlock")]
    pub fn unlock(self) -> Result<()> {
        ManuallyDrop::new(self).release()
    }

    /// Returns `true` if this process holds the mutex, and `false` in a forked child.
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

    /// Returns the state in which to leave the mutex. A panic leaves it as a death does: what was
    /// written before the panic is unknown.
    fn leaving(&self) -> ReleaseState {
        match self.leave {
            ReleaseState::Sound if self.panic_flag.has_panicked_since() => ReleaseState::Died,
            leave => leave,
        }
    }

    /// Returns the handle of the mutex.
    pub(in crate::sync::api) fn handle(&self) -> &'a MutexSliceHandle<T> {
        self.mutex
    }

    /// Returns the handle, the acquisition and the state in which to leave the mutex, which a condition
    /// variable then releases. Returns `None` in a forked child, where the copy of the guard holds nothing.
    ///
    /// The mutex stays held: the caller releases it. Never fails; that of a value does, as it writes the value
    /// back first.
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
    /// Returns a view of the elements, which may be half-written. Use it to inspect and repair them
    /// before [`mark_consistent`](Self::mark_consistent).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::{Location, LockError, Mutex, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let samples = Shared::create_new(Location::anonymous(), || Mutex::<[u32]>::zeroed(1000))?;
    /// # std::thread::scope(|scope| {
    /// #     let owner = scope.spawn(|| {
    /// #         let guard = samples.lock().unwrap();
    /// #         guard.view().set(0, 5).unwrap();
    /// #         std::panic::resume_unwind(Box::new("while holding the lock"));
    /// #     });
    /// #     assert!(owner.join().is_err());
    /// # });
    /// // An owner panicked after it had written the first element.
    /// let Err(LockError::OwnerDied(guard)) = samples.lock() else { panic!("the owner died") };
    /// assert_eq!(guard.view().get(0)?, 5);
    /// guard.view().fill(0)?;
    /// guard.mark_consistent().unlock()?;
    /// # Ok(()) }
    /// ```
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
