//! Views that can be written through.

#![allow(unsafe_code, reason = "guarded accesses within a view")]

use std::fmt;
use std::ops::{Deref, RangeBounds};

use super::{Backing, Iter, View, bounds};
use crate::error::{Error, ErrorKind, Result};
use crate::guard::{self, Recovery};
use crate::layout::Element;

/// A window of elements of type `T` that can be written; it derefs to [`View`] for reading.
///
/// Writing takes `&self`, as other mappings and processes can write too. Aligned elements of 1, 2,
/// 4 and 8 bytes are written by one instruction; larger ones, and runs of elements, are copied in
/// order, and others may see them half-written.
///
/// A store to memory that is gone is an error of kind [`Fault`](ErrorKind::Fault). Behind the end
/// of a file that shrank, the rest of the last page swallows stores without an error.
pub struct ViewMut<'a, T> {
    view: View<'a, T>,
}

/// Bytes moved at a time between two places in guarded memory.
const BOUNCE: usize = 4096;

impl<T> Clone for ViewMut<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for ViewMut<'_, T> {}

impl<'a, T> Deref for ViewMut<'a, T> {
    type Target = View<'a, T>;

    #[inline]
    fn deref(&self) -> &View<'a, T> {
        &self.view
    }
}

impl<'a, T: Element> ViewMut<'a, T> {
    /// # Errors
    /// As for [`View::new`].
    ///
    /// # Safety
    /// As for [`View::new`], and the backing's memory may be written.
    pub(crate) unsafe fn new(
        backing: &'a dyn Backing,
        base: *mut u8,
        bytes: usize,
    ) -> Result<Self> {
        // SAFETY: passed on.
        Ok(Self { view: unsafe { View::new(backing, base, bytes)? } })
    }

    /// Writes the element at `index`.
    ///
    /// # Errors
    /// [`OutOfBounds`](ErrorKind::OutOfBounds) and [`Fault`](ErrorKind::Fault).
    #[inline]
    pub fn set(&self, index: usize, value: T) -> Result<()> {
        if index >= self.view.in_place {
            return self.write_at(index, &[value]);
        }
        let mut fault = 0;
        // SAFETY: within the view, whose memory the backing keeps.
        unsafe { guard::store(self.view.at(index), &value, &mut fault) };
        if fault == 0 { Ok(()) } else { Err(self.view.fault("write", fault)) }
    }

    /// Writes elements from `index` on.
    ///
    /// # Errors
    /// [`OutOfBounds`](ErrorKind::OutOfBounds) before anything is written;
    /// [`Fault`](ErrorKind::Fault), with the number of elements that were written whole in
    /// [`completed`](Error::completed) (on aarch64: at least so many). Where only some pages are
    /// gone, a few elements behind may have been written too.
    #[inline]
    pub fn write_at(&self, index: usize, values: &[T]) -> Result<()> {
        if index > self.len() || values.len() > self.len() - index {
            return Err(self.view.out_of_bounds("write", index, values.len()));
        }
        if self.view.in_place == self.view.len {
            let (to, bytes) = (self.view.at(index), size_of_val(values));
            // SAFETY: within the view; the values have their own bytes, without padding.
            if unsafe { guard::copy_in_directly(to, values.as_ptr().cast(), bytes) } {
                return Ok(());
            }
        }
        self.write_exactly_at(index, values)
    }

    #[inline(never)]
    fn write_exactly_at(&self, index: usize, values: &[T]) -> Result<()> {
        let (to, bytes) = (self.view.at(index), size_of_val(values));
        // SAFETY: within the view; the values have their own bytes, without padding.
        let done =
            unsafe { guard::copy_in(self.view.recovery(), to, values.as_ptr().cast(), bytes) };
        if done == bytes { Ok(()) } else { Err(self.view.short("write", index, done)) }
    }

    /// Writes `value` to every element.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault), with the elements written in [`completed`](Error::completed).
    pub fn fill(&self, value: T) -> Result<()> {
        let values = vec![value; (BOUNCE / size_of::<T>()).clamp(1, self.len().max(1))];
        let mut index = 0;
        while index < self.len() {
            let count = values.len().min(self.len() - index);
            self.write_at(index, &values[..count]).map_err(|error| after(error, index))?;
            index += count;
        }
        Ok(())
    }

    /// Copies all elements of another view of the same length. The two may lie in one mapping and
    /// overlap; the result is then as if the source had been copied first.
    ///
    /// # Errors
    /// [`WrongSize`](ErrorKind::WrongSize) if the lengths differ; [`Fault`](ErrorKind::Fault) on either side.
    pub fn copy_from(&self, source: &View<'_, T>) -> Result<()> {
        if source.len() != self.len() {
            return Err(Error::new(ErrorKind::WrongSize, "copy into")
                .with_path(self.view.backing.path())
                .with_detail(format!("{} elements into {}", source.len(), self.len())));
        }
        self.move_elements(source)
    }

    /// Copies the elements in `range` to where `destination` is; both lie within the view, and may
    /// overlap.
    ///
    /// # Errors
    /// [`OutOfBounds`](ErrorKind::OutOfBounds) and [`Fault`](ErrorKind::Fault).
    pub fn copy_within(&self, range: impl RangeBounds<usize>, destination: usize) -> Result<()> {
        let (start, end) = bounds(&range, self.len());
        let source = self.view.subview(start..end)?;
        let end = destination.saturating_add(source.len());
        self.subview(destination..end)?.move_elements(&source)
    }

    /// Copies bytes by way of a buffer, from the end where the source would be overwritten.
    fn move_elements(&self, source: &View<'_, T>) -> Result<()> {
        let (from, to) = (source.base as usize, self.view.base as usize);
        let total = self.view.size_bytes();
        let backwards = to > from && to - from < total;
        let mut buffer = [0u8; BOUNCE];
        let mut moved = 0;
        while moved < total {
            let count = BOUNCE.min(total - moved);
            let at = if backwards { total - moved - count } else { moved };
            // SAFETY: within both views; the buffer has the room.
            unsafe {
                let buffer = buffer.as_mut_ptr();
                let done = guard::copy_out(source.recovery(), source.base.add(at), buffer, count);
                if done < count {
                    return Err(source.fault("read", from + at + done));
                }
                let done =
                    guard::copy_in(self.view.recovery(), self.view.base.add(at), buffer, count);
                if done < count {
                    return Err(self.view.fault("write", to + at + done));
                }
            }
            moved += count;
        }
        Ok(())
    }

    /// Exchanges two elements.
    ///
    /// # Errors
    /// As for [`View::get`] and [`set`](ViewMut::set).
    pub fn swap(&self, a: usize, b: usize) -> Result<()> {
        let (first, second) = (self.get(a)?, self.get(b)?);
        self.set(a, second)?;
        self.set(b, first)
    }

    /// Sorts the elements; equal ones keep their order. Works on a private copy, which needs as
    /// much memory as the view, and writes it back: nobody sees an order in between, except of what
    /// is being written back.
    ///
    /// # Errors
    /// As for [`View::to_vec`], with nothing changed, and [`write_at`](ViewMut::write_at).
    pub fn sort(&self) -> Result<()>
    where
        T: Ord,
    {
        let mut copy = self.to_vec()?;
        copy.sort();
        self.write_at(0, &copy)
    }

    /// The elements in `range`, as a view.
    ///
    /// # Errors
    /// [`OutOfBounds`](ErrorKind::OutOfBounds) if the range is not within the view.
    pub fn subview(&self, range: impl RangeBounds<usize>) -> Result<Self> {
        Ok(Self { view: self.view.subview(range)? })
    }

    /// The elements before `middle`, and those from there on.
    ///
    /// # Errors
    /// [`OutOfBounds`](ErrorKind::OutOfBounds) if `middle` is behind the end.
    pub fn split_at(&self, middle: usize) -> Result<(Self, Self)> {
        let (before, behind) = self.view.split_at(middle)?;
        Ok((Self { view: before }, Self { view: behind }))
    }

    /// The same bytes as elements of another type.
    ///
    /// # Errors
    /// [`Alignment`](ErrorKind::Alignment) and [`WrongSize`](ErrorKind::WrongSize), as for a new view.
    pub fn cast<U: Element>(&self) -> Result<ViewMut<'a, U>> {
        Ok(ViewMut { view: self.view.cast()? })
    }

    /// The address of the first element, for foreign functions; see [`View::as_ptr`].
    #[must_use]
    pub fn as_mut_ptr(&self) -> *mut T {
        self.view.base.cast()
    }

    /// Whether atomic operations can be had on the view's memory.
    pub(super) fn has_atomics(&self) -> bool {
        self.view.recovery() == Recovery::InPlace && !self.view.is_empty()
    }
}

/// An error of a later step of a transfer that has done `before` elements already.
fn after(error: Error, before: usize) -> Error {
    let done = error.completed().unwrap_or(0);
    error.with_completed(before + done)
}

impl<'a, T: Element> IntoIterator for ViewMut<'a, T> {
    type Item = Result<T>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.view.iter()
    }
}

impl<T> fmt::Debug for ViewMut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ViewMut").field(&self.view).finish()
    }
}
