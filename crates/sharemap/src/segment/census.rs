//! The census: each block of the heap counted once, and all words of the heap checked against each other.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::peer::Machine;
use crate::segment::heap::{Heap, Span, SpanKind, malformed};
use crate::segment::lane_area::LaneArea;
use crate::segment::size_class::CLASSES;

/// The numbers of blocks of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Blocks {
    pub(super) allocated: u64,
    /// In stacks.
    pub(super) stacked: u64,
    /// In bitmaps.
    pub(super) free: u64,
}

/// What the heap contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Census {
    /// The offsets of the blocks that are neither in a bitmap nor in a stack, and of runs.
    pub(super) allocated: BTreeSet<u64>,
    /// The number of free spans.
    pub(super) free_spans: u64,
    /// The number of free spans that lie within the segment's present length.
    pub(super) reachable_spans: u64,
    /// The number of runs of spans, without the bodies.
    pub(super) runs: u64,
    /// The blocks of each class.
    pub(super) classes: [Blocks; CLASSES as usize],
    /// The number of bodies of lanes' areas.
    pub(super) bodies: u64,
    /// The number of blocks in stacks.
    pub(super) stacked: u64,
}

/// Takes the census. Nothing else may use the segment meanwhile, and no change may be incomplete.
///
/// Fails with `Malformed` at the first word that contradicts the others.
pub(super) fn take<M: Machine>(machine: &M, heap: Heap, areas: &[LaneArea]) -> Result<Census> {
    let mut census = Census {
        allocated: BTreeSet::new(),
        free_spans: 0,
        reachable_spans: 0,
        runs: 0,
        classes: [Blocks::default(); CLASSES as usize],
        bodies: 0,
        stacked: 0,
    };
    let len = machine.load_64(heap.len())?;
    census.reachable_spans = heap.spans_before(len, machine.load_64(heap.chunks())?);
    let mut stacked = BTreeSet::new();
    for area in areas.iter().filter(|area| area.body != 0) {
        for class in 0..CLASSES {
            for index in 0..area.blocks(machine, class)? {
                let place = area.place(class, index);
                let at = machine.load_64(place)?;
                let span = heap.span_of(at).ok_or_else(|| malformed(place))?;
                let is_block = match heap.kind(machine, span)? {
                    SpanKind::Class(entry) if entry.class == class => {
                        heap.blocks(span, class).index(at).is_some()
                    }
                    _ => false,
                };
                if !is_block || !stacked.insert(at) {
                    return Err(malformed(place));
                }
            }
        }
    }
    let mut with_free = vec![BTreeSet::new(); CLASSES as usize];
    for chunk in 0..machine.load_64(heap.chunks())?.min(heap.most_chunks()) {
        let mut in_run = 0u64;
        for index in 0..heap.chunk_spans() {
            let span = Span(chunk * heap.chunk_spans() + index);
            let bits = machine.load_64(heap.free_bits(chunk, index / 64))?;
            let is_free = bits >> (index % 64) & 1 == 1;
            let entry = heap.entry(span);
            match heap.kind(machine, span)? {
                SpanKind::None if is_free && in_run == 0 => {
                    census.free_spans += 1;
                    census.reachable_spans += u64::from(heap.span(span) + heap.span_len() <= len);
                }
                SpanKind::None if !is_free && (in_run > 0 || index == 0) => {
                    in_run = in_run.saturating_sub(1);
                }
                SpanKind::Run(spans) if !is_free && in_run == 0 && spans > 0 => {
                    in_run = spans - 1;
                    let at = heap.span(span);
                    match areas.iter().any(|area| area.body == at) {
                        true => census.bodies += 1,
                        false => {
                            census.runs += 1;
                            census.allocated.insert(at);
                        }
                    }
                }
                SpanKind::Class(entry) if !is_free && in_run == 0 => {
                    let blocks = heap.blocks(span, entry.class);
                    let counts = &mut census.classes[entry.class as usize];
                    for number in 0..blocks.count {
                        let word = machine.load_64(blocks.bitmap + 8 * (number / 64))?;
                        let at = blocks.at + number * blocks.size;
                        match (word >> (number % 64) & 1 == 1, stacked.remove(&at)) {
                            (true, true) => return Err(malformed(blocks.bitmap)),
                            (true, false) => {
                                counts.free += 1;
                                with_free[entry.class as usize].insert(span);
                            }
                            (false, true) => {
                                counts.stacked += 1;
                                census.stacked += 1;
                            }
                            (false, false) => {
                                counts.allocated += 1;
                                census.allocated.insert(at);
                            }
                        }
                    }
                }
                _ => return Err(malformed(entry)),
            }
        }
        if in_run != 0 {
            return Err(malformed(heap.chunk(chunk)));
        }
    }
    for (class, with_free) in (0..).zip(&mut with_free) {
        let (mut next, mut previous) = (Span(machine.load_64(heap.first(class))?), Span(0));
        while next != Span(0) {
            let SpanKind::Class(entry) = heap.kind(machine, next)? else {
                return Err(malformed(heap.first(class)));
            };
            if !with_free.remove(&next) || entry.previous != previous {
                return Err(malformed(heap.entry(next)));
            }
            (previous, next) = (next, entry.next);
        }
        if let Some(&missing) = with_free.first() {
            return Err(malformed(heap.entry(missing)));
        }
    }
    match areas.iter().find(|area| area.body != 0) {
        Some(area)
            if areas.iter().filter(|area| area.body != 0).count() as u64 != census.bodies =>
        {
            Err(malformed(area.body_word()))
        }
        _ => Ok(census),
    }
}
