//! Typed windows on mapped memory. Bounds and alignment are checked, and every access is guarded.

#![allow(unsafe_code, reason = "guarded accesses to a span that a backing owns")]

// Rustdoc lists the methods of a type in the order of these modules: the basic ones come first.
mod access;
mod view_mut;

mod blocks;
mod chunks;
mod find;
mod find_bytes;
mod gather;
mod iter;
mod needle;
mod owned;
mod reader;
mod search;
mod values;
mod writer;

mod atomic;
mod guarded_slice;
mod slice;

pub use atomic::{Atomic, AtomicElement};
pub use blocks::{Block, Blocks};
pub use find::FindIter;
pub use find_bytes::FindBytesIter;
pub use guarded_slice::GuardedSlice;
pub use iter::Iter;
pub use owned::{OwnedView, OwnedViewMut};
pub use reader::Reader;
pub use values::Values;
pub use view_mut::ViewMut;
pub use writer::Writer;

use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Bound, RangeBounds};
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::guard::{self, Recovery, SharedFile};
use crate::layout::{Element, is_any_bytes};

/// The owner of a view's memory, which keeps it mapped for the view's lifetime.
pub(crate) trait Backing: Send + Sync {
    /// Returns the address of the first byte that views can show.
    fn base(&self) -> usize;
    /// Returns the offset of that byte in the file.
    fn origin(&self) -> u64;
    /// Returns the path or name of the memory, for errors.
    fn path(&self) -> Option<&Path>;
    /// Returns how accesses are made, as decided when the memory was mapped.
    fn recovery(&self) -> Recovery;
    /// Returns the number of bytes that the file has now, from `origin` on; `None` if the memory cannot
    /// shrink.
    fn available(&self) -> Option<u64>;
    /// Returns the file, for the cause of a fault; `None` if it cannot shrink.
    fn shrinking_file(&self) -> Option<SharedFile>;
    /// Returns the file, for another mapping that shows the same bytes. Fails, with the reason, if there
    /// is none.
    fn file_of_bytes(&self, operation: &'static str) -> Result<SharedFile>;
}

/// A read-only view of a mapping as elements of type `T`.
///
/// Every access is bounds-checked and guarded. An access to memory that is gone, because the file
/// shrank or the disk failed, is an error of kind [`Fault`](ErrorKind::Fault), which names the offset.
/// Elements are returned by copy. A view never returns a reference, because other processes may change
/// the memory at any time.
///
/// Aligned elements of 1, 2, 4 and 8 bytes are read by one instruction and are never torn. Larger
/// elements are copied, and may be half old and half new if another thread or process writes
/// meanwhile.
///
/// Two changes of the file cause no fault. Past the end of a file that shrank, the rest of its last
/// page reads as zeros, and a file that shrank and grew again shows its present contents. Compare the
/// length with [`is_current`](crate::Region::is_current) where that matters.
///
/// A view is a pointer, a length, and a borrow of its mapping, and is `Copy`.
///
/// # Examples
/// ```
/// # fn main() -> sharemap::Result<()> {
/// use sharemap::{ErrorKind, MappingMut, View};
///
/// let map = MappingMut::anonymous(4096)?;
/// map.view::<u32>()?.set(4, 7)?;
///
/// let numbers: View<'_, u32> = *map.view::<u32>()?;
/// assert_eq!(numbers.len(), 1024);
/// assert_eq!(numbers.get(4)?, 7);
/// assert_eq!(numbers.get(1024).unwrap_err().kind(), ErrorKind::OutOfBounds);
/// for number in numbers.subview(..8)? {
///     println!("{}", number?);
/// }
/// # Ok(()) }
/// ```
pub struct View<'a, T> {
    base: *mut u8,
    /// The length in elements.
    len: usize,
    /// The number of elements that are accessed in place: `len`, or 0 if every access is a system
    /// call. Comparing an index with it replaces the bounds check of the fast path.
    in_place: usize,
    backing: &'a dyn Backing,
    element: PhantomData<fn() -> T>,
}

impl<T> Clone for View<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for View<'_, T> {}

// SAFETY: a view is a shared borrow of its backing, which is Sync. Its accesses are guarded, so races
// with them are outside of Rust's memory model.
unsafe impl<T: Send> Send for View<'_, T> {}
// SAFETY: as for `Send`.
unsafe impl<T: Send> Sync for View<'_, T> {}

impl<T> View<'_, T> {
    /// Returns the offset of the first element, in bytes from the start of the file.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-view-offset-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 100])?;
    /// let map = MapOptions::new().offset(10).open(&path)?;
    /// let part = map.bytes().subview(5..)?;
    /// assert_eq!(part.offset(), 15); // in the file
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset_at(self.base as usize)
    }

    fn offset_at(&self, address: usize) -> u64 {
        self.backing.origin() + (address - self.backing.base()) as u64
    }
}

impl<'a, T: Element> View<'a, T> {
    /// Creates a view of `bytes` bytes at `base`.
    ///
    /// # Errors
    /// - `Alignment` - `base` is not a multiple of the element's alignment.
    /// - `WrongSize` - `bytes` is not a multiple of the element's size, or the element has size zero.
    ///
    /// # Safety
    /// For `'a`, the bytes must belong to a span of `backing`, and no reference into them may exist.
    pub(crate) unsafe fn new(
        backing: &'a dyn Backing,
        base: *mut u8,
        bytes: usize,
    ) -> Result<Self> {
        let size = size_of::<T>();
        let offset = backing.origin() + (base as usize - backing.base()) as u64;
        let error = |kind| {
            Error::new(kind, "view elements of")
                .with_path(backing.path())
                .with_offset(offset)
                .with_length(bytes as u64)
        };
        if size == 0 || bytes % size != 0 {
            return Err(error(ErrorKind::WrongSize).with_detail(format!(
                "the length is not a multiple of the element's {size} bytes"
            )));
        }
        if base as usize % align_of::<T>() != 0 {
            return Err(error(ErrorKind::Alignment).with_detail(format!(
                "the element needs an offset that is a multiple of {}; move it there, or use an \
                 element without alignment, such as those of `zerocopy::little_endian`, or \
                 `zerocopy::Unalign`",
                align_of::<T>()
            )));
        }
        let len = bytes / size;
        let in_place = if backing.recovery() == Recovery::InPlace { len } else { 0 };
        Ok(Self { base, len, in_place, backing, element: PhantomData })
    }

    fn at(&self, index: usize) -> *mut u8 {
        self.base.wrapping_add(index * size_of::<T>())
    }

    fn recovery(&self) -> Recovery {
        if self.in_place == self.len { Recovery::InPlace } else { Recovery::Syscall }
    }

    /// Returns the number of bytes that the file has now from the byte `position` of the view on; `None` if
    /// it cannot shrink.
    fn available_from(&self, position: usize) -> Option<usize> {
        let available = usize::try_from(self.backing.available()?).unwrap_or(usize::MAX);
        let before = self.base as usize - self.backing.base() + position;
        Some(available.saturating_sub(before))
    }

    /// Returns the error of a fault at `address`. The system may report an address near the access, so
    /// it is clamped into the view.
    #[cold]
    fn fault(&self, operation: &'static str, address: usize) -> Error {
        let first = self.base as usize;
        let last = first + self.size_bytes().saturating_sub(1);
        let offset = self.offset_at(address.clamp(first, last));
        let error = Error::new(ErrorKind::Fault, operation)
            .with_path(self.backing.path())
            .with_offset(offset);
        guard::with_cause(error, self.backing.shrinking_file(), offset, guard::REMAP)
    }

    /// Returns the error of a transfer from `index` on that faulted after `done` bytes.
    #[cold]
    fn short(&self, operation: &'static str, index: usize, done: usize) -> Error {
        self.fault(operation, self.at(index) as usize + done).with_completed(done / size_of::<T>())
    }

    #[cold]
    fn out_of_bounds(&self, operation: &'static str, index: usize, count: usize) -> Error {
        Error::new(ErrorKind::OutOfBounds, operation).with_path(self.backing.path()).with_detail(
            format!(
                "{count} elements from index {index} were requested, but the view has {}",
                self.len
            ),
        )
    }

    #[cold]
    fn invalid(&self, index: usize) -> Error {
        Error::new(ErrorKind::Invalid, "read")
            .with_path(self.backing.path())
            .with_offset(self.offset_at(self.at(index) as usize))
            .with_detail(std::any::type_name::<T>())
    }
}

impl<T> fmt::Debug for View<'_, T> {
    /// Prints the element's type, the length, the offset and the path, never the contents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("element", &std::any::type_name::<T>())
            .field("len", &self.len)
            .field("offset", &self.offset())
            .field("path", &self.backing.path())
            .finish()
    }
}

impl<'a, T: Element> IntoIterator for View<'a, T> {
    type Item = Result<T>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

/// Returns the value if its bytes are valid. The check is free for types of which any bytes are valid.
///
/// # Safety
/// All bytes of the value were written, by a guarded load for instance.
#[inline(always)]
unsafe fn checked<T: Element>(value: MaybeUninit<T>) -> Option<T> {
    // SAFETY: as the caller promises.
    unsafe { checked_ref(&value) }.copied()
}

/// Returns the value like [`checked`], where it lies.
///
/// # Safety
/// As for [`checked`].
#[inline(always)]
pub(crate) unsafe fn checked_ref<T: Element>(value: &MaybeUninit<T>) -> Option<&T> {
    if is_any_bytes::<T>() {
        // SAFETY: the bytes are written, and any bytes are a value.
        return Some(unsafe { value.assume_init_ref() });
    }
    #[cfg(test)]
    tests::VALIDATED.with(|count| count.set(count.get() + 1));
    // SAFETY: the bytes are written; `T` has no padding.
    let bytes = unsafe { std::slice::from_raw_parts(value.as_ptr().cast::<u8>(), size_of::<T>()) };
    T::try_ref_from_bytes(bytes).ok()
}

/// Returns the start and end of a range of at most `len` elements. The end may exceed `len`.
fn bounds(range: &impl RangeBounds<usize>, len: usize) -> (usize, usize) {
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&last) => last.saturating_add(1),
        Bound::Excluded(&end) => end,
        Bound::Unbounded => len,
    };
    (start, end)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use zerocopy::little_endian;

    use crate::{Element, MappingMut};

    thread_local! {
        /// The number of elements that this thread has validated.
        pub(super) static VALIDATED: Cell<usize> = const { Cell::new(0) };
    }

    /// Reads 64 elements in every way, and returns how often an element was validated.
    fn validated<T: Element>() -> usize {
        let map = MappingMut::anonymous(64 * size_of::<T>()).unwrap();
        let view = map.view::<T>().unwrap();
        VALIDATED.set(0);
        view.get(0).unwrap();
        assert_eq!(view.to_vec().unwrap().len(), 64);
        assert_eq!(view.iter().filter(|element| element.is_ok()).count(), 64);
        assert_eq!(view.iter().fold(0, |count, element| count + usize::from(element.is_ok())), 64);
        assert_eq!(view.blocks::<8>().filter(|block| block.is_ok()).count(), 8);
        assert_eq!(view.values(|values| values.zip(0..).count()).unwrap(), 64);
        VALIDATED.get()
    }

    /// Numbers are not validated, whatever the optimiser does: in a debug build, a copy of 1 MiB took
    /// a quarter of a second.
    #[test]
    fn numbers_are_not_validated_one_by_one() {
        assert_eq!(validated::<u8>(), 0);
        assert_eq!(validated::<f32>(), 0);
        assert_eq!(validated::<u64>(), 0);
        assert_eq!(validated::<little_endian::U16>(), 0);
        assert!(validated::<bool>() >= 3 * 64);
    }
}
