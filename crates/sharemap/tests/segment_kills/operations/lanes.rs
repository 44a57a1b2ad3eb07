//! Lanes and their areas: created with the first change of a thread, and released at its end.

use std::path::Path;

use sharemap::Segment;

use super::{Planted, filled};
use crate::beside::run_and_kill;
use crate::operation::{Begin, End, Operation};
use crate::plant::drop_if;
use crate::small::{AREA, CHUNKS, OBJECT, blocks, create};

pub const OPERATIONS: &[Operation] = &[
    FIRST_AREA,
    Operation::new("create the area of a second lane", filled, allocate)
        .beginning(Begin::After(with_dead_lane))
        .in_states(8),
    Operation::new("claim a lane that has an area", filled, allocate)
        .beginning(Begin::After(|_| ()))
        .in_states(4),
    Operation::new("end a thread that keeps blocks", filled, |_| ())
        .showing(|_, after| blocks(after, 48)[1] > 0)
        .ending(End::EndsThread)
        .in_states(2),
];

const FIRST_AREA: Operation = Operation::new("create the first area", empty, allocate)
    .beginning(Begin::After(|_| ()))
    .showing(|before, after| before.used < after.used)
    .in_states(20);

pub const PLANTED: &[Planted] = &[
    Planted {
        name: "the area's body is not stored",
        operation: FIRST_AREA,
        plant: |store| drop_if(store.long(AREA + 80).is_some_and(|(_, after)| after != 0)),
    },
    Planted {
        name: "the first chunk is not counted",
        operation: FIRST_AREA,
        plant: |store| drop_if(store.long(CHUNKS).is_some()),
    },
];

fn empty(path: &Path) {
    drop(create(path));
}

fn allocate(segment: &Segment) {
    segment.allocate(&OBJECT).unwrap();
}

/// Lets a process die that has claimed the first lane.
pub fn with_dead_lane(segment: &Segment) {
    run_and_kill(&|| {
        segment.repair().unwrap();
    });
}
