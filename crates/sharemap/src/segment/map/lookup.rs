//! Looking up a key without a lock.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::block::{Block, Ref};
use super::page::{Entry, Page};
use super::{Directory, Form, Key, Map};
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

    /// Waits before another attempt. Fails with `Busy` after very many.
    #[cold]
    pub(crate) fn pause(&self, attempt: u32) -> Result<()> {
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
