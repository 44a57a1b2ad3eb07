//! Memory that is zero in a forked child. Windows has no fork, so plain memory is enough.

pub(crate) use crate::sys::heap_wipe_fallback::WipeOnFork;

/// A guard that delays forks, of which there are none.
#[must_use]
pub(crate) struct HeldOff(());

/// Returns a guard. Nothing has to be delayed.
pub(crate) fn hold_off() -> HeldOff {
    HeldOff(())
}

/// Returns `true`: no child ever has a copy of this process's memory.
pub(crate) fn wipes() -> bool {
    true
}

/// Returns a number that distinguishes this process from its ancestors by fork: the process id.
pub(crate) fn process() -> u32 {
    std::process::id()
}
