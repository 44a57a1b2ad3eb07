//! Locks with a word that names one owner: the mutex, and the reader-writer lock, held for writing.
//!
//! The owner replaces a value that lies beside the word. The two locks differ in the places of their words, in the
//! number of waiters that a release wakes, and in the readers that a writer waits for.

use std::time::Duration;

use crate::error::{ErrorKind, Result};
use crate::peer::{Announced, Exchange, Machine, Slot};
use crate::sync::core::announcement::Kind;
use crate::sync::core::double_buffer::{DoubleBuffer, LastStore};
use crate::sync::core::gate::{self, Wake};
use crate::sync::core::unlock::{Unlock, Waiting};
use crate::sync::core::waiter::{Change, OWNED, Waiter};
use crate::sync::core::word::{self, AcquireRequest, Acquired, DIED, LANE, POISONED, named};

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

/// A lock with a word that names one owner, and a value of that owner.
pub(crate) trait Exclusive: Copy {
    /// The operation that errors name.
    const OPERATION: &'static str;
    /// The kind by which an owner announces the lock.
    const KIND: Kind;
    /// The offset in the lock of its gate. The word is at offset 0.
    const GATE: u64;
    /// The number of waiters that a release wakes.
    const WAKE: Wake;
    /// The offset in the lock of the value's selector. A lock over elements has their number there.
    const SELECTOR: u64;
    /// The offset in the lock of the value's first copy, the current one of a new lock.
    const VALUE: u64;

    /// Describes the lock at offset `at`, a multiple of 16, with a value of `len` bytes.
    ///
    /// All zeros are a free lock, with a value of zeros.
    fn new(at: u64, len: u32) -> Self;

    /// Returns the lock's offset, and the length of its value.
    fn place(self) -> (u64, u32);

    /// Acquires the lock that `slot` announces, if it is free and consistent, and loads the beginning of the value.
    /// Returns what it did to the word, the groups of lanes that may read, and what [`DoubleBuffer::read_after`]
    /// needs.
    ///
    /// The lock is held exclusively if the word was found 0, no lane may read, and no access faulted. Otherwise,
    /// [`lock_again`](Self::lock_again) continues.
    fn lock_and_load<M: Machine, S: Slot<M>>(
        self,
        machine: &M,
        slot: S,
    ) -> Result<(Exchange, u64, u64)>;

    /// Makes the last store of the value and releases the lock, consistent
    /// ([`unlock::store_and_unlock`](crate::sync::core::unlock::store_and_unlock)).
    fn store_and_unlock<M: Machine>(self, machine: &M, last: LastStore) -> Result<Waiting>;

    /// Returns the request for the word in the name of the lane of `announced`.
    fn request(self, announced: Announced, poison: Poison) -> AcquireRequest {
        AcquireRequest::new(self.place().0, announced, poison as u32)
    }

    /// Waits until no reader holds the lock beside the owner of the word, or the moment `until`. If that fails,
    /// releases the word in the state in which it was found, as this thread has written nothing.
    #[inline(always)]
    fn exclude<W: Machine>(
        self,
        _machine: &W,
        held: Acquisition,
        _until: Option<Duration>,
    ) -> Result<Acquisition> {
        Ok(held)
    }

    /// Returns the place of the value.
    #[inline(always)]
    fn value(self) -> DoubleBuffer {
        let (at, len) = self.place();
        DoubleBuffer::new(at, Self::SELECTOR, Self::VALUE, len)
    }

    /// Returns the announcement of an owner of this lock.
    #[inline(always)]
    fn announcement(self) -> u64 {
        Self::KIND.of(self.place().0)
    }

    /// Announces the lock in an empty `slot`, by a plain store.
    ///
    /// This comes before the exchange of the word, and the caller tests for a fault in between: a word must never
    /// name a lane that does not announce it. A plain store suffices, because the exchange cannot become visible
    /// before it. Death between the two: recovery finds nothing to release and only wakes waiters.
    #[inline(always)]
    fn announce_in<M: Machine, S: Slot<M>>(self, machine: &M, slot: S) -> Result<()> {
        slot.store(machine, self.announcement())
    }

    /// Acquires the lock, blocking until no other thread holds it or the moment `until`.
    #[inline(always)]
    fn lock<W: Machine>(self, machine: &W, until: Option<Duration>) -> Result<Acquisition> {
        self.lock_on(machine, machine, until)
    }

    /// Acquires the lock, blocking on `waits` until no other thread holds it or the moment `until`.
    ///
    /// `waits` is another machine for the same object, which knows when waits are cancelled. Fails with
    /// `Poisoned`, `Deadlock` (this thread holds the lock, even if only for reading), `Timeout` or `Cancelled`,
    /// or with the error of an access or of a claim of a lane. The lock is then not held, and not announced for
    /// this call.
    #[inline(always)]
    fn lock_on<W: Machine, P: Machine>(
        self,
        machine: &W,
        waits: &P,
        until: Option<Duration>,
    ) -> Result<Acquisition> {
        // Before the exchange: a word must never name a lane that does not announce it.
        let announced = machine.announce(self.announcement())?;
        if let Ok(0) = machine.compare_exchange_32(self.place().0, 0, named(announced.lane)) {
            return self.exclude(waits, Acquisition::of(announced, 0), until);
        }
        self.lock_slowly(waits, announced, until, Poison::Refuse)
    }

    /// Acquires the lock after [`lock_and_load`](Self::lock_and_load) did not, or acquired only the word: another
    /// thread holds the lock, an access faulted, or the value is not valid. Blocks until no other thread holds it or
    /// the moment `until`.
    ///
    /// If the word cannot be loaded after the attempt acquired it, the announcement stays: recovery must find the
    /// word. After other errors, the announcement is withdrawn.
    fn lock_again<W: Machine>(
        self,
        machine: &W,
        announced: Announced,
        has_word: bool,
        until: Option<Duration>,
    ) -> Result<Acquisition> {
        // The word alone does not tell: it names the lane, too, if this thread held the lock before.
        if has_word && self.unlocking(ReleaseState::Sound).is_held(machine, announced)? {
            return self.exclude(machine, Acquisition::of(announced, 0), until);
        }
        self.lock_slowly(machine, announced, until, Poison::Refuse)
    }

    /// Acquires the lock like [`lock`](Self::lock), but also if it is poisoned.
    fn lock_poisoned<W: Machine>(
        self,
        machine: &W,
        until: Option<Duration>,
    ) -> Result<Acquisition> {
        let announced = machine.announce(self.announcement())?;
        self.lock_slowly(machine, announced, until, Poison::Accept)
    }

    /// Acquires the lock that `announced` announces, blocking until no other thread holds it or the moment `until`.
    /// After an error, the announcement is withdrawn.
    #[cold]
    #[inline(never)]
    fn lock_slowly<W: Machine>(
        self,
        machine: &W,
        announced: Announced,
        until: Option<Duration>,
        poison: Poison,
    ) -> Result<Acquisition> {
        let request = self.request(announced, poison);
        let held = self.own(machine, request, announced, Self::OPERATION, until)?;
        self.exclude(machine, held, until)
    }

    /// Acquires the word, blocking until the moment `until`. Readers may still hold the lock. After an error,
    /// the announcement is withdrawn.
    fn own<W: Machine>(
        self,
        machine: &W,
        request: AcquireRequest,
        announced: Announced,
        operation: &'static str,
        until: Option<Duration>,
    ) -> Result<Acquisition> {
        let mut waiter = self.owner_waiter(operation, until);
        let acquired = word::acquire(machine, request, &mut waiter);
        if let Ok(Acquired::Owned(word)) = acquired {
            if Self::WAKE == Wake::One {
                // The wake cleared the bit for all waiters, but woke only this one. The lock is held whether or
                // not this succeeds: if the memory is gone, the owner's next access reports it.
                let _ = waiter.restore_sleeper_bit(machine);
            }
            return Ok(Acquisition::of(announced, word));
        }
        if Self::WAKE == Wake::One {
            // The wake may have been meant for a waiter that can still acquire the lock. The announcement is
            // withdrawn afterwards, so that a death in between makes recovery wake all waiters.
            let _ = waiter.wake_next(machine, || Ok(machine.load_32(request.at)? & LANE == 0));
        }
        let _ = machine.withdraw(announced);
        Err(acquired.err().unwrap_or_else(|| waiter.error(ErrorKind::Poisoned)))
    }

    /// Acquires the lock without blocking. Returns `None` if a thread, this one or another, holds it.
    ///
    /// A dead holder is detected, though not necessarily by the first call. Fails with `Poisoned`, or with the
    /// error of an access or of a claim of a lane.
    fn try_lock<W: Machine>(self, machine: &W) -> Result<Option<Acquisition>> {
        let announced = machine.announce(self.announcement())?;
        let request = self.request(announced, Poison::Refuse);
        let Some(held) = self.try_own(machine, request, announced, Self::OPERATION)? else {
            return Ok(None);
        };
        match self.exclude(machine, held, Some(Duration::ZERO)) {
            Ok(held) => Ok(Some(held)),
            Err(error) => match error.kind() {
                ErrorKind::Timeout | ErrorKind::Cancelled | ErrorKind::Deadlock => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// Acquires the word without blocking. Withdraws the announcement if that fails.
    fn try_own<W: Machine>(
        self,
        machine: &W,
        request: AcquireRequest,
        announced: Announced,
        operation: &'static str,
    ) -> Result<Option<Acquisition>> {
        let acquired = word::try_acquire(machine, request);
        if let Ok(Some(Acquired::Owned(word))) = acquired {
            return Ok(Some(Acquisition::of(announced, word)));
        }
        // This thread has not slept, so it has consumed no wake.
        let _ = machine.withdraw(announced);
        match acquired? {
            None => Ok(None),
            Some(_) => Err(self.owner_waiter(operation, None).error(ErrorKind::Poisoned)),
        }
    }

    /// Creates a waiter for the word.
    fn owner_waiter(self, operation: &'static str, until: Option<Duration>) -> Waiter {
        let (at, _) = self.place();
        Waiter::new(operation, at, at + Self::GATE, Change::Plain, OWNED, until)
    }

    /// Releases the lock in the state `leave`. The caller has written the value.
    ///
    /// After an error the lock is released nevertheless, unless the word could not be stored: then it stays
    /// held, and recovery releases it when this process has ended.
    #[inline(always)]
    fn unlock<W: Machine>(self, machine: &W, held: Acquisition, leave: ReleaseState) -> Result<()> {
        self.unlocking(leave).run(machine, held.announced())
    }

    /// Returns the release in the state `leave`, for callers that take its steps one by one.
    #[inline(always)]
    fn unlocking(self, leave: ReleaseState) -> Unlock {
        let (word, _) = self.place();
        Unlock { word, flags: leave as u32, gate: word + Self::GATE, wake: Self::WAKE }
    }

    /// Recovers the lock at offset `at` after the death of a `lane` that announced it: the lane held the word,
    /// requested it, or was releasing it. May be repeated from the beginning.
    fn recover<W: Machine>(machine: &W, at: u64, lane: u32) -> Result<()> {
        // The word before the gate: a woken waiter must find the lock free.
        word::release_dead_owner(machine, at, lane)?;
        gate::wake_all_after_recovery(machine, at + Self::GATE)
    }
}
