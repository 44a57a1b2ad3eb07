//! What locking can come to.

use std::error::Error as StdError;
use std::fmt;
use std::ops::Deref;

use crate::error::{Error, ErrorKind, Result};

/// The result of locking something that tells of a death: `G` is the guard.
pub type LockResult<G> = std::result::Result<G, LockError<OwnerDiedGuard<G>>>;

/// Why a lock was not simply had.
///
/// There will be no third variant. It converts into [`Error`], so that `?` works: then a death is
/// an error of kind [`OwnerDied`](ErrorKind::OwnerDied), and stays for the next owner to be told.
/// The error borrows the lock, so `?` cannot convert it into a `Box<dyn Error>`: use
/// [`lock_or_recover`](crate::MutexHandle::lock_or_recover), whose error is a plain [`Error`], or
/// `lock().map_err(sharemap::Error::from)?`.
pub enum LockError<R> {
    /// The lock was had, and whoever had it before died with it, or panicked, and nobody since has
    /// accepted the value. It is whole: the last that was written.
    OwnerDied(R),
    /// It was not had: timeout, poisoned, cancelled, a fault, ….
    Failed(Error),
}

impl<R> LockError<R> {
    /// What went wrong: [`OwnerDied`](ErrorKind::OwnerDied), or the error's kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::OwnerDied(_) => ErrorKind::OwnerDied,
            Self::Failed(error) => error.kind(),
        }
    }
}

impl<G: Reclaim> From<LockError<OwnerDiedGuard<G>>> for Error {
    fn from(error: LockError<OwnerDiedGuard<G>>) -> Self {
        match error {
            LockError::OwnerDied(dead) => {
                let error = dead.0.error(ErrorKind::OwnerDied, "lock");
                error.with_detail(
                    "look at the value, and accept, repair or poison it, as LockError::OwnerDied \
                     and `lock_or_recover` allow",
                )
            }
            LockError::Failed(error) => error,
        }
    }
}

/// Returns the guard. If an owner died, calls `repair` and accepts the value first. If `repair`
/// fails or panics, the next owner gets `OwnerDied` again.
#[inline]
pub(in crate::sync) fn recovered<G: Reclaim>(
    acquired: LockResult<G>,
    repair: impl FnOnce(&mut G) -> Result<()>,
) -> Result<G> {
    match acquired {
        Ok(guard) => Ok(guard),
        Err(LockError::OwnerDied(mut dead)) => repair(&mut dead.0).map(|()| dead.mark_consistent()),
        Err(LockError::Failed(error)) => Err(error),
    }
}

impl<R> From<Error> for LockError<R> {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<R> fmt::Debug for LockError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnerDied(_) => f.write_str("OwnerDied(..)"),
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
        }
    }
}

impl<R> fmt::Display for LockError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnerDied(_) => f.write_str("an owner of the lock died, or panicked, with it"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl<R> StdError for LockError<R> {}

/// A lock that was had from one who died with it. Dropping it leaves the fact for the next owner.
#[must_use = "dropping it leaves the death for the next owner to be told of"]
pub struct OwnerDiedGuard<G>(pub(in crate::sync) G);

/// A guard that can be had from a dead owner.
#[doc(hidden)]
pub trait Reclaim {
    #[doc(hidden)]
    fn mark_consistent(&mut self);
    #[doc(hidden)]
    fn poison(self) -> Result<()>;
    /// One that names the lock.
    #[doc(hidden)]
    fn error(&self, kind: ErrorKind, operation: &'static str) -> Error;
}

/// Has guards reclaim what their part `inner` holds.
macro_rules! reclaim_inner {
    ($value:ident: $($guard:ident)*) => { $(
        impl<T: $value + Shareable> Reclaim for $guard<'_, T> {
            fn mark_consistent(&mut self) {
                self.inner.leave(ReleaseState::Sound);
            }

            fn poison(mut self) -> Result<()> {
                self.inner.leave(ReleaseState::Poisoned);
                self.inner.release()
            }

            fn error(&self, kind: ErrorKind, operation: &'static str) -> Error {
                self.inner.lock.place.error(kind, operation)
            }
        }
    )* };
}
pub(in crate::sync) use reclaim_inner;

impl<G: Reclaim> OwnerDiedGuard<G> {
    /// Takes the value as it is: whoever locks after this guard is released is told nothing. To
    /// repair the value, change it through the guard.
    pub fn mark_consistent(mut self) -> G {
        self.0.mark_consistent();
        self.0
    }

    /// Releases the lock and lets nobody have it, except to repair it.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault) if the memory is gone.
    pub fn poison(self) -> Result<()> {
        self.0.poison()
    }
}

impl<G: Reclaim + Deref> Deref for OwnerDiedGuard<G> {
    type Target = G::Target;

    /// The value, to look at.
    fn deref(&self) -> &G::Target {
        &self.0
    }
}

impl<G> fmt::Debug for OwnerDiedGuard<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recover").finish_non_exhaustive()
    }
}
