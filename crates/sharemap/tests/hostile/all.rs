//! The contents of the shared object: every kind of lock.

use sharemap::{Barrier, Condvar, CountingSemaphore, Event, Mutex, Once, RwLock, Semaphore};

/// One lock of every kind.
pub type All = (
    (Mutex<[u64; 3]>, RwLock<[u64; 3]>, Mutex<[u32]>, RwLock<[u32]>),
    (Semaphore, CountingSemaphore, Barrier, Condvar),
    (Event, Event, Once),
);

pub fn first() -> All {
    (
        (Mutex::new([1; 3]), RwLock::new([2; 3]), Mutex::zeroed(50), RwLock::zeroed(50)),
        (Semaphore::new(3), CountingSemaphore::new(2), Barrier::new(3), Condvar::new()),
        (Event::manual_reset(), Event::auto_reset(), Once::new()),
    )
}

/// The offsets of the locks in the payload.
pub const LOCKS: [u64; 11] = [0, 64, 144, 368, 608, 624, 640, 656, 672, 688, 704];
