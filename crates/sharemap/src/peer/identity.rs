//! The identity of this process and of the boot, as recorded in objects.
//!
//! Each value is queried once and cached; a forked child queries its own. The caches have no lock: in a
//! child, the thread that holds a lock may not exist.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::sys::{fork, process as system};

/// The identity of a process: its id, start time and pid namespace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    pub(super) process: u32,
    /// In units of the system; 0 if unknown.
    pub(super) start_time: u64,
    /// The inode number of the pid namespace on Linux; 0 if unknown, and elsewhere.
    pub(super) id_space: u64,
}

/// Returns the identity of this process.
pub(super) fn identity() -> Identity {
    /// The number of the process that the cached values belong to; 0: none. Threads that fill the cache
    /// concurrently store equal values.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    static ID: AtomicU32 = AtomicU32::new(0);
    static START: AtomicU64 = AtomicU64::new(0);
    static SPACE: AtomicU64 = AtomicU64::new(0);
    let number = fork::process();
    if NUMBER.load(Ordering::Acquire) != number {
        let process = std::process::id();
        ID.store(process, Ordering::Relaxed);
        START.store(system::start_time(process).unwrap_or(0), Ordering::Relaxed);
        SPACE.store(system::id_space(), Ordering::Relaxed);
        // Last, so that a thread that loads this number also loads the values stored above.
        NUMBER.store(number, Ordering::Release);
    }
    let process = ID.load(Ordering::Relaxed);
    let (start_time, id_space) = (START.load(Ordering::Relaxed), SPACE.load(Ordering::Relaxed));
    Identity { process, start_time, id_space }
}

/// Returns the id of the current boot; `None` if the system has none.
pub(super) fn boot() -> Option<[u8; 16]> {
    /// 1 once the halves are stored. A child of a fork belongs to the same boot.
    static KNOWN: AtomicU32 = AtomicU32::new(0);
    static HALVES: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
    if KNOWN.load(Ordering::Acquire) == 0 {
        let id = u128::from_ne_bytes(system::boot_id()?);
        HALVES[0].store(id as u64, Ordering::Relaxed);
        HALVES[1].store((id >> 64) as u64, Ordering::Relaxed);
        KNOWN.store(1, Ordering::Release);
    }
    let [low, high] = [0, 1].map(|half: usize| u128::from(HALVES[half].load(Ordering::Relaxed)));
    Some((high << 64 | low).to_ne_bytes())
}
