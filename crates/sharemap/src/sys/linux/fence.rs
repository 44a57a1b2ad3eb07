//! The asymmetric fence (`membarrier`), the only kind of fence that affects other processes.
//!
//! A registered process may release a lock by a plain store: the waiter pays for the ordering with a fence
//! that the kernel executes on both sides.

#![allow(unsafe_code, reason = "raw system calls")]

use std::sync::atomic::{AtomicBool, Ordering};

const GLOBAL_EXPEDITED: libc::c_int = 1 << 1;
const REGISTER_GLOBAL_EXPEDITED: libc::c_int = 1 << 2;

/// `true` once this process is registered; a forked child inherits it with the registration.
static REGISTERED: AtomicBool = AtomicBool::new(false);

/// Registers this process, so that fences of other processes order its plain stores.
///
/// A forked child inherits the registration. `exec` ends it, and also clears [`REGISTERED`].
pub(crate) fn register() {
    // No lock: a thread that held it at a fork does not exist in the child. Registering twice is
    // harmless.
    if !is_registered() {
        REGISTERED.store(membarrier(REGISTER_GLOBAL_EXPEDITED), Ordering::Relaxed);
    }
}

/// Returns `true` if this process is registered.
#[inline(always)]
pub(crate) fn is_registered() -> bool {
    REGISTERED.load(Ordering::Relaxed)
}

/// Executes a full fence on this thread and on each processor that runs a registered process.
///
/// Returns `false` if the kernel refused, and then there was no fence.
pub(crate) fn fence_all() -> bool {
    membarrier(GLOBAL_EXPEDITED)
}

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: the call takes numbers only.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}
