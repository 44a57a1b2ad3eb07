//! The initial value of a mutex over elements, and `MutexSliceHandle`, which acquires the mutex.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::MutexSliceGuard;
use crate::error::Result;
use crate::layout::{Layout, Pod, Shareable};
use crate::sync::algorithms::mutex::{Acquisition, RawMutex};
use crate::sync::api::deferred_error::DeferredError;
use crate::sync::api::elements::{Elements, Head, fits};
use crate::sync::api::error::{LockResult, acquired};
use crate::sync::api::local_copy::PanicFlag;
use crate::sync::api::lock_target::Zeros;
use crate::sync::api::mutex::{LOCK, Mutex};
use crate::sync::api::shared_type::{LayoutReader, LayoutSize, LayoutWriter, LockRef, SharedType};
use crate::view::{View, ViewMut};

const HEAD: Head = Head { bytes: 16, count_at: 8 };

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
        Ok(MutexSliceHandle {
            place,
            raw,
            elements,
            kept: DeferredError::default(),
            element: PhantomData,
        })
    }
}

/// A mutex that processes share, which guards elements in place.
///
/// A [`Shared`](crate::Shared) object of a [`Mutex<[T]>`](Mutex::zeroed) derefs to this handle. A guard
/// gives a [`ViewMut`] of the elements. Writes through the view take effect at once, so an owner that
/// dies or panics may leave the elements half-written. The next owner then gets
/// [`LockError::OwnerDied`](crate::LockError::OwnerDied), and can inspect, repair, accept or poison the
/// elements.
///
/// Ownership, fairness and platforms are those of [`MutexHandle`](crate::MutexHandle).
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
pub struct MutexSliceHandle<T> {
    pub(super) place: LockRef,
    pub(super) raw: RawMutex,
    pub(super) elements: Elements,
    pub(super) kept: DeferredError,
    element: PhantomData<fn() -> T>,
}

impl<T: Pod + Shareable> MutexSliceHandle<T> {
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
        self.elements.len()
    }

    /// Acquires the mutex, blocking the current thread until it is available.
    ///
    /// If the owner dies, a waiter detects the death within milliseconds and releases the mutex. The
    /// elements may then be half-written.
    ///
    /// # Errors
    /// As for [`MutexHandle::lock`](crate::MutexHandle::lock), except `Invalid`: any bytes are elements.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, LockError, Mutex, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let samples = Shared::create_new(Location::anonymous(), || Mutex::<[f32]>::zeroed(1000))?;
    /// let guard = match samples.lock() {
    ///     Ok(guard) => guard,
    ///     Err(LockError::OwnerDied(guard)) => {
    ///         guard.view().fill(0.0)?;
    ///         guard.mark_consistent()
    ///     }
    ///     Err(LockError::Failed(error)) => return Err(error),
    /// };
    /// guard.view().set(7, 1.5)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pthread_mutex_lock")]
    pub fn lock(&self) -> LockResult<MutexSliceGuard<'_, T>> {
        self.lock_until(None)
    }

    /// Acquires the mutex like [`lock`](Self::lock), but blocks for at most `timeout` while it is held.
    ///
    /// A free mutex is acquired even if `timeout` is zero. Claiming a lane for the thread may take
    /// about 100 ms more. A dead owner is detected even if `timeout` is zero, though not necessarily
    /// by the first call.
    ///
    /// # Errors
    /// As for `lock`, and
    ///
    /// - `Timeout` - the mutex was not acquired within `timeout`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use sharemap::{Location, Mutex, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let samples = Shared::create_new(Location::anonymous(), || Mutex::<[u32]>::zeroed(1000))?;
    /// let guard = samples.lock_timeout(Duration::from_secs(1))?;
    /// guard.view().set(7, 5)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pthread_mutex_timedlock")]
    pub fn lock_timeout(&self, timeout: Duration) -> LockResult<MutexSliceGuard<'_, T>> {
        self.lock_until(self.place.after(timeout))
    }

    fn lock_until(&self, until: Option<Duration>) -> LockResult<MutexSliceGuard<'_, T>> {
        self.kept.take()?;
        // Waits on `place`, which knows whether this opening was cancelled; the session does not.
        let held = self.raw.lock_on(self.place.session(), &self.place, until);
        self.guard(held.map_err(|error| self.place.with_object_path(error))?)
    }

    /// Attempts to acquire the mutex without waiting for its owner.
    ///
    /// A dead owner is detected, though not necessarily by the first call. The call blocks for up to
    /// about 100 ms if the thread must claim a lane; see
    /// [`MutexHandle::try_lock`](crate::MutexHandle::try_lock).
    ///
    /// # Errors
    /// As for [`lock`](Self::lock), except `Deadlock` and `Cancelled`, and
    ///
    /// - `WouldBlock` - the mutex is held, by this thread or another.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::{ErrorKind, Location, Mutex, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let samples = Shared::create_new(Location::anonymous(), || Mutex::<[u32]>::zeroed(1000))?;
    /// match samples.try_lock() {
    ///     Ok(guard) => guard.view().set(7, 5)?,
    ///     Err(error) if error.kind() == ErrorKind::WouldBlock => println!("the mutex is held"),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pthread_mutex_trylock")]
    pub fn try_lock(&self) -> LockResult<MutexSliceGuard<'_, T>> {
        self.kept.take()?;
        let attempt = self.raw.try_lock(self.place.session());
        self.guard(self.place.attempted(attempt, LOCK)?)
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
        self.elements.view(&self.place)
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
        self.elements.private_view_mut(&self.place)
    }

    /// Makes a guard of `held`.
    pub(in crate::sync::api) fn guard(
        &self,
        held: Acquisition,
    ) -> LockResult<MutexSliceGuard<'_, T>> {
        let guard = self.guard_of(held);
        acquired(guard, held.died())
    }

    pub(super) fn guard_of(&self, held: Acquisition) -> MutexSliceGuard<'_, T> {
        // The guard leaves the flags as found until `mark_consistent` is called.
        let (leave, panic_flag) = (held.leave(), PanicFlag::now());
        MutexSliceGuard { mutex: self, held, leave, panic_flag, thread: PhantomData }
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
