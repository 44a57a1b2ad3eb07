//! Copies of more than 64 bytes, by the widest vectors that the processor has.

#![allow(unsafe_code, reason = "the instructions themselves")]

use std::arch::asm;
use std::is_x86_feature_detected;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::vectors::{copy_in_narrow, copy_in_wide, copy_out_narrow, copy_out_wide};

/// Bytes a turn of the widest loop.
const TURN: usize = 512;

/// Bytes that 64-byte vectors copy without a loop: none where they are not to be used. Found out by
/// the first copy that goes without them, so that those with them ask nothing that might be a call.
static DIRECT: AtomicUsize = AtomicUsize::new(0);

/// Whether the processor's own copy of strings is better where both sides outgrow its first cache.
static STRINGS: AtomicBool = AtomicBool::new(false);

/// Copies from here on may be string copies.
const STRING: usize = 24 << 10;

/// Processors with `avx512vbmi2` have 64-byte vectors that cost no clock rate. String copies need a
/// newer extension, known from processors on which they take three quarters of the time; on some
/// without it, they are slow where both sides lie alike in their pages.
#[cold]
fn look_for_widest() {
    if is_x86_feature_detected!("avx512vbmi2") {
        let strings = is_x86_feature_detected!("avx512vp2intersect");
        STRINGS.store(strings && is_x86_feature_detected!("ermsb"), Ordering::Relaxed);
        DIRECT.store(TURN, Ordering::Relaxed);
    }
}

/// # Safety
/// As for plain loads; `to` is private and has room for `len` bytes.
#[inline(always)]
unsafe fn string_out(from: *const u8, to: *mut u8, len: usize) -> bool {
    let mut fault = 0usize;
    // SAFETY: reads guarded memory through rsi only, where a fault ends the copy.
    unsafe {
        asm!(
            "2: rep movsb",
            mark!("1"),
            inout("rcx") len => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            out("r10") _,
            inout("r11") fault,
            options(nostack, preserves_flags)
        );
    }
    fault == 0
}

/// # Safety
/// As for plain stores; `from` is private and has `len` bytes.
#[inline(always)]
unsafe fn string_in(to: *mut u8, from: *const u8, len: usize) -> bool {
    let mut fault = 0usize;
    // SAFETY: writes guarded memory through rdi only, where a fault ends the copy.
    unsafe {
        asm!(
            "2: rep movsb",
            mark!("2"),
            inout("rcx") len => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            out("r10") _,
            inout("r11") fault,
            options(nostack, preserves_flags)
        );
    }
    fault == 0
}

/// Vector registers from 16 on need no `vzeroupper`. The compiler knows of them, and has to be told,
/// only where it may use them itself.
#[cfg(target_feature = "avx512f")]
macro_rules! with_upper_vectors {
    ($($operand:tt)*) => {
        asm!($($operand)* out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _,
            out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _,
            options(nostack))
    };
}
#[cfg(not(target_feature = "avx512f"))]
macro_rules! with_upper_vectors {
    ($($operand:tt)*) => {
        asm!($($operand)* options(nostack))
    };
}

/// Vectors that lie at the given places on both sides, loaded all before any is stored: they may
/// overlap, and nothing is written if one faulted. `last` counts from the start of both.
macro_rules! widest {
    ($out:ident, $in:ident, [$($vector:literal $place:literal),*]) => {
        /// # Safety
        /// As for plain loads; `to` is private and has the room; the processor has the widest
        /// vectors.
        #[inline(always)]
        unsafe fn $out(from: *const u8, to: *mut u8, last: usize, fault: &mut usize) {
            // SAFETY: the loads go through r10 only, and a fault in them is recovered in place.
            unsafe {
                with_upper_vectors!(
                    "2:",
                    $(concat!("vmovdqu64 zmm", $vector, ", [r10", $place, "]"),)*
                    mark!(),
                    "test r11, r11",
                    "jnz 4f",
                    $(concat!("vmovdqu64 [{to}", $place, "], zmm", $vector),)*
                    "4:",
                    to = in(reg) to,
                    last = in(reg) last,
                    inout("r10") from => _,
                    inout("r11") *fault,
                );
            }
        }

        /// # Safety
        /// As for plain stores; `from` is private and has the bytes; the processor has the widest
        /// vectors.
        #[inline(always)]
        unsafe fn $in(to: *mut u8, from: *const u8, last: usize, fault: &mut usize) {
            // SAFETY: the stores go through r10 only, and a fault in them is recovered in place.
            unsafe {
                with_upper_vectors!(
                    $(concat!("vmovdqu64 zmm", $vector, ", [{from}", $place, "]"),)*
                    "2:",
                    $(concat!("vmovdqu64 [r10", $place, "], zmm", $vector),)*
                    mark!(),
                    from = in(reg) from,
                    last = in(reg) last,
                    inout("r10") to => _,
                    inout("r11") *fault,
                );
            }
        }
    };
}

widest!(pair_out, pair_in, [16 "", 17 " + {last}"]);
widest!(ends_out, ends_in, [16 "", 17 " + 64", 18 " + {last}", 19 " + {last} + 64"]);
widest!(
    halves_out, halves_in,
    [16 "", 17 " + 64", 18 " + 128", 19 " + 192",
     20 " + {last}", 21 " + {last} + 64", 22 " + {last} + 128", 23 " + {last} + 192"]
);

/// By as few accesses as possible: up to 512 bytes by vectors that overlap in the middle, more by
/// turns of which the last overlaps the one before it.
macro_rules! by_widest {
    ($short:ident, $long:ident, $a:ty, $b:ty, $pair:ident, $ends:ident, $halves:ident) => {
        /// More than 64 bytes, and at most a turn.
        ///
        /// # Safety
        /// As for the copies below; the processor has the widest vectors.
        #[inline(always)]
        unsafe fn $short(a: $a, b: $b, len: usize) -> bool {
            let mut fault = 0;
            // SAFETY: no vector ends behind `len`.
            unsafe {
                if len > 256 {
                    $halves(a, b, len - 256, &mut fault);
                } else if len > 128 {
                    $ends(a, b, len - 128, &mut fault);
                } else {
                    $pair(a, b, len - 64, &mut fault);
                }
            }
            fault == 0
        }

        /// At least a turn.
        ///
        /// # Safety
        /// As for the copies below; the processor has the widest vectors.
        #[inline(always)]
        unsafe fn $long(a: $a, b: $b, len: usize) -> bool {
            let (mut fault, mut done) = (0, 0);
            // SAFETY: no vector ends behind `len`.
            unsafe {
                while len - done >= TURN {
                    $halves(a.add(done), b.add(done), 256, &mut fault);
                    if fault != 0 {
                        return false;
                    }
                    done += TURN;
                }
                if done < len {
                    let back = len - TURN;
                    $halves(a.add(back), b.add(back), 256, &mut fault);
                }
            }
            fault == 0
        }
    };
}

by_widest!(short_out, long_out, *const u8, *mut u8, pair_out, ends_out, halves_out);
by_widest!(short_in, long_in, *mut u8, *const u8, pair_in, ends_in, halves_in);

/// Keeps the short copies in a straight line.
#[cold]
fn not_directly() {}

/// Copies more than 64 bytes out of guarded memory if a few instructions do it; `false` if not, or
/// if anything faulted.
///
/// # Safety
/// As for plain loads; `to` is private and has room for `len` bytes.
#[inline(always)]
pub(crate) unsafe fn copy_out_directly(from: *const u8, to: *mut u8, len: usize) -> bool {
    // SAFETY: passed on; the processor has the vectors.
    unsafe {
        if len > DIRECT.load(Ordering::Relaxed) {
            not_directly();
            return false;
        }
        short_out(from, to, len)
    }
}

/// Copies more than 64 bytes into guarded memory if a few instructions do it; `false` if not, or if
/// anything faulted.
///
/// # Safety
/// As for plain stores; `from` is private and has `len` bytes.
#[inline(always)]
pub(crate) unsafe fn copy_in_directly(to: *mut u8, from: *const u8, len: usize) -> bool {
    // SAFETY: passed on; the processor has the vectors.
    unsafe {
        if len > DIRECT.load(Ordering::Relaxed) {
            not_directly();
            return false;
        }
        short_in(to, from, len)
    }
}

/// Copies more than 64 bytes out of guarded memory by the best that the processor has; `false` if
/// that is nothing special, or if anything faulted.
///
/// # Safety
/// As for plain loads; `to` is private and has room for `len` bytes.
#[inline(always)]
pub(crate) unsafe fn copy_out_widest(from: *const u8, to: *mut u8, len: usize) -> bool {
    // SAFETY: passed on; the processor has the vectors.
    unsafe {
        if len >= STRING && STRINGS.load(Ordering::Relaxed) {
            return string_out(from, to, len);
        }
        match DIRECT.load(Ordering::Relaxed) {
            0 => false,
            direct if len <= direct => short_out(from, to, len),
            _ => long_out(from, to, len),
        }
    }
}

/// Copies more than 64 bytes into guarded memory by the best that the processor has; `false` if
/// that is nothing special, or if anything faulted.
///
/// # Safety
/// As for plain stores; `from` is private and has `len` bytes.
#[inline(always)]
pub(crate) unsafe fn copy_in_widest(to: *mut u8, from: *const u8, len: usize) -> bool {
    // SAFETY: passed on; the processor has the vectors.
    unsafe {
        if len >= STRING && STRINGS.load(Ordering::Relaxed) {
            return string_in(to, from, len);
        }
        match DIRECT.load(Ordering::Relaxed) {
            0 => false,
            direct if len <= direct => short_in(to, from, len),
            _ => long_in(to, from, len),
        }
    }
}

/// Copies more than 64 bytes out of guarded memory; `false` if anything faulted, wherever.
///
/// # Safety
/// As for plain loads; `to` is private and has room for `len` bytes.
pub(crate) unsafe fn copy_out(from: *const u8, to: *mut u8, len: usize) -> bool {
    look_for_widest();
    // SAFETY: passed on; the wide form runs where the processor has it.
    unsafe {
        if is_x86_feature_detected!("avx") && len >= 128 {
            copy_out_wide(from, to, len)
        } else {
            copy_out_narrow(from, to, len)
        }
    }
}

/// Copies more than 64 bytes into guarded memory; `false` if anything faulted, wherever.
///
/// # Safety
/// As for plain stores; `from` is private and has `len` bytes.
pub(crate) unsafe fn copy_in(to: *mut u8, from: *const u8, len: usize) -> bool {
    look_for_widest();
    // SAFETY: passed on; the wide form runs where the processor has it.
    unsafe {
        if is_x86_feature_detected!("avx") && len >= 128 {
            copy_in_wide(to, from, len)
        } else {
            copy_in_narrow(to, from, len)
        }
    }
}
