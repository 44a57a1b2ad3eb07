//! Pages of maps, rebuilt, split and merged, and the directory, doubled.

use std::path::Path;

use sharemap::{Segment, SegmentStats};

use super::maps::{insert_step, with_pages};
use super::{Planted, before_the_step, find_step, step};
use crate::operation::Operation;
use crate::plant::swap_if;
use crate::small::{AREA, blocks, open, words};

pub const OPERATIONS: &[Operation] = &[
    Operation::new("double the directory, and split a page", before_doubling, insert_next)
        .showing(|before, after| {
            added(before, after, PAGE) == 1 && added(before, after, DOUBLED) == 1
        })
        .in_states(400),
    SPLIT,
    Operation::new("rebuild a page", before_rebuild, insert_next)
        .showing(|before, after| {
            added(before, after, PAGE) == 0 && added(before, after, DOUBLED) == 0
        })
        .in_states(200),
    Operation::new("merge two pages", before_merge, |segment| remove_step(segment, step(segment)))
        .showing(|before, after| added(before, after, PAGE) == -1)
        .in_states(150),
];

const SPLIT: Operation = Operation::new("split a page", before_split, insert_next)
    .undone_by(|segment| remove_step(segment, step(segment)))
    .showing(|before, after| added(before, after, PAGE) == 1 && added(before, after, DOUBLED) == 0)
    .in_states(300);

pub const PLANTED: &[Planted] = &[Planted {
    name: "a page before the record is committed",
    operation: SPLIT,
    plant: |store| swap_if(store.long(AREA).is_some_and(|(_, after)| after & 0xffff != 0)),
}];

/// The lengths of blocks of pages, and of a directory that has doubled once.
const PAGE: u64 = 4096;
const DOUBLED: u64 = 320;

/// Returns how many blocks of a length were allocated.
fn added(before: &SegmentStats, after: &SegmentStats, len: u64) -> i64 {
    blocks(after, len)[0] as i64 - blocks(before, len)[0] as i64
}

fn insert_next(segment: &Segment) {
    insert_step(segment, step(segment));
}

fn remove_step(segment: &Segment, number: u64) {
    words(segment).remove(&(1000 + number)).unwrap();
}

/// Returns the length of the map's pages and directories.
fn memory(segment: &Segment) -> u64 {
    words(segment).memory().unwrap()
}

fn before_doubling(path: &Path) {
    let from = with_pages(path);
    before_the_step(path, from, insert_step, memory);
}

/// Makes also the step that doubles the directory.
fn after_doubling(path: &Path) -> u64 {
    before_doubling(path);
    let segment = open(path);
    insert_next(&segment);
    step(&segment) + 1
}

fn before_split(path: &Path) {
    let from = after_doubling(path);
    before_the_step(path, from, insert_step, memory);
}

/// Removes half of the keys of pages of which one has no room.
fn before_rebuild(path: &Path) {
    let from = with_pages(path);
    let full = find_step(path, from, insert_step, memory);
    let segment = open(path);
    (from..full).for_each(|number| insert_step(&segment, number));
    (0..full).step_by(2).for_each(|number| remove_step(&segment, number));
    segment.set_value("step", &full).unwrap();
}

fn before_merge(path: &Path) {
    after_doubling(path);
    before_the_step(path, 0, remove_step, memory);
}
