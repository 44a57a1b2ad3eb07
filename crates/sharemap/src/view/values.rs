//! Iteration over the plain elements of a view, with one check at the end.

#![allow(unsafe_code, reason = "guarded accesses within a view")]

use std::cell::Cell;
use std::fmt;
use std::mem::MaybeUninit;

use super::{Iter, View, checked};
use crate::error::{Error, Result};
use crate::guard;
use crate::layout::Element;

impl<T: Element> View<'_, T> {
    /// Calls `function` with an iterator over the elements, and returns its result.
    ///
    /// The items are plain elements. If an element cannot be read, the iterator ends before it, the
    /// result of `function` is discarded, and `values` returns the error. Whatever else `function` did
    /// with the elements before stays done.
    ///
    /// [`Values`] says which of its methods are fast.
    ///
    /// # Errors
    /// - `Fault` - an element that the iterator arrived at could not be accessed.
    /// - `Invalid` - the bytes of such an element are not a valid value of `T`.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let map = MappingMut::anonymous(8 * 100)?;
    /// let numbers = map.view::<u64>()?;
    /// numbers.set(70, 30)?;
    /// assert_eq!(numbers.values(|values| values.sum::<u64>())?, 30);
    /// let place = numbers.values(|mut values| values.position(|value| value > 7))?;
    /// assert_eq!(place, Some(70));
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn values<R>(&self, function: impl FnOnce(Values<'_, T>) -> R) -> Result<R> {
        let mut buffer = Buffer::<T> { bytes: MaybeUninit::uninit() };
        // SAFETY: the buffer has room for so many elements, is aligned for them, and is used only here.
        let buffer = unsafe {
            std::slice::from_raw_parts_mut((&raw mut buffer).cast(), Buffer::<T>::ELEMENTS)
        };
        let error = Cell::new(None);
        let rest = self.iter();
        let result = function(Values { buffer, next: 0, end: 0, rest, error: &error });
        match error.into_inner() {
            None => Ok(result),
            Some(error) => Err(error),
        }
    }
}

/// An iterator over the plain elements of a view, which [`View::values`] passes to its function.
///
/// It ends with the view, or before the first element that cannot be read; `values` then returns the
/// error.
///
/// [`fold`](Iterator::fold) and the methods that are made of it load blocks by the widest vectors that the
/// processor has, and are as fast as over a slice: `sum`, `product`, `for_each`, `count`, `max`, `min` and
/// the like, also after `map`, `filter`, `enumerate` and other adapters that pass folds on. These methods
/// take the iterator by value: through a `&mut` of it, they are as slow as a loop.
///
/// A `for` loop copies up to 2 KiB ahead, like [`read_at`](View::read_at), and is nearly as fast as a loop
/// over a slice that uses no vectors. An element may thus be older than the moment at which it is returned.
///
/// # Examples
/// ```
/// # use sharemap::*;
/// # fn main() -> Result<()> {
/// let map = MappingMut::anonymous(4096)?;
/// let weights = map.view::<f32>()?;
/// weights.fill(0.5)?;
/// let squares = weights.values(|values| values.map(|weight| weight * weight).sum::<f32>())?;
/// assert_eq!(squares, 256.0);
///
/// let mut most = 0.0;
/// weights.values(|values| {
///     for weight in values {
///         most = weight.max(most);
///     }
/// })?;
/// assert_eq!(most, 0.5);
/// # Ok(()) }
/// ```
pub struct Values<'a, T> {
    /// Elements that were copied ahead. The buffer belongs to the caller: in the iterator itself, it would
    /// keep the iterator in memory.
    buffer: &'a mut [MaybeUninit<T>],
    /// The index of the next element in the buffer.
    next: usize,
    /// The number of elements that were copied to the buffer, at most its length.
    end: usize,
    /// The elements after those in the buffer.
    rest: Iter<'a, T>,
    /// The error that ended the iteration.
    error: &'a Cell<Option<Error>>,
}

/// Room for the elements that a loop copies ahead, at least one.
#[repr(C, align(64))]
union Buffer<T: Copy> {
    bytes: MaybeUninit<[u8; 2048]>,
    one: MaybeUninit<T>,
}

impl<T: Element> Buffer<T> {
    const SIZE: usize = if size_of::<T>() == 0 { 1 } else { size_of::<T>() };
    /// The number of elements in the buffer.
    const ELEMENTS: usize = size_of::<Self>() / Self::SIZE;
    /// The number of elements that are copied first. Later copies are twice as large as the one before, so
    /// that a loop that ends early has not copied many elements in vain.
    const FIRST: usize = if Self::SIZE > 256 { 1 } else { 256 / Self::SIZE };
}

impl<'a, T: Element> Values<'a, T> {
    /// Copies elements from `index` on to the buffer, as many as there are and fit. Returns their number, or
    /// 0 at the end of the view and after a fault.
    ///
    /// Takes the fields of the iterator, not the iterator, which a borrow would keep in memory.
    #[inline(never)]
    fn copy_ahead(
        view: View<'a, T>,
        index: usize,
        buffer: &mut [MaybeUninit<T>],
        error: &Cell<Option<Error>>,
    ) -> usize {
        let count = buffer.len().min(view.len - index);
        let (from, bytes) = (view.at(index), count * size_of::<T>());
        // SAFETY: so many elements are left in the view, and have room.
        let done =
            unsafe { guard::copy_out(view.recovery(), from, buffer.as_mut_ptr().cast(), bytes) };
        if done < size_of::<T>() && count > 0 {
            error.set(Some(view.fault("read", from as usize + done)));
        }
        done / size_of::<T>()
    }

    /// Notes that the element at `index` is not a valid value.
    #[cold]
    #[inline(never)]
    fn is_invalid(view: View<'a, T>, index: usize, error: &Cell<Option<Error>>) {
        error.set(Some(view.invalid(index)));
    }
}

impl<T: fmt::Debug> fmt::Debug for Values<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ahead = self.end - self.next;
        f.debug_struct("Values").field("ahead", &ahead).field("rest", &self.rest).finish()
    }
}

impl<T: Element> Iterator for Values<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        if self.next == self.end {
            let wanted = (2 * self.end).clamp(Buffer::<T>::FIRST, Buffer::<T>::ELEMENTS);
            let buffer = &mut self.buffer[..wanted];
            self.next = 0;
            self.end = Self::copy_ahead(self.rest.view, self.rest.next, buffer, self.error);
            self.rest.next += self.end;
            if self.end == 0 {
                self.rest.next = self.rest.view.len;
                return None;
            }
        }
        // SAFETY: `next` is less than `end`, the number of elements that were copied to the buffer.
        let value = unsafe { checked(*self.buffer.get_unchecked(self.next)) };
        self.next += 1;
        if value.is_none() {
            let index = self.rest.next - self.end + self.next - 1;
            Self::is_invalid(self.rest.view, index, self.error);
            self.next = self.end;
            self.rest.next = self.rest.view.len;
        }
        value
    }

    #[inline]
    fn fold<B, F: FnMut(B, T) -> B>(mut self, init: B, mut function: F) -> B {
        let mut state = init;
        while self.next != self.end {
            let Some(value) = self.next() else { return state };
            state = function(state, value);
        }
        let error = self.error;
        let folded = self.rest.try_fold(state, move |state, item| match item {
            Ok(value) => Ok(function(state, value)),
            Err(failed) => {
                error.set(Some(failed));
                Err(state)
            }
        });
        match folded {
            Ok(state) | Err(state) => state,
        }
    }

    #[inline]
    fn nth(&mut self, count: usize) -> Option<T> {
        let ahead = self.end - self.next;
        if count < ahead {
            self.next += count;
        } else {
            self.next = self.end;
            let skipped = self.rest.next.saturating_add(count - ahead);
            self.rest.next = skipped.min(self.rest.view.len);
        }
        self.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.end - self.next + self.rest.view.len - self.rest.next))
    }
}

impl<T: Element> std::iter::FusedIterator for Values<'_, T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, MappingMut, Protection, page_size};

    /// Views that are accessed by system calls have the same items, and the same fault.
    #[test]
    fn views_that_read_by_system_calls() {
        let map = MappingMut::anonymous(2 * page_size()).unwrap();
        let numbers: Vec<u32> = (0..page_size() as u32 / 2).collect();
        map.view::<u32>().unwrap().write_at(0, &numbers).unwrap();
        let view = View { in_place: 0, ..*map.view::<u32>().unwrap() };
        let (whole, half) = (numbers.len(), numbers.len() / 2);

        assert!(view.iter().map(Result::unwrap).eq(numbers.iter().copied()));
        assert_eq!(view.iter().fold(0, |count, item| count + usize::from(item.is_ok())), whole);
        assert!(view.blocks::<8>().flat_map(Result::unwrap).eq(numbers.iter().copied()));
        assert!(view.values(|values| values.eq(numbers.iter().copied())).unwrap());
        assert_eq!(view.values(|values| values.count()).unwrap(), whole);

        map.protect(page_size().., Protection::None).unwrap();
        let is_fault = |error: Error| {
            assert_eq!(error.kind(), ErrorKind::Fault);
            assert_eq!(error.offset(), Some(page_size() as u64));
        };
        let mut items = view.iter();
        assert_eq!(items.by_ref().take_while(Result::is_ok).count(), half);
        assert!(items.next().is_none(), "the error was the last item");
        is_fault(view.iter().last().unwrap().unwrap_err());
        is_fault(view.blocks::<8>().last().unwrap().unwrap_err());
        is_fault(view.values(|values| values.count()).unwrap_err());
        let mut looped = 0;
        is_fault(
            view.values(|mut values| {
                while values.next().is_some() {
                    looped += 1
                }
            })
            .unwrap_err(),
        );
        assert_eq!(looped, half);
        assert_eq!(view.values(|values| values.take(half).count()).unwrap(), half);
    }
}
