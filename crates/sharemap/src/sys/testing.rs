//! What tests need of the operating system: forks, stops, clones, chosen process ids, and a search of the
//! states that kills leave.
//!
//! A port provides the functions in its own `testing`. Where the system has no such call, they return
//! `false`, `None` or the reason.

use std::path::Path;

pub(crate) use super::os::testing::{
    Forked, choose_id, clone_alone, close, close_all, execute, fork, go_on, kill, leave_ids, mark,
    must_start_again, share_memory, stop,
};

/// A result, or the reason for which the system cannot do it.
pub(crate) type Can<T> = Result<T, String>;

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

/// The calls that only Linux has, refused.
#[cfg(not(target_os = "linux"))]
pub(crate) mod refused {
    use super::Can;

    const CLONES: &str = "only Linux can clone processes";
    const IDS: &str = "only Linux has pid namespaces";

    /// Returns `false`: not all descriptors can be closed at once.
    pub(crate) fn close_all() -> bool {
        false
    }

    pub(crate) fn clone_alone() -> Can<i32> {
        Err(CLONES.to_owned())
    }

    pub(crate) fn share_memory() -> Can<()> {
        Err(CLONES.to_owned())
    }

    pub(crate) fn leave_ids() -> Can<()> {
        Err(IDS.to_owned())
    }

    pub(crate) fn choose_id(_: i32) -> Can<()> {
        Err(IDS.to_owned())
    }
}

/// The search on systems and processors without one.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64", not(sharemap_syscall_fallback))))]
pub(crate) mod untraced {
    use super::{Closure, Scenario};

    /// Does nothing.
    pub(crate) fn mark() {}

    /// Returns `None`: processes cannot be traced here.
    pub(crate) fn close(_: &Scenario<'_>) -> Option<Closure> {
        None
    }
}
