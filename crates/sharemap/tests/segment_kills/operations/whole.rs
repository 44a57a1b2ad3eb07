//! The segment as a whole: created, opened, flushed, repaired and detached.

use std::path::Path;

use sharemap::{ErrorKind, Location, Segment};

use super::lanes::with_dead_lane;
use super::{Planted, filled};
use crate::closure::{Closure, Scenario};
use crate::contents::Contents;
use crate::exercise::exercise;
use crate::open::Order;
use crate::operation::{Begin, End, Operation};
use crate::plant::drop_if;
use crate::small::{TABLES, create};
use crate::tracee::mark;

pub const OPERATIONS: &[Operation] = &[
    Operation::new("open", filled, |_| ()).beginning(Begin::Opening).in_states(2),
    Operation::new("flush", filled, |segment| segment.flush().unwrap()).in_states(1),
    REPAIR,
    Operation::new("detach, the last", filled, |_| ()).ending(End::Detaches).in_states(3),
];

const REPAIR: Operation = Operation::new("repair after a death", filled, |segment| {
    segment.repair().unwrap();
})
.beginning(Begin::After(with_dead_lane))
.in_states(2);

pub const PLANTED: &[Planted] = &[Planted {
    name: "a dead lane does not become free",
    operation: REPAIR,
    plant: |store| {
        let is_lane = (TABLES.lanes_at()..TABLES.payload_at()).contains(&store.at);
        drop_if(is_lane && store.at % 64 == 0 && store.after as u32 == 0)
    },
}];

/// Kills the creation of a segment.
pub fn create_killed((at_most, order): (usize, Order)) -> Closure {
    Scenario {
        prepare: &|_| (),
        beside: None,
        operate: &|path| {
            mark();
            drop(create(path));
        },
        survive: &survive_creation,
        mask: |page| TABLES.mask(page),
        plant: None,
        at_most,
        order,
    }
    .close()
}

/// Asserts that there is no segment, or a whole one.
fn survive_creation(path: &Path) {
    let segment = match Segment::open(Location::file(path)) {
        Ok(segment) => segment,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
            create(path)
        }
    };
    mark();
    let empty = Contents::of(&segment);
    exercise(&segment);
    let found = Contents::of(&segment);
    assert!(found == empty, "exercised: {}", found.difference(&empty));
}
