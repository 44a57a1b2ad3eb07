//! Guarded accesses to vectors, and copies by vectors.

#![allow(unsafe_code, reason = "the instructions themselves")]

use std::arch::asm;
use std::arch::x86_64::{
    __m128i, __m256i, _mm_loadu_si128, _mm_storeu_si128, _mm256_loadu_si256, _mm256_storeu_si256,
};

use crate::sys::arch::in_reach;

/// Defines accesses to four vectors at a time, and to single vectors of private memory.
macro_rules! vectors {
    ($(#[$attribute:meta])* $vector:ty, $class:ident, $move:literal, $width:literal,
     $get:ident, $put:ident,
     $load:ident, $store:ident, $take:ident, $give:ident) => {
        /// Loads four consecutive vectors.
        ///
        /// # Safety
        /// As for plain loads.
        $(#[$attribute])*
        pub(crate) unsafe fn $load(address: *const u8, fault: &mut usize) -> [$vector; 4] {
            const { assert!(in_reach(0, 4 * $width)) }
            let (a, b, c, d): ($vector, $vector, $vector, $vector);
            // SAFETY: all loads go through r10; a fault is recovered in place.
            unsafe {
                asm!(
                    concat!("2: ", $move, " {a}, [r10]"),
                    concat!($move, " {b}, [r10 + ", $width, "]"),
                    concat!($move, " {c}, [r10 + 2 * ", $width, "]"),
                    concat!($move, " {d}, [r10 + 3 * ", $width, "]"),
                    mark!(),
                    a = out($class) a, b = out($class) b, c = out($class) c, d = out($class) d,
                    inout("r10") address => _,
                    inout("r11") *fault,
                    options(nostack, preserves_flags, readonly)
                );
            }
            [a, b, c, d]
        }

        /// Stores four consecutive vectors, in order.
        ///
        /// # Safety
        /// As for plain stores.
        $(#[$attribute])*
        pub(crate) unsafe fn $store(address: *mut u8, values: [$vector; 4], fault: &mut usize) {
            const { assert!(in_reach(0, 4 * $width)) }
            let [a, b, c, d] = values;
            // SAFETY: all stores go through r10; a fault is recovered in place.
            unsafe {
                asm!(
                    concat!("2: ", $move, " [r10], {a}"),
                    concat!($move, " [r10 + ", $width, "], {b}"),
                    concat!($move, " [r10 + 2 * ", $width, "], {c}"),
                    concat!($move, " [r10 + 3 * ", $width, "], {d}"),
                    mark!(),
                    a = in($class) a, b = in($class) b, c = in($class) c, d = in($class) d,
                    inout("r10") address => _,
                    inout("r11") *fault,
                    options(nostack, preserves_flags)
                );
            }
        }

        /// Reads a vector from private memory.
        ///
        /// # Safety
        /// `from` must have the bytes of a vector.
        $(#[$attribute])*
        pub(crate) unsafe fn $take(from: *const u8) -> $vector {
            // SAFETY: the caller promises the bytes; the load may be unaligned.
            unsafe { $get(from.cast()) }
        }

        /// Writes a vector to private memory.
        ///
        /// # Safety
        /// `to` must have room for a vector.
        $(#[$attribute])*
        pub(crate) unsafe fn $give(to: *mut u8, value: $vector) {
            // SAFETY: the caller promises the room; the store may be unaligned.
            unsafe { $put(to.cast(), value) }
        }
    };
}

vectors!(
    #[inline(always)]
    __m128i,
    xmm_reg,
    "movdqu",
    16,
    _mm_loadu_si128,
    _mm_storeu_si128,
    load_quad,
    store_quad,
    take_narrow,
    give_narrow
);
vectors!(
    #[inline]
    #[target_feature(enable = "avx")]
    __m256i,
    ymm_reg,
    "vmovdqu",
    32,
    _mm256_loadu_si256,
    _mm256_storeu_si256,
    load_quad_wide,
    store_quad_wide,
    take_wide,
    give_wide
);

/// A vector of 16 bytes.
pub(crate) type Narrow = __m128i;

/// # Safety
/// As for plain loads.
#[inline(always)]
pub(crate) unsafe fn load_narrow(address: *const u8, fault: &mut usize) -> Narrow {
    let value: Narrow;
    // SAFETY: the load goes through r10; a fault is recovered in place.
    unsafe {
        asm!(
            "2: movdqu {value}, [r10]",
            mark!(),
            value = out(xmm_reg) value,
            inout("r10") address => _,
            inout("r11") *fault,
            options(nostack, preserves_flags, readonly)
        );
    }
    value
}

/// # Safety
/// As for plain stores.
#[inline(always)]
pub(crate) unsafe fn store_narrow(address: *mut u8, value: Narrow, fault: &mut usize) {
    // SAFETY: the store goes through r10; a fault is recovered in place.
    unsafe {
        asm!(
            "2: movdqu [r10], {value}",
            mark!(),
            value = in(xmm_reg) value,
            inout("r10") address => _,
            inout("r11") *fault,
            options(nostack, preserves_flags)
        );
    }
}

/// Loads two vectors: one at the address, and one `last` bytes after it.
///
/// This function and [`load_ends`] copy a length between two powers of two by accesses that overlap in the
/// middle.
///
/// # Safety
/// As for plain loads; `last` must be at most 64.
#[inline(always)]
pub(crate) unsafe fn load_pair(address: *const u8, last: usize, fault: &mut usize) -> [Narrow; 2] {
    let (a, b): (Narrow, Narrow);
    // SAFETY: all loads are relative to r10; a fault is recovered in place.
    unsafe {
        asm!(
            "2: movdqu {a}, [r10]",
            "movdqu {b}, [r10 + {last}]",
            mark!(),
            a = out(xmm_reg) a, b = out(xmm_reg) b, last = in(reg) last,
            inout("r10") address => _,
            inout("r11") *fault,
            options(nostack, preserves_flags, readonly)
        );
    }
    [a, b]
}

/// Loads two vectors at the address, and two `last` bytes after it.
///
/// # Safety
/// As for plain loads; `last` must be at most 64.
#[inline(always)]
pub(crate) unsafe fn load_ends(address: *const u8, last: usize, fault: &mut usize) -> [Narrow; 4] {
    let (a, b, c, d): (Narrow, Narrow, Narrow, Narrow);
    // SAFETY: all loads are relative to r10; a fault is recovered in place.
    unsafe {
        asm!(
            "2: movdqu {a}, [r10]",
            "movdqu {b}, [r10 + 16]",
            "movdqu {c}, [r10 + {last}]",
            "movdqu {d}, [r10 + {last} + 16]",
            mark!(),
            a = out(xmm_reg) a, b = out(xmm_reg) b, c = out(xmm_reg) c, d = out(xmm_reg) d,
            last = in(reg) last,
            inout("r10") address => _,
            inout("r11") *fault,
            options(nostack, preserves_flags, readonly)
        );
    }
    [a, b, c, d]
}

/// Stores the vectors of [`load_pair`], in order.
///
/// # Safety
/// As for plain stores; `last` must be at most 64.
#[inline(always)]
pub(crate) unsafe fn store_pair(
    address: *mut u8,
    last: usize,
    values: [Narrow; 2],
    fault: &mut usize,
) {
    let [a, b] = values;
    // SAFETY: all stores are relative to r10; a fault is recovered in place.
    unsafe {
        asm!(
            "2: movdqu [r10], {a}",
            "movdqu [r10 + {last}], {b}",
            mark!(),
            a = in(xmm_reg) a, b = in(xmm_reg) b, last = in(reg) last,
            inout("r10") address => _,
            inout("r11") *fault,
            options(nostack, preserves_flags)
        );
    }
}

/// Stores the vectors of [`load_ends`], in order.
///
/// # Safety
/// As for plain stores; `last` must be at most 64.
#[inline(always)]
pub(crate) unsafe fn store_ends(
    address: *mut u8,
    last: usize,
    values: [Narrow; 4],
    fault: &mut usize,
) {
    let [a, b, c, d] = values;
    // SAFETY: all stores are relative to r10; a fault is recovered in place.
    unsafe {
        asm!(
            "2: movdqu [r10], {a}",
            "movdqu [r10 + 16], {b}",
            "movdqu [r10 + {last}], {c}",
            "movdqu [r10 + {last} + 16], {d}",
            mark!(),
            a = in(xmm_reg) a, b = in(xmm_reg) b, c = in(xmm_reg) c, d = in(xmm_reg) d,
            last = in(reg) last,
            inout("r10") address => _,
            inout("r11") *fault,
            options(nostack, preserves_flags)
        );
    }
}

/// Defines copies by blocks. The last block overlaps the previous one, and a fault ends the copy.
macro_rules! bulk {
    ($(#[$attribute:meta])* $width:literal, $load_four:ident, $store_four:ident, $take:ident,
     $give:ident, $out:ident, $into:ident) => {
        /// # Safety
        /// As for plain loads; `to` must be private memory of at least `len` bytes, at least four vectors.
        $(#[$attribute])*
        pub(super) unsafe fn $out(from: *const u8, to: *mut u8, len: usize) -> bool {
            let mut fault = 0;
            let mut at = 0;
            // SAFETY: `at` plus a block stays within `len` on both sides.
            unsafe {
                while at < len {
                    at = at.min(len - 4 * $width);
                    let block = $load_four(from.add(at), &mut fault);
                    if fault != 0 {
                        return false;
                    }
                    for (index, vector) in block.into_iter().enumerate() {
                        $give(to.add(at + index * $width), vector);
                    }
                    at += 4 * $width;
                }
            }
            true
        }

        /// # Safety
        /// As for plain stores; `from` must be private memory of at least `len` bytes, at least four vectors.
        $(#[$attribute])*
        pub(super) unsafe fn $into(to: *mut u8, from: *const u8, len: usize) -> bool {
            let mut fault = 0;
            let mut at = 0;
            // SAFETY: `at` plus a block stays within `len` on both sides.
            unsafe {
                while at < len {
                    at = at.min(len - 4 * $width);
                    let block = [0, 1, 2, 3].map(|index| $take(from.add(at + index * $width)));
                    $store_four(to.add(at), block, &mut fault);
                    if fault != 0 {
                        return false;
                    }
                    at += 4 * $width;
                }
            }
            true
        }
    };
}

bulk!(
    #[inline(never)]
    16,
    load_quad,
    store_quad,
    take_narrow,
    give_narrow,
    copy_out_narrow,
    copy_in_narrow
);
bulk!(
    #[target_feature(enable = "avx")]
    32,
    load_quad_wide,
    store_quad_wide,
    take_wide,
    give_wide,
    copy_out_wide,
    copy_in_wide
);
