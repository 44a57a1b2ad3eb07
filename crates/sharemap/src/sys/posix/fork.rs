//! Keeping forks away from moments in which a descriptor must not be copied.

#![allow(unsafe_code, reason = "registers handlers with the C library")]

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Set while somebody holds descriptors that no child may get, or forks: a courtesy, not a lock.
///
/// The process's id, so that a child's copy of it says nothing.
static HELD: AtomicU32 = AtomicU32::new(0);

/// While this value lives, `fork` waits in other threads (a raw `clone` does not). For moments of a
/// few system calls.
#[must_use]
pub(crate) struct HeldOff(());

pub(crate) fn hold_off() -> HeldOff {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    // Nobody waits for whoever registers: in a child that may be a thread that is not there.
    if !REGISTERED.swap(true, Ordering::Relaxed) {
        // SAFETY: the handlers only touch an atomic. Without them (no memory), forks are not held
        // off.
        unsafe { libc::pthread_atfork(Some(before), Some(after), Some(after)) };
    }
    acquire();
    HeldOff(())
}

impl Drop for HeldOff {
    fn drop(&mut self) {
        HELD.store(0, Ordering::Release);
    }
}

/// Waits for a moment's work of others, and no longer than that can take: a handler of somebody
/// else's may call from within a fork.
fn acquire() {
    const TRIES: u32 = 100_000;
    let process = std::process::id();
    for _ in 0..TRIES {
        if HELD.swap(process, Ordering::Acquire) != process {
            return;
        }
        std::thread::yield_now();
    }
}

extern "C" fn before() {
    acquire();
}

extern "C" fn after() {
    HELD.store(0, Ordering::Release);
}
