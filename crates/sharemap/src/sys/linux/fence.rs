//! The asymmetric fence: `membarrier`, the only one that reaches other processes.

#![allow(unsafe_code, reason = "raw system calls")]

use std::sync::atomic::{AtomicBool, Ordering};

const GLOBAL_EXPEDITED: libc::c_int = 1 << 1;
const REGISTER_GLOBAL_EXPEDITED: libc::c_int = 1 << 2;

/// Whether this process takes part, so that its plain stores are ordered by others' fences. Lasts
/// over `fork`; `exec` makes a new process of it in this, too.
pub(crate) fn register() -> bool {
    // No lock, and no harm in registering twice: a child may not wait for a thread that it does not
    // have.
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.load(Ordering::Relaxed) {
        REGISTERED.store(membarrier(REGISTER_GLOBAL_EXPEDITED), Ordering::Relaxed);
    }
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
