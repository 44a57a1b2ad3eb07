//! `HashMap`: a hash map that processes share.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::error::{ErrorKind, Result};
use crate::peer::{Session, TypedSpan};
use crate::segment::map::{Existing, Extent, Form, Inserted, Key, Map, Places, Root, Shape, Value};
use crate::segment::{self, Segment, Stored, description, fits_word, word_of};

/// A hash map in a [`Segment`], from keys `K` to values `V`.
///
/// Keys and values are of the types of [`Stored`]: integers and other plain data, `str`, and `[u8]`. Pairs whose key and
/// value have at most 8 bytes each are stored in place; others in a block of memory.
///
/// - [`get`](Self::get) takes no lock and writes nothing, so that readers do not disturb each other.
/// - [`insert`](Self::insert), [`update`](Self::update) and [`remove`](Self::remove) take one of 16 locks, which a process
///   that is killed does not keep.
/// - Every change of a key is one step for all others: a reader finds the old value or the new one, and never a part of
///   each.
///
/// A lookup of a key that is present costs two to three times what it costs in a fast map of the program's own, and less
/// than there if each lookup depends on the last one. A lookup of a key that is absent costs four to five times as much.
///
/// The map grows by small steps, except that its directory, which has 8 bytes for about 100 entries, doubles at once.
/// Each map has a seed of its own, so that keys which collide cannot be chosen without knowing it; if the hashes of very
/// many keys are alike nevertheless, `insert` fails with [`TooLarge`](ErrorKind::TooLarge).
///
/// # Examples
/// ```
/// use sharemap::containers::HashMap;
/// use sharemap::{Location, Segment};
///
/// # fn main() -> sharemap::Result<()> {
/// let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
/// let ages = HashMap::<str, u32>::create_new(&segment, "ages")?;
/// ages.insert("Ada", &36)?;
/// assert_eq!(ages.get("Ada")?, Some(36));
/// assert_eq!(ages.update("Ada", |age| age + 1)?, Some(37));
/// assert_eq!(ages.remove("Ada")?, Some(37));
/// assert_eq!(ages.get("Ada")?, None);
/// # Ok(()) }
/// ```
pub struct HashMap<K: Stored + ?Sized, V: Stored + ?Sized> {
    /// Before the segment, so that it is dropped first: the session detaches with the segment's opening.
    pub(super) state: Arc<State>,
    pub(super) segment: Segment,
    of: PhantomData<fn(&K) -> &V>,
}

/// [`HashMap::extend`] prefetches the page of the pair that follows so many pairs later, and the directory's word, which
/// tells the page, of the pair that follows twice as many later.
const AHEAD: usize = 8;

/// What clones of a handle share.
#[derive(Debug)]
pub(super) struct State {
    pub(super) root: TypedSpan<Root>,
    shape: Shape,
    /// The map's directory, as this process saw it last.
    directory: AtomicU64,
    /// The [`Places`] of its words, as lookups at once use them.
    pub(super) places: AtomicU64,
}

impl<K: Stored + ?Sized, V: Stored + ?Sized> HashMap<K, V> {
    /// Where keys and values lie.
    pub(super) const FORM: Form = match (fits_word::<K>(), fits_word::<V>()) {
        (true, true) => Form::Words,
        (true, false) => Form::Values,
        (false, _) => Form::Keys,
    };

    /// Creates a map with a name that no object of the segment has.
    ///
    /// # Errors
    /// - `AlreadyExists` - an object has the name.
    ///
    /// Otherwise as for [`Segment::create_value`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::{*, containers::HashMap};
    /// # fn main() -> Result<()> {
    /// let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// let prices = HashMap::<u64, f64>::create_new(&segment, "prices")?;
    /// let error = HashMap::<u64, f64>::create_new(&segment, "prices").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    /// # Ok(()) }
    /// ```
    pub fn create_new(segment: &Segment, name: &str) -> Result<Self> {
        match segment.create_map(name, Self::FORM, &text::<K, V>())? {
            Some(shape) => Self::over(segment, shape),
            None => Err(segment.named_object(ErrorKind::AlreadyExists, "create", name)),
        }
    }

    /// Opens the map with a name.
    ///
    /// # Errors
    /// - `NotFound` - no object has the name.
    /// - `WrongKind`, `WrongType` - the object is a value, or a map of other types.
    ///
    /// Otherwise as for [`Segment::value`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::{*, containers::HashMap};
    /// # fn main() -> Result<()> {
    /// let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// let prices = HashMap::<u64, f64>::create_new(&segment, "prices")?;
    /// let error = HashMap::<u64, u64>::open(&segment, "prices").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::WrongType);
    /// # Ok(()) }
    /// ```
    pub fn open(segment: &Segment, name: &str) -> Result<Self> {
        Self::open_described(segment, name, &text::<K, V>())
    }

    /// Opens a map of the types that `text` describes, for programs that learn them when they run.
    ///
    /// `K` and `V` are types of like lengths: for a type of at most 8 bytes `u64`, of which the upper bytes are 0, and
    /// for others `[u8]`. The caller makes sure that the bytes that it stores are values of the types. If not, reads of
    /// them fail with `Invalid`.
    #[doc(hidden)]
    pub fn open_described(segment: &Segment, name: &str, text: &str) -> Result<Self> {
        match segment.open_map(name, text)? {
            Some(shape) => Self::over(segment, shape),
            None => Err(segment.named_object(ErrorKind::NotFound, "open", name)),
        }
    }

    /// Opens the map with a name, or creates it.
    ///
    /// # Errors
    /// As for [`open`](Self::open), except `NotFound`, and as for [`create_new`](Self::create_new), except
    /// `AlreadyExists`.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::{*, containers::HashMap};
    /// # fn main() -> Result<()> {
    /// let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// HashMap::<u64, f64>::open_or_create(&segment, "prices")?.insert(&7, &1.5)?;
    /// let prices = HashMap::<u64, f64>::open_or_create(&segment, "prices")?;
    /// assert_eq!(prices.get(&7)?, Some(1.5));
    /// # Ok(()) }
    /// ```
    pub fn open_or_create(segment: &Segment, name: &str) -> Result<Self> {
        Self::open_or_create_described(segment, name, &text::<K, V>())
    }

    /// Opens or creates a map of the types that `text` describes, as for [`open_described`](Self::open_described).
    #[doc(hidden)]
    pub fn open_or_create_described(segment: &Segment, name: &str, text: &str) -> Result<Self> {
        loop {
            if let Some(shape) = segment.open_map(name, text)? {
                return Self::over(segment, shape);
            }
            if let Some(shape) = segment.create_map(name, Self::FORM, text)? {
                return Self::over(segment, shape);
            }
        }
    }

    fn over(segment: &Segment, shape: Shape) -> Result<Self> {
        let shape = shape.require_form(Self::FORM).map_err(|error| segment.named(error))?;
        let root = segment.root_of(&shape)?;
        let (directory, places) = (AtomicU64::new(0), AtomicU64::new(Places::NONE.0));
        let state = Arc::new(State { root, shape, directory, places });
        Ok(Self { state, segment: segment.clone(), of: PhantomData })
    }

    /// Inserts a key, or replaces its value. Returns a copy of the previous value.
    ///
    /// # Errors
    /// - `NoSpace` - the segment is full and may not grow, or its file system is full. The map is as before.
    /// - `TooLarge` - key and value together are longer than about 64 MiB, or the hashes of too many keys are alike.
    /// - `NotWritable` - the segment is open for reading only.
    /// - `Timeout` - the handle has a [timeout](Segment::with_timeout), and a lock was held for longer.
    /// - `TooManyThreads` - no lane became free within about 100 ms.
    /// - `TooManyProcesses` - a forked child could not attach.
    ///
    /// Otherwise as for [`get`](Self::get).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// let ages = segment.hash_map::<str, u32>("ages")?;
    /// assert_eq!(ages.insert("Ada", &36)?, None);
    /// assert_eq!(ages.insert("Ada", &37)?, Some(36));
    /// # Ok(()) }
    /// ```
    pub fn insert(&self, key: &K, value: &V) -> Result<Option<V::Owned>> {
        let inserted = self.put(key, value, Existing::Replaced, |value| self.copy_out(value))?;
        Ok(inserted.previous())
    }

    /// Replaces the value of a key by what `change` makes of it. Returns the new value; `None` if the key is absent.
    ///
    /// `change` is called without a lock, and again with the new value if another thread changed it meanwhile: the
    /// update is one step. It may use the segment, also the same map.
    ///
    /// # Errors
    /// As for [`insert`](Self::insert).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// let hits = segment.hash_map::<str, u64>("hits")?;
    /// assert_eq!(hits.update("home", |hits| hits + 1)?, None);
    /// hits.insert("home", &0)?;
    /// assert_eq!(hits.update("home", |hits| hits + 1)?, Some(1));
    /// # Ok(()) }
    /// ```
    pub fn update<W: std::borrow::Borrow<V>>(
        &self,
        key: &K,
        mut change: impl FnMut(V::Owned) -> W,
    ) -> Result<Option<W>> {
        let mut attempt = 0;
        loop {
            let hashed = self.key(key);
            let found = match self.copy_at_once(0, &hashed, |word, value| (word, value)) {
                Some(found) => found,
                None => {
                    self.get_carefully(&hashed, |value| Ok((value.word, self.copy_out(value)?)))?
                }
            };
            let Some((word, value)) = found else { return Ok(None) };
            let new = change(value);
            match self.put(key, new.borrow(), Existing::ReplacedIf(word), |_| Ok(()))? {
                Inserted::Kept => {
                    attempt += 1;
                    self.map().pause(attempt).map_err(|error| self.segment.named(error))?;
                }
                Inserted::New | Inserted::Replaced(()) => return Ok(Some(new)),
            }
        }
    }

    /// Removes a key. Returns a copy of its value; `None` if the key is absent.
    ///
    /// # Errors
    /// - `NotWritable` - the segment is open for reading only.
    /// - `Timeout` - the handle has a [timeout](Segment::with_timeout), and a lock was held for longer.
    /// - `TooManyThreads` - no lane became free within about 100 ms.
    /// - `TooManyProcesses` - a forked child could not attach.
    ///
    /// Otherwise as for [`get`](Self::get).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// let ages = segment.hash_map::<str, u32>("ages")?;
    /// ages.insert("Ada", &36)?;
    /// assert_eq!(ages.remove("Ada")?, Some(36));
    /// assert_eq!(ages.remove("Ada")?, None);
    /// # Ok(()) }
    /// ```
    pub fn remove(&self, key: &K) -> Result<Option<V::Owned>> {
        self.take(&self.key(key))
    }

    /// Inserts all pairs of an iterator. Pairs that were inserted before an error stay.
    ///
    /// The call prefetches what the next pairs need. It is faster than calls of [`insert`](Self::insert) for keys whose
    /// entries are not in the processor's caches. After an error, the call may have taken a few more pairs from the
    /// iterator than it has inserted.
    ///
    /// # Errors
    /// As for [`insert`](Self::insert).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// let ages = segment.hash_map::<str, u32>("ages")?;
    /// ages.extend([("Ada", &36), ("Grace", &45)])?;
    /// assert_eq!(ages.len()?, 2);
    /// # Ok(()) }
    /// ```
    pub fn extend<'a>(&self, pairs: impl IntoIterator<Item = (&'a K, &'a V)>) -> Result<()> {
        let mut pairs = pairs.into_iter().map(|(key, value)| {
            let key = self.key(key);
            self.map().prefetch_way(&key);
            (key, value)
        });
        let mut ahead: VecDeque<_> = pairs.by_ref().take(2 * AHEAD).collect();
        while let Some((key, value)) = ahead.pop_front() {
            ahead.extend(pairs.next());
            if let Some((later, _)) = ahead.get(AHEAD) {
                self.prefetch(later);
            }
            self.put_prefetched(&key, value, Existing::Replaced, |_| Ok(()))?;
        }
        Ok(())
    }

    /// Returns the number of keys.
    ///
    /// Reads the tags of all entries, as the map keeps no count: writers would all change it. A key that is inserted or
    /// removed during the call is counted once or not at all.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// let ages = segment.hash_map::<str, u32>("ages")?;
    /// assert!(ages.is_empty()?);
    /// ages.insert("Ada", &36)?;
    /// assert_eq!(ages.len()?, 1);
    /// # Ok(()) }
    /// ```
    pub fn len(&self) -> Result<u64> {
        self.map().len().map_err(|error| self.segment.named(error))
    }

    /// Returns `true` if the map has no key. Reads what [`len`](Self::len) reads.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    ///
    /// # Examples
    /// See [`len`](Self::len).
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Returns the number of entries in the memory that the map has.
    ///
    /// A page of entries is replaced before all of them are used, so that the map has about two thirds of as many keys.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// let ages = segment.hash_map::<str, u32>("ages")?;
    /// ages.insert("Ada", &36)?;
    /// assert!(ages.capacity()? >= 1 && ages.memory()? >= 4096);
    /// # Ok(()) }
    /// ```
    pub fn capacity(&self) -> Result<u64> {
        self.extent().map(|extent| extent.capacity)
    }

    /// Returns the bytes of memory that the map has: its directories, pages of entries, and blocks.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    ///
    /// # Examples
    /// See [`capacity`](Self::capacity).
    pub fn memory(&self) -> Result<u64> {
        self.extent().map(|extent| extent.memory)
    }

    /// Returns the number of words in the map's directory: a power of two, or 0 before the first insertion.
    ///
    /// The directory refers to the map's pages of entries. The insertion that needs a longer directory replaces it by one of
    /// twice the length, under all the map's locks; other insertions of that moment wait. Nothing else that an insertion does
    /// takes longer as the map grows.
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
    /// assert_eq!(squares.directory_len()?, 0);
    /// let mut doublings = 0;
    /// for number in 0..20_000 {
    ///     let before = squares.directory_len()?;
    ///     squares.insert(&number, &(number * number))?;
    ///     doublings += u32::from(squares.directory_len()? == 2 * before && before > 0);
    /// }
    /// assert!(doublings > 0);
    /// # Ok(()) }
    /// ```
    pub fn directory_len(&self) -> Result<u64> {
        self.map().directory_len().map_err(|error| self.segment.named(error))
    }

    fn extent(&self) -> Result<Extent> {
        self.map().extent().map_err(|error| self.segment.named(error))
    }

    #[inline]
    pub(super) fn map(&self) -> Map<'_, Session> {
        self.segment.map(&self.state.shape, &self.state.directory)
    }

    #[inline]
    pub(super) fn key<'k>(&self, key: &'k K) -> Key<'k> {
        let bytes = key.stored_bytes();
        match fits_word::<K>() {
            true => self.state.shape.word_key(word_of(bytes)),
            false => self.state.shape.long_key(bytes),
        }
    }

    /// Copies a value out.
    #[inline]
    pub(super) fn copy_out(&self, value: Value) -> Result<V::Owned> {
        match Self::FORM {
            Form::Words => V::of_word(value.word),
            Form::Values | Form::Keys => {
                segment::copy_out::<V>(self.segment.session().memory(), value.at, value.len)
            }
        }
    }
}

impl Segment {
    /// Opens the [`HashMap`] with a name, or creates it.
    ///
    /// # Errors
    /// As for [`HashMap::open_or_create`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// let prices = segment.hash_map::<u64, f64>("prices")?;
    /// prices.insert(&7, &101.5)?;
    /// # Ok(()) }
    /// ```
    pub fn hash_map<K: Stored + ?Sized, V: Stored + ?Sized>(
        &self,
        name: &str,
    ) -> Result<HashMap<K, V>> {
        HashMap::open_or_create(self, name)
    }
}

/// Returns the description of a map's type.
fn text<K: Stored + ?Sized, V: Stored + ?Sized>() -> String {
    format!("map<{},{}>", description::<K>(), description::<V>())
}

impl<K: Stored + ?Sized, V: Stored + ?Sized> Clone for HashMap<K, V> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state), segment: self.segment.clone(), of: PhantomData }
    }
}

impl<K: Stored + ?Sized, V: Stored + ?Sized> fmt::Debug for HashMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashMap").field("segment", &self.segment).finish_non_exhaustive()
    }
}
