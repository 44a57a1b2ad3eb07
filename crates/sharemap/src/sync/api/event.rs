//! `Event`: something that has happened or not.

use std::time::Duration;

use crate::error::{ErrorKind, Result};
use crate::layout::Layout;
use crate::peer::Machine;
use crate::sync::algorithms::event::{RawEvent, Reset};
use crate::sync::api::shared_type::{LayoutReader, LayoutSize, LayoutWriter, LockRef, SharedType};

const WAIT: &str = "wait for an event";

/// An event to be made, not set. Used it is through [`EventHandle`].
#[derive(Clone, Copy, Debug)]
pub struct Event(Reset);

impl Event {
    /// Once set, it lets all through, until it is reset.
    #[must_use]
    pub const fn manual_reset() -> Self {
        Self(Reset::Manual)
    }

    /// Once set, it lets one through, and is reset by that.
    #[must_use]
    pub const fn auto_reset() -> Self {
        Self(Reset::Auto)
    }
}

impl Default for Event {
    /// One that is reset by call.
    fn default() -> Self {
        Self::manual_reset()
    }
}

impl SharedType for Event {
    type Handle = EventHandle;
    const ROOM: LayoutSize = LayoutSize::exactly(RawEvent::SIZE);

    fn describe(layout: &mut Layout) {
        layout.push("event");
    }

    fn fill(&self, blank: &mut LayoutWriter<'_>) -> Result<()> {
        blank.take(Self::ROOM)?.write(RawEvent::MODE_AT, &(self.0 as u32).to_le_bytes())
    }

    fn handle(found: &mut LayoutReader) -> Result<Self::Handle> {
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
    place: LockRef,
    raw: RawEvent,
    reset: Reset,
}

impl EventHandle {
    /// Sets it; nothing changes if it is set.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault).
    pub fn set(&self) -> Result<()> {
        self.place.require_writable("set the event")?;
        self.raw.set(self.place.session()).map_err(|error| self.place.with_object_path(error))
    }

    /// Resets it. All who waited when it was set are let through all the same, unless it lets one
    /// through at a time.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault).
    pub fn reset(&self) -> Result<()> {
        self.place.require_writable("reset the event")?;
        self.raw.reset(self.place.session()).map_err(|error| self.place.with_object_path(error))
    }

    /// Whether it is set, at the moment.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault).
    pub fn is_set(&self) -> Result<bool> {
        self.raw.is_set(self.place.session()).map_err(|error| self.place.with_object_path(error))
    }

    /// Blocks the current thread until the event is set. Resets the event if it resets itself.
    ///
    /// # Errors
    /// - `Cancelled` - the call had to block after [`Shared::cancel`](crate::Shared::cancel).
    /// - `Fault` - the memory could not be accessed.
    /// - `NotWritable` - the event resets itself or the call had to block, and the object was opened
    ///   read-only.
    /// - `TooManyThreads` - the call had to block, and no lane became free within about 100 ms.
    pub fn wait(&self) -> Result<()> {
        self.wait_until(None)
    }

    /// Waits like [`wait`](Self::wait), but blocks for at most `timeout`.
    ///
    /// # Errors
    /// As for `wait`, and
    ///
    /// - `Timeout` - the event was not set.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.wait_until(self.place.after(timeout))
    }

    fn wait_until(&self, until: Option<Duration>) -> Result<()> {
        self.go_through()?;
        self.raw.wait(&self.place, until).map_err(|error| self.place.with_object_path(error))
    }

    /// Who goes through resets it, if it resets by itself; else it is enough to look.
    fn go_through(&self) -> Result<()> {
        match self.reset {
            Reset::Auto => self.place.require_writable(WAIT),
            Reset::Manual => Ok(()),
        }
    }

    /// Returns at once if the event is set, and then resets it if it resets itself.
    ///
    /// # Errors
    /// - `WouldBlock` - the event is not set.
    /// - `Fault` - the memory could not be accessed.
    /// - `NotWritable` - the event resets itself, and the object was opened read-only.
    pub fn try_wait(&self) -> Result<()> {
        self.go_through()?;
        match self.raw.try_wait(self.place.session()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.place.error(ErrorKind::WouldBlock, WAIT)),
            Err(error) => Err(self.place.with_object_path(error)),
        }
    }
}
