//! Keeping forks away from moments in which a descriptor must not be copied.

#![allow(unsafe_code, reason = "registers handlers with the C library")]

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set while somebody holds descriptors that no child may get, or forks: a courtesy, not a lock.
static HELD: AtomicBool = AtomicBool::new(false);

/// While this value lives, `fork` waits in other threads (a raw `clone` does not). For moments of a
/// few system calls.
#[must_use]
pub(crate) struct HeldOff(());

pub(crate) fn hold_off() -> HeldOff {
    static REGISTER: Once = Once::new();
    // SAFETY: the handlers only touch an atomic. Without them (no memory), forks are not held off.
    REGISTER.call_once(|| unsafe {
        libc::pthread_atfork(Some(before), Some(after), Some(after));
    });
    acquire();
    HeldOff(())
}

impl Drop for HeldOff {
    fn drop(&mut self) {
        HELD.store(false, Ordering::Release);
    }
}

/// Waits for a moment's work of others, and no longer than that can take: a handler of somebody
/// else's may call from within a fork.
fn acquire() {
    const TRIES: u32 = 100_000;
    for _ in 0..TRIES {
        if !HELD.swap(true, Ordering::Acquire) {
            return;
        }
        std::thread::yield_now();
    }
}

extern "C" fn before() {
    acquire();
}

extern "C" fn after() {
    HELD.store(false, Ordering::Release);
}
