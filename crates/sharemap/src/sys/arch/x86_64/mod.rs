//! x86-64: address in `r10`, flag in `r11`, marker `mov r10d, imm32`.
//!
//! Loads of plain data are `readonly`, and so no compiler barrier. An access that may serve as an acquire or
//! a release does not have this option. No load is `pure`, because two loads may return different values.

#![allow(unsafe_code, reason = "reads the code around a fault")]

/// The marker at the end of a site, which must begin at the label `2`.
macro_rules! mark {
    () => {
        mark!("0")
    };
    ($kind:literal) => {
        concat!(
            "3:\n",
            ".if (3b - 2b) > 63\n .error \"site longer than the look-ahead\"\n .endif\n",
            ".byte 0x41, 0xba, 3b - 2b, ",
            $kind,
            ", 0xc7, 0x5a"
        )
    };
}

mod bulk;
mod count;
mod find;
mod lock_sites;
mod scan;
#[cfg(test)]
mod tests;
mod vectors;
mod words;

pub(crate) use bulk::{
    copy_in, copy_in_directly, copy_in_widest, copy_out, copy_out_directly, copy_out_widest,
};
pub(crate) use count::count_bytes;
pub(crate) use find::{find_byte, find_pair};
pub(crate) use lock_sites::{
    acquire_and_load, acquire_and_load_two, clear_64, load_two, store_and_release_32,
    store_and_release_64,
};
pub(crate) use scan::{Baseline, scan};
pub(crate) use vectors::{
    give_narrow, load_ends, load_narrow, load_pair, store_ends, store_narrow, store_pair,
    take_narrow,
};
pub(crate) use words::*;

use std::arch::asm;

use super::LOOK_AHEAD;

/// `true` if this architecture has recoverable accesses.
pub(crate) const AVAILABLE: bool = true;

/// Returns the kind of the site that covers `pc`. `None` if no site does.
///
/// `readable` returns `true` if the eight bytes around an address can be read. It is called when the search
/// crosses into another page.
///
/// The function runs in a signal handler on a small stack: it must not panic or make calls that need frames.
/// A debugger may have replaced the marker's first byte by a breakpoint.
///
/// # Safety
/// The byte at `pc` must be code that was executing.
#[inline(always)]
pub(crate) unsafe fn site_kind(pc: usize, readable: impl Fn(usize) -> bool) -> Option<u8> {
    let mut ahead = 0;
    while ahead < LOOK_AHEAD {
        let at = pc.wrapping_add(ahead);
        if at & 0xfff > 0xffa && !readable(at.wrapping_add(5)) {
            return None;
        }
        let (low, high): (u32, u32);
        // SAFETY: the six bytes of a marker are in the page of `pc`, or in the next one, which is readable.
        unsafe {
            asm!("mov {low:e}, [{at}]", "movzx {high:e}, word ptr [{at} + 4]",
                low = out(reg) low, high = lateout(reg) high, at = in(reg) at,
                options(nostack, preserves_flags, readonly));
        }
        let first = low & 0xff;
        if high == 0x5ac7 && low & 0xff00 == 0xba00 && (first == 0x41 || first == 0xcc) {
            let length = (low >> 16 & 0xff) as usize;
            if ahead <= length {
                return Some((low >> 24) as u8);
            }
        }
        ahead = ahead.wrapping_add(1);
    }
    None
}
