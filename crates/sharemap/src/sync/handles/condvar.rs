//! `Condvar`: waiting for what others change under a mutex.

use std::time::Duration;

use super::mutex::MutexGuard;
use crate::error::{ErrorKind, Result};
use crate::layout::{Element, Layout, Shareable};
use crate::peer::World;
use crate::sync::anchor::{Anchored, Blank, Found, Place, Room};
use crate::sync::condvar::RawCondvar;
use crate::sync::error::LockResult;

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
    /// As for locking; [`Invalid`](ErrorKind::Invalid) if the mutex is in another object, or seen
    /// through another [`Shared`](crate::Shared). The mutex is released.
    pub fn wait<'a, T: Element + Shareable>(
        &self,
        guard: MutexGuard<'a, T>,
    ) -> LockResult<MutexGuard<'a, T>> {
        self.wait_until(guard, None)
    }

    /// Waits while `condition` holds.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait).
    pub fn wait_while<'a, T: Element + Shareable>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&T) -> bool,
    ) -> LockResult<MutexGuard<'a, T>> {
        while condition(&guard) {
            guard = self.wait_until(guard, None)?;
        }
        Ok(guard)
    }

    /// Waits while `condition` holds, so long at most; whether it holds yet is to be looked at.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait).
    pub fn wait_timeout_while<'a, T: Element + Shareable>(
        &self,
        mut guard: MutexGuard<'a, T>,
        timeout: Duration,
        mut condition: impl FnMut(&T) -> bool,
    ) -> LockResult<MutexGuard<'a, T>> {
        let until = self.place.after(timeout);
        while condition(&guard) && until.is_none_or(|until| self.place.session.now() < until) {
            guard = self.wait_until(guard, until)?;
        }
        Ok(guard)
    }

    fn wait_until<'a, T: Element + Shareable>(
        &self,
        guard: MutexGuard<'a, T>,
        until: Option<Duration>,
    ) -> LockResult<MutexGuard<'a, T>> {
        const WAIT: &str = "wait for a notification";
        let Some((mutex, held, leave)) = guard.into_parts()? else {
            return Err(self.place.error(ErrorKind::Invalid, WAIT).into());
        };
        let session = &*self.place.session;
        if !mutex.place().is_with(&self.place) {
            mutex.raw().unlock(&*mutex.place().session, held, leave)?;
            let error = self.place.error(ErrorKind::Invalid, WAIT);
            return Err(error.with_detail("the mutex is not in the same object").into());
        }
        match self.raw.wait(session, mutex.raw(), held, leave, until) {
            Ok(held) => mutex.guard(held),
            Err(error) => Err(self.place.named(error).into()),
        }
    }

    /// Wakes one of those who wait, if there are any. Change the value under the mutex before.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault) if the memory is gone.
    #[inline]
    pub fn notify_one(&self) -> Result<()> {
        self.raw.notify_one(&*self.place.session).map_err(|error| self.place.named(error))
    }

    /// Wakes all who wait.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault) if the memory is gone.
    #[inline]
    pub fn notify_all(&self) -> Result<()> {
        self.raw.notify_all(&*self.place.session).map_err(|error| self.place.named(error))
    }
}
