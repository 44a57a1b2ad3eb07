//! Walking a view in blocks.

#![allow(unsafe_code, reason = "guarded accesses within a view")]

use std::mem::MaybeUninit;

use super::{View, checked};
use crate::error::Result;
use crate::guard;
use crate::layout::Element;

/// Blocks of `N` elements of a view, by value, up to the first that cannot be read whole: that is
/// an `Err`, and the last item.
///
/// 256 bytes a block are best for one view, 64 when two are walked together.
///
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
    /// Elements in whole blocks.
    end: usize,
}

impl<'a, T: Element, const N: usize> Blocks<'a, T, N> {
    pub(super) fn new(view: View<'a, T>) -> Self {
        const { assert!(N > 0, "a block has at least one element") };
        Self { view, next: 0, end: view.len - view.len % N }
    }

    /// The elements behind the last whole block.
    #[must_use]
    pub fn remainder(&self) -> View<'a, T> {
        let whole = self.view.len - self.view.len % N;
        let in_place = if self.view.in_place == self.view.len { self.view.len - whole } else { 0 };
        View { base: self.view.at(whole), len: self.view.len - whole, in_place, ..self.view }
    }

    /// Folds until the function returns an error.
    ///
    /// # Errors
    /// Whatever the function returns.
    #[inline]
    pub fn try_fold<A, E>(
        &mut self,
        init: A,
        mut function: impl FnMut(A, Result<[T; N]>) -> std::result::Result<A, E>,
    ) -> std::result::Result<A, E> {
        let mut state = init;
        for block in self {
            state = function(state, block)?;
        }
        Ok(state)
    }

    /// The block from `index` on, by an element at a time: it faulted, is invalid, or is to be read
    /// by system calls.
    #[cold]
    #[inline(never)]
    fn one_by_one(&self, index: usize) -> Result<[T; N]> {
        let mut block = [MaybeUninit::<T>::uninit(); N];
        for (position, slot) in block.iter_mut().enumerate() {
            slot.write(self.view.get(index + position)?);
        }
        // SAFETY: every element was written.
        Ok(block.map(|element| unsafe { element.assume_init() }))
    }
}

impl<T: Element, const N: usize> Iterator for Blocks<'_, T, N> {
    type Item = Result<[T; N]>;

    #[inline(always)]
    fn next(&mut self) -> Option<Result<[T; N]>> {
        let index = self.next;
        if index >= self.end {
            return None;
        }
        self.next = index + N;
        if index < self.view.in_place {
            let mut block = MaybeUninit::<[T; N]>::uninit();
            let mut fault = 0;
            // SAFETY: a whole block is left in the view.
            unsafe {
                let to = block.as_mut_ptr().cast();
                guard::load_bytes::<T>(to, self.view.at(index), N, &mut fault);
            }
            let elements: *const MaybeUninit<T> = block.as_ptr().cast();
            // SAFETY: `N` elements lie there.
            let valid = (0..N).all(|index| checked(unsafe { *elements.add(index) }).is_some());
            if fault == 0 && valid {
                // SAFETY: loaded whole, and every element is valid.
                return Some(Ok(unsafe { block.assume_init() }));
            }
        }
        let block = self.one_by_one(index);
        if block.is_err() {
            self.next = self.end;
        }
        Some(block)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.end - self.next) / N;
        (left.min(1), Some(left))
    }
}

impl<T: Element, const N: usize> std::iter::FusedIterator for Blocks<'_, T, N> {}
