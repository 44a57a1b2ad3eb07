//! Finding things in a view.

#![allow(unsafe_code, reason = "guarded accesses within a view")]

use std::any::TypeId;
use std::cmp::Ordering;

use super::View;
use crate::error::Result;
use crate::guard;
use crate::layout::Element;

/// Bytes searched at a time for others.
const WINDOW: usize = 16 << 10;

/// How much of a long needle is looked for in a window.
const HEAD: usize = 1 << 10;

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
        match size_of::<T>() {
            1 => self.find_in_blocks::<128>(value),
            2 => self.find_in_blocks::<64>(value),
            3..=8 => self.find_in_blocks::<32>(value),
            _ => self.find_behind(0, value),
        }
    }

    fn find_in_blocks<const N: usize>(&self, value: T) -> Result<Option<usize>>
    where
        T: PartialEq,
    {
        let mut index = 0;
        for block in self.blocks::<N>() {
            let Ok(block) = block else { break };
            let found = block.iter().fold(0, |found, element| found | u8::from(*element == value));
            if found != 0 {
                break;
            }
            index += N;
        }
        self.find_behind(index, value)
    }

    /// One element after the other, from `index` on.
    fn find_behind(&self, index: usize, value: T) -> Result<Option<usize>>
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
            3..=4 => self.count_in_blocks::<64, 64>(value),
            5..=16 => self.count_in_blocks::<32, 32>(value),
            // Blocks of large elements would be large on the stack.
            _ => {
                self.iter().try_fold(0, |count, element| Ok(count + usize::from(element? == value)))
            }
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
    /// Made for needles that are rare: a view full of near misses takes its length times that of the
    /// needle.
    ///
    /// # Errors
    /// [`Fault`](crate::ErrorKind::Fault), if it is met before the needle is found.
    pub fn find_bytes(&self, needle: &[u8]) -> Result<Option<usize>> {
        let starts = match needle.len() {
            0 => return Ok(Some(0)),
            1 => return self.find(needle[0]),
            len if len > self.len() => return Ok(None),
            len => self.len() - len + 1,
        };
        let (head, rest) = needle.split_at(needle.len().min(HEAD));
        let overlap = head.len() - 1;
        let mut window = vec![0; WINDOW.min(self.len())];
        let mut from = 0;
        while from < starts {
            let wanted = window.len().min(starts - from + overlap);
            let read = self.read_at(from, &mut window[..wanted]);
            let window = match &read {
                Ok(()) => &window[..wanted],
                Err(error) => &window[..error.completed().unwrap_or(0)],
            };
            let mut at = 0;
            while let Some(found) = position(&window[at..], head) {
                at += found;
                if self.holds(from + at + head.len(), rest)? {
                    return Ok(Some(from + at));
                }
                at += 1;
            }
            read?;
            from += wanted - overlap;
        }
        Ok(None)
    }

    /// Whether these bytes are at `index`, which they are within the view.
    fn holds(&self, index: usize, bytes: &[u8]) -> Result<bool> {
        let mut here = [0; HEAD];
        for (part, at) in bytes.chunks(HEAD).zip((index..).step_by(HEAD)) {
            let here = &mut here[..part.len()];
            self.read_at(at, here)?;
            if here != part {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Where a needle of at least one byte begins. Compared are only places where its first byte and its
/// last one are as far apart as in it.
fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    const LANES: usize = 64;
    let (first, last) = (needle[0], needle[needle.len() - 1]);
    let firsts = &haystack[..(haystack.len() + 1).checked_sub(needle.len())?];
    let lasts = &haystack[needle.len() - 1..];
    let both = |(a, b): (&u8, &u8)| u8::from(*a == first) & u8::from(*b == last);
    let mut at = 0;
    while at < firsts.len() {
        let end = firsts.len().min(at + LANES);
        let (a, b) = (&firsts[at..end], &lasts[at..end]);
        let candidates = match (<&[u8; LANES]>::try_from(a), <&[u8; LANES]>::try_from(b)) {
            (Ok(a), Ok(b)) => a.iter().zip(b).map(both).fold(0, |any, one| any | one),
            _ => 1,
        };
        if candidates != 0 {
            let mut places = a.iter().zip(b).map(both).zip(at..).filter(|(both, _)| *both == 1);
            let found = places.find(|(_, at)| haystack[*at..].starts_with(needle));
            if let Some((_, found)) = found {
                return Some(found);
            }
        }
        at = end;
    }
    None
}
