//! Where the parts of a segment lie, and the recovery of its lanes.

use std::ops::Range;

use crate::error::{ErrorKind, Result};
use crate::peer::{Header, Memory, SEGMENT, Session};
use crate::segment::completion::complete;
use crate::segment::heap::{self, Heap};
use crate::segment::lane_area::{self, LaneArea, Space};
use crate::segment::lock_table::{LockTable, STRIDE};
use crate::segment::map;
use crate::segment::size_class::{CLASSES, Layout};

/// The kind of object in a header.
pub(crate) const KIND: u32 = SEGMENT;
/// The greatest limit of a segment: what a reference to replaceable memory can express.
pub(super) const GREATEST: u64 = 1 << 40;
/// The number of locks of the table; the last are those of the classes and the segment's.
const LOCKS: u32 = 1024;
/// The number of the lock of class 0.
pub(super) const FIRST_CLASS_LOCK: u32 = LOCKS - CLASSES - 1;
/// The number of locks of a map: a power of two.
const MAP_LOCKS: u32 = 16;
/// The length of the memory that has its places under one lock: neighbours, which one process often uses alone, so that
/// its locks stay in its cache.
const PLACES: u64 = 512;
/// The number of ranges of locks that maps choose from. The first is the directory's alone.
const MAP_RANGES: u32 = FIRST_CLASS_LOCK / MAP_LOCKS;
/// The length of a span, as a power of two.
const SPAN_SHIFT: u32 = 16;
/// Where blocks lie in a span.
static LAYOUTS: [Layout; CLASSES as usize] = Layout::table(SPAN_SHIFT);
/// The number of spans of a chunk, as a power of two.
const CHUNK_SHIFT: u32 = 10;
/// The length of the roots: two words, and the root of the directory of named objects.
const ROOTS: u64 = 512;

/// Where the parts of a segment lie, which follows from its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) space: Space,
    /// The offset of the head of lane 0's area.
    heads: u64,
    roots: u64,
    pub(super) heap: Heap,
}

impl Plan {
    /// Returns the parts of a segment with this header.
    pub(super) fn of(header: &Header) -> Self {
        let locks = header.payload_at.next_multiple_of(STRIDE);
        let heads = locks + STRIDE * u64::from(LOCKS);
        let roots = heads + lane_area::HEAD * u64::from(header.lanes);
        let head = roots + ROOTS;
        let at = (head + heap::HEAD).next_multiple_of(1 << SPAN_SHIFT);
        let heap = Heap {
            head,
            at,
            end: header.max.max(at),
            span_shift: SPAN_SHIFT,
            layouts: &LAYOUTS,
            most_kept: 64,
            chunk_shift: CHUNK_SHIFT,
        };
        let locks = LockTable { at: locks, count: LOCKS };
        Self { space: Space { locks, changeable: heads..heap.end }, heads, roots, heap }
    }

    /// Returns the length of the shortest segment: with a span for the first blocks.
    pub(super) fn least(&self) -> u64 {
        self.heap.at + 2 * self.heap.span_len()
    }

    /// Initializes the memory of a new segment, which is zeroed.
    pub(super) fn fill(&self, memory: &Memory, header: &Header) -> Result<()> {
        memory.store(self.heap.len(), header.len)?;
        let seed: [u8; 8] = std::array::from_fn(|index| header.id[8 + index]);
        self.fill_root(memory, self.directory(), map::Form::Keys, u64::from_le_bytes(seed))?;
        memory.store(self.directory() + map::GENERATION, 1_u64)
    }

    /// Initializes a root that no thread uses, but for its generation.
    pub(super) fn fill_root(
        &self,
        memory: &Memory,
        root: u64,
        form: map::Form,
        seed: u64,
    ) -> Result<()> {
        memory.store(root + map::DIRECTORY, 0_u64)?;
        memory.store(root + map::SEED, seed)?;
        memory.store(root + map::FORM, form as u64)
    }

    /// Returns the offset of the area of a lane.
    pub(super) fn area(&self, lane: u32) -> u64 {
        self.heads + lane_area::HEAD * u64::from(lane)
    }

    /// Returns the offset of the roots.
    #[cfg(test)]
    pub(super) fn roots(&self) -> u64 {
        self.roots
    }

    /// Returns the offset of the first root that new maps take; 0: none.
    pub(super) fn free_roots(&self) -> u64 {
        self.roots
    }

    /// Returns the offset of the first root of the maps that were removed and have memory still; 0: none.
    pub(super) fn removed_roots(&self) -> u64 {
        self.roots + 8
    }

    /// Returns the offset of the root of the directory of named objects.
    pub(super) fn directory(&self) -> u64 {
        self.roots + 64
    }

    /// Returns the locks of the map with this root.
    pub(super) fn map_locks(&self, root: u64) -> Range<u32> {
        let range = match root == self.directory() {
            true => 0,
            false => 1 + (root / map::ROOT % u64::from(MAP_RANGES - 1)) as u32,
        };
        range * MAP_LOCKS..(range + 1) * MAP_LOCKS
    }

    /// Returns the lock of a place that holds an offset.
    pub(super) fn place_lock(&self, place: u64) -> u32 {
        (place / PLACES % u64::from(MAP_LOCKS * MAP_RANGES)) as u32
    }

    /// Returns the segment's lock.
    pub(super) fn segment_lock(&self) -> Range<u32> {
        LOCKS - 1..LOCKS
    }

    /// Returns all locks.
    pub(super) fn all_locks(&self) -> Range<u32> {
        0..LOCKS
    }
}

/// Releases what a dead lane announces in a segment: completes the change of its area, or recovers a lock.
///
/// If the area is none that this version writes, the segment is faulted: what the dead lane was changing stays as it
/// is, under its locks.
pub(super) fn recover(session: &Session, slot: u64, announcement: u64, lane: u32) -> Result<()> {
    let Some(at) = LaneArea::announced(announcement) else {
        return crate::sync::recover(session, slot, announcement, lane);
    };
    let plan = Plan::of(session.header());
    // A lane that has announced nothing more than that it will, has changed nothing.
    if at != plan.area(lane) {
        return Ok(());
    }
    let completed = LaneArea::load(session, &plan.space, at, lane)
        .and_then(|area| complete(session, &plan.space, area));
    if completed.as_ref().is_err_and(|error| error.kind() == ErrorKind::Malformed) {
        // Before the announcement is withdrawn: no process attaches that would take the locks for a damage of its own.
        session.mark_faulted()?;
    }
    completed
}
