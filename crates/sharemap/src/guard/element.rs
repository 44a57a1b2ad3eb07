//! Guarded loads and stores of single elements and short runs of them, in place.

#![allow(unsafe_code, reason = "guarded accesses")]

use std::mem::MaybeUninit;

use crate::layout::Element;
use crate::sys::arch::{self, Baseline, Vectors};

/// Loads an element's bytes, which are undefined if `fault` is set afterwards. `fault` is the address of
/// the first fault, and may be passed to many loads.
///
/// Elements of 1, 2, 4 and 8 bytes are loaded by one instruction, and are not torn if aligned.
///
/// # Safety
/// `from` must lie in a span of this crate's own, to which no reference exists.
#[inline(always)]
pub(crate) unsafe fn load<T: Element>(from: *const u8, fault: &mut usize) -> MaybeUninit<T> {
    let mut value = MaybeUninit::uninit();
    // SAFETY: the value has room for its own bytes; `from` is as promised by the caller.
    unsafe { load_bytes::<T>((&raw mut value).cast(), from, 1, fault) };
    value
}

/// Loads `count` elements into private memory. The count is a constant wherever the function is inlined.
///
/// # Safety
/// As for [`load`]; `to` must have room for the elements.
#[inline(always)]
pub(crate) unsafe fn load_bytes<T: Element>(
    to: *mut u8,
    from: *const u8,
    count: usize,
    fault: &mut usize,
) {
    // SAFETY: as promised by the caller; every processor of the target has these vectors.
    unsafe { load_by::<Baseline, T>(to, from, count, fault) }
}

/// Loads `count` elements into private memory by the given vectors.
///
/// # Safety
/// As for [`load_bytes`]; the processor must have the vectors.
#[inline(always)]
pub(crate) unsafe fn load_by<V: Vectors, T: Element>(
    to: *mut u8,
    from: *const u8,
    count: usize,
    fault: &mut usize,
) {
    let len = size_of::<T>() * count;
    let mut done = 0;
    // SAFETY: `done` plus the width of each access is at most `len`.
    unsafe {
        while len - done >= size_of::<V::Block>() {
            let block = V::load_block(from.add(done), fault);
            to.add(done).cast::<V::Block>().write_unaligned(block);
            done += size_of::<V::Block>();
        }
        while len - done >= size_of::<V::Half>() {
            let half = V::load_half(from.add(done), fault);
            to.add(done).cast::<V::Half>().write_unaligned(half);
            done += size_of::<V::Half>();
        }
        while len - done >= 16 {
            arch::give_narrow(to.add(done), arch::load_narrow(from.add(done), fault));
            done += 16;
        }
        if len - done >= 8 {
            let value = arch::load_64(from.add(done), fault);
            to.add(done).cast::<u64>().write_unaligned(value);
            done += 8;
        }
        if len - done >= 4 {
            let value = arch::load_32(from.add(done), fault);
            to.add(done).cast::<u32>().write_unaligned(value);
            done += 4;
        }
        if len - done >= 2 {
            let value = arch::load_16(from.add(done), fault);
            to.add(done).cast::<u16>().write_unaligned(value);
            done += 2;
        }
        if len - done >= 1 {
            to.add(done).write(arch::load_8(from.add(done), fault));
        }
    }
}

/// Prefetches the cache line `AT` bytes behind an address, which may be unmapped: a prefetch never faults.
#[inline(always)]
pub(crate) fn prefetch<const AT: usize>(address: *const u8) {
    arch::prefetch::<AT>(address);
}

/// Stores an element's bytes, in order. Elements of 1, 2, 4 and 8 bytes are stored by one instruction.
///
/// # Safety
/// As for [`load`].
#[inline(always)]
pub(crate) unsafe fn store<T: Element>(to: *mut u8, value: &T, fault: &mut usize) {
    let from: *const u8 = std::ptr::from_ref(value).cast();
    let len = size_of::<T>();
    let mut done = 0;
    // SAFETY: `done` plus the width of each access is at most the element's size.
    unsafe {
        while len - done >= 16 {
            arch::store_narrow(to.add(done), arch::take_narrow(from.add(done)), fault);
            done += 16;
        }
        if len - done >= 8 {
            arch::store_64(to.add(done), from.add(done).cast::<u64>().read_unaligned(), fault);
            done += 8;
        }
        if len - done >= 4 {
            arch::store_32(to.add(done), from.add(done).cast::<u32>().read_unaligned(), fault);
            done += 4;
        }
        if len - done >= 2 {
            arch::store_16(to.add(done), from.add(done).cast::<u16>().read_unaligned(), fault);
            done += 2;
        }
        if len - done >= 1 {
            arch::store_8(to.add(done), from.add(done).read(), fault);
        }
    }
}
