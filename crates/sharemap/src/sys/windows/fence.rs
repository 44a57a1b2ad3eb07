//! The asymmetric fence: Windows has one for the threads of a process only, so nobody may count on
//! it between processes, and every unlock is an exchange.

use std::sync::atomic::{Ordering, fence};

/// Nothing to do: no fence of others reaches this process.
pub(crate) fn register() {}

/// Never.
#[inline(always)]
pub(crate) fn is_registered() -> bool {
    false
}

/// As nobody registers, nobody but this thread needs it.
pub(crate) fn fence_all() -> bool {
    fence(Ordering::SeqCst);
    true
}
