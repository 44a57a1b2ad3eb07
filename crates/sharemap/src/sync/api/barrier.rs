//! `Barrier`: a point at which members wait until all have arrived.

use std::marker::PhantomData;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::Layout;
use crate::peer::Machine;
use crate::sync::algorithms::barrier::{Membership, RawBarrier};
use crate::sync::api::shared_type::{LayoutReader, LayoutSize, LayoutWriter, LockRef, SharedType};

/// The number of members of a shared barrier.
///
/// Creating a [`Shared`](crate::Shared) object stores the number in the object; later openings use the
/// stored one. The barrier itself is accessed through [`BarrierHandle`], which `Shared` dereferences
/// to.
///
/// # Examples
/// ```
/// use sharemap::{Barrier, Location, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// let start = Shared::create_new(Location::anonymous(), || Barrier::new(2))?;
/// let last = std::thread::scope(|scope| {
///     let arrive = || start.join()?.wait();
///     [scope.spawn(arrive), scope.spawn(arrive)].map(|thread| thread.join().unwrap())
/// });
/// let [first, second] = last;
/// assert!(first? != second?); // `true` in one of the two
/// # Ok(()) }
/// ```
#[doc(alias = "pthread_barrier_t")]
#[derive(Clone, Copy, Debug)]
pub struct Barrier(u32);

impl Barrier {
    /// Creates the initial value of a barrier at which `members` members wait for each other.
    ///
    /// Creating an object fails with [`Invalid`](ErrorKind::Invalid) if `members` is zero.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let meeting = Shared::create_new(Location::anonymous(), || Barrier::new(2))?;
    /// let (first, second) = (meeting.join()?, meeting.join()?);
    /// // No third member is admitted.
    /// assert_eq!(meeting.join().unwrap_err().kind(), ErrorKind::Busy);
    /// # Ok(()) }
    /// ```
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
                "a barrier needs at least one member; use `Barrier::new(1)` or more",
            ));
        }
        blank.take(Self::ROOM)?.write(RawBarrier::MEMBERS_AT, &self.0.to_le_bytes())
    }

    fn handle(found: &mut LayoutReader) -> Result<Self::Handle> {
        let place = found.take(Self::ROOM)?;
        Ok(BarrierHandle { raw: RawBarrier::new(place.at), place })
    }
}

/// A barrier that is shared between processes.
///
/// A thread [joins](Self::join) the barrier as a member, and then [waits](BarrierMember::wait) until
/// all members have arrived. The barrier can be used for any number of rounds.
///
/// If the process of a member dies, the barrier is broken. Every wait then fails with
/// [`Broken`](ErrorKind::Broken) until [`restart`](Self::restart) is called. A waiter detects the death
/// within milliseconds.
///
/// # Examples
/// ```
/// use sharemap::{Barrier, Location, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// let rounds = Shared::create_new(Location::anonymous(), || Barrier::new(1))?;
/// let member = rounds.join()?;
/// for _round in 0..3 {
///     assert!(member.wait()?); // the only member completes the round
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct BarrierHandle {
    place: LockRef,
    raw: RawBarrier,
}

impl BarrierHandle {
    /// Joins the barrier as a member, without waiting for other members.
    ///
    /// If the barrier has all its members, the call first recovers dead ones, which breaks the barrier
    /// and makes room.
    ///
    /// # Errors
    /// - `Busy` - the barrier has all its members. If two threads join at once while one place is left,
    ///   both may fail.
    /// - `Fault` - the memory could not be accessed.
    /// - `NotWritable` - the object was opened read-only or copy-on-write.
    /// - `TooManyThreads` - no [lane](crate::SharedOptions::lanes) became free within about 100 ms, or
    ///   the thread is running its last destructors.
    /// - `TooManyProcesses` - a forked child could not attach within about 100 ms.
    ///
    /// Other kinds report a failed system call, or why a forked child could not attach.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Barrier, ErrorKind, Location, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let barrier = Shared::create_new(Location::anonymous(), || Barrier::new(1))?;
    /// let member = barrier.join()?;
    /// assert_eq!(barrier.join().unwrap_err().kind(), ErrorKind::Busy);
    /// drop(member);
    /// barrier.join()?.wait()?;
    /// # Ok(()) }
    /// ```
    pub fn join(&self) -> Result<BarrierMember<'_>> {
        match self.raw.join(self.place.session()) {
            Ok(Some(membership)) => Ok(BarrierMember {
                barrier: self,
                membership: Some(membership),
                thread: PhantomData,
            }),
            Ok(None) => {
                let error = self.place.error(ErrorKind::Busy, "join the barrier");
                Err(error.with_detail("it has all its members; drop a `BarrierMember` first"))
            }
            Err(error) => Err(self.place.with_object_path(error)),
        }
    }

    /// Begins a new round of a broken barrier, so that its members can wait again.
    ///
    /// Waits that have not yet returned fail with [`Broken`](ErrorKind::Broken). The call has no effect
    /// if the barrier is not broken. A new thread may join in place of the member that died.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed.
    /// - `NotWritable` - the object was opened read-only or copy-on-write.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Barrier, ErrorKind, Location, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let barrier = Shared::create_new(Location::anonymous(), || Barrier::new(1))?;
    /// let member = barrier.join()?;
    /// match member.wait() {
    ///     Ok(_is_last) => {}
    ///     Err(error) if error.kind() == ErrorKind::Broken => barrier.restart()?, // by one member
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn restart(&self) -> Result<()> {
        self.place.require_writable("restart the barrier")?;
        self.raw.restart(self.place.session()).map_err(|error| self.place.with_object_path(error))
    }
}

/// A thread's membership in a barrier, which ends when it is dropped.
///
/// After the drop, another thread may join in its place. Until then, the remaining members wait for
/// it. A forgotten membership lasts until its process ends, which breaks the barrier. In a forked
/// child, a copy of the membership is not valid, and dropping it has no effect.
///
/// # Examples
/// ```
/// use sharemap::{Barrier, Location, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// let barrier = Shared::create_new(Location::anonymous(), || Barrier::new(1))?;
/// let member = barrier.join()?;
/// member.wait()?;
/// member.wait()?; // the next round
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "the membership ends at once if it is not kept"]
pub struct BarrierMember<'a> {
    barrier: &'a BarrierHandle,
    /// `None` once the membership has ended.
    membership: Option<Membership>,
    /// Keeps the membership on its thread, which announces it.
    thread: PhantomData<*const ()>,
}

impl BarrierMember<'_> {
    /// Waits for the other members, blocking the current thread until all have arrived.
    ///
    /// Returns `true` in one member, which completes the round, and `false` in the others.
    ///
    /// # Errors
    /// - `Broken` - a member died during the call, or before it without a
    ///   [`restart`](BarrierHandle::restart) since.
    /// - `Cancelled` - the call had to block after [`Shared::cancel`](crate::Shared::cancel).
    /// - `Fault` - the memory could not be accessed.
    /// - `Invalid` - the membership was copied into a forked child.
    ///
    /// Other kinds report a failed system call. After `Cancelled`, the member still counts as arrived.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Barrier, Location, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let barrier = Shared::create_new(Location::anonymous(), || Barrier::new(1))?;
    /// let member = barrier.join()?;
    /// if member.wait()? {
    ///     // One member combines the results of the round.
    /// }
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pthread_barrier_wait")]
    pub fn wait(&self) -> Result<bool> {
        self.wait_until(None)
    }

    /// Waits for the other members like [`wait`](Self::wait), but blocks for at most `timeout`.
    ///
    /// A member that times out still counts as arrived, and may wait again.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait), and
    ///
    /// - `Timeout` - a member did not arrive within `timeout`.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// use sharemap::{Barrier, ErrorKind, Location, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let barrier = Shared::create_new(Location::anonymous(), || Barrier::new(2))?;
    /// let member = barrier.join()?;
    /// let error = member.wait_timeout(Duration::from_millis(1)).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Timeout); // the second member has not joined
    /// # Ok(()) }
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool> {
        self.wait_until(self.barrier.place.after(timeout))
    }

    /// Waits for the other members until the moment `until`; `None`: no limit. Fails with `Invalid` in
    /// a forked child.
    fn wait_until(&self, until: Option<Duration>) -> Result<bool> {
        let place = &self.barrier.place;
        match &self.membership {
            Some(membership) if place.session().is_own(membership.announced.lane) => {
                let passed = self.barrier.raw.wait(place, membership, until);
                passed.map_err(|error| place.with_object_path(error))
            }
            _ => {
                let error = place.error(ErrorKind::Invalid, "wait at the barrier");
                Err(error
                    .with_detail("the membership belongs to the parent process; join in this one"))
            }
        }
    }
}

impl Drop for BarrierMember<'_> {
    fn drop(&mut self) {
        let Some(membership) = self.membership.take() else { return };
        let session = self.barrier.place.session();
        // In a forked child, the lane is not this process's: the parent is still a member.
        if session.is_own(membership.announced.lane) {
            // If the slot cannot be cleared, the membership lasts until recovery.
            let _ = self.barrier.raw.leave(session, membership);
        }
    }
}
