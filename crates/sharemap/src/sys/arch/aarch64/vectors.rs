//! Guarded accesses to vectors, and copies by vectors.

#![allow(unsafe_code, reason = "the instructions themselves")]

use std::arch::aarch64::{uint8x16_t, vld1q_u8, vst1q_u8};
use std::arch::asm;

use crate::sys::arch::{Scan, Vectors, in_reach};

/// A vector of 16 bytes.
pub(crate) type Narrow = uint8x16_t;

/// The bytes that one site copies: four vectors.
type Quad = [Narrow; 4];

/// Runs a scan, by the only vectors that there are.
#[inline(always)]
pub(crate) fn scan<S: Scan>(scan: S) -> S::Output {
    // SAFETY: NEON is part of the architecture.
    unsafe { scan.run::<Baseline>() }
}

/// The vectors of NEON.
pub(crate) struct Baseline;

impl Vectors for Baseline {
    type Block = [Narrow; 8];
    type Half = [Narrow; 4];

    #[inline(always)]
    unsafe fn load_block(address: *const u8, fault: &mut usize) -> Self::Block {
        // SAFETY: as promised by the caller.
        unsafe { load_eight(address, fault) }
    }

    #[inline(always)]
    unsafe fn load_half(address: *const u8, fault: &mut usize) -> Self::Half {
        // SAFETY: as promised by the caller.
        unsafe { load_quad(address, fault) }
    }
}

/// # Safety
/// As for plain loads.
#[inline(always)]
unsafe fn load_eight(address: *const u8, fault: &mut usize) -> [Narrow; 8] {
    const { assert!(in_reach(0, 128)) }
    let (a, b, c, d): (Narrow, Narrow, Narrow, Narrow);
    let (e, f, g, h): (Narrow, Narrow, Narrow, Narrow);
    // SAFETY: all loads go through x10; a fault is recovered in place.
    unsafe {
        asm!(
            "2: ldp {a:q}, {b:q}, [x10]",
            "ldp {c:q}, {d:q}, [x10, #32]",
            "ldp {e:q}, {f:q}, [x10, #64]",
            "ldp {g:q}, {h:q}, [x10, #96]",
            mark!(),
            a = out(vreg) a, b = out(vreg) b, c = out(vreg) c, d = out(vreg) d,
            e = out(vreg) e, f = out(vreg) f, g = out(vreg) g, h = out(vreg) h,
            inout("x10") address => _, inout("x9") *fault,
            options(nostack, preserves_flags, readonly)
        );
    }
    [a, b, c, d, e, f, g, h]
}

/// # Safety
/// As for plain loads.
#[inline(always)]
pub(super) unsafe fn load_quad(address: *const u8, fault: &mut usize) -> Quad {
    const { assert!(in_reach(0, 64)) }
    let (a, b, c, d): (Narrow, Narrow, Narrow, Narrow);
    // SAFETY: all loads go through x10; a fault is recovered in place.
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
unsafe fn store_quad(address: *mut u8, values: Quad, fault: &mut usize) {
    const { assert!(in_reach(0, 64)) }
    let [a, b, c, d] = values;
    // SAFETY: all stores go through x10; a fault is recovered in place.
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
    // SAFETY: the load goes through x10; a fault is recovered in place.
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
    // SAFETY: the store goes through x10; a fault is recovered in place.
    unsafe {
        asm!("2: str {value:q}, [x10]", mark!(), value = in(vreg) value,
            inout("x10") address => _, inout("x9") *fault,
            options(nostack, preserves_flags));
    }
}

/// Loads two vectors: one at the address, and one `last` bytes after it.
///
/// This function and [`load_ends`] copy a length between two powers of two by accesses that overlap in the
/// middle.
///
/// # Safety
/// As for plain loads.
#[inline(always)]
pub(crate) unsafe fn load_pair(address: *const u8, last: usize, fault: &mut usize) -> [Narrow; 2] {
    // SAFETY: as promised by the caller.
    unsafe { [load_narrow(address, fault), load_narrow(address.add(last), fault)] }
}

/// Loads two vectors at the address, and two `last` bytes after it.
///
/// # Safety
/// As for plain loads.
#[inline(always)]
pub(crate) unsafe fn load_ends(address: *const u8, last: usize, fault: &mut usize) -> [Narrow; 4] {
    // SAFETY: as promised by the caller.
    unsafe {
        let ([a, b], [c, d]) =
            (load_pair(address, 16, fault), load_pair(address.add(last), 16, fault));
        [a, b, c, d]
    }
}

/// Stores the vectors of [`load_pair`], in order.
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
    // SAFETY: as promised by the caller.
    unsafe {
        store_narrow(address, values[0], fault);
        store_narrow(address.add(last), values[1], fault);
    }
}

/// Stores the vectors of [`load_ends`], in order.
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
    // SAFETY: as promised by the caller.
    unsafe {
        store_pair(address, 16, [values[0], values[1]], fault);
        store_pair(address.add(last), 16, [values[2], values[3]], fault);
    }
}

/// Reads 16 bytes from private memory.
///
/// # Safety
/// `from` must have 16 bytes.
#[inline(always)]
pub(crate) unsafe fn take_narrow(from: *const u8) -> Narrow {
    // SAFETY: the caller promises the bytes; NEON is part of the architecture.
    unsafe { vld1q_u8(from) }
}

/// Writes 16 bytes to private memory.
///
/// # Safety
/// `to` must have room for 16 bytes.
#[inline(always)]
pub(crate) unsafe fn give_narrow(to: *mut u8, value: Narrow) {
    // SAFETY: the caller promises the room; NEON is part of the architecture.
    unsafe { vst1q_u8(to, value) }
}

/// Copies more than 64 bytes out of guarded memory. The last block overlaps the previous one. Returns `false`
/// if any access faulted.
///
/// # Safety
/// As for plain loads; `to` must be private memory of at least `len` bytes.
pub(crate) unsafe fn copy_out(from: *const u8, to: *mut u8, len: usize) -> bool {
    let (mut fault, mut at) = (0, 0);
    // SAFETY: `at` plus a block stays within `len` on both sides.
    unsafe {
        while at < len {
            at = at.min(len - size_of::<Quad>());
            let block = load_quad(from.add(at), &mut fault);
            if fault != 0 {
                return false;
            }
            to.add(at).cast::<Quad>().write_unaligned(block);
            at += size_of::<Quad>();
        }
    }
    true
}

/// Copies more than 64 bytes into guarded memory. The last block overlaps the previous one. Returns `false`
/// if any access faulted.
///
/// # Safety
/// As for plain stores; `from` must be private memory of at least `len` bytes.
pub(crate) unsafe fn copy_in(to: *mut u8, from: *const u8, len: usize) -> bool {
    let (mut fault, mut at) = (0, 0);
    // SAFETY: `at` plus a block stays within `len` on both sides.
    unsafe {
        while at < len {
            at = at.min(len - size_of::<Quad>());
            let block = from.add(at).cast::<Quad>().read_unaligned();
            store_quad(to.add(at), block, &mut fault);
            if fault != 0 {
                return false;
            }
            at += size_of::<Quad>();
        }
    }
    true
}

/// Returns `false`: there are no wider vectors than those of [`copy_out`].
///
/// # Safety
/// None.
#[inline(always)]
pub(crate) unsafe fn copy_out_widest(_: *const u8, _: *mut u8, _: usize) -> bool {
    false
}

/// Returns `false`, and copies nothing: there are no wider vectors.
///
/// # Safety
/// None.
#[inline(always)]
pub(crate) unsafe fn copy_out_directly(_: *const u8, _: *mut u8, _: usize) -> bool {
    false
}

/// Returns `false`: there are no wider vectors than those of [`copy_in`].
///
/// # Safety
/// None.
#[inline(always)]
pub(crate) unsafe fn copy_in_widest(_: *mut u8, _: *const u8, _: usize) -> bool {
    false
}

/// Returns `false`, and copies nothing: there are no wider vectors.
///
/// # Safety
/// None.
#[inline(always)]
pub(crate) unsafe fn copy_in_directly(_: *mut u8, _: *const u8, _: usize) -> bool {
    false
}

/// Examines no bytes: there are no wider vectors, so the caller counts by blocks.
///
/// # Safety
/// None.
#[inline(always)]
pub(crate) unsafe fn count_bytes(_: *const u8, _: usize, _: u8) -> (usize, usize) {
    (0, 0)
}
