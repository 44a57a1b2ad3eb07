//! `Mutex<[T]>`: what the mutex over elements has of its own.

use std::fmt;
use std::time::Duration;

use super::{Mutex, MutexGuard, MutexHandle};
use crate::error::Result;
use crate::layout::{Pod, Shareable};
use crate::sync::api::error::{OwnerDiedGuard, recovered};
use crate::sync::api::storage::Zeros;
use crate::view::{View, ViewMut};

impl<T: Pod + Shareable> Mutex<[T]> {
    /// Creates the initial value of a mutex that guards `len` elements in place, all of them zeros.
    ///
    /// The object stores the number of elements when it is created; later openings use the stored
    /// number. Creating an object fails with [`ZeroLength`](crate::ErrorKind::ZeroLength) if `len` is
    /// zero. The elements' type must have a size, and an alignment of at most 16; this is checked at
    /// compile time.
    ///
    /// # Examples
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
    #[doc(alias = "slice")]
    #[must_use]
    pub const fn zeroed(len: usize) -> Self {
        Self(Zeros::new::<T>(len))
    }
}

/// The handle of a mutex that guards elements in place.
///
/// A [`Shared`](crate::Shared) object of a [`Mutex<[T]>`](Mutex::zeroed) derefs to this handle. A guard
/// gives a [`ViewMut`] of the elements. Writes through the view take effect at once, so an owner that
/// dies or panics may leave the elements half-written. The next owner then gets
/// [`LockError::OwnerDied`](crate::LockError::OwnerDied), and can inspect, repair, accept or poison the
/// elements.
///
/// Its methods are those of [`MutexHandle`], apart from those that repair or show the elements.
///
/// # Examples
/// ```
/// use sharemap::{Location, Mutex, MutexSliceHandle, Shared};
///
/// fn total(samples: &MutexSliceHandle<u32>) -> sharemap::Result<u32> {
///     samples.lock()?.view().iter().sum()
/// }
///
/// # fn main() -> sharemap::Result<()> {
/// let samples = Shared::create_new(Location::anonymous(), || Mutex::<[u32]>::zeroed(1000))?;
/// samples.lock()?.view().set(7, 5)?;
/// assert_eq!(total(&samples)?, 5);
/// # Ok(()) }
/// ```
pub type MutexSliceHandle<T> = MutexHandle<[T]>;

impl<T: Pod + Shareable> MutexHandle<[T]> {
    /// Returns the number of elements, which is at least one.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::{Location, Mutex, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// let samples = Shared::create_new(Location::anonymous(), || Mutex::<[u32]>::zeroed(1000))?;
    /// assert_eq!(samples.len(), 1000);
    /// # Ok(()) }
    /// ```
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "there is at least one")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Acquires the mutex, and lets the caller repair elements that a dead owner left.
    ///
    /// Blocks the current thread like [`lock`](Self::lock). If an earlier owner died or panicked and no
    /// owner since has called `mark_consistent`, calls `repair` with the elements, which may be
    /// half-written, and marks the result consistent. If `repair` fails or panics, the next owner gets
    /// `OwnerDied` again.
    ///
    /// # Errors
    /// The kinds of [`lock`](Self::lock), except `OwnerDied`, and the error of `repair`.
    ///
    /// # Examples
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
    ) -> Result<MutexGuard<'_, [T]>> {
        recovered(self.lock(), |guard| repair(guard.view()))
    }

    /// Acquires the mutex like [`lock_or_recover`](Self::lock_or_recover), but blocks for at most
    /// `timeout` while it is held.
    ///
    /// # Errors
    /// As for `lock_or_recover`, and
    ///
    /// - `Timeout` - the mutex was not acquired within `timeout`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use sharemap::{Location, Mutex, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let samples = Shared::create_new(Location::anonymous(), || Mutex::<[u32]>::zeroed(1000))?;
    /// let second = Duration::from_secs(1);
    /// let guard = samples.lock_or_recover_timeout(second, |samples| samples.fill(0))?;
    /// guard.view().set(7, 5)?;
    /// # Ok(()) }
    /// ```
    pub fn lock_or_recover_timeout(
        &self,
        timeout: Duration,
        repair: impl FnOnce(ViewMut<'_, T>) -> Result<()>,
    ) -> Result<MutexGuard<'_, [T]>> {
        recovered(self.lock_timeout(timeout), |guard| repair(guard.view()))
    }

    /// Returns a read-only view of the elements without acquiring the mutex.
    ///
    /// The view may show elements of different moments, and elements that an owner has half-written. A
    /// read-only or copy-on-write opening can use the view, too.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::{Location, Mutex, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let samples = Shared::create_new(Location::anonymous(), || Mutex::<[u32]>::zeroed(1000))?;
    /// let _guard = samples.lock()?;
    /// assert_eq!(samples.view_unlocked().get(7)?, 0);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "peek")]
    #[must_use]
    pub fn view_unlocked(&self) -> View<'_, T> {
        self.0.view_unlocked()
    }

    /// Returns a view through which this process can change the elements of its private copy of the
    /// object, without acquiring the mutex.
    ///
    /// No other process sees the changes. A page that was changed here no longer shows the changes of
    /// other processes.
    ///
    /// # Errors
    /// - `NotWritable` - the object was not opened
    ///   [copy-on-write](crate::SharedOptions::open_copy_on_write).
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Mutex, Shared, SharedOptions};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// # let name = format!("doc-private-{}", std::process::id());
    /// # let name = name.as_str();
    /// let samples = Shared::create_new(name, || Mutex::<[u32]>::zeroed(1000))?;
    /// let copy: Shared<Mutex<[u32]>> = SharedOptions::new().open_copy_on_write(name)?;
    /// copy.private_view_mut()?.set(7, 5)?;
    /// assert_eq!(samples.view_unlocked().get(7)?, 0);
    /// # sharemap::SharedMemory::unlink(name)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias("draft", "MAP_PRIVATE"))]
    pub fn private_view_mut(&self) -> Result<ViewMut<'_, T>> {
        self.0.private_view_mut()
    }
}

/// An RAII guard that holds a mutex over elements in place.
///
/// Dropping the guard releases the mutex. During a panic that began while the guard existed, the next
/// owner gets `OwnerDied`, because the elements may be half-written. [`unlock`](MutexGuard::unlock) returns
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
pub type MutexSliceGuard<'a, T> = MutexGuard<'a, [T]>;

impl<T: Pod + Shareable> MutexGuard<'_, [T]> {
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
        self.0.lock.view_mut(self.0.slot)
    }
}

impl<T: Pod + Shareable> OwnerDiedGuard<MutexGuard<'_, [T]>> {
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

impl<T: Pod + Shareable> fmt::Debug for MutexGuard<'_, [T]> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MutexGuard").field(&self.view()).finish()
    }
}
