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

use std::time::Duration;

use crate::error::{ErrorKind, Result};
use crate::peer::{Announced, Machine, Slot};
use crate::sync::core::announcement::Kind;
use crate::sync::core::double_buffer::{DoubleBuffer, LastStore, is_word};
use crate::sync::core::gate::{self, Wake};
use crate::sync::core::unlock::{self, Unlock, Waiting};
use crate::sync::core::waiter::{Change, OWNED, Waiter};
use crate::sync::core::word::{self, AcquireRequest, Acquired, DIED, LANE, POISONED, named};

// Offsets in the lock. Its first four bytes are the word.
const GATE: u64 = 4;
const SELECTOR: u64 = 8;

/// A mutex in an object: its offset, and the length of its value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawMutex {
    at: u64,
    len: u32,
}

/// The proof that this thread acquired a lock's word.
///
/// Two numbers, which the compiler keeps in registers. A structure of three numbers would be written to
/// memory and read back in pieces of another size, which stalls the processor.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(crate) struct Acquisition {
    /// The slot of the announcement.
    slot: u64,
    /// The lane in the low half, and the word as it was found in the high half.
    lane_and_word: u64,
}

impl Acquisition {
    /// Creates the proof for the lane of `announced`, which acquired the word `found`.
    #[inline(always)]
    pub(in crate::sync) fn of(announced: Announced, found: u32) -> Self {
        let lane_and_word = u64::from(announced.lane) | u64::from(found) << 32;
        Self { slot: announced.slot, lane_and_word }
    }

    /// Returns the announcement of the lock.
    #[inline(always)]
    pub(in crate::sync) fn announced(self) -> Announced {
        Announced { lane: self.lane(), slot: self.slot }
    }

    /// Returns the word as it was found: free, with the flags of the owners before.
    #[inline(always)]
    pub(in crate::sync) fn found(self) -> u32 {
        (self.lane_and_word >> 32) as u32
    }

    /// Returns the lane that the word names.
    #[inline(always)]
    pub(crate) fn lane(self) -> u32 {
        self.lane_and_word as u32
    }

    /// Returns `true` if an owner died or panicked, and no owner since has marked the value consistent.
    #[inline(always)]
    pub(crate) fn died(self) -> bool {
        self.found() & DIED != 0
    }

    /// Returns the state in which an owner that changes nothing must release the lock.
    #[inline(always)]
    pub(crate) fn leave(self) -> ReleaseState {
        ReleaseState::as_found(self.found())
    }
}

/// What an attempt did to a lock's word before it met something unusual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// It exchanged the word from 0. The accesses after that may have faulted.
    Acquired,
    /// It changed nothing: the word was not 0, or could not be accessed.
    Refused,
}

impl Attempt {
    /// Returns what an attempt with the result `found` did, as [`Machine::acquire_and_load`] returned it.
    #[inline(always)]
    pub(crate) fn of(found: u64) -> Self {
        if found == 0 { Self::Acquired } else { Self::Refused }
    }

    /// Returns `true` if the attempt acquired the word and the word still names the lane. Loads the word only after
    /// such an attempt.
    ///
    /// The word alone does not tell whether it did: it names the lane, too, if this thread held the lock before.
    pub(crate) fn is_held<W: Machine>(
        self,
        machine: &W,
        unlock: Unlock,
        announced: Announced,
    ) -> Result<bool> {
        Ok(self == Self::Acquired && unlock.is_held(machine, announced)?)
    }
}

/// Whether a request acquires a poisoned lock. As a number: the flags that it refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Poison {
    Refuse = POISONED,
    Accept = 0,
}

/// The state in which a lock is released. As a number: the flags of the free word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum ReleaseState {
    /// The value is consistent.
    Sound = 0,
    /// The next owner gets `OwnerDied`.
    Died = DIED,
    /// Only an owner that accepts poison may acquire the lock.
    Poisoned = POISONED,
}

impl ReleaseState {
    /// Returns the state that the flags of a word express. Poison hides a death.
    #[inline(always)]
    pub(crate) fn as_found(word: u32) -> Self {
        match word & (POISONED | DIED) {
            0 => Self::Sound,
            DIED => Self::Died,
            _ => Self::Poisoned,
        }
    }
}

impl RawMutex {
    /// The offset in the lock of the value's first copy, the current one of a new mutex.
    pub(crate) const VALUE: u64 = 16;

    /// Describes the mutex at offset `at`, a multiple of 16, with a value of `len` bytes.
    #[inline(always)]
    pub(crate) fn new(at: u64, len: u32) -> Self {
        Self { at, len }
    }

    /// Returns the size of a mutex with a value of `len` bytes. All zeros are a free mutex, with a
    /// value of zeros.
    pub(crate) const fn size(len: u32) -> u64 {
        Self::VALUE + DoubleBuffer::size(len)
    }

    /// Returns the place of the value.
    #[inline(always)]
    pub(crate) fn value(self) -> DoubleBuffer {
        DoubleBuffer::new(self.at, SELECTOR, Self::VALUE, self.len)
    }

    /// Acquires the mutex, blocking until it is available or the moment `until`.
    ///
    /// Fails with `Poisoned`, `Deadlock`, `Timeout` or `Cancelled`, or with the error of an access or of a
    /// claim of a lane. The mutex is then not held, and not announced.
    #[inline(always)]
    pub(crate) fn lock<W: Machine>(
        self,
        machine: &W,
        until: Option<Duration>,
    ) -> Result<Acquisition> {
        self.lock_on(machine, machine, until)
    }

    /// Acquires the mutex like [`lock`](Self::lock), but blocks on `waits`, another machine for the same
    /// object, which knows when waits are cancelled.
    #[inline(always)]
    pub(crate) fn lock_on<W: Machine, P: Machine>(
        self,
        machine: &W,
        waits: &P,
        until: Option<Duration>,
    ) -> Result<Acquisition> {
        // Before the exchange: a word must never name a lane that does not announce it.
        let announced = self.announce(machine)?;
        if self.lock_at_once(machine, named(announced.lane)) {
            return Ok(Acquisition::of(announced, 0));
        }
        self.lock_slowly(waits, announced, until).map(|found| Acquisition::of(announced, found))
    }

    /// Announces the mutex, by a plain store: the exchange of the word makes it visible.
    #[inline(always)]
    pub(crate) fn announce<W: Machine>(self, machine: &W) -> Result<Announced> {
        machine.announce(self.announcement())
    }

    /// Returns the announcement of this mutex.
    #[inline(always)]
    pub(crate) fn announcement(self) -> u64 {
        Kind::Mutex.of(self.at)
    }

    /// Announces the mutex in an empty `slot`, by a plain store.
    ///
    /// This comes before the exchange of the word, and the caller tests for a fault in between: a word must never
    /// name a lane that does not announce it. A plain store suffices, because the exchange cannot become visible
    /// before it. Death between the two: recovery finds nothing to release and only wakes waiters.
    #[inline(always)]
    pub(crate) fn announce_in<M: Machine, S: Slot<M>>(self, machine: &M, slot: S) -> Result<()> {
        slot.store(machine, self.announcement())
    }

    /// Acquires the mutex that `slot` announces, if it is free and consistent. Returns 0 if it has, and what
    /// [`DoubleBuffer::read_after`] needs.
    ///
    /// After an error or a fault, [`lock_again`](Self::lock_again) continues.
    #[inline(always)]
    pub(crate) fn lock_and_load<M: Machine, S: Slot<M>>(
        self,
        machine: &M,
        slot: S,
    ) -> Result<(u64, u64)> {
        if is_word(self.len as usize) {
            machine.acquire_and_load::<{ Self::VALUE }>(self.at, slot.named())
        } else {
            machine.acquire_and_load::<SELECTOR>(self.at, slot.named())
        }
    }

    /// Makes the last store of the value and releases the mutex, consistent ([`unlock::store_and_unlock`]).
    #[inline(always)]
    pub(crate) fn store_and_unlock<M: Machine>(
        self,
        machine: &M,
        last: LastStore,
    ) -> Result<Waiting> {
        unlock::store_and_unlock::<M, { Self::VALUE }, SELECTOR, GATE>(machine, self.at, last)
    }

    /// Acquires the mutex after [`lock_and_load`](Self::lock_and_load) met something unusual: the mutex is
    /// held by another thread, an access faulted, or the value is not valid. Blocks until the mutex is available
    /// or the moment `until`.
    ///
    /// If the word cannot be loaded after the attempt acquired it, the announcement stays: recovery must find the
    /// word. After other errors, the announcement is withdrawn.
    pub(crate) fn lock_again<W: Machine>(
        self,
        machine: &W,
        announced: Announced,
        attempt: Attempt,
        until: Option<Duration>,
    ) -> Result<Acquisition> {
        if attempt.is_held(machine, self.unlocking(ReleaseState::Sound), announced)? {
            return Ok(Acquisition::of(announced, 0));
        }
        self.lock_slowly(machine, announced, until).map(|found| Acquisition::of(announced, found))
    }

    /// Acquires the mutex in the name `mine`, if it is free and consistent. The lane has announced it.
    ///
    /// Returns `false` also after a fault, which [`lock_slowly`](Self::lock_slowly) meets again and reports.
    #[inline(always)]
    pub(crate) fn lock_at_once<W: Machine>(self, machine: &W, mine: u32) -> bool {
        matches!(machine.compare_exchange_32(self.at, 0, mine), Ok(0))
    }

    /// Acquires the mutex after [`lock_at_once`](Self::lock_at_once) failed, blocking until it is available or
    /// the moment `until`. Returns the word as it was found. After an error, the announcement is withdrawn.
    #[cold]
    #[inline(never)]
    pub(crate) fn lock_slowly<W: Machine>(
        self,
        machine: &W,
        announced: Announced,
        until: Option<Duration>,
    ) -> Result<u32> {
        self.contend(machine, announced, until, Poison::Refuse)
    }

    /// Acquires the mutex like [`lock`](Self::lock), but also if it is poisoned.
    pub(crate) fn lock_poisoned<W: Machine>(
        self,
        machine: &W,
        until: Option<Duration>,
    ) -> Result<Acquisition> {
        let announced = self.announce(machine)?;
        let found = self.contend(machine, announced, until, Poison::Accept)?;
        Ok(Acquisition::of(announced, found))
    }

    /// Acquires the mutex that `announced` announces, blocking until it is available or the moment
    /// `until`. Returns the word as it was found. After an error, the announcement is withdrawn.
    fn contend<W: Machine>(
        self,
        machine: &W,
        announced: Announced,
        until: Option<Duration>,
        poison: Poison,
    ) -> Result<u32> {
        let mut waiter = self.waiter(until);
        let acquired = word::acquire(
            machine,
            AcquireRequest::new(self.at, announced, poison as u32),
            &mut waiter,
        );
        if let Ok(Acquired::Owned(word)) = acquired {
            // The wake cleared the bit for all waiters, but woke only this one. The mutex is held whether
            // or not this succeeds: if the memory is gone, the owner's next access reports it.
            let _ = waiter.restore_sleeper_bit(machine);
            return Ok(word);
        }
        // The wake may have been meant for a waiter that can still acquire the mutex. The announcement is
        // withdrawn afterwards, so that a death in between makes recovery wake all waiters.
        let _ = waiter.wake_next(machine, || Ok(machine.load_32(self.at)? & LANE == 0));
        let _ = machine.withdraw(announced);
        Err(acquired.err().unwrap_or_else(|| waiter.error(ErrorKind::Poisoned)))
    }

    fn waiter(self, until: Option<Duration>) -> Waiter {
        Waiter::new("lock the mutex", self.at, self.at + GATE, Change::Plain, OWNED, until)
    }

    /// Acquires the mutex without blocking. Returns `None` if this thread or another holds it.
    ///
    /// A dead owner is detected, though not necessarily by the first call. Fails with `Poisoned`, or with the
    /// error of an access or of a claim of a lane.
    #[inline]
    pub(crate) fn try_lock<W: Machine>(self, machine: &W) -> Result<Option<Acquisition>> {
        let announced = self.announce(machine)?;
        if self.lock_at_once(machine, named(announced.lane)) {
            return Ok(Some(Acquisition::of(announced, 0)));
        }
        self.try_slowly(machine, announced)
    }

    #[cold]
    #[inline(never)]
    fn try_slowly<W: Machine>(
        self,
        machine: &W,
        announced: Announced,
    ) -> Result<Option<Acquisition>> {
        let request = AcquireRequest::new(self.at, announced, POISONED);
        let acquired = word::try_acquire(machine, request);
        if let Ok(Some(Acquired::Owned(word))) = acquired {
            return Ok(Some(Acquisition::of(announced, word)));
        }
        // This thread has not slept, so it has consumed no wake.
        let _ = machine.withdraw(announced);
        match acquired? {
            None => Ok(None),
            Some(_) => Err(self.waiter(None).error(ErrorKind::Poisoned)),
        }
    }

    /// Releases the mutex in the state `leave`. The caller has written the value.
    ///
    /// After an error the mutex is released nevertheless, unless the word could not be stored: then it stays
    /// held, and recovery releases it when this process has ended.
    #[inline(always)]
    pub(crate) fn unlock<W: Machine>(
        self,
        machine: &W,
        held: Acquisition,
        leave: ReleaseState,
    ) -> Result<()> {
        self.unlocking(leave).run(machine, held.announced())
    }

    /// Returns the release in the state `leave`, for callers that take its steps one by one.
    #[inline(always)]
    pub(crate) fn unlocking(self, leave: ReleaseState) -> Unlock {
        let (flags, gate) = (leave as u32, self.at + GATE);
        Unlock { word: self.at, flags, gate, wake: Wake::One }
    }
}

/// Recovers a mutex that the dead `lane` announced: the lane held it, requested it, or was releasing it.
///
/// Also recovers a once, which has its word and gate in the same places. May be repeated from the beginning.
pub(crate) fn recover<W: Machine>(machine: &W, at: u64, lane: u32) -> Result<()> {
    // The word before the gate: a woken waiter must find the mutex free.
    word::release_dead_owner(machine, at, lane)?;
    gate::wake_all_after_recovery(machine, at + GATE)
}
