//! A record of the storm that does not use the locks under test: words of raw shared memory. Each
//! process stores there what it holds, and a killer stores its victim before the kill.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sharemap::{Atomic, SharedMemory};

/// The identity of a process that uses the locks: its place, and its number among the processes
/// that had the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    pub place: usize,
    pub number: u64,
}

/// The number of places. It exceeds the number of workers; the last is the process that is never
/// killed.
pub const PLACES: usize = 8;
pub const UNKILLED: Name = Name { place: PLACES - 1, number: 1 };

/// The kinds of exclusive access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Alone {
    Mutex,
    Writer,
    /// The upgradable reader.
    Upgrader,
    Once,
}

/// Whether the lock reported the death of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Nothing,
    OfDeath,
}

const FAILED: usize = 0;
const TURNS: usize = 1;
const INSIDE: usize = 8;
const BEGAN: usize = INSIDE + 4;
const DOOMED: usize = 16;
const READING: usize = DOOMED + PLACES;
const PERMITTED: usize = READING + PLACES;
const ROUNDS: usize = PERMITTED + PLACES;
const WORDS: usize = ROUNDS + PLACES;

pub struct Witness(SharedMemory);

impl Witness {
    pub fn create(name: &str) -> Self {
        let memory = SharedMemory::create_new(name, 8 * WORDS as u64).unwrap();
        let witness = Self(memory);
        for lock in [Alone::Mutex, Alone::Writer] {
            // The initial value is 0, as if the value -1 had been replaced by it.
            witness.word(BEGAN + lock as usize).store(u64::MAX, Ordering::SeqCst).unwrap();
        }
        witness
    }

    pub fn open(name: &str) -> Self {
        Self(SharedMemory::open(name).unwrap())
    }

    fn word(&self, index: usize) -> Atomic<'_, u64> {
        self.0.view().unwrap().atomic(index).unwrap()
    }

    fn load(&self, index: usize) -> u64 {
        self.word(index).load(Ordering::SeqCst).unwrap()
    }

    fn swap(&self, index: usize, value: u64) -> u64 {
        self.word(index).swap(value, Ordering::SeqCst).unwrap()
    }

    /// Records that a process found a violation and printed it.
    pub fn fail(&self) {
        self.swap(FAILED, 1);
    }

    pub fn has_failed(&self) -> bool {
        self.load(FAILED) != 0
    }

    /// Records that `name` is about to be killed.
    pub fn doom(&self, name: Name) {
        self.swap(DOOMED + name.place, name.number);
    }

    fn is_doomed(&self, name: u64) -> bool {
        let name = Name::unpack(name);
        self.load(DOOMED + name.place) >= name.number
    }

    /// Records that `me` acquired exclusive access, and asserts that no living process has it.
    pub fn enter(&self, what: Alone, me: Name, told: Told) {
        let before = self.swap(INSIDE + what as usize, me.pack());
        if before == 0 {
            return;
        }
        let name = Name::unpack(before);
        assert!(self.is_doomed(before), "{me:?} is in {what:?} together with {name:?}");
        // The death of an upgradable reader is not reported, because it changed nothing.
        assert!(
            told == Told::OfDeath || what == Alone::Upgrader,
            "{me:?} in {what:?} was not told of the death of {name:?}"
        );
    }

    /// Erases the record of an owner that died with exclusive access. Afterwards the death need not
    /// be reported to the next owner.
    pub fn release_dead_owner(&self, what: Alone) {
        let inside = self.swap(INSIDE + what as usize, 0);
        assert!(inside == 0 || self.is_doomed(inside), "{:?} is in {what:?}", Name::unpack(inside));
    }

    /// Records that `me` is about to release its exclusive access.
    pub fn leave(&self, what: Alone, me: Name) {
        let left = self.swap(INSIDE + what as usize, 0);
        assert_eq!(Name::unpack(left), me, "in {what:?} meanwhile");
    }

    /// Asserts that `value` is whole. It must be the last value written, or, after the death of its
    /// writer, either that value or the one before.
    pub fn check(&self, what: Alone, value: &[u64; 6], told: Told) {
        assert!(value.iter().all(|n| *n == value[0]), "half a value in {what:?}: {value:?}");
        let old = self.load(BEGAN + what as usize);
        let new = old.wrapping_add(1);
        assert!(
            value[0] == new || value[0] == old && told == Told::OfDeath,
            "{what:?} has {}, and was changed from {old} to {new} ({told:?})",
            value[0]
        );
    }

    /// Like `check`, for an owner that may leave the value unchanged: marks it consistent, so that
    /// the next owner need not be notified of a death.
    pub fn check_and_accept(&self, what: Alone, value: &[u64; 6], told: Told) {
        self.check(what, value, told);
        self.swap(BEGAN + what as usize, value[0].wrapping_sub(1));
    }

    /// Records that `value` is about to be replaced by its successor.
    pub fn begin(&self, what: Alone, value: &[u64; 6]) {
        self.swap(BEGAN + what as usize, value[0]);
    }

    /// Records that `me` reads, and asserts that no living process writes.
    pub fn start_reading(&self, me: Name, told: Told) {
        self.swap(READING + me.place, me.pack());
        let writer = self.load(INSIDE + Alone::Writer as usize);
        assert!(
            writer == 0 || told == Told::OfDeath && self.is_doomed(writer),
            "{me:?} reads while {:?} writes",
            Name::unpack(writer)
        );
    }

    pub fn stop_reading(&self, me: Name) {
        self.swap(READING + me.place, 0);
    }

    /// Asserts, for the writer `me`, that no living process reads.
    pub fn check_nobody_reads(&self, me: Name) {
        for place in 0..PLACES {
            let reader = self.load(READING + place);
            assert!(
                reader == 0 || self.is_doomed(reader),
                "{me:?} writes while {:?} reads",
                Name::unpack(reader)
            );
        }
    }

    /// Records that `me` holds a permit, and asserts that at most `of` living processes hold one.
    pub fn take_permit(&self, me: Name, of: u32) {
        self.swap(PERMITTED + me.place, me.pack());
        let holders: Vec<u64> = (0..PLACES)
            .map(|place| self.load(PERMITTED + place))
            .filter(|&holder| holder != 0 && !self.is_doomed(holder))
            .collect();
        assert!(holders.len() <= of as usize, "{of} permits, and holders {holders:x?}");
    }

    pub fn give_permit(&self, me: Name) {
        self.swap(PERMITTED + me.place, 0);
    }

    /// Returns how many rounds the processes in `place` have completed.
    pub fn rounds(&self, place: usize) -> u64 {
        self.load(ROUNDS + place)
    }

    pub fn count_round(&self, me: Name) {
        self.word(ROUNDS + me.place).fetch_add(1, Ordering::SeqCst).unwrap();
    }

    fn turns(&self) -> u64 {
        self.load(TURNS)
    }

    /// Counts a turn of a loop that needs a processor only for a moment. The turns show how much
    /// processor time a busy machine gives to one thread.
    pub fn count_turn(&self) {
        self.word(TURNS).fetch_add(1, Ordering::SeqCst).unwrap();
    }
}

impl Name {
    fn pack(self) -> u64 {
        self.number << 8 | self.place as u64
    }

    fn unpack(packed: u64) -> Self {
        Self { place: packed as usize % PLACES, number: packed >> 8 }
    }
}

/// The limit of a wait: at least `time`, in which at least `turns` turns were counted.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub time: Duration,
    pub turns: u64,
}

/// Limits waits, and records the longest.
pub struct Watch<'a> {
    pub witness: &'a Witness,
    pub open_timeout: Patience,
    pub longest: Cell<Duration>,
}

impl Watch<'_> {
    /// Calls `wait` with a timeout until it returns `Some`. Panics when the limit is exceeded.
    pub fn wait<T>(&self, what: &str, mut wait: impl FnMut(Duration) -> Option<T>) -> T {
        let (start, turns) = (Instant::now(), self.witness.turns());
        loop {
            let got = wait(self.open_timeout.time);
            let waited = start.elapsed();
            if let Some(got) = got {
                self.longest.set(self.longest.get().max(waited));
                return got;
            }
            let turns = self.witness.turns() - turns;
            let stuck = waited >= self.open_timeout.time && turns >= self.open_timeout.turns;
            assert!(!stuck, "stuck for {waited:?} ({turns} turns): {what}");
        }
    }
}

/// Unwraps a guard together with whether a death was reported; `None` after a timeout.
macro_rules! in_time {
    ($result:expr) => {
        match $result {
            Ok(guard) => Some((guard, Told::Nothing)),
            Err(LockError::OwnerDied(dead)) => Some((dead.mark_consistent(), Told::OfDeath)),
            Err(LockError::Failed(error)) if error.kind() == ErrorKind::Timeout => None,
            Err(LockError::Failed(error)) => panic!("{error}"),
        }
    };
}
pub(super) use in_time;
