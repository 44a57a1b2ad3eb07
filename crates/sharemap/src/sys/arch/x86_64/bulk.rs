//! Copies more than 64 bytes, by the widest vectors that the processor has.

#![allow(unsafe_code, reason = "the instructions themselves")]

use std::arch::asm;
use std::is_x86_feature_detected;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::vectors::{copy_in_narrow, copy_in_wide, copy_out_narrow, copy_out_wide};

/// The number of bytes that one turn of the widest loop copies.
const TURN: usize = 512;

/// The largest number of bytes that 64-byte vectors copy without a loop; 0 if they must not be used.
///
/// The first copy without these vectors detects the processor. Copies with them therefore need no detection,
/// which may be a call.
static DIRECT: AtomicUsize = AtomicUsize::new(0);

/// `true` if string copies (`rep movsb`) are faster than vectors for more than the first-level cache holds.
static STRINGS: AtomicBool = AtomicBool::new(false);

/// Copies of at least this many bytes may be string copies.
const STRING: usize = 24 << 10;

/// Detects the processor, and sets [`DIRECT`] and [`STRINGS`].
///
/// Processors with `avx512vbmi2` use 64-byte vectors without a lower clock rate. String copies require one of two
/// newer extensions: on processors with them, they take 0.75 to 0.95 of the time of vectors. On some processors
/// without them, they are slow if both sides have the same offset in their pages.
#[cold]
fn look_for_widest() {
    if is_x86_feature_detected!("avx512vbmi2") {
        let strings = is_x86_feature_detected!("avx512vp2intersect")
            || is_x86_feature_detected!("avx512fp16");
        STRINGS.store(strings && is_x86_feature_detected!("ermsb"), Ordering::Relaxed);
        DIRECT.store(TURN, Ordering::Relaxed);
    }
}

/// Copies out of guarded memory by one string copy. Returns `false` if it faulted.
///
/// # Safety
/// As for plain loads; `to` must be private memory of at least `len` bytes.
#[inline(always)]
unsafe fn string_out(from: *const u8, to: *mut u8, len: usize) -> bool {
    let mut fault = 0usize;
    // SAFETY: guarded memory is read only through rsi, and a fault there ends the copy.
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

/// Copies into guarded memory by one string copy. Returns `false` if it faulted.
///
/// # Safety
/// As for plain stores; `from` must be private memory of at least `len` bytes.
#[inline(always)]
unsafe fn string_in(to: *mut u8, from: *const u8, len: usize) -> bool {
    let mut fault = 0usize;
    // SAFETY: guarded memory is written only through rdi, and a fault there ends the copy.
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

/// Runs assembly that uses vector registers from 16 on, which need no `vzeroupper`.
///
/// They are declared as clobbered only if the compiler may use them itself. Otherwise it does not know them.
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

/// Defines copies of the vectors at the given offsets of both sides. `last` is an offset in both.
///
/// All vectors are loaded before any is stored, so they may overlap, and a copy out of guarded memory writes
/// nothing if a load faulted.
macro_rules! widest {
    ($out:ident, $in:ident, [$($vector:literal $place:literal),*]) => {
        /// # Safety
        /// As for plain loads; `to` must be private memory with room for the vectors, and the processor must
        /// have the widest vectors.
        #[inline(always)]
        unsafe fn $out(from: *const u8, to: *mut u8, last: usize, fault: &mut usize) {
            // SAFETY: all guarded loads go through r10; a fault is recovered in place.
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
        /// As for plain stores; `from` must be private memory with the bytes of the vectors, and the
        /// processor must have the widest vectors.
        #[inline(always)]
        unsafe fn $in(to: *mut u8, from: *const u8, last: usize, fault: &mut usize) {
            // SAFETY: all guarded stores go through r10; a fault is recovered in place.
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

/// Defines copies by as few accesses as possible: of up to 512 bytes, by vectors that overlap in the middle,
/// and of more, by turns, the last of which overlaps the previous one.
macro_rules! by_widest {
    ($short:ident, $long:ident, $a:ty, $b:ty, $pair:ident, $ends:ident, $halves:ident) => {
        /// Copies more than 64 bytes, and at most one turn. Returns `false` if any access faulted.
        ///
        /// # Safety
        /// As for the copies below; the processor must have the widest vectors.
        #[inline(always)]
        unsafe fn $short(a: $a, b: $b, len: usize) -> bool {
            let mut fault = 0;
            // SAFETY: every vector lies within `len` bytes.
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

        /// Copies more than one turn, of which the first `lead` bytes by themselves, at most 64. Returns
        /// `false` if any access faulted.
        ///
        /// # Safety
        /// As for the copies below; the processor must have the widest vectors.
        #[inline(always)]
        unsafe fn $long(a: $a, b: $b, len: usize, lead: usize) -> bool {
            let (mut fault, mut done) = (0, lead);
            // SAFETY: every vector lies within `len` bytes.
            unsafe {
                $pair(a, b, 0, &mut fault);
                if fault != 0 {
                    return false;
                }
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

/// Returns the number of bytes before the next cache line, 1 to 64. If the turns begin there in the destination,
/// none of their stores crosses two lines, and copies of some KiB take 0.7 of the time.
#[inline(always)]
fn to_next_line(destination: *const u8) -> usize {
    64 - destination as usize % 64
}

by_widest!(short_out, long_out, *const u8, *mut u8, pair_out, ends_out, halves_out);
by_widest!(short_in, long_in, *mut u8, *const u8, pair_in, ends_in, halves_in);

/// Marks a branch as cold, so that short copies are straight-line code.
#[cold]
fn not_directly() {}

/// Copies more than 64 bytes out of guarded memory by a few instructions. Returns `false` if that is not
/// possible, or if any access faulted.
///
/// # Safety
/// As for plain loads; `to` must be private memory of at least `len` bytes.
#[inline(always)]
pub(crate) unsafe fn copy_out_directly(from: *const u8, to: *mut u8, len: usize) -> bool {
    // SAFETY: as promised by the caller; the processor has the vectors.
    unsafe {
        if len > DIRECT.load(Ordering::Relaxed) {
            not_directly();
            return false;
        }
        short_out(from, to, len)
    }
}

/// Copies more than 64 bytes into guarded memory by a few instructions. Returns `false` if that is not
/// possible, or if any access faulted.
///
/// # Safety
/// As for plain stores; `from` must be private memory of at least `len` bytes.
#[inline(always)]
pub(crate) unsafe fn copy_in_directly(to: *mut u8, from: *const u8, len: usize) -> bool {
    // SAFETY: as promised by the caller; the processor has the vectors.
    unsafe {
        if len > DIRECT.load(Ordering::Relaxed) {
            not_directly();
            return false;
        }
        short_in(to, from, len)
    }
}

/// Copies more than 64 bytes out of guarded memory by string copies or the widest vectors. Returns `false` if
/// the processor has no better method than [`copy_out`], or if any access faulted.
///
/// # Safety
/// As for plain loads; `to` must be private memory of at least `len` bytes.
#[inline(always)]
pub(crate) unsafe fn copy_out_widest(from: *const u8, to: *mut u8, len: usize) -> bool {
    // SAFETY: as promised by the caller; the processor has the vectors.
    unsafe {
        if len >= STRING && STRINGS.load(Ordering::Relaxed) {
            return string_out(from, to, len);
        }
        match DIRECT.load(Ordering::Relaxed) {
            0 => false,
            direct if len <= direct => short_out(from, to, len),
            _ => long_out(from, to, len, to_next_line(to)),
        }
    }
}

/// Copies more than 64 bytes into guarded memory by string copies or the widest vectors. Returns `false` if
/// the processor has no better method than [`copy_in`], or if any access faulted.
///
/// # Safety
/// As for plain stores; `from` must be private memory of at least `len` bytes.
#[inline(always)]
pub(crate) unsafe fn copy_in_widest(to: *mut u8, from: *const u8, len: usize) -> bool {
    // SAFETY: as promised by the caller; the processor has the vectors.
    unsafe {
        if len >= STRING && STRINGS.load(Ordering::Relaxed) {
            return string_in(to, from, len);
        }
        match DIRECT.load(Ordering::Relaxed) {
            0 => false,
            direct if len <= direct => short_in(to, from, len),
            _ => long_in(to, from, len, to_next_line(to)),
        }
    }
}

/// Copies more than 64 bytes out of guarded memory. Returns `false` if any access faulted.
///
/// # Safety
/// As for plain loads; `to` must be private memory of at least `len` bytes.
pub(crate) unsafe fn copy_out(from: *const u8, to: *mut u8, len: usize) -> bool {
    look_for_widest();
    // SAFETY: as promised by the caller; the wide form runs only if the processor has the vectors.
    unsafe {
        if is_x86_feature_detected!("avx") && len >= 128 {
            copy_out_wide(from, to, len)
        } else {
            copy_out_narrow(from, to, len)
        }
    }
}

/// Copies more than 64 bytes into guarded memory. Returns `false` if any access faulted.
///
/// # Safety
/// As for plain stores; `from` must be private memory of at least `len` bytes.
pub(crate) unsafe fn copy_in(to: *mut u8, from: *const u8, len: usize) -> bool {
    look_for_widest();
    // SAFETY: as promised by the caller; the wide form runs only if the processor has the vectors.
    unsafe {
        if is_x86_feature_detected!("avx") && len >= 128 {
            copy_in_wide(to, from, len)
        } else {
            copy_in_narrow(to, from, len)
        }
    }
}
