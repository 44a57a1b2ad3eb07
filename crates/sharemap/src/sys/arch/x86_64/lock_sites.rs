//! Guarded accesses of several words of one lock, each run of them in one site.
//!
//! A site has one test for faults, and one register with the address. After a fault, the rest of the site
//! accesses the scratch page. So a fault at one access means that the later ones have not touched the lock,
//! and nothing is known about the loaded values. The processor makes the accesses in order, except that a
//! load may overtake an earlier plain store.
//!
//! Distances are constants, because they are part of the instructions.

#![allow(unsafe_code, reason = "the instructions themselves")]

use std::arch::asm;

use crate::sys::arch::in_reach;

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
    const { assert!(in_reach(0, LEAD as isize + 8)) }
    let (found, reached, lead): (u64, *mut u8, u64);
    // SAFETY: the accesses go through r10; a fault is recovered in place.
    unsafe {
        asm!(
            "2: lock cmpxchg [r10], {mine:e}",
            // The scratch area if the exchange has faulted.
            "mov {reached}, r10",
            "mov {lead:r}, [r10 + {distance}]",
            mark!(),
            mine = in(reg) mine, reached = out(reg) reached,
            lead = lateout(reg) lead, distance = const LEAD,
            inout("rax") 0u64 => found,
            inout("r10") address => _,
            inout("r11") *fault,
            options(nostack)
        );
    }
    (found, reached, lead)
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
    const { assert!(in_reach(0, LEAD as isize + 8)) }
    let (found, reached, next, lead): (u64, *mut u8, u64, u64);
    // SAFETY: the accesses go through r10; a fault is recovered in place.
    unsafe {
        asm!(
            "2: lock cmpxchg [r10], {mine:e}",
            // As above.
            "mov {reached}, r10",
            "mov {next:e}, [r10 + 4]",
            "mov {lead:r}, [r10 + {distance}]",
            mark!(),
            mine = in(reg) mine, reached = out(reg) reached, next = out(reg) next,
            lead = lateout(reg) lead, distance = const LEAD,
            inout("rax") 0u64 => found,
            inout("r10") address => _,
            inout("r11") *fault,
            options(nostack)
        );
    }
    (found, reached, next, lead)
}

/// Loads the 64 bits at `address`, and then those at `LEAD` behind it.
///
/// # Safety
/// As for [`acquire_and_load`].
#[inline(always)]
pub(crate) unsafe fn load_two<const LEAD: u64>(address: *mut u8, fault: &mut usize) -> (u64, u64) {
    const { assert!(in_reach(0, LEAD as isize + 8)) }
    let (first, lead): (u64, u64);
    // SAFETY: the loads go through r10; a fault is recovered in place.
    unsafe {
        asm!(
            "2: mov {first:r}, [r10]",
            "mov {lead:r}, [r10 + {distance}]",
            mark!(),
            first = out(reg) first, lead = lateout(reg) lead, distance = const LEAD,
            inout("r10") address => _,
            inout("r11") *fault,
            options(nostack, preserves_flags)
        );
    }
    (first, lead)
}

/// Stores 0 in the 64 bits at `address`.
///
/// # Safety
/// As for plain stores; `address` must be a multiple of 8.
#[inline(always)]
pub(crate) unsafe fn clear_64(address: *mut u8, fault: &mut usize) {
    // SAFETY: the store goes through r10; a fault is recovered in place.
    unsafe {
        asm!(
            "2: mov qword ptr [r10], 0",
            mark!(),
            inout("r10") address => _,
            inout("r11") *fault,
            options(nostack, preserves_flags)
        );
    }
}

macro_rules! releases {
    ($name:ident, $int:ty, $form:literal) => {
        /// Stores `lead` at `LEAD` behind `address`, then 0 in the word at `address`, and loads the word at `GATE`.
        ///
        /// # Safety
        /// As for [`acquire_and_load`]; `GATE` must be a multiple of 4.
        #[inline(always)]
        pub(crate) unsafe fn $name<const LEAD: u64, const GATE: u64>(
            address: *mut u8,
            lead: $int,
            fault: &mut usize,
        ) -> u32 {
            const { assert!(in_reach(0, LEAD as isize + 8) && in_reach(0, GATE as isize + 4)) }
            let gate: u32;
            // SAFETY: the accesses go through r10; a fault is recovered in place.
            unsafe {
                asm!(
                    concat!("2: mov [r10 + {distance}], {lead", $form, "}"),
                    "mov dword ptr [r10], 0",
                    "mov {gate:e}, [r10 + {gate_distance}]",
                    mark!(),
                    lead = in(reg) lead, gate = lateout(reg) gate,
                    distance = const LEAD, gate_distance = const GATE,
                    inout("r10") address => _,
                    inout("r11") *fault,
                    options(nostack, preserves_flags)
                );
            }
            gate
        }
    };
}

releases!(store_and_release_32, u32, ":e");
releases!(store_and_release_64, u64, ":r");
