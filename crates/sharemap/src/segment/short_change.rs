//! A change of one word under one lock, with or without a block of the lane's stacks.
//!
//! The stores are those of `change`, in the same order. What is spared is everything that only longer changes need:
//! ranges of locks, a record of any length, and tests of each access to the lane's head, whose faults are kept until
//! the next step depends on them.

use std::time::Duration;

use crate::error::Result;
use crate::peer::{Faults, Machine, Part};
use crate::segment::completion::complete;
use crate::segment::lane_area::{
    COMMIT, Commit, ENTRIES, HEAD, LISTED, LaneArea, RANGES, Space, TOPS, Top,
};
use crate::segment::lock_table::{self, Outcome};

/// A change that a thread is making, in [`change_under`].
pub(super) struct ShortChange<'a, M: Machine> {
    machine: &'a M,
    area: LaneArea,
    /// The head of the lane's area. It lies in the part of the segment that is mapped from the beginning, so that a
    /// fault does not mean that the segment has grown.
    head: Part<'a, HEAD>,
    faults: Faults,
}

/// Makes a change of what the lock number `lock` protects, with the area of a lane of this thread: acquires the lock,
/// calls `make`, and releases the lock. The lane has no other change that is not complete.
///
/// `make` changes one word by a store, or more by [`ShortChange::commit`], and returns whether it did. It runs no code
/// of users. If it fails, this is as in `change`.
#[inline(always)]
pub(super) fn change_under<M: Machine, R>(
    machine: &M,
    space: &Space,
    area: LaneArea,
    lock: u32,
    until: Option<Duration>,
    make: impl FnOnce(&mut ShortChange<'_, M>) -> Result<(Outcome, R)>,
) -> Result<R> {
    let (head, faults) = (machine.part(area.at)?, Faults::default());
    let mut change = ShortChange { machine, area, head, faults };
    let result = change.make(space.locks.word(lock), until, make);
    if result.is_err() {
        // If this fails too, the lock stays held until the lane's next change, or the end of this process.
        let _ = complete(machine, space, area);
    }
    result
}

/// Returns `true` if a lane has a change that is not complete, like [`LaneArea::is_busy`], at less cost.
#[inline(always)]
pub(super) fn is_busy<M: Machine>(machine: &M, area: LaneArea) -> Result<bool> {
    let (head, faults) = (machine.part(area.at)?, Faults::default());
    let mut change = ShortChange { machine, area, head, faults };
    let busy = change.load(COMMIT) | change.load(LISTED) != 0;
    change.check().map(|()| busy)
}

impl<M: Machine> ShortChange<'_, M> {
    #[inline(always)]
    fn make<R>(
        &mut self,
        lock: u64,
        until: Option<Duration>,
        make: impl FnOnce(&mut Self) -> Result<(Outcome, R)>,
    ) -> Result<R> {
        // The number of ranges last: a range below it is whole. Both before the lock is acquired: recovery finds
        // every lock that the lane may own.
        self.store(RANGES, lock);
        self.store(LISTED, 1);
        self.check()?;
        let word = lock_table::acquire(self.machine, lock, self.area.lane, until)?;
        let (outcome, value) = make(self)?;
        lock_table::release_own(self.machine, lock, word, outcome)?;
        self.store(LISTED, 0);
        self.check()?;
        Ok(value)
    }

    /// Returns the number of blocks in the lane's stack of a class, like [`LaneArea::blocks`].
    #[inline(always)]
    pub(super) fn blocks(&mut self, class: u32) -> Result<u32> {
        let top = TOPS + 4 * u64::from(class);
        let blocks = self.machine.load_in(self.head, top, &mut self.faults);
        self.check()?;
        self.area.checked_blocks(class, blocks)
    }

    /// Stores `value` in the word at `place` and makes a stack's top current, in one step.
    #[inline(always)]
    pub(super) fn commit(&mut self, place: u64, value: u64, top: Top) -> Result<()> {
        self.store(ENTRIES, place);
        self.store(ENTRIES + 8, value);
        // Nothing of the record counts before it is whole.
        self.check()?;
        self.store(COMMIT, Commit::new(1, &[top]).0);
        self.check()?;
        self.machine.store_64(place, value)?;
        let blocks = TOPS + 4 * u64::from(top.class);
        self.machine.store_in(self.head, blocks, top.blocks, &mut self.faults);
        // The record last: until it is cleared, recovery repeats these stores.
        self.check()?;
        self.store(COMMIT, 0);
        self.check()
    }

    #[inline(always)]
    fn load(&mut self, word: u64) -> u64 {
        self.machine.load_in(self.head, word, &mut self.faults)
    }

    #[inline(always)]
    fn store(&mut self, word: u64, value: u64) {
        self.machine.store_in(self.head, word, value, &mut self.faults);
    }

    #[inline(always)]
    fn check(&mut self) -> Result<()> {
        self.machine.check_parts(&mut self.faults)
    }
}
