//! The numbers of lanes that a forked child leaves to its parents.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::sys::fork;

/// Lanes that this process has, and those that belong to processes it was forked from: guards of
/// theirs that were copied with the stack must never find a lane of that number to be this process's.
#[derive(Debug)]
pub(super) struct InheritedLanes {
    had: Box<[AtomicU64]>,
    avoided: Box<[AtomicU64]>,
    process: AtomicU32,
}

impl InheritedLanes {
    pub(super) fn new(lanes: u32) -> Self {
        let words = (lanes as usize).div_ceil(64);
        let empty = || (0..words).map(|_| AtomicU64::new(0)).collect();
        Self { had: empty(), avoided: empty(), process: AtomicU32::new(fork::process()) }
    }

    /// In a child: what the parent had is to be avoided.
    pub(super) fn take_over(&self) {
        if self.process.swap(fork::process(), Ordering::Relaxed) == fork::process() {
            return;
        }
        for (had, avoided) in self.had.iter().zip(&self.avoided) {
            avoided.fetch_or(had.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    pub(super) fn note(&self, lane: u32) {
        self.had[lane as usize / 64].fetch_or(1 << (lane % 64), Ordering::Relaxed);
    }

    pub(super) fn forget(&self, lane: u32) {
        self.had[lane as usize / 64].fetch_and(!(1 << (lane % 64)), Ordering::Relaxed);
    }

    pub(super) fn avoids(&self, lane: u32) -> bool {
        self.avoided[lane as usize / 64].load(Ordering::Relaxed) >> (lane % 64) & 1 == 1
    }
}
