//! Atomic operations on the integers of a view.

#![allow(unsafe_code, reason = "guarded accesses within a view")]

use std::sync::atomic::Ordering;

use super::{View, ViewMut};
use crate::error::{Error, ErrorKind, Result};
use crate::guard::AtomicWord;
use crate::layout::Pod;

/// An element type with atomic operations: `u32`, `i32`, `u64` and `i64`.
///
/// # Examples
/// See [`Atomic`].
pub trait AtomicElement: Pod + AtomicWord {}

impl AtomicElement for u32 {}
impl AtomicElement for i32 {}
impl AtomicElement for u64 {}
impl AtomicElement for i64 {}

/// An integer in a mapping with atomic operations, like [`AtomicU64`](std::sync::atomic::AtomicU64),
/// but between processes.
///
/// Operations take the orderings of [`std::sync::atomic`], and may be stronger than the ordering that
/// is passed. `fetch_add` and `fetch_sub` wrap around on overflow.
///
/// # Examples
/// ```
/// # fn main() -> sharemap::Result<()> {
/// use std::sync::atomic::Ordering;
///
/// use sharemap::{ErrorKind, MappingMut};
///
/// let map = MappingMut::anonymous(4096)?;
/// match map.view::<u64>()?.atomic(3) {
///     Ok(counter) => {
///         counter.fetch_add(2, Ordering::Relaxed)?;
///         assert_eq!(counter.load(Ordering::Acquire)?, 2);
///     }
///     Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported), // accesses are system calls
/// }
/// # Ok(()) }
/// ```
#[doc(alias = "AtomicU32")]
#[doc(alias = "AtomicU64")]
#[derive(Clone, Copy, Debug)]
pub struct Atomic<'a, T> {
    element: ViewMut<'a, T>,
}

impl<'a, T: AtomicElement> ViewMut<'a, T> {
    /// Returns the element at `index` for atomic operations.
    ///
    /// # Errors
    /// - `OutOfBounds` - `index` is not less than the length.
    /// - `Unsupported` - accesses to the memory are system calls, which are not atomic.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// use std::sync::atomic::Ordering;
    ///
    /// let map = MappingMut::anonymous(4096)?;
    /// let hits = map.view::<u64>()?.atomic(0)?;
    /// hits.fetch_add(1, Ordering::Relaxed)?;
    /// assert_eq!(hits.load(Ordering::Relaxed)?, 1);
    /// # Ok(()) }
    /// ```
    pub fn atomic(&self, index: usize) -> Result<Atomic<'a, T>> {
        let element = self.subview(index..index.saturating_add(1))?;
        if element.has_atomics() { Ok(Atomic { element }) } else { Err(unsupported(self)) }
    }
}

impl<T: AtomicElement> View<'_, T> {
    /// Loads the element at `index` atomically.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed.
    ///
    /// Otherwise as for [`ViewMut::atomic`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// use std::sync::atomic::Ordering;
    ///
    /// let map = MappingMut::anonymous(4096)?;
    /// map.view::<u32>()?.atomic(3)?.store(7, Ordering::Release)?;
    /// // A read-only view needs no `Atomic` of its own.
    /// assert_eq!(map.view::<u32>()?.atomic_load(3, Ordering::Acquire)?, 7);
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn atomic_load(&self, index: usize, order: Ordering) -> Result<T> {
        let _ = order;
        if index >= self.in_place {
            return Err(if index < self.len() {
                unsupported(self)
            } else {
                self.out_of_bounds("load", index, 1)
            });
        }
        let mut fault = 0;
        // SAFETY: within the view, aligned for its elements. The load has acquire ordering or stronger.
        let value = unsafe { T::load(self.at(index), &mut fault) };
        if fault == 0 { Ok(value) } else { Err(self.fault("load", fault)) }
    }
}

#[cold]
fn unsupported<T: AtomicElement>(view: &View<'_, T>) -> Error {
    Error::new(ErrorKind::Unsupported, "access atomically")
        .with_path(view.backing.path())
        .with_offset(view.offset())
        .with_detail("faults cannot be recovered in place here, and system calls are not atomic")
}

impl<T: AtomicElement> Atomic<'_, T> {
    /// Runs an operation at the element's address, which is aligned for the element.
    #[inline]
    fn run<R>(&self, operation: impl FnOnce(*mut u8, &mut usize) -> R) -> Result<R> {
        let mut fault = 0;
        let result = operation(self.element.as_mut_ptr().cast(), &mut fault);
        if fault == 0 { Ok(result) } else { Err(self.element.fault("access atomically", fault)) }
    }

    /// Loads the value.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed.
    #[inline]
    pub fn load(&self, order: Ordering) -> Result<T> {
        self.element.atomic_load(0, order)
    }

    /// Stores `value`.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed.
    #[inline]
    pub fn store(&self, value: T, order: Ordering) -> Result<()> {
        // SAFETY: `run` gives the address of an element of the view.
        self.run(|at, fault| unsafe { T::store(at, value, order, fault) })
    }

    /// Stores `value`, and returns the previous value.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// use std::sync::atomic::Ordering;
    ///
    /// let map = MappingMut::anonymous(8)?;
    /// let word = map.view::<u64>()?.atomic(0)?;
    /// assert_eq!(word.swap(7, Ordering::AcqRel)?, 0);
    /// assert_eq!(word.swap(8, Ordering::AcqRel)?, 7);
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn swap(&self, value: T, order: Ordering) -> Result<T> {
        let _ = order;
        // SAFETY: `run` gives the address of an element of the view.
        self.run(|at, fault| unsafe { T::swap(at, value, fault) })
    }

    /// Stores `new` if the value equals `current`.
    ///
    /// The inner result contains the previous value: `Ok` if `new` was stored, `Err` if not.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// use std::sync::atomic::Ordering::{AcqRel, Acquire};
    ///
    /// let map = MappingMut::anonymous(8)?;
    /// let word = map.view::<u32>()?.atomic(0)?;
    /// assert_eq!(word.compare_exchange(0, 7, AcqRel, Acquire)?, Ok(0));
    /// assert_eq!(word.compare_exchange(0, 8, AcqRel, Acquire)?, Err(7)); // it was 7, and still is
    /// # Ok(()) }
    /// ```
    #[doc(alias = "compare_and_swap")]
    #[inline]
    pub fn compare_exchange(
        &self,
        current: T,
        new: T,
        success: Ordering,
        failure: Ordering,
    ) -> Result<std::result::Result<T, T>> {
        let _ = (success, failure);
        // SAFETY: `run` gives the address of an element of the view.
        let seen = self.run(|at, fault| unsafe { T::compare_exchange(at, current, new, fault) })?;
        Ok(if seen == current { Ok(seen) } else { Err(seen) })
    }

    /// Adds `value`, and returns the previous value.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// use std::sync::atomic::Ordering;
    ///
    /// let map = MappingMut::anonymous(8)?;
    /// let next = map.view::<u64>()?.atomic(0)?;
    /// let ticket = next.fetch_add(1, Ordering::Relaxed)?;
    /// assert_eq!((ticket, next.load(Ordering::Relaxed)?), (0, 1));
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn fetch_add(&self, value: T, order: Ordering) -> Result<T> {
        let _ = order;
        // SAFETY: `run` gives the address of an element of the view.
        self.run(|at, fault| unsafe { T::fetch_add(at, value, fault) })
    }

    /// Subtracts `value`, and returns the previous value.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed.
    #[inline]
    pub fn fetch_sub(&self, value: T, order: Ordering) -> Result<T> {
        self.fetch_add(value.negated(), order)
    }

    /// Sets the bits of `value`, and returns the previous value.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed.
    #[inline]
    pub fn fetch_or(&self, value: T, order: Ordering) -> Result<T> {
        self.fetch_update(order, |old| old.or(value))
    }

    /// Clears all bits but those of `value`, and returns the previous value.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// use std::sync::atomic::Ordering;
    ///
    /// let map = MappingMut::anonymous(4)?;
    /// let flags = map.view::<u32>()?.atomic(0)?;
    /// flags.store(0b111, Ordering::Relaxed)?;
    /// assert_eq!(flags.fetch_and(!0b010, Ordering::Relaxed)?, 0b111);
    /// assert_eq!(flags.load(Ordering::Relaxed)?, 0b101);
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn fetch_and(&self, value: T, order: Ordering) -> Result<T> {
        self.fetch_update(order, |old| old.and(value))
    }

    /// Inverts the bits of `value`, and returns the previous value.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed.
    #[inline]
    pub fn fetch_xor(&self, value: T, order: Ordering) -> Result<T> {
        self.fetch_update(order, |old| old.xor(value))
    }

    /// Replaces the value by the result of `change`, and returns the previous value. The function may
    /// run more than once.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// use std::sync::atomic::Ordering;
    ///
    /// let map = MappingMut::anonymous(8)?;
    /// let highest = map.view::<u64>()?.atomic(0)?;
    /// highest.fetch_update(Ordering::Relaxed, |old| old.max(7))?;
    /// highest.fetch_update(Ordering::Relaxed, |old| old.max(3))?;
    /// assert_eq!(highest.load(Ordering::Relaxed)?, 7);
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn fetch_update(&self, order: Ordering, change: impl Fn(T) -> T) -> Result<T> {
        let _ = order;
        // SAFETY: `run` gives the address of an element of the view.
        self.run(|at, fault| unsafe { T::fetch_update(at, change, fault) })
    }
}
