//! Objects for the tests of single locks.

use std::sync::Arc;

use crate::guard::{Recovery, recovery};
use crate::peer::{self, ExpectedLayout, OpenOptions, Session};
use crate::shm::Location;

/// Returns `true` if memory that can fault has atomic accesses here. Otherwise prints that the test is skipped.
pub(in crate::sync) fn has_atomics() -> bool {
    let has = recovery() == Recovery::InPlace;
    if !has {
        eprintln!("skipped: faults cannot be recovered in place here");
    }
    has
}

/// Creates an object with a payload of zeros, and attaches to it.
pub(super) fn create(location: &Location, layout: &ExpectedLayout) -> Arc<Session> {
    let fill = &mut |_: &peer::Memory, _: &peer::Header| Ok(());
    let (options, recover) = (OpenOptions::separate(), crate::sync::recover);
    let opening = peer::create_new(location, layout, &options, recover, fill);
    Arc::clone(opening.unwrap().session())
}

/// Creates an object without a name that has room for one lock. Returns `None` if the test is skipped.
pub(in crate::sync) fn of_one_lock() -> Option<Arc<Session>> {
    const LAYOUT: ExpectedLayout = ExpectedLayout {
        kind: 79,
        fingerprint: [0; 16],
        payload: 64,
        growable_to: 0,
        participants: 2,
        lanes: 2,
    };
    has_atomics().then(|| create(&Location::anonymous(), &LAYOUT))
}
