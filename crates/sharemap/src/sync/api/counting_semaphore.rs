//! `CountingSemaphore`: a count that any thread raises and lowers, and no thread owns.

use std::time::Duration;

use crate::error::{ErrorKind, Result};
use crate::layout::Layout;
use crate::sync::algorithms::counting_semaphore::RawCountingSemaphore;
use crate::sync::api::shared_type::{LayoutReader, LayoutSize, LayoutWriter, LockRef, SharedType};

const WAIT: &str = "wait for the semaphore";

/// The initial count of a shared counting semaphore.
///
/// Creating a [`Shared`](crate::Shared) object stores the count in the object; later openings use the
/// stored one. The semaphore itself is accessed through [`CountingSemaphoreHandle`], which `Shared`
/// dereferences to.
///
/// [`post`](CountingSemaphoreHandle::post) raises the count, and
/// [`wait`](CountingSemaphoreHandle::wait) lowers it, in any thread of any process. No thread owns what
/// it has taken from the count. **A count that a thread has taken is lost if its process dies before
/// it has done the work that the count stands for.** Use a [`Semaphore`](crate::Semaphore) for
/// resources: its permits return when their holder dies.
///
/// # Examples
/// ```
/// use sharemap::{CountingSemaphore, Location, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// let jobs = Shared::create_new(Location::anonymous(), || CountingSemaphore::new(0))?;
/// jobs.post()?; // in the process that adds a job
/// jobs.wait()?; // in a process that does it
/// # Ok(()) }
/// ```
#[doc(alias = "sem_t")]
#[doc(alias = "sem_open")]
#[doc(alias = "sem_init")]
#[doc(alias = "CreateSemaphore")]
#[derive(Clone, Copy, Debug, Default)]
pub struct CountingSemaphore(u32);

impl CountingSemaphore {
    /// Creates the initial value of a semaphore with the count `count`.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let items = Shared::create_new(Location::anonymous(), || CountingSemaphore::new(1))?;
    /// items.wait()?; // does not block: the count was 1
    /// assert_eq!(items.try_wait().unwrap_err().kind(), ErrorKind::WouldBlock);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn new(count: u32) -> Self {
        Self(count)
    }
}

impl SharedType for CountingSemaphore {
    type Handle = CountingSemaphoreHandle;
    const ROOM: LayoutSize = LayoutSize::exactly(RawCountingSemaphore::SIZE);

    fn describe(layout: &mut Layout) {
        // The format's name of this type, which cannot change (FORMAT.md, "Locks").
        layout.push("signal");
    }

    fn fill(&self, blank: &mut LayoutWriter<'_>) -> Result<()> {
        blank.take(Self::ROOM)?.write(0, &self.0.to_le_bytes())
    }

    fn handle(found: &mut LayoutReader) -> Result<Self::Handle> {
        let place = found.take(Self::ROOM)?;
        Ok(CountingSemaphoreHandle { raw: RawCountingSemaphore::new(place.at), place })
    }
}

/// A counting semaphore that is shared between processes.
///
/// No thread owns the count. What a process had taken from it before it died is lost. The permits of
/// a [`Semaphore`](crate::Semaphore) in contrast return when their holder dies.
///
/// The operations are those of a POSIX semaphore, but the semaphore is not a `sem_t`.
///
/// # Examples
/// ```
/// use sharemap::{CountingSemaphore, Location, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// let jobs = Shared::create_new(Location::anonymous(), || CountingSemaphore::new(0))?;
/// std::thread::scope(|scope| {
///     let worker = scope.spawn(|| jobs.wait()); // blocks until a job is posted
///     jobs.post()?;
///     worker.join().unwrap()
/// })?;
/// assert_eq!(jobs.count()?, 0);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct CountingSemaphoreHandle {
    place: LockRef,
    raw: RawCountingSemaphore,
}

impl CountingSemaphoreHandle {
    /// Adds one to the count and wakes one waiter, without blocking.
    ///
    /// # Errors
    /// - `Overflow` - the count would exceed `u32::MAX`; it is unchanged.
    /// - `Fault` - the memory could not be accessed.
    /// - `NotWritable` - the object was opened read-only or copy-on-write.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{CountingSemaphore, Location, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let jobs = Shared::create_new(Location::anonymous(), || CountingSemaphore::new(0))?;
    /// jobs.post()?;
    /// assert_eq!(jobs.count()?, 1);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "sem_post")]
    #[doc(alias = "ReleaseSemaphore")]
    #[inline]
    pub fn post(&self) -> Result<()> {
        self.post_many(1)
    }

    /// Adds `count` to the count in one step and wakes waiters, without blocking.
    ///
    /// # Errors
    /// As for [`post`](Self::post).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let items = Shared::create_new(Location::anonymous(), || CountingSemaphore::new(0))?;
    /// items.post_many(3)?;
    /// assert_eq!(items.count()?, 3);
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn post_many(&self, count: u32) -> Result<()> {
        self.place.require_writable("post to the semaphore")?;
        self.raw
            .post(self.place.session(), count)
            .map_err(|error| self.place.with_object_path(error))
    }

    /// Subtracts one from the count, blocking the current thread while the count is zero.
    ///
    /// If the process that was to post has died, the call blocks until another one posts;
    /// [`wait_timeout`](Self::wait_timeout) bounds the wait. A count that this call has taken is lost
    /// if this process dies.
    ///
    /// # Errors
    /// - `Cancelled` - the call had to block after [`Shared::cancel`](crate::Shared::cancel).
    /// - `Fault` - the memory could not be accessed.
    /// - `NotWritable` - the object was opened read-only or copy-on-write.
    /// - `TooManyThreads` - the call had to block, and no [lane](crate::SharedOptions::lanes) became
    ///   free within about 100 ms, or the thread is running its last destructors.
    /// - `TooManyProcesses` - the call had to block in a forked child, which could not attach within
    ///   about 100 ms.
    ///
    /// Other kinds report a failed system call, or why a forked child could not attach.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{CountingSemaphore, Location, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let jobs = Shared::create_new(Location::anonymous(), || CountingSemaphore::new(2))?;
    /// jobs.wait()?;
    /// assert_eq!(jobs.count()?, 1);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "sem_wait")]
    #[inline]
    pub fn wait(&self) -> Result<()> {
        self.place.require_writable(WAIT)?;
        self.raw.wait(&self.place, None).map_err(|error| self.place.with_object_path(error))
    }

    /// Subtracts one from the count like [`wait`](Self::wait), but blocks for at most `timeout`.
    ///
    /// Claiming a lane is not bounded by `timeout`.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait), and
    ///
    /// - `Timeout` - the count remained zero for `timeout`.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// use sharemap::{CountingSemaphore, ErrorKind, Location, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let jobs = Shared::create_new(Location::anonymous(), || CountingSemaphore::new(0))?;
    /// let error = jobs.wait_timeout(Duration::from_millis(1)).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Timeout);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "sem_timedwait")]
    pub fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.place.require_writable(WAIT)?;
        let until = self.place.after(timeout);
        self.raw.wait(&self.place, until).map_err(|error| self.place.with_object_path(error))
    }

    /// Attempts to subtract one from the count without blocking.
    ///
    /// # Errors
    /// - `WouldBlock` - the count is zero.
    /// - `Fault` - the memory could not be accessed.
    /// - `NotWritable` - the object was opened read-only or copy-on-write.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{CountingSemaphore, ErrorKind, Location, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let jobs = Shared::create_new(Location::anonymous(), || CountingSemaphore::new(1))?;
    /// jobs.try_wait()?;
    /// assert_eq!(jobs.try_wait().unwrap_err().kind(), ErrorKind::WouldBlock);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "sem_trywait")]
    #[inline]
    pub fn try_wait(&self) -> Result<()> {
        self.place.require_writable(WAIT)?;
        match self.raw.try_wait(self.place.session()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.place.error(ErrorKind::WouldBlock, WAIT)),
            Err(error) => Err(self.place.with_object_path(error)),
        }
    }

    /// Returns the count at the moment of the call.
    ///
    /// The method also works if the object was opened read-only.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed.
    #[doc(alias = "sem_getvalue")]
    pub fn count(&self) -> Result<u32> {
        self.raw.count(self.place.session()).map_err(|error| self.place.with_object_path(error))
    }
}
