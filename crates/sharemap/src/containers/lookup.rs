//! Lookups in a `HashMap`, which acquire no lock.

use std::sync::atomic::Ordering;

use crate::containers::HashMap;
use crate::error::Result;
use crate::mapping::MappingMut;
use crate::segment::map::{Form, Glimpse, Key, PROBES, Places, Source, TOGETHER, Value};
use crate::segment::{self, Stored};
use crate::view::View;

use super::hash_map::State;

impl<K: Stored + ?Sized, V: Stored + ?Sized> HashMap<K, V> {
    /// Returns a copy of the value of a key; `None` if the key is absent.
    ///
    /// Takes no lock, and writes nothing.
    ///
    /// # Errors
    /// - `NotFound` - the map was removed from the segment.
    /// - `Busy` - writers replaced the value in all of many attempts.
    /// - `Invalid` - the bytes are not a valid value of `V`.
    /// - `Malformed` - the segment is damaged; see [`Segment::check`](crate::Segment::check).
    /// - `Fault` - the memory could not be accessed.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// let names = segment.hash_map::<u32, str>("names")?;
    /// names.insert(&7, "seven")?;
    /// assert_eq!(names.get(&7)?.as_deref(), Some("seven"));
    /// assert_eq!(names.get(&8)?, None);
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn get(&self, key: &K) -> Result<Option<V::Owned>> {
        self.get_hashed(&self.key(key), key)
    }

    /// Returns copies of the values of several keys, in the order of the keys.
    ///
    /// The call prefetches all entries together. It is faster than calls of [`get`](Self::get) for keys whose entries are
    /// not in the processor's caches. Each value is of its own moment.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// let squares = segment.hash_map::<u64, u64>("squares")?;
    /// squares.extend([(&2, &4), (&3, &9)])?;
    /// assert_eq!(squares.get_many([&3, &5, &2])?, [Some(9), None, Some(4)]);
    /// # Ok(()) }
    /// ```
    pub fn get_many<const N: usize>(&self, keys: [&K; N]) -> Result<[Option<V::Owned>; N]> {
        let mut values = [const { None }; N];
        match Self::FORM {
            Form::Words => {
                for (keys, values) in keys.chunks(TOGETHER).zip(values.chunks_mut(TOGETHER)) {
                    self.get_words(keys, values)?;
                }
            }
            Form::Values | Form::Keys => {
                let hashed = keys.map(|key| self.key(key));
                self.map().prefetch_blocks(self.source(), &hashed);
                for ((value, hashed), key) in values.iter_mut().zip(&hashed).zip(keys) {
                    *value = self.get_hashed(hashed, key)?;
                }
            }
        }
        Ok(values)
    }

    /// Returns `true` if the map has the key.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// let seen = segment.hash_map::<str, ()>("seen")?;
    /// seen.insert("first", &())?;
    /// assert!(seen.contains_key("first")? && !seen.contains_key("second")?);
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn contains_key(&self, key: &K) -> Result<bool> {
        let hashed = self.key(key);
        let found = match self.at_once(0, &hashed, |_| Some(()), |_| Some(())) {
            Some(found) => found,
            None => self.get_carefully(&hashed, |_| Ok(()))?,
        };
        Ok(found.is_some())
    }

    /// Calls `read` with a view of the value of a key, and returns what it returned; `None` if the key is absent.
    ///
    /// Values in blocks are read in place, without a copy. `read` is called again if the value was replaced while it read,
    /// and what it returned then is discarded. Until it returns, the bytes that it sees may be those of another value.
    ///
    /// # Errors
    /// As for [`get`](Self::get), and those that `read` returns.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// let pages = segment.hash_map::<u64, [u8]>("pages")?;
    /// pages.insert(&1, b"first line\nsecond line")?;
    /// assert_eq!(pages.read(&1, |page| page.find(b'\n'))?, Some(Some(10)));
    /// # Ok(()) }
    /// ```
    pub fn read<R>(
        &self,
        key: &K,
        mut read: impl FnMut(View<'_, u8>) -> Result<R>,
    ) -> Result<Option<R>> {
        let memory = self.segment.session().memory();
        let key = self.key(key);
        if Self::FORM == Form::Words {
            // Not in place: of a word that is replaced meanwhile, `read` could see a part of each.
            let found = self.at_once(0, &key, Some, |_| None);
            let found = found.map_or_else(|| self.get_carefully(&key, |value| Ok(value.word)), Ok);
            let Some(word) = found? else { return Ok(None) };
            let copy = MappingMut::anonymous(size_of::<u64>())?;
            copy.view::<u64>()?.set(0, word)?;
            return read(*copy.view_at::<u8>(0, V::LEN.unwrap_or(size_of::<u64>()))?).map(Some);
        }
        self.get_carefully(&key, |value| read(memory.view(value.at, value.len)?))
    }

    #[inline(always)]
    pub(super) fn source(&self) -> Source<'_> {
        let State { root, places, .. } = &*self.state;
        let places = Places(places.load(Ordering::Relaxed));
        Source { memory: root.memory(), root: root.window(), places }
    }

    /// Returns a copy of the value of `key`, whose hash is known.
    #[inline(always)]
    fn get_hashed(&self, hashed: &Key<'_>, key: &K) -> Result<Option<V::Owned>> {
        match self.copy_at_once(0, hashed, |_, value| value) {
            Some(found) => Ok(found),
            // The key as the caller has it, so that what is above stays in registers.
            None => self.get_slowly(key),
        }
    }

    /// Looks up a key in its own bucket and in so many `further` ones. Returns `None` if that does not tell.
    ///
    /// `of_word` makes a result of the value's word, and `of_block` of its block, as for
    /// [`word_at_once`](Map::word_at_once) and [`block_at_once`](Map::block_at_once).
    #[inline(always)]
    fn at_once<R>(
        &self,
        further: u64,
        key: &Key<'_>,
        of_word: impl FnOnce(u64) -> Option<R>,
        of_block: impl FnOnce(Glimpse<'_, '_>) -> Option<R>,
    ) -> Option<Option<R>> {
        let (map, source) = (self.map(), self.source());
        match Self::FORM {
            Form::Words => map.word_at_once(source, further, key, of_word),
            Form::Values | Form::Keys => {
                map.block_at_once(source, Self::FORM, further, key, of_block)
            }
        }
    }

    /// Looks up a key like [`at_once`](Self::at_once). `make` gets the word of the value, and a copy of the value.
    #[inline(always)]
    pub(super) fn copy_at_once<R>(
        &self,
        further: u64,
        key: &Key<'_>,
        make: impl Fn(u64, V::Owned) -> R,
    ) -> Option<Option<R>> {
        let of_word = |word| V::of_word(word).ok().map(|value| make(word, value));
        let of_block = |mut glimpse: Glimpse<'_, '_>| {
            let (memory, Value { word, len, .. }) = (self.state.root.memory(), glimpse.value);
            let value = segment::copy_out_at_once::<V>(memory, &mut glimpse, 0, len)?;
            Some(make(word, value))
        };
        self.at_once(further, key, of_word, of_block)
    }

    /// Looks up at most [`TOGETHER`] keys, in a map of words.
    #[inline(always)]
    fn get_words(&self, keys: &[&K], values: &mut [Option<V::Owned>]) -> Result<()> {
        let told = self.map().words_at_once(
            self.source(),
            keys.len(),
            |index| self.key(keys[index]),
            |index, word| {
                values[index] = V::of_word(word).ok();
                values[index].is_some()
            },
        );
        for (index, (key, value)) in keys.iter().zip(values).enumerate() {
            if told >> index & 1 == 0 {
                *value = self.get_slowly(key)?;
            }
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn get_slowly(&self, key: &K) -> Result<Option<V::Owned>> {
        let hashed = self.key(key);
        if let Some(found) = self.copy_at_once(PROBES, &hashed, |_, value| value) {
            return Ok(found);
        }
        self.get_carefully(&hashed, |value| self.copy_out(value))
    }

    /// Looks up a key with a test after each step, and notes where the directory is now. `read` makes a result of the
    /// value.
    #[cold]
    pub(super) fn get_carefully<R>(
        &self,
        key: &Key<'_>,
        read: impl FnMut(Value) -> Result<R>,
    ) -> Result<Option<R>> {
        let map = self.map();
        let found = map.get(key, read);
        let (seen, now) = (&self.state.places, map.places().0);
        // A store only if it is another one: threads that look up share the line.
        if seen.load(Ordering::Relaxed) != now {
            seen.store(now, Ordering::Relaxed);
        }
        found.map_err(|error| self.segment.named(error))
    }
}
