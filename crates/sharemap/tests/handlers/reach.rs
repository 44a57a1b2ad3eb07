//! Sites with displacements: the handler redirects accesses before and after the address register, as far as
//! a site may reach, and does not repeat for ever what it cannot redirect.

use std::arch::asm;

use sharemap::guard::{self, Recovery};
use sharemap::{MappingMut, Protection};

use crate::child;
use crate::raw::page;

/// The distance that a site may reach from its address register.
const REACH: isize = 4096;

/// Loads the eight bytes at `base + at`, and then stores them there. Returns the addresses of the faults.
#[cfg(target_arch = "x86_64")]
unsafe fn load_and_store(base: usize, at: isize) -> [usize; 2] {
    let mut faults = [0; 2];
    // SAFETY: a site for the load and one for the store, as the library writes them.
    unsafe {
        asm!("2: mov {value}, [r10 + {at}]", "3: .byte 0x41, 0xba, 3b - 2b, 0, 0xc7, 0x5a",
            value = out(reg) _, at = in(reg) at,
            inout("r10") base => _, inout("r11") faults[0], options(nostack));
        asm!("2: mov [r10 + {at}], {value}", "3: .byte 0x41, 0xba, 3b - 2b, 0, 0xc7, 0x5a",
            value = in(reg) 0usize, at = in(reg) at,
            inout("r10") base => _, inout("r11") faults[1], options(nostack));
    }
    faults
}

#[cfg(target_arch = "aarch64")]
unsafe fn load_and_store(base: usize, at: isize) -> [usize; 2] {
    let mut faults = [0; 2];
    // SAFETY: a site for the load and one for the store, as the library writes them.
    unsafe {
        asm!("2: ldr {value}, [x10, {at}]",
            "3: .inst 0x529ab8ea", ".long 0x5280000a + ((3b - 2b) << 5)",
            value = out(reg) _, at = in(reg) at,
            inout("x10") base => _, inout("x9") faults[0], options(nostack));
        asm!("2: str {value}, [x10, {at}]",
            "3: .inst 0x529ab8ea", ".long 0x5280000a + ((3b - 2b) << 5)",
            value = in(reg) 0usize, at = in(reg) at,
            inout("x10") base => _, inout("x9") faults[1], options(nostack));
    }
    faults
}

/// Loads through another register than that of the address, so that a redirection has no effect.
#[cfg(target_arch = "x86_64")]
unsafe fn load_elsewhere(address: usize) {
    // SAFETY: like a site; the load faults again and again.
    unsafe {
        asm!("2: mov {value}, [{address}]", "3: .byte 0x41, 0xba, 3b - 2b, 0, 0xc7, 0x5a",
            value = out(reg) _, address = in(reg) address,
            inout("r10") 0usize => _, inout("r11") 0usize => _, options(nostack));
    }
}

#[cfg(target_arch = "aarch64")]
unsafe fn load_elsewhere(address: usize) {
    // SAFETY: like a site; the load faults again and again.
    unsafe {
        asm!("2: ldr {value}, [{address}]",
            "3: .inst 0x529ab8ea", ".long 0x5280000a + ((3b - 2b) << 5)",
            value = out(reg) _, address = in(reg) address,
            inout("x10") 0usize => _, inout("x9") 0usize => _, options(nostack));
    }
}

/// Returns a mapping and the address of a protected page in it.
fn protected() -> (MappingMut, usize) {
    let map = MappingMut::anonymous(3 * page()).unwrap();
    map.protect(page()..2 * page(), Protection::None).unwrap();
    let address = map.bytes().as_ptr() as usize + page();
    (map, address)
}

pub fn scenario(words: &[&str]) {
    assert_eq!(guard::recovery(), Recovery::InPlace);
    let (_map, address) = protected();
    match words {
        ["near"] => {
            for at in [-REACH, 8 - REACH, -512, -128, -8, 0, 8, 128, 512, REACH - 16, REACH - 8] {
                let base = address.wrapping_add_signed(-at);
                // SAFETY: the page is the scenario's.
                let faults = unsafe { load_and_store(base, at) };
                assert_eq!(faults, [address; 2], "displacement {at}");
            }
        }
        // SAFETY: the page is the scenario's.
        ["elsewhere"] => unsafe { load_elsewhere(address) },
        _ => panic!("{words:?}"),
    }
}

/// Loads and stores are recovered at every displacement that a site may have.
#[test]
fn displacements_within_reach_are_recovered() {
    if child::in_place("displacements of sites") {
        child::outcome("reach near").ended_well();
    }
}

/// A site that faults again after its redirection ends the process, and does not hang it.
#[test]
fn a_site_that_faults_again_is_not_recovered_for_ever() {
    if child::in_place("a site that reaches too far") {
        child::outcome("reach elsewhere").died_of(libc::SIGSEGV);
    }
}
