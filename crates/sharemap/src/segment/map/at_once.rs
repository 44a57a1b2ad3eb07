//! Looking up a key by straight code: the usual case, in which the key's own bucket tells.
//!
//! What [`lookup`](super::lookup) does with a test after each step is done here with few: a bucket's bounds are
//! checked once, and faults are tested for at the end. All numbers that are loaded meanwhile may be arbitrary. They
//! choose among the bytes of a [`Window`], and are no results before the second looks and that test.

use std::sync::atomic::Ordering;

use super::block::{Block, HEAD, Ref};
use super::bucket::{Bucket, Seen};
use super::lookup::Value;
use super::page::{PROBES, Page};
use super::{Directory, Form, GENERATION, Key, Map, ROOT, hash};
use crate::peer::{Faults, Machine, Memory, Readable, Session, Window};

/// The longest key that is compared by straight code.
const LONGEST_KEY: usize = 64;
/// The most keys that are looked up together.
pub(crate) const TOGETHER: usize = 16;

/// What lookups of a map load from.
pub(crate) struct Source<'m, R: Readable = Memory> {
    pub(crate) memory: &'m R,
    /// The map's root.
    pub(crate) root: Window<'m, ROOT, R>,
    pub(crate) places: Places,
}

impl<R: Readable> Clone for Source<'_, R> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<R: Readable> Copy for Source<'_, R> {}

/// Where the words of the directory lie that this process saw last: the offset of the first one << 8, and the shift of a
/// hash that makes the number of a word of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places(pub(crate) u64);

impl Places {
    /// No directory was seen yet. All words are out of bounds.
    pub(crate) const NONE: Self = Self(u64::MAX);

    fn of(directory: Directory) -> Self {
        match directory.depth {
            // No shift makes it.
            0 => Self::NONE,
            depth => Self(directory.word_at(0) << 8 | u64::from(64 - depth)),
        }
    }

    /// Returns `true` if the words are more than what caches deliver soon.
    #[inline(always)]
    fn are_many(self) -> bool {
        const MANY: u64 = 17;
        self.0 & 63 <= 64 - MANY
    }

    /// Returns the offset of the word for a hash.
    #[inline(always)]
    pub(super) fn of_hash(self, hash: u64) -> u64 {
        (self.0 >> 8) + 8 * (hash >> (self.0 & 63))
    }
}

/// The way to the page of a key: the directory's word, and what it was.
struct Way<'m, R: Readable> {
    place: Window<'m, 8, R>,
    before: u64,
}

impl<R: Readable> Clone for Way<'_, R> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<R: Readable> Copy for Way<'_, R> {}

/// The beginning of a lookup: a key's hash, the offset of the directory's word, what it was, and the offset of the
/// key's own bucket.
#[derive(Clone, Copy)]
struct Begun {
    hash: u64,
    place: u64,
    before: u64,
    bucket: u64,
}

impl Begun {
    /// No lookup: its bucket is out of bounds.
    const NOTHING: Self = Self { hash: 0, place: 0, before: 0, bucket: u64::MAX };
}

/// The first bytes of the block of a value that was found.
pub(crate) struct Glimpse<'m, 'f, R: Readable = Memory> {
    pub(crate) value: Value,
    /// The offset of the value in the window.
    value_in: u64,
    window: Window<'m, BLOCK, R>,
    faults: &'f mut Faults,
}

/// The length of what is seen of a block at once: its head, a key of [`LONGEST_KEY`] bytes, and some of the value.
const BLOCK: u64 = 128;

impl<R: Readable> Glimpse<'_, '_, R> {
    /// Loads the word at an offset in the value; `None` if it is not among the first bytes of the block.
    #[inline(always)]
    pub(crate) fn word(&mut self, at: u64) -> Option<u64> {
        let at = self.value_in + at;
        (at <= BLOCK - 8).then(|| self.window.load(at, self.faults))
    }
}

impl<M: Machine> Map<'_, M> {
    /// Looks up a key in its own bucket and in so many `further` ones, in a map of words. Returns `None` if that does
    /// not tell, for any reason: then [`get`](Self::get) does.
    ///
    /// `read` makes a result of the value's word, which may be arbitrary.
    #[inline(always)]
    pub(crate) fn word_at_once<R>(
        &self,
        source: Source<'_, impl Readable>,
        further: u64,
        key: &Key<'_>,
        read: impl FnOnce(u64) -> Option<R>,
    ) -> Option<Option<R>> {
        debug_assert_eq!(self.shape.form, Form::Words);
        let memory = source.memory;
        let mut faults = Faults::default();
        let way = Way::to(memory, source.places.of_hash(key.hash), &mut faults)?;
        match self.find_at_once(memory, way, key, further, &mut faults)? {
            Some(found) => {
                self.confirm(source, way, &mut faults)?;
                read(found.word).map(Some)
            }
            None => {
                self.confirm(source, way, &mut faults)?;
                Some(None)
            }
        }
    }

    /// Looks up at most [`TOGETHER`] keys in their own buckets, in a map of words: `key` returns each by its number.
    /// Returns the numbers of those of which that told, as a set of bits.
    ///
    /// `read` gets the number and the word of each that is present. It returns `false` if it makes nothing of it.
    #[inline(always)]
    pub(crate) fn words_at_once<'k>(
        &self,
        source: Source<'_, impl Readable>,
        count: usize,
        key: impl Fn(usize) -> Key<'k>,
        mut read: impl FnMut(usize, u64) -> bool,
    ) -> u32 {
        debug_assert_eq!(self.shape.form, Form::Words);
        let memory = source.memory;
        let mut faults = Faults::default();
        // What memory is slow to deliver is requested for all keys, before any of it is needed.
        if source.places.are_many() {
            for index in 0..count {
                memory.prefetch(source.places.of_hash(key(index).hash));
            }
        }
        let mut begun = [Begun::NOTHING; TOGETHER];
        for (index, begun) in begun.iter_mut().enumerate().take(count) {
            let hash = key(index).hash;
            let place = source.places.of_hash(hash);
            let Some(way) = Way::to(memory, place, &mut faults) else { continue };
            let Some(bucket) = self.bucket(Ref(way.before), hash, 0) else { continue };
            memory.prefetch(bucket);
            memory.prefetch(bucket + 64);
            *begun = Begun { hash, place, before: way.before, bucket };
        }
        let mut told = 0;
        for (index, begun) in begun.iter().enumerate().take(count) {
            let Begun { hash, place, before, bucket } = *begun;
            let (Some(place), Some(bucket)) =
                (Window::at(memory, place), Window::at(memory, bucket))
            else {
                continue;
            };
            let key = Key { hash, ..key(index) };
            let Some(found) = Bucket(bucket).find(&key, &mut faults) else { continue };
            let is_same = Way { place, before }.is_same(&mut faults);
            let is_told = is_same && found.is_none_or(|found| read(index, found.word));
            told |= u32::from(is_told) << index;
        }
        // If the map exists now, then it existed all the time.
        match self.is_present(source, &mut faults) && faults.is_empty() {
            true => told,
            false => 0,
        }
    }

    /// Looks up a key like [`word_at_once`](Self::word_at_once), in a map of blocks of this form.
    ///
    /// `read` is called at most once. It returns `None` for any error, or if it is too long for straight code. What it
    /// reads may be arbitrary.
    #[inline(always)]
    pub(crate) fn block_at_once<R, S: Readable>(
        &self,
        source: Source<'_, S>,
        form: Form,
        further: u64,
        key: &Key<'_>,
        read: impl FnOnce(Glimpse<'_, '_, S>) -> Option<R>,
    ) -> Option<Option<R>> {
        debug_assert_eq!(self.shape.form, form);
        let memory = source.memory;
        let mut faults = Faults::default();
        let way = Way::to(memory, source.places.of_hash(key.hash), &mut faults)?;
        match self.find_at_once(memory, way, key, further, &mut faults)? {
            Some(found) => {
                let value = self.read_at_once(memory, form, &found, key, &mut faults, read)?;
                // All that was read of the block was read before the entry is looked at again: the block may have been
                // freed, and used again.
                self.machine.fence_loads();
                found.is_same(key, &mut faults).then_some(())?;
                self.confirm(source, way, &mut faults)?;
                Some(Some(value))
            }
            None => {
                self.confirm(source, way, &mut faults)?;
                Some(None)
            }
        }
    }

    /// Calls `read` with the block of an entry. Returns `None` if the block has another key.
    #[inline(always)]
    fn read_at_once<R, S: Readable>(
        &self,
        memory: &S,
        form: Form,
        found: &Seen<'_, S>,
        key: &Key<'_>,
        faults: &mut Faults,
        read: impl FnOnce(Glimpse<'_, '_, S>) -> Option<R>,
    ) -> Option<R> {
        let window = Window::at(memory, Ref(found.word).at())?;
        let value = self.value_in(window, form, key, found.word, faults)?;
        read(Glimpse { value, value_in: value.at - Ref(value.word).at(), window, faults })
    }

    /// Returns the value in the block that a word refers to. Returns `None` if the block has another key.
    #[inline(always)]
    pub(super) fn block_of(
        &self,
        memory: &impl Readable,
        form: Form,
        key: &Key<'_>,
        word: u64,
        faults: &mut Faults,
    ) -> Option<Value> {
        self.value_in(Window::at(memory, Ref(word).at())?, form, key, word, faults)
    }

    #[inline(always)]
    fn value_in(
        &self,
        window: Window<'_, BLOCK, impl Readable>,
        form: Form,
        key: &Key<'_>,
        word: u64,
        faults: &mut Faults,
    ) -> Option<Value> {
        let block = Block::of_lens(window.load(8, faults), Ref(word), self.space)?;
        // Else another key with the same hash.
        let is_same = form != Form::Keys
            || block.key().1 == key.bytes.len() as u64 && has_key(window, key.bytes, faults);
        is_same.then_some(Value { word, at: block.value_at(), len: block.value_len })
    }

    /// Returns where the words of the directory lie that this process saw last.
    #[inline]
    pub(crate) fn places(&self) -> Places {
        match self.directory.load(Ordering::Relaxed) {
            // Not looked up yet.
            0 => Places::NONE,
            word => Places::of(Directory::of(word)),
        }
    }

    /// Looks a second time at what led to a page. Returns `None` if what was read may be arbitrary: because a load has
    /// faulted, because the page has been replaced, or because the map has been removed.
    #[inline(always)]
    fn confirm<R: Readable>(
        &self,
        source: Source<'_, R>,
        way: Way<'_, R>,
        faults: &mut Faults,
    ) -> Option<()> {
        if !way.is_same(faults) || !self.is_present(source, faults) {
            return None;
        }
        faults.is_empty().then_some(())
    }

    /// Returns `true` if the map has not been removed. If it has been, the memory of its directory may be used for
    /// something else.
    #[inline(always)]
    pub(super) fn is_present(
        &self,
        source: Source<'_, impl Readable>,
        faults: &mut Faults,
    ) -> bool {
        source.root.load(GENERATION, faults) == self.shape.generation
    }

    /// Returns the offset of the bucket of a hash that is `probe` behind its own; `None` if there is no page that makes
    /// sense.
    #[inline(always)]
    pub(super) fn bucket(&self, page: Ref, hash: u64, probe: u64) -> Option<u64> {
        let at = page.at();
        match at >= self.space.changeable.start {
            true => Some(Page { at, buckets: self.shape.buckets }.bucket(hash, probe)),
            false => None,
        }
    }

    /// Returns the entry with the word of a key, if there is one in its own bucket and in so many `further` ones.
    /// Returns `None` if there may be one in another bucket.
    #[inline(always)]
    fn find_at_once<'m, R: Readable>(
        &self,
        memory: &'m R,
        way: Way<'m, R>,
        key: &Key<'_>,
        further: u64,
        faults: &mut Faults,
    ) -> Option<Option<Seen<'m, R>>> {
        let home = Window::at(memory, self.bucket(Ref(way.before), key.hash, 0)?)?;
        // The bucket's other line.
        home.prefetch::<64>();
        if let Some(found) = Bucket(home).find(key, faults) {
            return Some(found);
        }
        for probe in 1..1 + further {
            let bucket = Window::at(memory, self.bucket(Ref(way.before), key.hash, probe)?)?;
            if let (_, Some(found)) = Bucket(bucket).find_here(key, faults) {
                return Some(Some(found));
            }
        }
        if further < PROBES { None } else { Some(None) }
    }
}

impl Map<'_, Session> {
    /// Prefetches what [`prefetch`](Self::prefetch) loads.
    #[inline]
    pub(crate) fn prefetch_way(&self, key: &Key<'_>) {
        self.machine.memory().prefetch(self.places().of_hash(key.hash));
    }

    /// Prefetches what a lookup of a key will load, or what its change will.
    #[inline]
    pub(crate) fn prefetch(&self, places: Places, key: &Key<'_>) {
        let memory = self.machine.memory();
        let way = Way::to(memory, places.of_hash(key.hash), &mut Faults::default());
        if let Some(bucket) = way.and_then(|way| self.bucket(Ref(way.before), key.hash, 0)) {
            memory.prefetch(bucket);
            memory.prefetch(bucket + 64);
        }
    }

    /// Prefetches what lookups of these keys will load, in a map of blocks.
    pub(crate) fn prefetch_blocks(&self, source: Source<'_>, keys: &[Key<'_>]) {
        let Source { memory, places, .. } = source;
        if places.are_many() {
            keys.iter().for_each(|key| memory.prefetch(places.of_hash(key.hash)));
        }
        keys.iter().for_each(|key| self.prefetch(places, key));
        let mut faults = Faults::default();
        for key in keys {
            let way = Way::to(memory, places.of_hash(key.hash), &mut faults);
            let found = way.and_then(|way| self.find_at_once(memory, way, key, 0, &mut faults));
            if let Some(Some(found)) = found {
                let block = Ref(found.word).at();
                memory.prefetch(block);
                memory.prefetch(block + 64);
            }
        }
    }
}

impl<'m, R: Readable> Way<'m, R> {
    /// Finds the way to the page of a hash, by the offset of its word; `None` if that is out of bounds.
    #[inline(always)]
    fn to(memory: &'m R, place: u64, faults: &mut Faults) -> Option<Self> {
        let place = Window::at(memory, place)?;
        Some(Self { place, before: place.load(0, faults) })
    }

    /// Returns `true` if the directory's word is the same still. If not, the page has been replaced, and its memory may
    /// be used for something else.
    #[inline(always)]
    fn is_same(self, faults: &mut Faults) -> bool {
        self.place.load(0, faults) == self.before
    }
}

/// Returns `true` if the block in a window has a key with these bytes, of which it has as many; `false` if there are too
/// many to tell.
#[inline(always)]
fn has_key(block: Window<'_, BLOCK, impl Readable>, key: &[u8], faults: &mut Faults) -> bool {
    if key.len() > LONGEST_KEY {
        return false;
    }
    let (mut at, mut differing) = (HEAD, 0);
    let mut load = || {
        let (first, second) = block.load_pair(at, faults);
        at += 16;
        hash::pair(first.to_le(), second.to_le())
    };
    let mut pairs = key.chunks_exact(16);
    for pair in &mut pairs {
        differing |= load() ^ hash::last_pair(pair, 16);
    }
    let rest = pairs.remainder().len();
    if rest != 0 {
        // A block's length is a multiple of 16, so that two whole words lie there.
        differing |= (load() ^ hash::last_pair(key, rest)) << (128 - 8 * rest);
    }
    differing == 0
}
