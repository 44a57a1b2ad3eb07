//! `CondvarGuard`: the guards with which a thread can wait.

use std::path::PathBuf;

use super::{CondvarHandle, TimedResult, WaitTimeoutResult};
use crate::error::ErrorKind;
use crate::layout::{Element, Pod, Shareable};
use crate::sync::algorithms::condvar::{Limit, Woken};
use crate::sync::api::lock::told;
use crate::sync::api::lock_target::LockTarget;
use crate::sync::api::mutex::MutexGuard;

const NOT_HELD: &str = "the guard was copied by `fork`, and the parent process holds the mutex; \
                        acquire the mutex in this process";

/// A guard with which a thread can wait on a [`CondvarHandle`]: a [`MutexGuard`] of a value or of
/// elements.
///
/// This trait is sealed: other crates cannot implement it.
///
/// # Examples
/// ```
/// use sharemap::{CondvarGuard, CondvarHandle, LockResult};
///
/// fn wait_twice<G: CondvarGuard>(changed: &CondvarHandle, guard: G) -> LockResult<G> {
///     changed.wait(changed.wait(guard)?)
/// }
/// ```
pub trait CondvarGuard: Waiting {
    /// The type that conditions check: the value, or the guard of a `Mutex<[T]>`.
    type Seen: ?Sized;

    #[doc(hidden)]
    fn seen(&self) -> &Self::Seen;
}

impl<T: Element + Shareable> CondvarGuard for MutexGuard<'_, T> {
    type Seen = T;

    fn seen(&self) -> &T {
        self
    }
}

impl<T: Pod + Shareable> CondvarGuard for MutexGuard<'_, [T]> {
    type Seen = Self;

    fn seen(&self) -> &Self {
        self
    }
}

/// A guard of a mutex. Other crates cannot name this trait, and so cannot implement [`CondvarGuard`].
pub trait Waiting: Sized {
    /// Returns `true` if the mutex belongs to the condition variable's object.
    fn is_with(&self, condvar: &CondvarHandle) -> bool;

    /// Returns the name or path of the mutex's object.
    fn object(&self) -> Option<PathBuf>;

    /// Releases the mutex, waits, and acquires it again. After an error the mutex is not held.
    fn wait_at(self, condvar: &CondvarHandle, limit: Option<Limit>) -> TimedResult<Self>;
}

impl<T: ?Sized + LockTarget> Waiting for MutexGuard<'_, T> {
    fn is_with(&self, condvar: &CondvarHandle) -> bool {
        self.0.lock.place.is_with(&condvar.place)
    }

    fn object(&self) -> Option<PathBuf> {
        self.0.lock.session().path().map(Into::into)
    }

    fn wait_at(self, condvar: &CondvarHandle, limit: Option<Limit>) -> TimedResult<Self> {
        let mutex = self.0.lock;
        let Some((held, leave)) = self.0.into_parts()? else {
            return Err(condvar.refused(NOT_HELD).into());
        };
        match condvar.raw.wait(&condvar.place, mutex.raw(), held, leave, limit) {
            Ok(Woken { held, timed_out }) => {
                Ok((told(mutex.guard(Ok(held)), Self)?, WaitTimeoutResult(timed_out)))
            }
            Err(mut error) => {
                if error.kind() == ErrorKind::Timeout {
                    error = error.with_detail(
                        "the wait has ended, and the mutex is not held; acquire it again",
                    );
                }
                Err(condvar.place.with_object_path(error).into())
            }
        }
    }
}
