//! `Barrier`: members that wait until all have come.

use std::marker::PhantomData;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::Layout;
use crate::peer::Machine;
use crate::sync::algorithms::barrier::{Membership, RawBarrier};
use crate::sync::api::shared_type::{LayoutReader, LayoutSize, LayoutWriter, LockRef, SharedType};

/// A barrier to be made, for so many members. Used it is through [`BarrierHandle`].
#[derive(Clone, Copy, Debug)]
pub struct Barrier(u32);

impl Barrier {
    /// A barrier for so many members: one at least, or making the object is
    /// [`Invalid`](ErrorKind::Invalid).
    #[must_use]
    pub const fn new(members: u32) -> Self {
        Self(members)
    }
}

impl SharedType for Barrier {
    type Handle = BarrierHandle;
    const ROOM: LayoutSize = LayoutSize::exactly(RawBarrier::SIZE);

    fn describe(layout: &mut Layout) {
        layout.push("barrier");
    }

    fn fill(&self, blank: &mut LayoutWriter<'_>) -> Result<()> {
        if self.0 == 0 {
            return Err(Error::new(ErrorKind::Invalid, "create").with_detail(
                "a barrier has one member at least: make it with `Barrier::new(1)` or more",
            ));
        }
        blank.take(Self::ROOM)?.write(RawBarrier::MEMBERS_AT, &self.0.to_le_bytes())
    }

    fn handle(found: &mut LayoutReader) -> Result<Self::Handle> {
        let place = found.take(Self::ROOM)?;
        Ok(BarrierHandle { raw: RawBarrier::new(place.at), place })
    }
}

/// A barrier that processes share. If a member dies, those who wait for it are told that the barrier
/// is [`Broken`](ErrorKind::Broken).
#[derive(Debug)]
pub struct BarrierHandle {
    place: LockRef,
    raw: RawBarrier,
}

impl BarrierHandle {
    /// Makes this thread a member.
    ///
    /// # Errors
    /// [`Busy`](ErrorKind::Busy) if there are as many members as it was made for; of two who come
    /// for the last place at once, perhaps both.
    pub fn join(&self) -> Result<BarrierMember<'_>> {
        match self.raw.join(self.place.session()) {
            Ok(Some(membership)) => Ok(BarrierMember {
                barrier: self,
                membership: Some(membership),
                thread: PhantomData,
            }),
            Ok(None) => {
                let error = self.place.error(ErrorKind::Busy, "join the barrier");
                Err(error.with_detail("it has all its members"))
            }
            Err(error) => Err(self.place.with_object_path(error)),
        }
    }

    /// Makes a broken barrier whole; nothing changes if it is not broken. Those who wait yet are told
    /// that it broke.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault).
    pub fn restart(&self) -> Result<()> {
        self.place.require_writable("restart the barrier")?;
        self.raw.restart(self.place.session()).map_err(|error| self.place.with_object_path(error))
    }
}

/// A membership, given up when it is dropped.
#[derive(Debug)]
#[must_use = "the membership is given up at once if it is not kept"]
pub struct BarrierMember<'a> {
    barrier: &'a BarrierHandle,
    membership: Option<Membership>,
    thread: PhantomData<*const ()>,
}

impl BarrierMember<'_> {
    /// Blocks the current thread until all members have arrived. Returns `true` in the last of
    /// them.
    ///
    /// # Errors
    /// - `Broken` - a member died, and [`restart`](BarrierHandle::restart) was not called since.
    /// - `Cancelled` - the call had to block after [`Shared::cancel`](crate::Shared::cancel).
    /// - `Fault` - the memory could not be accessed.
    /// - `Invalid` - the membership was copied into a forked child.
    pub fn wait(&self) -> Result<bool> {
        self.wait_until(None)
    }

    /// Waits like [`wait`](Self::wait), but blocks for at most `timeout`. A member that times out
    /// still counts as arrived.
    ///
    /// # Errors
    /// As for `wait`, and
    ///
    /// - `Timeout` - a member did not arrive within `timeout`.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool> {
        self.wait_until(self.barrier.place.after(timeout))
    }

    fn wait_until(&self, until: Option<Duration>) -> Result<bool> {
        let place = &self.barrier.place;
        match &self.membership {
            Some(membership) if place.session().is_own(membership.announced.lane) => {
                let passed = self.barrier.raw.wait(place, membership, until);
                passed.map_err(|error| place.with_object_path(error))
            }
            _ => {
                let error = place.error(ErrorKind::Invalid, "wait at the barrier");
                Err(error.with_detail("the member is the process that this one was forked from"))
            }
        }
    }
}

impl Drop for BarrierMember<'_> {
    fn drop(&mut self) {
        let Some(membership) = self.membership.take() else { return };
        let session = self.barrier.place.session();
        if session.is_own(membership.announced.lane) {
            // If the memory is gone, so is the membership.
            let _ = self.barrier.raw.leave(session, membership);
        }
    }
}
