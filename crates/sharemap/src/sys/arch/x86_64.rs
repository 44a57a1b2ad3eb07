//! x86-64: address in `r10`, flag in `r11`, marker `mov r10d, imm32`.
//!
//! Loads of plain data are `readonly`: they are no compiler barrier. Whatever may be used as an
//! acquire or a release has no such option. None is `pure`: two loads may see two values.

#![allow(unsafe_code, reason = "the instructions themselves")]

use std::arch::asm;
use std::arch::x86_64::{
    __m128i, __m256i, _mm_loadu_si128, _mm_storeu_si128, _mm256_loadu_si256, _mm256_storeu_si256,
};

use super::LOOK_AHEAD;

/// Whether this architecture has recoverable accesses.
pub(crate) const AVAILABLE: bool = true;

/// The end of a site that began at the label `2`.
macro_rules! mark {
    () => {
        concat!(
            "3:\n",
            ".if (3b - 2b) > 58\n .error \"site longer than the look-ahead\"\n .endif\n",
            ".byte 0x41, 0xba, 3b - 2b, 0, 0xc7, 0x5a"
        )
    };
}

macro_rules! plain {
    ($load:ident, $store:ident, $int:ty, $class:ident, $form:literal) => {
        /// # Safety
        /// The bytes at `address` may be unmapped, but are not Rust's own.
        #[inline(always)]
        pub(crate) unsafe fn $load(address: *const u8, fault: &mut usize) -> $int {
            let value: $int;
            // SAFETY: a load through r10 only; a fault is recovered in place.
            unsafe {
                asm!(
                    concat!("2: mov {value", $form, "}, [r10]"),
                    mark!(),
                    value = lateout($class) value,
                    inout("r10") address => _,
                    inout("r11") *fault,
                    options(nostack, preserves_flags, readonly)
                );
            }
            value
        }

        /// # Safety
        /// The bytes at `address` may be unmapped, but are not Rust's own.
        #[inline(always)]
        pub(crate) unsafe fn $store(address: *mut u8, value: $int, fault: &mut usize) {
            // SAFETY: a store through r10 only; a fault is recovered in place.
            unsafe {
                asm!(
                    concat!("2: mov [r10], {value", $form, "}"),
                    mark!(),
                    value = in($class) value,
                    inout("r10") address => _,
                    inout("r11") *fault,
                    options(nostack, preserves_flags)
                );
            }
        }
    };
}

plain!(load_8, store_8, u8, reg_byte, "");
plain!(load_16, store_16, u16, reg, ":x");
plain!(load_32, store_32, u32, reg, ":e");
plain!(load_64, store_64, u64, reg, ":r");

/// Atomic operations on an aligned word. Loads acquire and stores release; the others are
/// sequentially consistent. Results mean nothing where the fault flag is set.
macro_rules! atomics {
    ($int:ty, $form:literal, $accumulator:tt,
     $load:ident, $store:ident, $swap:ident, $compare_exchange:ident, $fetch_add:ident) => {
        /// # Safety
        /// As for plain loads; `address` is aligned.
        #[inline(always)]
        pub(crate) unsafe fn $load(address: *const u8, fault: &mut usize) -> $int {
            let value: $int;
            // SAFETY: a load through r10 only; a fault is recovered in place.
            unsafe {
                asm!(
                    concat!("2: mov {value", $form, "}, [r10]"),
                    mark!(),
                    value = lateout(reg) value,
                    inout("r10") address => _,
                    inout("r11") *fault,
                    options(nostack, preserves_flags)
                );
            }
            value
        }

        /// # Safety
        /// As for plain stores; `address` is aligned.
        #[inline(always)]
        pub(crate) unsafe fn $store(address: *mut u8, value: $int, fault: &mut usize) {
            // SAFETY: a store through r10 only; a fault is recovered in place.
            unsafe {
                asm!(
                    concat!("2: mov [r10], {value", $form, "}"),
                    mark!(),
                    value = in(reg) value,
                    inout("r10") address => _,
                    inout("r11") *fault,
                    options(nostack, preserves_flags)
                );
            }
        }

        /// # Safety
        /// As for plain stores; `address` is aligned.
        #[inline(always)]
        pub(crate) unsafe fn $swap(address: *mut u8, value: $int, fault: &mut usize) -> $int {
            let previous: $int;
            // SAFETY: an exchange through r10 only; a fault is recovered in place.
            unsafe {
                asm!(
                    concat!("2: xchg [r10], {value", $form, "}"),
                    mark!(),
                    value = inout(reg) value => previous,
                    inout("r10") address => _,
                    inout("r11") *fault,
                    options(nostack, preserves_flags)
                );
            }
            previous
        }

        /// Gives what was there; it was replaced if that equals `current`.
        ///
        /// # Safety
        /// As for plain stores; `address` is aligned.
        #[inline(always)]
        pub(crate) unsafe fn $compare_exchange(
            address: *mut u8,
            current: $int,
            new: $int,
            fault: &mut usize,
        ) -> $int {
            let previous: $int;
            // SAFETY: a compare-exchange through r10 only; a fault is recovered in place, before
            // the accumulator changes.
            unsafe {
                asm!(
                    concat!("2: lock cmpxchg [r10], {new", $form, "}"),
                    mark!(),
                    new = in(reg) new,
                    inout($accumulator) current => previous,
                    inout("r10") address => _,
                    inout("r11") *fault,
                    options(nostack)
                );
            }
            previous
        }

        /// # Safety
        /// As for plain stores; `address` is aligned.
        #[inline(always)]
        pub(crate) unsafe fn $fetch_add(address: *mut u8, value: $int, fault: &mut usize) -> $int {
            let previous: $int;
            // SAFETY: an exchange-add through r10 only; a fault is recovered in place.
            unsafe {
                asm!(
                    concat!("2: lock xadd [r10], {value", $form, "}"),
                    mark!(),
                    value = inout(reg) value => previous,
                    inout("r10") address => _,
                    inout("r11") *fault,
                    options(nostack)
                );
            }
            previous
        }
    };
}

atomics!(
    u32, ":e", "eax",
    atomic_load_32, atomic_store_32, atomic_swap_32, atomic_compare_exchange_32, atomic_fetch_add_32
);
atomics!(
    u64, ":r", "rax",
    atomic_load_64, atomic_store_64, atomic_swap_64, atomic_compare_exchange_64, atomic_fetch_add_64
);

/// Four vectors at a time, and one.
macro_rules! vectors {
    ($(#[$attribute:meta])* $vector:ty, $class:ident, $move:literal, $width:literal,
     $get:ident, $put:ident,
     $load:ident, $store:ident, $load_one:ident, $store_one:ident, $take:ident, $give:ident) => {
        /// Loads four vectors that lie one behind the other.
        ///
        /// # Safety
        /// As for plain loads.
        $(#[$attribute])*
        pub(crate) unsafe fn $load(address: *const u8, fault: &mut usize) -> [$vector; 4] {
            let (a, b, c, d): ($vector, $vector, $vector, $vector);
            // SAFETY: loads through r10 only; a fault is recovered in place.
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

        /// Stores four vectors one behind the other, in order.
        ///
        /// # Safety
        /// As for plain stores.
        $(#[$attribute])*
        pub(crate) unsafe fn $store(address: *mut u8, values: [$vector; 4], fault: &mut usize) {
            let [a, b, c, d] = values;
            // SAFETY: stores through r10 only; a fault is recovered in place.
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

        /// # Safety
        /// As for plain loads.
        $(#[$attribute])*
        pub(crate) unsafe fn $load_one(address: *const u8, fault: &mut usize) -> $vector {
            let value: $vector;
            // SAFETY: a load through r10 only; a fault is recovered in place.
            unsafe {
                asm!(
                    concat!("2: ", $move, " {value}, [r10]"),
                    mark!(),
                    value = out($class) value,
                    inout("r10") address => _,
                    inout("r11") *fault,
                    options(nostack, preserves_flags, readonly)
                );
            }
            value
        }

        /// # Safety
        /// As for plain stores.
        $(#[$attribute])*
        pub(crate) unsafe fn $store_one(address: *mut u8, value: $vector, fault: &mut usize) {
            // SAFETY: a store through r10 only; a fault is recovered in place.
            unsafe {
                asm!(
                    concat!("2: ", $move, " [r10], {value}"),
                    mark!(),
                    value = in($class) value,
                    inout("r10") address => _,
                    inout("r11") *fault,
                    options(nostack, preserves_flags)
                );
            }
        }

        /// Reads a vector from private memory.
        ///
        /// # Safety
        /// `from` has as many bytes.
        $(#[$attribute])*
        pub(crate) unsafe fn $take(from: *const u8) -> $vector {
            // SAFETY: the caller has the bytes; the load is an unaligned one.
            unsafe { $get(from.cast()) }
        }

        /// Writes a vector to private memory.
        ///
        /// # Safety
        /// `to` has room for as many bytes.
        $(#[$attribute])*
        pub(crate) unsafe fn $give(to: *mut u8, value: $vector) {
            // SAFETY: the caller has the room; the store is an unaligned one.
            unsafe { $put(to.cast(), value) }
        }
    };
}

vectors!(
    #[inline(always)]
    __m128i, xmm_reg, "movdqu", "16", _mm_loadu_si128, _mm_storeu_si128,
    load_quad, store_quad, load_narrow, store_narrow, take_narrow, give_narrow
);
vectors!(
    #[inline]
    #[target_feature(enable = "avx")]
    __m256i, ymm_reg, "vmovdqu", "32", _mm256_loadu_si256, _mm256_storeu_si256,
    load_quad_wide, store_quad_wide, load_wide, store_wide, take_wide, give_wide
);

/// 16 bytes.
pub(crate) type Narrow = __m128i;

/// What one site moves: four vectors of the width that the target surely has.
#[cfg(not(target_feature = "avx"))]
pub(crate) type Block = [__m128i; 4];
#[cfg(target_feature = "avx")]
pub(crate) type Block = [__m256i; 4];

/// # Safety
/// As for plain loads.
#[inline(always)]
pub(crate) unsafe fn load_block(address: *const u8, fault: &mut usize) -> Block {
    // SAFETY: passed on.
    unsafe {
        #[cfg(not(target_feature = "avx"))]
        return load_quad(address, fault);
        #[cfg(target_feature = "avx")]
        return load_quad_wide(address, fault);
    }
}

/// Writes a block to private memory.
///
/// # Safety
/// `to` has room for it.
#[inline(always)]
pub(crate) unsafe fn give_block(to: *mut u8, block: Block) {
    // SAFETY: a block's worth of bytes, unaligned.
    unsafe { to.cast::<Block>().write_unaligned(block) }
}

/// Loops over whole blocks; they end at the first block that faults and give the bytes before it.
macro_rules! bulk {
    ($(#[$attribute:meta])* $width:literal, $load_four:ident, $store_four:ident, $take:ident,
     $give:ident, $out:ident, $into:ident) => {
        /// # Safety
        /// As for plain loads; `to` is private and has room for `len` bytes.
        $(#[$attribute])*
        unsafe fn $out(from: *const u8, to: *mut u8, len: usize) -> usize {
            let mut fault = 0;
            let mut done = 0;
            // SAFETY: `done` stays within `len` on both sides.
            unsafe {
                while len - done >= 4 * $width {
                    let block = $load_four(from.add(done), &mut fault);
                    if fault != 0 {
                        break;
                    }
                    for (index, vector) in block.into_iter().enumerate() {
                        $give(to.add(done + index * $width), vector);
                    }
                    done += 4 * $width;
                }
            }
            done
        }

        /// # Safety
        /// As for plain stores; `from` is private and has `len` bytes.
        $(#[$attribute])*
        unsafe fn $into(to: *mut u8, from: *const u8, len: usize) -> usize {
            let mut fault = 0;
            let mut done = 0;
            // SAFETY: `done` stays within `len` on both sides.
            unsafe {
                while len - done >= 4 * $width {
                    let at = from.add(done);
                    let block = [$take(at), $take(at.add($width)), $take(at.add(2 * $width)), $take(at.add(3 * $width))];
                    $store_four(to.add(done), block, &mut fault);
                    if fault != 0 {
                        break;
                    }
                    done += 4 * $width;
                }
            }
            done
        }
    };
}

bulk!(
    #[inline]
    16, load_quad, store_quad, take_narrow, give_narrow,
    copy_out_narrow, copy_in_narrow
);
bulk!(
    #[target_feature(enable = "avx")]
    32, load_quad_wide, store_quad_wide, take_wide, give_wide,
    copy_out_wide, copy_in_wide
);

/// Copies whole blocks out of guarded memory, up to the first that faults; gives the bytes copied.
///
/// # Safety
/// As for plain loads; `to` is private and has room for `len` bytes.
#[inline]
pub(crate) unsafe fn copy_blocks_out(from: *const u8, to: *mut u8, len: usize) -> usize {
    // SAFETY: passed on; the wide form runs where the processor has it.
    unsafe {
        if std::is_x86_feature_detected!("avx") {
            copy_out_wide(from, to, len)
        } else {
            copy_out_narrow(from, to, len)
        }
    }
}

/// Copies whole blocks into guarded memory, up to the first that faults; gives the bytes copied.
///
/// # Safety
/// As for plain stores; `from` is private and has `len` bytes.
#[inline]
pub(crate) unsafe fn copy_blocks_in(to: *mut u8, from: *const u8, len: usize) -> usize {
    // SAFETY: passed on; the wide form runs where the processor has it.
    unsafe {
        if std::is_x86_feature_detected!("avx") {
            copy_in_wide(to, from, len)
        } else {
            copy_in_narrow(to, from, len)
        }
    }
}

/// The kind of the site that covers `pc`, if one does. `readable` tells whether the eight bytes
/// around an address can be read; it is asked where the search crosses into another page.
///
/// Runs in a signal handler on a small stack: no calls that need frames, no panics. A debugger may
/// have replaced the marker's first byte by a breakpoint.
///
/// # Safety
/// The byte at `pc` is code that was being executed.
#[inline(always)]
pub(crate) unsafe fn site_kind(pc: usize, readable: impl Fn(usize) -> bool) -> Option<u8> {
    let mut ahead = 0;
    while ahead < LOOK_AHEAD {
        let at = pc.wrapping_add(ahead);
        if at & 0xfff > 0xff8 && !readable(at.wrapping_add(7)) {
            return None;
        }
        let code: u64;
        // SAFETY: eight bytes of the page of `pc`, or of the next one, which was probed.
        unsafe {
            asm!("mov {code}, [{at}]", code = lateout(reg) code, at = in(reg) at,
                options(nostack, preserves_flags, readonly));
        }
        let first = code & 0xff;
        if code & 0xffff_0000_ff00 == 0x5ac7_0000_ba00 && (first == 0x41 || first == 0xcc) {
            let length = (code >> 16 & 0xff) as usize;
            if ahead <= length {
                return Some((code >> 24) as u8);
            }
        }
        ahead = ahead.wrapping_add(1);
    }
    None
}
