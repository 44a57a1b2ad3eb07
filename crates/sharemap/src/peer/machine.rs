//! What the locks need of the world, so that each is written once: for guarded memory, and for the
//! explorer that schedules, delays stores and kills.

use std::time::Duration;

use crate::error::Result;

/// Announcements that a lane has room for: consecutive 64-bit words.
pub(crate) const SLOTS: u64 = 7;

/// The bits of an announcement that say what is announced; the offset is a multiple of 16.
pub(crate) const KIND_MASK: u64 = 0xf;

/// The bits of an announcement that are an offset into the object. The 16 above belong to the
/// algorithm.
pub(crate) const OFFSET_MASK: u64 = (1 << 48) - 1 - KIND_MASK;

/// A place in a lane where something is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    /// The lane that announces, and so the one to name in a lock word: a thread that holds much has
    /// several.
    pub(crate) lane: u32,
    /// The offset of the slot.
    pub(crate) slot: u64,
}

/// What is known of a lane's participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Liveness {
    /// It lives, or somebody else is recovering it.
    Alive,
    /// It was dead, and all that it had announced has been recovered: by this call, or before it.
    Recovered,
}

/// One thread's access to one object that processes share. Offsets are from the start of the object,
/// those of words multiples of their size.
///
/// Loads acquire, stores release, all other operations on words are sequentially consistent; none is
/// left out, merged or moved by the compiler. Where memory is gone, the error is a fault.
pub(crate) trait Machine {
    /// Slots to look at in each lane.
    const SLOTS: u64 = SLOTS;

    fn load_32(&self, at: u64) -> Result<u32>;
    /// A plain release store.
    fn store_32(&self, at: u64, value: u32) -> Result<()>;
    /// A plain release store, then a load elsewhere.
    #[inline]
    fn store_and_load_32(&self, at: u64, value: u32, elsewhere: u64) -> Result<u32> {
        self.store_32(at, value)?;
        self.load_32(elsewhere)
    }
    fn swap_32(&self, at: u64, value: u32) -> Result<u32>;
    /// Gives the value found; it was replaced if it is `current`.
    fn compare_exchange_32(&self, at: u64, current: u32, new: u32) -> Result<u32>;

    fn load_64(&self, at: u64) -> Result<u64>;
    /// A plain release store.
    fn store_64(&self, at: u64, value: u64) -> Result<()>;
    fn swap_64(&self, at: u64, value: u64) -> Result<u64>;
    /// Gives the value found; it was replaced if it is `current`.
    fn compare_exchange_64(&self, at: u64, current: u64, new: u64) -> Result<u64>;

    /// Copies a value out. Not atomic; before and after it other accesses stay where they are.
    fn read(&self, at: u64, into: &mut [u8]) -> Result<()>;
    /// Copies a value in, with the same promise.
    fn write(&self, at: u64, from: &[u8]) -> Result<()>;

    /// Lanes that the object has.
    fn lanes(&self) -> u32;
    /// The offset of a lane's first announcement; of lane 0 for a number out of range, so that what
    /// a scribbled word names is never out of bounds.
    fn slots(&self, lane: u32) -> u64;
    /// Whether the lane is one of this thread's.
    fn is_own(&self, lane: u32) -> bool;
    /// Stores `what` into a free slot of this thread, plainly. Waits a bounded time for a lane if all
    /// are taken.
    fn announce(&self, what: u64) -> Result<Announced>;
    /// The same by an exchange: what is loaded afterwards is loaded after it is visible.
    fn announce_seq_cst(&self, what: u64) -> Result<Announced>;
    /// The slot of this thread that holds `what` exactly.
    fn announced(&self, what: u64) -> Result<Option<Announced>>;
    /// Empties a slot of this thread by a plain release store.
    fn withdraw(&self, announced: Announced) -> Result<()>;

    /// Whether a plain store may release: this process is registered for [`Machine::fence_all`].
    fn stores_release(&self) -> bool;
    /// A full fence on every registered thread of the system, and on this one. `false` if the system
    /// refused.
    fn fence_all(&self) -> bool;
    /// Sleeps while the word is `expected`, at most so long. May return early, for no reason.
    fn wait(&self, at: u64, expected: u32, at_most: Duration) -> Result<()>;
    /// Wakes so many of those who sleep on the word; gives how many, at least where it is none.
    fn wake(&self, at: u64, how_many: u32) -> Result<u32>;
    /// Sleeps, registered nowhere.
    fn nap(&self, time: Duration);
    /// One turn of a loop that waits for another processor; `false` when sleeping is the better way
    /// to go on (`turn` counts from 0).
    fn spin(&self, turn: u32) -> bool;

    /// Finds out whether the lane's participant lives; recovers it if it is dead. A lane nobody owns
    /// is recovered.
    fn probe_liveness(&self, lane: u32) -> Result<Liveness>;
    /// The same, but not more than about once a millisecond: for those who only try.
    fn probe_throttled(&self, lane: u32) -> Result<Liveness>;

    /// Monotonic time since some moment of the world's own.
    fn now(&self) -> Duration;
    /// Milliseconds since some moment that is the same for all processes, the low 32 bits; not 0.
    fn milliseconds(&self) -> u32;
    /// Says, for people who look on, since when this thread sleeps; 0: no more. Nothing depends on it.
    fn note_wait(&self, since: u32);
    /// Returns `true` if waits through this world must fail with `Cancelled`.
    fn is_cancelled(&self) -> bool {
        false
    }

    /// Sets bits; gives the value before.
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

    /// Adds one; from the last number it goes to 0.
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

    /// Sets bits; gives the value before.
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

/// Functions of a [`Machine`] as a field has them, by groups.
macro_rules! delegate_world {
    ($of:ident: $($group:ident)*) => { $( delegate_world!(@ $group $of); )* };
    (@ words $of:ident) => { delegate_world! { @ each $of
        fn load_32(at: u64) -> Result<u32>;
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
        fn spin(turn: u32) -> bool;
    } };
    (@ others $of:ident) => { delegate_world! { @ each $of
        fn wake(at: u64, how_many: u32) -> Result<u32>;
        fn probe_liveness(lane: u32) -> Result<Liveness>;
        fn probe_throttled(lane: u32) -> Result<Liveness>;
        fn now() -> Duration;
        fn milliseconds() -> u32;
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
