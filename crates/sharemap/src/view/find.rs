//! Finding all places of a byte in a view.

#![allow(unsafe_code, reason = "guarded accesses within a view")]

use super::View;
use crate::error::Result;
use crate::guard::{self, BLOCK};

/// The number of bytes that are copied at a time where every access is a system call.
const WINDOW: usize = 4096;

/// An iterator over the indices of a byte in a view, returned by [`View::find_iter`].
///
/// Each item is `Ok` with an index, in ascending order, up to the first byte that cannot be read, which is
/// an `Err` and the last item. As with [`Iter`](super::Iter), an iteration that ends without an `Err` has
/// thus seen the whole view.
///
/// # Concurrent changes
///
/// Each byte of the view is loaded once, 64 of them at a time: up to 63 bytes ahead of the index that is
/// returned. An index tells that the byte was there when it was loaded.
#[derive(Clone, Debug)]
pub struct FindIter<'a> {
    view: View<'a, u8>,
    byte: u8,
    /// The index after the last byte that has been examined.
    end: usize,
    /// The matches that have not been returned yet, among the 64 bytes before `end`; bit 63 is the last.
    mask: u64,
}

impl<'a> View<'a, u8> {
    /// Returns an iterator over the indices of the bytes that equal `byte`, each of which is a `Result`.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let map = sharemap::MappingMut::anonymous(4096)?;
    /// map.bytes().write_at(0, b"one\ntwo\nthree\n")?;
    /// let mut start = 0;
    /// for end in map.bytes().find_iter(b'\n') {
    ///     let end = end?;
    ///     println!("a line of {} bytes", end - start);
    ///     start = end + 1;
    /// }
    /// assert_eq!(start, 14);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "memchr_iter")]
    #[must_use]
    pub fn find_iter(&self, byte: u8) -> FindIter<'a> {
        FindIter { view: *self, byte, end: 0, mask: 0 }
    }
}

impl FindIter<'_> {
    /// Finds the next matches from `from` on, where less than a block is left, a block faulted, or accesses
    /// are not made in place.
    ///
    /// Returns the new `end` and `mask`; a mask of 0 if the rest of the view has no match. Takes the fields
    /// by value: a borrow would keep the iterator in memory.
    #[inline(never)]
    fn find_rest(view: View<'_, u8>, byte: u8, from: usize) -> Result<(usize, u64)> {
        let len = view.len;
        if view.in_place != len {
            return Self::find_in_copies::<WINDOW>(view, byte, from);
        }
        if from < len && len - from < BLOCK && len >= BLOCK {
            let start = len - BLOCK;
            // SAFETY: the last block of the view, of which the backing keeps the memory.
            let (examined, mask) = unsafe { guard::find_byte(view.at(start), BLOCK, byte) };
            if examined == BLOCK || mask != 0 {
                return Ok((len, mask & u64::MAX << (from - start)));
            }
        }
        Self::find_in_copies::<BLOCK>(view, byte, from)
    }

    /// Finds the next matches from `from` on in copies of at most `N` bytes.
    fn find_in_copies<const N: usize>(
        view: View<'_, u8>,
        byte: u8,
        from: usize,
    ) -> Result<(usize, u64)> {
        let mut window = [0; N];
        let mut at = from;
        while at < view.len {
            let wanted = N.min(view.len - at);
            let read = view.read_at(at, &mut window[..wanted]);
            let copied = match &read {
                Ok(()) => wanted,
                Err(error) => error.completed().unwrap_or(0),
            };
            let window = &window[..copied];
            if let Some(first) = window.iter().position(|here| *here == byte) {
                let end = copied.min(first + BLOCK);
                let mask = window[first..end]
                    .iter()
                    .fold(0, |mask, here| mask >> 1 | u64::from(*here == byte) << (BLOCK - 1));
                return Ok((at + end, mask));
            }
            at += copied;
            if read.is_err() {
                view.get(at)?;
            }
        }
        Ok((view.len, 0))
    }
}

impl Iterator for FindIter<'_> {
    type Item = Result<usize>;

    #[inline]
    fn next(&mut self) -> Option<Result<usize>> {
        if self.mask == 0 {
            let left = self.view.in_place.saturating_sub(self.end);
            // SAFETY: the rest of the view, of which the backing keeps the memory.
            let (examined, mask) =
                unsafe { guard::find_byte(self.view.at(self.end), left, self.byte) };
            self.end += examined;
            if mask != 0 {
                self.end += BLOCK;
                self.mask = mask;
            } else {
                match Self::find_rest(self.view, self.byte, self.end) {
                    Ok((end, mask)) => (self.end, self.mask) = (end, mask),
                    Err(error) => {
                        self.end = self.view.len;
                        return Some(Err(error));
                    }
                }
                if self.mask == 0 {
                    return None;
                }
            }
        }
        let place = self.mask.trailing_zeros() as usize;
        self.mask &= self.mask - 1;
        // The block of a match near the start of the view may begin before it.
        Some(Ok(self.end.wrapping_sub(BLOCK).wrapping_add(place)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let found = self.mask.count_ones() as usize;
        (found, Some(found + (self.view.len - self.end)))
    }
}

impl std::iter::FusedIterator for FindIter<'_> {}
