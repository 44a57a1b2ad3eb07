//! `Condvar`: waiting for changes that other threads make while holding a mutex.

mod guard;

use std::time::Duration;

pub use guard::CondvarGuard;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::Layout;
use crate::peer::Machine;
use crate::sync::algorithms::condvar::{Limit, RawCondvar};
use crate::sync::api::error::{LockError, LockResult, OwnerDiedGuard};
use crate::sync::api::shared_type::{LayoutReader, LayoutSize, LayoutWriter, LockRef, SharedType};

/// The initial state of a shared condition variable. The condition variable itself is accessed
/// through [`CondvarHandle`].
///
/// The object must also have the [`Mutex`](crate::Mutex) that the waiting threads hold.
///
/// # Examples
/// ```
/// use sharemap::{Condvar, Location, Mutex, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// let queue = Shared::create_new(Location::anonymous(), || (Mutex::new(0_u32), Condvar::new()))?;
/// let (jobs, changed) = &*queue;
/// *jobs.lock()? += 1;
/// changed.notify_one()?;
/// # Ok(()) }
/// ```
#[doc(alias("pthread_cond_t", "CONDITION_VARIABLE"))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Condvar(());

impl Condvar {
    /// Creates the initial state of a condition variable: no thread waits.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// // A condition variable belongs to a mutex of the same object.
    /// let first = || (Mutex::new(0_u32), Condvar::new());
    /// let queue = Shared::create_new(Location::anonymous(), first)?;
    /// let (jobs, changed) = &*queue;
    /// *jobs.lock()? += 1;
    /// changed.notify_one()?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pthread_cond_init")]
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
/// A thread waits with the [`MutexGuard`](crate::MutexGuard) of a mutex in the same object. The notifying process may have died, so waits wake spuriously at least every
/// 100 ms. Check the value after each wait, or use [`wait_while`](Self::wait_while).
///
/// Waiting threads sleep as those of a mutex do; see [`MutexHandle`](crate::MutexHandle).
///
/// # Examples
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
    /// [`LockError::OwnerDied`] if the mutex was acquired again, but another owner died or panicked
    /// meanwhile. Otherwise [`LockError::Failed`], of kind
    ///
    /// - `Poisoned` - another owner poisoned the mutex meanwhile.
    /// - `Cancelled` - [`Shared::cancel`](crate::Shared::cancel) was called before the wait or during it.
    /// - `Invalid` - the mutex belongs to another object, or the guard is the copy in a forked child, or
    ///   the stored bytes are not a valid value.
    /// - `Fault` - the memory could not be accessed.
    /// - `TooManyThreads` - the thread holds so many locks that it needed another
    ///   [lane](crate::SharedOptions::lanes), and none became free within about 100 ms.
    ///
    /// Other kinds report a failed system call. After an error of [`LockError::Failed`] the mutex is not
    /// held; only if the memory of its word faulted, it stays held until this process ends.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::{Condvar, Location, Mutex, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let queue = Shared::create_new(Location::anonymous(), || (Mutex::new(0_u32), Condvar::new()))?;
    /// let (jobs, changed) = &*queue;
    /// # *jobs.lock()? = 1;
    /// let mut guard = jobs.lock()?;
    /// while *guard == 0 {
    ///     guard = changed.wait(guard)?;
    /// }
    /// *guard -= 1;
    /// # Ok(()) }
    /// ```
    #[doc(alias("pthread_cond_wait", "SleepConditionVariableSRW"))]
    pub fn wait<G: CondvarGuard>(&self, guard: G) -> LockResult<G> {
        let guard = self.belonging(guard)?;
        let (guard, _) = guard.wait_at(self, None)?;
        Ok(guard)
    }

    /// Waits like [`wait`](Self::wait), but blocks for at most `timeout` for the notification.
    ///
    /// A spurious wake returns earlier, after 100 ms at the latest, with a result that is not
    /// [`timed_out`](WaitTimeoutResult::timed_out). Acquiring the mutex again blocks for at most
    /// another `timeout`, or one second if that is longer, so an owner that hangs cannot block the
    /// caller for ever.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait), and
    ///
    /// - `Timeout` - the mutex was not acquired again within that time. It is not held, and the call may
    ///   have consumed a notification.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use sharemap::{Condvar, Location, Mutex, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let queue = Shared::create_new(Location::anonymous(), || (Mutex::new(0_u32), Condvar::new()))?;
    /// let (jobs, changed) = &*queue;
    /// let (guard, result) = changed.wait_timeout(jobs.lock()?, Duration::from_millis(5))?;
    /// if *guard == 0 && result.timed_out() {
    ///     println!("no jobs for 5 ms");
    /// }
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pthread_cond_timedwait")]
    pub fn wait_timeout<G: CondvarGuard>(&self, guard: G, timeout: Duration) -> TimedResult<G> {
        let guard = self.belonging(guard)?;
        guard.wait_at(self, self.limit(timeout))
    }

    /// Waits while `condition` returns `true`, blocking the current thread.
    ///
    /// `condition` gets the value, or the guard of a `Mutex<[T]>`, and is called with the mutex held.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::{Condvar, Location, Mutex, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let queue = Shared::create_new(Location::anonymous(), || (Mutex::new(0_u32), Condvar::new()))?;
    /// let (jobs, changed) = &*queue;
    /// # *jobs.lock()? = 1;
    /// let mut guard = changed.wait_while(jobs.lock()?, |jobs| *jobs == 0)?;
    /// *guard -= 1;
    /// # Ok(()) }
    /// ```
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

    /// Waits while `condition` returns `true`, but blocks for at most `timeout`.
    ///
    /// The result is [`timed_out`](WaitTimeoutResult::timed_out) if the condition is still `true` after
    /// `timeout`. Acquiring the mutex again blocks for at most another `timeout`, or one second if that
    /// is longer.
    ///
    /// # Errors
    /// As for [`wait_timeout`](Self::wait_timeout).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// use std::time::Duration;
    ///
    /// let first = || (Mutex::new(0_u32), Condvar::new());
    /// let queue = Shared::create_new(Location::anonymous(), first)?;
    /// let (jobs, changed) = &*queue;
    /// let limit = Duration::from_millis(5);
    /// let (guard, result) = changed.wait_timeout_while(jobs.lock()?, limit, |jobs| *jobs == 0)?;
    /// assert!(result.timed_out() && *guard == 0); // no job came
    /// # Ok(()) }
    /// ```
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

    /// Returns the limit of a wait that begins now. Returns `None` if `timeout` is too long to be
    /// represented: the wait then has no limit.
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
            "the mutex belongs to {of} and has been released; use a mutex of the condition variable's \
             own object"
        )))
    }

    #[cold]
    fn refused(&self, why: &str) -> Error {
        self.place.error(ErrorKind::Invalid, "wait for a notification").with_detail(why)
    }

    /// Wakes one waiting thread, if there is one.
    ///
    /// Change the value that waiters check while holding the mutex, and before this call. The mutex
    /// need not be held during the call, which does not block.
    ///
    /// # Errors
    /// - `NotWritable` - the object was opened read-only or copy-on-write.
    /// - `Fault` - the memory could not be accessed.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::{Condvar, Location, Mutex, Shared};
    /// # fn main() -> sharemap::Result<()> {
    /// # let queue = Shared::create_new(Location::anonymous(), || (Mutex::new(0_u32), Condvar::new()))?;
    /// let (jobs, changed) = &*queue;
    /// *jobs.lock()? += 1;
    /// changed.notify_one()?;
    /// # Ok(()) }
    /// ```
    #[doc(alias("pthread_cond_signal", "WakeConditionVariable"))]
    #[inline]
    pub fn notify_one(&self) -> Result<()> {
        self.place.require_writable("notify")?;
        self.raw
            .notify_one(self.place.session())
            .map_err(|error| self.place.with_object_path(error))
    }

    /// Wakes all waiting threads, without blocking.
    ///
    /// # Errors
    /// As for [`notify_one`](Self::notify_one).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let first = || (Mutex::new(false), Condvar::new());
    /// let gate = Shared::create_new(Location::anonymous(), first)?;
    /// let (open, changed) = &*gate;
    /// let pass = || -> Result<()> {
    ///     changed.wait_while(open.lock()?, |open| !*open)?.unlock()
    /// };
    /// std::thread::scope(|scope| {
    ///     let threads = [scope.spawn(pass), scope.spawn(pass)];
    ///     *open.lock()? = true;
    ///     changed.notify_all()?; // both threads continue, one after the other
    ///     threads.into_iter().try_for_each(|thread| thread.join().unwrap())
    /// })?;
    /// # Ok(()) }
    /// ```
    #[doc(alias("pthread_cond_broadcast", "WakeAllConditionVariable"))]
    #[inline]
    pub fn notify_all(&self) -> Result<()> {
        self.place.require_writable("notify")?;
        self.raw
            .notify_all(self.place.session())
            .map_err(|error| self.place.with_object_path(error))
    }
}

/// The result of a timed wait: the guard, which holds the mutex again, and a [`WaitTimeoutResult`].
type TimedResult<G> = std::result::Result<(G, WaitTimeoutResult), LockError<OwnerDiedGuard<G>>>;

/// The outcome of a timed wait on a [`CondvarHandle`]: whether it timed out.
///
/// # Examples
/// ```
/// # use std::time::Duration;
/// # use sharemap::{Condvar, Location, Mutex, Shared};
/// # fn main() -> sharemap::Result<()> {
/// # let queue = Shared::create_new(Location::anonymous(), || (Mutex::new(0_u32), Condvar::new()))?;
/// let (jobs, changed) = &*queue;
/// let (_, result) =
///     changed.wait_timeout_while(jobs.lock()?, Duration::from_millis(5), |jobs| *jobs == 0)?;
/// assert!(result.timed_out());
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Returns `true` if the timeout passed without a notification or, for
    /// [`wait_timeout_while`](CondvarHandle::wait_timeout_while), while the condition was still `true`.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

/// The shortest limit for acquiring the mutex again after a timed wait. After a short wait, an owner
/// that is merely busy must not make the caller lose the mutex.
const SHORTEST_RELOCK: Duration = Duration::from_secs(1);
