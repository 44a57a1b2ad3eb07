//! Writable views.

#![allow(unsafe_code, reason = "guarded accesses within a view")]

use std::fmt;
use std::ops::{Deref, RangeBounds};

use super::{Backing, Iter, View, bounds};
use crate::error::{Error, ErrorKind, Result};
use crate::guard::{self, Recovery};
use crate::layout::Element;

/// A writable view of a mapping as elements of type `T`. It dereferences to [`View`] for reading.
///
/// Writing takes `&self`, because other mappings and processes can write to the memory, too. Aligned
/// elements of 1, 2, 4 and 8 bytes are written by one instruction. Larger elements, and runs of
/// elements, are copied in order, so other threads and processes may see them half-written.
///
/// A store to memory that is gone is an error of kind [`Fault`](ErrorKind::Fault). Past the end of a
/// file that shrank, stores to the rest of its last page are lost without an error.
///
/// # Examples
/// ```
/// # fn main() -> sharemap::Result<()> {
/// use sharemap::MappingMut;
///
/// let map = MappingMut::anonymous(4096)?;
/// let numbers = map.view::<u32>()?;
/// numbers.set(0, 7)?;
/// numbers.write_at(1, &[8, 9])?;
/// assert_eq!(numbers.subview(..4)?.to_vec()?, [7, 8, 9, 0]);
/// # Ok(()) }
/// ```
pub struct ViewMut<'a, T> {
    view: View<'a, T>,
}

/// The size of the buffer for copies within guarded memory.
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
    /// Creates a writable view of `bytes` bytes at `base`.
    ///
    /// # Errors
    /// As for [`View::new`].
    ///
    /// # Safety
    /// As for [`View::new`], and the backing's memory must be writable.
    pub(crate) unsafe fn new(
        backing: &'a dyn Backing,
        base: *mut u8,
        bytes: usize,
    ) -> Result<Self> {
        // SAFETY: as promised by the caller.
        Ok(Self { view: unsafe { View::new(backing, base, bytes)? } })
    }

    /// Writes `value` to the element at `index`.
    ///
    /// # Errors
    /// - `OutOfBounds` - `index` is not less than the length.
    /// - `Fault` - the memory could not be accessed.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let map = sharemap::MappingMut::anonymous(4096)?;
    /// map.view::<f32>()?.set(3, 0.5)?;
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn set(&self, index: usize, value: T) -> Result<()> {
        if index >= self.view.in_place {
            return self.write_at(index, &[value]);
        }
        let mut fault = 0;
        // SAFETY: within the view, of which the backing keeps the memory.
        unsafe { guard::store(self.view.at(index), &value, &mut fault) };
        if fault == 0 { Ok(()) } else { Err(self.view.fault("write", fault)) }
    }

    /// Copies `values` to the elements from `index` on.
    ///
    /// # Errors
    /// - `OutOfBounds` - the elements do not lie in the view; nothing is written.
    /// - `Fault` - the memory could not be accessed. [`Error::completed`] returns the number of whole
    ///   elements that were written (on aarch64, a lower bound of it). If only some pages are gone, a
    ///   few elements after them may have been written, too.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let map = sharemap::MappingMut::anonymous(4096)?;
    /// map.bytes().write_at(100, b"hello")?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pwrite")]
    #[doc(alias = "copy_from_slice")]
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

    /// Completes `write_at` after a copy that faulted or was not made in place.
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
    /// - `Fault` - the memory could not be accessed. [`Error::completed`] returns the number of
    ///   elements that were written.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let map = MappingMut::anonymous(40)?;
    /// map.view::<u32>()?.fill(7)?;
    /// assert_eq!(map.view::<u32>()?.count(7)?, 10);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "memset")]
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

    /// Copies all elements of another view, which must have the same length.
    ///
    /// The views may overlap. The result is then as if the source had been copied elsewhere first.
    ///
    /// # Errors
    /// - `WrongSize` - the lengths differ; nothing is copied.
    /// - `Fault` - the memory of either view could not be accessed.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-viewmut-copy-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 100])?;
    /// let source = Mapping::open(&path)?;
    /// let copy = MappingMut::anonymous(source.len())?;
    /// copy.bytes().copy_from(&source.bytes())?;
    /// assert_eq!(copy.bytes().count(7)?, 100);
    /// # drop(source);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "memmove")]
    pub fn copy_from(&self, source: &View<'_, T>) -> Result<()> {
        if source.len() != self.len() {
            return Err(Error::new(ErrorKind::WrongSize, "copy into")
                .with_path(self.view.backing.path())
                .with_detail(format!(
                    "the source has {} elements, the view {}",
                    source.len(),
                    self.len()
                )));
        }
        self.move_elements(source)
    }

    /// Copies the elements in `range` to the elements from index `destination` on. The two ranges may
    /// overlap.
    ///
    /// # Errors
    /// - `OutOfBounds` - one of the ranges does not lie in the view; nothing is copied.
    /// - `Fault` - the memory could not be accessed.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let map = MappingMut::anonymous(6)?;
    /// map.bytes().write_at(0, b"abcdef")?;
    /// map.bytes().copy_within(..4, 2)?;
    /// assert_eq!(map.bytes().to_vec()?, b"ababcd");
    /// # Ok(()) }
    /// ```
    pub fn copy_within(&self, range: impl RangeBounds<usize>, destination: usize) -> Result<()> {
        let (start, end) = bounds(&range, self.len());
        let source = self.view.subview(start..end)?;
        let end = destination.saturating_add(source.len());
        self.subview(destination..end)?.move_elements(&source)
    }

    /// Copies all bytes of `source` through a buffer. If the copy would overwrite bytes of the source
    /// that are still to be read, it runs from the end.
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

    /// Swaps two elements. Other threads and processes may see both with the same value meanwhile.
    ///
    /// # Errors
    /// As for [`View::get`] and [`set`](ViewMut::set).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let map = MappingMut::anonymous(8)?;
    /// let numbers = map.view::<u32>()?;
    /// numbers.write_at(0, &[1, 2])?;
    /// numbers.swap(0, 1)?;
    /// assert_eq!(numbers.to_vec()?, [2, 1]);
    /// # Ok(()) }
    /// ```
    pub fn swap(&self, a: usize, b: usize) -> Result<()> {
        let (first, second) = (self.get(a)?, self.get(b)?);
        self.set(a, second)?;
        self.set(b, first)
    }

    /// Sorts the elements. The sort is stable.
    ///
    /// The elements are sorted in a private copy, which needs as much memory as the view, and written
    /// back. Other threads and processes see no intermediate order, except while the copy is written.
    ///
    /// # Errors
    /// As for [`View::to_vec`], with nothing changed, and [`write_at`](ViewMut::write_at).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let map = MappingMut::anonymous(12)?;
    /// let numbers = map.view::<u32>()?;
    /// numbers.write_at(0, &[3, 1, 2])?;
    /// numbers.sort()?;
    /// assert_eq!(numbers.to_vec()?, [1, 2, 3]);
    /// # Ok(()) }
    /// ```
    pub fn sort(&self) -> Result<()>
    where
        T: Ord,
    {
        let mut copy = self.to_vec()?;
        copy.sort();
        self.write_at(0, &copy)
    }

    /// Returns a writable view of the elements in `range`.
    ///
    /// # Errors
    /// - `OutOfBounds` - the range does not lie in the view.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let map = MappingMut::anonymous(10)?;
    /// map.bytes().subview(2..5)?.fill(1)?;
    /// assert_eq!(map.bytes().to_vec()?, [0, 0, 1, 1, 1, 0, 0, 0, 0, 0]);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "slice")]
    pub fn subview(&self, range: impl RangeBounds<usize>) -> Result<Self> {
        Ok(Self { view: self.view.subview(range)? })
    }

    /// Returns a writable view of the elements before `middle`, and one of those from `middle` on.
    ///
    /// # Errors
    /// - `OutOfBounds` - `middle` is past the end of the view.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let map = MappingMut::anonymous(24)?;
    /// let (header, body) = map.bytes().split_at(8)?;
    /// header.fill(1)?;
    /// body.cast::<u64>()?.fill(7)?;
    /// # Ok(()) }
    /// ```
    pub fn split_at(&self, middle: usize) -> Result<(Self, Self)> {
        let (before, after) = self.view.split_at(middle)?;
        Ok((Self { view: before }, Self { view: after }))
    }

    /// Returns a writable view of the bytes as elements of another type.
    ///
    /// # Errors
    /// As for [`View::cast`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let map = MappingMut::anonymous(8)?;
    /// let bytes = map.bytes();
    /// bytes.cast::<u32>()?.set(1, u32::MAX)?;
    /// assert_eq!(bytes.to_vec()?, [0, 0, 0, 0, 255, 255, 255, 255]);
    /// # Ok(()) }
    /// ```
    pub fn cast<U: Element>(&self) -> Result<ViewMut<'a, U>> {
        Ok(ViewMut { view: self.view.cast()? })
    }

    /// Returns the address of the first element, for foreign functions.
    ///
    /// An access through the pointer is not guarded; see [`View::as_ptr`].
    #[must_use]
    pub fn as_mut_ptr(&self) -> *mut T {
        self.view.base.cast()
    }

    /// Returns `true` if the view has an element, and its memory supports atomic operations.
    pub(super) fn has_atomics(&self) -> bool {
        self.view.recovery() == Recovery::InPlace && !self.view.is_empty()
    }
}

/// Adds `before` to the number of elements completed, for an error in a later step of a transfer.
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
    /// Prints the element's type, the length, the offset and the path, never the contents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ViewMut").field(&self.view).finish()
    }
}
