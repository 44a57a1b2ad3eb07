//! The errors of dropped guards.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::error::{Error, Result};
use crate::peer::{FixedLen, TypedSpan};

/// The first error that dropping a guard met, kept for the handle's next call.
#[derive(Debug, Default)]
pub(super) struct DeferredError {
    /// Set while `error` holds one, so that calls without an error need not lock.
    any: AtomicBool,
    error: Mutex<Option<Error>>,
}

impl DeferredError {
    /// Keeps `error`, unless an earlier one is still kept.
    #[cold]
    pub(super) fn keep(&self, error: Error) {
        let mut kept = self.lock();
        kept.get_or_insert(error);
        self.any.store(true, Ordering::Release);
    }

    /// Returns the error that is kept, if there is one, and keeps it no longer. A thread may see an error late,
    /// and then returns it with a later call.
    #[inline(always)]
    pub(super) fn take(&self) -> Result<()> {
        if self.any.load(Ordering::Relaxed) { self.take_slowly() } else { Ok(()) }
    }

    #[cold]
    #[inline(never)]
    fn take_slowly(&self) -> Result<()> {
        let mut kept = self.lock();
        self.any.store(false, Ordering::Release);
        kept.take().map_or(Ok(()), Err)
    }

    /// Keeps `error` like [`keep`](Self::keep), and disables the fast path of the handle's next call, which does
    /// not ask for errors.
    #[cold]
    pub(super) fn keep_and_disable<E: FixedLen>(&self, error: Error, span: &TypedSpan<E>) {
        let mut kept = self.lock();
        kept.get_or_insert(error);
        self.any.store(true, Ordering::Release);
        span.disable_ready_slots();
    }

    /// Returns the error that [`keep_and_disable`](Self::keep_and_disable) kept, and enables the fast path.
    pub(super) fn take_and_enable<E: FixedLen>(&self, span: &TypedSpan<E>) -> Result<()> {
        if !self.any.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut kept = self.lock();
        self.any.store(false, Ordering::Release);
        // Under the lock, so that an error that is kept meanwhile disables it afterwards.
        span.enable_ready_slots();
        kept.take().map_or(Ok(()), Err)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Error>> {
        self.error.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
