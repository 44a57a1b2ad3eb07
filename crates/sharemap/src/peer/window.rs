//! Windows: bytes of an object, with one check of their bounds for many loads.

#![allow(unsafe_code, reason = "guarded accesses within a mapping")]

use std::mem::MaybeUninit;
use std::sync::atomic::{Ordering, fence};

use crate::guard::{self, AtomicWord};
use crate::layout::Element;
use crate::peer::faults::Faults;
use crate::peer::memory::Memory;

/// Memory of which windows are made: that of an object, or a simulated one.
///
/// # Safety
/// [`place`](Self::place) returns where `LEN` bytes lie that may be loaded while the memory is borrowed.
pub(crate) unsafe trait Readable {
    /// Where a window lies.
    type Place: Copy;

    /// Returns where the `LEN` bytes at an offset lie; `None` if they do not lie within the object.
    fn place<const LEN: u64>(&self, at: u64) -> Option<Self::Place>;

    /// Loads the word of 64 bits at an offset from a place, with acquire ordering.
    ///
    /// # Safety
    /// This memory has returned the place, for bytes that the word lies within.
    unsafe fn load(&self, place: Self::Place, at: u64, faults: &mut Faults) -> u64;

    /// Loads the word at an offset from a place, and then the next one, both with acquire ordering.
    ///
    /// # Safety
    /// As for [`load`](Self::load), for both words.
    unsafe fn load_pair(&self, place: Self::Place, at: u64, faults: &mut Faults) -> (u64, u64);

    /// Copies bytes at an offset from a place into `into`. The copy is not atomic, except for 4 and 8 bytes.
    ///
    /// # Safety
    /// As for [`load`](Self::load), for all the bytes.
    unsafe fn copy_out(&self, place: Self::Place, at: u64, into: &mut [u8], faults: &mut Faults);

    /// Copies an element out, at an offset from a place. The copy is not atomic, except for elements of 1, 2, 4 and 8
    /// bytes. If it has failed, the bytes are undefined.
    ///
    /// # Safety
    /// As above.
    unsafe fn load_element<T: Element>(
        &self,
        place: Self::Place,
        at: u64,
        into: &mut MaybeUninit<T>,
        faults: &mut Faults,
    );

    /// Prefetches the cache line at an offset from a place.
    fn prefetch_from(&self, place: Self::Place, at: u64);

    /// Prefetches the cache line at an offset from a place.
    fn prefetch_in<const AT: usize>(&self, place: Self::Place);

    /// Prefetches the cache line of an offset in the object, which may be anything.
    fn prefetch(&self, at: u64);
}

/// Memory whose windows may be stored to.
///
/// # Safety
/// As for [`Readable`], and the bytes may be stored to.
pub(crate) unsafe trait Writable: Readable {
    /// Loads the word of 32 bits at an offset from a place, with acquire ordering.
    ///
    /// # Safety
    /// As for [`load`](Readable::load), here and below.
    unsafe fn load_32(&self, place: Self::Place, at: u64, faults: &mut Faults) -> u32;

    /// Stores a word of 64 bits by a plain release store.
    ///
    /// # Safety
    /// As above.
    unsafe fn store(&self, place: Self::Place, at: u64, value: u64, faults: &mut Faults);

    /// Stores a word of 32 bits by a plain release store.
    ///
    /// # Safety
    /// As above.
    unsafe fn store_32(&self, place: Self::Place, at: u64, value: u32, faults: &mut Faults);

    /// Replaces a word of 64 bits by the second of `words` if it is the first, sequentially consistent. Returns its
    /// previous value.
    ///
    /// # Safety
    /// As above.
    unsafe fn compare_exchange(
        &self,
        place: Self::Place,
        at: u64,
        words: (u64, u64),
        faults: &mut Faults,
    ) -> u64;

    /// Copies `from` to an offset from a place, as [`copy_out`](Readable::copy_out) does.
    ///
    /// # Safety
    /// As above.
    unsafe fn copy_in(&self, place: Self::Place, at: u64, from: &[u8], faults: &mut Faults);

    /// Copies an element in, at an offset from a place, as [`load_element`](Readable::load_element) copies it out.
    ///
    /// # Safety
    /// As above.
    unsafe fn store_element<T: Element>(
        &self,
        place: Self::Place,
        at: u64,
        value: &T,
        faults: &mut Faults,
    );

    /// Prefetches the cache line at an offset from a place, for a store.
    fn prefetch_for_store(&self, place: Self::Place, at: u64);

    /// Executes a full fence: all stores before it are visible before all loads after it.
    fn fence(&self);
}

/// The longest element that is copied by single loads and stores.
const SHORT: usize = 64;

/// `LEN` consecutive bytes of an object, a power of two.
///
/// Offsets in a window are taken modulo its length, so that no load leaves it.
#[derive(Debug)]
pub(crate) struct Window<'m, const LEN: u64, R: Readable = Memory> {
    of: &'m R,
    /// A place of `of`, with `LEN` bytes.
    place: R::Place,
}

impl<const LEN: u64, R: Readable> Clone for Window<'_, LEN, R> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<const LEN: u64, R: Readable> Copy for Window<'_, LEN, R> {}

impl<'m, const LEN: u64, R: Readable> Window<'m, LEN, R> {
    /// Returns the window at an offset; `None` if it does not lie within the object.
    #[inline(always)]
    pub(crate) fn at(of: &'m R, at: u64) -> Option<Self> {
        const { assert!(LEN.is_power_of_two() && LEN >= 8) }
        of.place::<LEN>(at).map(|place| Self { of, place })
    }

    /// Returns the window at a place. The memory has checked its bounds before.
    ///
    /// # Safety
    /// The memory has returned the place for `LEN` bytes.
    #[inline(always)]
    pub(super) unsafe fn new(of: &'m R, place: R::Place) -> Self {
        Self { of, place }
    }

    /// Loads the word of 64 bits at an offset in the window, with acquire ordering.
    #[inline(always)]
    pub(crate) fn load(self, at: u64, faults: &mut Faults) -> u64 {
        // SAFETY: the word lies in the window.
        unsafe { self.of.load(self.place, at & (LEN - 8), faults) }
    }

    /// Loads the word of 64 bits at an offset in the window, a multiple of 16, and then the next one, both with acquire
    /// ordering.
    #[inline(always)]
    pub(crate) fn load_pair(self, at: u64, faults: &mut Faults) -> (u64, u64) {
        const { assert!(LEN >= 16) }
        // SAFETY: both words lie in the window.
        unsafe { self.of.load_pair(self.place, at & (LEN - 16), faults) }
    }

    /// Prefetches the cache line of the offset `AT`.
    #[inline(always)]
    pub(crate) fn prefetch<const AT: usize>(self) {
        self.of.prefetch_in::<AT>(self.place);
    }
}

impl<const LEN: u64, W: Writable> Window<'_, LEN, W> {
    /// Executes a full fence: all stores before it are visible before all loads after it.
    #[inline(always)]
    pub(crate) fn fence(self) {
        self.of.fence();
    }

    /// Loads the word of 32 bits at an offset in the window, with acquire ordering.
    #[inline(always)]
    pub(crate) fn load_32(self, at: u64, faults: &mut Faults) -> u32 {
        // SAFETY: the word lies in the window, here and below.
        unsafe { self.of.load_32(self.place, at & (LEN - 4), faults) }
    }

    /// Stores a word of 64 bits at an offset in the window, by a plain release store.
    #[inline(always)]
    pub(crate) fn store(self, at: u64, value: u64, faults: &mut Faults) {
        // SAFETY: as above.
        unsafe { self.of.store(self.place, at & (LEN - 8), value, faults) }
    }

    /// Stores a word of 32 bits at an offset in the window, by a plain release store.
    #[inline(always)]
    pub(crate) fn store_32(self, at: u64, value: u32, faults: &mut Faults) {
        // SAFETY: as above.
        unsafe { self.of.store_32(self.place, at & (LEN - 4), value, faults) }
    }

    /// Replaces the first word of the window by `new` if it is `current`, sequentially consistent. Returns its previous
    /// value; if the access fails, any value.
    #[inline(always)]
    pub(crate) fn compare_exchange(self, current: u64, new: u64, faults: &mut Faults) -> u64 {
        // SAFETY: as above.
        unsafe { self.of.compare_exchange(self.place, 0, (current, new), faults) }
    }
}

// SAFETY: `address_of` checks the bounds in the mapping, which lives as long as the memory.
unsafe impl Readable for Memory {
    type Place = *mut u8;

    #[inline(always)]
    fn place<const LEN: u64>(&self, at: u64) -> Option<*mut u8> {
        self.address_of::<LEN>(at)
    }

    #[inline(always)]
    unsafe fn load(&self, place: *mut u8, at: u64, faults: &mut Faults) -> u64 {
        // SAFETY: the word lies in the mapping, as the caller promises; a misaligned address counts as a fault.
        unsafe { u64::load(place.wrapping_add(at as usize), &mut faults.address) }
    }

    #[inline(always)]
    unsafe fn load_pair(&self, place: *mut u8, at: u64, faults: &mut Faults) -> (u64, u64) {
        // SAFETY: as above, for both words.
        unsafe { guard::load_two::<8>(place.wrapping_add(at as usize), &mut faults.address) }
    }

    #[inline(always)]
    unsafe fn copy_out(&self, place: *mut u8, at: u64, into: &mut [u8], faults: &mut Faults) {
        // SAFETY: as above, for all the bytes.
        unsafe { self.read_at(place.wrapping_add(at as usize), into, &mut faults.address) };
    }

    #[inline(always)]
    unsafe fn load_element<T: Element>(
        &self,
        place: *mut u8,
        at: u64,
        into: &mut MaybeUninit<T>,
        faults: &mut Faults,
    ) {
        let (from, len) = (place.wrapping_add(at as usize), size_of::<T>());
        match len <= SHORT {
            // SAFETY: as above.
            true => *into = unsafe { guard::load(from, &mut faults.address) },
            // SAFETY: as above; the value has room for its own size.
            false => unsafe {
                self.read_bytes(from, into.as_mut_ptr().cast(), len, &mut faults.address)
            },
        }
    }

    #[inline(always)]
    fn prefetch_from(&self, place: *mut u8, at: u64) {
        guard::prefetch::<0>(place.wrapping_add(at as usize));
    }

    #[inline(always)]
    fn prefetch_in<const AT: usize>(&self, place: *mut u8) {
        guard::prefetch::<AT>(place);
    }

    #[inline(always)]
    fn prefetch(&self, at: u64) {
        Self::prefetch(self, at);
    }
}

// SAFETY: as above. Where the mapping may not be stored to, a store faults.
unsafe impl Writable for Memory {
    #[inline(always)]
    unsafe fn load_32(&self, place: *mut u8, at: u64, faults: &mut Faults) -> u32 {
        // SAFETY: as for `load`, here and below.
        unsafe { u32::load(place.wrapping_add(at as usize), &mut faults.address) }
    }

    #[inline(always)]
    unsafe fn store(&self, place: *mut u8, at: u64, value: u64, faults: &mut Faults) {
        let to = place.wrapping_add(at as usize);
        // SAFETY: as above.
        unsafe { u64::store(to, value, Ordering::Release, &mut faults.address) }
    }

    #[inline(always)]
    unsafe fn store_32(&self, place: *mut u8, at: u64, value: u32, faults: &mut Faults) {
        let to = place.wrapping_add(at as usize);
        // SAFETY: as above.
        unsafe { u32::store(to, value, Ordering::Release, &mut faults.address) }
    }

    #[inline(always)]
    unsafe fn compare_exchange(
        &self,
        place: *mut u8,
        at: u64,
        (current, new): (u64, u64),
        faults: &mut Faults,
    ) -> u64 {
        let at = place.wrapping_add(at as usize);
        // SAFETY: as above.
        unsafe { u64::compare_exchange(at, current, new, &mut faults.address) }
    }

    #[inline(always)]
    unsafe fn copy_in(&self, place: *mut u8, at: u64, from: &[u8], faults: &mut Faults) {
        // SAFETY: as above.
        unsafe { self.write_at(place.wrapping_add(at as usize), from, &mut faults.address) };
    }

    #[inline(always)]
    unsafe fn store_element<T: Element>(
        &self,
        place: *mut u8,
        at: u64,
        value: &T,
        faults: &mut Faults,
    ) {
        let to = place.wrapping_add(at as usize);
        match size_of::<T>() <= SHORT {
            // SAFETY: as above.
            true => unsafe { guard::store(to, value, &mut faults.address) },
            // SAFETY: as above.
            false => unsafe {
                self.write_at(to, zerocopy::IntoBytes::as_bytes(value), &mut faults.address)
            },
        }
    }

    #[inline(always)]
    fn prefetch_for_store(&self, place: *mut u8, at: u64) {
        guard::prefetch_for_store(place.wrapping_add(at as usize));
    }

    #[inline(always)]
    fn fence(&self) {
        fence(Ordering::SeqCst);
    }
}
