//! Room in a map: pages are added, rebuilt or split, and the directory doubles.

use super::block::Ref;
use super::draft::Draft;
use super::page::Page;
use super::{DEEPEST, DIRECTORY, Directory, Map, prefix};
use crate::error::{Error, ErrorKind, Result};
use crate::peer::Machine;
use crate::segment::allocator::{Allocator, Tops};
use crate::segment::heap::malformed;

/// What makes room in a page.
enum Next {
    /// The page was replaced, or had room.
    Done,
    /// The page can be split only in a longer directory than one of this depth.
    Double(u32),
}

/// The words of a directory for each page of it, as a power of two, above which the hashes of its keys are alike.
const SPARSEST: u32 = 10;

impl<M: Machine> Map<'_, M> {
    /// Adds a page for the lock of a hash, which has none, and a directory if the map has none.
    #[cold]
    pub(super) fn add_page(&self, allocator: &Allocator<'_, M>, hash: u64) -> Result<()> {
        if self.root_directory()?.is_none() {
            self.add_directory(allocator)?;
        }
        let taken = allocator.take(self.shape.page_len())?;
        self.machine.fence_stores();
        let page = Page { at: taken.at, buckets: self.shape.buckets };
        let bits = self.shape.lock_bits();
        Draft::of(page).store(self.machine, page, bits)?;
        let lock = self.shape.lock_of(hash);
        allocator.change(|change| {
            change.lock(lock..lock + 1)?;
            self.require_present()?;
            let Some(directory) = self.root_directory()? else { return Ok(()) };
            let log = directory.depth - bits;
            let start = directory.word_at(prefix(hash, bits) << log);
            if self.machine.load_64(start)? != 0 {
                // Another thread added it. All words of the lock have a page then.
                let place = directory.place(hash);
                return match self.machine.load_64(place)? {
                    0 => Err(malformed(place)),
                    _ => Ok(()),
                };
            }
            change.record_run(start, log, Ref(0).replaced_by(page.at).0);
            change.commit(&[taken.top])
        })
    }

    /// Adds the first directory: a word for each lock.
    fn add_directory(&self, allocator: &Allocator<'_, M>) -> Result<()> {
        let depth = self.shape.lock_bits();
        let piece = allocator.reserve(Directory::len(depth))?;
        allocator.change(|change| {
            change.lock(self.shape.locks.clone())?;
            self.require_present()?;
            if self.root_directory()?.is_some() {
                return Ok(());
            }
            let mut tops = Tops::default();
            let at = allocator.trade(change, Some(piece), None, &mut tops)?;
            self.machine.fence_stores();
            let directory = Directory { at, depth };
            self.machine.store_64(directory.at, 0)?;
            for index in 0..1 << depth {
                self.machine.store_64(directory.word_at(index), 0)?;
            }
            change.record(self.shape.root + DIRECTORY, directory.word());
            change.commit(tops.as_slice())
        })
    }

    /// Makes room in the page of a hash, which had none.
    #[cold]
    pub(super) fn make_room(&self, allocator: &Allocator<'_, M>, hash: u64) -> Result<()> {
        match self.replace(allocator, hash)? {
            Next::Done => Ok(()),
            Next::Double(depth) if depth == DEEPEST => Err(too_deep()),
            Next::Double(depth) => self.double(allocator, depth),
        }
    }

    /// Replaces the page of a hash: by one page, if a third of its entries were removed, or else by two.
    fn replace(&self, allocator: &Allocator<'_, M>, hash: u64) -> Result<Next> {
        let machine = self.machine;
        // Before the page's lock: a stack is filled by a change of its own.
        let pages = allocator.take_two(self.shape.page_len())?;
        machine.fence_stores();
        let lock = self.shape.lock_of(hash);
        allocator.change(|change| {
            change.lock(lock..lock + 1)?;
            self.require_present()?;
            let Some(directory) = self.root_directory()? else { return Ok(Next::Done) };
            let place = directory.place(hash);
            let before = Ref(machine.load_64(place)?);
            if before == Ref(0) {
                return Ok(Next::Done);
            }
            let old = self.page(before, place)?;
            if old.room(machine, hash)?.is_some() {
                return Ok(Next::Done);
            }
            let depth = old.depth(machine)?;
            let mut live = Vec::new();
            let removed = old.for_each(machine, |entry, key, _| {
                live.push((key, machine.load_64(entry.value())?));
                Ok(())
            })?;
            if depth > directory.depth.into() || depth < self.shape.lock_bits().into() {
                return Err(malformed(old.at));
            }
            let depth = depth as u32;
            let [first, second] = pages.at.map(|at| Page { at, buckets: self.shape.buckets });
            // The directory's words of the page: all with the prefix of its keys.
            let log = directory.depth - depth;
            let start = directory.word_at(prefix(hash, depth) << log);
            let mut is_split = removed * 2 < live.len() as u64;
            loop {
                if is_split && log == 0 {
                    return Ok(Next::Double(directory.depth));
                }
                let depth = depth + u32::from(is_split);
                let (mut lower, mut upper) = (Draft::of(first), Draft::of(second));
                let fits = live.iter().all(|&(key, value)| {
                    let hash = self.shape.hash_of(key);
                    let is_upper = is_split && prefix(hash, depth) & 1 == 1;
                    let draft = if is_upper { &mut upper } else { &mut lower };
                    draft.add(hash, key, value)
                });
                match (fits, is_split) {
                    (true, _) => {
                        lower.store(machine, first, depth)?;
                        if is_split {
                            upper.store(machine, second, depth)?;
                        }
                        break;
                    }
                    (false, false) => is_split = true,
                    // Half of the keys, in the order of the page, may need more probes than the whole.
                    (false, true) => return Err(too_deep()),
                }
            }
            let new = |at| before.replaced_by(at).0;
            if is_split {
                change.record_run(start, log - 1, new(first.at));
                change.record_run(start + (8 << (log - 1)), log - 1, new(second.at));
            } else {
                change.record_run(start, log, new(first.at));
            }
            let top = pages.exchange(allocator, change, 1 + u32::from(is_split), old.at);
            change.commit(&[top])?;
            Ok(Next::Done)
        })
    }

    /// Doubles a directory of this depth. Does nothing if it is longer already.
    ///
    /// The old directory stays allocated, and has zeros, so that a reader that is late looks up the root again. All
    /// old directories together are shorter than the present one.
    fn double(&self, allocator: &Allocator<'_, M>, depth: u32) -> Result<()> {
        let machine = self.machine;
        // Before the map's locks: a stack is filled by a change of its own.
        let piece = allocator.reserve(Directory::len(depth + 1))?;
        allocator.change(|change| {
            change.lock(self.shape.locks.clone())?;
            self.require_present()?;
            let Some(old) = self.root_directory()? else { return Ok(()) };
            if old.depth != depth {
                return Ok(());
            }
            let mut pages = 0;
            let mut last = 0;
            for index in 0..1 << depth {
                let word = machine.load_64(old.word_at(index))?;
                pages += u64::from(word != last);
                last = word;
            }
            if (2 << depth) >> SPARSEST > pages {
                return Err(too_deep());
            }
            let mut tops = Tops::default();
            let at = allocator.trade(change, Some(piece), None, &mut tops)?;
            machine.fence_stores();
            let new = Directory { at, depth: depth + 1 };
            for index in 0..1 << depth {
                let word = machine.load_64(old.word_at(index))?;
                machine.store_64(new.word_at(2 * index), word)?;
                machine.store_64(new.word_at(2 * index + 1), word)?;
            }
            machine.store_64(new.at, old.word())?;
            change.record(self.shape.root + DIRECTORY, new.word());
            change.record_run(old.word_at(0), depth, 0);
            change.commit(tops.as_slice())
        })
    }
}

/// Returns the error for keys whose hashes are alike.
#[cold]
fn too_deep() -> Error {
    Error::new(ErrorKind::TooLarge, "insert").with_detail(
        "the hashes of too many keys begin with the same bits; they have been chosen so, or the map's seed is known",
    )
}
