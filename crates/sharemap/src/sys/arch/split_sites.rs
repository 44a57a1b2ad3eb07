//! Guarded accesses of several words of one lock, each in a site of its own.
//!
//! On aarch64 there are no longer sites: a compare-exchange is a loop there, and a fault in the middle of it
//! would let the rest of the loop run on the scratch page. The flag is tested between accesses where a later
//! one may follow only if the earlier ones have succeeded.

#![allow(unsafe_code, reason = "guarded accesses")]

use super::{
    atomic_compare_exchange_32, atomic_load_32, atomic_load_64, atomic_store_32, atomic_store_64,
};

/// Stores `mine` in the word at `address` if the word is 0, and loads the 64 bits at `LEAD` behind it. Returns the
/// word as it was found, the address of the exchange, and the loaded value. The exchange has faulted if its address
/// is not `address`.
///
/// # Safety
/// As for plain stores; `address` and `LEAD` must be multiples of 8.
#[inline(always)]
pub(crate) unsafe fn acquire_and_load<const LEAD: u64>(
    address: *mut u8,
    mine: u32,
    fault: &mut usize,
) -> (u64, *mut u8, u64) {
    // SAFETY: as promised by the caller.
    unsafe {
        let (found, reached) = acquire(address, mine, fault);
        (found, reached, atomic_load_64(address.wrapping_add(LEAD as usize), fault))
    }
}

/// Stores `mine` in the word at `address` if the word is 0, loads the word behind it, and then the 64 bits at
/// `LEAD`. Returns the results of the exchange as [`acquire_and_load`] does, and the two loaded values.
///
/// # Safety
/// As for [`acquire_and_load`].
#[inline(always)]
pub(crate) unsafe fn acquire_and_load_two<const LEAD: u64>(
    address: *mut u8,
    mine: u32,
    fault: &mut usize,
) -> (u64, *mut u8, u64, u64) {
    // SAFETY: as promised by the caller.
    unsafe {
        let (found, reached) = acquire(address, mine, fault);
        let next = atomic_load_32(address.wrapping_add(4), fault);
        let lead = atomic_load_64(address.wrapping_add(LEAD as usize), fault);
        (found, reached, next.into(), lead)
    }
}

/// Stores `mine` in the word at `address` if the word is 0. Returns the word as it was found, and `address`, or null
/// if the exchange faulted.
///
/// # Safety
/// As for plain stores; `address` must be a multiple of 4.
#[inline(always)]
unsafe fn acquire(address: *mut u8, mine: u32, fault: &mut usize) -> (u64, *mut u8) {
    let mut faulted = 0;
    // SAFETY: as promised by the caller.
    let found = unsafe { atomic_compare_exchange_32(address, 0, mine, &mut faulted) };
    if faulted == 0 {
        return (found.into(), address);
    }
    if *fault == 0 {
        *fault = faulted;
    }
    (0, std::ptr::null_mut())
}

/// Loads the 64 bits at `address`, and then those at `LEAD` behind it.
///
/// # Safety
/// As for [`acquire_and_load`].
#[inline(always)]
pub(crate) unsafe fn load_two<const LEAD: u64>(address: *mut u8, fault: &mut usize) -> (u64, u64) {
    // SAFETY: as promised by the caller.
    unsafe {
        let first = atomic_load_64(address, fault);
        (first, atomic_load_64(address.wrapping_add(LEAD as usize), fault))
    }
}

/// Stores 0 in the 64 bits at `address`.
///
/// # Safety
/// As for plain stores; `address` must be a multiple of 8.
#[inline(always)]
pub(crate) unsafe fn clear_64(address: *mut u8, fault: &mut usize) {
    // SAFETY: as promised by the caller.
    unsafe { atomic_store_64(address, 0, fault) };
}

macro_rules! releases {
    ($name:ident, $int:ty, $store:ident) => {
        /// Stores `lead` at `LEAD` behind `address`, then 0 in the word at `address` unless that store faulted, and
        /// loads the word at `GATE`.
        ///
        /// # Safety
        /// As for [`acquire_and_load`]; `GATE` must be a multiple of 4.
        #[inline(always)]
        pub(crate) unsafe fn $name<const LEAD: u64, const GATE: u64>(
            address: *mut u8,
            lead: $int,
            fault: &mut usize,
        ) -> u32 {
            // SAFETY: as promised by the caller.
            unsafe {
                $store(address.wrapping_add(LEAD as usize), lead, fault);
                if *fault != 0 {
                    return 0;
                }
                atomic_store_32(address, 0, fault);
                atomic_load_32(address.wrapping_add(GATE as usize), fault)
            }
        }
    };
}

releases!(store_and_release_32, u32, atomic_store_32);
releases!(store_and_release_64, u64, atomic_store_64);
