//! The operations of a segment, and mistakes that must be found.

pub mod heap;
pub mod lanes;
pub mod maps;
pub mod names;
pub mod pages;
pub mod whole;

use std::fs;
use std::path::Path;

use sharemap::Segment;

use crate::common::TempDir;
use crate::operation::Operation;
use crate::plant::{Plant, drop_if};
use crate::small::{AREA, LEN, fill, open};

/// A mistake planted in an operation.
pub struct Planted {
    pub name: &'static str,
    pub operation: Operation,
    pub plant: Plant,
}

/// Mistakes that only a living process beside the dead one finds.
pub const PLANTED_BESIDE: &[Planted] = &[
    // The recovery would find in place what it stores once more, if the other process had not changed
    // it meanwhile.
    Planted {
        name: "the record is not cleared",
        operation: heap::ATTACH,
        plant: |store| drop_if(store.long(AREA).is_some_and(|(_, after)| after == 0)),
    },
];

/// Mistakes from which all kills are survived, and why.
pub const HARMLESS: &[Planted] = &[
    // The file has grown. The next growth begins at the old length and does not shorten the file, and
    // nothing else uses the length but the statistics.
    Planted {
        name: "the length of the segment is not stored",
        operation: heap::GROW,
        plant: |store| drop_if(store.long(LEN).is_some()),
    },
];

/// Creates a segment with a few objects of each kind.
fn filled(path: &Path) {
    drop(fill(path));
}

/// Makes steps, from the number `from` on, up to the first that changes what `measure` returns, and
/// leaves that one out. Its number is the value `step`.
fn before_the_step(
    path: &Path,
    from: u64,
    step: impl Fn(&Segment, u64),
    measure: impl Fn(&Segment) -> u64,
) {
    let found = find_step(path, from, &step, measure);
    let segment = open(path);
    (from..found).for_each(|number| step(&segment, number));
    segment.set_value("step", &found).unwrap();
}

/// Makes steps in a copy of the segment, from the number `from` on, up to the first that changes what
/// `measure` returns. Returns its number.
fn find_step(
    path: &Path,
    from: u64,
    step: impl Fn(&Segment, u64),
    measure: impl Fn(&Segment) -> u64,
) -> u64 {
    let dir = TempDir::new();
    let copy = dir.join("segment");
    fs::copy(path, &copy).unwrap();
    let segment = open(&copy);
    let before = measure(&segment);
    let changes = |&number: &u64| {
        step(&segment, number);
        measure(&segment) != before
    };
    (from..from + 10_000).find(changes).expect("a step that changes it")
}

/// Returns the number that `before_the_step` has found.
fn step(segment: &Segment) -> u64 {
    segment.value::<u64>("step").unwrap().unwrap()
}
