//! `CountingSemaphore`: a count that is posted and waited for.

use std::time::Duration;

use crate::error::{ErrorKind, Result};
use crate::layout::Layout;
use crate::sync::algorithms::counting_semaphore::RawCountingSemaphore;
use crate::sync::api::shared_type::{LayoutReader, LayoutSize, LayoutWriter, LockRef, SharedType};

const WAIT: &str = "wait for a signal";

/// How a signal is to begin: with this count. Used it is through [`CountingSemaphoreHandle`].
#[derive(Clone, Copy, Debug, Default)]
pub struct CountingSemaphore(u32);

impl CountingSemaphore {
    /// A signal with a count.
    #[must_use]
    pub const fn new(count: u32) -> Self {
        Self(count)
    }
}

impl SharedType for CountingSemaphore {
    type Handle = CountingSemaphoreHandle;
    const ROOM: LayoutSize = LayoutSize::exactly(RawCountingSemaphore::SIZE);

    fn describe(layout: &mut Layout) {
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

/// A count that processes share: a semaphore whose count belongs to nobody. What a process took
/// before it died does not come back; for that there is [`Semaphore`](crate::Semaphore).
#[derive(Debug)]
pub struct CountingSemaphoreHandle {
    place: LockRef,
    raw: RawCountingSemaphore,
}

impl CountingSemaphoreHandle {
    /// Raises the count by one, and wakes one who waits.
    ///
    /// # Errors
    /// [`Overflow`](crate::ErrorKind::Overflow), [`Fault`](crate::ErrorKind::Fault).
    #[inline]
    pub fn post(&self) -> Result<()> {
        self.post_many(1)
    }

    /// Raises the count.
    ///
    /// # Errors
    /// As for [`post`](Self::post).
    #[inline]
    pub fn post_many(&self, how_many: u32) -> Result<()> {
        self.place.require_writable("post the signal")?;
        self.raw
            .post(self.place.session(), how_many)
            .map_err(|error| self.place.with_object_path(error))
    }

    /// Takes one from the count, blocking the current thread while it is zero.
    ///
    /// # Errors
    /// - `Cancelled` - the call had to block after [`Shared::cancel`](crate::Shared::cancel).
    /// - `Fault` - the memory could not be accessed.
    /// - `NotWritable` - the object was opened read-only.
    /// - `TooManyThreads` - the call had to block, and no lane became free within about 100 ms.
    #[inline]
    pub fn wait(&self) -> Result<()> {
        self.place.require_writable(WAIT)?;
        self.raw.wait(&self.place, None).map_err(|error| self.place.with_object_path(error))
    }

    /// Takes one from the count like [`wait`](Self::wait), but blocks for at most `timeout`.
    ///
    /// # Errors
    /// As for `wait`, and
    ///
    /// - `Timeout` - the count remained zero.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.place.require_writable(WAIT)?;
        let until = self.place.after(timeout);
        self.raw.wait(&self.place, until).map_err(|error| self.place.with_object_path(error))
    }

    /// Attempts to take one from the count without waiting.
    ///
    /// # Errors
    /// - `WouldBlock` - the count is zero.
    /// - `Fault` - the memory could not be accessed.
    /// - `NotWritable` - the object was opened read-only.
    ///
    /// ```
    /// use sharemap::{ErrorKind, Location, Shared, CountingSemaphore};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let jobs = Shared::create_new(Location::anonymous(), || CountingSemaphore::new(1))?;
    /// jobs.try_wait()?;
    /// assert_eq!(jobs.try_wait().unwrap_err().kind(), ErrorKind::WouldBlock);
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn try_wait(&self) -> Result<()> {
        self.place.require_writable(WAIT)?;
        match self.raw.try_wait(self.place.session()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.place.error(ErrorKind::WouldBlock, WAIT)),
            Err(error) => Err(self.place.with_object_path(error)),
        }
    }

    /// The count, as it is at the moment.
    ///
    /// # Errors
    /// [`Fault`](crate::ErrorKind::Fault).
    pub fn count(&self) -> Result<u32> {
        self.raw.count(self.place.session()).map_err(|error| self.place.with_object_path(error))
    }
}
