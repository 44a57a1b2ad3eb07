//! Two pages with few keys become one.

use super::Map;
use super::block::Ref;
use super::draft::Draft;
use super::page::Page;
use crate::error::Result;
use crate::peer::Machine;
use crate::segment::allocator::{Allocator, Freed};

/// Two pages that differ in the last bit of their prefix, and the directory's words of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Twins {
    /// The offset of the first word of both.
    start: u64,
    /// The number of words of one page, as a power of two.
    log: u32,
    /// The number of hash bits that the keys of each page share.
    depth: u32,
    words: [Ref; 2],
}

impl<M: Machine> Map<'_, M> {
    /// Merges the page of a hash with its twin, if both together have few keys.
    ///
    /// Few is three eighths of a page's entries, so that the new page has room before it is split again. Called when a
    /// bucket of the page has lost its last key, which is rare while pages have many.
    #[cold]
    pub(super) fn merge(&self, allocator: &Allocator<'_, M>, hash: u64) -> Result<()> {
        let machine = self.machine;
        // Looked for without locks, and compared under them.
        let Some(twins) = self.twins(hash)? else { return Ok(()) };
        if self.count(twins)? > self.few() {
            return Ok(());
        }
        // Before the lock: room in a stack is made, and a stack filled, by changes of their own.
        let Freed::Block(_, class) = allocator.prepare_free(twins.words[0].at())? else {
            return Ok(());
        };
        let taken = allocator.take(self.shape.page_len())?;
        if taken.top.class != class {
            return Ok(());
        }
        let page = Page { at: taken.at, buckets: self.shape.buckets };
        let lock = self.shape.lock_of(hash);
        machine.fence_stores();
        allocator.change(|change| {
            change.lock(lock..lock + 1)?;
            self.require_present()?;
            if self.twins(hash)? != Some(twins) || self.count(twins)? > self.few() {
                return Ok(());
            }
            let (mut draft, mut fits) = (Draft::of(page), true);
            for old in self.pages(twins)? {
                old.for_each(machine, |entry, key, _| {
                    let value = machine.load_64(entry.value())?;
                    fits &= draft.add(self.shape.hash_of(key), key, value);
                    Ok(())
                })?;
            }
            if !fits {
                return Ok(());
            }
            draft.store(machine, page, twins.depth - 1)?;
            // Another word than both had, or ever will have had.
            let [first, second] = twins.words.map(|word| word.replaced_by(page.at));
            let word = first.later(second);
            change.record_run(twins.start, twins.log + 1, word.0);
            let [first, second] = twins.words.map(Ref::at);
            let top = allocator.trade_two(change, taken, [first, second])?;
            change.commit(&[top])
        })
    }

    /// Returns the page of a hash and its twin; `None` if it has none that is as long, or both changed meanwhile.
    fn twins(&self, hash: u64) -> Result<Option<Twins>> {
        let Some(directory) = self.root_directory()? else { return Ok(None) };
        let place = directory.place(hash);
        let word = Ref(self.machine.load_64(place)?);
        if word == Ref(0) {
            return Ok(None);
        }
        let depth = self.page(word, place)?.depth(self.machine)?;
        // Pages that differ in an earlier bit have different locks.
        if depth <= self.shape.lock_bits().into() || depth > directory.depth.into() {
            return Ok(None);
        }
        let depth = depth as u32;
        let log = directory.depth - depth;
        let start = directory.word_at((super::prefix(hash, depth) & !1) << log);
        let words = [start, start + (8 << log)].map(|place| self.machine.load_64(place));
        let [first, second] = words;
        let twins = Twins { start, log, depth, words: [Ref(first?), Ref(second?)] };
        if !twins.words.contains(&word) || twins.words.contains(&Ref(0)) {
            return Ok(None);
        }
        for page in self.pages(twins)? {
            if page.depth(self.machine)? != depth.into() {
                return Ok(None);
            }
        }
        Ok(Some(twins))
    }

    fn pages(&self, twins: Twins) -> Result<[Page; 2]> {
        let [first, second] = twins.words;
        Ok([self.page(first, twins.start)?, self.page(second, twins.start)?])
    }

    /// Returns the number of keys of both pages.
    fn count(&self, twins: Twins) -> Result<u64> {
        let [first, second] = self.pages(twins)?;
        Ok(first.len(self.machine)? + second.len(self.machine)?)
    }

    /// Returns the largest number of keys of two pages that are merged.
    fn few(&self) -> u64 {
        3 * u64::from(super::page::ENTRIES) * self.shape.buckets / 8
    }
}
