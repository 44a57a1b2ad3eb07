//! Finds bytes, and pairs of bytes at a distance, in guarded memory by vectors.

#![allow(unsafe_code, reason = "guarded loads of vectors")]
#![allow(unused_unsafe, reason = "intrinsics are unsafe up to Rust 1.86")]

use std::arch::asm;
use std::arch::x86_64::{
    __m256i, _mm_and_si128, _mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set1_epi8, _mm256_and_si256,
    _mm256_cmpeq_epi8, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8,
};
use std::is_x86_feature_detected;

use super::vectors::{load_quad, load_quad_wide};

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
    // SAFETY: as promised by the caller; the processor has the vectors.
    unsafe {
        if is_x86_feature_detected!("avx2") {
            find_wide::<false>(from, len, [byte; 2], 0)
        } else {
            find_narrow::<false>(from, len, [byte; 2], 0)
        }
    }
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
    // SAFETY: as promised by the caller; the processor has the vectors.
    unsafe {
        if is_x86_feature_detected!("avx2") {
            find_wide::<true>(from, len, bytes, distance)
        } else {
            find_narrow::<true>(from, len, bytes, distance)
        }
    }
}

/// Searches by vectors of 16 bytes; for one byte, or for a pair.
///
/// # Safety
/// As for [`find_pair`].
unsafe fn find_narrow<const PAIR: bool>(
    from: *const u8,
    len: usize,
    bytes: [u8; 2],
    distance: usize,
) -> (usize, u64) {
    let (mut at, mut fault) = (0, 0);
    // SAFETY: each block lies within `len` places.
    unsafe {
        let wanted = bytes.map(|byte| _mm_set1_epi8(byte as i8));
        while len - at >= BLOCK {
            let block = load_quad(from.add(at), &mut fault);
            let mut equal = block.map(|part| _mm_cmpeq_epi8(part, wanted[0]));
            if PAIR {
                let block = load_quad(from.add(at + distance), &mut fault);
                for (equal, part) in equal.iter_mut().zip(block) {
                    *equal = _mm_and_si128(*equal, _mm_cmpeq_epi8(part, wanted[1]));
                }
            }
            if fault != 0 {
                break;
            }
            let [a, b, c, d] = equal.map(|part| u64::from(_mm_movemask_epi8(part) as u16));
            let mask = a | b << 16 | c << 32 | d << 48;
            if mask != 0 {
                return (at, mask);
            }
            at += BLOCK;
        }
    }
    (at, 0)
}

/// Searches by vectors of 32 bytes; for one byte, or for a pair.
///
/// The first block is examined by itself, because searches for frequent bytes end there. The others are
/// examined several at a time.
///
/// # Safety
/// As for [`find_pair`]; the processor must have AVX2.
#[target_feature(enable = "avx2")]
unsafe fn find_wide<const PAIR: bool>(
    from: *const u8,
    len: usize,
    bytes: [u8; 2],
    distance: usize,
) -> (usize, u64) {
    let mut at = 0;
    // SAFETY: each access lies within `len` places, and `distance` after them.
    unsafe {
        let wanted = [_mm256_set1_epi8(bytes[0] as i8), _mm256_set1_epi8(bytes[1] as i8)];
        if len >= BLOCK {
            match find_in_block::<PAIR>(from, wanted, distance) {
                Some(0) => at = BLOCK,
                found => return (0, found.unwrap_or(0)),
            }
        }
        let mut fault = 0;
        // For a pair, a turn examines two blocks; for one byte, four.
        let (turn, second) = if PAIR { (2 * BLOCK, distance) } else { (4 * BLOCK, 2 * BLOCK) };
        while len - at >= turn {
            let near = load_quad_wide(from.add(at), &mut fault);
            let far = load_quad_wide(from.add(at + second), &mut fault);
            if fault != 0 {
                break;
            }
            let (near, far) = (matches(near, wanted[0]), matches(far, wanted[1]));
            if PAIR {
                let equal = both(near, far);
                if any(equal) {
                    return first_of_two(at, equal);
                }
            } else if any(near) {
                return first_of_two(at, near);
            } else if any(far) {
                return first_of_two(at + 2 * BLOCK, far);
            }
            at += turn;
        }
        while len - at >= BLOCK {
            match find_in_block::<PAIR>(from.add(at), wanted, distance) {
                Some(0) => at += BLOCK,
                found => return (at, found.unwrap_or(0)),
            }
        }
    }
    (at, 0)
}

/// Returns the mask of one block; `None` if it faults.
///
/// # Safety
/// As for [`find_pair`] of 64 places; the processor must have AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn find_in_block<const PAIR: bool>(
    from: *const u8,
    wanted: [__m256i; 2],
    distance: usize,
) -> Option<u64> {
    let mut fault = 0;
    // SAFETY: as promised by the caller.
    unsafe {
        let [a, b] = load_pair_wide(from, &mut fault);
        let mut equal = [_mm256_cmpeq_epi8(a, wanted[0]), _mm256_cmpeq_epi8(b, wanted[0])];
        if PAIR {
            let [a, b] = load_pair_wide(from.add(distance), &mut fault);
            equal[0] = _mm256_and_si256(equal[0], _mm256_cmpeq_epi8(a, wanted[1]));
            equal[1] = _mm256_and_si256(equal[1], _mm256_cmpeq_epi8(b, wanted[1]));
        }
        if fault == 0 { Some(mask(equal[0], equal[1])) } else { None }
    }
}

/// Loads two consecutive vectors.
///
/// # Safety
/// As for plain loads; the processor must have AVX.
#[inline]
#[target_feature(enable = "avx")]
unsafe fn load_pair_wide(address: *const u8, fault: &mut usize) -> [__m256i; 2] {
    let (a, b): (__m256i, __m256i);
    // SAFETY: both loads go through r10; a fault is recovered in place.
    unsafe {
        asm!(
            "2: vmovdqu {a}, [r10]",
            "vmovdqu {b}, [r10 + 32]",
            mark!(),
            a = out(ymm_reg) a, b = out(ymm_reg) b,
            inout("r10") address => _,
            inout("r11") *fault,
            options(nostack, preserves_flags, readonly)
        );
    }
    [a, b]
}

/// Returns, for each byte of four vectors, whether it equals that of `wanted`.
///
/// # Safety
/// The processor must have AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn matches(vectors: [__m256i; 4], wanted: __m256i) -> [__m256i; 4] {
    let [a, b, c, d] = vectors;
    // SAFETY: the caller promises the processor.
    unsafe {
        [
            _mm256_cmpeq_epi8(a, wanted),
            _mm256_cmpeq_epi8(b, wanted),
            _mm256_cmpeq_epi8(c, wanted),
            _mm256_cmpeq_epi8(d, wanted),
        ]
    }
}

/// Returns the bits that are set in both.
///
/// # Safety
/// The processor must have AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn both(one: [__m256i; 4], other: [__m256i; 4]) -> [__m256i; 4] {
    let ([a, b, c, d], [e, f, g, h]) = (one, other);
    // SAFETY: the caller promises the processor.
    unsafe {
        [
            _mm256_and_si256(a, e),
            _mm256_and_si256(b, f),
            _mm256_and_si256(c, g),
            _mm256_and_si256(d, h),
        ]
    }
}

/// Returns `true` if a byte of four vectors is set.
///
/// # Safety
/// The processor must have AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn any(vectors: [__m256i; 4]) -> bool {
    let [a, b, c, d] = vectors;
    // SAFETY: the caller promises the processor.
    unsafe {
        let all = _mm256_or_si256(_mm256_or_si256(a, b), _mm256_or_si256(c, d));
        _mm256_movemask_epi8(all) != 0
    }
}

/// Returns the mask of the first of two blocks with a match, and its place; the first block is at `at`.
///
/// # Safety
/// The processor must have AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn first_of_two(at: usize, equal: [__m256i; 4]) -> (usize, u64) {
    // SAFETY: the caller promises the processor.
    let (near, far) = unsafe { (mask(equal[0], equal[1]), mask(equal[2], equal[3])) };
    if near != 0 { (at, near) } else { (at + BLOCK, far) }
}

/// Returns the mask of one block.
///
/// # Safety
/// The processor must have AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn mask(low: __m256i, high: __m256i) -> u64 {
    // SAFETY: the caller promises the processor.
    unsafe {
        let [low, high] = [_mm256_movemask_epi8(low), _mm256_movemask_epi8(high)];
        u64::from(low as u32) | u64::from(high as u32) << 32
    }
}

#[cfg(test)]
mod tests {
    use std::is_x86_feature_detected;

    use super::{find_narrow, find_wide};
    use crate::{MappingMut, Protection, page_size};

    type Find = unsafe fn(*const u8, usize, [u8; 2], usize) -> (usize, u64);

    /// Returns the place after the examined ones, and all matches before it.
    fn all(
        find: Find,
        from: *const u8,
        len: usize,
        bytes: [u8; 2],
        distance: usize,
    ) -> (usize, Vec<usize>) {
        let (mut at, mut found) = (0, Vec::new());
        loop {
            // SAFETY: the caller's memory, which outlives the call.
            let (examined, mask) =
                unsafe { find(from.wrapping_add(at), len - at, bytes, distance) };
            at += examined;
            if mask == 0 {
                return (at, found);
            }
            found.extend((0..64).filter(|bit| mask >> bit & 1 == 1).map(|bit| at + bit));
            at += 64;
        }
    }

    /// Vectors of both widths find what a loop finds, up to the block that faults.
    #[test]
    fn vectors_of_both_widths() {
        let page = page_size();
        let map = MappingMut::anonymous(2 * page).unwrap();
        let pattern = |at: usize| b"abcaabbb........"[at * at * at % 16];
        let text: Vec<u8> = (0..page).map(pattern).collect();
        map.bytes().write_at(0, &text).unwrap();
        map.protect(page.., Protection::None).unwrap();
        let mut both = vec![(find_narrow::<false> as Find, find_narrow::<true> as Find)];
        if is_x86_feature_detected!("avx2") {
            both.push((find_wide::<false>, find_wide::<true>));
        } else {
            eprintln!("this processor has no AVX2");
        }
        for (one, pair) in both {
            for len in 0..450 {
                let from = map.bytes().as_ptr().wrapping_add(page - len);
                let text = &text[page - len..];
                for distance in [0, 1, 64, 127] {
                    for bytes in [*b"ab", *b"bb", *b"c.", *b"zz"] {
                        // Places past the end are asked for, too: their block faults.
                        let (end, found) = all(pair, from, len + 300, bytes, distance);
                        assert_eq!(end, len.saturating_sub(distance) / 64 * 64, "{len} {distance}");
                        let is_match = |at: &usize| [text[*at], text[at + distance]] == bytes;
                        assert!((0..end).filter(is_match).eq(found), "{len} {distance} {bytes:?}");
                    }
                }
                for byte in [b'a', b'.', b'z'] {
                    let (end, found) = all(one, from, len + 300, [byte; 2], 0);
                    assert_eq!(end, len / 64 * 64);
                    assert!((0..end).filter(|at| text[*at] == byte).eq(found), "{len} {byte}");
                    let (end, _) = all(one, from, len, [byte; 2], 0);
                    assert_eq!(end, len / 64 * 64);
                }
            }
        }
    }
}
