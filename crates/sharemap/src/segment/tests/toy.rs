//! A toy object, which changes in all the ways that a segment does: by a single store under a lock, and by a redo
//! record under two locks, with a run and a top.
//!
//! ```text
//!    0  the explorer's lanes and participants
//!  320  lock 0          384  lock 1
//!  448  ones            the number of changes by either way
//!  456  twos            the number of changes by record
//!  464  run, 2 words    each the number of changes by record
//!  512  areas, 320 bytes each
//! ```
//!
//! Lock 0 protects `ones`, lock 1 the other words.

use crate::error::Result;
use crate::peer::Machine;
use crate::segment::change::{Change, change};
use crate::segment::lane_area::{LaneArea, Space, Top};
use crate::segment::lock_table::{LockTable, LockWord};

pub(super) const LEN: usize = 512 + 3 * 320;

pub(super) const ONES: u64 = 448;
pub(super) const TWOS: u64 = 456;
pub(super) const RUN: u64 = 464;
/// The offset of the top of stack 1 in an area.
pub(super) const TOP: u64 = 96 + 4;

pub(super) const SPACE: Space =
    Space { locks: LockTable { at: 320, count: 2 }, changeable: 448..480 };

pub(super) fn area(lane: u32) -> LaneArea {
    LaneArea { at: 512 + 320 * u64::from(lane), lane, body: 0 }
}

/// Returns the offset of a lock.
pub(super) fn lock(index: u32) -> u64 {
    SPACE.locks.word(index)
}

/// Adds one to `ones`, by a single store.
pub(super) fn add_one<M: Machine>(machine: &M, lane: u32) -> Result<()> {
    change(machine, &SPACE, area(lane), None, |change| {
        change.lock(0..1)?;
        change.store(ONES, machine.load_64(ONES)? + 1)
    })
}

/// Adds one to all the words, by a redo record. The last bit of `twos` becomes the top of the lane's stack 1.
pub(super) fn add_all<M: Machine>(machine: &M, lane: u32) -> Result<()> {
    change(machine, &SPACE, area(lane), None, |change| {
        change.lock(0..1)?;
        change.lock(1..2)?;
        record_all(machine, change)
    })
}

/// Adds one to all the words, like [`add_all`], with both locks in one range.
pub(super) fn add_all_at_once<M: Machine>(machine: &M, lane: u32) -> Result<()> {
    change(machine, &SPACE, area(lane), None, |change| {
        change.lock(0..2)?;
        record_all(machine, change)
    })
}

fn record_all<M: Machine>(machine: &M, change: &mut Change<'_, M>) -> Result<()> {
    let [ones, twos] = [machine.load_64(ONES)? + 1, machine.load_64(TWOS)? + 1];
    change.record(ONES, ones);
    change.record(TWOS, twos);
    change.record_run(RUN, 1, twos);
    change.commit(&[Top { class: 1, blocks: (twos & 1) as u32 }])
}

/// Loads the lock word at `at` for a reader that takes no lock. Returns `None` while a lane owns the lock.
///
/// What was read after this call is of one moment if a later call returns the same word.
pub(super) fn observe<M: Machine>(machine: &M, at: u64) -> Result<Option<LockWord>> {
    let word = LockWord(machine.load_64(at)?);
    Ok(word.owner().is_none().then_some(word))
}

/// A reader, or a planted fault of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    Sound,
    /// Does not look at the lock words again.
    LooksOnce,
    /// Reads while a lane owns a lock.
    IgnoresOwners,
}

/// Reads the words at one moment, without a lock. Returns `None` after `attempts` that others disturbed.
pub(super) fn read<M: Machine>(machine: &M, reader: u8, attempts: u32) -> Result<Option<[u64; 4]>> {
    let observed = || -> Result<[Option<LockWord>; 2]> {
        Ok(match reader == Reader::IgnoresOwners as u8 {
            true => [0, 1].map(|index| machine.load_64(lock(index)).ok().map(without_owner)),
            false => [observe(machine, lock(0))?, observe(machine, lock(1))?],
        })
    };
    for _ in 0..attempts {
        let before = observed()?;
        if before.contains(&None) {
            continue;
        }
        let mut values = [0; 4];
        for (value, at) in values.iter_mut().zip([ONES, TWOS, RUN, RUN + 8]) {
            *value = machine.load_64(at)?;
        }
        if reader == Reader::LooksOnce as u8 || observed()? == before {
            return Ok(Some(values));
        }
    }
    Ok(None)
}

/// Returns the word, as if it were free.
fn without_owner(word: u64) -> LockWord {
    LockWord(word & !0xffff)
}

/// Returns the words as memory has them, and what is wrong with them when no change is under way.
pub(super) fn check(load: impl Fn(u64) -> u64) -> std::result::Result<[u64; 2], String> {
    let values = [ONES, TWOS, RUN, RUN + 8].map(&load);
    if values[2] != values[1] || values[3] != values[1] || values[0] < values[1] {
        return Err(format!("half of a change: {values:?}"));
    }
    for index in 0..2 {
        if let Some(owner) = LockWord(load(lock(index))).owner() {
            return Err(format!("lock {index} is owned by lane {owner}"));
        }
    }
    for lane in 0..3 {
        let at = area(lane).at;
        if load(at) != 0 || load(at + 8) != 0 {
            return Err(format!("the area of lane {lane} is busy"));
        }
    }
    Ok([values[0], values[1]])
}
