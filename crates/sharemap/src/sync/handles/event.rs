//! `Event`: something that has happened or not.

use std::time::Duration;

use crate::error::{ErrorKind, Result};
use crate::layout::Layout;
use crate::peer::World;
use crate::sync::anchor::{Anchored, Blank, Found, Place, Room};
use crate::sync::event::{RawEvent, Reset};

/// An event to be made, not set. Used it is through [`EventHandle`].
#[derive(Clone, Copy, Debug)]
pub struct Event(Reset);

impl Event {
    /// Once set, it lets all through, until it is reset.
    #[must_use]
    pub const fn manual() -> Self {
        Self(Reset::Manual)
    }

    /// Once set, it lets one through, and is reset by that.
    #[must_use]
    pub const fn auto() -> Self {
        Self(Reset::Auto)
    }
}

impl Default for Event {
    /// One that is reset by call.
    fn default() -> Self {
        Self::manual()
    }
}

impl Anchored for Event {
    type Handle = EventHandle;
    const ROOM: Room = Room::exactly(RawEvent::SIZE);

    fn describe(layout: &mut Layout) {
        layout.push("event");
    }

    fn fill(&self, blank: &mut Blank<'_>) -> Result<()> {
        blank.take(Self::ROOM)?.write(RawEvent::MODE_AT, &(self.0 as u32).to_le_bytes())
    }

    fn handle(found: &mut Found) -> Result<Self::Handle> {
        let place = found.take(Self::ROOM)?;
        let reset = match place.session().load_32(place.at + RawEvent::MODE_AT)? {
            0 => Reset::Manual,
            1 => Reset::Auto,
            _ => return Err(place.error(ErrorKind::Invalid, "open the event")),
        };
        Ok(EventHandle { raw: RawEvent::new(place.at, reset), reset, place })
    }
}

/// An event that processes share.
///
/// One that resets by itself may lose one signal to a process that is let through and dies: nobody
/// else is let through for it.
#[derive(Debug)]
pub struct EventHandle {
    place: Place,
    raw: RawEvent,
    reset: Reset,
}

impl EventHandle {
    /// Sets it; nothing changes if it is set.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault).
    pub fn set(&self) -> Result<()> {
        self.place.take_part("set the event")?;
        self.raw.set(self.place.session()).map_err(|error| self.place.named(error))
    }

    /// Resets it. All who waited when it was set are let through all the same, unless it lets one
    /// through at a time.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault).
    pub fn reset(&self) -> Result<()> {
        self.place.take_part("reset the event")?;
        self.raw.reset(self.place.session()).map_err(|error| self.place.named(error))
    }

    /// Whether it is set, at the moment.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault).
    pub fn is_set(&self) -> Result<bool> {
        self.raw.is_set(self.place.session()).map_err(|error| self.place.named(error))
    }

    /// Waits until it is set.
    ///
    /// # Errors
    /// [`Cancelled`](ErrorKind::Cancelled), [`Fault`](ErrorKind::Fault).
    pub fn wait(&self) -> Result<()> {
        self.wait_until(None)
    }

    /// Waits so long at most.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait), and [`Timeout`](ErrorKind::Timeout).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.wait_until(self.place.after(timeout))
    }

    fn wait_until(&self, until: Option<Duration>) -> Result<()> {
        self.go_through()?;
        self.raw.wait(&self.place, until).map_err(|error| self.place.named(error))
    }

    /// Who goes through resets it, if it resets by itself; else it is enough to look.
    fn go_through(&self) -> Result<()> {
        match self.reset {
            Reset::Auto => self.place.take_part("wait for an event"),
            Reset::Manual => Ok(()),
        }
    }

    /// Goes through if it is set; whether it was.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault).
    pub fn try_wait(&self) -> Result<bool> {
        self.go_through()?;
        self.raw.try_wait(self.place.session()).map_err(|error| self.place.named(error))
    }
}
