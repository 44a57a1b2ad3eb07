//! The basic operations of a view: elements, length, iteration, copies and parts.

#![allow(unsafe_code, reason = "guarded accesses within a view")]

use std::mem::MaybeUninit;
use std::ops::RangeBounds;

use super::{Blocks, Iter, View, bounds, checked};
use crate::error::{Error, ErrorKind, Result};
use crate::guard;
use crate::layout::{Element, Pod, is_any_bytes};

impl<'a, T: Element> View<'a, T> {
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
            // SAFETY: within the view, of which the backing keeps the memory.
            let value = unsafe { guard::load::<T>(self.at(index), &mut fault) };
            if fault == 0 {
                // SAFETY: the load has not failed.
                if let Some(value) = unsafe { checked(value) } {
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
        // SAFETY: all bytes were copied.
        match unsafe { checked(value) } {
            Some(value) => {
                out.write(value);
                None
            }
            None => Some(self.invalid(index)),
        }
    }

    /// Returns the number of elements in the view.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let map = MappingMut::anonymous(4096)?;
    /// assert_eq!(map.bytes().len(), 4096);
    /// assert_eq!(map.view::<u64>()?.len(), 512); // elements, not bytes
    /// # Ok(()) }
    /// ```
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

    /// Returns an iterator over the elements, each of which is a `Result`.
    ///
    /// [`Iter`] compares the speed of a `for` loop, folds, [`values`](Self::values) and
    /// [`blocks`](Self::blocks).
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
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let map = MappingMut::anonymous(8 * 100)?;
    /// let numbers = map.view::<u64>()?;
    /// numbers.fill(2)?;
    /// let mut blocks = numbers.blocks::<16>();
    /// let mut sum = 0;
    /// for number in blocks.remainder() {
    ///     sum += number?; // the last 4
    /// }
    /// for block in blocks {
    ///     sum += block?.iter().sum::<u64>();
    /// }
    /// assert_eq!(sum, 200);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "chunks_exact")]
    #[must_use]
    pub fn blocks<const N: usize>(&self) -> Blocks<'a, T, N> {
        Blocks::new(*self)
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
                // SAFETY: all elements were copied.
                if unsafe { checked(*value) }.is_none() {
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
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let map = MappingMut::anonymous(100)?;
    /// let (header, body) = map.bytes().split_at(16)?;
    /// assert_eq!((header.len(), body.len()), (16, 84));
    /// # Ok(()) }
    /// ```
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

    /// Returns the length of the view in bytes.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let map = MappingMut::anonymous(4096)?;
    /// let part = map.view_at::<u32>(0, 10)?;
    /// assert_eq!((part.len(), part.size_bytes()), (10, 40));
    /// # Ok(()) }
    /// ```
    #[must_use]
    #[inline]
    pub fn size_bytes(&self) -> usize {
        self.len * size_of::<T>()
    }

    /// Returns the address of the first element, for foreign functions.
    ///
    /// A read through the pointer is not guarded: if the memory is gone, it raises `SIGBUS`, which ends
    /// the process.
    #[must_use]
    pub fn as_ptr(&self) -> *const T {
        self.base.cast()
    }
}
