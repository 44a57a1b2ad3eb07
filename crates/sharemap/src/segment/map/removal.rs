//! Taking apart a map that was removed: its memory is too much for one redo record, and is freed piece by piece.
//!
//! The root of a removed map is in a list. A thread that removes a map takes its pieces away one by one, under the
//! map's locks and the segment's; if it dies, the next removal or a repair goes on. At last the root moves to the list
//! of roots that new maps take first. A root's memory is never used for anything else, so that the generation in it
//! tells a handle of the removed map, however late, that its map is gone.

use std::ops::Range;

use super::block::Ref;
use super::page::Page;
use super::{DIRECTORY, Directory, GENERATION, Map, NEXT};
use crate::error::Result;
use crate::peer::Machine;
use crate::segment::allocator::{Allocator, Tops};
use crate::segment::change::Change;
use crate::segment::heap::malformed;

/// What a removed map gives up next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// A block of an entry: the word with the entry's tag, the tags without it, and the block.
    Block { tags: u64, without: u64, at: u64 },
    /// A page: the first word of the directory, the number of words, as a power of two, and the page.
    Page { first: u64, log: u32, at: u64 },
    /// A directory: the one before it, and its own offset.
    Directory { previous: u64, at: u64 },
    /// Nothing: the root can be used again.
    Root,
}

/// Takes away one part of the first map in the list whose word is at `removed`. `free` is the word of the list of free
/// roots, and `segment` the segment's lock. Returns `false` if the list is empty.
///
/// `map` is the removed map, with `root` as its root. `from` is the number of the first word of the directory that may
/// have a page still, and is advanced.
pub(in crate::segment) fn remove_next<M: Machine>(
    map: &Map<'_, M>,
    allocator: &Allocator<'_, M>,
    lists: (u64, u64),
    segment: Range<u32>,
    from: &mut u64,
) -> Result<bool> {
    let (removed, free) = lists;
    let machine = map.machine;
    let root = map.shape.root;
    let is_first = || -> Result<bool> {
        // The root may be that of a later map, with another form, which was removed as well.
        let generation = machine.load_64(root + GENERATION)?;
        Ok(machine.load_64(removed)? == root && generation == map.shape.generation)
    };
    if !is_first()? {
        return Ok(false);
    }
    // Looked for without locks, and compared under them: another thread may have taken the part away meanwhile, and
    // its memory may be used for something else. Before the locks: room in a stack is made by a change of its own.
    let part = map.next_part(from);
    let at = part.as_ref().ok().and_then(Part::at);
    let freed = at.map(|at| allocator.prepare_free(at)).transpose();
    allocator.change(|change| {
        change.lock(map.shape.locks.clone())?;
        change.lock(segment)?;
        if !is_first()? {
            return Ok(true);
        }
        let mut again = *from;
        let now = map.next_part(&mut again)?;
        if part.is_err() || part.is_ok_and(|part| part != now) {
            return Ok(true);
        }
        let freed = freed?;
        let mut tops = Tops::default();
        map.record_part(change, now, (removed, free))?;
        allocator.trade(change, None, freed, &mut tops)?;
        change.commit(tops.as_slice())?;
        Ok(true)
    })
}

impl Part {
    /// Returns the offset of the memory that is freed.
    fn at(&self) -> Option<u64> {
        match *self {
            Self::Block { at, .. } | Self::Page { at, .. } | Self::Directory { at, .. } => Some(at),
            Self::Root => None,
        }
    }
}

impl<M: Machine> Map<'_, M> {
    fn record_part(&self, change: &mut Change<'_, M>, part: Part, lists: (u64, u64)) -> Result<()> {
        let (removed, free) = lists;
        match part {
            Part::Block { tags, without, .. } => change.record(tags, without),
            Part::Page { first, log, .. } => change.record_run(first, log, 0),
            Part::Directory { previous, .. } => {
                change.record(self.shape.root + DIRECTORY, previous);
            }
            Part::Root => {
                let next = self.machine.load_64(self.shape.root + NEXT)?;
                change.record(removed, next);
                change.record(self.shape.root + NEXT, self.machine.load_64(free)?);
                change.record(free, self.shape.root);
            }
        }
        Ok(())
    }

    /// Returns what is to be taken away next.
    fn next_part(&self, from: &mut u64) -> Result<Part> {
        let Some(directory) = self.directory_at(self.shape.root + DIRECTORY)? else {
            return Ok(Part::Root);
        };
        while *from < 1 << directory.depth {
            let place = directory.word_at(*from);
            match Ref(self.machine.load_64(place)?) {
                Ref(0) => *from += 1,
                page => return self.part_of(directory, *from, self.page(page, place)?),
            }
        }
        let previous = self.machine.load_64(directory.at)?;
        // Each is shorter than the one that replaced it, so that the list ends.
        match previous == 0 || Directory::of(previous).depth < directory.depth {
            true => Ok(Part::Directory { previous, at: directory.at }),
            false => Err(malformed(directory.at)),
        }
    }

    fn part_of(&self, directory: Directory, index: u64, page: Page) -> Result<Part> {
        if self.shape.form != super::Form::Words {
            let mut part = None;
            page.for_each(self.machine, |entry, _, _| {
                if part.is_none() {
                    let at = Ref(self.machine.load_64(entry.value())?).at();
                    let without = entry.removed(self.machine)?;
                    part = Some(Part::Block { tags: entry.tags(), without, at });
                }
                Ok(())
            })?;
            if let Some(part) = part {
                return Ok(part);
            }
        }
        let depth = page.depth(self.machine)?;
        if depth > directory.depth.into() {
            return Err(malformed(page.at));
        }
        let log = directory.depth - depth as u32;
        Ok(Part::Page { first: directory.word_at(index >> log << log), log, at: page.at })
    }
}
