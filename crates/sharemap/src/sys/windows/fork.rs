//! Memory that a forked child finds empty: nothing forks here.

pub(crate) use crate::sys::copied::Wiped;

/// No child has a copy of anything.
pub(crate) fn wipes() -> bool {
    true
}
