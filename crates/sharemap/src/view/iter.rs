//! Iteration over a view element by element.

#![allow(unsafe_code, reason = "guarded accesses within a view")]

use std::convert::Infallible;
use std::mem::MaybeUninit;

use super::{View, checked};
use crate::error::Result;
use crate::guard;
use crate::layout::Element;

/// An iterator over the elements of a view, returned by [`View::iter`].
///
/// Each item is `Ok` with an element, up to the first element that cannot be read, which is an `Err`
/// and the last item.
///
/// A `for` loop is convenient, and half as fast as one over a slice if the data is in the cache.
/// [`fold`](Iterator::fold), `for_each` and [`try_fold`](Iter::try_fold) load blocks, and are as fast
/// as over a slice. [`View::blocks`] gives a `for` loop that speed.
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
    view: View<'a, T>,
    next: usize,
}

/// The elements that are loaded at a time: four cache lines, aligned for `T`, too.
#[repr(C, align(64))]
struct Buffer<T> {
    bytes: MaybeUninit<[u8; 256]>,
    aligned: [T; 0],
}

impl<'a, T: Element> Iter<'a, T> {
    pub(super) fn new(view: View<'a, T>) -> Self {
        Self { view, next: 0 }
    }

    /// Reads the element at `index` after a load that faulted, gave an invalid value, or was not made;
    /// `None` at the end. Takes the view by value: a cold path that borrowed the iterator would keep it
    /// in memory, and each step would wait for the store of the previous one.
    #[cold]
    #[inline(never)]
    fn by_call(view: View<'a, T>, index: usize) -> Option<Result<T>> {
        (index < view.len).then(|| view.get(index))
    }

    const PER_BUFFER: usize = 256 / if size_of::<T>() == 0 { 1 } else { size_of::<T>() };

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
        loop {
            let mut fault = 0;
            while Self::PER_BUFFER > 0
                && self.view.in_place.saturating_sub(self.next) >= Self::PER_BUFFER
            {
                let mut buffer = Buffer::<T> { bytes: MaybeUninit::uninit(), aligned: [] };
                let elements: *mut MaybeUninit<T> = (&raw mut buffer.bytes).cast();
                // SAFETY: so many elements are left in the view, and fit into the buffer, which is
                // aligned for them.
                unsafe {
                    let from = self.view.at(self.next);
                    guard::load_bytes::<T>(elements.cast(), from, Self::PER_BUFFER, &mut fault);
                }
                if fault != 0 {
                    break;
                }
                for index in 0..Self::PER_BUFFER {
                    // SAFETY: one of the elements just loaded.
                    let Some(value) = checked(unsafe { *elements.add(index) }) else {
                        let error = self.view.invalid(self.next + index);
                        self.next = self.view.len;
                        return function(state, Err(error));
                    };
                    match function(state, Ok(value)) {
                        Ok(next) => state = next,
                        Err(error) => {
                            self.next += index + 1;
                            return Err(error);
                        }
                    }
                }
                self.next += Self::PER_BUFFER;
            }
            for _ in 0..Self::PER_BUFFER.max(1) {
                match self.next() {
                    Some(item) => state = function(state, item)?,
                    None => return Ok(state),
                }
            }
        }
    }
}

impl<T: Element> Iterator for Iter<'_, T> {
    type Item = Result<T>;

    #[inline]
    fn next(&mut self) -> Option<Result<T>> {
        if self.next < self.view.in_place {
            let mut fault = 0;
            // SAFETY: within the view, whose memory the backing keeps.
            let value = unsafe { guard::load::<T>(self.view.at(self.next), &mut fault) };
            if fault == 0 {
                if let Some(value) = checked(value) {
                    self.next += 1;
                    return Some(Ok(value));
                }
            }
        }
        let item = Self::by_call(self.view, self.next);
        self.next = match item {
            Some(Ok(_)) => self.next + 1,
            _ => self.view.len,
        };
        item
    }

    #[inline]
    fn fold<B, F: FnMut(B, Result<T>) -> B>(mut self, init: B, mut function: F) -> B {
        let Ok(state) =
            self.try_fold(init, |state, item| Ok::<B, Infallible>(function(state, item)));
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
