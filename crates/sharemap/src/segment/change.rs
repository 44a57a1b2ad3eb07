//! One change by a living thread: locks, a redo record, release.

use std::ops::Range;
use std::time::Duration;

use crate::error::Result;
use crate::peer::Machine;
use crate::segment::completion::complete;
use crate::segment::lane_area::{Entry, LaneArea, MOST_RANGES, Space, Top};
use crate::segment::lock_table::{self, Outcome};

/// A change that a thread is making, in [`change`].
pub(crate) struct Change<'a, M: Machine> {
    machine: &'a M,
    space: &'a Space,
    area: LaneArea,
    /// The listed ranges of locks: the first lock of each, and the number of them.
    listed: Few<(u32, u32), { MOST_RANGES as usize }>,
    /// The entries of the redo record, each for other words.
    record: Record,
    outcome: Outcome,
    /// The moment until which it waits for locks; `None`: without a limit.
    until: Option<Duration>,
}

/// Makes a change with the area of a lane of this thread: calls `make`, and releases the locks that it acquired. The
/// lane has no other change that is not complete. Waits for each lock until the moment `until`.
///
/// If `make` fails, nothing has changed, unless what failed is a store of the change itself: then the change is
/// completed, here or before the lane's next change.
///
/// `make` runs no code of users: it might begin another change with the same area, or never return.
#[inline]
pub(super) fn change<M: Machine, R>(
    machine: &M,
    space: &Space,
    area: LaneArea,
    until: Option<Duration>,
    make: impl FnOnce(&mut Change<'_, M>) -> Result<R>,
) -> Result<R> {
    let (listed, record) = (Few::new((0, 0)), Record::new());
    let outcome = Outcome::Unchanged;
    let mut change = Change { machine, space, area, listed, record, outcome, until };
    let result = make(&mut change).and_then(|value| change.release().map(|()| value));
    if result.is_err() {
        // If this fails too, the locks stay held until the lane's next change, or the end of this process.
        let _ = complete(machine, space, area);
    }
    result
}

impl<M: Machine> Change<'_, M> {
    /// Acquires locks of the table, in ascending order.
    ///
    /// All changes acquire locks in the same order, first those of containers, then those of size classes, then
    /// the segment's, so that no two wait for each other. Does nothing if the change has acquired the range already.
    /// Fails with `Timeout`, and with `TooLarge` if the change has acquired the most ranges already.
    #[inline]
    pub(super) fn lock(&mut self, locks: Range<u32>) -> Result<()> {
        let Range { start, end } = locks;
        debug_assert!(start < end && end <= self.space.locks.count);
        if self.listed.as_slice().iter().any(|&(first, _)| first == start) {
            return Ok(());
        }
        let table = self.space.locks;
        // Listed before the first is acquired: recovery finds every lock that the lane may own.
        let index = self.listed.as_slice().len() as u64;
        self.area.list(self.machine, index, table.word(start), end - start)?;
        self.listed.push((start, end - start));
        for index in start..end {
            lock_table::acquire(self.machine, table.word(index), self.area.lane, self.until)?;
        }
        Ok(())
    }

    /// Loads a word as it will be after the changes that are in the redo record.
    #[inline(always)]
    pub(super) fn load(&self, place: u64) -> Result<u64> {
        match self.record.position(place) {
            Some(index) => Ok(self.record.as_slice()[index].value),
            None => self.machine.load_64(place),
        }
    }

    /// Makes the change by one store, without a record. The change holds the word's lock.
    #[inline]
    pub(super) fn store(&mut self, place: u64, value: u64) -> Result<()> {
        self.outcome = Outcome::Changed;
        self.machine.store_64(place, value)
    }

    /// Adds to the redo record: the word at `place` gets this value. The change holds the word's lock.
    #[inline(always)]
    pub(super) fn record(&mut self, place: u64, value: u64) {
        let recorded = self.record.position(place);
        match recorded.and_then(|index| self.record.as_mut_slice().get_mut(index)) {
            Some(entry) => entry.value = value,
            None => self.record.push(Entry { place, run: 0, value }),
        }
    }

    /// Adds to the redo record: 2 to the power of `run` words from `place` on get this value. The change holds the
    /// words' locks, and records none of them by itself.
    pub(super) fn record_run(&mut self, place: u64, run: u32, value: u64) {
        self.record.push(Entry { place, run, value });
    }

    /// Makes the change by the redo record: commits it, with new tops for up to three of the lane's stacks, and
    /// applies it.
    ///
    /// Fails with `TooLarge`, and changes nothing, if the record has too many entries.
    #[inline]
    pub(super) fn commit(&mut self, tops: &[Top]) -> Result<()> {
        self.outcome = Outcome::Changed;
        self.area.commit(self.machine, self.record.as_slice(), tops)?;
        self.area.apply_own(self.machine, self.record.as_slice(), tops)
    }

    #[inline]
    fn release(&self) -> Result<()> {
        for &(first, count) in self.listed.as_slice() {
            for index in first..first + count {
                let word = self.space.locks.word(index);
                lock_table::release(self.machine, word, self.area.lane, self.outcome)?;
            }
        }
        self.area.clear_list(self.machine)
    }
}

/// Up to `N` values in place.
#[derive(Clone, Copy)]
struct Few<T, const N: usize> {
    values: [T; N],
    len: usize,
}

impl<T: Copy, const N: usize> Few<T, N> {
    fn new(empty: T) -> Self {
        Self { values: [empty; N], len: 0 }
    }

    /// Adds a value. There is room.
    #[inline(always)]
    fn push(&mut self, value: T) {
        self.values[self.len] = value;
        self.len += 1;
    }

    fn as_slice(&self) -> &[T] {
        &self.values[..self.len]
    }
}

/// The entries of a redo record: in place while they are few, and else in a vector.
struct Record {
    few: Few<Entry, { Self::FEW }>,
    many: Vec<Entry>,
}

impl Record {
    const FEW: usize = 4;

    fn new() -> Self {
        Self { few: Few::new(Entry { place: 0, run: 0, value: 0 }), many: Vec::new() }
    }

    #[inline(always)]
    fn push(&mut self, entry: Entry) {
        match self.many.is_empty() && self.few.len < Self::FEW {
            true => self.few.push(entry),
            false => self.push_further(entry),
        }
    }

    #[cold]
    fn push_further(&mut self, entry: Entry) {
        if self.many.is_empty() {
            self.many.extend_from_slice(self.few.as_slice());
        }
        self.many.push(entry);
    }

    #[inline(always)]
    fn as_slice(&self) -> &[Entry] {
        match self.many.is_empty() {
            true => self.few.as_slice(),
            false => &self.many,
        }
    }

    #[inline(always)]
    fn as_mut_slice(&mut self) -> &mut [Entry] {
        match self.many.is_empty() {
            true => &mut self.few.values[..self.few.len],
            false => &mut self.many,
        }
    }

    /// Returns the number of the entry for the single word at `place`.
    #[inline(always)]
    fn position(&self, place: u64) -> Option<usize> {
        self.as_slice().iter().position(|entry| entry.run == 0 && entry.place == place)
    }
}
