//! `Condvar`: waiting for what others change under a mutex.

use std::path::PathBuf;
use std::time::Duration;

use super::mutex::MutexGuard;
use super::slices::MutexSliceGuard;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Element, Layout, Pod, Shareable};
use crate::peer::Machine;
use crate::sync::algorithms::condvar::{Limit, RawCondvar, Woken};
use crate::sync::algorithms::mutex::{Acquisition, RawMutex, ReleaseState};
use crate::sync::api::error::{LockError, LockResult, OwnerDiedGuard};
use crate::sync::api::shared_type::{LayoutReader, LayoutSize, LayoutWriter, LockRef, SharedType};

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

impl SharedType for Condvar {
    type Handle = CondvarHandle;
    const ROOM: LayoutSize = LayoutSize::exactly(RawCondvar::SIZE);

    fn describe(layout: &mut Layout) {
        layout.push("condvar");
    }

    fn fill(&self, blank: &mut LayoutWriter<'_>) -> Result<()> {
        blank.take(Self::ROOM).map(drop)
    }

    fn handle(found: &mut LayoutReader) -> Result<Self::Handle> {
        let place = found.take(Self::ROOM)?;
        Ok(CondvarHandle { raw: RawCondvar::new(place.at), place })
    }
}

/// A condition variable that processes share.
///
/// The notifying process may have died, so waits wake spuriously at least every 100 ms. Check the
/// value after each wait, or use [`wait_while`](Self::wait_while).
///
/// ```
/// use std::time::Duration;
///
/// use sharemap::{Condvar, Location, Mutex, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// let queue = Shared::create_new(Location::anonymous(), || (Mutex::new(0_u32), Condvar::new()))?;
/// let (jobs, changed) = &*queue;
/// let waited = changed.wait_timeout_while(jobs.lock()?, Duration::from_millis(5), |n| *n == 0)?;
/// let (guard, result) = waited;
/// assert!(result.timed_out() && *guard == 0);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct CondvarHandle {
    place: LockRef,
    raw: RawCondvar,
}

impl CondvarHandle {
    /// Writes the value back, releases the mutex, blocks until a notification or a spurious wake, and
    /// acquires the mutex again.
    ///
    /// # Errors
    /// As for [`MutexHandle::lock`](crate::MutexHandle::lock), and
    ///
    /// - `Invalid` - the mutex belongs to another object than the condition variable.
    ///
    /// After an error of [`LockError::Failed`] the mutex is released.
    pub fn wait<G: CondvarGuard>(&self, guard: G) -> LockResult<G> {
        let guard = self.belonging(guard)?;
        let (guard, _) = guard.wait_at(self, None)?;
        Ok(guard)
    }

    /// Waits like [`wait`](Self::wait), but blocks for at most `timeout` for the notification.
    ///
    /// A spurious wake returns earlier, with a result that is not
    /// [`timed_out`](WaitTimeoutResult::timed_out). Acquiring the mutex again blocks for at most
    /// another `timeout`, or one second if that is longer, so an owner that hangs cannot block the
    /// caller for ever.
    ///
    /// # Errors
    /// As for `wait`, and
    ///
    /// - `Timeout` - the mutex was not acquired again in that time. It is not held.
    pub fn wait_timeout<G: CondvarGuard>(&self, guard: G, timeout: Duration) -> TimedResult<G> {
        let guard = self.belonging(guard)?;
        guard.wait_at(self, self.limit(timeout))
    }

    /// Waits while `condition` returns `true` for the value, or for the guard of a slice.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait).
    pub fn wait_while<G: CondvarGuard>(
        &self,
        guard: G,
        mut condition: impl FnMut(&G::Seen) -> bool,
    ) -> LockResult<G> {
        let mut guard = self.belonging(guard)?;
        while condition(guard.seen()) {
            (guard, _) = guard.wait_at(self, None)?;
        }
        Ok(guard)
    }

    /// Waits while `condition` returns `true`, but blocks for at most `timeout`. Acquiring the
    /// mutex again blocks for at most another `timeout`, or one second if that is longer.
    ///
    /// The result is [`timed_out`](WaitTimeoutResult::timed_out) if the condition is still `true`.
    ///
    /// # Errors
    /// As for [`wait_timeout`](Self::wait_timeout).
    pub fn wait_timeout_while<G: CondvarGuard>(
        &self,
        guard: G,
        timeout: Duration,
        mut condition: impl FnMut(&G::Seen) -> bool,
    ) -> TimedResult<G> {
        let mut guard = self.belonging(guard)?;
        let limit = self.limit(timeout);
        while condition(guard.seen()) {
            if limit.is_some_and(|limit| self.place.session().now() >= limit.until) {
                return Ok((guard, WaitTimeoutResult(true)));
            }
            (guard, _) = guard.wait_at(self, limit)?;
        }
        Ok((guard, WaitTimeoutResult(false)))
    }

    /// Returns the limit of a wait that begins now; `None` if `timeout` is too long to be
    /// represented.
    fn limit(&self, timeout: Duration) -> Option<Limit> {
        let until = self.place.after(timeout)?;
        Some(Limit { until, relock: timeout.max(SHORTEST_RELOCK) })
    }

    /// Returns the guard if its mutex belongs to this object. Otherwise drops the guard, which
    /// releases the mutex, and returns an error.
    fn belonging<G: CondvarGuard>(&self, guard: G) -> Result<G> {
        if guard.is_with(self) {
            return Ok(guard);
        }
        let of = guard.object().map_or_else(|| "another object".into(), |path| format!("{path:?}"));
        drop(guard);
        Err(self.refused(&format!(
            "the mutex belongs to {of}, and a condition variable works with a mutex of its own object; \
             the mutex has been released"
        )))
    }

    /// Waits while this thread's mutex is released, and acquires the mutex again. After an error
    /// the mutex is not held.
    fn wait_holding(
        &self,
        mutex: RawMutex,
        held: Acquisition,
        leave: ReleaseState,
        limit: Option<Limit>,
    ) -> Result<(Acquisition, WaitTimeoutResult)> {
        match self.raw.wait(&self.place, mutex, held, leave, limit) {
            Ok(Woken { held, timed_out }) => Ok((held, WaitTimeoutResult(timed_out))),
            Err(error) if error.kind() == ErrorKind::Timeout => {
                let error = error.with_detail("the wait is over, and the mutex is not held");
                Err(self.place.with_object_path(error))
            }
            Err(error) => Err(self.place.with_object_path(error)),
        }
    }

    #[cold]
    fn refused(&self, why: &str) -> Error {
        self.place.error(ErrorKind::Invalid, "wait for a notification").with_detail(why)
    }

    /// Wakes one waiting thread, if there is one. Change the value while holding the mutex, before
    /// this call.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault) if the memory is gone.
    #[inline]
    pub fn notify_one(&self) -> Result<()> {
        self.place.require_writable("notify")?;
        self.raw
            .notify_one(self.place.session())
            .map_err(|error| self.place.with_object_path(error))
    }

    /// Wakes all waiting threads.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault) if the memory is gone.
    #[inline]
    pub fn notify_all(&self) -> Result<()> {
        self.place.require_writable("notify")?;
        self.raw
            .notify_all(self.place.session())
            .map_err(|error| self.place.with_object_path(error))
    }
}

/// The result of a timed wait: the guard, which holds the mutex again, and whether the time ran out.
type TimedResult<G> = std::result::Result<(G, WaitTimeoutResult), LockError<OwnerDiedGuard<G>>>;

/// Tells whether a timed wait on a condition variable ended because its time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Returns `true` if the wait ended without a notification, or with its condition unchanged,
    /// because the time ran out.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

/// The shortest limit for acquiring the mutex again after a timed wait.
const SHORTEST_RELOCK: Duration = Duration::from_secs(1);

const NOT_HAD: &str =
    "the process that this one was forked from has the mutex, and this one has not";

/// The guard of a mutex, which can be left and taken again by one who waits: [`MutexGuard`], or
/// [`MutexSliceGuard`].
pub trait CondvarGuard: Sealed + Sized {
    /// What is looked at in between: the value, or the guard that shows elements.
    type Seen: ?Sized;

    #[doc(hidden)]
    fn seen(&self) -> &Self::Seen;

    /// Returns `true` if the mutex belongs to the condition variable's object.
    #[doc(hidden)]
    fn is_with(&self, condvar: &CondvarHandle) -> bool;

    /// Returns the name or path of the mutex's object.
    #[doc(hidden)]
    fn object(&self) -> Option<PathBuf>;

    /// Releases the mutex, waits, and acquires it again.
    #[doc(hidden)]
    fn wait_at(self, condvar: &CondvarHandle, limit: Option<Limit>) -> TimedResult<Self>;
}

/// The methods that both kinds of guards share.
macro_rules! waiting {
    () => {
        fn is_with(&self, condvar: &CondvarHandle) -> bool {
            self.handle().place().is_with(&condvar.place)
        }

        fn object(&self) -> Option<PathBuf> {
            self.handle().place().session().path().map(Into::into)
        }

        fn wait_at(self, condvar: &CondvarHandle, limit: Option<Limit>) -> TimedResult<Self> {
            let Some((mutex, held, leave)) = self.into_parts()? else {
                return Err(condvar.refused(NOT_HAD).into());
            };
            let (held, result) = condvar.wait_holding(mutex.raw(), held, leave, limit)?;
            Ok((mutex.guard(held)?, result))
        }
    };
}

/// Keeps other crates from implementing [`CondvarGuard`].
pub trait Sealed {}

impl<T: Element + Shareable> Sealed for MutexGuard<'_, T> {}

impl<T: Pod + Shareable> Sealed for MutexSliceGuard<'_, T> {}

impl<T: Element + Shareable> CondvarGuard for MutexGuard<'_, T> {
    type Seen = T;

    fn seen(&self) -> &T {
        self
    }

    waiting!();
}

impl<T: Pod + Shareable> CondvarGuard for MutexSliceGuard<'_, T> {
    type Seen = Self;

    fn seen(&self) -> &Self {
        self
    }

    waiting!();
}
