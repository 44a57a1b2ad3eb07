//! Objects without a name: blocks and runs, allocated and freed, and attached to places.

use std::path::Path;

use sharemap::{Offset, Segment};

use super::{Planted, before_the_step, filled, step};
use crate::operation::Operation;
use crate::plant::{drop_if, swap_if};
use crate::small::{AREA, OBJECT, Object, WIDE, Wide, blocks, fill, is_lock, place, wide_place};

/// The length of the block of an object.
const BLOCK: u64 = 48;

pub const OPERATIONS: &[Operation] = &[
    Operation::new("allocate", filled, allocate)
        .showing(|before, after| {
            let [allocated, kept] = blocks(before, BLOCK);
            blocks(after, BLOCK) == [allocated + 1, kept - 1]
        })
        .in_states(2),
    Operation::new("free", with_loose, free_loose)
        .showing(|before, after| {
            let [allocated, kept] = blocks(before, BLOCK);
            blocks(after, BLOCK) == [allocated - 1, kept + 1]
        })
        .in_states(2),
    Operation::new("refill an empty stack", with_empty_stack, allocate)
        .showing(|before, after| blocks(before, BLOCK)[1] == 0 && blocks(after, BLOCK)[1] > 0)
        .in_states(40),
    Operation::new("take a span for a class", filled, |segment| {
        segment.allocate(&[7_u64; 70]).unwrap();
    })
    .showing(|before, after| {
        blocks(before, 640) == [0, 0] && blocks(after, 640)[0] == 1 && blocks(after, 640)[1] > 0
    }),
    Operation::new("put back half of a full stack", with_full_stack, free_loose)
        .showing(|before, after| blocks(after, BLOCK)[1] < blocks(before, BLOCK)[1]),
    Operation::new("allocate a run", filled, allocate_run)
        .showing(|before, after| after.runs == before.runs + 1),
    Operation::new("free a run", with_loose_run, |segment| {
        segment.free(segment.value::<Offset<Wide>>("loose").unwrap().unwrap()).unwrap();
    })
    .showing(|before, after| after.runs == before.runs - 1),
    Operation::new("put back the last block of a span", with_blocks_of_spans, |segment| {
        free_half(segment, step(segment));
    })
    .showing(|before, after| after.free_spans == before.free_spans + 1),
    GROW,
    ATTACH,
    Operation::new("detach", filled, |segment| {
        assert!(segment.detach(place(segment, 0)).unwrap());
    }),
    Operation::new("attach a run", filled, |segment| {
        segment.attach(wide_place(segment, 1), &WIDE).unwrap();
    })
    .undone_by(|segment| {
        segment.detach(wide_place(segment, 1)).unwrap();
    }),
    Operation::new("detach a run", with_wide, |segment| {
        assert!(segment.detach(wide_place(segment, 0)).unwrap());
    }),
];

pub const GROW: Operation = Operation::new("grow", with_runs_to_the_end, allocate_run)
    .showing(|before, after| after.len > before.len);

pub const ATTACH: Operation = Operation::new("attach", filled, |segment| {
    segment.attach(place(segment, 1), &OBJECT).unwrap();
})
.undone_by(|segment| {
    segment.detach(place(segment, 1)).unwrap();
});

pub const PLANTED: &[Planted] = &[
    Planted {
        name: "the record is not committed",
        operation: ATTACH,
        plant: |store| drop_if(store.long(AREA).is_some_and(|(_, after)| after != 0)),
    },
    Planted {
        name: "the place before the record is committed",
        operation: ATTACH,
        plant: |store| swap_if(store.long(AREA).is_some_and(|(_, after)| after != 0)),
    },
    Planted {
        name: "committed before the entry is whole",
        operation: ATTACH,
        plant: |store| swap_if(store.long(AREA + 256 + 8).is_some()),
    },
    Planted {
        name: "the stack's top is not stored",
        operation: ATTACH,
        plant: |store| drop_if((AREA + 96..AREA + 256).contains(&store.at)),
    },
    Planted {
        name: "the lock is not listed",
        operation: ATTACH,
        plant: |store| drop_if(store.long(AREA + 8).is_some_and(|(_, after)| after != 0)),
    },
    Planted {
        name: "the lock is not released",
        operation: ATTACH,
        plant: |store| drop_if(is_lock(store.at) && store.after & 0xffff == 0),
    },
];

fn allocate(segment: &Segment) {
    segment.allocate(&OBJECT).unwrap();
}

fn allocate_run(segment: &Segment) {
    segment.allocate(&WIDE).unwrap();
}

/// Creates a segment with an object that only the value `loose` refers to.
fn with_loose(path: &Path) {
    let segment = fill(path);
    let loose = segment.allocate(&OBJECT).unwrap();
    segment.create_value("loose", &loose).unwrap();
}

fn free_loose(segment: &Segment) {
    segment.free(segment.value::<Offset<Object>>("loose").unwrap().unwrap()).unwrap();
}

fn kept(segment: &Segment) -> u64 {
    blocks(&segment.stats().unwrap(), BLOCK)[1]
}

fn with_empty_stack(path: &Path) {
    let segment = fill(path);
    for _ in 0..kept(&segment) {
        segment.allocate(&OBJECT).unwrap();
    }
}

fn with_full_stack(path: &Path) {
    with_loose(path);
    let segment = crate::small::open(path);
    let objects: Vec<_> = (0..100).map(|_| segment.allocate(&OBJECT).unwrap()).collect();
    for object in objects {
        if kept(&segment) < 64 {
            segment.free(object).unwrap();
        }
    }
}

/// An object of half a span.
type Half = [u64; 4096];

fn free_half(segment: &Segment, index: u64) {
    let halves = segment.value::<[Offset<Half>; 6]>("halves").unwrap().unwrap();
    segment.free(halves[index as usize]).unwrap();
}

/// Creates a segment with three spans of two objects, and frees them up to the one with which a span
/// becomes free.
fn with_blocks_of_spans(path: &Path) {
    let segment = fill(path);
    let halves = [0; 6].map(|_| segment.allocate(&[7; 4096]).unwrap());
    segment.create_value::<[Offset<Half>; 6]>("halves", &halves).unwrap();
    drop(segment);
    before_the_step(path, 0, free_half, |segment| segment.stats().unwrap().free_spans);
}

/// Creates a segment with runs in all spans that it has.
fn with_runs_to_the_end(path: &Path) {
    filled(path);
    before_the_step(
        path,
        0,
        |segment, _| allocate_run(segment),
        |segment| segment.stats().unwrap().len,
    );
}

fn with_loose_run(path: &Path) {
    let segment = fill(path);
    let loose = segment.allocate(&WIDE).unwrap();
    segment.create_value("loose", &loose).unwrap();
}

fn with_wide(path: &Path) {
    let segment = fill(path);
    segment.attach(wide_place(&segment, 0), &WIDE).unwrap();
}
