//! The initial value of a reader-writer lock over elements, and `RwLockSliceHandle`, which acquires the lock
//! for reading or writing.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::guards::ExclusiveGuard;
use super::{RwLockSliceReadGuard, RwLockSliceWriteGuard};
use crate::error::Result;
use crate::layout::{Layout, Pod, Shareable};
use crate::sync::algorithms::mutex::Acquisition;
use crate::sync::algorithms::rwlock::{RawRwLock, Reading};
use crate::sync::api::deferred_error::DeferredError;
use crate::sync::api::elements::{Elements, Head, fits};
use crate::sync::api::error::{LockResult, acquired};
use crate::sync::api::local_copy::PanicFlag;
use crate::sync::api::lock_target::Zeros;
use crate::sync::api::rwlock::{READ, RwLock, WRITE};
use crate::sync::api::shared_type::{LayoutReader, LayoutSize, LayoutWriter, LockRef, SharedType};
use crate::view::{View, ViewMut};

const HEAD: Head = Head { bytes: 32, count_at: 16 };

impl<T: Pod + Shareable> RwLock<[T]> {
    /// Creates the initial value of a lock that guards `len` elements in place, all zeros.
    ///
    /// The object stores the number of elements. A process that opens an existing object gets the
    /// stored number, even if its own initial value has another.
    ///
    /// Creating an object fails with [`ZeroLength`](crate::ErrorKind::ZeroLength) if `len` is zero, and
    /// with [`Overflow`](crate::ErrorKind::Overflow) if the size of the elements overflows. The
    /// alignment of `T` must be at most 16 and its size must not be zero; other types do not compile.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, RwLock, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100_000))?;
    /// table.write()?.view().set(99_999, 5)?;
    /// let guard = table.read()?;
    /// assert_eq!(guard.view().get(99_999)?, 5);
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
        Ok(RwLockSliceHandle {
            place,
            raw,
            elements,
            kept: DeferredError::default(),
            element: PhantomData,
        })
    }
}

/// A reader-writer lock that is shared between processes and guards elements in place.
///
/// Its initial value is [`RwLock::zeroed`]. Any number of threads may hold the lock for reading, or
/// one thread for writing. One more thread may hold it [upgradably](Self::upgradable) beside readers.
/// The guards have [views](View) of the elements, which are not copied.
///
/// A writer's changes take effect at once. A writer that dies or panics may leave the elements
/// half-written. Later acquisitions then return [`LockError::OwnerDied`](crate::LockError::OwnerDied),
/// until a writer or an upgradable holder has called
/// [`mark_consistent`](crate::OwnerDiedGuard::mark_consistent) and released the lock. If a reader dies,
/// its read lock is released, and nothing else changes.
///
/// A writer that waits for readers blocks new readers, but not threads that already hold a read
/// guard. No other order of acquisition is guaranteed.
///
/// Blocked threads sleep in the kernel as those of a [`MutexHandle`](crate::MutexHandle) do.
///
/// # Examples
/// ```
/// use sharemap::{Location, RwLock, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// let samples = Shared::create_new(Location::anonymous(), || RwLock::<[f32]>::zeroed(1000))?;
/// samples.write_or_recover(|samples| samples.fill(0.0))?.view().set(7, 1.5)?;
/// assert_eq!(samples.read()?.view().iter().sum::<sharemap::Result<f32>>()?, 1.5);
/// # Ok(()) }
/// ```
pub struct RwLockSliceHandle<T> {
    pub(super) place: LockRef,
    pub(super) raw: RawRwLock,
    pub(super) elements: Elements,
    pub(super) kept: DeferredError,
    element: PhantomData<fn() -> T>,
}

impl<T: Pod + Shareable> RwLockSliceHandle<T> {
    /// Returns the number of elements, which is never zero.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::{Location, RwLock, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100))?;
    /// assert_eq!(table.len(), 100);
    /// # Ok(()) }
    /// ```
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "there is one at least")]
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Acquires the lock for reading, blocking the current thread until no writer holds it.
    ///
    /// The call also blocks while a writer waits for readers to release the lock. A thread that
    /// already holds a read guard of this lock does not block.
    ///
    /// If the writer dies, a blocked reader detects the death within milliseconds and releases the
    /// lock.
    ///
    /// # Errors
    /// [`LockError::OwnerDied`](crate::LockError::OwnerDied) if the lock was acquired, but an earlier
    /// writer died or panicked while holding it and no owner since has called `mark_consistent`. The
    /// elements may be half-written.
    /// Otherwise [`LockError::Failed`](crate::LockError::Failed), of kind
    ///
    /// - `Deadlock` - this thread holds the lock for writing.
    /// - `Poisoned` - an owner poisoned the lock; use [`read_poisoned`](Self::read_poisoned), or
    ///   [`write_poisoned`](Self::write_poisoned) to repair the elements.
    /// - `Cancelled` - the call had to block after [`Shared::cancel`](crate::Shared::cancel).
    /// - `Fault` - the memory could not be accessed.
    /// - `NotWritable` - the object was opened read-only or copy-on-write.
    /// - `TooManyThreads` - no [lane](crate::SharedOptions::lanes) became free within about 100 ms, or
    ///   the thread is running its last destructors.
    /// - `TooManyProcesses` - a forked child could not attach within about 100 ms.
    ///
    /// Other kinds report a failed system call, or why a forked child could not attach. An error from
    /// dropping an earlier guard of this handle is returned by the next call, which then acquires
    /// nothing.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, RwLock, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100))?;
    /// let guard = table.read()?;
    /// assert_eq!(guard.view().get(99)?, 0);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pthread_rwlock_rdlock")]
    pub fn read(&self) -> LockResult<RwLockSliceReadGuard<'_, T>> {
        self.read_until(None)
    }

    /// Acquires the lock like [`read`](Self::read), but blocks for at most `timeout` while readers are
    /// not admitted.
    ///
    /// A lock that admits readers is acquired even if `timeout` is zero. Claiming a lane is not
    /// bounded by `timeout`.
    ///
    /// # Errors
    /// As for [`read`](Self::read), and
    ///
    /// - `Timeout` - the lock was not acquired within `timeout`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use sharemap::{Location, RwLock, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100))?;
    /// let guard = table.read_timeout(Duration::from_secs(1))?;
    /// assert_eq!(guard.view().get(99)?, 0);
    /// # Ok(()) }
    /// ```
    pub fn read_timeout(&self, timeout: Duration) -> LockResult<RwLockSliceReadGuard<'_, T>> {
        self.read_until(self.place.after(timeout))
    }

    pub(super) fn read_until(
        &self,
        until: Option<Duration>,
    ) -> LockResult<RwLockSliceReadGuard<'_, T>> {
        self.kept.take()?;
        let session = self.place.session();
        // The announcement comes before the load of the word: a writer either finds this reader in
        // its lane, or this reader finds the writer's word (FORMAT.md, "Reader-writer lock"). Death
        // after the announcement: recovery replaces it and wakes the writer at `drain`.
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
    /// A dead writer is detected, though not necessarily by the first call.
    ///
    /// # Errors
    /// As for [`read`](Self::read), except `Deadlock` and `Cancelled`, and
    ///
    /// - `WouldBlock` - a thread, this one or another, holds the lock for writing, or has it reserved
    ///   and waits for its readers.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::{ErrorKind, Location, RwLock, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100))?;
    /// let writing = table.write()?;
    /// assert_eq!(table.try_read().unwrap_err().kind(), ErrorKind::WouldBlock);
    /// drop(writing);
    /// assert_eq!(table.try_read()?.view().get(99)?, 0);
    /// # Ok(()) }
    /// ```
    pub fn try_read(&self) -> LockResult<RwLockSliceReadGuard<'_, T>> {
        self.kept.take()?;
        let attempt = self.raw.try_read(self.place.session());
        self.reading(self.place.attempted(attempt, READ)?)
    }

    /// Returns the guard of an acquired read lock.
    fn reading(&self, reading: Reading) -> LockResult<RwLockSliceReadGuard<'_, T>> {
        let guard = RwLockSliceReadGuard { lock: self, reading, thread: PhantomData };
        acquired(guard, reading.died())
    }

    /// Acquires the lock for writing, blocking the current thread until no other thread holds it.
    ///
    /// If a holder dies, a blocked writer detects the death within milliseconds and releases the lock.
    ///
    /// # Errors
    /// As for [`read`](Self::read), except that
    ///
    /// - `Deadlock` - this thread already holds the lock, even if only for reading.
    /// - `Poisoned` - an owner poisoned the lock; use [`write_poisoned`](Self::write_poisoned).
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, LockError, RwLock, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100))?;
    /// let guard = match table.write() {
    ///     Ok(guard) => guard,
    ///     Err(LockError::OwnerDied(guard)) => {
    ///         guard.view().fill(0)?; // a dead writer left it, perhaps half-written
    ///         guard.mark_consistent()
    ///     }
    ///     Err(LockError::Failed(error)) => return Err(error),
    /// };
    /// guard.view().set(99, 5)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pthread_rwlock_wrlock")]
    pub fn write(&self) -> LockResult<RwLockSliceWriteGuard<'_, T>> {
        self.write_until(None)
    }

    /// Acquires the lock like [`write`](Self::write), but blocks for at most `timeout` while it is held.
    ///
    /// A free lock is acquired even if `timeout` is zero. Claiming a lane is not bounded by `timeout`.
    ///
    /// # Errors
    /// As for [`write`](Self::write), and
    ///
    /// - `Timeout` - the lock was not acquired within `timeout`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use sharemap::{Location, RwLock, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100))?;
    /// let guard = table.write_timeout(Duration::from_secs(1))?;
    /// guard.view().set(99, 5)?;
    /// # Ok(()) }
    /// ```
    pub fn write_timeout(&self, timeout: Duration) -> LockResult<RwLockSliceWriteGuard<'_, T>> {
        self.write_until(self.place.after(timeout))
    }

    pub(super) fn write_until(
        &self,
        until: Option<Duration>,
    ) -> LockResult<RwLockSliceWriteGuard<'_, T>> {
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
    ///
    /// # Examples
    /// ```
    /// # use sharemap::{ErrorKind, Location, RwLock, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(100))?;
    /// let reading = table.read()?;
    /// assert_eq!(table.try_write().unwrap_err().kind(), ErrorKind::WouldBlock);
    /// drop(reading);
    /// table.try_write()?.view().set(99, 5)?;
    /// # Ok(()) }
    /// ```
    pub fn try_write(&self) -> LockResult<RwLockSliceWriteGuard<'_, T>> {
        self.kept.take()?;
        let attempt = self.raw.try_write(self.place.session());
        self.writing(self.place.attempted(attempt, WRITE)?)
    }

    /// Returns the guard of a lock that was acquired for writing.
    fn writing(&self, held: Acquisition) -> LockResult<RwLockSliceWriteGuard<'_, T>> {
        let guard =
            RwLockSliceWriteGuard { inner: self.holding(held), panic_flag: PanicFlag::now() };
        acquired(guard, held.died())
    }

    /// Returns the part of a guard that owns the word, to be released as it was found.
    pub(super) fn holding(&self, held: Acquisition) -> ExclusiveGuard<'_, T> {
        ExclusiveGuard { lock: self, held: Some(held), leave: held.leave(), thread: PhantomData }
    }

    /// Returns a view of the elements without acquiring the lock.
    ///
    /// Writers may change the elements at any time, so values that are read one after another may not
    /// belong together, and a value of more than 8 bytes may be half-written. The method also works if
    /// the object was opened read-only.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, RwLock, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let progress = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(4))?;
    /// let _writing = progress.write()?;
    /// assert_eq!(progress.view_unlocked().get(0)?, 0); // does not wait for the writer
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn view_unlocked(&self) -> View<'_, T> {
        self.elements.view(&self.place)
    }

    /// Returns a mutable view of this process's private copy of the elements, without acquiring the
    /// lock.
    ///
    /// Other processes do not see changes that are made through the view. A page that was changed
    /// through it no longer shows the changes of other processes.
    ///
    /// # Errors
    /// - `NotWritable` - the object was not opened
    ///   [copy-on-write](crate::SharedOptions::open_copy_on_write).
    ///
    /// # Examples
    /// ```
    /// use sharemap::{RwLock, Shared, SharedOptions};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// # let name = format!("doc-private-{}", std::process::id());
    /// # let name = name.as_str();
    /// let table = Shared::create_new(name, || RwLock::<[u64]>::zeroed(100))?;
    /// let draft: Shared<RwLock<[u64]>> = SharedOptions::new().open_copy_on_write(name)?;
    /// draft.private_view_mut()?.set(0, 5)?;
    /// assert_eq!(table.read()?.view().get(0)?, 0);
    /// # Shared::<RwLock<[u64]>>::unlink(name)?;
    /// # Ok(()) }
    /// ```
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
