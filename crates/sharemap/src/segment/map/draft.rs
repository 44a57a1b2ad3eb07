//! A page that is put together in this process's own memory, and stored once it is whole.

use super::page::{self, BUCKET, ENTRIES, Entry, PROBES, Page};
use crate::error::Result;
use crate::peer::Machine;

/// The words of a bucket, and those before its entries.
const WORDS: usize = BUCKET as usize / 8;
const TAGS: usize = page::TAGS as usize / 8;
const FIRST: usize = page::FIRST as usize / 8;

/// The entries that a page will have.
#[derive(Debug)]
pub(super) struct Draft {
    /// A bucket each, as in a page. There is at least one, and their number is a power of two.
    buckets: Vec<[u64; WORDS]>,
}

impl Draft {
    /// Returns a draft without entries.
    pub(super) fn of(page: Page) -> Self {
        Self { buckets: vec![[0; WORDS]; page.buckets.max(1) as usize] }
    }

    /// Adds a key. Returns `false` if there is no room.
    #[inline]
    pub(super) fn add(&mut self, hash: u64, key: u64, value: u64) -> bool {
        let most = self.buckets.len() - 1;
        let home = (hash >> 8) as usize;
        for probe in 0..1 + most.min(PROBES as usize) {
            let bucket = &mut self.buckets[(home + probe) & most];
            let tags = bucket[TAGS];
            let Some(Entry { index, .. }) = Entry::unused(0, tags) else { continue };
            let at = FIRST + 2 * index as usize;
            bucket[at..at + 2].copy_from_slice(&[key, value]);
            bucket[TAGS] = tags | page::tag(hash) << (8 * index);
            if probe > 0 {
                self.buckets[home & most][TAGS] |= page::elsewhere(hash);
            }
            return true;
        }
        false
    }

    /// Stores the entries in a page that nothing refers to, whose keys share the first `depth` bits of their hashes.
    /// What the page had before is gone.
    pub(super) fn store<M: Machine>(&self, machine: &M, page: Page, depth: u32) -> Result<()> {
        for (at, bucket) in page.all().zip(&self.buckets) {
            let tags = bucket[TAGS];
            let used = (0..ENTRIES).map(|index| Entry { bucket: at, index });
            for entry in used.filter(|entry| entry.tag_in(tags) != 0) {
                let first = FIRST + 2 * entry.index as usize;
                entry.fill(machine, bucket[first], bucket[first + 1])?;
            }
            machine.store_64(at + page::TAGS, tags)?;
        }
        page.set_depth(machine, depth)
    }
}
