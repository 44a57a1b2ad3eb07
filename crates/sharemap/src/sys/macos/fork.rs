//! Memory that a forked child would find empty: macOS wipes none, so process ids are compared.

pub(crate) use crate::sys::heap_wipe_fallback::WipeOnFork;
pub(crate) use crate::sys::posix::fork::{HeldOff, hold_off};

/// Never.
pub(crate) fn wipes() -> bool {
    false
}

/// A number for this process, and for none of those that it was forked from.
pub(crate) fn process() -> u32 {
    std::process::id()
}
