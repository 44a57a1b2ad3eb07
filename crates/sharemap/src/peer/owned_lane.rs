//! Lanes that belong to a handle, which may move between threads.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::peer::header::WAITS_SINCE;
use crate::peer::machine::{Announced, Liveness, Machine, delegate_world};
use crate::peer::opening::Opening;
use crate::peer::session::Session;

/// A lane of a handle, with one announcement.
///
/// As a [`Machine`], it delegates to the session. Its waits fail after the opening is cancelled.
///
/// A child that is forked has a copy of the handle, but not the lane: [`require_own`](Self::require_own) fails there, and
/// dropping the copy changes nothing.
#[derive(Debug)]
pub(crate) struct OwnedLane {
    opening: Arc<Opening>,
    announced: Announced,
    /// The number of the handle.
    owner: u64,
    /// The announcement stays, for the recoverer of this process.
    is_kept: bool,
}

impl OwnedLane {
    /// Claims a lane that announces `what`.
    ///
    /// Fails with `NotWritable` if the attachment is no participant, and otherwise as [`Machine::announce`] does.
    pub(crate) fn claim(opening: &Arc<Opening>, what: u64) -> Result<Self> {
        let session: &Session = opening;
        session.require_writable("claim a lane")?;
        let (lane, owner) = session.claim_owned_lane()?;
        let announced = Announced { lane, slot: session.slots(lane) };
        let claimed = Self { opening: Arc::clone(opening), announced, owner, is_kept: false };
        session.store_64(announced.slot, what)?;
        Ok(claimed)
    }

    /// Returns the lane's number.
    #[inline(always)]
    pub(crate) fn lane(&self) -> u32 {
        self.announced.lane
    }

    #[inline(always)]
    pub(crate) fn session(&self) -> &Session {
        self.opening.session()
    }

    /// Returns `true` if the lane belongs to this process, and not only to the process that it was forked from.
    #[inline(always)]
    pub(crate) fn is_own(&self) -> bool {
        self.session().is_owned_lane(self.announced.lane, self.owner)
    }

    /// Fails with `Unsupported` in a child that has the handle from a fork.
    #[inline(always)]
    pub(crate) fn require_own(&self, operation: &'static str) -> Result<()> {
        if self.is_own() { Ok(()) } else { Err(self.forked(operation)) }
    }

    /// Returns the error of an operation on a handle that a fork has copied.
    #[cold]
    fn forked(&self, operation: &'static str) -> Error {
        Error::new(ErrorKind::Unsupported, operation).with_path(self.session().path()).inside().with_detail(
            "the handle belongs to the process that this one was forked from; create one in this process",
        )
    }
}

impl OwnedLane {
    /// Keeps the lane and its announcement when the value is dropped: what it announces could not be released, and is
    /// recovered after the end of this process.
    pub(crate) fn keep(&mut self) {
        self.is_kept = true;
    }
}

impl Drop for OwnedLane {
    /// Withdraws the announcement and releases the lane. Nothing that the lane announced is held any more.
    fn drop(&mut self) {
        if self.is_kept || !self.is_own() {
            return;
        }
        let (session, Announced { lane, slot }) = (self.session(), self.announced);
        // If one of these fails, the lane still names this participant, and its recoverer releases the lane.
        if session.store_64(slot, 0).is_ok() {
            let _ = session.release_lane(lane, self.owner);
        }
    }
}

impl Machine for OwnedLane {
    delegate_world!(opening: words lanes waits others);

    /// The time is noted in this lane, and not in one of the thread's.
    fn note_wait(&self, since: u32) {
        // The wait itself reports a fault.
        let at = self.announced.slot - 8 + WAITS_SINCE;
        let _ = self.session().store_32(at, since);
    }

    fn is_cancelled(&self) -> bool {
        self.opening.is_cancelled()
    }
}
