//! The ledger of a storm: what the ends are about to do and have done, in memory that the storm does not test.

use std::fmt;
use std::sync::atomic::Ordering::SeqCst;

use sharemap::{Atomic, SharedMemory};

/// The words of the ledger. The first ones are positions in the channel.
#[derive(Clone, Copy, Debug)]
pub enum Word {
    /// The end of what the sender is about to send.
    Begun,
    /// The end of what it has sent.
    Published,
    /// The end of what the receiver has received, in order.
    Recorded,
    /// The end of what it has released.
    Released,
    /// The number of messages that a dead receiver had recorded and not released.
    Again,
    /// 1: the last receiver was dropped.
    Left,
    /// The number of messages that were released, but not recorded before a death.
    Unrecorded,
    /// The number of messages that were published, but not recorded before a death.
    Unnoticed,
    Failed,
}

use Word::{Again, Begun, Failed, Left, Published, Recorded, Released, Unnoticed, Unrecorded};

const WORDS: [Word; 9] =
    [Begun, Published, Recorded, Released, Again, Left, Unrecorded, Unnoticed, Failed];

pub struct Ledger(SharedMemory);

impl Ledger {
    pub fn create(name: &str) -> Self {
        Self(SharedMemory::create_new(name, 8 * WORDS.len() as u64).unwrap())
    }

    pub fn open(name: &str) -> Self {
        Self(SharedMemory::open(name).unwrap())
    }

    fn word(&self, word: Word) -> Atomic<'_, u64> {
        self.0.view().unwrap().atomic(word as usize).unwrap()
    }

    pub fn get(&self, word: Word) -> u64 {
        self.word(word).load(SeqCst).unwrap()
    }

    pub fn set(&self, word: Word, value: u64) {
        self.word(word).swap(value, SeqCst).unwrap();
    }

    pub fn add(&self, word: Word, value: u64) {
        self.word(word).fetch_add(value, SeqCst).unwrap();
    }

    pub fn fail(&self) {
        self.set(Failed, 1);
    }

    pub fn has_failed(&self) -> bool {
        self.get(Failed) != 0
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(WORDS.map(|word| (word, self.get(word)))).finish()
    }
}
