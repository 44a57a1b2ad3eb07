//! The asymmetric fence: `membarrier`, the only one that reaches other processes.

#![allow(unsafe_code, reason = "raw system calls")]

use std::sync::atomic::{AtomicBool, Ordering};

const GLOBAL_EXPEDITED: libc::c_int = 1 << 1;
const REGISTER_GLOBAL_EXPEDITED: libc::c_int = 1 << 2;

static REGISTERED: AtomicBool = AtomicBool::new(false);

/// Has this process take part, so that its plain stores are ordered by others' fences. Lasts over
/// `fork`; `exec` makes a new process of it in this, too.
pub(crate) fn register() {
    // No lock, and no harm in registering twice: a child may not wait for a thread that it does not
    // have.
    if !is_registered() {
        REGISTERED.store(membarrier(REGISTER_GLOBAL_EXPEDITED), Ordering::Relaxed);
    }
}

/// Whether it takes part.
#[inline(always)]
pub(crate) fn is_registered() -> bool {
    REGISTERED.load(Ordering::Relaxed)
}

/// A full fence here, and on every processor that runs a process that takes part; `false`: none.
pub(crate) fn fence_all() -> bool {
    membarrier(GLOBAL_EXPEDITED)
}

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: takes numbers only.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}
