//! The ledger of a storm: what each thread has been told of its keys, in memory that the storm does not test.

use std::sync::OnceLock;
use std::sync::atomic::Ordering::SeqCst;

use super::pages::KEYS;
use crate::error::Result;
use crate::shm::SharedMemory;

/// The number of threads of all processes.
pub(super) const WRITERS: u64 = 6;

/// Words of the ledger.
const FAILED: u64 = 0;
const BEGUN: u64 = 1;
const ENDED: u64 = 2;
const GETS: u64 = 3;
const SUMS: u64 = 4;
/// For each writer: {count, key + 1 : 8}, the key's new value, the lane, and the lane's first word.
const WRITER: u64 = 8;
const VALUES: u64 = WRITER + 4 * WRITERS;
const WORDS: u64 = VALUES + KEYS;

/// Acknowledged values, and what each writer is about to do.
pub(super) struct Ledger(SharedMemory);

/// The operation that a writer has begun and not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) key: Option<u64>,
    pub(super) value: u64,
    word: u64,
}

impl Ledger {
    pub(super) fn create(name: &str) -> Self {
        Self(SharedMemory::create_new(name, 8 * WORDS).unwrap())
    }

    pub(super) fn open(name: &str) -> Self {
        Self(SharedMemory::open(name).unwrap())
    }

    fn load(&self, word: u64) -> u64 {
        let words = self.0.view::<u64>().unwrap();
        words.atomic(word as usize).unwrap().load(SeqCst).unwrap()
    }

    fn store(&self, word: u64, value: u64) {
        let words = self.0.view::<u64>().unwrap();
        words.atomic(word as usize).unwrap().swap(value, SeqCst).unwrap();
    }

    fn add(&self, word: u64) {
        let words = self.0.view::<u64>().unwrap();
        words.atomic(word as usize).unwrap().fetch_add(1, SeqCst).unwrap();
    }

    /// Returns the acknowledged value of a key.
    pub(super) fn value(&self, key: u64) -> u64 {
        self.load(VALUES + key)
    }

    /// Returns what a writer is about to do. Two equal results mean that it has ended nothing between them.
    pub(super) fn begun(&self, writer: u64) -> Begun {
        let word = self.load(WRITER + 4 * writer);
        let value = self.load(WRITER + 4 * writer + 1);
        Begun { key: (word & 0xff).checked_sub(1), value, word }
    }

    /// Returns the number of operations that a writer has begun.
    pub(super) fn count(&self, writer: u64) -> u64 {
        self.load(WRITER + 4 * writer) >> 8
    }

    pub(super) fn begin(&self, writer: u64, key: u64, value: u64) {
        let count = self.count(writer) + 1;
        self.store(WRITER + 4 * writer + 1, value);
        self.store(WRITER + 4 * writer, count << 8 | (key + 1));
    }

    /// Records that the operation has been acknowledged, or what it was found to have done.
    pub(super) fn end(&self, writer: u64, key: u64, value: u64) {
        self.store(VALUES + key, value);
        self.store(WRITER + 4 * writer, self.count(writer) << 8);
    }

    /// Records the lane of a writer, and the lane's first word.
    pub(super) fn set_lane(&self, writer: u64, lane: u32, owner: u32) {
        self.store(WRITER + 4 * writer + 2, lane.into());
        self.store(WRITER + 4 * writer + 3, owner.into());
    }

    pub(super) fn lane(&self, writer: u64) -> (u32, u32) {
        let [lane, owner] = [2, 3].map(|word| self.load(WRITER + 4 * writer + word) as u32);
        (lane, owner)
    }

    pub(super) fn fail(&self) {
        self.store(FAILED, 1);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.load(FAILED) != 0
    }

    pub(super) fn count_get(&self) {
        self.add(GETS);
    }

    pub(super) fn count_sum(&self) {
        self.add(SUMS);
    }

    pub(super) fn reads(&self) -> [u64; 2] {
        [self.load(GETS), self.load(SUMS)]
    }

    /// Returns how many recoveries of a lane have begun.
    pub(super) fn recoveries(&self) -> u64 {
        self.load(BEGUN)
    }

    /// Returns how many recoveries of a lane have begun and not ended, also by a death.
    pub(super) fn recovering(&self) -> u64 {
        // In this order: others begin and end recoveries meanwhile.
        let ended = self.load(ENDED);
        self.load(BEGUN) - ended
    }
}

/// The ledger of this process, for recoveries.
pub(super) static LEDGER: OnceLock<Ledger> = OnceLock::new();

/// Calls `recover`, and counts its beginning and its end.
pub(super) fn count_recovery(recover: impl FnOnce() -> Result<()>) -> Result<()> {
    let Some(ledger) = LEDGER.get() else { return recover() };
    ledger.add(BEGUN);
    let result = recover();
    ledger.add(ENDED);
    result
}
