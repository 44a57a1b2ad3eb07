//! Guarded accesses to single words, plain and atomic.

#![allow(unsafe_code, reason = "the instructions themselves")]

use std::arch::asm;

/// Prefetches the cache line `AT` bytes behind an address, which may be unmapped.
#[inline(always)]
pub(crate) fn prefetch<const AT: usize>(address: *const u8) {
    const { assert!(AT % 8 == 0 && AT < 1 << 15) }
    // SAFETY: the instruction is a hint, which never faults.
    unsafe {
        asm!("prfm pldl1keep, [{address}, #{at}]", address = in(reg) address, at = const AT,
            options(nostack, preserves_flags, readonly));
    }
}

/// Prefetches the cache line of an address, which may be unmapped, for a store.
#[inline(always)]
pub(crate) fn prefetch_for_store(address: *const u8) {
    // SAFETY: the instruction is a hint, which never faults.
    unsafe {
        asm!("prfm pstl1keep, [{address}]", address = in(reg) address, options(nostack, preserves_flags, readonly));
    }
}

macro_rules! plain {
    ($load:ident, $store:ident, $int:ty, $ldr:literal, $str:literal) => {
        /// # Safety
        /// The bytes at `address` may be unmapped, but must not be memory of Rust values.
        #[inline(always)]
        pub(crate) unsafe fn $load(address: *const u8, fault: &mut usize) -> $int {
            let value: $int;
            // SAFETY: the load goes through x10; a fault is recovered in place.
            unsafe {
                asm!(concat!("2: ", $ldr, ", [x10]"), mark!(), value = lateout(reg) value,
                    inout("x10") address => _, inout("x9") *fault,
                    options(nostack, preserves_flags, readonly));
            }
            value
        }

        /// # Safety
        /// The bytes at `address` may be unmapped, but must not be memory of Rust values.
        #[inline(always)]
        pub(crate) unsafe fn $store(address: *mut u8, value: $int, fault: &mut usize) {
            // SAFETY: the store goes through x10; a fault is recovered in place.
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

/// Atomic operations on an aligned word. Loads have acquire ordering and stores release ordering; the other
/// operations are sequentially consistent. A result is undefined if the fault flag is set.
macro_rules! atomics {
    ($int:ty, $form:literal,
     $load:ident, $store:ident, $swap:ident, $compare_exchange:ident, $fetch_add:ident) => {
        /// # Safety
        /// As for plain loads; `address` must be aligned.
        #[inline(always)]
        pub(crate) unsafe fn $load(address: *const u8, fault: &mut usize) -> $int {
            let value: $int;
            // SAFETY: the load goes through x10; a fault is recovered in place.
            unsafe {
                asm!(concat!("2: ldar {value", $form, "}, [x10]"), mark!(),
                    value = lateout(reg) value,
                    inout("x10") address => _, inout("x9") *fault,
                    options(nostack, preserves_flags));
            }
            value
        }

        /// # Safety
        /// As for plain stores; `address` must be aligned.
        #[inline(always)]
        pub(crate) unsafe fn $store(address: *mut u8, value: $int, fault: &mut usize) {
            // SAFETY: the store goes through x10; a fault is recovered in place.
            unsafe {
                asm!(concat!("2: stlr {value", $form, "}, [x10]"), mark!(),
                    value = in(reg) value,
                    inout("x10") address => _, inout("x9") *fault,
                    options(nostack, preserves_flags));
            }
        }

        /// # Safety
        /// As for plain stores; `address` must be aligned.
        #[inline(always)]
        pub(crate) unsafe fn $swap(address: *mut u8, value: $int, fault: &mut usize) -> $int {
            let previous: $int;
            // SAFETY: the loop accesses memory through x10; a fault in it moves it to the scratch area.
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

        /// Stores `new` if the value equals `current`, and returns the previous value.
        ///
        /// # Safety
        /// As for plain stores; `address` must be aligned.
        #[inline(always)]
        pub(crate) unsafe fn $compare_exchange(
            address: *mut u8,
            current: $int,
            new: $int,
            fault: &mut usize,
        ) -> $int {
            let previous: $int;
            // SAFETY: the loop accesses memory through x10; a fault in it moves it to the scratch area.
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
        /// As for plain stores; `address` must be aligned.
        #[inline(always)]
        pub(crate) unsafe fn $fetch_add(address: *mut u8, value: $int, fault: &mut usize) -> $int {
            let previous: $int;
            // SAFETY: the loop accesses memory through x10; a fault in it moves it to the scratch area.
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
