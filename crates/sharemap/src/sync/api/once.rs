//! `Once`: something that is done by one process, and not again.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::Layout;
use crate::peer::Machine;
use crate::sync::algorithms::mutex::Acquisition;
use crate::sync::algorithms::once::{RawOnce, Turn};
use crate::sync::api::shared_type::{LayoutReader, LayoutSize, LayoutWriter, LockRef, SharedType};

/// Something to be done once. Used it is through [`OnceHandle`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Once(());

impl Once {
    /// Something that is not done yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl SharedType for Once {
    type Handle = OnceHandle;
    const ROOM: LayoutSize = LayoutSize::exactly(RawOnce::SIZE);

    fn describe(layout: &mut Layout) {
        layout.push("once");
    }

    fn fill(&self, blank: &mut LayoutWriter<'_>) -> Result<()> {
        blank.take(Self::ROOM).map(drop)
    }

    fn handle(found: &mut LayoutReader) -> Result<Self::Handle> {
        let place = found.take(Self::ROOM)?;
        Ok(OnceHandle { raw: RawOnce::new(place.at), place })
    }
}

/// What whoever does it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnceState {
    /// Nobody has begun, or whoever had failed and said so.
    First,
    /// A process that was at it died: it may be half done.
    PreviousOwnerDied,
}

/// Something to be done once among all processes that share it.
#[derive(Debug)]
pub struct OnceHandle {
    place: LockRef,
    raw: RawOnce,
}

impl OnceHandle {
    /// Does it, unless it is done; waits for whoever is at it. If `action` fails, or panics, or its
    /// process dies, the next one does it.
    ///
    /// # Errors
    /// The action's, as it is; [`Deadlock`](ErrorKind::Deadlock) if the action calls this,
    /// [`Cancelled`](ErrorKind::Cancelled), [`Fault`](ErrorKind::Fault); [`Invalid`](ErrorKind::Invalid)
    /// in a child that was forked by the action, which is its parent's to finish.
    #[inline]
    pub fn call<E: From<Error>>(
        &self,
        action: impl FnOnce(OnceState) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        if self.is_done()? { Ok(()) } else { self.call_slowly(None, action) }
    }

    /// Runs `action` like [`call`](Self::call), but blocks for at most `timeout` while another
    /// thread runs its action.
    ///
    /// # Errors
    /// As for `call`, and
    ///
    /// - `Timeout` - the other thread's action did not end within `timeout`.
    pub fn call_timeout<E: From<Error>>(
        &self,
        timeout: Duration,
        action: impl FnOnce(OnceState) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        self.call_slowly(self.place.after(timeout), action)
    }

    fn call_slowly<E: From<Error>>(
        &self,
        until: Option<Duration>,
        action: impl FnOnce(OnceState) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let session = self.place.session();
        let turn = self
            .raw
            .begin(&self.place, until)
            .map_err(|error| self.place.with_object_path(error))?;
        let Turn::Mine(held) = turn else { return Ok(()) };
        let what = if held.died() { OnceState::PreviousOwnerDied } else { OnceState::First };
        let mut doing = Doing { once: self, held: Some(held) };
        action(what)?;
        let Some(held) = doing.held.take() else { return Ok(()) };
        if !session.is_own(held.lane()) {
            let error = self.place.error(ErrorKind::Invalid, "finish what is done once");
            return Err(error
                .with_detail("it is the process that this one was forked from that is at it")
                .into());
        }
        self.raw.finish(session, held).map_err(|error| self.place.with_object_path(error).into())
    }

    /// Whether it is done.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault).
    #[inline]
    pub fn is_done(&self) -> Result<bool> {
        self.raw.is_done(self.place.session()).map_err(|error| self.place.with_object_path(error))
    }
}

/// Leaves it to the next one if it is not finished.
struct Doing<'a> {
    once: &'a OnceHandle,
    held: Option<Acquisition>,
}

impl Drop for Doing<'_> {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        let session = self.once.place.session();
        if session.is_own(held.lane()) {
            // If the memory is gone, the next one finds out.
            let _ = self.once.raw.abandon(session, held);
        }
    }
}
