//! Finding things in a view.

#![allow(unsafe_code, reason = "guarded accesses within a view")]

use std::any::TypeId;
use std::cmp::Ordering;

use super::View;
use crate::error::Result;
use crate::guard;
use crate::layout::Element;

/// Elements compared at a time before the result is looked at.
const STRIDE: usize = 64;

impl<T: Element> View<'_, T> {
    /// The first element.
    ///
    /// # Errors
    /// As for [`get`](View::get).
    pub fn first(&self) -> Result<T> {
        self.get(0)
    }

    /// The last element.
    ///
    /// # Errors
    /// As for [`get`](View::get).
    pub fn last(&self) -> Result<T> {
        self.get(self.len().wrapping_sub(1))
    }

    /// The index of the first element that equals `value`.
    ///
    /// # Errors
    /// As for [`get`](View::get), if it is met before the value is found.
    pub fn find(&self, value: T) -> Result<Option<usize>>
    where
        T: PartialEq,
    {
        let blocks = self.blocks::<STRIDE>();
        let rest = blocks.remainder();
        let mut index = 0;
        for block in blocks {
            let Ok(block) = block else { break };
            if block.iter().fold(false, |found, element| found | (*element == value)) {
                let position = block.iter().position(|element| *element == value);
                return Ok(position.map(|position| index + position));
            }
            index += STRIDE;
        }
        let tail = if index + rest.len() == self.len() { rest } else { self.subview(index..)? };
        for element in tail.iter() {
            if element? == value {
                return Ok(Some(index));
            }
            index += 1;
        }
        Ok(None)
    }

    /// How many elements equal `value`.
    ///
    /// # Errors
    /// As for [`get`](View::get).
    pub fn count(&self, value: T) -> Result<usize>
    where
        T: PartialEq,
    {
        if TypeId::of::<T>() == TypeId::of::<u8>() {
            let byte = value.as_bytes()[0];
            // SAFETY: the bytes of the view that are accessed in place.
            let (count, seen) =
                unsafe { guard::count_bytes(self.as_ptr().cast(), self.in_place, byte) };
            let rest = self.subview(seen..)?.count_in_blocks::<128, 64>(value)?;
            return Ok(count + rest);
        }
        match size_of::<T>() {
            1 | 2 => self.count_in_blocks::<128, 64>(value),
            4 => self.count_in_blocks::<64, 64>(value),
            _ => self.count_in_blocks::<32, 32>(value),
        }
    }

    /// Counts by blocks of `N` elements, in `LANES` counters of a byte that are added up before one
    /// can overflow.
    fn count_in_blocks<const N: usize, const LANES: usize>(&self, value: T) -> Result<usize>
    where
        T: PartialEq,
    {
        let rounds = usize::from(u8::MAX) / (N / LANES);
        let mut blocks = self.blocks::<N>();
        let mut count = 0;
        loop {
            let mut counters = [0u8; LANES];
            let mut round = 0;
            while round < rounds {
                let Some(block) = blocks.next() else { break };
                let block = block?;
                for part in block.chunks_exact(LANES) {
                    for (counter, element) in counters.iter_mut().zip(part) {
                        *counter += u8::from(*element == value);
                    }
                }
                round += 1;
            }
            count += counters.iter().map(|count| usize::from(*count)).sum::<usize>();
            if round < rounds {
                break;
            }
        }
        for element in blocks.remainder() {
            count += usize::from(element? == value);
        }
        Ok(count)
    }

    /// Where `value` is in a sorted view, or where it would have to be inserted; as
    /// [`slice::binary_search`].
    ///
    /// # Errors
    /// As for [`get`](View::get).
    pub fn binary_search(&self, value: &T) -> Result<std::result::Result<usize, usize>>
    where
        T: Ord,
    {
        self.binary_search_by(|element| element.cmp(value))
    }

    /// Binary search by a function that says how an element compares to what is sought; as
    /// [`slice::binary_search_by`].
    ///
    /// # Errors
    /// As for [`get`](View::get).
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

impl View<'_, u8> {
    /// The offset, in this view, of the first occurrence of `needle`; an empty one is at 0.
    ///
    /// # Errors
    /// [`Fault`](crate::ErrorKind::Fault), if it is met before the needle is found.
    pub fn find_bytes(&self, needle: &[u8]) -> Result<Option<usize>> {
        let Some((&first, rest)) = needle.split_first() else {
            return Ok(Some(0));
        };
        let mut candidate = vec![0; rest.len()];
        let mut from = 0;
        while self.len() - from >= needle.len() {
            let last_start = self.len() - rest.len();
            let Some(found) = self.subview(from..last_start)?.find(first)? else {
                break;
            };
            self.read_at(from + found + 1, &mut candidate)?;
            if candidate == rest {
                return Ok(Some(from + found));
            }
            from += found + 1;
        }
        Ok(None)
    }
}
