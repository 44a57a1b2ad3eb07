//! Memory of tests: that of a simulated machine, and such of which one access faults.

#![allow(unsafe_code, reason = "implements the traits of memory")]

use std::cell::Cell;
use std::mem::MaybeUninit;

use crate::layout::Element;
use crate::peer::faults::Faults;
use crate::peer::machine::Machine;
use crate::peer::window::{Readable, Writable};

/// The memory of a simulated machine. What its accesses fail with is kept in the faults.
pub(crate) struct Simulated<'a, M>(pub(crate) &'a M);

// SAFETY: places are offsets, and loads are those of the machine.
unsafe impl<M: Machine> Readable for Simulated<'_, M> {
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

    unsafe fn copy_out(&self, place: u64, at: u64, into: &mut [u8], faults: &mut Faults) {
        faults.keep(|| self.0.read(place + at, into));
    }

    unsafe fn load_element<T: Element>(
        &self,
        place: u64,
        at: u64,
        into: &mut MaybeUninit<T>,
        faults: &mut Faults,
    ) {
        *into = MaybeUninit::zeroed();
        let to: *mut u8 = into.as_mut_ptr().cast();
        // SAFETY: the value has room for its own bytes, which are zeros.
        let bytes = unsafe { std::slice::from_raw_parts_mut(to, size_of::<T>()) };
        faults.keep(|| self.0.read(place + at, bytes));
    }

    fn prefetch_from(&self, _: u64, _: u64) {}

    fn prefetch_in<const AT: usize>(&self, _: u64) {}

    fn prefetch(&self, _: u64) {}
}

// SAFETY: as above.
unsafe impl<M: Machine> Writable for Simulated<'_, M> {
    unsafe fn load_32(&self, place: u64, at: u64, faults: &mut Faults) -> u32 {
        faults.keep(|| self.0.load_32(place + at))
    }

    unsafe fn store(&self, place: u64, at: u64, value: u64, faults: &mut Faults) {
        faults.keep(|| self.0.store_64(place + at, value));
    }

    unsafe fn store_32(&self, place: u64, at: u64, value: u32, faults: &mut Faults) {
        faults.keep(|| self.0.store_32(place + at, value));
    }

    unsafe fn compare_exchange(
        &self,
        place: u64,
        at: u64,
        (current, new): (u64, u64),
        faults: &mut Faults,
    ) -> u64 {
        faults.keep(|| self.0.compare_exchange_64(place + at, current, new))
    }

    unsafe fn copy_in(&self, place: u64, at: u64, from: &[u8], faults: &mut Faults) {
        faults.keep(|| self.0.write(place + at, from));
    }

    unsafe fn store_element<T: Element>(
        &self,
        place: u64,
        at: u64,
        value: &T,
        faults: &mut Faults,
    ) {
        faults.keep(|| self.0.write(place + at, value.as_bytes()));
    }

    fn prefetch_for_store(&self, _: u64, _: u64) {}

    fn fence(&self) {
        // A locked instruction that changes nothing.
        let _ = self.0.compare_exchange_64(0, u64::MAX, u64::MAX);
    }
}

/// Memory of which one access faults.
pub(crate) struct Faulty<'a, R> {
    pub(crate) of: &'a R,
    /// The length of the memory.
    pub(crate) len: u64,
    /// The number of accesses before the one that faults.
    pub(crate) before: Cell<u64>,
    /// What that access returns. A store that faults stores nothing.
    pub(crate) value: u64,
}

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

    unsafe fn copy_out(&self, place: R::Place, at: u64, into: &mut [u8], faults: &mut Faults) {
        if !self.faults_now(faults) {
            // SAFETY: as the caller promises.
            unsafe { self.of.copy_out(place, at, into, faults) }
        }
    }

    unsafe fn load_element<T: Element>(
        &self,
        place: R::Place,
        at: u64,
        into: &mut MaybeUninit<T>,
        faults: &mut Faults,
    ) {
        if !self.faults_now(faults) {
            // SAFETY: as the caller promises.
            unsafe { self.of.load_element(place, at, into, faults) }
        }
    }

    fn prefetch_from(&self, _: R::Place, _: u64) {}

    fn prefetch_in<const AT: usize>(&self, _: R::Place) {}

    fn prefetch(&self, _: u64) {}
}

// SAFETY: as above.
unsafe impl<W: Writable> Writable for Faulty<'_, W> {
    unsafe fn load_32(&self, place: W::Place, at: u64, faults: &mut Faults) -> u32 {
        if self.faults_now(faults) {
            return self.value as u32;
        }
        // SAFETY: as the caller promises, here and below.
        unsafe { self.of.load_32(place, at, faults) }
    }

    unsafe fn store(&self, place: W::Place, at: u64, value: u64, faults: &mut Faults) {
        if !self.faults_now(faults) {
            // SAFETY: as above.
            unsafe { self.of.store(place, at, value, faults) }
        }
    }

    unsafe fn store_32(&self, place: W::Place, at: u64, value: u32, faults: &mut Faults) {
        if !self.faults_now(faults) {
            // SAFETY: as above.
            unsafe { self.of.store_32(place, at, value, faults) }
        }
    }

    unsafe fn compare_exchange(
        &self,
        place: W::Place,
        at: u64,
        (current, new): (u64, u64),
        faults: &mut Faults,
    ) -> u64 {
        if self.faults_now(faults) {
            return self.value;
        }
        // SAFETY: as above.
        unsafe { self.of.compare_exchange(place, at, (current, new), faults) }
    }

    unsafe fn copy_in(&self, place: W::Place, at: u64, from: &[u8], faults: &mut Faults) {
        if !self.faults_now(faults) {
            // SAFETY: as above.
            unsafe { self.of.copy_in(place, at, from, faults) }
        }
    }

    unsafe fn store_element<T: Element>(
        &self,
        place: W::Place,
        at: u64,
        value: &T,
        faults: &mut Faults,
    ) {
        if !self.faults_now(faults) {
            // SAFETY: as above.
            unsafe { self.of.store_element(place, at, value, faults) }
        }
    }

    fn prefetch_for_store(&self, _: W::Place, _: u64) {}

    fn fence(&self) {
        self.of.fence();
    }
}
