//! Recoverable accesses: the instructions, and the marker that lets a fault handler recognise them.
//!
//! A *site* is a run of instructions that touch memory only through the address register, followed
//! by the marker: a load of a constant into that register, which is dead by then. The constant
//! holds a magic number, the kind of site and its length in bytes. When an instruction of a site
//! faults, the handler finds the marker just ahead of the program counter, writes the fault's
//! address into the flag register (if that is still zero), points the address register at the middle
//! of a scratch area and returns to the same instruction, which now succeeds. The code after the site
//! tests the flag.
//!
//! The rest of the site runs on the scratch area, too, so every byte that a site touches must lie
//! within [`REACH`] of its address register, before or after it. The displacements of a site are
//! constants that the compiler checks ([`in_reach`]), or registers whose limit is an obligation of
//! the caller. An access outside of the area would fault again, for ever: the handler therefore does
//! not recover a site that it has redirected already.
//!
//! Registers, magic and kinds are an ABI: every version of this crate in a process recovers the
//! sites of every other. A handler ignores sites of an unknown kind.
//!
//! | | x86-64 | aarch64 |
//! |---|---|---|
//! | address | `r10` | `x10` |
//! | flag | `r11` | `x9` |
//! | marker | `mov r10d, 0x5ac7_KKLL` | `movz w10, #0xd5c7`; `movz w10, #0xKKLL` |
//!
//! LL is the length of the site, KK its kind:
//!
//! - 0: the address register may be redirected.
//! - 1, 2 (x86-64): a string copy, `rep movsb`, that reads (1) or writes (2) guarded memory. It has
//!   no address register: the handler sets its count, `rcx`, to zero, if the fault is on that side.

mod scan;

#[cfg(all(target_arch = "x86_64", not(sharemap_syscall_fallback)))]
mod x86_64;
#[cfg(all(target_arch = "x86_64", not(sharemap_syscall_fallback)))]
use x86_64 as machine;

#[cfg(all(target_arch = "aarch64", target_endian = "little", not(sharemap_syscall_fallback)))]
mod aarch64;
#[cfg(all(target_arch = "aarch64", target_endian = "little", not(sharemap_syscall_fallback)))]
use aarch64 as machine;

#[cfg(any(
    not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little"))),
    sharemap_syscall_fallback
))]
mod fallback;
#[cfg(any(
    not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little"))),
    sharemap_syscall_fallback
))]
use fallback as machine;

pub(crate) use machine::*;
pub(crate) use scan::{Scan, Vectors};

#[cfg(not(all(target_arch = "x86_64", not(sharemap_syscall_fallback))))]
mod split_sites;
#[cfg(not(all(target_arch = "x86_64", not(sharemap_syscall_fallback))))]
pub(crate) use split_sites::*;

/// The number of code bytes, from the program counter on, in which a handler looks for a marker.
#[allow(dead_code, reason = "the fallback has no sites")]
pub(crate) const LOOK_AHEAD: usize = 64;

/// The number of bytes before, and after, its address register within which a site touches memory. The
/// scratch area has twice this size.
#[allow(dead_code, reason = "the fallback has no sites")]
pub(crate) const REACH: usize = 4096;

/// Returns `true` if a site may touch the bytes from `first` up to `end`, counted from its address
/// register.
#[allow(dead_code, reason = "the fallback has no sites")]
pub(crate) const fn in_reach(first: isize, end: isize) -> bool {
    first >= -(REACH as isize) && first <= end && end <= REACH as isize
}

/// Returns `true` if a fault of a string copy of this kind is on its guarded side. Handlers call it.
#[allow(dead_code, reason = "not every machine has string copies")]
#[inline(always)]
pub(crate) fn is_guarded_side(
    kind: u8,
    fault: usize,
    source: usize,
    destination: usize,
    count: usize,
) -> bool {
    let start = match kind {
        1 => source,
        2 => destination,
        _ => return false,
    };
    // For some faults, the system reports only the page.
    let first = start & !0xfff;
    fault.wrapping_sub(first) < count.wrapping_add(start & 0xfff)
}
