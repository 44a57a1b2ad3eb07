//! The asymmetric fence, which macOS does not have. No process therefore registers for it, and every release
//! of a lock is an atomic exchange.

use std::sync::atomic::{Ordering, fence};

/// Does nothing, because no other process's fence reaches this one.
pub(crate) fn register() {}

/// Returns `false`: this process is never registered.
#[inline(always)]
pub(crate) fn is_registered() -> bool {
    false
}

/// Executes a full fence in this thread, and returns `true`. That is enough, because no process omits its
/// own fence: none is registered.
pub(crate) fn fence_all() -> bool {
    fence(Ordering::SeqCst);
    true
}
