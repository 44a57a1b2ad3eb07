//! aarch64: address in `x10`, flag in `x9`, marker `movz w10, #0xd5c7` and `movz w10, #length`.
//!
//! Read-modify-write operations are LL/SC loops, which every aarch64 processor has; a fault in one
//! moves the loop to the scratch page, where it ends. Options as for x86-64: plain loads are
//! `readonly`, what may be an acquire or a release is a full compiler barrier.

#![allow(unsafe_code, reason = "the instructions themselves")]

use std::arch::aarch64::{uint8x16_t, vld1q_u8, vst1q_u8};
use std::arch::asm;

use super::LOOK_AHEAD;

/// Whether this architecture has recoverable accesses.
pub(crate) const AVAILABLE: bool = true;

/// The end of a site that began at the label `2`.
macro_rules! mark {
    () => {
        concat!(
            "3:\n",
            ".if (3b - 2b) > 56\n .error \"site longer than the look-ahead\"\n .endif\n",
            ".inst 0x529ab8ea\n",
            ".long 0x5280000a + ((3b - 2b) << 5)"
        )
    };
}

macro_rules! plain {
    ($load:ident, $store:ident, $int:ty, $ldr:literal, $str:literal) => {
        /// # Safety
        /// The bytes at `address` may be unmapped, but are not Rust's own.
        #[inline(always)]
        pub(crate) unsafe fn $load(address: *const u8, fault: &mut usize) -> $int {
            let value: $int;
            // SAFETY: a load through x10 only; a fault is recovered in place.
            unsafe {
                asm!(concat!("2: ", $ldr, ", [x10]"), mark!(), value = lateout(reg) value,
                    inout("x10") address => _, inout("x9") *fault,
                    options(nostack, preserves_flags, readonly));
            }
            value
        }

        /// # Safety
        /// The bytes at `address` may be unmapped, but are not Rust's own.
        #[inline(always)]
        pub(crate) unsafe fn $store(address: *mut u8, value: $int, fault: &mut usize) {
            // SAFETY: a store through x10 only; a fault is recovered in place.
            unsafe {
                asm!(concat!("2: ", $str, ", [x10]"), mark!(), value = in(reg) value,
                    inout("x10") address => _, inout("x9") *fault,
                    options(nostack, preserves_flags));
            }
        }
    };
}

plain!(load_8, store_8, u8, "ldrb {value:w}", "strb {value:w}");
plain!(load_16, store_16, u16, "ldrh {value:w}", "strh {value:w}");
plain!(load_32, store_32, u32, "ldr {value:w}", "str {value:w}");
plain!(load_64, store_64, u64, "ldr {value:x}", "str {value:x}");

/// Atomic operations on an aligned word. Loads acquire and stores release; the others are
/// sequentially consistent. Results mean nothing where the fault flag is set.
macro_rules! atomics {
    ($int:ty, $form:literal,
     $load:ident, $store:ident, $swap:ident, $compare_exchange:ident, $fetch_add:ident) => {
        /// # Safety
        /// As for plain loads; `address` is aligned.
        #[inline(always)]
        pub(crate) unsafe fn $load(address: *const u8, fault: &mut usize) -> $int {
            let value: $int;
            // SAFETY: a load through x10 only; a fault is recovered in place.
            unsafe {
                asm!(concat!("2: ldar {value", $form, "}, [x10]"), mark!(),
                    value = lateout(reg) value,
                    inout("x10") address => _, inout("x9") *fault,
                    options(nostack, preserves_flags));
            }
            value
        }

        /// # Safety
        /// As for plain stores; `address` is aligned.
        #[inline(always)]
        pub(crate) unsafe fn $store(address: *mut u8, value: $int, fault: &mut usize) {
            // SAFETY: a store through x10 only; a fault is recovered in place.
            unsafe {
                asm!(concat!("2: stlr {value", $form, "}, [x10]"), mark!(),
                    value = in(reg) value,
                    inout("x10") address => _, inout("x9") *fault,
                    options(nostack, preserves_flags));
            }
        }

        /// # Safety
        /// As for plain stores; `address` is aligned.
        #[inline(always)]
        pub(crate) unsafe fn $swap(address: *mut u8, value: $int, fault: &mut usize) -> $int {
            let previous: $int;
            // SAFETY: a loop through x10 only; a fault in it moves it to the scratch page.
            unsafe {
                asm!(
                    concat!("2: ldaxr {previous", $form, "}, [x10]"),
                    concat!("stlxr {failed:w}, {value", $form, "}, [x10]"),
                    "cbnz {failed:w}, 2b",
                    mark!(),
                    previous = out(reg) previous, failed = out(reg) _, value = in(reg) value,
                    inout("x10") address => _, inout("x9") *fault,
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
            // SAFETY: a loop through x10 only; a fault in it moves it to the scratch page.
            unsafe {
                asm!(
                    concat!("2: ldaxr {previous", $form, "}, [x10]"),
                    concat!("cmp {previous", $form, "}, {current", $form, "}"),
                    "b.ne 4f",
                    concat!("stlxr {failed:w}, {new", $form, "}, [x10]"),
                    "cbnz {failed:w}, 2b",
                    "4:",
                    mark!(),
                    previous = out(reg) previous, failed = out(reg) _,
                    current = in(reg) current, new = in(reg) new,
                    inout("x10") address => _, inout("x9") *fault,
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
            // SAFETY: a loop through x10 only; a fault in it moves it to the scratch page.
            unsafe {
                asm!(
                    concat!("2: ldaxr {previous", $form, "}, [x10]"),
                    concat!("add {sum", $form, "}, {previous", $form, "}, {value", $form, "}"),
                    concat!("stlxr {failed:w}, {sum", $form, "}, [x10]"),
                    "cbnz {failed:w}, 2b",
                    mark!(),
                    previous = out(reg) previous, sum = out(reg) _, failed = out(reg) _,
                    value = in(reg) value,
                    inout("x10") address => _, inout("x9") *fault,
                    options(nostack, preserves_flags)
                );
            }
            previous
        }
    };
}

atomics!(
    u32,
    ":w",
    atomic_load_32,
    atomic_store_32,
    atomic_swap_32,
    atomic_compare_exchange_32,
    atomic_fetch_add_32
);
atomics!(
    u64,
    ":x",
    atomic_load_64,
    atomic_store_64,
    atomic_swap_64,
    atomic_compare_exchange_64,
    atomic_fetch_add_64
);

/// 16 bytes.
pub(crate) type Narrow = uint8x16_t;

/// What one site moves: four vectors.
pub(crate) type Block = [uint8x16_t; 4];

/// # Safety
/// As for plain loads.
#[inline(always)]
pub(crate) unsafe fn load_block(address: *const u8, fault: &mut usize) -> Block {
    // SAFETY: passed on.
    unsafe { load_quad(address, fault) }
}

/// # Safety
/// As for plain loads.
#[inline(always)]
pub(crate) unsafe fn load_quad(address: *const u8, fault: &mut usize) -> [Narrow; 4] {
    let (a, b, c, d): (Narrow, Narrow, Narrow, Narrow);
    // SAFETY: loads through x10 only; a fault is recovered in place.
    unsafe {
        asm!(
            "2: ldp {a:q}, {b:q}, [x10]",
            "ldp {c:q}, {d:q}, [x10, #32]",
            mark!(),
            a = out(vreg) a, b = out(vreg) b, c = out(vreg) c, d = out(vreg) d,
            inout("x10") address => _, inout("x9") *fault,
            options(nostack, preserves_flags, readonly)
        );
    }
    [a, b, c, d]
}

/// # Safety
/// As for plain stores.
#[inline(always)]
pub(crate) unsafe fn store_quad(address: *mut u8, values: [Narrow; 4], fault: &mut usize) {
    let [a, b, c, d] = values;
    // SAFETY: stores through x10 only; a fault is recovered in place.
    unsafe {
        asm!(
            "2: stp {a:q}, {b:q}, [x10]",
            "stp {c:q}, {d:q}, [x10, #32]",
            mark!(),
            a = in(vreg) a, b = in(vreg) b, c = in(vreg) c, d = in(vreg) d,
            inout("x10") address => _, inout("x9") *fault,
            options(nostack, preserves_flags)
        );
    }
}

/// # Safety
/// As for plain loads.
#[inline(always)]
pub(crate) unsafe fn load_narrow(address: *const u8, fault: &mut usize) -> Narrow {
    let value: Narrow;
    // SAFETY: a load through x10 only; a fault is recovered in place.
    unsafe {
        asm!("2: ldr {value:q}, [x10]", mark!(), value = out(vreg) value,
            inout("x10") address => _, inout("x9") *fault,
            options(nostack, preserves_flags, readonly));
    }
    value
}

/// # Safety
/// As for plain stores.
#[inline(always)]
pub(crate) unsafe fn store_narrow(address: *mut u8, value: Narrow, fault: &mut usize) {
    // SAFETY: a store through x10 only; a fault is recovered in place.
    unsafe {
        asm!("2: str {value:q}, [x10]", mark!(), value = in(vreg) value,
            inout("x10") address => _, inout("x9") *fault,
            options(nostack, preserves_flags));
    }
}

/// Two vectors: at the address, and `last` bytes behind it. With them, and with [`load_ends`], a
/// length between two powers of two is moved by accesses that overlap in the middle.
///
/// # Safety
/// As for plain loads.
#[inline(always)]
pub(crate) unsafe fn load_pair(address: *const u8, last: usize, fault: &mut usize) -> [Narrow; 2] {
    // SAFETY: passed on.
    unsafe {
        [
            load_narrow(address, fault),
            load_narrow(address.add(last), fault),
        ]
    }
}

/// Two vectors at the address, and two `last` bytes behind it.
///
/// # Safety
/// As for plain loads.
#[inline(always)]
pub(crate) unsafe fn load_ends(address: *const u8, last: usize, fault: &mut usize) -> [Narrow; 4] {
    // SAFETY: passed on.
    unsafe {
        let ([a, b], [c, d]) = (
            load_pair(address, 16, fault),
            load_pair(address.add(last), 16, fault),
        );
        [a, b, c, d]
    }
}

/// The stores of [`load_pair`], in order.
///
/// # Safety
/// As for plain stores.
#[inline(always)]
pub(crate) unsafe fn store_pair(
    address: *mut u8,
    last: usize,
    values: [Narrow; 2],
    fault: &mut usize,
) {
    // SAFETY: passed on.
    unsafe {
        store_narrow(address, values[0], fault);
        store_narrow(address.add(last), values[1], fault);
    }
}

/// The stores of [`load_ends`], in order.
///
/// # Safety
/// As for plain stores.
#[inline(always)]
pub(crate) unsafe fn store_ends(
    address: *mut u8,
    last: usize,
    values: [Narrow; 4],
    fault: &mut usize,
) {
    // SAFETY: passed on.
    unsafe {
        store_pair(address, 16, [values[0], values[1]], fault);
        store_pair(address.add(last), 16, [values[2], values[3]], fault);
    }
}

/// Reads 16 bytes from private memory.
///
/// # Safety
/// `from` has as many.
#[inline(always)]
pub(crate) unsafe fn take_narrow(from: *const u8) -> Narrow {
    // SAFETY: the caller has the bytes; NEON is part of the architecture.
    unsafe { vld1q_u8(from) }
}

/// Writes 16 bytes to private memory.
///
/// # Safety
/// `to` has room for as many.
#[inline(always)]
pub(crate) unsafe fn give_narrow(to: *mut u8, value: Narrow) {
    // SAFETY: the caller has the room; NEON is part of the architecture.
    unsafe { vst1q_u8(to, value) }
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

/// Copies whole blocks out of guarded memory, up to the first that faults; gives the bytes copied.
///
/// # Safety
/// As for plain loads; `to` is private and has room for `len` bytes.
pub(crate) unsafe fn copy_blocks_out(from: *const u8, to: *mut u8, len: usize) -> usize {
    let (mut fault, mut done) = (0, 0);
    // SAFETY: `done` stays within `len` on both sides.
    unsafe {
        while len - done >= size_of::<Block>() {
            let block = load_quad(from.add(done), &mut fault);
            if fault != 0 {
                break;
            }
            give_block(to.add(done), block);
            done += size_of::<Block>();
        }
    }
    done
}

/// Copies whole blocks into guarded memory, up to the first that faults; gives the bytes copied.
///
/// # Safety
/// As for plain stores; `from` is private and has `len` bytes.
pub(crate) unsafe fn copy_blocks_in(to: *mut u8, from: *const u8, len: usize) -> usize {
    let (mut fault, mut done) = (0, 0);
    // SAFETY: `done` stays within `len` on both sides.
    unsafe {
        while len - done >= size_of::<Block>() {
            let block = from.add(done).cast::<Block>().read_unaligned();
            store_quad(to.add(done), block, &mut fault);
            if fault != 0 {
                break;
            }
            done += size_of::<Block>();
        }
    }
    done
}

/// The kind of the site that covers `pc`, if one does. `readable` tells whether the eight bytes
/// around an address can be read; it is asked where the search crosses into another page.
///
/// Runs in a signal handler on a small stack: no calls that need frames, no panics. A debugger may
/// have replaced the marker's first instruction by a breakpoint.
///
/// # Safety
/// The instruction at `pc` was being executed.
#[inline(always)]
pub(crate) unsafe fn site_kind(pc: usize, readable: impl Fn(usize) -> bool) -> Option<u8> {
    let mut ahead = 0;
    while ahead < LOOK_AHEAD {
        let at = pc.wrapping_add(ahead);
        if at & 0xfff == 0xffc && !readable(at.wrapping_add(4)) {
            return None;
        }
        let (first, second): (u32, u32);
        // SAFETY: two instructions of the page of `pc`, or of the next one, which was probed.
        unsafe {
            asm!("ldr {first:w}, [{at}]", "ldr {second:w}, [{at}, #4]",
                first = out(reg) first, second = out(reg) second, at = in(reg) at,
                options(nostack, preserves_flags, readonly));
        }
        let breakpoint = first & 0xffe0_001f == 0xd420_0000;
        if (first == 0x529a_b8ea || breakpoint) && second & 0xffe0_001f == 0x5280_000a {
            let constant = second >> 5 & 0xffff;
            if ahead <= (constant & 0xff) as usize {
                return Some((constant >> 8) as u8);
            }
        }
        ahead = ahead.wrapping_add(4);
    }
    None
}
