//! Finding runs of bytes in a view.

use super::View;
use super::needle::{Needle, Places};
use crate::error::Result;

/// An iterator over the indices of a run of bytes in a view, returned by [`View::find_bytes_iter`].
///
/// Each item is `Ok` with the index of an occurrence that does not overlap the previous one, or an `Err` as
/// [`View::find_bytes`] returns it, which is the last item.
#[derive(Clone, Debug)]
pub struct FindBytesIter<'a, 'n> {
    view: View<'a, u8>,
    needle: Needle<'n>,
    /// The places that follow the last occurrence; past the end of the view if the iteration has ended.
    places: Places,
}

impl<'a> View<'a, u8> {
    /// Returns the index of the first occurrence of `needle`; `None` if there is none. An empty needle is
    /// found at 0.
    ///
    /// The time is proportional to the sum of both lengths, even in a view full of near misses.
    ///
    /// # Errors
    /// - `Fault` - a byte before the end of the first occurrence could not be accessed.
    ///
    /// # Concurrent changes
    ///
    /// Places where two of the needle's bytes match are candidates. A candidate is compared with a copy, of
    /// which each byte was loaded once. If another process writes meanwhile, an index tells that each byte
    /// of the needle was there when it was loaded, though perhaps not all at one time. A needle that is
    /// written or overwritten during the search may be found or not.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let map = sharemap::MappingMut::anonymous(4096)?;
    /// map.bytes().write_at(70, b"GATTACA")?;
    /// assert_eq!(map.bytes().find_bytes(b"TACA")?, Some(73));
    /// # Ok(()) }
    /// ```
    #[doc(alias = "memmem")]
    pub fn find_bytes(&self, needle: &[u8]) -> Result<Option<usize>> {
        Needle::new(needle).find(*self, &mut Places::after(0))
    }

    /// Returns the index of the last occurrence of `needle`; `None` if there is none. An empty needle is found
    /// at the end.
    ///
    /// Concurrent changes have the effect that they have on [`find_bytes`](Self::find_bytes).
    ///
    /// # Errors
    /// - `Fault` - a byte after the start of the last occurrence could not be accessed.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let map = sharemap::MappingMut::anonymous(4096)?;
    /// map.bytes().write_at(70, b"PK..PK")?;
    /// assert_eq!(map.bytes().rfind_bytes(b"PK")?, Some(74));
    /// # Ok(()) }
    /// ```
    #[doc(alias = "memrmem")]
    pub fn rfind_bytes(&self, needle: &[u8]) -> Result<Option<usize>> {
        Needle::new(needle).rfind(*self)
    }

    /// Returns an iterator over the indices of the occurrences of `needle` that do not overlap, each of which
    /// is a `Result`. An empty needle is found at every index, and at the end.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let map = sharemap::MappingMut::anonymous(4096)?;
    /// map.bytes().write_at(0, b"tick tock, tick tick")?;
    /// let found: Vec<usize> = map.bytes().find_bytes_iter(b"tick").collect::<sharemap::Result<_>>()?;
    /// assert_eq!(found, [0, 11, 16]);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "memmem")]
    #[must_use]
    pub fn find_bytes_iter<'n>(&self, needle: &'n [u8]) -> FindBytesIter<'a, 'n> {
        FindBytesIter { view: *self, needle: Needle::new(needle), places: Places::after(0) }
    }
}

impl Iterator for FindBytesIter<'_, '_> {
    type Item = Result<usize>;

    fn next(&mut self) -> Option<Result<usize>> {
        if self.places.is_past(self.view.len) {
            return None;
        }
        let found = self.needle.find(self.view, &mut self.places).transpose();
        match &found {
            Some(Ok(index)) => self.places.skip_to(index + self.needle.len().max(1)),
            _ => self.places = Places::after(self.view.len + 1),
        }
        found
    }
}

impl std::iter::FusedIterator for FindBytesIter<'_, '_> {}
