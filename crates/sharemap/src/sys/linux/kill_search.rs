//! A search, by `tests/kills`, of the states that kills leave: an operation is killed at every step,
//! then every recovery from that is killed at every step, until no new state of the object's bytes
//! appears.

#[allow(dead_code, reason = "the tests of locks and segments use all of it")]
#[path = "../../../tests/kills/beside.rs"]
mod beside;
#[allow(dead_code, unused_imports, unused_macros, reason = "as above")]
#[path = "../../../tests/kills/closure.rs"]
mod closure;
#[path = "../../../tests/common/mod.rs"]
mod common;
#[allow(dead_code, reason = "as above")]
#[path = "../../../tests/kills/image.rs"]
mod image;
#[allow(dead_code, reason = "as above")]
#[path = "../../../tests/kills/open.rs"]
mod open;
#[allow(dead_code, reason = "as above")]
#[path = "../../../tests/kills/plant.rs"]
mod plant;
#[allow(dead_code, reason = "as above")]
#[path = "../../../tests/hostile/random.rs"]
mod random;
#[path = "../../../tests/kills/stores.rs"]
mod stores;
#[path = "../../../tests/kills/tracee.rs"]
mod tracee;

use crate::sys::testing::{Closure, Scenario};

/// Marks the beginning of the part of an operation that is killed.
pub(crate) use tracee::mark;

/// Runs a search. Returns `None` where processes cannot be traced.
pub(crate) fn close(scenario: &Scenario<'_>) -> Option<Closure> {
    if !tracee::Tracee::is_allowed() {
        return None;
    }
    // Installs the fault handler in this process, so that children inherit it and no search covers it.
    let _ = crate::sys::fault::recovery();
    let closure = closure::Scenario {
        prepare: scenario.prepare,
        beside: None,
        operate: scenario.operate,
        survive: scenario.survive,
        mask: scenario.mask,
        plant: None,
        at_most: usize::MAX,
        order: open::Order::Oldest,
    }
    .close();
    assert!(closure.closed || closure.failure.is_some(), "some states were left out");
    let closure::Closure { images, stops, failure, .. } = closure;
    Some(Closure { images, stops, failure })
}
