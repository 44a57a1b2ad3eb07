//! Loads of blocks of vectors, and the choice of the vectors for a scan.

#![allow(unsafe_code, reason = "the instructions themselves")]

use std::arch::asm;
#[cfg(not(target_feature = "avx"))]
use std::arch::x86_64::__m128i;
use std::arch::x86_64::__m256i;
#[cfg(target_feature = "avx512f")]
use std::arch::x86_64::__m512i;

#[cfg(not(target_feature = "avx"))]
use super::vectors::load_quad;
use super::vectors::load_quad_wide;
use crate::sys::arch::{Scan, Vectors, in_reach};

/// Runs a scan, by the vectors of AVX2 if this processor has them.
///
/// A program compiled for AVX2 or more has the choice made by the compiler.
#[inline(always)]
pub(crate) fn scan<S: Scan>(scan: S) -> S::Output {
    if cfg!(not(target_feature = "avx2")) && std::is_x86_feature_detected!("avx2") {
        // SAFETY: this processor has the vectors.
        return unsafe { scan_wide(scan) };
    }
    // SAFETY: every processor of the target has these vectors.
    unsafe { scan.run::<Baseline>() }
}

/// Runs a scan by the vectors of AVX2. What is inlined here is compiled for AVX2, too.
///
/// # Safety
/// The processor must have AVX2.
#[inline(never)]
#[target_feature(enable = "avx2")]
unsafe fn scan_wide<S: Scan>(scan: S) -> S::Output {
    // SAFETY: as promised by the caller.
    unsafe { scan.run::<Wide>() }
}

/// The widest vectors that every processor of the target has.
pub(crate) struct Baseline;

#[cfg(not(target_feature = "avx"))]
impl Vectors for Baseline {
    type Block = [__m128i; 8];
    type Half = [__m128i; 4];

    #[inline(always)]
    unsafe fn load_block(address: *const u8, fault: &mut usize) -> Self::Block {
        // SAFETY: as promised by the caller.
        unsafe { load_eight(address, fault) }
    }

    #[inline(always)]
    unsafe fn load_half(address: *const u8, fault: &mut usize) -> Self::Half {
        // SAFETY: as promised by the caller.
        unsafe { load_quad(address, fault) }
    }
}

#[cfg(target_feature = "avx")]
impl Vectors for Baseline {
    #[cfg(not(target_feature = "avx512f"))]
    type Block = [__m256i; 8];
    #[cfg(target_feature = "avx512f")]
    type Block = [__m512i; 4];
    type Half = [__m256i; 4];

    #[inline(always)]
    unsafe fn load_block(address: *const u8, fault: &mut usize) -> Self::Block {
        // SAFETY: as promised by the caller; the target has the vectors.
        unsafe {
            #[cfg(not(target_feature = "avx512f"))]
            return load_eight_wide(address, fault);
            #[cfg(target_feature = "avx512f")]
            return load_quad_widest(address, fault);
        }
    }

    #[inline(always)]
    unsafe fn load_half(address: *const u8, fault: &mut usize) -> Self::Half {
        // SAFETY: as promised by the caller; the target has the vectors.
        unsafe { load_quad_wide(address, fault) }
    }
}

/// Vectors of 32 bytes.
struct Wide;

impl Vectors for Wide {
    type Block = [__m256i; 8];
    type Half = [__m256i; 4];

    #[inline(always)]
    unsafe fn load_block(address: *const u8, fault: &mut usize) -> Self::Block {
        // SAFETY: as promised by the caller, who has made sure of the vectors.
        unsafe { load_eight_wide(address, fault) }
    }

    #[inline(always)]
    unsafe fn load_half(address: *const u8, fault: &mut usize) -> Self::Half {
        // SAFETY: as promised by the caller, who has made sure of the vectors.
        unsafe { load_quad_wide(address, fault) }
    }
}

/// Defines a load of eight consecutive vectors by one site.
///
/// The address register points at the fifth of them, so that all displacements fit into a byte.
macro_rules! eight {
    ($(#[$attribute:meta])* $vector:ty, $class:ident, $move:literal, $width:literal, $load:ident) => {
        /// Loads eight consecutive vectors.
        ///
        /// # Safety
        /// As for plain loads; the processor must have the vectors.
        $(#[$attribute])*
        pub(super) unsafe fn $load(address: *const u8, fault: &mut usize) -> [$vector; 8] {
            const { assert!(in_reach(-4 * $width, 4 * $width)) }
            let (a, b, c, d): ($vector, $vector, $vector, $vector);
            let (e, f, g, h): ($vector, $vector, $vector, $vector);
            // SAFETY: all loads go through r10; a fault is recovered in place.
            unsafe {
                asm!(
                    concat!("2: ", $move, " {a}, [r10 - 4 * ", $width, "]"),
                    concat!($move, " {b}, [r10 - 3 * ", $width, "]"),
                    concat!($move, " {c}, [r10 - 2 * ", $width, "]"),
                    concat!($move, " {d}, [r10 - ", $width, "]"),
                    concat!($move, " {e}, [r10]"),
                    concat!($move, " {f}, [r10 + ", $width, "]"),
                    concat!($move, " {g}, [r10 + 2 * ", $width, "]"),
                    concat!($move, " {h}, [r10 + 3 * ", $width, "]"),
                    mark!(),
                    a = out($class) a, b = out($class) b, c = out($class) c, d = out($class) d,
                    e = out($class) e, f = out($class) f, g = out($class) g, h = out($class) h,
                    inout("r10") address.wrapping_add(4 * $width) => _,
                    inout("r11") *fault,
                    options(nostack, preserves_flags, readonly)
                );
            }
            [a, b, c, d, e, f, g, h]
        }
    };
}

#[cfg(not(target_feature = "avx"))]
eight!(
    #[inline(always)]
    __m128i,
    xmm_reg,
    "movdqu",
    16,
    load_eight
);
eight!(
    #[inline]
    #[target_feature(enable = "avx")]
    __m256i,
    ymm_reg,
    "vmovdqu",
    32,
    load_eight_wide
);

/// Loads four consecutive vectors of 64 bytes.
///
/// # Safety
/// As for plain loads.
#[cfg(target_feature = "avx512f")]
#[inline(always)]
unsafe fn load_quad_widest(address: *const u8, fault: &mut usize) -> [__m512i; 4] {
    const { assert!(in_reach(0, 4 * 64)) }
    let (a, b, c, d): (__m512i, __m512i, __m512i, __m512i);
    // SAFETY: all loads go through r10; a fault is recovered in place.
    unsafe {
        asm!(
            "2: vmovdqu64 {a}, [r10]",
            "vmovdqu64 {b}, [r10 + 64]",
            "vmovdqu64 {c}, [r10 + 128]",
            "vmovdqu64 {d}, [r10 + 192]",
            mark!(),
            a = out(zmm_reg) a, b = out(zmm_reg) b, c = out(zmm_reg) c, d = out(zmm_reg) d,
            inout("r10") address => _,
            inout("r11") *fault,
            options(nostack, preserves_flags, readonly)
        );
    }
    [a, b, c, d]
}
