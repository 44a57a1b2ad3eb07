//! Lanes that a forked child must not claim, because its parent had them at the fork.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::sys::fork;

/// Two sets of lanes: those that this process has claimed, and those that its ancestors had claimed
/// when it was forked.
///
/// A fork copies the parent's guards with its stack. Such a guard names a lane of the parent, and
/// dropping it in the child does nothing, because the lane is not the child's. If the child claimed
/// a lane of that number later, when the parent has released it or has died, the copied guard would
/// count as the child's own and would release a lock that it does not hold. The child therefore
/// avoids these lanes for as long as it lives.
#[derive(Debug)]
pub(super) struct InheritedLanes {
    /// The claimed lanes of the process `process`, one bit each.
    claimed: Box<[AtomicU64]>,
    /// The lanes that the ancestors of `process` had claimed.
    avoided: Box<[AtomicU64]>,
    /// The process that the sets describe, as `fork::process` numbers it. A forked child copies
    /// the parent's number.
    process: AtomicU32,
}

impl InheritedLanes {
    /// Creates the sets, both empty, for an object with `lanes` lanes.
    pub(super) fn new(lanes: u32) -> Self {
        let words = (lanes as usize).div_ceil(64);
        let empty = || (0..words).map(|_| AtomicU64::new(0)).collect();
        Self { claimed: empty(), avoided: empty(), process: AtomicU32::new(fork::process()) }
    }

    /// Moves the parent's claimed lanes to the avoided ones, if this process is a forked child that
    /// has not done so.
    ///
    /// Called when the process attaches, by one thread at a time, before it can claim a lane.
    pub(super) fn take_over(&self) {
        if self.process.swap(fork::process(), Ordering::Relaxed) == fork::process() {
            return;
        }
        for (claimed, avoided) in self.claimed.iter().zip(&self.avoided) {
            avoided.fetch_or(claimed.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Adds a lane that this process has claimed.
    pub(super) fn note(&self, lane: u32) {
        self.claimed[lane as usize / 64].fetch_or(1 << (lane % 64), Ordering::Relaxed);
    }

    /// Removes a lane that this process is about to release. It announces nothing, so no guard
    /// names it.
    pub(super) fn forget(&self, lane: u32) {
        self.claimed[lane as usize / 64].fetch_and(!(1 << (lane % 64)), Ordering::Relaxed);
    }

    /// Returns `true` if this process must not claim `lane`.
    pub(super) fn avoids(&self, lane: u32) -> bool {
        self.avoided[lane as usize / 64].load(Ordering::Relaxed) >> (lane % 64) & 1 == 1
    }
}
