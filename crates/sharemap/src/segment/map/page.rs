//! A page of a map: buckets, and the entries in them.

use crate::error::Result;
use crate::peer::Machine;

/// The length of a bucket.
pub(crate) const BUCKET: u64 = 128;
/// The number of entries of a bucket.
pub(crate) const ENTRIES: u32 = 7;
/// The number of buckets behind its own in which a key may lie.
pub(crate) const PROBES: u64 = 3;

/// Offsets in a bucket.
const DEPTH: u64 = 0;
pub(super) const TAGS: u64 = 8;
pub(super) const FIRST: u64 = 16;

/// The tag of an entry that was removed.
pub(super) const REMOVED: u64 = 1;
/// A page of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) at: u64,
    pub(super) buckets: u64,
}

/// An entry of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The offset of the bucket.
    pub(super) bucket: u64,
    pub(super) index: u32,
}

impl Entry {
    #[inline(always)]
    pub(super) fn key(self) -> u64 {
        self.bucket + FIRST + 16 * u64::from(self.index)
    }

    #[inline(always)]
    pub(super) fn value(self) -> u64 {
        self.key() + 8
    }

    /// Returns the offset of the word with the entry's tag.
    #[inline(always)]
    pub(super) fn tags(self) -> u64 {
        self.bucket + TAGS
    }

    /// Returns the first entry of a bucket with these tags that was never used; `None` if there is none.
    #[inline(always)]
    pub(super) fn unused(bucket: u64, tags: u64) -> Option<Self> {
        // The lowest of these has the tag indeed: what looks like it lies above it.
        let unused = candidates(tags, 0);
        (unused != 0).then(|| Self { bucket, index: unused.trailing_zeros() / 8 })
    }

    /// Stores the key's and the value's word. Nothing reads them before the entry has a tag.
    #[inline(always)]
    pub(super) fn fill<M: Machine>(self, machine: &M, key: u64, value: u64) -> Result<()> {
        machine.store_64(self.key(), key)?;
        machine.store_64(self.value(), value)
    }

    /// Returns the entry's tag among those of its bucket.
    #[inline(always)]
    pub(super) fn tag_in(self, tags: u64) -> u64 {
        tags >> (8 * self.index) & 0xff
    }

    /// Returns the tags of its bucket with another tag for this entry.
    #[inline(always)]
    pub(super) fn with_tag(self, tags: u64, tag: u64) -> u64 {
        tags & !(0xff << (8 * self.index)) | tag << (8 * self.index)
    }

    /// Returns `true` if the entry has the tag of a hash now.
    #[inline(always)]
    pub(super) fn is_tagged<M: Machine>(self, machine: &M, hash: u64) -> Result<bool> {
        Ok(self.tag_in(machine.load_64(self.tags())?) == tag(hash))
    }

    /// Returns `true` if no entry of a bucket with these tags has a key.
    pub(super) fn is_last(tags: u64) -> bool {
        (0..ENTRIES).all(|index| tags >> (8 * index) & 0xff <= REMOVED)
    }

    /// Returns the tags of the entry's bucket without its key. The entry is not used again while the page lives.
    pub(super) fn removed<M: Machine>(self, machine: &M) -> Result<u64> {
        Ok(self.with_tag(machine.load_64(self.tags())?, REMOVED))
    }
}

/// Returns the tag of a hash: its low bits, and never one of the two tags that mean something else.
#[inline(always)]
pub(super) fn tag(hash: u64) -> u64 {
    (hash & 0xff).max(REMOVED + 1)
}

/// Returns the bit of a bucket's tags that is set once a key with a hash like this one lies in another bucket than its
/// own. One hash of eight is like this one.
#[inline(always)]
pub(super) fn elsewhere(hash: u64) -> u64 {
    // By bits that choose neither the tag nor the bucket.
    1 << (56 + (hash >> 13 & 7))
}

/// Returns `true` if a key with this hash may lie in another bucket than its own, which has these tags.
#[inline(always)]
pub(super) fn may_be_elsewhere(tags: u64, hash: u64) -> bool {
    tags & elsewhere(hash) != 0
}

/// Returns the entries that may have the tag `tag`, as the high bits of their bytes: all entries with it, and a few others,
/// which have other keys.
#[inline(always)]
pub(super) fn candidates(tags: u64, tag: u64) -> u64 {
    const LOW: u64 = 0x0001_0101_0101_0101;
    const HIGH: u64 = LOW << 7;
    // A byte that is zero borrows from the next one. If that is 1, it looks like zero as well: its tag differs in the
    // lowest bit, so that it is neither 0 nor 1, and the entry has a key of another hash.
    let differing = tags ^ (LOW * tag);
    differing.wrapping_sub(LOW) & !differing & HIGH
}

/// Returns the first entry of a bucket, among those of `found`, as in [`Page::find`].
#[inline(always)]
pub(super) fn find_in<M: Machine, R>(
    machine: &M,
    bucket: u64,
    mut found: u64,
    key: u64,
    mut is_same: impl FnMut(Entry) -> Result<Option<R>>,
) -> Result<Option<R>> {
    while found != 0 {
        let entry = Entry { bucket, index: found.trailing_zeros() / 8 };
        if machine.load_64(entry.key())? == key {
            if let Some(same) = is_same(entry)? {
                return Ok(Some(same));
            }
        }
        found &= found - 1;
    }
    Ok(None)
}

impl Page {
    /// Returns the offset of the bucket of a hash that is `probe` behind its own.
    #[inline(always)]
    pub(super) fn bucket(self, hash: u64, probe: u64) -> u64 {
        self.at + BUCKET * (((hash >> 8) + probe) & (self.buckets - 1))
    }

    #[inline(always)]
    fn probes(self) -> u64 {
        PROBES.min(self.buckets - 1)
    }

    pub(super) fn all(self) -> impl Iterator<Item = u64> {
        (0..self.buckets).map(move |index| self.at + BUCKET * index)
    }

    /// Returns the first entry with the tag of a hash and the key's word, for which `is_same` returns what is not
    /// `None`, and what it returned.
    #[inline(always)]
    pub(super) fn find<M: Machine, R>(
        self,
        machine: &M,
        hash: u64,
        key: u64,
        mut is_same: impl FnMut(Entry) -> Result<Option<R>>,
    ) -> Result<Option<R>> {
        for probe in 0..1 + self.probes() {
            let bucket = self.bucket(hash, probe);
            let tags = machine.load_64(bucket + TAGS)?;
            let found = find_in(machine, bucket, candidates(tags, tag(hash)), key, &mut is_same)?;
            if found.is_some() {
                return Ok(found);
            }
            if probe == 0 && !may_be_elsewhere(tags, hash) {
                break;
            }
        }
        Ok(None)
    }

    /// Returns the first entry for a hash that was never used; `None` if there is none.
    pub(super) fn room<M: Machine>(self, machine: &M, hash: u64) -> Result<Option<Entry>> {
        for probe in 0..1 + self.probes() {
            let bucket = self.bucket(hash, probe);
            let tags = machine.load_64(bucket + TAGS)?;
            let unused = Entry::unused(bucket, tags);
            if unused.is_some() {
                return Ok(unused);
            }
        }
        Ok(None)
    }

    /// Fills an entry that [`room`](Self::room) returned, under the page's lock. Returns the tags of its bucket that
    /// make it count.
    pub(super) fn fill<M: Machine>(
        self,
        machine: &M,
        entry: Entry,
        hash: u64,
        key: u64,
        value: u64,
    ) -> Result<u64> {
        let home = self.bucket(hash, 0);
        if entry.bucket != home {
            // Before the key is there: a reader that does not find it here looks on. Harmless if nothing follows.
            machine.store_64(home + TAGS, machine.load_64(home + TAGS)? | elsewhere(hash))?;
        }
        entry.fill(machine, key, value)?;
        Ok(entry.with_tag(machine.load_64(entry.tags())?, tag(hash)))
    }

    /// Stores how many hash bits the page's keys share.
    pub(super) fn set_depth<M: Machine>(self, machine: &M, depth: u32) -> Result<()> {
        machine.store_64(self.at + DEPTH, depth.into())
    }

    /// Returns the number of hash bits that the page's keys share.
    pub(super) fn depth<M: Machine>(self, machine: &M) -> Result<u64> {
        machine.load_64(self.at + DEPTH)
    }

    /// Calls `each` with the entries that have a key, the word of its key and its tag. Returns the number of entries
    /// that were removed.
    pub(super) fn for_each<M: Machine>(
        self,
        machine: &M,
        mut each: impl FnMut(Entry, u64, u64) -> Result<()>,
    ) -> Result<u64> {
        let mut removed = 0;
        for bucket in self.all() {
            let tags = machine.load_64(bucket + TAGS)?;
            for index in 0..ENTRIES {
                let entry = Entry { bucket, index };
                match entry.tag_in(tags) {
                    0 => {}
                    REMOVED => removed += 1,
                    tag => each(entry, machine.load_64(entry.key())?, tag)?,
                }
            }
        }
        Ok(removed)
    }

    /// Returns the number of entries that have a key, all of them together at one moment.
    pub(super) fn len<M: Machine>(self, machine: &M) -> Result<u64> {
        let tags = || self.all().map(|bucket| machine.load_64(bucket + TAGS)).collect();
        let (first, second): (Result<Vec<u64>>, Result<Vec<u64>>) = (tags(), tags());
        let mut len = 0;
        // A key that is removed and inserted again meanwhile has two entries, but not between the two rounds of loads.
        for (first, second) in first?.into_iter().zip(second?) {
            let tag = |tags: u64, index| tags >> (8 * index) & 0xff;
            let is_used =
                |&index: &u32| tag(first, index) > REMOVED && tag(second, index) > REMOVED;
            len += (0..ENTRIES).filter(is_used).count() as u64;
        }
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::map::hash;

    #[test]
    fn candidates_are_all_entries_with_the_tag_and_few_others() {
        for number in 0..100_000 {
            let mut tags = hash::of_word(7, number);
            let tag = tag(number);
            if number % 3 == 0 {
                // The tag, and below or above it one that differs in the lowest bit.
                let entry = Entry { bucket: 0, index: (number % 7) as u32 };
                let next = Entry { bucket: 0, index: (number % 7 + 1) as u32 % ENTRIES };
                tags = next.with_tag(entry.with_tag(tags, tag), tag ^ 1);
            }
            let found = candidates(tags, tag);
            assert_eq!(found & !0x0080_8080_8080_8080, 0, "{tags:#x}");
            for index in 0..ENTRIES {
                let there = Entry { bucket: 0, index }.tag_in(tags);
                let is_found = found >> (8 * index + 7) & 1 != 0;
                assert!(is_found || there != tag, "{tags:#x} lacks {tag:#x}");
                assert!(!is_found || there | 1 == tag | 1, "{tags:#x} has no {tag:#x}");
            }
        }
    }
}
