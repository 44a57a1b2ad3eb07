//! `Permits`: a number of permits that come back when their holder dies.

use std::marker::PhantomData;
use std::time::Duration;

use super::private::Kept;
use crate::error::{ErrorKind, Result};
use crate::layout::Layout;
use crate::peer::World;
use crate::sync::anchor::{Anchored, Blank, Found, Place, Room};
use crate::sync::permits::{Permitted, RawPermits};

/// How many permits there are to be. Used they are through [`PermitsHandle`].
#[derive(Clone, Copy, Debug)]
pub struct Permits(u32);

impl Permits {
    /// So many permits.
    #[must_use]
    pub const fn new(how_many: u32) -> Self {
        Self(how_many)
    }
}

impl Anchored for Permits {
    type Handle = PermitsHandle;
    const ROOM: Room = Room::exactly(RawPermits::SIZE);

    fn describe(layout: &mut Layout) {
        layout.push("permits");
    }

    fn fill(&self, blank: &mut Blank<'_>) -> Result<()> {
        blank.take(Self::ROOM)?.write(0, &self.0.to_le_bytes())
    }

    fn handle(found: &mut Found) -> Result<Self::Handle> {
        let place = found.take(Self::ROOM)?;
        Ok(PermitsHandle { raw: RawPermits::new(place.at), place, kept: Kept::default() })
    }
}

/// Permits that processes share: a semaphore that gets back what the dead had taken.
#[derive(Debug)]
pub struct PermitsHandle {
    place: Place,
    raw: RawPermits,
    kept: Kept,
}

impl PermitsHandle {
    /// Takes a permit; waits until there is one.
    ///
    /// # Errors
    /// [`Cancelled`](ErrorKind::Cancelled), [`Fault`](ErrorKind::Fault), and
    /// [`NoLane`](ErrorKind::NoLane) if threads hold more than the object has room for.
    pub fn acquire(&self) -> Result<Permit<'_>> {
        self.acquire_until(None)
    }

    /// Waits so long at most.
    ///
    /// # Errors
    /// As for [`acquire`](Self::acquire), and [`Timeout`](ErrorKind::Timeout).
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>> {
        self.acquire_until(self.place.after(timeout))
    }

    fn acquire_until(&self, until: Option<Duration>) -> Result<Permit<'_>> {
        self.kept.take()?;
        match self.raw.acquire(&self.place, until) {
            Ok(permitted) => Ok(self.permit(permitted)),
            Err(error) => Err(self.place.named(error)),
        }
    }

    /// Takes a permit if there is one.
    ///
    /// # Errors
    /// [`WouldBlock`](ErrorKind::WouldBlock) if there is none; [`Fault`](ErrorKind::Fault).
    pub fn try_acquire(&self) -> Result<Permit<'_>> {
        self.kept.take()?;
        match self.raw.try_acquire(self.place.session()) {
            Ok(Some(permitted)) => Ok(self.permit(permitted)),
            Ok(None) => Err(self.place.error(ErrorKind::WouldBlock, "take a permit")),
            Err(error) => Err(self.place.named(error)),
        }
    }

    fn permit(&self, permitted: Permitted) -> Permit<'_> {
        Permit { permits: self, permitted: Some(permitted), thread: PhantomData }
    }

    /// How many there are to take, at the moment.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault).
    pub fn available(&self) -> Result<u32> {
        self.raw.available(self.place.session()).map_err(|error| self.place.named(error))
    }
}

/// A permit, given back when it is dropped, or its process dies.
#[derive(Debug)]
#[must_use = "the permit is given back at once if it is not kept"]
pub struct Permit<'a> {
    permits: &'a PermitsHandle,
    permitted: Option<Permitted>,
    thread: PhantomData<*const ()>,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let Some(permitted) = self.permitted.take() else { return };
        let session = self.permits.place.session();
        if session.is_own(permitted.announced.lane) {
            if let Err(error) = self.permits.raw.release(session, permitted) {
                self.permits.kept.keep(self.permits.place.named(error));
            }
        }
    }
}
