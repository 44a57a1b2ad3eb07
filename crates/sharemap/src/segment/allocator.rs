//! The allocator: blocks of size classes from the lane's own stacks, and runs of whole spans.
//!
//! A lane takes blocks from the top of its stack, and adds blocks that it frees. Only the lane's thread uses the
//! stack, so neither needs an atomic operation: the stack's new top is one store, or part of a redo record that
//! attaches the block to something in the same step. An empty stack is filled from the bitmaps of the class's spans,
//! and of a full one half is put back, by a record each.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::peer::{Faults, Machine, Writable};
use crate::segment::at_once::{AtOnce, Place};
use crate::segment::change::{self, Change};
use crate::segment::completion::complete;
use crate::segment::heap::{ClassEntry, Heap, SpanKind, malformed};
use crate::segment::lane_area::{self, LaneArea, Space, Top};
use crate::segment::size_class::{CLASSES, class_of, most_kept};

/// The allocator of a segment, as one lane uses it.
pub(crate) struct Allocator<'a, M: Machine> {
    pub(super) machine: &'a M,
    pub(super) space: &'a Space,
    pub(super) heap: &'a Heap,
    pub(super) area: LaneArea,
    /// The number of the lock of class 0. Those of the other classes follow, and then the segment's.
    pub(super) first_lock: u32,
    /// The moment until which changes wait for locks; `None`: without a limit.
    pub(super) until: Option<Duration>,
}

/// A block that the lane has taken from its stack, once the top counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// The offset of the block.
    pub(super) at: u64,
    /// To be stored, or recorded in the change that attaches the block.
    pub(super) top: Top,
}

/// Two blocks on the top of the lane's stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    /// The offsets of the blocks, the uppermost first.
    pub(super) at: [u64; 2],
    class: u32,
    blocks: u32,
}

impl Pair {
    /// Records in a change that takes the first `taken` blocks that the block at `freed`, of the same class, is free.
    /// Returns the top that the change must commit.
    pub(super) fn exchange<M: Machine>(
        self,
        allocator: &Allocator<'_, M>,
        change: &mut Change<'_, M>,
        taken: u32,
        freed: u64,
    ) -> Top {
        // In the place of the lowest block that is taken.
        let index = self.blocks - taken;
        change.record(allocator.area.place(self.class, index), freed);
        Top { class: self.class, blocks: index + 1 }
    }
}

/// A piece of memory that is prepared for a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Block(Taken),
    /// So many spans.
    Run(u64),
}

/// What a change frees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freed {
    /// The block at this offset, of this class. The lane's stack has room for it.
    Block(u64, u32),
    /// The run at this offset.
    Run(u64),
}

/// The new tops of stacks that a change commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tops {
    tops: [Top; Self::MOST],
    count: usize,
}

impl Tops {
    /// The largest number of tops of a change.
    const MOST: usize = 3;

    /// Adds a top, of a stack that has none here.
    #[inline]
    pub(super) fn push(&mut self, top: Top) {
        debug_assert!(self.as_slice().iter().all(|other| other.class != top.class));
        self.tops[self.count] = top;
        self.count += 1;
    }

    pub(super) fn as_slice(&self) -> &[Top] {
        &self.tops[..self.count]
    }
}

impl<M: Machine> Allocator<'_, M> {
    /// Makes a change, like [`change`](change::change), in the allocator's lane.
    #[inline]
    pub(super) fn change<R>(
        &self,
        make: impl FnOnce(&mut Change<'_, M>) -> Result<R>,
    ) -> Result<R> {
        change::change(self.machine, self.space, self.area, self.until, make)
    }

    /// Completes an earlier change of the lane, and allocates the body of its area if there is none yet. All else of
    /// the allocator needs both.
    ///
    /// What the lane has, as the tops of its stacks, is looked at only afterwards: completion changes it.
    pub(super) fn prepare(&mut self) -> Result<()> {
        if self.area.is_busy(self.machine)? {
            // It failed halfway, by a fault.
            complete(self.machine, self.space, self.area)?;
            let LaneArea { at, lane, .. } = self.area;
            self.area = LaneArea::load(self.machine, self.space, at, lane)?;
        }
        if self.area.body != 0 {
            return Ok(());
        }
        let at = self.change(|change| {
            let spans = lane_area::BODY_LEN.div_ceil(self.heap.span_len());
            let at = self.take_run(change, spans)?;
            change.record(self.area.body_word(), at);
            change.commit(&[])?;
            Ok(at)
        })?;
        self.area.body = at;
        Ok(())
    }

    /// Returns a block of at least `len` bytes, and the top that takes it.
    ///
    /// Fails with `NoSpace` if the segment is full, and with `TooLarge` if `len` needs a run of spans.
    #[inline(always)]
    pub(super) fn take(&self, len: u64) -> Result<Taken> {
        let class = class_of(len).ok_or_else(|| Error::new(ErrorKind::TooLarge, "allocate"))?;
        let blocks = match self.area.blocks(self.machine, class)? {
            0 => self.refill(class, 1)?,
            blocks => blocks,
        };
        Ok(Taken { at: self.stacked(class, blocks - 1)?, top: Top { class, blocks: blocks - 1 } })
    }

    /// Returns two blocks of at least `len` bytes, of which a change takes one or both.
    ///
    /// Fails like [`take`](Self::take).
    pub(super) fn take_two(&self, len: u64) -> Result<Pair> {
        let class = class_of(len).ok_or_else(|| Error::new(ErrorKind::TooLarge, "allocate"))?;
        let mut blocks = self.area.blocks(self.machine, class)?;
        while blocks < 2 {
            blocks = self.refill(class, 2)?;
        }
        let at = [self.stacked(class, blocks - 1)?, self.stacked(class, blocks - 2)?];
        Ok(Pair { at, class, blocks })
    }

    /// Returns the block in the place number `index` of a stack.
    #[inline(always)]
    fn stacked(&self, class: u32, index: u32) -> Result<u64> {
        let place = self.area.place(class, index);
        let at = self.machine.load_64(place)?;
        match self.heap.span_of(at) {
            Some(_) if at % 16 == 0 => Ok(at),
            _ => Err(malformed(place)),
        }
    }

    /// Prepares a piece of memory of any length for a change: a block, or a run of spans.
    #[inline(always)]
    pub(super) fn reserve(&self, len: u64) -> Result<Piece> {
        match class_of(len) {
            // Spans may be so short, in tests, that they have no block of the class.
            Some(class) if self.heap.layouts[class as usize].count > 0 => {
                self.take(len).map(Piece::Block)
            }
            _ => Ok(Piece::Run(len.div_ceil(self.heap.span_len()))),
        }
    }

    /// Prepares to free the block or the run that begins at `at`: makes room in the lane's stack.
    ///
    /// Fails with `Invalid` if none begins at `at`.
    #[inline(always)]
    pub(super) fn prepare_free(&self, at: u64) -> Result<Freed> {
        let freed = self.freed(at)?;
        if let Freed::Block(_, class) = freed {
            if self.area.blocks(self.machine, class)? >= self.most_kept(class) {
                self.spill(class)?;
            }
        }
        Ok(freed)
    }

    /// Returns the block or the run that begins at `at`.
    ///
    /// Fails with `Invalid` if none does.
    #[inline(always)]
    pub(super) fn freed(&self, at: u64) -> Result<Freed> {
        if let Some(span) = self.heap.span_of(at) {
            match self.heap.kind(self.machine, span)? {
                SpanKind::Class(ClassEntry { class, .. })
                    if self.heap.blocks(span, class).index(at).is_some() =>
                {
                    return Ok(Freed::Block(at, class));
                }
                SpanKind::Run(_) if self.heap.span(span) == at => return Ok(Freed::Run(at)),
                _ => {}
            }
        }
        Err(no_block(at))
    }

    /// Returns a block of at least `len` bytes from the lane's stack, and the top that takes it. Returns `None` if there
    /// is none.
    #[inline(always)]
    pub(super) fn take_at_once<W: Writable>(
        &self,
        access: AtOnce<'_, W>,
        len: u64,
        faults: &mut Faults,
    ) -> Option<(u64, Top)> {
        let class = class_of(len)?;
        let blocks = access.blocks(class, faults).checked_sub(1)?;
        if blocks >= most_kept(class) {
            return None;
        }
        let at = Place::at(access.memory, self.area.place(class, blocks))?.load(faults);
        let is_block = self.heap.span_of(at).is_some() && at % 16 == 0 && faults.is_empty();
        is_block.then_some((at, Top { class, blocks }))
    }

    /// Fills memory that nothing refers to before the change.
    #[inline(always)]
    pub(super) fn fill(&self, at: u64, bytes: &[u8]) -> Result<()> {
        // The memory may have been a map's until a store of this thread, and readers of the map may still read it.
        // They must see that store when they look again, if they see these bytes.
        self.machine.fence_stores();
        self.machine.write(at, bytes)
    }

    /// Puts the block at `at` above the top of its stack, where nothing reads it before the top counts. Returns the top
    /// that frees it, or `None` if no block begins there or the stack has no room.
    #[inline(always)]
    pub(super) fn give_at_once<W: Writable>(
        &self,
        access: AtOnce<'_, W>,
        at: u64,
        faults: &mut Faults,
    ) -> Option<Top> {
        let class = self.heap.class_at_once(access.memory, at, faults)?;
        let blocks = access.blocks(class, faults);
        if blocks >= self.most_kept(class) {
            return None;
        }
        let above = Place::at(access.memory, self.area.place(class, blocks))?;
        // What is below the top must stay.
        if !faults.is_empty() {
            return None;
        }
        above.store(at, faults);
        Some(Top { class, blocks: blocks + 1 })
    }

    /// Takes a piece, and frees what is to be freed, in a change that commits `tops` as well. Returns the offset of
    /// the piece, or 0.
    #[inline]
    pub(super) fn trade(
        &self,
        change: &mut Change<'_, M>,
        piece: Option<Piece>,
        freed: Option<Freed>,
        tops: &mut Tops,
    ) -> Result<u64> {
        if let (Some(Piece::Block(taken)), Some(Freed::Block(at, class))) = (piece, freed) {
            if taken.top.class == class {
                // In its place: the stack has as many blocks as before.
                change.record(self.area.place(class, taken.top.blocks), at);
                return Ok(taken.at);
            }
        }
        // The piece first: it must not be of the memory that is freed, which is still in use.
        let taken = match piece {
            Some(Piece::Block(taken)) => {
                tops.push(taken.top);
                taken.at
            }
            Some(Piece::Run(spans)) => self.take_run(change, spans)?,
            None => 0,
        };
        match freed {
            Some(Freed::Block(at, class)) => tops.push(self.give(at, class)?),
            Some(Freed::Run(at)) => self.give_run(change, at)?,
            None => {}
        }
        Ok(taken)
    }

    /// Takes a block and frees two of the same class, in one change. The stack had room for one more before. Returns
    /// the top that the change must commit.
    pub(super) fn trade_two(
        &self,
        change: &mut Change<'_, M>,
        taken: Taken,
        freed: [u64; 2],
    ) -> Result<Top> {
        let Top { class, blocks } = taken.top;
        // The first in the place of the block that is taken, the second above the top.
        change.record(self.area.place(class, blocks), freed[0]);
        self.machine.store_64(self.area.place(class, blocks + 1), freed[1])?;
        Ok(Top { class, blocks: blocks + 2 })
    }

    /// Adds a block of a class, for which there is room, to the lane's stack. Returns the top that frees it.
    #[inline(always)]
    pub(super) fn give(&self, at: u64, class: u32) -> Result<Top> {
        let blocks = self.area.blocks(self.machine, class)?;
        self.put(at, class, blocks)
    }

    /// Adds a block to a stack of `blocks` blocks.
    #[inline(always)]
    fn put(&self, at: u64, class: u32, blocks: u32) -> Result<Top> {
        // Above the top, where nothing reads it before the top counts.
        self.machine.store_64(self.area.place(class, blocks), at)?;
        Ok(Top { class, blocks: blocks + 1 })
    }

    /// Makes a top count by itself: takes a block that is attached to nothing, or frees one that no longer is.
    #[inline(always)]
    pub(super) fn settle(&self, top: Top) -> Result<()> {
        self.area.set_top(self.machine, top)
    }

    #[inline(always)]
    pub(super) fn most_kept(&self, class: u32) -> u32 {
        most_kept(class).min(self.heap.most_kept)
    }

    pub(super) fn class_lock(&self, class: u32) -> u32 {
        self.first_lock + class
    }

    pub(super) fn segment_lock(&self) -> u32 {
        self.first_lock + CLASSES
    }
}

/// Returns the error, of kind `Invalid`, for an offset at which no block and no run begins.
#[cold]
fn no_block(at: u64) -> Error {
    Error::new(ErrorKind::Invalid, "free").with_offset(at).with_detail("no block begins there")
}
