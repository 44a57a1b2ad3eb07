//! Changing the entry of a key, under its page's lock.

use std::sync::atomic::Ordering;

use super::block::{self, Block, Ref};
use super::lookup::{Found, Value};
use super::page::{Entry, Page};
use super::{Directory, Form, Key, Map};
use crate::error::{Error, ErrorKind, Result};
use crate::peer::Machine;
use crate::segment::allocator::{Allocator, Freed, Piece, Tops};
use crate::segment::change::Change;

/// What an insertion does about an entry that the key has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    Replaced,
    /// The key keeps its value.
    Kept,
    /// Replaced if its word is this one, and else kept. A key without an entry gets none.
    ReplacedIf(u64),
}

/// What an insertion did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inserted<R> {
    /// The key had no entry, and has one now.
    New,
    /// The previous value was replaced.
    Replaced(R),
    /// Nothing changed.
    Kept,
}

impl<R> Inserted<R> {
    /// Returns the previous value.
    pub(crate) fn previous(self) -> Option<R> {
        match self {
            Self::Replaced(previous) => Some(previous),
            Self::New | Self::Kept => None,
        }
    }
}

/// What a change under a page's lock came to.
pub(super) enum Step<R> {
    Done(R),
    /// What was prepared before the lock no longer fits.
    Again,
    /// There is no page for the hash.
    NoPage,
    /// The page has no room.
    Full,
}

/// What another step records together with a change of the map: an object that the entry refers to.
///
/// Returns `false` if what it prepared no longer fits, and then must have recorded nothing.
pub(crate) type Also<'a, M> = &'a mut dyn FnMut(&mut Change<'_, M>, &mut Tops) -> Result<bool>;

impl<M: Machine> Map<'_, M> {
    /// Changes a map of words: inserts a key, or replaces its value. `read` returns what a previous value was.
    ///
    /// Fails with `NoSpace` if the segment is full, and with `TooLarge` if the hashes of too many keys are alike.
    pub(crate) fn insert_word<R>(
        &self,
        allocator: &Allocator<'_, M>,
        key: &Key<'_>,
        value: u64,
        existing: Existing,
        mut read: impl FnMut(Value) -> Result<R>,
    ) -> Result<Inserted<R>> {
        debug_assert_eq!(self.shape.form, Form::Words);
        self.until_done(allocator, key, |_| {
            self.changing(allocator, key, |change, page| {
                let found = self.find(page, key)?;
                if !existing.may_change(found) {
                    return Ok(Step::Done(Inserted::Kept));
                }
                if let Some(found) = found {
                    let previous = read(self.value(found)?)?;
                    change.store(found.entry.value(), value)?;
                    return Ok(Step::Done(Inserted::Replaced(previous)));
                }
                let Some(entry) = page.room(self.machine, key.hash)? else { return Ok(Step::Full) };
                let tags = page.fill(self.machine, entry, key.hash, key.word, value)?;
                // The change. A release store: a reader that sees the tag sees key and value.
                change.store(entry.tags(), tags)?;
                Ok(Step::Done(Inserted::New))
            })
        })
    }

    /// Removes a key from a map of words. Returns what `read` returned of its value.
    pub(crate) fn remove_word<R>(
        &self,
        allocator: &Allocator<'_, M>,
        key: &Key<'_>,
        mut read: impl FnMut(Value) -> Result<R>,
    ) -> Result<Option<R>> {
        debug_assert_eq!(self.shape.form, Form::Words);
        let step = self.changing(allocator, key, |change, page| {
            let Some(found) = self.find(page, key)? else { return Ok(Step::Done(None)) };
            let value = read(self.value(found)?)?;
            let tags = found.entry.removed(self.machine)?;
            change.store(found.entry.tags(), tags)?;
            Ok(Step::Done(Some((value, Entry::is_last(tags)))))
        })?;
        let Step::Done(Some((value, was_last))) = step else { return Ok(None) };
        if was_last {
            // The key is removed, whatever comes of this.
            let _ = self.merge(allocator, key.hash);
        }
        Ok(Some(value))
    }

    /// Changes a map of blocks: inserts a key, or replaces its value, and what `also` records.
    ///
    /// Fails like [`insert_word`](Self::insert_word), and with `TooLarge` if key and value are too long for a block.
    pub(crate) fn insert_block<R>(
        &self,
        allocator: &Allocator<'_, M>,
        key: &Key<'_>,
        value: &[u8],
        existing: Existing,
        mut also: Option<Also<'_, M>>,
        mut read: impl FnMut(Value) -> Result<R>,
    ) -> Result<Inserted<R>> {
        debug_assert_ne!(self.shape.form, Form::Words);
        let len = block::len(key.bytes.len(), value.len()).ok_or_else(too_long)?;
        self.until_done(allocator, key, |old| {
            if !existing.may_change_word(old) {
                return Ok(Step::Done(Inserted::Kept));
            }
            // Before the lock, in this order: room in a stack is made, and a stack filled, by changes of their own.
            let freed = match old.map(|old| self.prepare_free(allocator, old)).transpose()? {
                Some(None) => return Ok(Step::Again),
                freed => freed.flatten(),
            };
            let piece = allocator.reserve(len)?;
            let fill = |at| Block::fill(self.machine, allocator.area, at, key.bytes, value);
            let filled = match piece {
                Piece::Block(taken) => Some(fill(taken.at)?),
                Piece::Run(_) => None,
            };
            self.changing(allocator, key, |change, page| {
                let Some(found) = self.find_again(page, key, old)? else { return Ok(Step::Again) };
                let room = match found {
                    None => page.room(self.machine, key.hash)?,
                    Some(_) => None,
                };
                let previous = found.map(|found| read(self.value(found)?)).transpose()?;
                let (entry, is_new) = match (found, room) {
                    (Some(found), _) => (found.entry, false),
                    (None, Some(entry)) => (entry, true),
                    (None, None) => return Ok(Step::Full),
                };
                let mut tops = Tops::default();
                if let Some(also) = &mut also {
                    if !also(change, &mut tops)? {
                        return Ok(Step::Again);
                    }
                }
                let at = allocator.trade(change, Some(piece), freed, &mut tops)?;
                let word = match filled {
                    Some(word) => word,
                    None => fill(at)?,
                };
                match is_new {
                    true => {
                        let tags = page.fill(self.machine, entry, key.hash, key.word, word.0)?;
                        change.record(entry.tags(), tags);
                    }
                    false => change.record(entry.value(), word.0),
                }
                change.commit(tops.as_slice())?;
                Ok(Step::Done(previous.map_or(Inserted::New, Inserted::Replaced)))
            })
        })
    }

    /// Removes a key from a map of blocks, and records what `also` does. Returns what `read` returned of its value.
    pub(crate) fn remove_block<R>(
        &self,
        allocator: &Allocator<'_, M>,
        key: &Key<'_>,
        mut also: Option<Also<'_, M>>,
        mut read: impl FnMut(Value) -> Result<R>,
    ) -> Result<Option<R>> {
        debug_assert_ne!(self.shape.form, Form::Words);
        let mut was_last = false;
        let removed = self.until_done(allocator, key, |old| {
            let Some(old) = old else { return Ok(Step::Done(None)) };
            let Some(freed) = self.prepare_free(allocator, old)? else { return Ok(Step::Again) };
            let step = self.changing(allocator, key, |change, page| {
                let Some(found) = self.find_again(page, key, Some(old))?.flatten() else {
                    return Ok(Step::Again);
                };
                let value = read(self.value(found)?)?;
                let tags = found.entry.removed(self.machine)?;
                was_last = Entry::is_last(tags);
                let mut tops = Tops::default();
                if let Some(also) = &mut also {
                    if !also(change, &mut tops)? {
                        return Ok(Step::Again);
                    }
                }
                allocator.trade(change, None, Some(freed), &mut tops)?;
                change.record(found.entry.tags(), tags);
                change.commit(tops.as_slice())?;
                Ok(Step::Done(Some(value)))
            })?;
            Ok(match step {
                Step::NoPage => Step::Done(None),
                step => step,
            })
        })?;
        if was_last {
            // The key is removed, whatever comes of this.
            let _ = self.merge(allocator, key.hash);
        }
        Ok(removed)
    }

    /// Returns the entry of a key in a map of blocks, if it still has the word `old`, or still none. Returns `None` if
    /// it has changed. The caller holds the page's lock.
    #[inline]
    fn find_again(
        &self,
        page: Page,
        key: &Key<'_>,
        old: Option<u64>,
    ) -> Result<Option<Option<Found>>> {
        let Some(old) = old else {
            return Ok(self.find(page, key)?.is_none().then_some(None));
        };
        // The word tells the block and what fills it, so that the key need not be compared again.
        let found = page.find(self.machine, key.hash, key.word, |entry| {
            let word = self.machine.load_64(entry.value())?;
            Ok((word == old).then_some(Found { entry, word }))
        })?;
        Ok(found.map(Some))
    }

    /// Repeats a change until it is done. `make` gets the word of the key's entry, in a map of blocks.
    fn until_done<R>(
        &self,
        allocator: &Allocator<'_, M>,
        key: &Key<'_>,
        mut make: impl FnMut(Option<u64>) -> Result<Step<R>>,
    ) -> Result<R> {
        let mut attempt = 0;
        loop {
            let old = match self.shape.form {
                Form::Words => None,
                Form::Values | Form::Keys => self.get(key, |value| Ok(value.word))?,
            };
            match make(old)? {
                Step::Done(result) => return Ok(result),
                Step::NoPage => self.add_page(allocator, key.hash)?,
                Step::Full => self.make_room(allocator, key.hash)?,
                Step::Again => {
                    attempt += 1;
                    self.pause(attempt)?;
                }
            }
        }
    }

    /// Prepares to free the block that the word of an entry refers to; `None` if the entry has another block meanwhile.
    #[inline]
    fn prepare_free(&self, allocator: &Allocator<'_, M>, old: u64) -> Result<Option<Freed>> {
        match allocator.prepare_free(Ref(old).at()) {
            Ok(freed) => Ok(Some(freed)),
            // No block begins there any more.
            Err(error) if error.kind() == ErrorKind::Invalid => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the directory's word for a key, and its place. The caller holds the page's lock.
    #[inline]
    fn page_of(&self, key: &Key<'_>) -> Result<(Ref, u64)> {
        let seen = self.directory.load(Ordering::Relaxed);
        if seen != 0 {
            let place = Directory::of(seen).place(key.hash);
            let page = Ref(self.machine.load_64(place)?);
            // A directory that a longer one has replaced has zeros.
            if page != Ref(0) {
                return Ok((page, place));
            }
        }
        let Some(directory) = self.root_directory()? else { return Ok((Ref(0), 0)) };
        let place = directory.place(key.hash);
        Ok((Ref(self.machine.load_64(place)?), place))
    }

    /// Calls `make` with the page of a key, under its lock.
    fn changing<R>(
        &self,
        allocator: &Allocator<'_, M>,
        key: &Key<'_>,
        make: impl FnOnce(&mut Change<'_, M>, Page) -> Result<Step<R>>,
    ) -> Result<Step<R>> {
        let lock = self.shape.lock_of(key.hash);
        allocator.change(|change| {
            change.lock(lock..lock + 1)?;
            match self.locked_page(key)? {
                Some(page) => make(change, page),
                None => Ok(Step::NoPage),
            }
        })
    }

    /// Returns the page of a key; `None` if there is none. The caller holds its lock.
    #[inline]
    fn locked_page(&self, key: &Key<'_>) -> Result<Option<Page>> {
        self.require_present()?;
        // Stays as it is: a longer directory is made under all locks of the map.
        match self.page_of(key)? {
            (Ref(0), _) => Ok(None),
            (page, place) => self.page(page, place).map(Some),
        }
    }
}

impl Existing {
    /// Returns `true` if a key without an entry gets one.
    pub(crate) fn may_insert(self) -> bool {
        self.may_change_word(None)
    }

    fn may_change(self, found: Option<Found>) -> bool {
        self.may_change_word(found.map(|found| found.word))
    }

    pub(super) fn may_change_word(self, word: Option<u64>) -> bool {
        match self {
            Self::Replaced => true,
            Self::Kept => word.is_none(),
            Self::ReplacedIf(expected) => word == Some(expected),
        }
    }
}

#[cold]
fn too_long() -> Error {
    Error::new(ErrorKind::TooLarge, "insert")
        .with_detail("a key or value has at most 4 GiB - 1 bytes")
}
