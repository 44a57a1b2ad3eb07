//! The heap of a segment: chunks of spans, and what is recorded of each span.
//!
//! The heap begins at a multiple of a span's length, and consists of chunks of equal length. The first span of a
//! chunk is its header:
//!
//! ```text
//! 0             free     a bit for each span of the chunk: 1: free
//! spans / 8     entries  16 bytes for each span
//! ```
//!
//! A span's entry has two words. The first has the kind in its low byte, 0 for a span that is free or not the first of
//! its run, a class + 1, or 255 for a run of spans. Above, a span of a class has the numbers of the next and the
//! previous span of that class with free blocks, and a run has its number of spans. The second word is the bitmap of
//! the free blocks of a span with at most 64; a span of more has its bitmap at its beginning.
//!
//! The lock of a class protects the entries and bitmaps of its spans. The segment's lock protects the free bits, and
//! all else. A span changes its class only under both.

use crate::error::{Error, ErrorKind, Result};
use crate::peer::{Faults, Machine, Readable, Window};
use crate::segment::size_class::{CLASSES, Layout, size_of};

/// The kind of a run of spans.
pub(super) const RUN: u64 = 0xff;

/// The lengths and places of a heap, which are constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heap {
    /// The offset of the words below.
    pub(super) head: u64,
    /// The offset of the first chunk.
    pub(super) at: u64,
    /// The offset of the end that the heap may grow to.
    pub(super) end: u64,
    /// The length of a span, as a power of two.
    pub(super) span_shift: u32,
    /// Where blocks lie in spans of this length.
    pub(super) layouts: &'static [Layout; CLASSES as usize],
    /// The largest number of blocks that a lane keeps of any class.
    pub(super) most_kept: u32,
    /// The number of spans of a chunk, as a power of two: at least 6.
    pub(super) chunk_shift: u32,
}

/// The offset in the head of the number of chunks that have a header.
const CHUNKS: u64 = 0;
/// The offset in the head of the length of the segment.
const LEN: u64 = 8;
/// The offset in the head of the first span with free blocks of class 0; 0: none. The others follow.
const FIRSTS: u64 = 16;
/// The length of the head.
pub(super) const HEAD: u64 = FIRSTS + 8 * CLASSES as u64;

/// A span: its number, counted from the beginning of the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span(pub(super) u64);

/// The first word of a span's entry, for a span of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClassEntry {
    pub(super) class: u32,
    /// The next and the previous span of the class with free blocks; span 0, a header: none.
    pub(super) next: Span,
    pub(super) previous: Span,
}

/// What the first word of a span's entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SpanKind {
    /// Free, or not the first span of its run.
    None,
    Class(ClassEntry),
    /// The first of so many spans.
    Run(u64),
}

/// The bits of a span's number in an entry.
const NUMBER: u64 = (1 << 28) - 1;

impl ClassEntry {
    pub(super) fn word(self) -> u64 {
        u64::from(self.class + 1) | self.next.0 << 8 | self.previous.0 << 36
    }
}

impl SpanKind {
    /// Returns what a word says; `None` if no version writes it.
    #[inline(always)]
    pub(super) fn of(word: u64) -> Option<Self> {
        match word & 0xff {
            0 => (word == 0).then_some(Self::None),
            RUN => Some(Self::Run(word >> 8)),
            kind if kind <= CLASSES.into() => Some(Self::Class(ClassEntry {
                class: kind as u32 - 1,
                next: Span(word >> 8 & NUMBER),
                previous: Span(word >> 36),
            })),
            _ => None,
        }
    }
}

/// Where the blocks of a span of a class are, and its bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blocks {
    /// The offset of the first block.
    pub(super) at: u64,
    pub(super) size: u64,
    pub(super) count: u64,
    /// The offset of the bitmap: a bit for each block, 1: free and in no stack.
    pub(super) bitmap: u64,
    layout: Layout,
}

impl Blocks {
    /// Returns the number of words of the bitmap.
    pub(super) fn words(self) -> u64 {
        self.count.div_ceil(64)
    }

    /// Returns a word of the bitmap with all its blocks free.
    pub(super) fn all_free(self, word: u64) -> u64 {
        match self.count - 64 * word {
            64.. => u64::MAX,
            count => (1 << count) - 1,
        }
    }

    /// Returns the number of the block at `at`; `None` if no block begins there.
    #[inline(always)]
    pub(super) fn index(self, at: u64) -> Option<u64> {
        let from = u16::try_from(at.checked_sub(self.at)?).ok()?;
        let index = self.layout.index(from);
        (index * self.size == from.into() && index < self.count).then_some(index)
    }
}

impl Heap {
    pub(super) fn span_len(self) -> u64 {
        1 << self.span_shift
    }

    /// Returns the number of spans of a chunk.
    #[inline(always)]
    pub(super) fn chunk_spans(self) -> u64 {
        1 << self.chunk_shift
    }

    fn chunk_len_shift(self) -> u32 {
        self.chunk_shift + self.span_shift
    }

    /// Returns the offset of the number of chunks.
    pub(super) fn chunks(self) -> u64 {
        self.head + CHUNKS
    }

    /// Returns the offset of the length of the segment.
    pub(super) fn len(self) -> u64 {
        self.head + LEN
    }

    /// Returns the offset of the number of the first span with free blocks of a class.
    pub(super) fn first(self, class: u32) -> u64 {
        self.head + FIRSTS + 8 * u64::from(class)
    }

    /// Returns the largest number of chunks.
    pub(super) fn most_chunks(self) -> u64 {
        (self.end - self.at).div_ceil(1 << self.chunk_len_shift())
    }

    /// Returns the offset of a chunk. Its number may be anything.
    pub(super) fn chunk(self, chunk: u64) -> u64 {
        self.at.wrapping_add(chunk << self.chunk_len_shift())
    }

    /// Returns the offset of a span. Its number may be anything.
    pub(super) fn span(self, span: Span) -> u64 {
        self.at.wrapping_add(span.0 << self.span_shift)
    }

    /// Returns the span that contains `at`, if it lies in the heap.
    #[inline(always)]
    pub(super) fn span_of(self, at: u64) -> Option<Span> {
        let from = at.checked_sub(self.at)?;
        (at < self.end).then_some(Span(from >> self.span_shift))
    }

    /// Returns the offset of a word of the free bits of a chunk.
    pub(super) fn free_bits(self, chunk: u64, word: u64) -> u64 {
        self.chunk(chunk) + 8 * word
    }

    /// Returns the offset of a span's entry.
    #[inline(always)]
    pub(super) fn entry(self, span: Span) -> u64 {
        let (chunk, index) = (self.chunk_of(span), span.0 & (self.chunk_spans() - 1));
        self.chunk(chunk).wrapping_add(self.chunk_spans() / 8 + 16 * index)
    }

    /// Returns the number of the chunk of a span.
    #[inline(always)]
    fn chunk_of(self, span: Span) -> u64 {
        span.0 >> self.chunk_shift
    }

    /// Returns the blocks of a span of a class.
    #[inline(always)]
    pub(super) fn blocks(self, span: Span, class: u32) -> Blocks {
        let (at, layout) = (self.span(span), self.layouts[class as usize]);
        let size = layout.size.into();
        let count = layout.count.into();
        match layout.bitmap {
            0 => Blocks { at, size, count, bitmap: self.entry(span) + 8, layout },
            len => Blocks { at: at + u64::from(len), size, count, bitmap: at, layout },
        }
    }

    /// Returns the number of spans for allocation that lie before `len`, in chunks from the number `chunk` on.
    pub(super) fn spans_before(self, len: u64, chunk: u64) -> u64 {
        let from = self.chunk(chunk.min(self.most_chunks()));
        let spans = len.saturating_sub(from) >> self.span_shift;
        // The first span of each chunk is its header.
        spans - spans.div_ceil(self.chunk_spans())
    }

    /// Returns the length of the block or the run that begins at `at`; 0 if none does.
    pub(super) fn len_at<M: Machine>(self, machine: &M, at: u64) -> Result<u64> {
        let Some(span) = self.span_of(at) else { return Ok(0) };
        Ok(match self.kind(machine, span)? {
            SpanKind::None => 0,
            SpanKind::Class(entry) => size_of(entry.class),
            SpanKind::Run(spans) => spans << self.span_shift,
        })
    }

    /// Returns what a span is, as its entry says.
    ///
    /// Fails with `OutOfBounds` if the span lies beyond the last chunk, and with `Malformed` if the entry is none
    /// that any version writes.
    #[inline(always)]
    pub(super) fn kind<M: Machine>(self, machine: &M, span: Span) -> Result<SpanKind> {
        let at = self.entry(span);
        match machine.load_64(at) {
            // In a chunk that has no header yet, the word is 0.
            Ok(word) => SpanKind::of(word).ok_or_else(|| malformed(at)),
            Err(error) => self.kind_beyond(machine, span, error),
        }
    }

    /// Returns the class of the block that begins at `at`, by straight code. Returns `None` if none begins there, or if
    /// that is not known.
    #[inline(always)]
    pub(super) fn class_at_once(
        self,
        memory: &impl Readable,
        at: u64,
        faults: &mut Faults,
    ) -> Option<u32> {
        let span = self.span_of(at)?;
        let entry = Window::<8, _>::at(memory, self.entry(span))?;
        match SpanKind::of(entry.load(0, faults))? {
            SpanKind::Class(ClassEntry { class, .. }) => {
                self.blocks(span, class).index(at).map(|_| class)
            }
            SpanKind::None | SpanKind::Run(_) => None,
        }
    }

    /// Returns what a failed access to the entry of a span means.
    #[cold]
    fn kind_beyond<M: Machine>(self, machine: &M, span: Span, error: Error) -> Result<SpanKind> {
        match self.chunk_of(span) >= machine.load_64(self.chunks())? {
            true => Err(Error::new(ErrorKind::OutOfBounds, "look up")
                .with_offset(self.span(span))
                .with_detail("no block begins there")),
            false => Err(error),
        }
    }
}

/// Returns the error, of kind `Malformed`, for a word of the heap at `at` that no version writes.
#[cold]
pub(super) fn malformed(at: u64) -> Error {
    Error::new(ErrorKind::Malformed, "look up")
        .with_offset(at)
        .with_detail("the heap's words are inconsistent; check the segment")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAP: Heap = Heap {
        head: 0,
        at: 1 << 16,
        end: 1 << 40,
        span_shift: 16,
        layouts: &Layout::table(16),
        most_kept: 64,
        chunk_shift: 10,
    };

    #[test]
    fn blocks_fit_into_their_span() {
        for class in 0..CLASSES {
            let span = Span(5);
            let blocks = HEAP.blocks(span, class);
            let (start, end) = (HEAP.span(span), HEAP.span(Span(6)));
            assert!(blocks.at >= start && blocks.at + blocks.count * blocks.size <= end);
            assert!(
                blocks.at + (blocks.count + 1) * blocks.size > end,
                "class {class} wastes a block"
            );
            assert!(blocks.bitmap < start || blocks.bitmap + 8 * blocks.words() <= blocks.at);
            for index in [0, blocks.count - 1] {
                assert_eq!(blocks.index(blocks.at + index * blocks.size), Some(index));
            }
            for at in [blocks.at + 8, blocks.at + blocks.count * blocks.size, blocks.at - 16] {
                assert_eq!(blocks.index(at), None, "class {class}");
            }
            let bits: u32 =
                (0..blocks.words()).map(|word| blocks.all_free(word).count_ones()).sum();
            assert_eq!(u64::from(bits), blocks.count);
        }
    }

    #[test]
    fn entries_keep_what_they_say() {
        let entry = ClassEntry { class: 39, next: Span(NUMBER), previous: Span(1) };
        assert_eq!(SpanKind::of(entry.word()), Some(SpanKind::Class(entry)));
        assert_eq!(SpanKind::of(RUN | 7 << 8), Some(SpanKind::Run(7)));
        for word in [1 << 8, 41, 254] {
            assert_eq!(SpanKind::of(word), None);
        }
    }

    #[test]
    fn a_header_fits_into_a_span() {
        let last = HEAP.entry(Span(HEAP.chunk_spans() - 1)) + 16;
        assert!(last <= HEAP.at + HEAP.span_len());
    }
}
