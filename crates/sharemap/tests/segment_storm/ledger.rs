//! The ledger of a storm: what each thread is about to do, and what was acknowledged, in memory that the storm does
//! not test.

use std::sync::atomic::Ordering::SeqCst;

use sharemap::{Atomic, SharedMemory};

use crate::subject::KEYS;

/// The number of threads of all processes.
pub const WRITERS: u64 = 6;

const FAILED: u64 = 0;
const READS: u64 = 1;
/// For each writer: {count : 48, key + 1 : 16}, and the key's new value.
const WRITER: u64 = 8;
const VALUES: u64 = WRITER + 2 * WRITERS;
const WORDS: u64 = VALUES + KEYS;

pub struct Ledger(SharedMemory);

/// The operation that a writer has begun and not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    pub key: Option<u64>,
    pub value: u64,
    word: u64,
}

impl Ledger {
    pub fn create(name: &str) -> Self {
        Self(SharedMemory::create_new(name, 8 * WORDS).unwrap())
    }

    pub fn open(name: &str) -> Self {
        Self(SharedMemory::open(name).unwrap())
    }

    fn word(&self, word: u64) -> Atomic<'_, u64> {
        self.0.view().unwrap().atomic(word as usize).unwrap()
    }

    fn load(&self, word: u64) -> u64 {
        self.word(word).load(SeqCst).unwrap()
    }

    fn store(&self, word: u64, value: u64) {
        self.word(word).swap(value, SeqCst).unwrap();
    }

    /// Returns the acknowledged value of a key; 0: it is absent.
    pub fn value(&self, key: u64) -> u64 {
        self.load(VALUES + key)
    }

    /// Returns what a writer is about to do. Two equal results mean that it has ended nothing between them.
    pub fn begun(&self, writer: u64) -> Begun {
        let word = self.load(WRITER + 2 * writer);
        let value = self.load(WRITER + 2 * writer + 1);
        Begun { key: (word & 0xffff).checked_sub(1), value, word }
    }

    /// Returns the number of operations that a writer has begun.
    pub fn count(&self, writer: u64) -> u64 {
        self.load(WRITER + 2 * writer) >> 16
    }

    pub fn begin(&self, writer: u64, key: u64, value: u64) {
        let count = self.count(writer) + 1;
        self.store(WRITER + 2 * writer + 1, value);
        self.store(WRITER + 2 * writer, count << 16 | (key + 1));
    }

    /// Records that the operation has been acknowledged, or what it was found to have done.
    pub fn end(&self, writer: u64, key: u64, value: u64) {
        self.store(VALUES + key, value);
        self.store(WRITER + 2 * writer, self.count(writer) << 16);
    }

    pub fn fail(&self) {
        self.store(FAILED, 1);
    }

    pub fn has_failed(&self) -> bool {
        self.load(FAILED) != 0
    }

    pub fn count_read(&self) {
        self.word(READS).fetch_add(1, SeqCst).unwrap();
    }

    pub fn reads(&self) -> u64 {
        self.load(READS)
    }
}
