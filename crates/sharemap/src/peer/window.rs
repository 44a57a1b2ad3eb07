//! Windows: bytes of an object, with one check of their bounds for many loads.

#![allow(unsafe_code, reason = "guarded accesses within a mapping")]

use crate::guard::{self, AtomicWord};
use crate::peer::memory::Memory;
use crate::peer::part::Faults;

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

    /// Prefetches the cache line at an offset from a place.
    fn prefetch_in<const AT: usize>(&self, place: Self::Place);

    /// Prefetches the cache line of an offset in the object, which may be anything.
    fn prefetch(&self, at: u64);
}

/// `LEN` consecutive bytes of an object, a power of two. What is loaded is chosen by numbers that are known at run time
/// only, as opposed to a [`Part`](super::Part).
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
    fn prefetch_in<const AT: usize>(&self, place: *mut u8) {
        guard::prefetch::<AT>(place);
    }

    #[inline(always)]
    fn prefetch(&self, at: u64) {
        Self::prefetch(self, at);
    }
}

/// The memory of a simulated machine. What its accesses fail with is kept in the faults.
#[cfg(test)]
pub(crate) struct Simulated<'a, M>(pub(crate) &'a M);

#[cfg(test)]
// SAFETY: places are offsets, and loads are those of the machine.
unsafe impl<M: super::Machine> Readable for Simulated<'_, M> {
    type Place = u64;

    fn place<const LEN: u64>(&self, at: u64) -> Option<u64> {
        // The machine's memory is much shorter.
        (at < 1 << 40).then_some(at)
    }

    unsafe fn load(&self, place: u64, at: u64, faults: &mut Faults) -> u64 {
        faults.keep(|| self.0.load_64(place + at))
    }

    unsafe fn load_pair(&self, place: u64, at: u64, faults: &mut Faults) -> (u64, u64) {
        let first = faults.keep(|| self.0.load_64(place + at));
        (first, faults.keep(|| self.0.load_64(place + at + 8)))
    }

    fn prefetch_in<const AT: usize>(&self, _: u64) {}

    fn prefetch(&self, _: u64) {}
}

/// Memory of which one load faults.
#[cfg(test)]
pub(crate) struct Faulty<'a, R> {
    pub(crate) of: &'a R,
    /// The length of the memory.
    pub(crate) len: u64,
    /// The number of loads before the one that faults.
    pub(crate) before: std::cell::Cell<u64>,
    /// What that load returns.
    pub(crate) value: u64,
}

#[cfg(test)]
impl<R> Faulty<'_, R> {
    fn faults_now(&self, faults: &mut Faults) -> bool {
        let before = self.before.get();
        self.before.set(before.wrapping_sub(1));
        if before == 0 {
            faults.address = 1;
        }
        before == 0
    }
}

#[cfg(test)]
// SAFETY: places and loads are those of the other memory.
unsafe impl<R: Readable> Readable for Faulty<'_, R> {
    type Place = R::Place;

    fn place<const LEN: u64>(&self, at: u64) -> Option<R::Place> {
        let is_within = at.checked_add(LEN).is_some_and(|end| end <= self.len);
        if is_within { self.of.place::<LEN>(at) } else { None }
    }

    unsafe fn load(&self, place: R::Place, at: u64, faults: &mut Faults) -> u64 {
        if self.faults_now(faults) {
            return self.value;
        }
        // SAFETY: as the caller promises.
        unsafe { self.of.load(place, at, faults) }
    }

    unsafe fn load_pair(&self, place: R::Place, at: u64, faults: &mut Faults) -> (u64, u64) {
        if self.faults_now(faults) {
            return (self.value, self.value);
        }
        // SAFETY: as the caller promises.
        unsafe { self.of.load_pair(place, at, faults) }
    }

    fn prefetch_in<const AT: usize>(&self, _: R::Place) {}

    fn prefetch(&self, _: u64) {}
}
