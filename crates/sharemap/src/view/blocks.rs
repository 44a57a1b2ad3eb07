//! Iteration over a view in blocks.

#![allow(unsafe_code, reason = "guarded accesses within a view")]

use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};

use super::{View, checked};
use crate::error::Result;
use crate::guard;
use crate::layout::{Element, is_any_bytes};

/// An array of `N` elements that is aligned to a cache line, and dereferences to `[T; N]`.
///
/// The alignment makes blocks fast. The elements and the error of a `Result` then share no bytes, so
/// the compiler keeps loaded vectors whole.
///
/// # Examples
/// See [`Blocks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C, align(64))]
pub struct Block<T, const N: usize>(pub [T; N]);

impl<T, const N: usize> Deref for Block<T, N> {
    type Target = [T; N];

    #[inline(always)]
    fn deref(&self) -> &[T; N] {
        &self.0
    }
}

impl<T, const N: usize> DerefMut for Block<T, N> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T; N] {
        &mut self.0
    }
}

impl<T, const N: usize> IntoIterator for Block<T, N> {
    type Item = T;
    type IntoIter = std::array::IntoIter<T, N>;

    #[inline(always)]
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// An iterator over blocks of `N` elements of a view, returned by [`View::blocks`].
///
/// Each item is `Ok` with a block, up to the first block that cannot be read whole, which is an `Err`
/// and the last item. Blocks of 256 bytes are fastest for one view, blocks of 64 bytes for two views
/// that are read together.
///
/// # Examples
/// ```
/// # fn main() -> sharemap::Result<()> {
/// # let map = sharemap::MappingMut::anonymous(4096)?;
/// let view = map.view::<u64>()?;
/// let blocks = view.blocks::<32>();
/// let rest = blocks.remainder();
/// let mut sum = 0u64;
/// for block in blocks {
///     sum += block?.iter().sum::<u64>();
/// }
/// for element in rest {
///     sum += element?;
/// }
/// # assert_eq!(sum, 0);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Blocks<'a, T, const N: usize> {
    view: View<'a, T>,
    next: usize,
    /// The number of elements in whole blocks.
    end: usize,
    /// `end`, or 0 if every access is a system call.
    in_place: usize,
}

impl<'a, T: Element, const N: usize> Blocks<'a, T, N> {
    pub(super) fn new(view: View<'a, T>) -> Self {
        const { assert!(N > 0, "a block has at least one element") };
        let end = view.len - view.len % N;
        Self { view, next: 0, end, in_place: end.min(view.in_place) }
    }

    /// Returns a view of the elements after the last whole block.
    #[must_use]
    pub fn remainder(&self) -> View<'a, T> {
        let whole = self.view.len - self.view.len % N;
        let in_place = if self.view.in_place == self.view.len { self.view.len - whole } else { 0 };
        View { base: self.view.at(whole), len: self.view.len - whole, in_place, ..self.view }
    }

    /// Folds the blocks, until `function` returns an error.
    ///
    /// # Errors
    /// The error that `function` returned.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let map = MappingMut::anonymous(8 * 64)?;
    /// let numbers = map.view::<u64>()?;
    /// numbers.fill(1)?;
    /// let sum = numbers.blocks::<8>().try_fold(0, |sum, block| {
    ///     Ok::<_, Error>(sum + block?.iter().sum::<u64>())
    /// })?;
    /// assert_eq!(sum, 64);
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn try_fold<A, E>(
        &mut self,
        init: A,
        mut function: impl FnMut(A, Result<Block<T, N>>) -> std::result::Result<A, E>,
    ) -> std::result::Result<A, E> {
        let mut state = init;
        for block in self {
            state = function(state, block)?;
        }
        Ok(state)
    }

    /// Reads the block from `index` on, after a load that faulted, gave an invalid value, or was not
    /// made. Takes the view by value: a borrow would keep the iterator in memory.
    #[cold]
    #[inline(never)]
    fn by_call(view: View<'a, T>, index: usize) -> Result<Block<T, N>> {
        let mut block = MaybeUninit::<Block<T, N>>::uninit();
        let to: *mut MaybeUninit<T> = block.as_mut_ptr().cast();
        let bytes = size_of::<T>() * N;
        // SAFETY: a whole block is left in the view, and has room.
        let done = unsafe { guard::copy_out(view.recovery(), view.at(index), to.cast(), bytes) };
        for place in 0..N {
            // SAFETY: an element of the block; it is read if its bytes were.
            let copied = (done == bytes).then(|| unsafe { *to.add(place) });
            if copied.and_then(checked).is_none() {
                let value = view.get(index + place)?;
                // SAFETY: an element of the block.
                unsafe { to.add(place).write(MaybeUninit::new(value)) };
            }
        }
        // SAFETY: every element was copied and found valid, or written.
        Ok(unsafe { block.assume_init() })
    }
}

impl<T: Element, const N: usize> Iterator for Blocks<'_, T, N> {
    type Item = Result<Block<T, N>>;

    #[inline(always)]
    fn next(&mut self) -> Option<Result<Block<T, N>>> {
        let index = self.next;
        if index < self.in_place {
            let mut block = MaybeUninit::<Block<T, N>>::uninit();
            let mut fault = 0;
            // SAFETY: a whole block is left in the view.
            unsafe {
                let to = block.as_mut_ptr().cast();
                guard::load_bytes::<T>(to, self.view.at(index), N, &mut fault);
            }
            let elements: *const MaybeUninit<T> = block.as_ptr().cast();
            // SAFETY: `N` elements lie there.
            let valid = is_any_bytes::<T>()
                || (0..N).all(|index| checked(unsafe { *elements.add(index) }).is_some());
            if fault == 0 && valid {
                self.next = index + N;
                // SAFETY: loaded whole, and every element is valid.
                return Some(Ok(unsafe { block.assume_init() }));
            }
        }
        if index >= self.end {
            return None;
        }
        let block = Self::by_call(self.view, index);
        self.next = if block.is_ok() { index + N } else { self.end };
        Some(block)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.end - self.next) / N;
        (left.min(1), Some(left))
    }
}

impl<T: Element, const N: usize> std::iter::FusedIterator for Blocks<'_, T, N> {}
