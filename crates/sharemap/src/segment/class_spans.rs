//! The spans of a size class: blocks move between their bitmaps and the stacks of lanes, many at a time.

use crate::error::Result;
use crate::peer::Machine;
use crate::segment::allocator::Allocator;
use crate::segment::change::Change;
use crate::segment::heap::{Blocks, ClassEntry, Span, SpanKind, malformed};
use crate::segment::lane_area::Top;
use crate::segment::size_class::CLASSES;
use crate::segment::spans::Mark;

impl<M: Machine> Allocator<'_, M> {
    /// Adds blocks to the stack of a class, up to half of what it may have, or `least`. Returns the number of its
    /// blocks, which may be less if a span has less.
    #[cold]
    pub(super) fn refill(&self, class: u32, least: u32) -> Result<u32> {
        let wanted = (self.most_kept(class) / 2).max(least);
        self.change(|change| {
            let lock = self.class_lock(class);
            change.lock(lock..lock + 1)?;
            let span = match change.load(self.heap.first(class))? {
                0 => self.new_span(change, class)?,
                first => Span(first),
            };
            let entry = self.class_entry(change, span, class)?;
            let blocks = self.heap.blocks(span, class);
            let stacked = self.area.blocks(self.machine, class)?;
            let mut filled = stacked;
            let mut left = 0;
            for word in 0..blocks.words() {
                let at = blocks.bitmap + 8 * word;
                let before = change.load(at)? & blocks.all_free(word);
                let mut free = before;
                while free != 0 && filled < wanted {
                    let block =
                        blocks.at + blocks.size * (64 * word + u64::from(free.trailing_zeros()));
                    // Above the top, where nothing reads it before the top counts.
                    self.machine.store_64(self.area.place(class, filled), block)?;
                    filled += 1;
                    free &= free - 1;
                }
                if free != before {
                    change.record(at, free);
                }
                left |= free;
            }
            if filled == stacked {
                return Err(malformed(self.heap.entry(span)));
            }
            if left == 0 {
                self.unlink(change, span, entry)?;
            }
            change.commit(&[Top { class, blocks: filled }])?;
            Ok(filled)
        })
    }

    /// Puts all blocks that the lane keeps back into the bitmaps. Returns how many.
    pub(super) fn spill_all(&self) -> Result<u32> {
        let mut spilled = 0;
        for class in 0..CLASSES {
            // A half, and then what is left, so that a redo record is as long as in a spill of a full stack.
            while self.area.blocks(self.machine, class)? > 0 {
                let before = self.area.blocks(self.machine, class)?;
                spilled += before - self.spill(class)?;
            }
        }
        Ok(spilled)
    }

    /// Puts the upper half of the stack of a class back into the bitmaps. Returns the number of blocks left.
    #[cold]
    pub(super) fn spill(&self, class: u32) -> Result<u32> {
        self.change(|change| {
            let lock = self.class_lock(class);
            change.lock(lock..lock + 1)?;
            let segment = self.segment_lock();
            change.lock(segment..segment + 1)?;
            let blocks = self.area.blocks(self.machine, class)?;
            let kept = blocks / 2;
            for index in kept..blocks {
                let place = self.area.place(class, index);
                self.put_back(change, class, self.machine.load_64(place)?, place)?;
            }
            change.commit(&[Top { class, blocks: kept }])?;
            Ok(kept)
        })
    }

    /// Records that a block is free. If its span is free then, and is not the only one of its class with free
    /// blocks, it becomes free for all classes. `place` is where the block was found.
    fn put_back(&self, change: &mut Change<'_, M>, class: u32, at: u64, place: u64) -> Result<()> {
        let span = self.heap.span_of(at).ok_or_else(|| malformed(place))?;
        let entry = self.class_entry(change, span, class)?;
        let blocks = self.heap.blocks(span, class);
        let index = blocks.index(at).ok_or_else(|| malformed(place))?;
        let word = blocks.bitmap + 8 * (index / 64);
        let free = change.load(word)? | 1 << (index % 64);
        change.record(word, free);
        let first = change.load(self.heap.first(class))?;
        let is_listed = first == span.0 || entry.previous != Span(0);
        if !is_listed {
            let entry = ClassEntry { class, next: Span(first), previous: Span(0) };
            change.record(self.heap.entry(span), entry.word());
            change.record(self.heap.first(class), span.0);
            if first != 0 {
                let next = self.class_entry(change, Span(first), class)?;
                let next = ClassEntry { previous: span, ..next };
                change.record(self.heap.entry(Span(first)), next.word());
            }
            return Ok(());
        }
        let is_only = first == span.0 && entry.next == Span(0);
        if !is_only && free == blocks.all_free(index / 64) && self.is_free(change, blocks)? {
            self.unlink(change, span, entry)?;
            change.record(self.heap.entry(span), 0);
            self.mark_spans(change, span, 1, Mark::Free)?;
        }
        Ok(())
    }

    /// Returns `true` if all blocks of a span are free.
    fn is_free(&self, change: &Change<'_, M>, blocks: Blocks) -> Result<bool> {
        for word in 0..blocks.words() {
            if change.load(blocks.bitmap + 8 * word)? != blocks.all_free(word) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns the entry of a span that must be of `class`.
    fn class_entry(&self, change: &Change<'_, M>, span: Span, class: u32) -> Result<ClassEntry> {
        if span.0 >= self.heap.most_chunks() * self.heap.chunk_spans() {
            return Err(malformed(self.heap.first(class)));
        }
        let at = self.heap.entry(span);
        match SpanKind::of(change.load(at)?) {
            Some(SpanKind::Class(entry)) if entry.class == class => Ok(entry),
            _ => Err(malformed(at)),
        }
    }

    /// Records that a span is not in the list of its class any more.
    fn unlink(&self, change: &mut Change<'_, M>, span: Span, entry: ClassEntry) -> Result<()> {
        let ClassEntry { class, next, previous } = entry;
        let alone = ClassEntry { class, next: Span(0), previous: Span(0) };
        change.record(self.heap.entry(span), alone.word());
        if next != Span(0) {
            let entry = self.class_entry(change, next, class)?;
            change.record(self.heap.entry(next), ClassEntry { previous, ..entry }.word());
        }
        match previous {
            Span(0) => change.record(self.heap.first(class), next.0),
            previous => {
                let entry = self.class_entry(change, previous, class)?;
                change.record(self.heap.entry(previous), ClassEntry { next, ..entry }.word());
            }
        }
        Ok(())
    }

    /// Records a free span as the first and only one of `class`, with all its blocks free.
    fn new_span(&self, change: &mut Change<'_, M>, class: u32) -> Result<Span> {
        let segment = self.segment_lock();
        change.lock(segment..segment + 1)?;
        let span = self.find_free(change, 1)?;
        let blocks = self.heap.blocks(span, class);
        // Nothing reads the bitmap of a span that is free.
        for word in 0..blocks.words() {
            self.machine.store_64(blocks.bitmap + 8 * word, blocks.all_free(word))?;
        }
        let entry = ClassEntry { class, next: Span(0), previous: Span(0) };
        change.record(self.heap.entry(span), entry.word());
        change.record(self.heap.first(class), span.0);
        self.mark_spans(change, span, 1, Mark::Used)?;
        Ok(span)
    }
}
