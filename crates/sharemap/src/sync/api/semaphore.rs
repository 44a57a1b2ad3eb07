//! `Semaphore`: a number of permits that come back when their holder dies.

use std::marker::PhantomData;
use std::time::Duration;

use super::private::Kept;
use crate::error::{ErrorKind, Result};
use crate::layout::Layout;
use crate::peer::Machine;
use crate::sync::algorithms::semaphore::{Permitted, RawSemaphore};
use crate::sync::api::shared_type::{LayoutReader, LayoutSize, LayoutWriter, LockRef, SharedType};

/// How many permits there are to be. Used they are through [`SemaphoreHandle`].
#[derive(Clone, Copy, Debug)]
pub struct Semaphore(u32);

impl Semaphore {
    /// So many permits.
    #[must_use]
    pub const fn new(how_many: u32) -> Self {
        Self(how_many)
    }
}

impl SharedType for Semaphore {
    type Handle = SemaphoreHandle;
    const ROOM: LayoutSize = LayoutSize::exactly(RawSemaphore::SIZE);

    fn describe(layout: &mut Layout) {
        layout.push("permits");
    }

    fn fill(&self, blank: &mut LayoutWriter<'_>) -> Result<()> {
        blank.take(Self::ROOM)?.write(0, &self.0.to_le_bytes())
    }

    fn handle(found: &mut LayoutReader) -> Result<Self::Handle> {
        let place = found.take(Self::ROOM)?;
        Ok(SemaphoreHandle { raw: RawSemaphore::new(place.at), place, kept: Kept::default() })
    }
}

/// Permits that processes share: a semaphore that gets back what the dead had taken.
#[derive(Debug)]
pub struct SemaphoreHandle {
    place: LockRef,
    raw: RawSemaphore,
    kept: Kept,
}

impl SemaphoreHandle {
    /// Acquires a permit, blocking the current thread until one is available.
    ///
    /// # Errors
    /// - `Cancelled` - the call had to block after [`Shared::cancel`](crate::Shared::cancel).
    /// - `Fault` - the memory could not be accessed.
    /// - `NotWritable` - the object was opened read-only.
    /// - `TooManyThreads` - no lane became free within about 100 ms.
    /// - `TooManyProcesses` - a forked child could not attach within about 100 ms.
    pub fn acquire(&self) -> Result<SemaphorePermit<'_>> {
        self.acquire_until(None)
    }

    /// Acquires a permit like [`acquire`](Self::acquire), but blocks for at most `timeout`.
    ///
    /// # Errors
    /// As for `acquire`, and
    ///
    /// - `Timeout` - no permit became available.
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

    /// Attempts to acquire a permit without waiting. Permits of dead holders are recovered first.
    ///
    /// # Errors
    /// As for [`acquire`](Self::acquire), except `Cancelled`, and
    ///
    /// - `WouldBlock` - no permit is available.
    pub fn try_acquire(&self) -> Result<SemaphorePermit<'_>> {
        self.kept.take()?;
        match self.raw.try_acquire(self.place.session()) {
            Ok(Some(permitted)) => Ok(self.permit(permitted)),
            Ok(None) => Err(self.place.error(ErrorKind::WouldBlock, "take a permit")),
            Err(error) => Err(self.place.with_object_path(error)),
        }
    }

    fn permit(&self, permitted: Permitted) -> SemaphorePermit<'_> {
        SemaphorePermit { permits: self, permitted: Some(permitted), thread: PhantomData }
    }

    /// Returns how many permits are available at the moment.
    ///
    /// Permits of dead holders count as available. They are recovered first, as by
    /// [`try_acquire`](Self::try_acquire); a read-only attachment only counts them. The call scans
    /// the object's lanes and asks the kernel about each holder.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed.
    ///
    /// Other kinds report a failed system call.
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

/// A permit, given back when it is dropped, or its process dies.
#[derive(Debug)]
#[must_use = "the permit is given back at once if it is not kept"]
pub struct SemaphorePermit<'a> {
    permits: &'a SemaphoreHandle,
    permitted: Option<Permitted>,
    thread: PhantomData<*const ()>,
}

impl Drop for SemaphorePermit<'_> {
    fn drop(&mut self) {
        let Some(permitted) = self.permitted.take() else { return };
        let session = self.permits.place.session();
        if session.is_own(permitted.announced.lane) {
            if let Err(error) = self.permits.raw.release(session, permitted) {
                self.permits.kept.keep(self.permits.place.with_object_path(error));
            }
        }
    }
}
