//! aarch64: address in `x10`, flag in `x9`, marker `movz w10, #0xd5c7` and `movz w10, #length`.
//!
//! Read-modify-write operations are LL/SC loops, which every aarch64 processor has. A fault in a loop moves
//! it to the scratch area, where it ends. The options of the assembly are those of x86-64: plain loads are
//! `readonly`, and an access that may serve as an acquire or a release is a full compiler barrier.

#![allow(unsafe_code, reason = "reads the code around a fault")]

/// The marker at the end of a site, which must begin at the label `2`.
macro_rules! mark {
    () => {
        concat!(
            "3:\n",
            ".if (3b - 2b) > 60\n .error \"site longer than the look-ahead\"\n .endif\n",
            ".inst 0x529ab8ea\n",
            ".long 0x5280000a + ((3b - 2b) << 5)"
        )
    };
}

mod find;
mod vectors;
mod words;

pub(crate) use find::{find_byte, find_pair};
pub(crate) use vectors::{
    Baseline, copy_in, copy_in_directly, copy_in_widest, copy_out, copy_out_directly,
    copy_out_widest, count_bytes, give_narrow, load_ends, load_narrow, load_pair, scan, store_ends,
    store_narrow, store_pair, take_narrow,
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
/// A debugger may have replaced the marker's first instruction by a breakpoint.
///
/// # Safety
/// The instruction at `pc` must have been executing.
#[inline(always)]
pub(crate) unsafe fn site_kind(pc: usize, readable: impl Fn(usize) -> bool) -> Option<u8> {
    let mut ahead = 0;
    while ahead < LOOK_AHEAD {
        let at = pc.wrapping_add(ahead);
        if at & 0xfff == 0xffc && !readable(at.wrapping_add(4)) {
            return None;
        }
        let (first, second): (u32, u32);
        // SAFETY: both instructions are in the page of `pc`, or in the next one, which is readable.
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
