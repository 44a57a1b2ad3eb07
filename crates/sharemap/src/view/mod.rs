//! Typed windows on mapped memory. Bounds and alignment are checked, and every access is guarded.

#![allow(unsafe_code, reason = "guarded accesses to a span that a backing owns")]

mod atomic;
mod blocks;
mod gather;
mod iter;
mod owned;
mod reader;
mod search;
mod slice;
mod view_mut;
mod writer;

pub use atomic::{Atomic, AtomicElement};
pub use blocks::{Block, Blocks};
pub use iter::Iter;
pub use owned::{OwnedView, OwnedViewMut};
pub use reader::Reader;
pub use view_mut::ViewMut;
pub use writer::Writer;

use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Bound, RangeBounds};
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::guard::{self, Recovery, SharedFile};
use crate::layout::{Element, Pod, is_any_bytes};

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
            Error::new(kind, "view as elements")
                .with_path(backing.path())
                .with_offset(offset)
                .with_length(bytes as u64)
        };
        if size == 0 || bytes % size != 0 {
            return Err(error(ErrorKind::WrongSize)
                .with_detail(format!("the length is not a multiple of the element's {size} bytes")));
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

    /// Returns the number of elements in the view.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns `true` if the view has no elements.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the length of the view in bytes.
    #[must_use]
    #[inline]
    pub fn size_bytes(&self) -> usize {
        self.len * size_of::<T>()
    }

    /// Returns a copy of the element at `index`.
    ///
    /// # Errors
    /// - `OutOfBounds` - `index` is not less than the length.
    /// - `Fault` - the memory could not be accessed.
    /// - `Invalid` - the bytes are not a valid value of `T`.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let map = sharemap::MappingMut::anonymous(4096)?;
    /// let view = map.view::<u64>()?;
    /// view.set(3, 7)?;
    /// assert_eq!(view.get(3)?, 7);
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn get(&self, index: usize) -> Result<T> {
        let mut fault = 0;
        if index < self.in_place {
            // SAFETY: within the view, whose memory the backing keeps.
            let value = unsafe { guard::load::<T>(self.at(index), &mut fault) };
            if fault == 0 {
                if let Some(value) = checked(value) {
                    return Ok(value);
                }
            }
        }
        let mut value = MaybeUninit::uninit();
        match self.get_slowly(index, fault, &mut value) {
            // SAFETY: without an error, it was written.
            None => Ok(unsafe { value.assume_init() }),
            Some(error) => Err(error),
        }
    }

    /// Completes `get` after a load that faulted, gave an invalid value, or was not made. A return
    /// value of type `Result` would make the fast path inspect it, too.
    #[cold]
    #[inline(never)]
    fn get_slowly(&self, index: usize, fault: usize, out: &mut MaybeUninit<T>) -> Option<Error> {
        if index >= self.len {
            return Some(self.out_of_bounds("read", index, 1));
        }
        if fault != 0 {
            return Some(self.fault("read", fault));
        }
        let mut value = MaybeUninit::<T>::uninit();
        let size = size_of::<T>();
        // SAFETY: within the view; the value has room for its own size.
        let done = unsafe {
            guard::copy_out(self.recovery(), self.at(index), value.as_mut_ptr().cast(), size)
        };
        if done < size {
            return Some(self.fault("read", self.at(index) as usize + done));
        }
        match checked(value) {
            Some(value) => {
                out.write(value);
                None
            }
            None => Some(self.invalid(index)),
        }
    }

    /// Copies the elements from `index` on into `out`, which determines their number.
    ///
    /// # Errors
    /// - `OutOfBounds` - the elements do not lie in the view; nothing is copied.
    /// - `Fault` - the memory could not be accessed. [`Error::completed`] returns the number of whole
    ///   elements in `out`. Some elements of `out` after them may have changed, too.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let map = sharemap::MappingMut::anonymous(4096)?;
    /// map.bytes().write_at(100, b"hello")?;
    /// let mut word = [0; 5];
    /// map.bytes().read_at(100, &mut word)?;
    /// assert_eq!(&word, b"hello");
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pread")]
    #[doc(alias = "copy_to_slice")]
    #[inline]
    pub fn read_at(&self, index: usize, out: &mut [T]) -> Result<()>
    where
        T: Pod,
    {
        if index > self.len || out.len() > self.len - index {
            return Err(self.out_of_bounds("read", index, out.len()));
        }
        if self.in_place == self.len {
            let (from, bytes) = (self.at(index), size_of_val(out));
            // SAFETY: within the view; `out` has the room, and any bytes are values.
            if unsafe { guard::copy_out_directly(from, out.as_mut_ptr().cast(), bytes) } {
                return Ok(());
            }
        }
        self.read_exactly_at(index, out)
    }

    /// Completes `read_at` after a copy that faulted or was not made in place.
    #[inline(never)]
    fn read_exactly_at(&self, index: usize, out: &mut [T]) -> Result<()> {
        let (from, bytes) = (self.at(index), size_of_val(out));
        // SAFETY: within the view; `out` has the room, and any bytes are values.
        let done =
            unsafe { guard::copy_out(self.recovery(), from, out.as_mut_ptr().cast(), bytes) };
        if done == bytes { Ok(()) } else { Err(self.short("read", index, done)) }
    }

    /// Returns a copy of all elements.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed.
    /// - `Invalid` - the bytes of an element are not a valid value of `T`.
    /// - `OutOfAddressSpace` - there is not enough memory for the copy.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let map = sharemap::MappingMut::anonymous(4096)?;
    /// let numbers: Vec<u64> = map.view::<u64>()?.subview(..4)?.to_vec()?;
    /// assert_eq!(numbers, [0; 4]);
    /// # Ok(()) }
    /// ```
    pub fn to_vec(&self) -> Result<Vec<T>> {
        let mut copy = Vec::<T>::new();
        if copy.try_reserve_exact(self.len).is_err() {
            return Err(Error::new(ErrorKind::OutOfAddressSpace, "copy out of")
                .with_path(self.backing.path())
                .with_length(self.size_bytes() as u64));
        }
        let bytes = self.size_bytes();
        // SAFETY: within the view; the capacity is there.
        let done =
            unsafe { guard::copy_out(self.recovery(), self.base, copy.as_mut_ptr().cast(), bytes) };
        if done < bytes {
            return Err(self.short("read", 0, done));
        }
        if !is_any_bytes::<T>() {
            for (index, value) in copy.spare_capacity_mut()[..self.len].iter().enumerate() {
                if checked(*value).is_none() {
                    return Err(self.invalid(index));
                }
            }
        }
        // SAFETY: so many elements were copied and found valid.
        unsafe { copy.set_len(self.len) };
        Ok(copy)
    }

    /// Returns a view of the elements in `range`.
    ///
    /// # Errors
    /// - `OutOfBounds` - the range does not lie in the view.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let map = sharemap::MappingMut::anonymous(4096)?;
    /// let header = map.bytes().subview(..64)?;
    /// assert_eq!(header.len(), 64);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "slice")]
    pub fn subview(&self, range: impl RangeBounds<usize>) -> Result<Self> {
        let (start, end) = bounds(&range, self.len);
        if start > end || end > self.len {
            return Err(self.out_of_bounds("view", start, end.saturating_sub(start)));
        }
        let len = end - start;
        let in_place = if self.in_place == self.len { len } else { 0 };
        Ok(Self { base: self.at(start), len, in_place, ..*self })
    }

    /// Returns a view of the elements before `middle`, and one of those from `middle` on.
    ///
    /// # Errors
    /// - `OutOfBounds` - `middle` is past the end of the view.
    pub fn split_at(&self, middle: usize) -> Result<(Self, Self)> {
        Ok((self.subview(..middle)?, self.subview(middle..)?))
    }

    /// Returns a view of the bytes as elements of another type.
    ///
    /// # Errors
    /// - `Alignment` - the view does not begin at a multiple of the alignment of `U`.
    /// - `WrongSize` - the length in bytes is not a multiple of the size of `U`.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let map = sharemap::MappingMut::anonymous(4096)?;
    /// let record = map.bytes().subview(64..80)?.cast::<u64>()?;
    /// assert_eq!(record.len(), 2);
    /// # Ok(()) }
    /// ```
    pub fn cast<U: Element>(&self) -> Result<View<'a, U>> {
        // SAFETY: the same bytes of the same backing.
        unsafe { View::new(self.backing, self.base, self.size_bytes()) }
    }

    /// Returns an iterator over the elements, each of which is a `Result`.
    ///
    /// [`Iter`] compares the speed of a `for` loop, folds and [`blocks`](Self::blocks).
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let map = sharemap::MappingMut::anonymous(4096)?;
    /// let numbers = map.view::<u32>()?;
    /// let sum = numbers.iter().try_fold(0, |sum, number| number.map(|number| sum + number))?;
    /// assert_eq!(sum, 0);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn iter(&self) -> Iter<'a, T> {
        Iter::new(*self)
    }

    /// Returns an iterator over blocks of `N` elements, by value. Elements that do not fill a block are
    /// its [`remainder`](Blocks::remainder).
    ///
    /// An `N` of zero does not compile.
    ///
    /// # Examples
    /// See [`Blocks`].
    #[doc(alias = "chunks_exact")]
    #[must_use]
    pub fn blocks<const N: usize>(&self) -> Blocks<'a, T, N> {
        Blocks::new(*self)
    }

    /// Returns the address of the first element, for foreign functions.
    ///
    /// A read through the pointer is not guarded: if the memory is gone, it raises `SIGBUS`, which ends
    /// the process.
    #[must_use]
    pub fn as_ptr(&self) -> *const T {
        self.base.cast()
    }

    fn at(&self, index: usize) -> *mut u8 {
        self.base.wrapping_add(index * size_of::<T>())
    }

    fn recovery(&self) -> Recovery {
        if self.in_place == self.len { Recovery::InPlace } else { Recovery::Syscall }
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
        guard::with_cause(error, self.backing.shrinking_file(), offset)
    }

    /// Returns the error of a transfer from `index` on that faulted after `done` bytes.
    #[cold]
    fn short(&self, operation: &'static str, index: usize, done: usize) -> Error {
        self.fault(operation, self.at(index) as usize + done).with_completed(done / size_of::<T>())
    }

    #[cold]
    fn out_of_bounds(&self, operation: &'static str, index: usize, count: usize) -> Error {
        Error::new(ErrorKind::OutOfBounds, operation).with_path(self.backing.path()).with_detail(
            format!("{count} elements from index {index} on, but the view has {}", self.len),
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
#[inline(always)]
fn checked<T: Element>(value: MaybeUninit<T>) -> Option<T> {
    if is_any_bytes::<T>() {
        // SAFETY: a guarded load has written all bytes, and any bytes are a value.
        return Some(unsafe { value.assume_init() });
    }
    // SAFETY: the bytes were all written by a guarded load; `T` has no padding.
    let bytes = unsafe { std::slice::from_raw_parts(value.as_ptr().cast::<u8>(), size_of::<T>()) };
    T::try_ref_from_bytes(bytes).ok().copied()
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
