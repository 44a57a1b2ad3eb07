//! Finding bytes in guarded memory.

#![allow(unsafe_code, reason = "guarded accesses")]

use crate::sys::arch;

/// The number of places that a mask describes.
pub(crate) const BLOCK: usize = 64;

/// Searches the `len` bytes from `from` on for `byte`, in blocks of [`BLOCK`] bytes.
///
/// Returns the number of bytes before the first block with a match, and the block's mask: bit `i` is set if
/// byte `i` of the block matches. The mask is 0 if no block matches, or if the search ended before a block
/// that is not whole, that faults, or that this processor has no vectors for; the number is then that of the
/// bytes examined.
///
/// Each byte of the mask was loaded once.
///
/// # Safety
/// `from` must lie, for `len` bytes, in a span of this crate's own, to which no reference exists.
#[inline]
pub(crate) unsafe fn find_byte(from: *const u8, len: usize, byte: u8) -> (usize, u64) {
    // SAFETY: as promised by the caller.
    unsafe { arch::find_byte(from, len, byte) }
}

/// Searches the `len` places from `from` on for the first of `bytes`, followed at `distance` by the second,
/// like [`find_byte`].
///
/// # Safety
/// As for [`find_byte`], for `len + distance` bytes.
#[inline]
pub(crate) unsafe fn find_pair(
    from: *const u8,
    len: usize,
    bytes: [u8; 2],
    distance: usize,
) -> (usize, u64) {
    // SAFETY: as promised by the caller.
    unsafe { arch::find_pair(from, len, bytes, distance) }
}
