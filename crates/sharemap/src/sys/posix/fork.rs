//! Delays forks while this process holds a descriptor that a child must not inherit.

#![allow(unsafe_code, reason = "registers handlers with the C library")]

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::sys::os::fork::process;

/// The number of this process (`fork::process`) while a thread holds such descriptors or forks; otherwise 0.
///
/// Waits for it are bounded, so it is no lock. A child inherits its parent's number here, which counts as 0.
static HELD: AtomicU32 = AtomicU32::new(0);

/// A guard that delays `fork` by other threads until it is dropped.
///
/// A raw `clone` and `posix_spawn` run no fork handlers, so they are not delayed: their children may inherit
/// the descriptor, until they execute a program or end.
///
/// It must live for a few system calls only, because the delay is bounded.
#[must_use]
pub(crate) struct HeldOff(());

/// Delays forks by other threads while the returned value lives.
pub(crate) fn hold_off() -> HeldOff {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    // No thread waits for the registration: in a child, the registering thread may not exist. A thread that
    // comes meanwhile may go on before forks are delayed.
    if !REGISTERED.swap(true, Ordering::Relaxed) {
        // SAFETY: the handlers only access an atomic. If memory for the registration is missing, forks
        // are not delayed.
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

/// Waits until no other thread holds such descriptors or forks, for a bounded number of yields.
///
/// The bound is needed because a foreign fork handler may call [`hold_off`] within the fork, when
/// the forking thread itself has set the word.
fn acquire() {
    const TRIES: u32 = 100_000;
    let process = process();
    for _ in 0..TRIES {
        if HELD.swap(process, Ordering::Acquire) != process {
            return;
        }
        std::thread::yield_now();
    }
}

/// Runs before each fork.
extern "C" fn before() {
    acquire();
}

/// Runs after each fork, in the parent and in the child.
extern "C" fn after() {
    HELD.store(0, Ordering::Release);
}
