//! A bucket, as straight code reads it.

use super::Key;
use super::page::{self, BUCKET, Entry, TAGS};
use crate::peer::{Faults, Readable, Window};

/// A bucket that a lookup reads.
pub(super) struct Bucket<'m, R: Readable>(pub(super) Window<'m, BUCKET, R>);

impl<R: Readable> Clone for Bucket<'_, R> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<R: Readable> Copy for Bucket<'_, R> {}

/// The entry of a key: its bucket, its place in the bucket, and the word of its value.
pub(super) struct Seen<'m, R: Readable> {
    bucket: Bucket<'m, R>,
    /// The entry, by offsets in its bucket.
    pub(super) entry: Entry,
    pub(super) word: u64,
}

impl<R: Readable> Clone for Seen<'_, R> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<R: Readable> Copy for Seen<'_, R> {}

impl<'m, R: Readable> Bucket<'m, R> {
    /// Returns the entry with the word of a key, if there is one in this bucket, which is the key's own. Returns `None`
    /// if there may be one in another bucket.
    #[inline(always)]
    pub(super) fn find(self, key: &Key<'_>, faults: &mut Faults) -> Option<Option<Seen<'m, R>>> {
        match self.find_here(key, faults) {
            (_, Some(found)) => Some(Some(found)),
            (tags, None) if page::may_be_elsewhere(tags, key.hash) => None,
            (_, None) => Some(None),
        }
    }

    /// Returns the tags, and the entry with the word of a key, if there is one in this bucket.
    #[inline(always)]
    pub(super) fn find_here(
        self,
        key: &Key<'_>,
        faults: &mut Faults,
    ) -> (u64, Option<Seen<'m, R>>) {
        let tags = self.0.load(TAGS, faults);
        let mut found = page::candidates(tags, page::tag(key.hash));
        while found != 0 {
            let entry = Entry { bucket: 0, index: found.trailing_zeros() / 8 };
            let (there, word) = self.0.load_pair(entry.key(), faults);
            if there == key.word {
                return (tags, Some(Seen { bucket: self, entry, word }));
            }
            found &= found - 1;
        }
        (tags, None)
    }
}

impl<R: Readable> Seen<'_, R> {
    /// Returns `true` if the entry has the same value still, and the key's tag.
    #[inline(always)]
    pub(super) fn is_same(&self, key: &Key<'_>, faults: &mut Faults) -> bool {
        let word = self.bucket.0.load(self.entry.value(), faults);
        let tags = self.bucket.0.load(TAGS, faults);
        word == self.word && self.entry.tag_in(tags) == page::tag(key.hash)
    }
}
