//! Looking up a key without a lock.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::block::{Block, Ref};
use super::page::{ELSEWHERE, Entry, Page, TAGS, matching, tag};
use super::{Directory, Form, GENERATION, Key, Map};
use crate::error::{Error, ErrorKind, Result};
use crate::peer::Machine;

/// The lookups that writers may disturb before a reader waits between them.
const ATTEMPTS: u32 = 64;
/// The lookups that writers may disturb in all.
const MOST_ATTEMPTS: u32 = 100_000;
const NAP: Duration = Duration::from_micros(20);

/// A value that was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value {
    /// The value, if it is a word; else its block.
    pub(crate) word: u64,
    /// The offset of the value's bytes.
    pub(crate) at: u64,
    pub(crate) len: u64,
}

/// An entry that was found, and its value's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) entry: Entry,
    pub(super) word: u64,
}

/// What a lookup without a lock came to.
enum Attempt<R> {
    Found(Option<R>),
    /// A writer changed what was read.
    Disturbed,
}

impl<M: Machine> Map<'_, M> {
    /// Calls `read` with the value of a key, and returns what it returned. Takes no lock, and writes nothing.
    ///
    /// `read` may be called several times, and with a value that is being replaced by others; what it returned is then
    /// discarded. Fails with `Busy` if writers disturb all of many lookups.
    pub(crate) fn get<R>(
        &self,
        key: &Key<'_>,
        mut read: impl FnMut(Value) -> Result<R>,
    ) -> Result<Option<R>> {
        let mut attempt = 0;
        loop {
            let cached = self.directory.load(Ordering::Relaxed);
            let directory = match cached {
                0 => match self.root_directory()? {
                    Some(directory) => directory,
                    None => return self.require_present().map(|()| None),
                },
                word => Directory::of(word),
            };
            if let Attempt::Found(found) = self.try_get(directory, key, &mut read)? {
                return Ok(found);
            }
            attempt += 1;
            self.pause(attempt)?;
        }
    }

    /// Looks up a key in the first of its buckets, by straight code for a map of this form. Returns `None` if that does
    /// not tell, for any reason: then [`get`](Self::get) does.
    ///
    /// `read` is called at most once. It returns `None` for any error, or if it is too long for straight code.
    #[inline(always)]
    pub(crate) fn get_at_once<R>(
        &self,
        form: Form,
        key: &Key<'_>,
        read: impl FnOnce(Value) -> Option<R>,
    ) -> Option<Option<R>> {
        debug_assert_eq!(self.shape.form, form);
        let machine = self.machine;
        let place = match self.directory.load(Ordering::Relaxed) {
            // Not looked up yet.
            0 => return None,
            word => Directory::of(word).place(key.hash),
        };
        let before = Ref(machine.try_load_64(place)?);
        let bucket = self.try_page(before)?.bucket(key.hash, 0);
        // The bucket's other line.
        machine.prefetch(bucket + 64);
        let tags = machine.try_load_64(bucket + TAGS)?;
        let mut found = matching(tags, tag(key.hash));
        let value = loop {
            if found == 0 {
                if tags & ELSEWHERE != 0 {
                    return None;
                }
                break None;
            }
            let entry = Entry { bucket, index: found.trailing_zeros() / 8 };
            if machine.try_load_64(entry.key())? == key.word {
                let word = machine.try_load_64(entry.value())?;
                if form == Form::Words {
                    break Some(read(Value { word, at: entry.value(), len: 8 })?);
                }
                let block = Block::try_of(machine, self.space, Ref(word))?;
                if form == Form::Keys && !block.try_has_key(machine, key.bytes)? {
                    // Another key with the same hash.
                    return None;
                }
                let value = read(Value { word, at: block.value_at(), len: block.value_len })?;
                // The block may have been freed, and used again.
                machine.fence_loads();
                let is_same = machine.try_load_64(entry.value())? == word
                    && entry.tag_in(machine.try_load_64(entry.tags())?) == tag(key.hash);
                if !is_same {
                    return None;
                }
                break Some(value);
            }
            found &= found - 1;
        };
        // The page may have been replaced, or the map removed, and the memory used for something else.
        let is_same = machine.try_load_64(place)? == before.0
            && machine.try_load_64(self.shape.root + GENERATION)? == self.shape.generation;
        is_same.then_some(value)
    }

    #[inline]
    fn try_get<R>(
        &self,
        directory: Directory,
        key: &Key<'_>,
        read: &mut impl FnMut(Value) -> Result<R>,
    ) -> Result<Attempt<R>> {
        let place = directory.place(key.hash);
        let before = Ref(self.machine.load_64(place)?);
        if before == Ref(0) {
            return self.without_page(directory);
        }
        let found = self.page(before, place).and_then(|page| self.read_in(page, key, read));
        // The page may have been replaced, and its memory used for something else.
        if self.machine.load_64(place)? != before.0 {
            return Ok(Attempt::Disturbed);
        }
        // The directory, too, if the map was removed.
        self.require_present()?;
        found
    }

    /// Returns what it means that a directory has no page for a hash.
    #[cold]
    fn without_page<R>(&self, directory: Directory) -> Result<Attempt<R>> {
        let now = self.root_directory()?;
        self.require_present()?;
        Ok(match now == Some(directory) {
            true => Attempt::Found(None),
            // Replaced by a longer directory, whose root was stored first.
            false => Attempt::Disturbed,
        })
    }

    #[inline]
    fn read_in<R>(
        &self,
        page: Page,
        key: &Key<'_>,
        read: &mut impl FnMut(Value) -> Result<R>,
    ) -> Result<Attempt<R>> {
        let found = page.find(self.machine, key.hash, key.word, |entry| {
            let word = self.machine.load_64(entry.value())?;
            if self.shape.form == Form::Words {
                let value = Value { word, at: entry.value(), len: 8 };
                return Ok(Some(Attempt::Found(Some(read(value)?))));
            }
            let result = self.read_block(Ref(word), key, read);
            // All that was read of the block was read before the entry is looked at again.
            self.machine.fence_loads();
            let is_same = self.machine.load_64(entry.value())? == word
                && entry.is_tagged(self.machine, key.hash)?;
            match is_same {
                true => Ok(result?.map(|read| Attempt::Found(Some(read)))),
                false => Ok(Some(Attempt::Disturbed)),
            }
        })?;
        Ok(found.unwrap_or(Attempt::Found(None)))
    }

    /// Reads the value in a block, if it has the key.
    #[inline]
    fn read_block<R>(
        &self,
        word: Ref,
        key: &Key<'_>,
        read: &mut impl FnMut(Value) -> Result<R>,
    ) -> Result<Option<R>> {
        let block = Block::of(self.machine, self.space, word)?;
        if self.shape.form == Form::Keys && !block.has_key(self.machine, key.bytes)? {
            return Ok(None);
        }
        let value = Value { word: word.0, at: block.value_at(), len: block.value_len };
        read(value).map(Some)
    }

    /// Prefetches what lookups of these keys will load, or what their changes will.
    #[inline]
    pub(crate) fn prefetch(&self, keys: &[Key<'_>]) {
        let directory = match self.directory.load(Ordering::Relaxed) {
            // Not looked up yet.
            0 => return,
            word => Directory::of(word),
        };
        if keys.len() > 1 {
            for key in keys {
                self.machine.prefetch(directory.place(key.hash));
            }
        }
        for key in keys {
            let page = self.machine.try_load_64(directory.place(key.hash)).map(Ref);
            if let Some(page) = page.and_then(|page| self.try_page(page)) {
                let bucket = page.bucket(key.hash, 0);
                self.machine.prefetch(bucket);
                self.machine.prefetch(bucket + 64);
            }
        }
    }

    /// Returns the entry of a key. The caller holds the page's lock.
    #[inline]
    pub(super) fn find(&self, page: Page, key: &Key<'_>) -> Result<Option<Found>> {
        page.find(self.machine, key.hash, key.word, |entry| {
            let found = Found { entry, word: self.machine.load_64(entry.value())? };
            if self.shape.form != Form::Keys {
                return Ok(Some(found));
            }
            let block = Block::of(self.machine, self.space, Ref(found.word))?;
            Ok(block.has_key(self.machine, key.bytes)?.then_some(found))
        })
    }

    /// Returns the value of an entry. The caller holds the page's lock.
    #[inline]
    pub(super) fn value(&self, found: Found) -> Result<Value> {
        if self.shape.form == Form::Words {
            return Ok(Value { word: found.word, at: found.entry.value(), len: 8 });
        }
        let block = Block::of(self.machine, self.space, Ref(found.word))?;
        Ok(Value { word: found.word, at: block.value_at(), len: block.value_len })
    }

    /// Waits before another lookup.
    #[cold]
    pub(super) fn pause(&self, attempt: u32) -> Result<()> {
        match attempt {
            ..ATTEMPTS => std::hint::spin_loop(),
            MOST_ATTEMPTS.. => {
                return Err(disturbed());
            }
            _ => self.machine.nap(NAP),
        }
        Ok(())
    }
}

/// Returns the error for a reader that writers disturb again and again.
#[cold]
pub(super) fn disturbed() -> Error {
    Error::new(ErrorKind::Busy, "look up")
        .with_detail("writers keep changing what is read; try again")
}
