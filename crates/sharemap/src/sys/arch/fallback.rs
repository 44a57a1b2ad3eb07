//! Guarded accesses for architectures without recoverable ones: every load and store is a system call that
//! copies. There are no atomics: callers check [`AVAILABLE`] first, and an atomic access counts as faulted.

#![allow(unsafe_code, reason = "raw addresses")]

use crate::sys::arch::{Scan, Vectors};
use crate::sys::fault::{copy_from_foreign, copy_to_foreign};

/// `true` if this architecture has recoverable accesses.
pub(crate) const AVAILABLE: bool = false;

/// A vector of 16 bytes.
pub(crate) type Narrow = [u8; 16];

unsafe fn load<T: Copy + Default>(address: *const u8, fault: &mut usize) -> T {
    let mut value = T::default();
    // SAFETY: the value has room for its own bytes; the system checks the source.
    let done = unsafe { copy_from_foreign(address, (&raw mut value).cast(), size_of::<T>()) };
    note(address, done, size_of::<T>(), fault);
    value
}

unsafe fn store<T: Copy>(address: *mut u8, value: T, fault: &mut usize) {
    // SAFETY: the value has its own bytes; the system checks the destination.
    let done = unsafe { copy_to_foreign(address, (&raw const value).cast(), size_of::<T>()) };
    note(address, done, size_of::<T>(), fault);
}

fn note(address: *const u8, done: usize, wanted: usize, fault: &mut usize) {
    if done < wanted && *fault == 0 {
        *fault = (address as usize).wrapping_add(done).max(1);
    }
}

/// Does nothing, because the processor may not have prefetches.
pub(crate) fn prefetch<const AT: usize>(_: *const u8) {}

/// Does nothing, like [`prefetch`].
pub(crate) fn prefetch_for_store(_: *const u8) {}

macro_rules! plain {
    ($($load:ident, $store:ident, $type:ty;)*) => { $(
        /// # Safety
        /// The bytes at `address` may be unmapped, but must not be memory of Rust values.
        pub(crate) unsafe fn $load(address: *const u8, fault: &mut usize) -> $type {
            // SAFETY: as promised by the caller.
            unsafe { load(address, fault) }
        }

        /// # Safety
        /// The bytes at `address` may be unmapped, but must not be memory of Rust values.
        pub(crate) unsafe fn $store(address: *mut u8, value: $type, fault: &mut usize) {
            // SAFETY: as promised by the caller.
            unsafe { store(address, value, fault) }
        }
    )* };
}

plain! {
    load_8, store_8, u8;
    load_16, store_16, u16;
    load_32, store_32, u32;
    load_64, store_64, u64;
    load_narrow, store_narrow, Narrow;
}

/// Runs a scan.
#[inline(always)]
pub(crate) fn scan<S: Scan>(scan: S) -> S::Output {
    // SAFETY: the vectors are arrays of bytes.
    unsafe { scan.run::<Baseline>() }
}

/// Arrays in the place of vectors.
pub(crate) struct Baseline;

impl Vectors for Baseline {
    type Block = [Narrow; 8];
    type Half = [Narrow; 4];

    unsafe fn load_block(address: *const u8, fault: &mut usize) -> Self::Block {
        // SAFETY: as promised by the caller.
        unsafe { load(address, fault) }
    }

    unsafe fn load_half(address: *const u8, fault: &mut usize) -> Self::Half {
        // SAFETY: as promised by the caller.
        unsafe { load(address, fault) }
    }
}

/// Loads two vectors: one at the address, and one `last` bytes after it.
///
/// This function and [`load_ends`] copy a length between two powers of two by accesses that overlap in the
/// middle.
///
/// # Safety
/// As for plain loads.
pub(crate) unsafe fn load_pair(address: *const u8, last: usize, fault: &mut usize) -> [Narrow; 2] {
    // SAFETY: as promised by the caller.
    unsafe { [load_narrow(address, fault), load_narrow(address.add(last), fault)] }
}

/// Loads two vectors at the address, and two `last` bytes after it.
///
/// # Safety
/// As for plain loads.
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
pub(crate) unsafe fn take_narrow(from: *const u8) -> Narrow {
    // SAFETY: the caller promises the bytes.
    unsafe { from.cast::<Narrow>().read() }
}

/// Writes 16 bytes to private memory.
///
/// # Safety
/// `to` must have room for 16 bytes.
pub(crate) unsafe fn give_narrow(to: *mut u8, value: Narrow) {
    // SAFETY: the caller promises the room.
    unsafe { to.cast::<Narrow>().write(value) }
}

/// Copies out of guarded memory. Returns `false` if any byte faulted.
///
/// # Safety
/// As for plain loads; `to` must be private memory of at least `len` bytes.
pub(crate) unsafe fn copy_out(from: *const u8, to: *mut u8, len: usize) -> bool {
    // SAFETY: as promised by the caller.
    unsafe { copy_from_foreign(from, to, len) == len }
}

/// Copies into guarded memory. Returns `false` if any byte faulted.
///
/// # Safety
/// As for plain stores; `from` must be private memory of at least `len` bytes.
pub(crate) unsafe fn copy_in(to: *mut u8, from: *const u8, len: usize) -> bool {
    // SAFETY: as promised by the caller.
    unsafe { copy_to_foreign(to, from, len) == len }
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
pub(crate) unsafe fn copy_in_directly(_: *mut u8, _: *const u8, _: usize) -> bool {
    false
}

macro_rules! no_atomics {
    ($($int:ty: $load:ident $store:ident $swap:ident $compare_exchange:ident $fetch_add:ident;)*) => { $(
        /// # Safety
        /// None.
        pub(crate) unsafe fn $load(address: *const u8, fault: &mut usize) -> $int {
            note(address, 0, 1, fault);
            0
        }
        /// # Safety
        /// None.
        pub(crate) unsafe fn $store(address: *mut u8, _: $int, fault: &mut usize) {
            note(address, 0, 1, fault);
        }
        /// # Safety
        /// None.
        pub(crate) unsafe fn $swap(address: *mut u8, _: $int, fault: &mut usize) -> $int {
            note(address, 0, 1, fault);
            0
        }
        /// # Safety
        /// None.
        pub(crate) unsafe fn $compare_exchange(address: *mut u8, _: $int, _: $int, fault: &mut usize) -> $int {
            note(address, 0, 1, fault);
            0
        }
        /// # Safety
        /// None.
        pub(crate) unsafe fn $fetch_add(address: *mut u8, _: $int, fault: &mut usize) -> $int {
            note(address, 0, 1, fault);
            0
        }
    )* };
}

no_atomics! {
    u32: atomic_load_32 atomic_store_32 atomic_swap_32 atomic_compare_exchange_32 atomic_fetch_add_32;
    u64: atomic_load_64 atomic_store_64 atomic_swap_64 atomic_compare_exchange_64 atomic_fetch_add_64;
}

/// Examines no bytes: there are no wider vectors, so the caller counts by blocks.
///
/// # Safety
/// None.
#[inline(always)]
pub(crate) unsafe fn count_bytes(_: *const u8, _: usize, _: u8) -> (usize, usize) {
    (0, 0)
}

/// Examines no bytes: the caller copies them, many at a time.
///
/// # Safety
/// None.
#[inline(always)]
pub(crate) unsafe fn find_byte(_: *const u8, _: usize, _: u8) -> (usize, u64) {
    (0, 0)
}

/// Examines no bytes: the caller copies them, many at a time.
///
/// # Safety
/// None.
#[inline(always)]
pub(crate) unsafe fn find_pair(_: *const u8, _: usize, _: [u8; 2], _: usize) -> (usize, u64) {
    (0, 0)
}

/// Returns `None`: no code is a site.
///
/// # Safety
/// None.
pub(crate) unsafe fn site_kind(_: usize, _: impl Fn(usize) -> bool) -> Option<u8> {
    None
}
