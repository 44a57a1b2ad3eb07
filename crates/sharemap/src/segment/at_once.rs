//! Changes of one word under one lock by straight code: the usual case, in which the lock is free and nothing has to be
//! made ready.
//!
//! The stores are those of [`change`](super::change), in the same order. What is done there with a test after each step
//! is done here with few: faults are kept, and tested for before a step that may follow only after the earlier ones.
//! Where anything is unusual, nothing is changed, and `change` does what is to be done, or says what is wrong.

use crate::error::Result;
use crate::peer::{Faults, Machine, Window, Writable};
use crate::segment::allocator::Allocator;
use crate::segment::completion::complete;
use crate::segment::lane_area::{
    COMMIT, Commit, ENTRIES, HEAD, LISTED, LaneArea, RANGES, Space, TOPS, Top,
};
use crate::segment::lock_table::{LockWord, Outcome};

/// The length of the window of a lane's head. The roots lie behind the last head.
const HEAD_WINDOW: u64 = HEAD.next_power_of_two();

/// What a thread accesses while it makes a change: memory, and the head of its lane's area.
pub(crate) struct AtOnce<'m, W: Writable> {
    pub(super) memory: &'m W,
    head: Window<'m, HEAD_WINDOW, W>,
}

/// A word that a change may store to.
pub(super) struct Place<'m, W: Writable> {
    at: u64,
    window: Window<'m, 8, W>,
}

/// A lock that is held.
pub(super) struct Held<'m, W: Writable> {
    place: Place<'m, W>,
    /// The lock's word, which names the lane.
    word: LockWord,
}

/// What a change does under its lock.
pub(super) enum Effect<'m, W: Writable> {
    /// Stores a value in a word.
    Store(Place<'m, W>, u64),
    /// Stores a value in a word and makes a stack's top current, in one step.
    Record(Place<'m, W>, u64, Top),
    /// Stores values in two words, in one step.
    Both([(Place<'m, W>, u64); 2]),
}

/// How far a change has come that survives this thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Committed, and perhaps not applied.
    Committed,
    /// All but the lock's release.
    Complete,
}

impl<W: Writable> Clone for AtOnce<'_, W> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<W: Writable> Copy for AtOnce<'_, W> {}

impl<W: Writable> Clone for Place<'_, W> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<W: Writable> Copy for Place<'_, W> {}

impl<'m, W: Writable> Place<'m, W> {
    #[inline(always)]
    pub(super) fn at(memory: &'m W, at: u64) -> Option<Self> {
        Window::at(memory, at).map(|window| Self { at, window })
    }

    #[inline(always)]
    pub(super) fn load(self, faults: &mut Faults) -> u64 {
        self.window.load(0, faults)
    }

    #[inline(always)]
    pub(super) fn store(self, value: u64, faults: &mut Faults) {
        self.window.store(0, value, faults);
    }
}

impl<'m, W: Writable> AtOnce<'m, W> {
    /// Begins a change with the area of a lane of this thread. Returns `None` if the slot at `slot` does not announce the
    /// area, or the lane has a change that is not complete.
    #[inline(always)]
    pub(super) fn with(
        memory: &'m W,
        area: LaneArea,
        slot: u64,
        faults: &mut Faults,
    ) -> Option<Self> {
        let access = Self::unannounced(memory, area)?;
        let announced = Place::at(memory, slot)?.load(faults);
        let busy = access.head.load(COMMIT, faults) | access.head.load(LISTED, faults);
        let is_ready = announced == area.announcement() && busy == 0 && faults.is_empty();
        is_ready.then_some(access)
    }

    /// Begins a change with an area that is known to be announced and not busy.
    #[inline(always)]
    pub(super) fn unannounced(memory: &'m W, area: LaneArea) -> Option<Self> {
        Window::at(memory, area.at).map(|head| Self { memory, head })
    }

    /// Returns the number of blocks in the lane's stack of a class, which may be arbitrary.
    #[inline(always)]
    pub(super) fn blocks(self, class: u32, faults: &mut Faults) -> u32 {
        self.head.load_32(TOPS + 4 * u64::from(class), faults)
    }

    /// Lists a lock, and acquires it for `lane`. Returns `None` if nothing is listed, and `Some(None)` if the lock is
    /// not free any more or an access has failed.
    #[inline(always)]
    fn acquire(self, at: u64, lane: u32, faults: &mut Faults) -> Option<Option<Held<'m, W>>> {
        let place = Place::at(self.memory, at)?;
        let free = LockWord(place.load(faults));
        if free.owner().is_some() {
            return None;
        }
        // The number of ranges last: a range below it is whole. Both before the lock is acquired: recovery finds
        // every lock that the lane may own.
        self.head.store(RANGES, at, faults);
        self.head.store(LISTED, 1, faults);
        let word = free.owned_by(lane);
        if !faults.is_empty() {
            return Some(None);
        }
        let found = place.window.compare_exchange(free.0, word.0, faults);
        let is_acquired = found == free.0 && faults.is_empty();
        Some(is_acquired.then_some(Held { place, word }))
    }

    /// Makes a change. Returns `None` if it is not committed.
    #[inline(always)]
    fn commit(self, effect: Effect<'m, W>, faults: &mut Faults) -> Option<Progress> {
        if !faults.is_empty() {
            return None;
        }
        match effect {
            Effect::Store(place, value) => {
                place.store(value, faults);
                // A store that fails has stored nothing.
                faults.is_empty().then_some(Progress::Complete)
            }
            Effect::Record(place, value, top) => {
                self.prepare(0, (place, value), faults);
                self.commit_record(Commit::new(1, &[top]), faults)?;
                place.store(value, faults);
                self.head.store_32(TOPS + 4 * u64::from(top.class), top.blocks, faults);
                Some(self.clear_record(faults))
            }
            Effect::Both(words) => {
                self.prepare(0, words[0], faults);
                self.prepare(1, words[1], faults);
                self.commit_record(Commit::new(2, &[]), faults)?;
                for (place, value) in words {
                    place.store(value, faults);
                }
                Some(self.clear_record(faults))
            }
        }
    }

    /// Writes an entry of a record that is not committed.
    #[inline(always)]
    fn prepare(self, index: u64, (place, value): (Place<'m, W>, u64), faults: &mut Faults) {
        self.head.store(ENTRIES + 16 * index, place.at, faults);
        self.head.store(ENTRIES + 16 * index + 8, value, faults);
    }

    #[inline(always)]
    fn commit_record(self, commit: Commit, faults: &mut Faults) -> Option<()> {
        // Nothing of the record counts before it is whole.
        if faults.is_empty() {
            self.head.store(COMMIT, commit.0, faults);
        }
        faults.is_empty().then_some(())
    }

    /// Clears a record, if it has been applied.
    ///
    /// Until then, recovery repeats its stores. The lock stays held as long: a record that is applied again must not meet
    /// newer values.
    #[inline(always)]
    fn clear_record(self, faults: &mut Faults) -> Progress {
        if faults.is_empty() {
            self.head.store(COMMIT, 0, faults);
        }
        match faults.is_empty() {
            true => Progress::Complete,
            false => Progress::Committed,
        }
    }

    /// Releases a lock. Returns `false` if an access has failed.
    #[inline(always)]
    fn release(self, held: Held<'m, W>, faults: &mut Faults) -> bool {
        held.place.store(held.word.released(Outcome::Changed).0, faults);
        // After the lock: the list is what leads to it.
        if faults.is_empty() {
            self.head.store(LISTED, 0, faults);
        }
        faults.is_empty()
    }
}

impl<M: Machine> Allocator<'_, M> {
    /// Acquires a lock for a change with the area of a lane of this thread, which has no other change that is not
    /// complete. Returns `None` if the lock is not free.
    #[inline(always)]
    pub(super) fn acquire_at_once<'m, W: Writable>(
        &self,
        access: AtOnce<'m, W>,
        lock: u32,
        faults: &mut Faults,
    ) -> Option<Held<'m, W>> {
        let at = self.space.locks.word(lock);
        match access.acquire(at, self.area.lane, faults)? {
            Some(held) => Some(held),
            None => self.give_up(),
        }
    }

    /// Makes a change under a lock, and releases the lock. Without an effect, gives the change up. Returns `None` if
    /// nothing has changed.
    #[inline(always)]
    pub(super) fn make_at_once<'m, W: Writable>(
        &self,
        access: AtOnce<'m, W>,
        held: Held<'m, W>,
        effect: Option<Effect<'m, W>>,
        faults: &mut Faults,
    ) -> Option<Result<()>> {
        let progress = match effect {
            Some(effect) => access.commit(effect, faults),
            None => None,
        };
        match progress {
            Some(Progress::Complete) if access.release(held, faults) => Some(Ok(())),
            Some(_) => Some(self.finish()),
            None => self.give_up(),
        }
    }

    /// Ends a change that is not committed.
    #[inline(always)]
    fn give_up<R>(&self) -> Option<R> {
        // If this fails, the lock stays held until the lane's next change, or the end of this process.
        let _ = self.finish();
        None
    }

    /// Completes what the lane began.
    #[inline(always)]
    fn finish(&self) -> Result<()> {
        let LaneArea { at, lane, body } = self.area;
        finish(self.machine, self.space, (at, lane, body))
    }
}

/// Completes what a lane began.
///
/// The area is not passed as a whole, and therefore not put together before it is needed here.
#[cold]
fn finish<M: Machine>(machine: &M, space: &Space, area: (u64, u32, u64)) -> Result<()> {
    let (at, lane, body) = area;
    complete(machine, space, LaneArea { at, lane, body })
}
