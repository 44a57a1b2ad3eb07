//! A hash map in a segment: extendible hashing over pages that are replaced whole.
//!
//! ```text
//! root       0  directory   the offset | log2 of its length << 56; 0: the map was never changed
//!            8  seed        of the hash
//!            16 generation  odd while the map exists
//!            24 next        the next root in a list of removed ones
//!            32 form        where keys and values lie: 0 words, 1 values in blocks, 2 keys and values in blocks
//! directory  0  previous    the directory that this one replaced, as the root had it; 0: none
//!            16 words       for each prefix of the hash: {page's offset / 16 : 36, generation : 28}; 0: no page, or
//!                           another directory has replaced this one
//! page       buckets of 128 bytes
//! bucket     0  depth       in the first bucket of a page: the number of hash bits that all its keys share
//!            8  tags        a byte for each entry: 0 empty, 1 removed, or a part of the hash; in the last byte a bit for
//!                           each eighth of the hashes: keys with such hashes lie elsewhere
//!            16 entries     7 x {key, value}
//! ```
//!
//! An entry has its key and value as words, or, if either may be longer, the key's hash and a reference to a `block`.
//!
//! Readers take no lock. They load the directory's word, find the entry, and load the directory's word again. The
//! entry of a page is written once: an insertion stores key and value, and then the tag. An update is one store, and
//! so is a removal. A page without room is replaced by one or two new pages, by a redo record, and the old page is
//! freed by the same record; the generation tells readers that a page was replaced, even if its place is used again.
//!
//! The map's locks are a range of the table, chosen by the first bits of the hash. No page covers the keys of more
//! than one lock: it would change under two locks.
//!
//! - `lookup` is what readers do, and `at_once` the usual case of it, in one `bucket`. `scan` reads page by page.
//! - `insert`, `replace` and `merge` are what writers do, and `change_at_once` the usual cases of it. `draft` puts a new page together, and `removal` takes a map apart.

mod at_once;
mod block;
mod bucket;
mod change_at_once;
mod draft;
mod hash;
mod insert;
mod lookup;
mod merge;
mod page;
mod removal;
mod replace;
pub(crate) mod scan;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::peer::{FixedLen, Machine};
use crate::segment::heap::malformed;
use crate::segment::lane_area::Space;
pub(crate) use at_once::{Glimpse, Places, Source, TOGETHER};
use block::Ref;
pub(crate) use insert::{Also, Existing, Inserted};
pub(crate) use lookup::Value;
pub(crate) use page::PROBES;
use page::Page;
pub(super) use removal::remove_next;
pub(crate) use scan::{Cursor, Extent};

/// The most bits of the hash that a directory distinguishes.
pub(super) const DEEPEST: u32 = 32;

/// Offsets in a root.
pub(super) const DIRECTORY: u64 = 0;
pub(super) const SEED: u64 = 8;
pub(super) const GENERATION: u64 = 16;
pub(super) const NEXT: u64 = 24;
pub(super) const FORM: u64 = 32;
/// The length of a root.
pub(super) const ROOT: u64 = 64;

/// The root of a map. It stays where it is as long as the segment exists.
pub(crate) struct Root;

impl FixedLen for Root {
    const LEN: u64 = ROOT;
}

/// The number of buckets of the pages of maps in segments.
const BUCKETS: u64 = 32;

/// Where keys and values lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Keys and values are words.
    Words = 0,
    /// Keys are words, and values lie in blocks.
    Values = 1,
    /// Keys and values lie in blocks.
    Keys = 2,
}

/// What is constant in a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The offset of the root.
    pub(crate) root: u64,
    pub(crate) generation: u64,
    pub(crate) seed: u64,
    /// The map's locks: a power of two.
    pub(crate) locks: Range<u32>,
    /// The number of buckets of a page: a power of two.
    pub(crate) buckets: u64,
    pub(crate) form: Form,
}

/// A key, as a map looks it up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'k> {
    pub(super) hash: u64,
    /// The key itself, or its hash.
    pub(super) word: u64,
    /// The bytes of a key that lies in a block.
    pub(super) bytes: &'k [u8],
}

/// A map.
pub(crate) struct Map<'a, M: Machine> {
    pub(super) machine: &'a M,
    pub(super) space: &'a Space,
    pub(super) shape: &'a Shape,
    /// The directory that the root had last, or 0. Old directories lead to the present one.
    pub(super) directory: &'a AtomicU64,
}

/// The directory as its root describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Directory {
    at: u64,
    depth: u32,
}

impl Directory {
    /// The offset of the first word.
    const WORDS: u64 = 16;

    #[inline]
    fn word(self) -> u64 {
        self.at | u64::from(self.depth) << 56
    }

    /// Returns what a root or a later directory says.
    #[inline]
    fn of(word: u64) -> Self {
        Self { at: word & ((1 << 56) - 1), depth: (word >> 56) as u32 }
    }

    /// Returns the length of a directory of this depth.
    const fn len(depth: u32) -> u64 {
        Self::WORDS + (8 << depth)
    }

    /// Returns the offset of a word.
    #[inline]
    fn word_at(self, index: u64) -> u64 {
        self.at + Self::WORDS + 8 * index
    }

    /// Returns the offset of the word for a hash.
    #[inline]
    fn place(self, hash: u64) -> u64 {
        self.word_at(prefix(hash, self.depth))
    }
}

/// Returns the first `bits` bits of a hash, fewer than 64.
#[inline]
fn prefix(hash: u64, bits: u32) -> u64 {
    // In two steps, because a shift by 64 is not defined.
    (hash >> 1) >> (63 - bits)
}

impl Shape {
    /// Returns the shape of the map with the root at `root`, which has these locks.
    ///
    /// Fails with `Malformed` if its form is none that this version writes.
    pub(crate) fn load<M: Machine>(machine: &M, root: u64, locks: Range<u32>) -> Result<Self> {
        let form = match machine.load_64(root + FORM)? {
            0 => Form::Words,
            1 => Form::Values,
            2 => Form::Keys,
            _ => return Err(malformed(root + FORM)),
        };
        let (generation, seed) =
            (machine.load_64(root + GENERATION)?, machine.load_64(root + SEED)?);
        Ok(Self { root, generation, seed, locks, buckets: BUCKETS, form })
    }

    /// Fails with `Malformed` if the map has another form than its type needs.
    pub(crate) fn require_form(self, form: Form) -> Result<Self> {
        match self.form == form {
            true => Ok(self),
            false => Err(malformed(self.root + FORM)),
        }
    }

    /// Returns the key that a word is.
    #[inline]
    pub(crate) fn word_key(&self, word: u64) -> Key<'static> {
        Key { hash: hash::of_word(self.seed, word), word, bytes: &[] }
    }

    /// Returns the key with these bytes, which lies in a block.
    #[inline]
    pub(crate) fn long_key<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        let hash = hash::of_bytes(self.seed, bytes);
        Key { hash, word: hash, bytes }
    }

    /// Returns the hash of a key by the word that its entry has.
    #[inline]
    pub(in crate::segment) fn hash_of(&self, word: u64) -> u64 {
        match self.form {
            Form::Keys => word,
            Form::Words | Form::Values => hash::of_word(self.seed, word),
        }
    }

    /// Returns the number of the lock that protects a hash.
    #[inline]
    fn lock_of(&self, hash: u64) -> u32 {
        self.locks.start + prefix(hash, self.lock_bits()) as u32
    }

    /// Returns the number of hash bits that choose a lock.
    #[inline]
    fn lock_bits(&self) -> u32 {
        (self.locks.end - self.locks.start).ilog2()
    }

    #[inline]
    fn page_len(&self) -> u64 {
        page::BUCKET * self.buckets
    }
}

impl<'a, M: Machine> Map<'a, M> {
    /// Returns the directory of the root; `None` if there is none yet.
    fn root_directory(&self) -> Result<Option<Directory>> {
        let found = self.directory_at(self.shape.root + DIRECTORY)?;
        if let Some(directory) = found {
            self.directory.store(directory.word(), Ordering::Relaxed);
        }
        Ok(found)
    }

    /// Returns the directory that the word at `place` refers to.
    fn directory_at(&self, place: u64) -> Result<Option<Directory>> {
        match self.machine.load_64(place)? {
            0 => Ok(None),
            word => self.checked(word).map(Some).ok_or_else(|| malformed(place)),
        }
    }

    /// Returns the directory that a word refers to, if it lies in the segment.
    fn checked(&self, word: u64) -> Option<Directory> {
        let directory = Directory::of(word);
        let end = directory.at.checked_add(Directory::len(directory.depth.min(DEEPEST)))?;
        let is_inside = self.space.changeable.contains(&directory.at)
            && end <= self.space.changeable.end
            && directory.depth <= DEEPEST
            && directory.depth >= self.shape.lock_bits();
        is_inside.then_some(directory)
    }

    /// Returns the page that the directory's word at `place` refers to.
    #[inline]
    fn page(&self, page: Ref, place: u64) -> Result<Page> {
        self.try_page(page).ok_or_else(|| malformed(place))
    }

    /// Returns the page that a word of the directory refers to, if it lies in the segment.
    #[inline(always)]
    fn try_page(&self, page: Ref) -> Option<Page> {
        let (at, space) = (page.at(), &self.space.changeable);
        let is_inside = at >= space.start && at + self.shape.page_len() <= space.end;
        is_inside.then_some(Page { at, buckets: self.shape.buckets })
    }

    /// Fails with `NotFound` if the map was removed.
    #[inline]
    fn require_present(&self) -> Result<()> {
        match self.machine.load_64(self.shape.root + GENERATION)? == self.shape.generation {
            true => Ok(()),
            false => Err(removed()),
        }
    }
}

#[cold]
fn removed() -> Error {
    Error::new(ErrorKind::NotFound, "use the map").with_detail("it was removed from the segment")
}
