//! Reading a map page by page.

use super::block::{Block, Ref};
use super::lookup::{Value, disturbed};
use super::page::{self, Entry, Page};
use super::{DIRECTORY, Directory, Form, Map, prefix};
use crate::error::Result;
use crate::peer::Machine;
use crate::segment::heap::malformed;

/// The place in a map that a scan has reached: the first hash that it has not seen; `None` at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor(Option<u64>);

impl Cursor {
    pub(crate) const START: Self = Self(Some(0));

    /// Returns `true` if the scan has seen all hashes.
    pub(crate) fn is_at_end(self) -> bool {
        self.0.is_none()
    }
}

/// An entry that a scan sees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    /// The word of the key; of a key that lies in a block, its hash.
    pub(crate) key: u64,
    /// The offset and length of a key that lies in a block.
    pub(crate) long_key: (u64, u64),
    pub(crate) value: Value,
}

/// How many keys a map has, and how much memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) len: u64,
    /// The number of entries of all pages.
    pub(crate) capacity: u64,
    /// The bytes of pages, directories and blocks.
    pub(crate) memory: u64,
}

impl<M: Machine> Map<'_, M> {
    /// Reads the page that the cursor is at, and advances the cursor behind it. Takes no lock.
    ///
    /// Calls `each` with the entries of the page, and returns what it returned for those that were in the page together
    /// at one moment: no key is there twice. Each value is whole, and of its own moment. `each` is called again for the
    /// whole page if a writer disturbed the reading.
    pub(crate) fn scan<T>(
        &self,
        cursor: &mut Cursor,
        mut each: impl FnMut(Item) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut found = Vec::new();
        self.scan_pages(cursor, |page, from| {
            found.clear();
            match page {
                Some(page) => self.scan_page(page, from, &mut found, &mut each),
                None => Ok(()),
            }
        })?;
        Ok(found.into_iter().map(|(_, result)| result).collect())
    }

    /// Calls `read` with the page that the cursor is at, or `None` if there is none, until no writer replaces the page
    /// meanwhile, and `read` succeeds. Advances the cursor behind the page.
    ///
    /// Hashes before the second argument of `read` were seen before. The page has such ones if it was merged since.
    fn scan_pages(
        &self,
        cursor: &mut Cursor,
        mut read: impl FnMut(Option<Page>, u64) -> Result<()>,
    ) -> Result<()> {
        let Some(hash) = cursor.0 else { return Ok(()) };
        let bits = self.shape.lock_bits();
        let mut attempt = 0;
        loop {
            let Some(directory) = self.root_directory()? else {
                self.require_present()?;
                cursor.0 = None;
                return read(None, 0);
            };
            let place = directory.place(hash);
            let before = Ref(self.machine.load_64(place)?);
            if before == Ref(0) && self.root_directory()? == Some(directory) {
                self.require_present()?;
                // No page for this lock.
                cursor.0 = next(hash, bits);
                return read(None, 0);
            }
            let result = self.page(before, place).and_then(|page| {
                let depth = page.depth(self.machine)?;
                let has_seen = hash & u64::MAX.checked_shr(depth as u32).unwrap_or(0) != 0;
                read(Some(page), if has_seen { hash } else { 0 })?;
                let is_sound = depth <= directory.depth.into() && depth >= bits.into();
                if is_sound { Ok(depth as u32) } else { Err(malformed(page.at)) }
            });
            let is_same = self.machine.load_64(place)? == before.0;
            self.require_present()?;
            match result {
                Ok(depth) if is_same => {
                    cursor.0 = next(hash, depth);
                    return Ok(());
                }
                // Else an entry changed while its block was read.
                Err(error) if is_same && attempt >= MOST_ROUNDS => return Err(error),
                _ => {}
            }
            attempt += 1;
            self.pause(attempt)?;
        }
    }

    /// Calls `each` with all entries of a page. Fails with any error if the page was replaced, or an entry changed.
    fn scan_page<T>(
        &self,
        page: Page,
        from: u64,
        found: &mut Vec<(Entry, T)>,
        each: &mut impl FnMut(Item) -> Result<T>,
    ) -> Result<()> {
        let form = self.shape.form;
        page.for_each(self.machine, |entry, key, _| {
            if from != 0 && self.shape.hash_of(key) < from {
                return Ok(());
            }
            let word = self.machine.load_64(entry.value())?;
            if form == Form::Words {
                let value = Value { word, at: entry.value(), len: 8 };
                found.push((entry, each(Item { key, long_key: (0, 0), value })?));
                return Ok(());
            }
            let block = Block::of(self.machine, self.space, Ref(word))?;
            let value = Value { word, at: block.value_at(), len: block.value_len };
            let result = each(Item { key, long_key: block.key(), value });
            self.machine.fence_loads();
            // Removed meanwhile: as good as seen before. Replaced: to be read again.
            let is_same = self.machine.load_64(entry.value())? == word
                && entry.is_tagged(self.machine, self.shape.hash_of(key))?;
            match is_same {
                true => found.push((entry, result?)),
                false => return Err(disturbed()),
            }
            Ok(())
        })?;
        self.retain_present(found)
    }

    /// Removes what was found in entries that have no key any more.
    ///
    /// A key that was removed and inserted again, while the page was read, was found in two entries. The first one had
    /// lost it before the second one got it. Entries that have their keys now had them all when the last one was read.
    fn retain_present<T>(&self, found: &mut Vec<(Entry, T)>) -> Result<()> {
        let (mut seen, mut result) = (None, Ok(()));
        found.retain(|(entry, _)| {
            let tags = match seen {
                Some((bucket, tags)) if bucket == entry.bucket => tags,
                _ => match self.machine.load_64(entry.tags()) {
                    Ok(tags) => tags,
                    Err(error) => {
                        result = Err(error);
                        return false;
                    }
                },
            };
            seen = Some((entry.bucket, tags));
            entry.tag_in(tags) != page::REMOVED
        });
        result
    }

    /// Returns the number of keys. Takes no lock.
    pub(crate) fn len(&self) -> Result<u64> {
        let (mut len, mut cursor, mut of_page) = (0, Cursor::START, 0);
        while !cursor.is_at_end() {
            self.scan_pages(&mut cursor, |page, from| {
                of_page = match page {
                    Some(page) if from == 0 => page.len(self.machine)?,
                    Some(page) => self.len_from(page, from)?,
                    None => 0,
                };
                Ok(())
            })?;
            len += of_page;
        }
        Ok(len)
    }

    /// Returns the number of keys of a page whose hashes are not before `from`.
    fn len_from(&self, page: Page, from: u64) -> Result<u64> {
        let mut found = Vec::new();
        page.for_each(self.machine, |entry, key, _| {
            if self.shape.hash_of(key) >= from {
                found.push((entry, ()));
            }
            Ok(())
        })?;
        self.retain_present(&mut found)?;
        Ok(found.len() as u64)
    }

    /// Returns the map's length, its capacity and its memory. Takes no lock.
    pub(crate) fn extent(&self) -> Result<Extent> {
        let mut extent = Extent::default();
        let mut cursor = Cursor::START;
        let per_page = u64::from(page::ENTRIES) * self.shape.buckets;
        while !cursor.is_at_end() {
            let blocks = self.scan(&mut cursor, |Item { value, .. }| {
                Ok(match self.shape.form {
                    Form::Words => 0,
                    Form::Values | Form::Keys => value.at + value.len - Ref(value.word).at(),
                })
            })?;
            extent.len += blocks.len() as u64;
            extent.memory += blocks.iter().sum::<u64>();
        }
        let Some(directory) = self.root_directory()? else { return Ok(extent) };
        let mut last = 0;
        for index in 0..1 << directory.depth {
            let word = self.machine.load_64(directory.word_at(index))?;
            extent.capacity += per_page * u64::from(word != 0 && word != last);
            extent.memory += self.shape.page_len() * u64::from(word != 0 && word != last);
            last = word;
        }
        // All directories, of which each earlier one is half as long.
        extent.memory += 2 * Directory::len(directory.depth);
        Ok(extent)
    }

    /// Returns the number of words in the directory; 0 if there is none yet.
    pub(crate) fn directory_len(&self) -> Result<u64> {
        Ok(self.root_directory()?.map_or(0, |directory| 1 << directory.depth))
    }

    /// Calls `each` with the offset of each piece of memory of the map: pages, directories and blocks.
    ///
    /// No other thread changes the map, or what is found may be inconsistent. Fails with `Malformed` if it is.
    pub(crate) fn memory(&self, each: &mut dyn FnMut(u64) -> Result<()>) -> Result<()> {
        let Some(directory) = self.root_directory()? else { return Ok(()) };
        let mut index = 0;
        while index < 1 << directory.depth {
            let place = directory.word_at(index);
            let word = Ref(self.machine.load_64(place)?);
            let page = if word == Ref(0) { None } else { Some(self.page(word, place)?) };
            // Without a page, all words of the lock are 0.
            let bits = self.shape.lock_bits();
            let depth = page.map_or(Ok(bits.into()), |page| page.depth(self.machine))?;
            if !(bits.into()..=directory.depth.into()).contains(&depth) {
                return Err(malformed(place));
            }
            let bits = depth as u32;
            let words = 1 << (directory.depth - bits);
            // A page's words are consecutive, and its keys have their prefix.
            if index % words != 0 {
                return Err(malformed(place));
            }
            for other in (index..index + words).map(|other| directory.word_at(other)) {
                if self.machine.load_64(other)? != word.0 {
                    return Err(malformed(other));
                }
            }
            let first = index;
            index += words;
            let Some(page) = page else { continue };
            each(page.at)?;
            page.for_each(self.machine, |entry, key, _| {
                let hash = self.shape.hash_of(key);
                // A lookup finds the entry: tag and bucket are those of the key.
                let is_same = |found| Ok((found == entry).then_some(()));
                let found = page.find(self.machine, hash, key, is_same)?;
                if found.is_none() || prefix(hash, bits) != first >> (directory.depth - bits) {
                    return Err(malformed(entry.key()));
                }
                match self.shape.form {
                    Form::Words => Ok(()),
                    Form::Values | Form::Keys => {
                        let word = Ref(self.machine.load_64(entry.value())?);
                        each(Block::of(self.machine, self.space, word)?.at)
                    }
                }
            })?;
        }
        let (mut place, mut depth) = (self.shape.root + DIRECTORY, DEEPER);
        while let Some(directory) = self.directory_at(place)? {
            // Each is shorter than the one that replaced it, so that the list ends.
            if directory.depth >= depth {
                return Err(malformed(place));
            }
            each(directory.at)?;
            (place, depth) = (directory.at, directory.depth);
        }
        Ok(())
    }
}

/// The rounds of reading a page in which an entry may change.
const MOST_ROUNDS: u32 = 1000;
/// A depth that no directory has.
const DEEPER: u32 = super::DEEPEST + 1;

/// Returns the first hash behind those that share the first `bits` bits with `hash`.
fn next(hash: u64, bits: u32) -> Option<u64> {
    match bits {
        0 => None,
        bits => ((hash >> (64 - bits)) + 1).checked_shl(64 - bits).filter(|&next| next != 0),
    }
}
