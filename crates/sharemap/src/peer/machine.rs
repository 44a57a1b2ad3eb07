//! The interface between lock algorithms and the shared memory, lanes, clock and scheduler that they
//! use.
//!
//! Each algorithm is written once, over [`Machine`]. It runs on a [`Session`](super::Session) or a
//! part of one ([`CheckedSpan`](super::CheckedSpan)), which access guarded memory, and in tests on an explorer
//! that schedules threads, delays their stores and kills processes.

use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use crate::error::Result;
use crate::guard::AtomicWord;

/// The number of slots of a lane: consecutive 64-bit words, each empty (0) or an announcement.
pub(crate) const SLOTS: u64 = 7;

/// The bits of an announcement that are its kind. They are free because offsets are multiples of 16.
pub(crate) const KIND_MASK: u64 = 0xf;

/// The kind of an announcement that a thread keeps until it ends, and that recovery completes before it is withdrawn.
pub(crate) const KEPT: u64 = 14;

/// The kind of the announcement of an end of a channel. The channel's own kind decides what it holds.
pub(crate) const END: u64 = 15;

/// The bits of an announcement that are an offset into the object. The 16 bits above hold a number
/// of the kind's own (FORMAT.md, "What a lane announces").
pub(crate) const OFFSET_MASK: u64 = (1 << 48) - 1 - KIND_MASK;

/// The memory ordering with which an announcement is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnnounceOrdering {
    /// A plain release store, which later loads of this thread may overtake. Suffices before an
    /// atomic exchange of the lock word: the word cannot name the lane before the announcement is
    /// visible.
    Plain,
    /// An atomic exchange: later loads of this thread are made after the announcement is visible.
    /// A reader needs it, because it only loads the lock word (FORMAT.md, "Reader-writer lock").
    Exchange,
}

/// The slot in which a thread has made an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    /// The lane of the slot. The lock's word must name this lane, not another of the same thread:
    /// recovery releases a word only if it names the lane that announces the lock.
    pub(crate) lane: u32,
    /// The offset of the slot.
    pub(crate) slot: u64,
}

/// The result of probing a lane's participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Liveness {
    /// The participant is alive, or another thread or process is recovering it.
    Alive,
    /// The participant was dead and has been recovered, by this call or before it: all that it
    /// announced is released.
    Recovered,
}

/// What [`Machine::acquire_and_load`] did to the word.
///
/// Numbers as the site returns them. Only an acquisition that is not made at once compares the addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    /// The word as it was found; 0 if it was free. Arbitrary if the exchange faulted.
    pub(crate) found: u64,
    /// The address of the word.
    pub(super) word: *mut u8,
    /// The address at which the exchange was made: another one if it faulted.
    pub(super) reached: *mut u8,
}

impl Exchange {
    /// Describes an exchange that did not fault, and found this word.
    pub(crate) fn found(found: u32) -> Self {
        let word = std::ptr::null_mut();
        Self { found: found.into(), word, reached: word }
    }

    /// Returns `true` if the word was 0 and has been exchanged. Accesses after that may have faulted.
    pub(crate) fn has_acquired(self) -> bool {
        self.found == 0 && self.word == self.reached
    }
}

/// The first turn of [`spin`](Machine::spin) in a wait for a lock, which its owner will release.
pub(crate) const OWNED_TURN: u32 = 0;
/// The first turn of [`spin`](Machine::spin) in a wait for what another thread will do, which may have to be woken
/// for that.
pub(crate) const ANSWER_TURN: u32 = 1;

/// One thread's access to one shared object. Offsets are from the start of the object; the offset of
/// a word is a multiple of its size.
///
/// Loads have acquire ordering, stores release ordering, and all other operations on words are
/// sequentially consistent. The compiler neither removes, merges nor reorders any of them. Fails
/// with `Fault` where the memory cannot be accessed; a [`CheckedSpan`](super::CheckedSpan) keeps the fault instead.
pub(crate) trait Machine {
    /// The number of slots of each lane that algorithms search.
    const SLOTS: u64 = SLOTS;

    /// Loads a word.
    fn load_32(&self, at: u64) -> Result<u32>;
    /// Stores a word by a plain release store, which later loads of this thread may overtake.
    fn store_32(&self, at: u64, value: u32) -> Result<()>;
    /// Stores a word by a plain release store, then loads the word at `elsewhere`. The load may
    /// overtake the store.
    #[inline]
    fn store_and_load_32(&self, at: u64, value: u32, elsewhere: u64) -> Result<u32> {
        self.store_32(at, value)?;
        self.load_32(elsewhere)
    }
    /// Stores `mine` in the word at `word` if it is 0, and then loads the 64 bits at `LEAD` behind the word. The
    /// loaded value means nothing if the word was not acquired.
    ///
    /// After an error, the word may have been acquired.
    #[inline]
    fn acquire_and_load<const LEAD: u64>(&self, word: u64, mine: u32) -> Result<(Exchange, u64)> {
        let exchange = Exchange::found(self.compare_exchange_32(word, 0, mine)?);
        Ok((exchange, if exchange.has_acquired() { self.load_64(word + LEAD)? } else { 0 }))
    }
    /// Acquires and loads like [`acquire_and_load`](Self::acquire_and_load), but also loads the 32 bits behind the
    /// word, before the others. Returns them second.
    #[inline]
    fn acquire_and_load_two<const LEAD: u64>(
        &self,
        word: u64,
        mine: u32,
    ) -> Result<(Exchange, u64, u64)> {
        let exchange = Exchange::found(self.compare_exchange_32(word, 0, mine)?);
        if !exchange.has_acquired() {
            return Ok((exchange, 0, 0));
        }
        Ok((exchange, self.load_32(word + 4)?.into(), self.load_64(word + LEAD)?))
    }
    /// Loads the 64 bits at `at`, and then those at `LEAD` behind them.
    #[inline]
    fn load_two<const LEAD: u64>(&self, at: u64) -> Result<(u64, u64)> {
        Ok((self.load_64(at)?, self.load_64(at + LEAD)?))
    }
    /// Stores `lead` at `LEAD` behind the word at `word`, then 0 in the word, by plain release stores. Then loads the
    /// word at `GATE` behind it. The load may overtake the stores.
    ///
    /// After an error, the word may have been released.
    #[inline]
    fn store_and_release<W: LeadWord, const LEAD: u64, const GATE: u64>(
        &self,
        word: u64,
        lead: W,
    ) -> Result<u32> {
        lead.store_on(self, word + LEAD)?;
        self.store_and_load_32(word, 0, word + GATE)
    }
    /// Replaces a word. Returns its previous value.
    fn swap_32(&self, at: u64, value: u32) -> Result<u32>;
    /// Replaces a word if it is `current`. Returns its previous value.
    fn compare_exchange_32(&self, at: u64, current: u32, new: u32) -> Result<u32>;

    /// Loads a word of 64 bits.
    fn load_64(&self, at: u64) -> Result<u64>;
    /// Stores a word of 64 bits by a plain release store.
    fn store_64(&self, at: u64, value: u64) -> Result<()>;
    /// Replaces a word of 64 bits. Returns its previous value.
    fn swap_64(&self, at: u64, value: u64) -> Result<u64>;
    /// Replaces a word of 64 bits if it is `current`. Returns its previous value.
    fn compare_exchange_64(&self, at: u64, current: u64, new: u64) -> Result<u64>;

    /// Grows the object to `len` bytes. May be called again with the same length. Does nothing where the memory has
    /// its greatest length from the beginning.
    fn grow(&self, _len: u64) -> Result<()> {
        Ok(())
    }

    /// Copies bytes out of the object. The copy is not atomic. The compiler does not move other
    /// accesses across it.
    fn read(&self, at: u64, into: &mut [u8]) -> Result<()>;
    /// Copies bytes into the object, under the same terms as [`read`](Self::read).
    fn write(&self, at: u64, from: &[u8]) -> Result<()>;

    /// Executes a fence between loads: all loads before it, also those of [`read`](Self::read), are made before all
    /// loads after it.
    #[inline(always)]
    fn fence_loads(&self) {
        fence(Ordering::Acquire);
    }
    /// Executes a fence between stores: all stores before it are visible before all stores after it, also those of
    /// [`write`](Self::write).
    #[inline(always)]
    fn fence_stores(&self) {
        fence(Ordering::Release);
    }

    /// Returns the number of lanes of the object.
    fn lanes(&self) -> u32;
    /// Returns the offset of the first slot of `lane`. A number out of range, from a corrupted word,
    /// gives that of lane 0, so that slots are never out of bounds.
    fn slots(&self, lane: u32) -> u64;
    /// Returns `true` if `lane` is one of this thread's.
    fn is_own(&self, lane: u32) -> bool;
    /// Stores `what` in an empty slot of this thread's lanes, by a plain release store. Claims a lane
    /// if all slots are in use, waiting for a free lane for about 100 ms.
    fn announce(&self, what: u64) -> Result<Announced>;
    /// Announces like [`announce`](Self::announce), but by an atomic exchange: later loads of this
    /// thread are made after the announcement is visible.
    fn announce_seq_cst(&self, what: u64) -> Result<Announced>;
    /// Returns the slot in which this thread announces exactly `what`.
    fn announced(&self, what: u64) -> Result<Option<Announced>>;
    /// Empties a slot of this thread by a plain release store.
    fn withdraw(&self, announced: Announced) -> Result<()>;

    /// Returns `true` if this process may release locks by plain stores, because it is registered
    /// for [`fence_all`](Self::fence_all).
    fn stores_release(&self) -> bool;
    /// Executes a full fence on this thread and on every running thread of a registered process.
    /// Returns `false` if the system refused.
    fn fence_all(&self) -> bool;
    /// Sleeps while the word is `expected`, for at most `at_most`. May return early without a
    /// reason.
    fn wait(&self, at: u64, expected: u32, at_most: Duration) -> Result<()>;
    /// Wakes `how_many` threads that sleep on the word, or more. Returns 0 if none slept, and a
    /// positive number, not always the exact one, otherwise.
    fn wake(&self, at: u64, how_many: u32) -> Result<u32>;
    /// Sleeps for `time`. No wake ends the sleep.
    fn nap(&self, time: Duration);
    /// Sleeps for `time`, as [`nap`](Self::nap) does. The caller waits while the word of 64 bits at `at` is `word`;
    /// an implementation may end the sleep when it changes.
    fn nap_while(&self, at: u64, word: u64, time: Duration) -> Result<()> {
        let _ = (at, word);
        self.nap(time);
        Ok(())
    }
    /// Waits for one turn before this thread registers to sleep: a pause of the processor, or one offer of it to
    /// other threads. `turn` is [`OWNED_TURN`] or [`ANSWER_TURN`] at first, and then what the previous turn
    /// returned. Returns `None`, without a wait, if it is time to sleep.
    fn spin(&self, turn: u32) -> Option<u32>;

    /// Determines whether the participant of `lane` is alive, and recovers it if it is dead. A lane
    /// without a participant counts as recovered.
    fn probe_liveness(&self, lane: u32) -> Result<Liveness>;
    /// Probes like [`probe_liveness`](Self::probe_liveness), but at most about once per millisecond;
    /// otherwise returns `Alive`. For calls that do not wait, which a caller may repeat in a loop.
    fn probe_throttled(&self, lane: u32) -> Result<Liveness>;

    /// Returns the monotonic time since an arbitrary moment that stays fixed for this machine.
    fn now(&self) -> Duration;
    /// Returns the milliseconds since a moment common to all processes, the low 32 bits. Never 0.
    fn milliseconds(&self) -> u32;
    /// Records in a lane since when this thread sleeps; 0: it does not. For inspection only: no
    /// algorithm reads it.
    fn note_wait(&self, since: u32);
    /// Returns `true` if waits must fail with `Cancelled`.
    fn is_cancelled(&self) -> bool {
        false
    }

    /// Sets `bits` in a word. Returns the word's previous value.
    #[inline]
    fn fetch_or_32(&self, at: u64, bits: u32) -> Result<u32> {
        let mut current = self.load_32(at)?;
        loop {
            let found = self.compare_exchange_32(at, current, current | bits)?;
            if found == current {
                return Ok(found);
            }
            current = found;
        }
    }

    /// Adds one to a word, wrapping around to 0.
    fn increment_32(&self, at: u64) -> Result<()> {
        let mut current = self.load_32(at)?;
        loop {
            let found = self.compare_exchange_32(at, current, current.wrapping_add(1))?;
            if found == current {
                return Ok(());
            }
            current = found;
        }
    }

    /// Sets `bits` in a word. Returns the word's previous value.
    #[inline]
    fn fetch_or_64(&self, at: u64, bits: u64) -> Result<u64> {
        let mut current = self.load_64(at)?;
        loop {
            let found = self.compare_exchange_64(at, current, current | bits)?;
            if found == current {
                return Ok(found);
            }
            current = found;
        }
    }
}

/// A slot in which this thread announces something, and the way to it on a machine of type `M`.
pub(crate) trait Slot<M>: Copy {
    /// Returns the number of the slot's lane plus one, as lock words name it.
    fn named(self) -> u32;
    /// Returns the bit that stands for the slot's lane and every 32nd lane from it.
    #[inline(always)]
    fn group(self) -> u32 {
        1 << ((self.named() - 1) % 32)
    }
    /// Announces `what` by a plain release store, in place of any earlier announcement.
    fn store(self, machine: &M, what: u64) -> Result<()>;
    /// Announces `what` by an exchange: later loads are made after the announcement is visible.
    fn swap(self, machine: &M, what: u64) -> Result<()>;
    /// Empties the slot by a plain release store.
    fn withdraw(self, machine: &M) -> Result<()>;
}

impl<M: Machine> Slot<M> for Announced {
    #[inline(always)]
    fn named(self) -> u32 {
        self.lane + 1
    }

    #[inline(always)]
    fn store(self, machine: &M, what: u64) -> Result<()> {
        machine.store_64(self.slot, what)
    }

    #[inline(always)]
    fn swap(self, machine: &M, what: u64) -> Result<()> {
        machine.swap_64(self.slot, what).map(drop)
    }

    #[inline(always)]
    fn withdraw(self, machine: &M) -> Result<()> {
        machine.withdraw(self)
    }
}

/// A word of 4 or 8 bytes, as methods for both lengths take it.
pub(crate) trait LeadWord: AtomicWord {
    /// Stores the word by a plain release store.
    fn store_on<M: Machine + ?Sized>(self, machine: &M, at: u64) -> Result<()>;
}

impl LeadWord for u32 {
    #[inline(always)]
    fn store_on<M: Machine + ?Sized>(self, machine: &M, at: u64) -> Result<()> {
        machine.store_32(at, self)
    }
}

impl LeadWord for u64 {
    #[inline(always)]
    fn store_on<M: Machine + ?Sized>(self, machine: &M, at: u64) -> Result<()> {
        machine.store_64(at, self)
    }
}

/// Implements named groups of the methods of [`Machine`] by calls to the same methods of a field.
/// `other_words` is the group `words` without `load_32`, and `exchanges` are the exchanges among the words, with
/// `store_64`.
macro_rules! delegate_world {
    ($of:ident: $($group:ident)*) => { $( delegate_world!(@ $group $of); )* };
    (@ words $of:ident) => {
        delegate_world! { @ each $of fn load_32(at: u64) -> Result<u32>; }
        delegate_world!(@ other_words $of);
    };
    (@ other_words $of:ident) => { delegate_world! { @ each $of
        fn store_32(at: u64, value: u32) -> Result<()>;
        fn swap_32(at: u64, value: u32) -> Result<u32>;
        fn compare_exchange_32(at: u64, current: u32, new: u32) -> Result<u32>;
        fn load_64(at: u64) -> Result<u64>;
        fn store_64(at: u64, value: u64) -> Result<()>;
        fn swap_64(at: u64, value: u64) -> Result<u64>;
        fn compare_exchange_64(at: u64, current: u64, new: u64) -> Result<u64>;
        fn read(at: u64, into: &mut [u8]) -> Result<()>;
        fn write(at: u64, from: &[u8]) -> Result<()>;
        fn stores_release() -> bool;
    } };
    (@ exchanges $of:ident) => { delegate_world! { @ each $of
        fn swap_32(at: u64, value: u32) -> Result<u32>;
        fn compare_exchange_32(at: u64, current: u32, new: u32) -> Result<u32>;
        fn store_64(at: u64, value: u64) -> Result<()>;
        fn swap_64(at: u64, value: u64) -> Result<u64>;
        fn compare_exchange_64(at: u64, current: u64, new: u64) -> Result<u64>;
    } };
    (@ lanes $of:ident) => { delegate_world! { @ each $of
        fn lanes() -> u32;
        fn slots(lane: u32) -> u64;
        fn is_own(lane: u32) -> bool;
        fn announce(what: u64) -> Result<Announced>;
        fn announce_seq_cst(what: u64) -> Result<Announced>;
        fn announced(what: u64) -> Result<Option<Announced>>;
        fn withdraw(announced: Announced) -> Result<()>;
    } };
    (@ waits $of:ident) => { delegate_world! { @ each $of
        fn fence_all() -> bool;
        fn wait(at: u64, expected: u32, at_most: Duration) -> Result<()>;
        fn nap(time: Duration) -> ();
        fn spin(turn: u32) -> Option<u32>;
    } };
    (@ others $of:ident) => { delegate_world! { @ each $of
        fn wake(at: u64, how_many: u32) -> Result<u32>;
        fn probe_liveness(lane: u32) -> Result<Liveness>;
        fn probe_throttled(lane: u32) -> Result<Liveness>;
        fn now() -> Duration;
        fn milliseconds() -> u32;
    } };
    (@ notes $of:ident) => { delegate_world! { @ each $of
        fn note_wait(since: u32) -> ();
    } };
    (@ each $of:ident $(fn $name:ident($($given:ident: $type:ty),*) -> $result:ty;)*) => { $(
        #[inline(always)]
        fn $name(&self, $($given: $type),*) -> $result {
            self.$of.$name($($given),*)
        }
    )* };
}
pub(crate) use delegate_world;
