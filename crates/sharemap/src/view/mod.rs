//! Typed windows on mapped memory: bounds and alignment checked, every access guarded.

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

/// What stands behind a view and keeps its memory mapped.
pub(crate) trait Backing: Send + Sync {
    /// The address of the first byte that views can show.
    fn base(&self) -> usize;
    /// Where that byte is in the file.
    fn origin(&self) -> u64;
    fn path(&self) -> Option<&Path>;
    /// How accesses are made, decided when the memory was mapped.
    fn recovery(&self) -> Recovery;
    /// Bytes that the file has now, from `origin` on; `None` where nothing can shrink.
    fn available(&self) -> Option<u64>;
    /// The file; `None` if it cannot shrink.
    fn shrinking_file(&self) -> Option<SharedFile>;
}

/// A read-only window of elements of type `T` on a mapping.
///
/// Every access is bounds-checked and guarded: memory that is gone (the file shrank, the disk
/// failed) is an error of kind [`Fault`](ErrorKind::Fault) that names the offset. Values come out
/// as copies; a view never hands out a reference, because others may change the memory at any time.
/// Aligned elements of 1, 2, 4 and 8 bytes are read by one instruction and never torn; larger ones
/// are copied, and may be half old and half new if somebody writes meanwhile.
///
/// What the kernel does not report cannot be seen here: behind the end of a file, the rest of the
/// last page reads as zeros, and a file that shrank and grew again reads as it is now. Compare the
/// size ([`is_current`](crate::Region::is_current)) where that matters.
///
/// A view is a pointer and a length: copy it freely.
pub struct View<'a, T> {
    base: *mut u8,
    /// Elements.
    len: usize,
    /// Elements that are accessed in place: all, or none where every access is a system call.
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

// SAFETY: a view is a shared borrow of its backing, which is Sync; accesses are guarded, and what
// they race with is outside of Rust's memory model.
unsafe impl<T: Send> Send for View<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for View<'_, T> {}

impl<T> View<'_, T> {
    /// Where the first element is, in bytes from the start of the file.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset_at(self.base as usize)
    }

    fn offset_at(&self, address: usize) -> u64 {
        self.backing.origin() + (address - self.backing.base()) as u64
    }
}

impl<'a, T: Element> View<'a, T> {
    /// A view of `bytes` bytes at `base`.
    ///
    /// # Errors
    /// [`Alignment`](ErrorKind::Alignment) if `base` is no multiple of the element's alignment,
    /// [`WrongSize`](ErrorKind::WrongSize) if `bytes` is none of its size.
    ///
    /// # Safety
    /// For `'a`, the bytes belong to a span of `backing`'s, and no reference into them exists.
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
                .with_detail(format!("the length is no multiple of the element's {size} bytes")));
        }
        if base as usize % align_of::<T>() != 0 {
            return Err(error(ErrorKind::Alignment).with_detail(format!(
                "the element needs an offset that is a multiple of {}: move it there, or view \
                 elements that need none, as those of zerocopy::little_endian, or zerocopy::Unalign",
                align_of::<T>()
            )));
        }
        let len = bytes / size;
        let in_place = if backing.recovery() == Recovery::InPlace { len } else { 0 };
        Ok(Self { base, len, in_place, backing, element: PhantomData })
    }

    /// Elements in the view.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes in the view.
    #[must_use]
    #[inline]
    pub fn size_bytes(&self) -> usize {
        self.len * size_of::<T>()
    }

    /// The element at `index`.
    ///
    /// # Errors
    /// [`OutOfBounds`](ErrorKind::OutOfBounds), [`Fault`](ErrorKind::Fault), and
    /// [`Invalid`](ErrorKind::Invalid) if the bytes are no value of `T`.
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

    /// After a load that faulted, gave no value, or was not made. A `Result` as its result would be
    /// looked into in the fast case, too.
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

    /// Fills `out` with the elements from `index` on.
    ///
    /// # Errors
    /// [`OutOfBounds`](ErrorKind::OutOfBounds) before anything is read;
    /// [`Fault`](ErrorKind::Fault), with the number of elements that were read whole in
    /// [`completed`](Error::completed): so many are in `out`. Behind them, `out` is as it was, but
    /// for the element that the fault cut in two, and for what was read before the file shrank.
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

    #[inline(never)]
    fn read_exactly_at(&self, index: usize, out: &mut [T]) -> Result<()> {
        let (from, bytes) = (self.at(index), size_of_val(out));
        // SAFETY: within the view; `out` has the room, and any bytes are values.
        let done =
            unsafe { guard::copy_out(self.recovery(), from, out.as_mut_ptr().cast(), bytes) };
        if done == bytes { Ok(()) } else { Err(self.short("read", index, done)) }
    }

    /// A copy of all elements.
    ///
    /// # Errors
    /// [`Fault`](ErrorKind::Fault), [`Invalid`](ErrorKind::Invalid), and
    /// [`OutOfAddressSpace`](ErrorKind::OutOfAddressSpace) if there is no memory for it.
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

    /// The elements in `range`, as a view.
    ///
    /// # Errors
    /// [`OutOfBounds`](ErrorKind::OutOfBounds) if the range is not within the view.
    pub fn subview(&self, range: impl RangeBounds<usize>) -> Result<Self> {
        let (start, end) = bounds(&range, self.len);
        if start > end || end > self.len {
            return Err(self.out_of_bounds("view", start, end.saturating_sub(start)));
        }
        let len = end - start;
        let in_place = if self.in_place == self.len { len } else { 0 };
        Ok(Self { base: self.at(start), len, in_place, ..*self })
    }

    /// The elements before `middle`, and those from there on.
    ///
    /// # Errors
    /// [`OutOfBounds`](ErrorKind::OutOfBounds) if `middle` is behind the end.
    pub fn split_at(&self, middle: usize) -> Result<(Self, Self)> {
        Ok((self.subview(..middle)?, self.subview(middle..)?))
    }

    /// The same bytes as elements of another type.
    ///
    /// # Errors
    /// [`Alignment`](ErrorKind::Alignment) and [`WrongSize`](ErrorKind::WrongSize), as for a new view.
    pub fn cast<U: Element>(&self) -> Result<View<'a, U>> {
        // SAFETY: the same bytes of the same backing.
        unsafe { View::new(self.backing, self.base, self.size_bytes()) }
    }

    /// The elements one after the other; see [`Iter`] for how fast each way of walking is.
    #[must_use]
    pub fn iter(&self) -> Iter<'a, T> {
        Iter::new(*self)
    }

    /// Blocks of `N` elements, by value; what does not fill a block is the
    /// [`remainder`](Blocks::remainder).
    #[must_use]
    pub fn blocks<const N: usize>(&self) -> Blocks<'a, T, N> {
        Blocks::new(*self)
    }

    /// The address of the first element, for foreign functions.
    ///
    /// Whoever reads through it is outside of this crate's care: if the memory is gone, the process
    /// dies of SIGBUS.
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

    /// A fault at `address`, which is taken into the view where the system was not exact.
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

    /// A transfer from `index` on that ended after `done` bytes.
    #[cold]
    fn short(&self, operation: &'static str, index: usize, done: usize) -> Error {
        self.fault(operation, self.at(index) as usize + done).with_completed(done / size_of::<T>())
    }

    #[cold]
    fn out_of_bounds(&self, operation: &'static str, index: usize, count: usize) -> Error {
        Error::new(ErrorKind::OutOfBounds, operation).with_path(self.backing.path()).with_detail(
            format!("elements from {index} on, {count} of them, of a view of {}", self.len),
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

/// The value, if the bytes are one. Costs nothing where any bytes are.
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

/// Start and end of a range over `len` things; the end may be behind `len`.
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
