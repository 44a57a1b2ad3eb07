//! What the storm knows without the locks: words of raw shared memory, in which everybody writes where
//! they are, and whoever kills writes whom, before it does.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sharemap::{Atomic, SharedMemory};

/// One who uses the locks: a place, and the number of the process that is there now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    pub place: usize,
    pub number: u64,
}

/// More than there are workers: the last is the one that is never killed.
pub const PLACES: usize = 8;
pub const UNKILLED: Name = Name { place: PLACES - 1, number: 1 };

/// What only one may be in at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Alone {
    Mutex,
    Writer,
    /// May become the writer.
    Upgrader,
    Once,
}

/// Whether the lock said that an owner died.
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
            // As if value -1 had been replaced by the value 0.
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

    /// Somebody found something wrong, and has said what.
    pub fn fail(&self) {
        self.swap(FAILED, 1);
    }

    pub fn has_failed(&self) -> bool {
        self.load(FAILED) != 0
    }

    /// It is about to be killed.
    pub fn doom(&self, name: Name) {
        self.swap(DOOMED + name.place, name.number);
    }

    fn is_doomed(&self, name: u64) -> bool {
        let name = Name::unpack(name);
        self.load(DOOMED + name.place) >= name.number
    }

    /// One has what is to be had alone.
    pub fn enter(&self, what: Alone, me: Name, told: Told) {
        let before = self.swap(INSIDE + what as usize, me.pack());
        if before == 0 {
            return;
        }
        let name = Name::unpack(before);
        assert!(self.is_doomed(before), "{me:?} is in {what:?} together with {name:?}");
        // An upgrader changed nothing, so nobody is told.
        assert!(
            told == Told::OfDeath || what == Alone::Upgrader,
            "{me:?} in {what:?} was not told of the death of {name:?}"
        );
    }

    /// Whoever died inside is not there any more. Others may be where this one may be, too.
    pub fn release_dead_owner(&self, what: Alone) {
        let inside = self.swap(INSIDE + what as usize, 0);
        assert!(inside == 0 || self.is_doomed(inside), "{:?} is in {what:?}", Name::unpack(inside));
    }

    /// It is about to leave.
    pub fn leave(&self, what: Alone, me: Name) {
        let left = self.swap(INSIDE + what as usize, 0);
        assert_eq!(Name::unpack(left), me, "in {what:?} meanwhile");
    }

    /// A value as it was found: the old one or the new one of whoever was at it last, and the new
    /// one if nobody died.
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

    /// The same by one who may leave it unchanged: whoever comes next is told of no death.
    pub fn check_and_accept(&self, what: Alone, value: &[u64; 6], told: Told) {
        self.check(what, value, told);
        self.swap(BEGAN + what as usize, value[0].wrapping_sub(1));
    }

    /// This value is about to be replaced by the next.
    pub fn begin(&self, what: Alone, value: &[u64; 6]) {
        self.swap(BEGAN + what as usize, value[0]);
    }

    /// One reads.
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

    /// Nobody who lives reads; asked by one who writes.
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

    /// One has a permit, of so many that there are.
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

    /// How often the one in this place has used everything.
    pub fn rounds(&self, place: usize) -> u64 {
        self.load(ROUNDS + place)
    }

    pub fn count_round(&self, me: Name) {
        self.word(ROUNDS + me.place).fetch_add(1, Ordering::SeqCst).unwrap();
    }

    fn turns(&self) -> u64 {
        self.load(TURNS)
    }

    /// One more turn of a loop that only wants a moment of a processor, and so tells how much a
    /// busy machine gives to one who wants one.
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

/// How long is too long: so much time, in which the loop that counts turns has done so many.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub time: Duration,
    pub turns: u64,
}

/// What one who waits has waited, at most.
pub struct Watch<'a> {
    pub witness: &'a Witness,
    pub open_timeout: Patience,
    pub longest: Cell<Duration>,
}

impl Watch<'_> {
    /// Waits for something by calls that wait so long; fails if it takes too long.
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

/// What came of waiting for a lock, with what it told, unless time ran out.
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
