//! Guarded accesses to single words, plain and atomic.

#![allow(unsafe_code, reason = "the instructions themselves")]

use std::arch::asm;

/// Prefetches the cache line `AT` bytes behind an address, which may be unmapped.
#[inline(always)]
pub(crate) fn prefetch<const AT: usize>(address: *const u8) {
    // SAFETY: the instruction is a hint, which never faults.
    unsafe {
        asm!("prefetcht0 [{address} + {at}]", address = in(reg) address, at = const AT,
            options(nostack, preserves_flags, readonly));
    }
}

/// Prefetches the cache line of an address, which may be unmapped, for a store.
#[inline(always)]
pub(crate) fn prefetch_for_store(address: *const u8) {
    // SAFETY: the instruction is a hint, which never faults.
    unsafe {
        asm!("prefetchw [{address}]", address = in(reg) address, options(nostack, preserves_flags, readonly));
    }
}

macro_rules! plain {
    ($load:ident, $store:ident, $int:ty, $class:ident, $form:literal) => {
        /// # Safety
        /// The bytes at `address` may be unmapped, but must not be memory of Rust values.
        #[inline(always)]
        pub(crate) unsafe fn $load(address: *const u8, fault: &mut usize) -> $int {
            let value: $int;
            // SAFETY: the load goes through r10; a fault is recovered in place.
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
        /// The bytes at `address` may be unmapped, but must not be memory of Rust values.
        #[inline(always)]
        pub(crate) unsafe fn $store(address: *mut u8, value: $int, fault: &mut usize) {
            // SAFETY: the store goes through r10; a fault is recovered in place.
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

/// Atomic operations on an aligned word. Loads have acquire ordering and stores release ordering; the other
/// operations are sequentially consistent. A result is undefined if the fault flag is set.
macro_rules! atomics {
    ($int:ty, $form:literal, $accumulator:tt,
     $load:ident, $store:ident, $swap:ident, $compare_exchange:ident, $fetch_add:ident) => {
        /// # Safety
        /// As for plain loads; `address` must be aligned.
        #[inline(always)]
        pub(crate) unsafe fn $load(address: *const u8, fault: &mut usize) -> $int {
            let value: $int;
            // SAFETY: the load goes through r10; a fault is recovered in place.
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
        /// As for plain stores; `address` must be aligned.
        #[inline(always)]
        pub(crate) unsafe fn $store(address: *mut u8, value: $int, fault: &mut usize) {
            // SAFETY: the store goes through r10; a fault is recovered in place.
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
        /// As for plain stores; `address` must be aligned.
        #[inline(always)]
        pub(crate) unsafe fn $swap(address: *mut u8, value: $int, fault: &mut usize) -> $int {
            let previous: $int;
            // SAFETY: the exchange goes through r10; a fault is recovered in place.
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
            // SAFETY: the compare-exchange goes through r10; a fault is recovered in place, before
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
        /// As for plain stores; `address` must be aligned.
        #[inline(always)]
        pub(crate) unsafe fn $fetch_add(address: *mut u8, value: $int, fault: &mut usize) -> $int {
            let previous: $int;
            // SAFETY: the exchange-add goes through r10; a fault is recovered in place.
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
    u32,
    ":e",
    "eax",
    atomic_load_32,
    atomic_store_32,
    atomic_swap_32,
    atomic_compare_exchange_32,
    atomic_fetch_add_32
);
atomics!(
    u64,
    ":r",
    "rax",
    atomic_load_64,
    atomic_store_64,
    atomic_swap_64,
    atomic_compare_exchange_64,
    atomic_fetch_add_64
);
