//! Atomic operations on the integers of a view.

#![allow(unsafe_code, reason = "guarded accesses within a view")]

use std::sync::atomic::Ordering;

use super::{View, ViewMut};
use crate::error::{Error, ErrorKind, Result};
use crate::guard::AtomicWord;
use crate::layout::Pod;

/// An element with atomic operations: `u32`, `i32`, `u64` and `i64`.
pub trait AtomicElement: Pod + AtomicWord {}

impl AtomicElement for u32 {}
impl AtomicElement for i32 {}
impl AtomicElement for u64 {}
impl AtomicElement for i64 {}

/// An integer in a mapping, changed atomically: what [`AtomicU64`](std::sync::atomic::AtomicU64) is
/// in Rust's own memory, between processes too.
///
/// Operations take the orderings of [`std::sync::atomic`] and may be stronger than asked for. Each
/// is an error of kind [`Fault`](ErrorKind::Fault) if the memory is gone. `fetch_add` and
/// `fetch_sub` wrap around.
#[derive(Clone, Copy, Debug)]
pub struct Atomic<'a, T> {
    element: ViewMut<'a, T>,
}

impl<'a, T: AtomicElement> ViewMut<'a, T> {
    /// The element at `index`, for atomic operations.
    ///
    /// # Errors
    /// [`OutOfBounds`](ErrorKind::OutOfBounds), and [`Unsupported`](ErrorKind::Unsupported) where
    /// accesses are system calls.
    pub fn atomic(&self, index: usize) -> Result<Atomic<'a, T>> {
        let element = self.subview(index..index.saturating_add(1))?;
        if element.has_atomics() { Ok(Atomic { element }) } else { Err(unsupported(self)) }
    }
}

impl<T: AtomicElement> View<'_, T> {
    /// Loads the element at `index` atomically.
    ///
    /// # Errors
    /// As for [`ViewMut::atomic`], and [`Fault`](ErrorKind::Fault).
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
        // SAFETY: within the view, aligned for its elements. The load acquires, whatever the order.
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
    /// Runs an operation at the element's address, aligned for it.
    #[inline]
    fn run<R>(&self, operation: impl FnOnce(*mut u8, &mut usize) -> R) -> Result<R> {
        let mut fault = 0;
        let result = operation(self.element.as_mut_ptr().cast(), &mut fault);
        if fault == 0 { Ok(result) } else { Err(self.element.fault("access atomically", fault)) }
    }

    /// Loads the value.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault), here and below.
    #[inline]
    pub fn load(&self, order: Ordering) -> Result<T> {
        self.element.atomic_load(0, order)
    }

    /// Stores a value.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault).
    #[inline]
    pub fn store(&self, value: T, order: Ordering) -> Result<()> {
        // SAFETY: `run` gives the address of an element of the view.
        self.run(|at, fault| unsafe { T::store(at, value, order, fault) })
    }

    /// Stores a value and gives the one before.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault).
    #[inline]
    pub fn swap(&self, value: T, order: Ordering) -> Result<T> {
        let _ = order;
        // SAFETY: `run` gives the address of an element of the view.
        self.run(|at, fault| unsafe { T::swap(at, value, fault) })
    }

    /// Stores `new` if the value is `current`. The inner result is `Ok` with the value before if
    /// so, else `Err` with the value there is.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault).
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

    /// Adds, and gives the value before.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault).
    #[inline]
    pub fn fetch_add(&self, value: T, order: Ordering) -> Result<T> {
        let _ = order;
        // SAFETY: `run` gives the address of an element of the view.
        self.run(|at, fault| unsafe { T::fetch_add(at, value, fault) })
    }

    /// Subtracts, and gives the value before.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault).
    #[inline]
    pub fn fetch_sub(&self, value: T, order: Ordering) -> Result<T> {
        self.fetch_add(value.negated(), order)
    }

    /// Sets bits, and gives the value before.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault).
    #[inline]
    pub fn fetch_or(&self, value: T, order: Ordering) -> Result<T> {
        self.fetch_update(order, |old| old.or(value))
    }

    /// Keeps bits, and gives the value before.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault).
    #[inline]
    pub fn fetch_and(&self, value: T, order: Ordering) -> Result<T> {
        self.fetch_update(order, |old| old.and(value))
    }

    /// Flips bits, and gives the value before.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault).
    #[inline]
    pub fn fetch_xor(&self, value: T, order: Ordering) -> Result<T> {
        self.fetch_update(order, |old| old.xor(value))
    }

    /// Replaces the value by a function of it, and gives the value before. The function may run
    /// more than once.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault).
    #[inline]
    pub fn fetch_update(&self, order: Ordering, change: impl Fn(T) -> T) -> Result<T> {
        let _ = order;
        // SAFETY: `run` gives the address of an element of the view.
        self.run(|at, fault| unsafe { T::fetch_update(at, change, fault) })
    }
}
