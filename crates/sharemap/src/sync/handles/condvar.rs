//! `Condvar`: waiting for what others change under a mutex.

use std::time::Duration;

use super::mutex::MutexGuard;
use super::slices::MutexSliceGuard;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Element, Layout, Pod, Shareable};
use crate::peer::World;
use crate::sync::anchor::{Anchored, Blank, Found, Place, Room};
use crate::sync::condvar::RawCondvar;
use crate::sync::error::LockResult;
use crate::sync::mutex::{Held, Leave, RawMutex};

/// A condition variable to be made. Used it is through [`CondvarHandle`], with a mutex in the same
/// object.
#[derive(Clone, Copy, Debug, Default)]
pub struct Condvar(());

impl Condvar {
    /// One that nobody waits for.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl Anchored for Condvar {
    type Handle = CondvarHandle;
    const ROOM: Room = Room::exactly(RawCondvar::SIZE);

    fn describe(layout: &mut Layout) {
        layout.push("condvar");
    }

    fn fill(&self, blank: &mut Blank<'_>) -> Result<()> {
        blank.take(Self::ROOM).map(drop)
    }

    fn handle(found: &mut Found) -> Result<Self::Handle> {
        let place = found.take(Self::ROOM)?;
        Ok(CondvarHandle { raw: RawCondvar::new(place.at), place })
    }
}

/// A condition variable that processes share.
///
/// Whoever was to notify may have died: a wait ends after a tenth of a second at the latest, for no
/// reason that shows. So look at the value again, as one must anyway, or use
/// [`wait_while`](Self::wait_while).
#[derive(Debug)]
pub struct CondvarHandle {
    place: Place,
    raw: RawCondvar,
}

impl CondvarHandle {
    /// Writes the value back, releases the mutex, waits for a notification or a moment, and locks
    /// again.
    ///
    /// # Errors
    /// As for locking; [`Invalid`](ErrorKind::Invalid) if the mutex is in another object. The mutex is
    /// released.
    pub fn wait<G: Waiting>(&self, guard: G) -> LockResult<G> {
        guard.wait_at(self, None)
    }

    /// Waits while `condition` holds: of the value, or of the guard where that shows a slice.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait).
    pub fn wait_while<G: Waiting>(
        &self,
        mut guard: G,
        mut condition: impl FnMut(&G::Seen) -> bool,
    ) -> LockResult<G> {
        while condition(guard.seen()) {
            guard = guard.wait_at(self, None)?;
        }
        Ok(guard)
    }

    /// Waits while `condition` holds, so long at most; whether it holds yet is to be looked at.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait).
    pub fn wait_timeout_while<G: Waiting>(
        &self,
        mut guard: G,
        timeout: Duration,
        mut condition: impl FnMut(&G::Seen) -> bool,
    ) -> LockResult<G> {
        let until = self.place.after(timeout);
        while condition(guard.seen())
            && until.is_none_or(|until| self.place.session().now() < until)
        {
            guard = guard.wait_at(self, until)?;
        }
        Ok(guard)
    }

    /// For one that has the mutex. Has it again in the end, unless that is an error.
    fn wait_having(
        &self,
        place: &Place,
        mutex: RawMutex,
        held: Held,
        leave: Leave,
        until: Option<Duration>,
    ) -> Result<Held> {
        if !place.is_with(&self.place) {
            mutex.unlock(place.session(), held, leave)?;
            return Err(self.refused("the mutex is not in the same object"));
        }
        let waited = self.raw.wait(&self.place, mutex, held, leave, until);
        waited.map_err(|error| self.place.named(error))
    }

    #[cold]
    fn refused(&self, why: &str) -> Error {
        self.place.error(ErrorKind::Invalid, "wait for a notification").with_detail(why)
    }

    /// Wakes one of those who wait, if there are any. Change the value under the mutex before.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault) if the memory is gone.
    #[inline]
    pub fn notify_one(&self) -> Result<()> {
        self.place.take_part("notify")?;
        self.raw.notify_one(self.place.session()).map_err(|error| self.place.named(error))
    }

    /// Wakes all who wait.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault) if the memory is gone.
    #[inline]
    pub fn notify_all(&self) -> Result<()> {
        self.place.take_part("notify")?;
        self.raw.notify_all(self.place.session()).map_err(|error| self.place.named(error))
    }
}

const NOT_HAD: &str =
    "the process that this one was forked from has the mutex, and this one has not";

/// The guard of a mutex, which can be left and taken again by one who waits: [`MutexGuard`], or
/// [`MutexSliceGuard`].
pub trait Waiting: Sized {
    /// What is looked at in between: the value, or the guard that shows elements.
    type Seen: ?Sized;

    #[doc(hidden)]
    fn seen(&self) -> &Self::Seen;

    /// Leaves the mutex, waits, and takes it again.
    #[doc(hidden)]
    fn wait_at(self, condvar: &CondvarHandle, until: Option<Duration>) -> LockResult<Self>;
}

impl<T: Element + Shareable> Waiting for MutexGuard<'_, T> {
    type Seen = T;

    fn seen(&self) -> &T {
        self
    }

    fn wait_at(self, condvar: &CondvarHandle, until: Option<Duration>) -> LockResult<Self> {
        let Some((mutex, held, leave)) = self.into_parts()? else {
            return Err(condvar.refused(NOT_HAD).into());
        };
        mutex.guard(condvar.wait_having(mutex.place(), mutex.raw(), held, leave, until)?)
    }
}

impl<T: Pod + Shareable> Waiting for MutexSliceGuard<'_, T> {
    type Seen = Self;

    fn seen(&self) -> &Self {
        self
    }

    fn wait_at(self, condvar: &CondvarHandle, until: Option<Duration>) -> LockResult<Self> {
        let Some((mutex, held, leave)) = self.into_parts() else {
            return Err(condvar.refused(NOT_HAD).into());
        };
        mutex.guard(condvar.wait_having(mutex.place(), mutex.raw(), held, leave, until)?)
    }
}
