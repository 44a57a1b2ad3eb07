//! For tests: kills at every step of an operation on an object's bytes, and of every recovery from
//! that, by the search of `tests/kills`, where it runs.

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

/// What a search came to.
#[allow(dead_code, reason = "not every system lets processes be traced")]
#[derive(Debug)]
pub(crate) struct Closure {
    /// States that a kill leaves.
    pub(crate) images: usize,
    /// Stores to the object and system calls that were looked at.
    pub(crate) stops: usize,
    /// Why a survivor did not go on, if one did not.
    pub(crate) failure: Option<String>,
}

/// An operation, and what a survivor has to be able to do.
#[allow(dead_code, reason = "not every system lets processes be traced")]
pub(crate) struct Scenario<'a> {
    pub(crate) prepare: &'a dyn Fn(&Path),
    /// Calls [`mark`] where the part begins that is killed.
    pub(crate) operate: &'a dyn Fn(&Path),
    /// Panics if anything is lost.
    pub(crate) survive: &'a dyn Fn(&Path),
    /// Blanks what differs between two runs.
    pub(crate) mask: fn(&mut [u8]),
}

/// Where the part of an operation begins that is killed.
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(sharemap_syscall_fallback)))]
pub(crate) use tracee::mark;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", not(sharemap_syscall_fallback))))]
pub(crate) fn mark() {}

/// `None` where processes cannot be traced.
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(sharemap_syscall_fallback)))]
pub(crate) fn close(scenario: &Scenario<'_>) -> Option<Closure> {
    if !tracee::Tracee::is_allowed() {
        return None;
    }
    // In this process, so that children have it: what the first mapping installs.
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
