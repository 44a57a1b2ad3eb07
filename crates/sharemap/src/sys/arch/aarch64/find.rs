//! Finds bytes, and pairs of bytes at a distance, in guarded memory by vectors.

#![allow(unsafe_code, reason = "guarded loads of vectors")]

use std::arch::aarch64::{
    uint8x16_t, vandq_u8, vceqq_u8, vdupq_n_u8, vgetq_lane_u64, vld1q_u8, vpaddq_u8,
    vreinterpretq_u64_u8,
};

use super::vectors::load_quad;

/// The number of places that one mask describes.
const BLOCK: usize = 64;

/// Searches the `len` bytes from `from` on for `byte`, in blocks of 64.
///
/// Returns the number of bytes before the first block with a match, and the block's mask: bit `i` is set if
/// byte `i` of the block matches. The mask is 0 if no block matches, or the search reached a block that is
/// not whole or faults; the number is that of the bytes before it.
///
/// # Safety
/// As for plain loads, for `len` bytes.
#[inline]
pub(crate) unsafe fn find_byte(from: *const u8, len: usize, byte: u8) -> (usize, u64) {
    // SAFETY: as promised by the caller.
    unsafe { find::<false>(from, len, [byte; 2], 0) }
}

/// Searches the `len` places from `from` on for the first of `bytes`, followed at `distance` by the second,
/// like [`find_byte`].
///
/// # Safety
/// As for plain loads, for `len + distance` bytes.
#[inline]
pub(crate) unsafe fn find_pair(
    from: *const u8,
    len: usize,
    bytes: [u8; 2],
    distance: usize,
) -> (usize, u64) {
    // SAFETY: as promised by the caller.
    unsafe { find::<true>(from, len, bytes, distance) }
}

/// Searches for one byte, or for a pair.
///
/// # Safety
/// As for [`find_pair`].
unsafe fn find<const PAIR: bool>(
    from: *const u8,
    len: usize,
    bytes: [u8; 2],
    distance: usize,
) -> (usize, u64) {
    /// The bit of each byte in a mask of eight.
    const BITS: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
    let (mut at, mut fault) = (0, 0);
    // SAFETY: each block lies within `len` places; NEON is part of the architecture.
    unsafe {
        let bits = vld1q_u8(BITS.as_ptr());
        let wanted = [vdupq_n_u8(bytes[0]), vdupq_n_u8(bytes[1])];
        while len - at >= BLOCK {
            let mut equal = load_quad(from.add(at), &mut fault);
            for part in &mut equal {
                *part = vandq_u8(vceqq_u8(*part, wanted[0]), bits);
            }
            if PAIR {
                let block = load_quad(from.add(at + distance), &mut fault);
                for (equal, part) in equal.iter_mut().zip(block) {
                    *equal = vandq_u8(*equal, vceqq_u8(part, wanted[1]));
                }
            }
            if fault != 0 {
                break;
            }
            let mask = gather(equal);
            if mask != 0 {
                return (at, mask);
            }
            at += BLOCK;
        }
    }
    (at, 0)
}

/// Gathers bytes, each of which is zero or its bit in a mask of eight, into a mask of 64.
#[inline(always)]
fn gather([a, b, c, d]: [uint8x16_t; 4]) -> u64 {
    // SAFETY: NEON is part of the architecture.
    unsafe {
        let pairs = vpaddq_u8(vpaddq_u8(a, b), vpaddq_u8(c, d));
        vgetq_lane_u64::<0>(vreinterpretq_u64_u8(vpaddq_u8(pairs, pairs)))
    }
}
