//! `Mutex`, the initial value, and `MutexHandle`, which acquires the mutex.

use std::fmt;
use std::time::Duration;

use super::MutexGuard;
use crate::error::Result;
use crate::layout::{Element, Layout, Shareable};
use crate::sync::algorithms::mutex::RawMutex;
use crate::sync::api::error::LockResult;
use crate::sync::api::lock::{Lock, told};
use crate::sync::api::lock_target::LockTarget;
use crate::sync::api::shared_type::{LayoutReader, LayoutSize, LayoutWriter, LockRef, SharedType};

/// The initial value of a shared mutex. The mutex itself is accessed through [`MutexHandle`].
///
/// Creating a [`Shared`](crate::Shared) object stores this value in the object. Later openings use
/// the stored value.
///
/// A guard of a `Mutex<T>` copies the value out and back. A `Mutex<[T]>`, made by
/// [`zeroed`](Mutex::zeroed), guards large data in place.
///
/// # Examples
/// ```
/// use sharemap::{Location, Mutex, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// let hits = Shared::create_new(Location::anonymous(), || Mutex::new(7_u64))?;
/// assert_eq!(*hits.lock()?, 7);
/// # Ok(()) }
/// ```
#[doc(alias("pthread_mutex_t", "CreateMutex"))]
pub struct Mutex<T: ?Sized + LockTarget>(pub(in crate::sync::api) T::First);

impl<T: Element + Shareable> Mutex<T> {
    /// Creates the initial value of a mutex that guards `value`.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::{Mutex, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let name = format!("doc-mutex-new-{}", std::process::id());
    /// # let name = name.as_str();
    /// let hits = Shared::open_or_create(name, || Mutex::new(7_u64))?;
    /// let same = Shared::open_or_create(name, || Mutex::new(0_u64))?; // opens: the 0 is not used
    /// assert_eq!(*same.lock()?, 7);
    /// # sharemap::SharedMemory::unlink(name)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pthread_mutex_init")]
    pub const fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T: ?Sized + LockTarget> SharedType for Mutex<T> {
    type Handle = MutexHandle<T>;
    const ROOM: LayoutSize = Lock::<RawMutex, T>::ROOM;

    fn describe(layout: &mut Layout) {
        layout.push("mutex<");
        T::describe_target(layout);
        layout.push(">");
    }

    fn fill(&self, blank: &mut LayoutWriter<'_>) -> Result<()> {
        Lock::<RawMutex, T>::fill(&self.0, blank)
    }

    fn handle(found: &mut LayoutReader) -> Result<Self::Handle> {
        Lock::find(found).map(MutexHandle)
    }
}

/// A mutex that processes share, with a value of type `T`, or with the elements of a slice.
///
/// A [`Shared`](crate::Shared) object of a [`Mutex`] derefs to this handle. Acquiring the mutex
/// returns a guard with a local copy of the value, and dropping the guard writes the copy back in
/// one step. If an owner dies or panics before that, the value stays as it was, and the next owner
/// gets [`LockError::OwnerDied`](crate::LockError::OwnerDied).
///
/// The elements of a `Mutex<[T]>` stay in place; see [`MutexSliceHandle`](crate::MutexSliceHandle).
///
/// A thread owns the mutex, not its process. The mutex is not recursive, and acquisition is not
/// fair: a thread that releases the mutex may acquire it again before a waiter wakes. Once a waiter
/// has waited for 10 ms, the next release pauses for 0.1 ms to let a waiter in.
///
/// # Platforms
/// Waiting threads sleep in `futex` on Linux, in `os_sync_wait_on_address` on macOS (before macOS
/// 14.4, they poll once a millisecond), and on named semaphores on Windows. The mutex is not a
/// `pthread_mutex_t`: programs of different C libraries and word sizes can share it.
///
/// # Examples
/// ```
/// use sharemap::{Mutex, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// # let name = format!("doc-mutex-{}", std::process::id());
/// # let name = name.as_str();
/// let hits = Shared::open_or_create(name, || Mutex::new(0_u64))?; // in each process
/// *hits.lock()? += 1;
/// assert_eq!(*hits.lock()?, 1);
/// # sharemap::SharedMemory::unlink(name)?;
/// # Ok(()) }
/// ```
pub struct MutexHandle<T: ?Sized>(pub(in crate::sync::api) Lock<RawMutex, T>);

impl<T: ?Sized + LockTarget> MutexHandle<T> {
    /// Acquires the mutex, blocking the current thread until it is available.
    ///
    /// If the owner dies, a waiter detects the death within milliseconds and releases the mutex. A
    /// value is the last one written back. Elements in place may be half-written.
    ///
    /// # Errors
    /// [`LockError::OwnerDied`](crate::LockError::OwnerDied) if the mutex was acquired, but an earlier owner died or panicked while
    /// holding it and no owner since has called `mark_consistent`.
    /// Otherwise [`LockError::Failed`](crate::LockError::Failed), of kind
    ///
    /// - `Deadlock` - this thread already holds the mutex.
    /// - `Poisoned` - an owner poisoned it; use [`lock_poisoned`](Self::lock_poisoned).
    /// - `Cancelled` - the call had to block after [`Shared::cancel`](crate::Shared::cancel).
    /// - `Invalid` - the stored bytes are not a valid value. Any bytes are elements of a slice.
    /// - `Fault` - the memory could not be accessed.
    /// - `NotWritable` - the object was opened read-only or copy-on-write.
    /// - `TooManyThreads` - no [lane](crate::SharedOptions::lanes) became free within about 100 ms, or
    ///   the thread is running its last destructors.
    /// - `TooManyProcesses` - a forked child could not attach within about 100 ms.
    ///
    /// Other kinds report a failed system call, or why a forked child could not attach. An error from
    /// dropping an earlier guard of this handle is returned by the next call, on any thread. That call
    /// acquires nothing.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, LockError, Mutex, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let hits = Shared::create_new(Location::anonymous(), || Mutex::new(0_u64))?;
    /// match hits.lock() {
    ///     Ok(mut count) => *count += 1,
    ///     Err(LockError::OwnerDied(guard)) => *guard.mark_consistent() += 1,
    ///     Err(LockError::Failed(error)) => return Err(error),
    /// }
    /// assert_eq!(*hits.lock()?, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// Elements in place are repaired through the guard's view:
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
    #[doc(alias("pthread_mutex_lock", "WaitForSingleObject"))]
    #[inline(always)]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        told(self.0.lock_until(|| None), MutexGuard)
    }

    /// Acquires the mutex like [`lock`](Self::lock), but blocks for at most `timeout` while it is held.
    ///
    /// A free mutex is acquired even if `timeout` is zero. Claiming a lane for the thread may take
    /// about 100 ms more.
    ///
    /// A dead owner is detected even if `timeout` is zero, though not necessarily by the first call:
    /// calls that end before they sleep check, like [`try_lock`](Self::try_lock), at most one owner
    /// per object and millisecond.
    ///
    /// # Errors
    /// As for `lock`, and
    ///
    /// - `Timeout` - the mutex was not acquired within `timeout`.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::{Location, Mutex, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let hits = Shared::create_new(Location::anonymous(), || Mutex::new(0_u64))?;
    /// *hits.lock_timeout(std::time::Duration::from_secs(1))? += 1;
    /// # Ok(()) }
    /// ```
    #[doc(alias("pthread_mutex_timedlock", "try_lock_for"))]
    pub fn lock_timeout(&self, timeout: Duration) -> LockResult<MutexGuard<'_, T>> {
        told(self.0.lock_until(|| self.0.place.after(timeout)), MutexGuard)
    }

    /// Attempts to acquire the mutex without waiting for its owner.
    ///
    /// A dead owner is detected, though not necessarily by the first call: the threads of a process
    /// together check at most one owner per object and millisecond.
    ///
    /// A thread claims a lane with its first lock in an object, and another one for every seven further
    /// locks that it holds at once. Such a call blocks for up to about 100 ms while all lanes are in
    /// use. A forked child's first call blocks for as long while no process can be added.
    ///
    /// # Errors
    /// As for [`lock`](Self::lock), except `Deadlock` and `Cancelled`, and
    ///
    /// - `WouldBlock` - the mutex is held, by this thread or another.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{ErrorKind, Location, Mutex, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let hits = Shared::create_new(Location::anonymous(), || Mutex::new(0_u64))?;
    /// match hits.try_lock() {
    ///     Ok(mut count) => *count += 1,
    ///     Err(error) if error.kind() == ErrorKind::WouldBlock => {}
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pthread_mutex_trylock")]
    pub fn try_lock(&self) -> LockResult<MutexGuard<'_, T>> {
        told(self.0.try_lock(), MutexGuard)
    }
}

impl<T: ?Sized> MutexHandle<T> {
    pub(in crate::sync::api) fn place(&self) -> &LockRef {
        &self.0.place
    }
}

impl<T: ?Sized> fmt::Debug for MutexHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt_as("MutexHandle", f)
    }
}
