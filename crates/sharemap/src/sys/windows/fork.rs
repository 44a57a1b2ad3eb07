//! Memory that a forked child finds empty: nothing forks here.

pub(crate) use crate::sys::heap_wipe_fallback::WipeOnFork;

/// Holds off nothing, as nothing forks.
#[must_use]
pub(crate) struct HeldOff(());

pub(crate) fn hold_off() -> HeldOff {
    HeldOff(())
}

/// No child has a copy of anything.
pub(crate) fn wipes() -> bool {
    true
}

/// A number for this process, and for none of those that it was forked from: there are none.
pub(crate) fn process() -> u32 {
    std::process::id()
}
