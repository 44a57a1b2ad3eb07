//! What is shared: every kind of lock.

use sharemap::{Barrier, Condvar, Event, Mutex, Once, Permits, RwLock, Signal};

/// Every kind of lock.
pub type All = (
    (Mutex<[u64; 3]>, RwLock<[u64; 3]>, Mutex<[u32]>, RwLock<[u32]>),
    (Permits, Signal, Barrier, Condvar),
    (Event, Event, Once),
);

pub fn first() -> All {
    (
        (Mutex::new([1; 3]), RwLock::new([2; 3]), Mutex::slice(50), RwLock::slice(50)),
        (Permits::new(3), Signal::new(2), Barrier::new(3), Condvar::new()),
        (Event::manual(), Event::auto(), Once::new()),
    )
}

/// Where they lie in the payload.
pub const LOCKS: [u64; 11] = [0, 64, 144, 368, 608, 624, 640, 656, 672, 688, 704];
