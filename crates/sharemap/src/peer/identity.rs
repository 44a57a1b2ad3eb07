//! Who this process is, as records tell people. The system is asked once; a forked child asks again.
//! There is no lock, as a child may not wait for a thread that it does not have.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::sys::{fork, process as system};

#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    pub(super) process: u32,
    pub(super) start_time: u64,
    pub(super) id_space: u64,
}

pub(super) fn identity() -> Identity {
    /// Whose the others are; threads that fill them at once write the same.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    static START: AtomicU64 = AtomicU64::new(0);
    static SPACE: AtomicU64 = AtomicU64::new(0);
    let (process, number) = (std::process::id(), fork::process());
    if NUMBER.load(Ordering::Acquire) != number {
        START.store(system::start_time(process).unwrap_or(0), Ordering::Relaxed);
        SPACE.store(system::id_space(), Ordering::Relaxed);
        NUMBER.store(number, Ordering::Release);
    }
    let (start_time, id_space) = (START.load(Ordering::Relaxed), SPACE.load(Ordering::Relaxed));
    Identity { process, start_time, id_space }
}

/// The boot this is, if the system tells.
pub(super) fn boot() -> Option<[u8; 16]> {
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
