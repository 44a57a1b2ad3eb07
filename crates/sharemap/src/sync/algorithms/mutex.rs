//! The mutex: one owner at a time, and a value that is replaced in one step (FORMAT.md, "Mutex").
//!
//! | Step of `lock` and `unlock` | A death after it leaves | Repaired by |
//! |---|---|---|
//! | announce the mutex | an announcement of a mutex that another lane may hold | recoverer: wakes all |
//! | exchange the word | a word that names the dead lane, the old value | recoverer: sets `DIED`, wakes all |
//! | write the other copy | the same: the selector still names the old copy | as above |
//! | store the selector | a word that names the dead lane, the new value | as above |
//! | store the word | a free word, sleeping waiters | recoverer: wakes all |
//! | wake, withdraw | nothing | |
//!
//! The release stores the word plainly if the process is registered for the waiters' fence, and exchanges it
//! otherwise (`core/unlock.rs`).

use crate::error::Result;
use crate::peer::{Exchange, Machine, Slot};
use crate::sync::algorithms::exclusive::Exclusive;
use crate::sync::core::announcement::Kind;
use crate::sync::core::double_buffer::{LastStore, is_word};
use crate::sync::core::gate::Wake;
use crate::sync::core::unlock::{self, Waiting};

/// A mutex in an object: its offset, and the length of its value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawMutex {
    at: u64,
    len: u32,
}

impl Exclusive for RawMutex {
    const OPERATION: &'static str = "lock the mutex";
    const KIND: Kind = Kind::Mutex;
    const GATE: u64 = 4;
    const WAKE: Wake = Wake::One;
    const SELECTOR: u64 = 8;
    const VALUE: u64 = 16;

    #[inline(always)]
    fn new(at: u64, len: u32) -> Self {
        Self { at, len }
    }

    #[inline(always)]
    fn place(self) -> (u64, u32) {
        (self.at, self.len)
    }

    #[inline(always)]
    fn lock_and_load<M: Machine, S: Slot<M>>(
        self,
        machine: &M,
        slot: S,
    ) -> Result<(Exchange, u64, u64)> {
        let (exchange, lead) = if is_word(self.len as usize) {
            machine.acquire_and_load::<{ Self::VALUE }>(self.at, slot.named())?
        } else {
            machine.acquire_and_load::<{ Self::SELECTOR }>(self.at, slot.named())?
        };
        Ok((exchange, 0, lead))
    }

    #[inline(always)]
    fn store_and_unlock<M: Machine>(self, machine: &M, last: LastStore) -> Result<Waiting> {
        unlock::store_and_unlock::<M, { Self::VALUE }, { Self::SELECTOR }, { Self::GATE }>(
            machine, self.at, last,
        )
    }
}
