//! Detection of forks. macOS cannot zero memory in a forked child, so process ids are compared.

pub(crate) use crate::sys::heap_wipe_fallback::WipeOnFork;
pub(crate) use crate::sys::posix::fork::{HeldOff, hold_off};

/// Returns `false`: a child has a copy of all memory.
pub(crate) fn wipes() -> bool {
    false
}

/// Returns a number that distinguishes this process from its ancestors by fork: the process id.
pub(crate) fn process() -> u32 {
    std::process::id()
}
