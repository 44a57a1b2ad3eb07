//! Iteration over a view in blocks.

#![allow(unsafe_code, reason = "guarded accesses within a view")]

use std::convert::Infallible;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};

use super::iter::Stop;
use super::{View, checked};
use crate::error::{Error, Result};
use crate::guard::{self, Baseline, Scan, Vectors};
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
/// [`try_fold`](Blocks::try_fold), [`fold`](Iterator::fold) and `for_each` run in a function of their own,
/// by the widest vectors that the processor has: they are faster than a `for` loop, and as fast wherever
/// they are called. A block as long as a row suits rows of a fixed width.
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
        if self.next < self.in_place {
            let blocks = self.clone();
            let stop = guard::scan(Fold { blocks, state, function, error: PhantomData });
            self.next = stop.next;
            function = stop.function;
            state = stop.state?;
        }
        // The block that could not be loaded, or all blocks if every access is a system call.
        for block in self {
            state = function(state, block)?;
        }
        Ok(state)
    }

    /// Loads a block. `Err` with the address of the fault, or with 0 if an element is
    /// not valid.
    ///
    /// # Safety
    /// `from` must be the address of a whole block of the view, or of a copy of one. The processor must
    /// have the vectors.
    #[inline(always)]
    unsafe fn load<V: Vectors>(from: *const u8) -> std::result::Result<Block<T, N>, usize> {
        let mut block = MaybeUninit::<Block<T, N>>::uninit();
        let mut fault = 0;
        // SAFETY: as promised by the caller; the block has room for its elements.
        unsafe { guard::load_by::<V, T>(block.as_mut_ptr().cast(), from, N, &mut fault) };
        let elements: *const MaybeUninit<T> = block.as_ptr().cast();
        if fault != 0 {
            return Err(fault);
        }
        // SAFETY: `N` elements lie there, which were loaded whole.
        let valid = is_any_bytes::<T>()
            || (0..N).all(|index| unsafe { checked(*elements.add(index)) }.is_some());
        // SAFETY: loaded whole, and every element is valid.
        if valid { Ok(unsafe { block.assume_init() }) } else { Err(0) }
    }

    /// Copies the block from `index` on, which is not accessed in place. Takes the view by value: a
    /// borrow would keep the iterator in memory.
    #[cold]
    #[inline(never)]
    fn by_call(view: View<'a, T>, index: usize, copy: &mut MaybeUninit<Block<T, N>>) -> Result<()> {
        let (to, bytes) = (copy.as_mut_ptr().cast(), size_of::<T>() * N);
        // SAFETY: a whole block is left in the view, and has room.
        let done = unsafe { guard::copy_out(view.recovery(), view.at(index), to, bytes) };
        let at = view.at(index) as usize + done;
        if done == bytes { Ok(()) } else { Err(view.fault("read", at)) }
    }

    /// Returns the error of a block of which an element faulted or is not valid.
    #[cold]
    #[inline(never)]
    fn failed(view: View<'a, T>, index: usize, fault: usize) -> Error {
        let first = (index..index + N).find_map(|index| view.get(index).err());
        first.unwrap_or_else(|| {
            if fault == 0 { view.invalid(index) } else { view.fault("read", fault) }
        })
    }
}

/// A fold over the blocks that are accessed in place, up to the first that cannot be read.
struct Fold<'a, T, A, E, F, const N: usize> {
    blocks: Blocks<'a, T, N>,
    state: A,
    function: F,
    error: PhantomData<E>,
}

impl<T, A, E, F, const N: usize> Scan for Fold<'_, T, A, E, F, N>
where
    T: Element,
    F: FnMut(A, Result<Block<T, N>>) -> std::result::Result<A, E>,
{
    type Output = Stop<A, E, F>;

    #[inline(always)]
    unsafe fn run<V: Vectors>(self) -> Stop<A, E, F> {
        let Fold {
            blocks: Blocks { view, mut next, in_place, .. }, mut state, mut function, ..
        } = self;
        while next < in_place {
            // SAFETY: a whole block is left in the view; the caller has made sure of the vectors.
            let Ok(block) = (unsafe { Blocks::<T, N>::load::<V>(view.at(next)) }) else { break };
            next += N;
            match function(state, Ok(block)) {
                Ok(changed) => state = changed,
                Err(error) => return Stop { next, state: Err(error), function },
            }
        }
        Stop { next, state: Ok(state), function }
    }
}

impl<T: Element, const N: usize> Iterator for Blocks<'_, T, N> {
    type Item = Result<Block<T, N>>;

    #[inline(always)]
    fn next(&mut self) -> Option<Result<Block<T, N>>> {
        let index = self.next;
        let mut copy = MaybeUninit::uninit();
        let mut from: *const u8 = self.view.at(index);
        if index >= self.in_place {
            if index >= self.end {
                return None;
            }
            match Self::by_call(self.view, index, &mut copy) {
                Ok(()) => from = copy.as_ptr().cast(),
                Err(error) => {
                    self.next = self.end;
                    return Some(Err(error));
                }
            }
        }
        // Every block comes from this load, a copy made by a system call, too. If its vectors had to be
        // merged with bytes that came another way, a large function would keep them in memory.
        // SAFETY: a whole block is left in the view, or was copied.
        match unsafe { Self::load::<Baseline>(from) } {
            Ok(block) => {
                self.next = index + N;
                Some(Ok(block))
            }
            Err(fault) => {
                self.next = self.end;
                Some(Err(Self::failed(self.view, index, fault)))
            }
        }
    }

    #[inline]
    fn fold<B, F: FnMut(B, Result<Block<T, N>>) -> B>(mut self, init: B, mut function: F) -> B {
        let Ok(state) =
            self.try_fold(init, move |state, block| Ok::<B, Infallible>(function(state, block)));
        state
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.end - self.next) / N;
        (left.min(1), Some(left))
    }
}

impl<T: Element, const N: usize> std::iter::FusedIterator for Blocks<'_, T, N> {}
