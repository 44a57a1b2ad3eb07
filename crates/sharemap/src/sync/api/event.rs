//! `Event`: a flag that threads wait for, reset by a call or by the waiter that it releases.

use std::time::Duration;

use crate::error::{ErrorKind, Result};
use crate::layout::Layout;
use crate::peer::Machine;
use crate::sync::algorithms::event::{RawEvent, Reset};
use crate::sync::api::shared_type::{LayoutReader, LayoutSize, LayoutWriter, LockRef, SharedType};

const WAIT: &str = "wait for an event";

/// The initial state of a shared event, which is not set.
///
/// The event itself is accessed through [`EventHandle`], which [`Shared`](crate::Shared)
/// dereferences to. The default is [`Event::manual_reset`].
///
/// # Examples
/// ```
/// use sharemap::{Event, Location, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// let ready = Shared::create_new(Location::anonymous(), Event::manual_reset)?;
/// ready.set()?; // in the process that has prepared something
/// ready.wait()?; // in the processes that need it
/// # Ok(()) }
/// ```
#[doc(alias = "CreateEvent")]
#[derive(Clone, Copy, Debug)]
pub struct Event(Reset);

impl Event {
    /// Creates the initial state of an event that stays set until [`EventHandle::reset`] is called.
    ///
    /// While the event is set, every wait returns at once.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Event, Location, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let ready = Shared::create_new(Location::anonymous(), Event::manual_reset)?;
    /// ready.set()?;
    /// ready.wait()?;
    /// assert!(ready.is_set()?);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn manual_reset() -> Self {
        Self(Reset::Manual)
    }

    /// Creates the initial state of an event that is reset by the one wait that it releases.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Event, Location, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let changed = Shared::create_new(Location::anonymous(), Event::auto_reset)?;
    /// changed.set()?;
    /// changed.wait()?;
    /// assert!(!changed.is_set()?);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn auto_reset() -> Self {
        Self(Reset::Auto)
    }
}

impl Default for Event {
    /// Returns [`Event::manual_reset`].
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

/// An event that is shared between processes: a flag that threads wait for.
///
/// A manual-reset event releases all its waiters when it is set, and stays set until
/// [`reset`](Self::reset). An auto-reset event releases one waiter, which resets it. If that waiter's
/// process dies, the release is lost: no other waiter is released in its place.
///
/// The operations are those of a Windows event object, on all systems, but no such object is used.
///
/// # Examples
/// ```
/// use sharemap::{Event, Location, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// let ready = Shared::create_new(Location::anonymous(), Event::manual_reset)?;
/// std::thread::scope(|scope| {
///     let waiter = scope.spawn(|| ready.wait());
///     ready.set()?;
///     waiter.join().unwrap()
/// })?;
/// assert!(ready.is_set()?);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct EventHandle {
    place: LockRef,
    raw: RawEvent,
    reset: Reset,
}

impl EventHandle {
    /// Sets the event and wakes its waiters, without blocking.
    ///
    /// A manual-reset event releases all threads that wait at the moment of the call, even if it is
    /// reset at once. An auto-reset event releases one. Setting an event that is already set has no
    /// effect: an auto-reset event then still releases only one waiter.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed.
    /// - `NotWritable` - the object was opened read-only or copy-on-write.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Event, Location, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let ready = Shared::create_new(Location::anonymous(), Event::manual_reset)?;
    /// ready.set()?;
    /// assert!(ready.is_set()?);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "SetEvent")]
    pub fn set(&self) -> Result<()> {
        self.place.require_writable("set the event")?;
        self.raw.set(self.place.session()).map_err(|error| self.place.with_object_path(error))
    }

    /// Resets the event, so that later waits block.
    ///
    /// Threads that waited when a manual-reset event was set are released nevertheless.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed.
    /// - `NotWritable` - the object was opened read-only or copy-on-write.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let ready = Shared::create_new(Location::anonymous(), Event::manual_reset)?;
    /// ready.set()?;
    /// ready.wait()?;
    /// ready.reset()?;
    /// assert_eq!(ready.try_wait().unwrap_err().kind(), ErrorKind::WouldBlock);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "ResetEvent")]
    pub fn reset(&self) -> Result<()> {
        self.place.require_writable("reset the event")?;
        self.raw.reset(self.place.session()).map_err(|error| self.place.with_object_path(error))
    }

    /// Returns `true` if the event is set at the moment of the call.
    ///
    /// The method also works if the object was opened read-only.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let next = Shared::create_new(Location::anonymous(), Event::auto_reset)?;
    /// next.set()?;
    /// assert!(next.is_set()?);
    /// next.wait()?; // resets it
    /// assert!(!next.is_set()?);
    /// # Ok(()) }
    /// ```
    pub fn is_set(&self) -> Result<bool> {
        self.raw.is_set(self.place.session()).map_err(|error| self.place.with_object_path(error))
    }

    /// Waits for the event, blocking the current thread until it is set.
    ///
    /// The wait resets an auto-reset event. If the process that was to set the event has died, the call
    /// blocks until another one sets it; [`wait_timeout`](Self::wait_timeout) bounds the wait.
    ///
    /// # Errors
    /// - `Cancelled` - the call had to block after [`Shared::cancel`](crate::Shared::cancel).
    /// - `Fault` - the memory could not be accessed.
    /// - `NotWritable` - the object was opened read-only or copy-on-write, and this is an auto-reset
    ///   event or the call had to block.
    /// - `TooManyThreads` - the call had to block, and no [lane](crate::SharedOptions::lanes) became
    ///   free within about 100 ms, or the thread is running its last destructors.
    /// - `TooManyProcesses` - the call had to block in a forked child, which could not attach within
    ///   about 100 ms.
    ///
    /// Other kinds report a failed system call, or why a forked child could not attach.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Event, Location, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let changed = Shared::create_new(Location::anonymous(), Event::auto_reset)?;
    /// std::thread::scope(|scope| {
    ///     let waiter = scope.spawn(|| changed.wait());
    ///     changed.set()?;
    ///     waiter.join().unwrap()
    /// })?;
    /// assert!(!changed.is_set()?); // the waiter reset it
    /// # Ok(()) }
    /// ```
    #[doc(alias = "WaitForSingleObject")]
    pub fn wait(&self) -> Result<()> {
        self.wait_until(None)
    }

    /// Waits for the event like [`wait`](Self::wait), but blocks for at most `timeout`.
    ///
    /// Claiming a lane is not bounded by `timeout`.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait), and
    ///
    /// - `Timeout` - the event was not set within `timeout`.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// use sharemap::{ErrorKind, Event, Location, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let ready = Shared::create_new(Location::anonymous(), Event::manual_reset)?;
    /// let error = ready.wait_timeout(Duration::from_millis(1)).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Timeout);
    /// # Ok(()) }
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.wait_until(self.place.after(timeout))
    }

    fn wait_until(&self, until: Option<Duration>) -> Result<()> {
        self.require_writable_if_auto_reset()?;
        self.raw.wait(&self.place, until).map_err(|error| self.place.with_object_path(error))
    }

    /// Fails with `NotWritable` if a wait would have to reset the event and the attachment cannot.
    ///
    /// A wait for a manual-reset event that is set only reads.
    fn require_writable_if_auto_reset(&self) -> Result<()> {
        match self.reset {
            Reset::Auto => self.place.require_writable(WAIT),
            Reset::Manual => Ok(()),
        }
    }

    /// Checks without blocking that the event is set, and resets an auto-reset event.
    ///
    /// # Errors
    /// - `WouldBlock` - the event is not set.
    /// - `Fault` - the memory could not be accessed.
    /// - `NotWritable` - this is an auto-reset event, and the object was opened read-only or
    ///   copy-on-write.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{ErrorKind, Event, Location, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let changed = Shared::create_new(Location::anonymous(), Event::auto_reset)?;
    /// changed.set()?;
    /// changed.try_wait()?;
    /// assert_eq!(changed.try_wait().unwrap_err().kind(), ErrorKind::WouldBlock);
    /// # Ok(()) }
    /// ```
    pub fn try_wait(&self) -> Result<()> {
        self.require_writable_if_auto_reset()?;
        match self.raw.try_wait(self.place.session()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.place.error(ErrorKind::WouldBlock, WAIT)),
            Err(error) => Err(self.place.with_object_path(error)),
        }
    }
}
