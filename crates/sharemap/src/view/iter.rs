//! Iteration over a view element by element.

#![allow(unsafe_code, reason = "guarded accesses within a view")]

use std::convert::Infallible;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::{View, checked};
use crate::error::{Error, Result};
use crate::guard::{self, Scan, Vectors};
use crate::layout::Element;

/// An iterator over the elements of a view, returned by [`View::iter`].
///
/// Each item is `Ok` with an element, up to the first element that cannot be read, which is an `Err`
/// and the last item.
///
/// [`fold`](Iterator::fold), `for_each`, `count` and [`try_fold`](Iter::try_fold) load whole blocks by
/// the widest vectors that the processor has, and are as fast as over a slice, or faster. A `for` loop
/// loads one element at a time, and has a fifth of that speed if the data is in the cache. So have the
/// other methods of [`Iterator`] that can end early, among them `sum::<Result<_>>()`.
/// [`View::values`] gives plain elements, the sum of which is fast, and [`View::blocks`] gives a `for`
/// loop the speed of a fold.
///
/// # Examples
/// ```
/// # fn main() -> sharemap::Result<()> {
/// # let map = sharemap::MappingMut::anonymous(4096)?;
/// let view = map.view::<u64>()?;
/// let mut most = 0;
/// for number in view.iter() {
///     most = most.max(number?);
/// }
/// # assert_eq!(most, 0);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Iter<'a, T> {
    pub(super) view: View<'a, T>,
    /// The index of the next element.
    pub(super) next: usize,
}

impl<'a, T: Element> Iter<'a, T> {
    pub(super) fn new(view: View<'a, T>) -> Self {
        Self { view, next: 0 }
    }

    /// Reads an element that is not accessed in place into `copy`. `None` at the end.
    ///
    /// The view comes by value: a borrow would keep the iterator in memory, and each step would wait
    /// for the store of the previous one.
    #[cold]
    #[inline(never)]
    fn by_call(view: View<'a, T>, index: usize, copy: &mut MaybeUninit<T>) -> Option<Result<()>> {
        (index < view.len).then(|| {
            copy.write(view.get(index)?);
            Ok(())
        })
    }

    /// Returns the error of a load that faulted or gave an invalid value.
    #[cold]
    #[inline(never)]
    fn failed(view: View<'a, T>, index: usize, fault: usize) -> Error {
        if fault == 0 { view.invalid(index) } else { view.fault("read", fault) }
    }

    /// Folds the elements, until `function` returns an error. This is as fast as over a slice.
    ///
    /// The function receives each item as a `Result`, and decides what a fault means.
    ///
    /// # Errors
    /// The error that `function` returned.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let map = sharemap::MappingMut::anonymous(4096)?;
    /// let weights = map.view::<f32>()?;
    /// let sum = weights.iter().try_fold(0.0, |sum, weight| weight.map(|weight| sum + weight))?;
    /// # assert_eq!(sum, 0.0);
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn try_fold<A, E>(
        &mut self,
        init: A,
        mut function: impl FnMut(A, Result<T>) -> std::result::Result<A, E>,
    ) -> std::result::Result<A, E> {
        let mut state = init;
        let per_buffer = Buffer::<T>::ELEMENTS;
        loop {
            if per_buffer > 0 && self.view.in_place.saturating_sub(self.next) >= per_buffer {
                let (view, next) = (self.view, self.next);
                let stop = guard::scan(Fold { view, next, state, function, error: PhantomData });
                self.next = stop.next;
                function = stop.function;
                state = stop.state?;
            }
            // The elements of a buffer that could not be loaded or has an invalid element, or the last.
            for _ in 0..per_buffer.max(1) {
                match self.next() {
                    Some(item) => state = function(state, item)?,
                    None => return Ok(state),
                }
            }
        }
    }
}

/// The elements that are loaded at a time: four cache lines, aligned for `T`, too.
#[repr(C, align(64))]
struct Buffer<T> {
    bytes: MaybeUninit<[u8; 256]>,
    aligned: [T; 0],
}

impl<T: Element> Buffer<T> {
    /// The number of whole elements in a buffer.
    const ELEMENTS: usize = 256 / if size_of::<T>() == 0 { 1 } else { size_of::<T>() };
}

/// The distance in bytes at which long scans prefetch: one page.
///
/// Processors prefetch by themselves, but not past the end of a page. At the start of each page a scan waits for
/// its translation and its first lines, and wide vectors reach that point sooner. One prefetch for each buffer
/// gives a fifth from memory, whether the memory is idle or busy. In cache it would take some hundredths.
const AHEAD: usize = 4096;

/// The number of bytes from which on a scan is long: more than the caches of one processor tend to have.
const LONG: usize = 1 << 20;

/// A fold over whole buffers, up to the first element that cannot be read.
struct Fold<'a, T, A, E, F> {
    view: View<'a, T>,
    next: usize,
    state: A,
    function: F,
    error: PhantomData<E>,
}

/// The end of a fold in place: the next element, the result so far, and the function.
pub(super) struct Stop<A, E, F> {
    pub(super) next: usize,
    pub(super) state: std::result::Result<A, E>,
    pub(super) function: F,
}

impl<T, A, E, F> Scan for Fold<'_, T, A, E, F>
where
    T: Element,
    F: FnMut(A, Result<T>) -> std::result::Result<A, E>,
{
    type Output = Stop<A, E, F>;

    #[inline(always)]
    unsafe fn run<V: Vectors>(self) -> Stop<A, E, F> {
        let Fold { view, mut next, mut state, mut function, .. } = self;
        let left = view.in_place.saturating_sub(next);
        let end = next + (left - left % Buffer::<T>::ELEMENTS);
        let is_long = (end - next) * size_of::<T>() >= LONG;
        while next != end {
            let mut fault = 0;
            let mut buffer = Buffer::<T> { bytes: MaybeUninit::uninit(), aligned: [] };
            let elements: *mut MaybeUninit<T> = (&raw mut buffer.bytes).cast();
            if is_long {
                guard::prefetch::<AHEAD>(view.at(next));
            }
            // SAFETY: so many elements are left in the view, and fit into the buffer, which is
            // aligned for them. The caller has made sure of the vectors.
            unsafe {
                let (to, from) = (elements.cast(), view.at(next));
                guard::load_by::<V, T>(to, from, Buffer::<T>::ELEMENTS, &mut fault);
            }
            if fault != 0 {
                break;
            }
            for index in 0..Buffer::<T>::ELEMENTS {
                // SAFETY: one of the elements just loaded.
                let Some(value) = (unsafe { checked(*elements.add(index)) }) else {
                    return Stop { next: next + index, state: Ok(state), function };
                };
                match function(state, Ok(value)) {
                    Ok(changed) => state = changed,
                    Err(error) => {
                        return Stop { next: next + index + 1, state: Err(error), function };
                    }
                }
            }
            next += Buffer::<T>::ELEMENTS;
        }
        Stop { next, state: Ok(state), function }
    }
}

impl<T: Element> Iterator for Iter<'_, T> {
    type Item = Result<T>;

    #[inline]
    fn next(&mut self) -> Option<Result<T>> {
        let mut copy = MaybeUninit::uninit();
        let mut from: *const u8 = self.view.at(self.next);
        if self.next >= self.view.in_place {
            match Self::by_call(self.view, self.next, &mut copy)? {
                Ok(()) => from = copy.as_ptr().cast(),
                Err(error) => {
                    self.next = self.view.len;
                    return Some(Err(error));
                }
            }
        }
        // Every element comes from this load, a copy made by a system call, too: only errors leave the
        // loop around `next`, and no value has to be merged with a value from another way.
        let mut fault = 0;
        // SAFETY: within the view, of which the backing keeps the memory, or the copy.
        let value = unsafe { guard::load::<T>(from, &mut fault) };
        if fault == 0 {
            // SAFETY: the load has not failed.
            if let Some(value) = unsafe { checked(value) } {
                self.next += 1;
                return Some(Ok(value));
            }
        }
        let error = Self::failed(self.view, self.next, fault);
        self.next = self.view.len;
        Some(Err(error))
    }

    #[inline]
    fn fold<B, F: FnMut(B, Result<T>) -> B>(mut self, init: B, mut function: F) -> B {
        let Ok(state) =
            self.try_fold(init, move |state, item| Ok::<B, Infallible>(function(state, item)));
        state
    }

    #[inline]
    fn nth(&mut self, count: usize) -> Option<Result<T>> {
        self.next = self.next.saturating_add(count).min(self.view.len);
        self.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.view.len - self.next;
        (left.min(1), Some(left))
    }
}

impl<T: Element> std::iter::FusedIterator for Iter<'_, T> {}
