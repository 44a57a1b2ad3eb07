//! Slots: elements of an object that are found by a position, with one check of the bounds of all.

#![allow(unsafe_code, reason = "guarded accesses within a mapping")]

use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::sync::Arc;

use zerocopy::IntoBytes;

use crate::error::{Error, Result};
use crate::layout::{Element, Pod};
use crate::peer::faults::Faults;
use crate::peer::memory::Memory;
use crate::peer::opening::Opening;
use crate::peer::session::Session;
use crate::peer::window::{Readable, Window, Writable};
use crate::view::{View, ViewMut, checked_ref};

/// Room for an element that is copied out of a slot.
pub(crate) struct Copied<T> {
    bytes: MaybeUninit<T>,
    /// All bytes were copied.
    is_whole: bool,
}

impl<T: Element> Copied<T> {
    /// Returns room for an element.
    #[inline(always)]
    pub(crate) fn none() -> Self {
        Self { bytes: MaybeUninit::uninit(), is_whole: false }
    }

    /// Returns the element, if one was copied whole, and if its bytes are valid.
    #[inline(always)]
    pub(crate) fn value(&self) -> Option<&T> {
        // SAFETY: all bytes were copied.
        if self.is_whole { unsafe { checked_ref(&self.bytes) } } else { None }
    }
}

/// Slots of an object, a power of two of them, each with an element.
///
/// A position is taken modulo the number of slots, so that no access leaves them.
pub(crate) struct Slots<'m, T, R: Readable = Memory> {
    of: &'m R,
    /// A place of `of`, with all slots.
    place: R::Place,
    /// The number of slots less one.
    mask: u64,
    element: PhantomData<fn() -> T>,
}

impl<T, R: Readable> Clone for Slots<'_, T, R> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, R: Readable> Copy for Slots<'_, T, R> {}

impl<T: Element, R: Readable> Slots<'_, T, R> {
    /// Returns the number of slots.
    #[inline(always)]
    pub(crate) fn count(self) -> u64 {
        self.mask.wrapping_add(1)
    }

    /// Returns the offset of a slot from the first.
    #[inline(always)]
    fn offset(self, position: u64) -> u64 {
        (position & self.mask) * size_of::<T>() as u64
    }

    /// Returns how many slots there are from that of a position to the last, at most `count`.
    #[inline(always)]
    pub(crate) fn run(self, position: u64, count: usize) -> usize {
        let until_end = self.mask + 1 - (position & self.mask);
        usize::try_from(until_end).map_or(count, |until_end| until_end.min(count))
    }

    /// Copies an element out. Its bytes may be arbitrary.
    #[inline(always)]
    pub(crate) fn load(self, position: u64, into: &mut Copied<T>, faults: &mut Faults) {
        // SAFETY: the slot lies in the place, here and below.
        unsafe { self.of.load_element(self.place, self.offset(position), &mut into.bytes, faults) }
        into.is_whole = faults.is_empty();
    }

    /// Prefetches the first cache line of a slot.
    #[inline(always)]
    pub(crate) fn prefetch(self, position: u64) {
        self.of.prefetch_from(self.place, self.offset(position));
    }

    /// Copies elements out, of consecutive positions, up to the last slot. Returns their number.
    #[inline(always)]
    pub(crate) fn load_run(self, position: u64, into: &mut [T], faults: &mut Faults) -> usize
    where
        T: Pod,
    {
        let count = self.run(position, into.len());
        let into = into[..count].as_mut_bytes();
        // SAFETY: as above, for all slots of the run.
        unsafe { self.of.copy_out(self.place, self.offset(position), into, faults) };
        count
    }
}

impl<T: Element, W: Writable> Slots<'_, T, W> {
    /// Copies an element in. A part of it may be written if that fails.
    #[inline(always)]
    pub(crate) fn store(self, position: u64, value: &T, faults: &mut Faults) {
        // SAFETY: as above.
        unsafe { self.of.store_element(self.place, self.offset(position), value, faults) };
    }

    /// Prefetches the memory that will be stored to soon, if the next elements are stored: some cache lines behind a slot.
    #[inline(always)]
    pub(crate) fn prefetch_for_store(self, position: u64) {
        const AHEAD: u64 = 128;
        let ahead = AHEAD / (size_of::<T>() as u64);
        if ahead > 0 {
            self.of.prefetch_for_store(self.place, self.offset(position.wrapping_add(ahead)));
        }
    }

    /// Copies elements in, at consecutive positions, up to the last slot. Returns their number.
    #[inline(always)]
    pub(crate) fn store_run(self, position: u64, values: &[T], faults: &mut Faults) -> usize {
        let count = self.run(position, values.len());
        let from = values[..count].as_bytes();
        // SAFETY: as above.
        unsafe { self.of.copy_in(self.place, self.offset(position), from, faults) };
        count
    }
}

/// The memory of a ring: a block of `CONTROL` bytes of words, and slots. Its bounds are checked once.
pub(crate) struct RingSpan<T, const CONTROL: u64> {
    opening: Arc<Opening>,
    /// The address of the words.
    control: *mut u8,
    /// The offset and the address of the first slot.
    slots_at: u64,
    slots: *mut u8,
    mask: u64,
    element: PhantomData<fn() -> T>,
}

// SAFETY: the addresses are the mapping's, which lives as long as the opening, and may be used by any thread; accesses
// are guarded.
unsafe impl<T, const CONTROL: u64> Send for RingSpan<T, CONTROL> {}
// SAFETY: as above.
unsafe impl<T, const CONTROL: u64> Sync for RingSpan<T, CONTROL> {}

impl<T: Element, const CONTROL: u64> RingSpan<T, CONTROL> {
    /// Creates the memory of a ring with words at an offset and `count` slots, a power of two, after them.
    ///
    /// Fails with `OutOfBounds` if it does not lie within the object.
    pub(crate) fn new(opening: &Arc<Opening>, at: u64, count: u64) -> Result<Self> {
        let memory = opening.memory();
        let control = memory.at(at, CONTROL)?;
        let slots_at = at + CONTROL;
        // A number that is none, from an object that is damaged, lies beyond the end of any.
        let count = if count.is_power_of_two() { count } else { u64::MAX };
        let len = count.saturating_mul(size_of::<T>() as u64);
        let slots = memory.at(slots_at, len)?;
        let opening = Arc::clone(opening);
        Ok(Self { opening, control, slots_at, slots, mask: count - 1, element: PhantomData })
    }

    #[inline(always)]
    pub(crate) fn session(&self) -> &Session {
        self.opening.session()
    }

    /// Returns the words.
    #[inline(always)]
    pub(crate) fn control(&self) -> Window<'_, CONTROL> {
        // SAFETY: `new` has checked the bounds, and the opening lives as long as the borrow.
        unsafe { Window::new(self.opening.memory(), self.control) }
    }

    /// Returns the slots.
    #[inline(always)]
    pub(crate) fn slots(&self) -> Slots<'_, T> {
        let of = self.opening.memory();
        Slots { of, place: self.slots, mask: self.mask, element: PhantomData }
    }

    /// Returns a view of `count` elements from a position on, which must not go beyond the last slot.
    pub(crate) fn view(&self, position: u64, count: usize) -> Result<View<'_, T>> {
        let at = self.slots_at + self.slots().offset(position);
        self.opening.memory().view(at, count as u64)
    }

    /// Returns a writable view like [`view`](Self::view).
    pub(crate) fn view_mut(&self, position: u64, count: usize) -> Result<ViewMut<'_, T>> {
        let at = self.slots_at + self.slots().offset(position);
        self.opening.memory().view_mut(at, count as u64)
    }

    /// Returns the error of accesses of which one has failed.
    #[cold]
    pub(crate) fn fault(&self, faults: &Faults, operation: &'static str) -> Error {
        self.opening.memory().fault(faults.address).with_operation(operation)
    }
}

impl<T, const CONTROL: u64> fmt::Debug for RingSpan<T, CONTROL> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingSpan").field("slots", &(self.mask + 1)).finish_non_exhaustive()
    }
}

#[cfg(test)]
impl<'m, T: Element, W: Writable<Place = u64>> Slots<'m, T, W> {
    /// Returns slots of a simulated memory.
    pub(crate) fn simulated(of: &'m W, at: u64, count: u64) -> Self {
        Self { of, place: at, mask: count - 1, element: PhantomData }
    }
}
