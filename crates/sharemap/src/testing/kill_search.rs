//! A search, by `tests/kills`, of the states that kills leave: an operation is killed at every step,
//! then every recovery from that is killed at every step, until no new state of the object's bytes
//! appears.

#[cfg(all(target_os = "linux", target_arch = "x86_64", not(sharemap_syscall_fallback)))]
#[allow(dead_code, reason = "the tests of locks use all of it")]
#[path = "../../tests/kills/beside.rs"]
mod beside;
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(sharemap_syscall_fallback)))]
#[allow(dead_code, reason = "as above")]
#[path = "../../tests/kills/closure.rs"]
mod closure;
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(sharemap_syscall_fallback)))]
#[path = "../../tests/common/mod.rs"]
mod common;
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(sharemap_syscall_fallback)))]
#[allow(dead_code, reason = "as above")]
#[path = "../../tests/kills/plant.rs"]
mod plant;
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(sharemap_syscall_fallback)))]
#[path = "../../tests/kills/stores.rs"]
mod stores;
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(sharemap_syscall_fallback)))]
#[path = "../../tests/kills/tracee.rs"]
mod tracee;

use std::path::Path;

/// The result of a search.
#[allow(dead_code, reason = "not every system lets processes be traced")]
#[derive(Debug)]
pub(crate) struct Closure {
    /// The number of states that kills leave.
    pub(crate) images: usize,
    /// The number of stops: stores to the object, and system calls.
    pub(crate) stops: usize,
    /// The reason for which a survivor failed, if one did.
    pub(crate) failure: Option<String>,
}

/// An operation on an object, and the check that a survivor must pass.
#[allow(dead_code, reason = "not every system lets processes be traced")]
pub(crate) struct Scenario<'a> {
    /// Creates the object, unless the operation does.
    pub(crate) prepare: &'a dyn Fn(&Path),
    /// Runs the operation. Calls [`mark`] before the part that is killed.
    pub(crate) operate: &'a dyn Fn(&Path),
    /// Uses the object as a kill left it. Panics if anything is lost.
    pub(crate) survive: &'a dyn Fn(&Path),
    /// Blanks the bytes that differ between two runs.
    pub(crate) mask: fn(&mut [u8]),
}

/// Marks the beginning of the part of an operation that is killed.
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(sharemap_syscall_fallback)))]
pub(crate) use tracee::mark;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", not(sharemap_syscall_fallback))))]
pub(crate) fn mark() {}

/// Runs a search. Returns `None` where processes cannot be traced.
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(sharemap_syscall_fallback)))]
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
    }
    .close();
    assert!(closure.closed || closure.failure.is_some(), "some states were left out");
    let failure = closure.failure.map(|(_, reason)| reason);
    Some(Closure { images: closure.images, stops: closure.stops, failure })
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", not(sharemap_syscall_fallback))))]
pub(crate) fn close(_: &Scenario<'_>) -> Option<Closure> {
    None
}
