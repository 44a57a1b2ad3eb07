//! The managed segment: values, offsets and maps, by one process, by several, and after errors.
//!
//! The long form (`SHAREMAP_LONG=1`) grows a segment to 4 GiB.

mod common;
#[path = "segment/errors.rs"]
mod errors;
#[cfg(unix)]
#[path = "segment/forks.rs"]
mod forks;
#[path = "segment/growth.rs"]
mod growth;
#[path = "segment/memory.rs"]
mod memory;
#[path = "segment/models.rs"]
mod models;
#[path = "segment/opening.rs"]
mod opening;
#[path = "segment/peer.rs"]
mod peer;
#[path = "common/random.rs"]
mod random;
#[cfg(unix)]
#[path = "segment/stopped.rs"]
mod stopped;
#[path = "segment/two_processes.rs"]
mod two_processes;

use common::need_atomics;
use sharemap::{Location, Segment};

fn is_long() -> bool {
    std::env::var_os("SHAREMAP_LONG").is_some_and(|long| long == "1")
}

/// Returns a segment that only this process knows.
fn anonymous(size: u64, max: u64) -> Segment {
    Segment::create_new(Location::anonymous(), size, max).unwrap()
}

/// Asserts that the segment is whole, and that so many objects are unattached.
fn assert_whole(segment: &Segment, unattached: u64) {
    let report = segment.check().unwrap();
    assert!(report.is_healthy(), "{report:?}");
    assert_eq!(report.unattached, unattached, "{report:?}");
}
