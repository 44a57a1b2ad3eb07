//! Whole spans: finding free ones, taking runs of them, giving them back, and growing the segment for more.

use crate::error::{Error, ErrorKind, Result};
use crate::peer::Machine;
use crate::segment::allocator::Allocator;
use crate::segment::change::Change;
use crate::segment::heap::{RUN, Span, SpanKind, malformed};

/// What the free bits of spans are to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Free,
    Used,
}

impl<M: Machine> Allocator<'_, M> {
    /// Records a run of `spans` free spans as allocated. Returns the offset of the first, which the caller's change
    /// attaches. Acquires the segment's lock.
    pub(super) fn take_run(&self, change: &mut Change<'_, M>, spans: u64) -> Result<u64> {
        let segment = self.segment_lock();
        change.lock(segment..segment + 1)?;
        let first = self.find_free(change, spans)?;
        change.record(self.heap.entry(first), RUN | spans << 8);
        self.mark_spans(change, first, spans, Mark::Used)?;
        Ok(self.heap.span(first))
    }

    /// Records the run that begins at `at` as free. Acquires the segment's lock.
    pub(super) fn give_run(&self, change: &mut Change<'_, M>, at: u64) -> Result<()> {
        let segment = self.segment_lock();
        change.lock(segment..segment + 1)?;
        // What other changes of the heap recorded is visible under the lock.
        let no_run = || Error::new(ErrorKind::Invalid, "free").with_offset(at);
        let first = self.heap.span_of(at).filter(|&span| self.heap.span(span) == at);
        let first = first.ok_or_else(no_run)?;
        let SpanKind::Run(spans) = self.heap.kind(self.machine, first)? else {
            return Err(no_run());
        };
        if first.0 % self.heap.chunk_spans() + spans > self.heap.chunk_spans() {
            return Err(malformed(self.heap.entry(first)));
        }
        change.record(self.heap.entry(first), 0);
        self.mark_spans(change, first, spans, Mark::Free)
    }

    /// Returns the first of `spans` free spans in one chunk, the lowest that are. Grows the segment if they lie beyond
    /// its end. The change holds the segment's lock.
    pub(super) fn find_free(&self, change: &mut Change<'_, M>, spans: u64) -> Result<Span> {
        let heap = self.heap;
        if spans >= heap.chunk_spans() {
            return Err(Error::new(ErrorKind::TooLarge, "allocate"));
        }
        let chunks = change.load(heap.chunks())?.min(heap.most_chunks());
        for chunk in 0..chunks {
            let mut run = 0;
            for word in 0..heap.chunk_spans() / 64 {
                let bits = change.load(heap.free_bits(chunk, word))?;
                // Most words have no free span.
                if bits == 0 {
                    run = 0;
                    continue;
                }
                for index in 0..64 {
                    run = if bits >> index & 1 == 0 { 0 } else { run + 1 };
                    if run == spans {
                        let first =
                            Span(chunk * heap.chunk_spans() + 64 * word + index + 1 - spans);
                        self.reach(change, heap.span(Span(first.0 + spans)))?;
                        return Ok(first);
                    }
                }
            }
        }
        let first = Span(chunks * heap.chunk_spans() + 1);
        self.reach(change, heap.span(Span(first.0 + spans)))?;
        self.fill_header(chunks)?;
        change.record(heap.chunks(), chunks + 1);
        Ok(first)
    }

    /// Grows the segment, if it ends before `end`. The change holds the segment's lock.
    fn reach(&self, change: &mut Change<'_, M>, end: u64) -> Result<()> {
        let heap = self.heap;
        let len = change.load(heap.len())?;
        if end <= len {
            return Ok(());
        }
        if end > heap.end {
            return Err(
                Error::new(ErrorKind::NoSpace, "allocate").with_detail("the segment is full")
            );
        }
        // By an eighth, so that a segment of any size grows rarely.
        let len = (len + len / 8).next_multiple_of(heap.span_len()).clamp(end, heap.end);
        self.machine.grow(len)?;
        change.record(heap.len(), len);
        Ok(())
    }

    /// Fills the header of a chunk that does not count yet: all spans but the header are free.
    fn fill_header(&self, chunk: u64) -> Result<()> {
        for word in 0..self.heap.chunk_spans() / 64 {
            let bits = if word == 0 { !1 } else { !0 };
            self.machine.store_64(self.heap.free_bits(chunk, word), bits)?;
        }
        for index in 0..self.heap.chunk_spans() {
            let entry = self.heap.entry(Span(chunk * self.heap.chunk_spans() + index));
            self.machine.store_64(entry, 0)?;
        }
        Ok(())
    }

    /// Records the free bits of `spans` spans from `first` on. The change holds the segment's lock.
    pub(super) fn mark_spans(
        &self,
        change: &mut Change<'_, M>,
        first: Span,
        spans: u64,
        mark: Mark,
    ) -> Result<()> {
        let chunk = first.0 / self.heap.chunk_spans();
        for index in (first.0..first.0 + spans).map(|span| span % self.heap.chunk_spans()) {
            let at = self.heap.free_bits(chunk, index / 64);
            let (bits, bit) = (change.load(at)?, 1 << (index % 64));
            match (mark, bits & bit == 0) {
                (Mark::Free, true) | (Mark::Used, false) => change.record(at, bits ^ bit),
                _ => return Err(malformed(at)),
            }
        }
        Ok(())
    }
}
