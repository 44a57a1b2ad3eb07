//! Iteration over a map that others may change.

use std::fmt;
use std::vec;

use crate::containers::HashMap;
use crate::error::Result;
use crate::segment::map::Cursor;
use crate::segment::{Stored, fits_word};

/// An iterator over the pairs of a [`HashMap`], in no order: see [`HashMap::iter`].
pub struct Iter<'a, K: Stored + ?Sized, V: Stored + ?Sized> {
    map: &'a HashMap<K, V>,
    cursor: Cursor,
    /// What is left of the page that was read last.
    page: vec::IntoIter<(K::Owned, V::Owned)>,
    has_failed: bool,
}

impl<K: Stored + ?Sized, V: Stored + ?Sized> HashMap<K, V> {
    /// Returns an iterator over copies of all pairs, in no order.
    ///
    /// Takes no lock. The iterator reads the map page by page, up to 224 pairs at a time, while others may change it:
    ///
    /// - A key that is present from the first call of [`next`](Iterator::next) to the last is returned exactly once, also
    ///   if pages are split meanwhile.
    /// - A key that is inserted or removed meanwhile is returned once or not at all.
    /// - Each value is whole, and of its own moment.
    ///
    /// After an error, the iterator ends.
    ///
    /// # Errors
    /// The items fail as [`get`](Self::get) does.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// let ages = segment.hash_map::<str, u32>("ages")?;
    /// ages.extend([("Ada", &36), ("Grace", &45)])?;
    /// let mut pairs: Vec<(String, u32)> = ages.iter().collect::<Result<_>>()?;
    /// pairs.sort();
    /// assert_eq!(pairs, [("Ada".to_owned(), 36), ("Grace".to_owned(), 45)]);
    /// # Ok(()) }
    /// ```
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter { map: self, cursor: Cursor::START, page: Vec::new().into_iter(), has_failed: false }
    }

    /// Reads the next page of pairs.
    fn next_page(&self, cursor: &mut Cursor) -> Result<Vec<(K::Owned, V::Owned)>> {
        let memory = self.segment.session().memory();
        let page = self.map().scan(cursor, |item| {
            let key = match fits_word::<K>() {
                true => K::of_word(item.key)?,
                false => {
                    let (at, len) = item.long_key;
                    K::copy_out(memory.view(at, len)?)?
                }
            };
            Ok((key, self.copy_out(item.value)?))
        });
        page.map_err(|error| self.segment.named(error))
    }
}

impl<K: Stored + ?Sized, V: Stored + ?Sized> Iterator for Iter<'_, K, V> {
    type Item = Result<(K::Owned, V::Owned)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(pair) = self.page.next() {
                return Some(Ok(pair));
            }
            if self.cursor.is_at_end() || self.has_failed {
                return None;
            }
            match self.map.next_page(&mut self.cursor) {
                Ok(page) => self.page = page.into_iter(),
                Err(error) => {
                    self.has_failed = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl<'a, K: Stored + ?Sized, V: Stored + ?Sized> IntoIterator for &'a HashMap<K, V> {
    type Item = Result<(K::Owned, V::Owned)>;
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<K: Stored + ?Sized, V: Stored + ?Sized> fmt::Debug for Iter<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").field("map", self.map).finish_non_exhaustive()
    }
}
