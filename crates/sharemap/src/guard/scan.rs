//! Counting bytes in guarded memory.

#![allow(unsafe_code, reason = "guarded accesses")]

use crate::sys::arch;

/// Counts the bytes that equal `byte`, from the start on, by wide vectors. Returns the count and the
/// number of bytes examined, which is less than `len` after a fault, or 0 if this processor has no such
/// vectors. The caller counts the rest by blocks.
///
/// # Safety
/// `from` must lie, for `len` bytes, in a span of this crate's own, to which no reference exists.
#[inline]
pub(crate) unsafe fn count_bytes(from: *const u8, len: usize, byte: u8) -> (usize, usize) {
    // SAFETY: as promised by the caller.
    unsafe { arch::count_bytes(from, len, byte) }
}
