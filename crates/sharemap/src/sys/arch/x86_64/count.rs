//! Counts bytes by vectors that are wider than those every processor of the target has.

#![allow(unsafe_code, reason = "guarded loads of vectors")]

use std::arch::x86_64::{
    __m256i, _mm256_cmpeq_epi8, _mm256_sad_epu8, _mm256_set1_epi8, _mm256_setzero_si256,
    _mm256_storeu_si256, _mm256_sub_epi8,
};
use std::is_x86_feature_detected;

use super::scan::load_eight_wide;

/// The number of bytes that one turn of the loop examines.
const TURN: usize = 256;

/// Counts the bytes that equal `byte`, from the start on, by wide vectors. Returns the count, and the number
/// of bytes examined: less than `len` after a fault, and 0 if the processor does not have the vectors.
///
/// # Safety
/// As for plain loads, for `len` bytes.
pub(crate) unsafe fn count_bytes(from: *const u8, len: usize, byte: u8) -> (usize, usize) {
    if is_x86_feature_detected!("avx2") {
        // SAFETY: as promised by the caller; the processor has the vectors.
        unsafe { count_wide(from, len, byte) }
    } else {
        (0, 0)
    }
}

/// Counts whole turns, up to the turn that faults.
///
/// # Safety
/// As for [`count_bytes`]; the processor must have the vectors.
#[target_feature(enable = "avx2")]
unsafe fn count_wide(from: *const u8, len: usize, byte: u8) -> (usize, usize) {
    let (mut count, mut done, mut fault) = (0, 0, 0);
    // SAFETY: each turn lies within `len` bytes.
    unsafe {
        let wanted = _mm256_set1_epi8(byte as i8);
        while len - done >= TURN && fault == 0 {
            // A counter has one byte and grows by up to 2 in a turn, so it is emptied after 127 turns.
            let end = done + ((len - done) / TURN).min(127) * TURN;
            let mut counters = [_mm256_setzero_si256(); 4];
            while done < end {
                let block = load_eight_wide(from.add(done), &mut fault);
                if fault != 0 {
                    break;
                }
                for index in 0..8 {
                    let equal = _mm256_cmpeq_epi8(block[index], wanted);
                    counters[index % 4] = _mm256_sub_epi8(counters[index % 4], equal);
                }
                done += TURN;
            }
            for counter in counters {
                count += total(counter);
            }
        }
    }
    (count, done)
}

/// Returns the sum of 32 counters.
///
/// # Safety
/// The processor must have the vectors.
#[target_feature(enable = "avx2")]
unsafe fn total(counters: __m256i) -> usize {
    let mut parts = [0u64; 4];
    // SAFETY: the array has the size of the vector.
    unsafe {
        let sums = _mm256_sad_epu8(counters, _mm256_setzero_si256());
        _mm256_storeu_si256(parts.as_mut_ptr().cast(), sums);
    }
    parts.into_iter().sum::<u64>() as usize
}
