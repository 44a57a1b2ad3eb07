//! Searching and counting in a view.

#![allow(unsafe_code, reason = "guarded accesses within a view")]

use std::any::TypeId;
use std::cmp::Ordering;
use std::iter::Sum;
use std::marker::PhantomData;

use super::View;
use crate::error::{Error, Result};
use crate::guard;
use crate::layout::Element;

/// The number of bytes that `rfind` searches forwards at a time.
const STRIDE: usize = 4096;

impl<T: Element> View<'_, T> {
    /// Returns the first element.
    ///
    /// # Errors
    /// As for [`get`](View::get).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let map = MappingMut::anonymous(8)?;
    /// map.bytes().set(0, 7)?;
    /// assert_eq!(map.bytes().first()?, 7);
    /// let empty = map.bytes().subview(..0)?;
    /// assert_eq!(empty.first().unwrap_err().kind(), ErrorKind::OutOfBounds);
    /// # Ok(()) }
    /// ```
    pub fn first(&self) -> Result<T> {
        self.get(0)
    }

    /// Returns the last element.
    ///
    /// # Errors
    /// As for [`get`](View::get).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let map = MappingMut::anonymous(8)?;
    /// map.bytes().set(7, 9)?;
    /// assert_eq!(map.bytes().last()?, 9);
    /// # Ok(()) }
    /// ```
    pub fn last(&self) -> Result<T> {
        self.get(self.len().wrapping_sub(1))
    }

    /// Returns the index of the first element that equals `value`; `None` if there is none.
    ///
    /// # Errors
    /// As for [`get`](View::get), if an element before the first match cannot be read.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let map = sharemap::MappingMut::anonymous(4096)?;
    /// map.bytes().set(70, b'\n')?;
    /// assert_eq!(map.bytes().find(b'\n')?, Some(70));
    /// # Ok(()) }
    /// ```
    #[doc(alias = "memchr")]
    #[doc(alias = "position")]
    pub fn find(&self, value: T) -> Result<Option<usize>>
    where
        T: PartialEq,
    {
        if TypeId::of::<T>() == TypeId::of::<u8>() {
            let View { base, len, in_place, backing, .. } = *self;
            let bytes = View::<u8> { base, len, in_place, backing, element: PhantomData };
            return bytes.find_iter(value.as_bytes()[0]).next().transpose();
        }
        match size_of::<T>() {
            1 => self.find_in_blocks::<128>(value),
            2 => self.find_in_blocks::<64>(value),
            3..=8 => self.find_in_blocks::<32>(value),
            _ => self.find_from(0, value),
        }
    }

    /// Searches by blocks up to the first match, then element by element.
    fn find_in_blocks<const N: usize>(&self, value: T) -> Result<Option<usize>>
    where
        T: PartialEq,
    {
        let mut index = 0;
        for block in self.blocks::<N>() {
            // The search by elements reports the error, or finds a match before it.
            let Ok(block) = block else { break };
            let found = block.iter().fold(0, |found, element| found | u8::from(*element == value));
            if found != 0 {
                break;
            }
            index += N;
        }
        self.find_from(index, value)
    }

    /// Searches element by element, from `index` on.
    fn find_from(&self, index: usize, value: T) -> Result<Option<usize>>
    where
        T: PartialEq,
    {
        for (index, element) in (index..).zip(self.subview(index..)?.iter()) {
            if element? == value {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Returns the index of the last element that equals `value`; `None` if there is none.
    ///
    /// # Errors
    /// As for [`get`](View::get), if an element after the last match cannot be read.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let map = sharemap::MappingMut::anonymous(4096)?;
    /// map.bytes().write_at(0, b"dir/file.tar.gz")?;
    /// assert_eq!(map.bytes().rfind(b'.')?, Some(12));
    /// # Ok(()) }
    /// ```
    #[doc(alias = "memrchr")]
    #[doc(alias = "rposition")]
    pub fn rfind(&self, value: T) -> Result<Option<usize>>
    where
        T: PartialEq,
    {
        let stride = (STRIDE / size_of::<T>()).max(1);
        let mut end = self.len();
        while end > 0 {
            let start = end.saturating_sub(stride);
            let first = match self.subview(start..end)?.find(value) {
                Ok(None) => {
                    end = start;
                    continue;
                }
                Ok(Some(first)) => Some(start + first),
                // The search from the end reports the error, or finds a match after it.
                Err(_) => None,
            };
            for index in (first.unwrap_or(start)..end).rev() {
                if self.get(index)? == value {
                    return Ok(Some(index));
                }
            }
            // The match was overwritten meanwhile; it was there when it was found.
            if first.is_some() {
                return Ok(first);
            }
            end = start;
        }
        Ok(None)
    }

    /// Returns the number of elements that equal `value`.
    ///
    /// # Errors
    /// As for [`get`](View::get).
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let map = sharemap::MappingMut::anonymous(4096)?;
    /// assert_eq!(map.bytes().count(0)?, 4096);
    /// # Ok(()) }
    /// ```
    pub fn count(&self, value: T) -> Result<usize>
    where
        T: PartialEq,
    {
        if TypeId::of::<T>() == TypeId::of::<u8>() {
            let byte = value.as_bytes()[0];
            // SAFETY: the bytes of the view that are accessed in place.
            let (count, seen) =
                unsafe { guard::count_bytes(self.as_ptr().cast(), self.in_place, byte) };
            let rest = self.subview(seen..)?.count_in_blocks::<128, u8>(value)?;
            return Ok(count + rest);
        }
        match size_of::<T>() {
            1 => self.count_in_blocks::<128, u8>(value),
            2 => self.count_in_blocks::<128, u16>(value),
            3..=4 => self.count_in_blocks::<64, u32>(value),
            5..=16 => self.count_in_blocks::<32, u64>(value),
            // Blocks of large elements would be large on the stack.
            _ => {
                self.iter().try_fold(0, |count, element| Ok(count + usize::from(element? == value)))
            }
        }
    }

    /// Counts by blocks of `N` elements, in a counter that is as wide as an element: the compiler then
    /// counts in as many lanes as a vector has elements. A counter must be able to hold `N`.
    fn count_in_blocks<const N: usize, C>(&self, value: T) -> Result<usize>
    where
        T: PartialEq,
        C: From<bool> + Sum + Into<u64>,
    {
        const { assert!(N <= u8::MAX as usize, "every counter holds a byte") };
        let mut blocks = self.blocks::<N>();
        let rest = blocks.remainder();
        let count = blocks.try_fold(0u64, |count, block| {
            let equal: C = block?.iter().map(|element| C::from(*element == value)).sum();
            Ok::<u64, Error>(count + equal.into())
        })?;
        rest.iter()
            .try_fold(count as usize, |count, element| Ok(count + usize::from(element? == value)))
    }

    /// Searches a sorted view for `value`, like [`slice::binary_search`].
    ///
    /// The inner result is `Ok` with the index of a match, or `Err` with the index where `value` would
    /// have to be inserted.
    ///
    /// # Errors
    /// As for [`get`](View::get).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let map = MappingMut::anonymous(16)?;
    /// let numbers = map.view::<u32>()?;
    /// numbers.write_at(0, &[1, 3, 5, 7])?;
    /// assert_eq!(numbers.binary_search(&5)?, Ok(2));
    /// assert_eq!(numbers.binary_search(&4)?, Err(2)); // where 4 belongs
    /// # Ok(()) }
    /// ```
    pub fn binary_search(&self, value: &T) -> Result<std::result::Result<usize, usize>>
    where
        T: Ord,
    {
        self.binary_search_by(|element| element.cmp(value))
    }

    /// Searches a sorted view with a function that compares an element with the target, like
    /// [`slice::binary_search_by`].
    ///
    /// The inner result is that of [`binary_search`](View::binary_search).
    ///
    /// # Errors
    /// As for [`get`](View::get).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let map = MappingMut::anonymous(16)?;
    /// let pairs = map.view::<[u32; 2]>()?;
    /// pairs.write_at(0, &[[1, 10], [3, 30]])?;
    /// let found = pairs.binary_search_by(|pair| pair[0].cmp(&3))?;
    /// assert_eq!(found, Ok(1));
    /// # Ok(()) }
    /// ```
    pub fn binary_search_by(
        &self,
        mut compare: impl FnMut(&T) -> Ordering,
    ) -> Result<std::result::Result<usize, usize>> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match compare(&self.get(middle)?) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(Ok(middle)),
            }
        }
        Ok(Err(low))
    }
}
