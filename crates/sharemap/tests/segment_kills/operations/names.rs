//! Named values and maps, created, replaced and removed.

use sharemap::Segment;
use sharemap::containers::HashMap;

use super::{Planted, filled};
use crate::operation::Operation;
use crate::plant::{drop_if, swap_if};
use crate::small::{AREA, ROOTS, bytes};

pub const OPERATIONS: &[Operation] = &[
    Operation::new("create a value", filled, |segment| {
        segment.create_value("new", &bytes(1, 100)[..]).unwrap();
    })
    .undone_by(remove_new)
    .showing(|before, after| after.named == before.named + 1),
    REPLACE,
    Operation::new("remove a value", filled, |segment| remove(segment, "kept"))
        .showing(|before, after| after.named == before.named - 1),
    Operation::new("create a value that lies in a run", filled, |segment| {
        segment.create_value("new", &bytes(1, 33_000)[..]).unwrap();
    })
    .showing(|before, after| after.runs == before.runs + 1),
    Operation::new("create a map", filled, |segment| {
        HashMap::<u64, u64>::create_new(segment, "new").unwrap();
    })
    .undone_by(remove_new)
    .showing(|before, after| after.named == before.named + 1),
    Operation::new("remove a map of words", filled, |segment| remove(segment, "words"))
        .showing(|before, after| after.named == before.named - 1),
    REMOVE_MAP,
];

const REPLACE: Operation = Operation::new("replace a value by a longer one", filled, |segment| {
    segment.set_value("kept", "a value of another length, which needs another block").unwrap();
})
.undone_by(|segment| segment.set_value("kept", "a value").unwrap());

const REMOVE_MAP: Operation =
    Operation::new("remove a map of blocks", filled, |segment| remove(segment, "texts"))
        .showing(|before, after| after.named == before.named - 1)
        .in_states(50);

pub const PLANTED: &[Planted] = &[
    Planted {
        name: "the block of a value before the record is committed",
        operation: REPLACE,
        plant: |store| swap_if(store.long(AREA).is_some_and(|(_, after)| after != 0)),
    },
    Planted {
        name: "a removed map is not listed",
        operation: REMOVE_MAP,
        plant: |store| drop_if(store.long(ROOTS + 8).is_some_and(|(_, after)| after != 0)),
    },
];

fn remove(segment: &Segment, name: &str) {
    assert!(segment.remove(name).unwrap());
}

fn remove_new(segment: &Segment) {
    segment.remove("new").unwrap();
}
