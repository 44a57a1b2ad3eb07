//! `Semaphore`: a number of permits that return when their holder dies.

use std::marker::PhantomData;
use std::time::Duration;

use super::deferred_error::DeferredError;
use crate::error::Result;
use crate::layout::Layout;
use crate::peer::Machine;
use crate::sync::algorithms::semaphore::{Permitted, RawSemaphore};
use crate::sync::api::shared_type::{LayoutReader, LayoutSize, LayoutWriter, LockRef, SharedType};

/// The initial number of permits of a shared semaphore.
///
/// Creating a [`Shared`](crate::Shared) object stores the number in the object; later openings use the
/// stored one. The semaphore itself is accessed through [`SemaphoreHandle`], which `Shared`
/// dereferences to.
///
/// A permit belongs to the thread that acquired it. The permit returns to the semaphore when its guard
/// is dropped, and also when its process dies. A [`CountingSemaphore`](crate::CountingSemaphore) in
/// contrast counts events that one process posts and another waits for; a count that a dead process
/// had taken is lost.
///
/// # Examples
/// ```
/// use sharemap::{Location, Semaphore, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// let connections = Shared::create_new(Location::anonymous(), || Semaphore::new(4))?;
/// let permit = connections.acquire()?; // at most 4 permits are held, in all processes together
/// drop(permit);
/// # Ok(()) }
/// ```
#[doc(alias = "semop")]
#[doc(alias = "SEM_UNDO")]
#[derive(Clone, Copy, Debug)]
pub struct Semaphore(u32);

impl Semaphore {
    /// Creates the initial value of a semaphore with `permits` permits.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let licences = Shared::create_new(Location::anonymous(), || Semaphore::new(2))?;
    /// let both = (licences.acquire()?, licences.acquire()?);
    /// assert_eq!(licences.try_acquire().unwrap_err().kind(), ErrorKind::WouldBlock);
    /// drop(both);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn new(permits: u32) -> Self {
        Self(permits)
    }
}

impl SharedType for Semaphore {
    type Handle = SemaphoreHandle;
    const ROOM: LayoutSize = LayoutSize::exactly(RawSemaphore::SIZE);

    fn describe(layout: &mut Layout) {
        // The format's name of this type, which cannot change (FORMAT.md, "Locks").
        layout.push("permits");
    }

    fn fill(&self, blank: &mut LayoutWriter<'_>) -> Result<()> {
        blank.take(Self::ROOM)?.write(0, &self.0.to_le_bytes())
    }

    fn handle(found: &mut LayoutReader) -> Result<Self::Handle> {
        let place = found.take(Self::ROOM)?;
        Ok(SemaphoreHandle {
            raw: RawSemaphore::new(place.at),
            place,
            kept: DeferredError::default(),
        })
    }
}

/// A semaphore that is shared between processes. Its permits return when their holder dies.
///
/// A thread that needs a permit while none is available detects dead holders and returns their
/// permits. A blocked [`acquire`](Self::acquire) does so within milliseconds of a death. System V
/// semaphores with `SEM_UNDO` behave alike, but are not used.
///
/// # Examples
/// ```
/// use sharemap::{ErrorKind, Location, Semaphore, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// let connections = Shared::create_new(Location::anonymous(), || Semaphore::new(2))?;
/// let (first, _second) = (connections.acquire()?, connections.acquire()?);
/// assert_eq!(connections.available()?, 0);
/// assert_eq!(connections.try_acquire().unwrap_err().kind(), ErrorKind::WouldBlock);
/// drop(first);
/// assert_eq!(connections.available()?, 1);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct SemaphoreHandle {
    place: LockRef,
    raw: RawSemaphore,
    kept: DeferredError,
}

impl SemaphoreHandle {
    /// Acquires a permit, blocking the current thread until one is available.
    ///
    /// If a holder dies, its permit becomes available within milliseconds. A thread may hold several
    /// permits. A thread that holds all of them and acquires another blocks; that deadlock is not
    /// detected.
    ///
    /// # Errors
    /// - `Cancelled` - the call had to block after [`Shared::cancel`](crate::Shared::cancel).
    /// - `Fault` - the memory could not be accessed.
    /// - `NotWritable` - the object was opened read-only or copy-on-write.
    /// - `TooManyThreads` - no [lane](crate::SharedOptions::lanes) became free within about 100 ms, or
    ///   the thread is running its last destructors.
    /// - `TooManyProcesses` - a forked child could not attach within about 100 ms.
    ///
    /// Other kinds report a failed system call, or why a forked child could not attach. An error from
    /// dropping an earlier permit of this handle is returned by the next call, which then acquires
    /// nothing.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, Semaphore, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let connections = Shared::create_new(Location::anonymous(), || Semaphore::new(4))?;
    /// {
    ///     let _permit = connections.acquire()?;
    ///     // Use a connection.
    /// } // the permit returns here, or when the process dies
    /// assert_eq!(connections.available()?, 4);
    /// # Ok(()) }
    /// ```
    pub fn acquire(&self) -> Result<SemaphorePermit<'_>> {
        self.acquire_until(None)
    }

    /// Acquires a permit like [`acquire`](Self::acquire), but blocks for at most `timeout`.
    ///
    /// An available permit is acquired even if `timeout` is zero. Claiming a lane is not bounded by
    /// `timeout`.
    ///
    /// # Errors
    /// As for [`acquire`](Self::acquire), and
    ///
    /// - `Timeout` - no permit became available within `timeout`.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// use std::time::Duration;
    ///
    /// let licences = Shared::create_new(Location::anonymous(), || Semaphore::new(1))?;
    /// let permit = licences.acquire()?;
    /// let error = licences.acquire_timeout(Duration::from_millis(5)).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Timeout);
    /// # Ok(()) }
    /// ```
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<SemaphorePermit<'_>> {
        self.acquire_until(self.place.after(timeout))
    }

    fn acquire_until(&self, until: Option<Duration>) -> Result<SemaphorePermit<'_>> {
        self.kept.take()?;
        match self.raw.acquire(&self.place, until) {
            Ok(permitted) => Ok(self.permit(permitted)),
            Err(error) => Err(self.place.with_object_path(error)),
        }
    }

    /// Attempts to acquire a permit without waiting.
    ///
    /// If no permit is available, the call first recovers permits of dead holders. To do so, it scans
    /// the object's lanes and asks the kernel about each holder.
    ///
    /// # Errors
    /// As for [`acquire`](Self::acquire), except `Cancelled`, and
    ///
    /// - `WouldBlock` - no permit is available.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{ErrorKind, Location, Semaphore, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let connections = Shared::create_new(Location::anonymous(), || Semaphore::new(1))?;
    /// match connections.try_acquire() {
    ///     Ok(_permit) => {} // use a connection
    ///     Err(error) if error.kind() == ErrorKind::WouldBlock => {}
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn try_acquire(&self) -> Result<SemaphorePermit<'_>> {
        self.kept.take()?;
        let attempt = self.raw.try_acquire(self.place.session());
        self.place.attempted(attempt, "acquire a permit").map(|permitted| self.permit(permitted))
    }

    /// Returns the guard of an acquired permit.
    fn permit(&self, permitted: Permitted) -> SemaphorePermit<'_> {
        SemaphorePermit { permits: self, permitted: Some(permitted), thread: PhantomData }
    }

    /// Returns the number of permits that are available at the moment.
    ///
    /// Permits of dead holders count as available. They are recovered first, as by
    /// [`try_acquire`](Self::try_acquire). If the object was opened read-only or copy-on-write, they
    /// are only counted. The call scans the object's lanes and asks the kernel about each holder.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, Semaphore, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let connections = Shared::create_new(Location::anonymous(), || Semaphore::new(4))?;
    /// let _permit = connections.acquire()?;
    /// assert_eq!(connections.available()?, 3);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "sem_getvalue")]
    pub fn available(&self) -> Result<u32> {
        let session = self.place.session();
        let available = if session.takes_part() {
            self.raw.available(session)
        } else {
            self.raw.available_to_reader(session, |lanes| session.count_dead(lanes))
        };
        available.map_err(|error| self.place.with_object_path(error))
    }
}

/// An RAII guard that holds a permit of a semaphore.
///
/// Dropping the guard returns the permit, as does the death of its process. A forgotten guard holds the
/// permit until its process ends. In a forked child, a copy of the guard holds nothing, and dropping
/// it has no effect. An error that occurs while the guard is dropped is returned by the handle's next
/// `acquire` or `try_acquire`.
///
/// # Examples
/// ```
/// use sharemap::{Location, Semaphore, SemaphorePermit, Shared};
///
/// struct Connection<'a> {
///     _permit: SemaphorePermit<'a>, // returns with the connection
/// }
///
/// # fn main() -> sharemap::Result<()> {
/// let connections = Shared::create_new(Location::anonymous(), || Semaphore::new(4))?;
/// let connection = Connection { _permit: connections.acquire()? };
/// drop(connection);
/// assert_eq!(connections.available()?, 4);
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "the permit is released at once if the guard is not kept"]
pub struct SemaphorePermit<'a> {
    permits: &'a SemaphoreHandle,
    /// `None` once the permit has been returned.
    permitted: Option<Permitted>,
    /// Keeps the permit on its thread, which announces it.
    thread: PhantomData<*const ()>,
}

impl Drop for SemaphorePermit<'_> {
    fn drop(&mut self) {
        let Some(permitted) = self.permitted.take() else { return };
        let session = self.permits.place.session();
        // In a forked child, the lane is not this process's: the parent still holds the permit.
        if session.is_own(permitted.announced.lane) {
            if let Err(error) = self.permits.raw.release(session, permitted) {
                self.permits.kept.keep(self.permits.place.with_object_path(error));
            }
        }
    }
}
