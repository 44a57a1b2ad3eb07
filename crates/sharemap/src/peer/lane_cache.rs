//! Lane caches: this process's private records of the lanes that its threads have claimed.
//!
//! If the system can wipe memory on fork, they lie in memory that a forked child finds empty. Then one load
//! tells that a lane belongs to this process and not to its parent, or that a slot of such a lane is
//! empty.

#![allow(unsafe_code, reason = "fields in memory that a child finds empty, and a word of a lane")]

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use crate::guard::{self, AtomicWord};
use crate::peer::machine::{Announced, SLOTS};
use crate::sys::{fence, fork};

/// The private record of one lane, on cache lines of its own. All zeros: no thread of this process has the
/// lane.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct LaneCache {
    /// [`VALID`] or [`PLAIN`] if the lane is this process's, which needs no further check. 0 if it is not, or
    /// if a forked child may have a copy of the record ([`fork::wipes`] is `false`): then the thread's number
    /// and the process's participant decide.
    valid: AtomicU32,
    /// The lane's number plus one, as lock words have it.
    pub(super) named: AtomicU32,
    /// The bit that stands for the lane and every 32nd lane from it.
    pub(super) group: AtomicU32,
    /// The address at which the lane is mapped.
    pub(super) address: AtomicPtr<u8>,
    /// At index 1 to 7: the address of this slot of the lane, if the slot is empty and the record valid;
    /// null: it is in use, or must be looked at.
    ///
    /// Only the lane's thread changes these addresses. The thread fills a slot that has one without a look at the
    /// slot. After a fault, such a slot may still announce a lock that is not held any more.
    ready: [AtomicPtr<u8>; 1 + SLOTS as usize],
    /// The number of the thread that has the lane; 0: none.
    pub(super) thread: AtomicU64,
    /// The lane's offset in the object.
    pub(super) offset: AtomicU64,
}

/// The lane is this process's.
const VALID: u32 = 1;
/// The lane is this process's, and the process may release locks by plain stores.
const PLAIN: u32 = 2;

impl LaneCache {
    /// Returns `true` if the record alone tells that the lane is this process's. A result of `false` decides
    /// nothing where a forked child may have a copy of the record.
    #[inline(always)]
    pub(super) fn is_valid(&self) -> bool {
        self.valid.load(Ordering::Relaxed) != 0
    }

    /// Makes the record valid, where no forked child can have a copy of it. All other fields must be set, and
    /// all slots of the lane empty.
    pub(super) fn set_valid(&self) {
        if !fork::wipes() {
            return;
        }
        let valid = if fence::is_registered() { PLAIN } else { VALID };
        self.valid.store(valid, Ordering::Relaxed);
        for index in 1..self.ready.len() {
            self.slot(index).put_back();
        }
    }

    /// Makes the record invalid, before its lane is released.
    pub(super) fn clear_valid(&self) {
        self.valid.store(0, Ordering::Relaxed);
        self.ready.iter().for_each(|slot| slot.store(std::ptr::null_mut(), Ordering::Relaxed));
    }

    /// Returns an empty slot, and records it as in use. `None` if none of the first slots is known to be empty.
    ///
    /// Looks at two slots: a thread that holds one lock acquires another one as fast.
    #[inline(always)]
    pub(super) fn take_ready(&self) -> Option<AnnouncementRef<'_>> {
        self.take(1).or_else(|| self.take(2))
    }

    /// Returns an empty slot like [`take_ready`](Self::take_ready), but looks at all slots.
    pub(super) fn take_any(&self) -> Option<AnnouncementRef<'_>> {
        (1..self.ready.len()).find_map(|index| self.take(index))
    }

    #[inline(always)]
    fn take(&self, index: usize) -> Option<AnnouncementRef<'_>> {
        let address = self.ready[index].load(Ordering::Relaxed);
        self.ready[index].store(std::ptr::null_mut(), Ordering::Relaxed);
        (!address.is_null()).then_some(AnnouncementRef { cache: self, address })
    }

    /// Records that slot `index` is in use.
    pub(super) fn note_use(&self, index: usize) {
        self.ready[index].store(std::ptr::null_mut(), Ordering::Relaxed);
    }

    /// Returns slot `index` of the lane.
    ///
    /// The index must be 1 to 7 and the lane's address set. Neither is checked here.
    #[inline(always)]
    pub(super) fn slot(&self, index: usize) -> AnnouncementRef<'_> {
        let address = self.address.load(Ordering::Relaxed).wrapping_add(index * 8);
        AnnouncementRef { cache: self, address }
    }
}

/// A mapped slot of a lane of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnnouncementRef<'a> {
    pub(super) cache: &'a LaneCache,
    /// The address of the slot, which is a multiple of 8.
    address: *mut u8,
}

impl AnnouncementRef<'_> {
    /// Returns the address of the slot.
    #[inline(always)]
    pub(super) fn address(self) -> *mut u8 {
        self.address
    }

    /// Announces `what` by a plain release store.
    #[inline(always)]
    pub(super) fn put(self, what: u64, fault: &mut usize) {
        // SAFETY: the address is that of a word of a lane, mapped as long as the record is there.
        unsafe { u64::store(self.address, what, Ordering::Release, fault) };
    }

    /// Empties the slot by a plain release store: earlier stores, of a lock's word above all, are visible before
    /// the announcement is gone.
    #[inline(always)]
    pub(super) fn clear(self, fault: &mut usize) {
        // SAFETY: as above.
        unsafe { guard::clear_64(self.address, fault) };
    }

    /// Announces `what` by an exchange: later loads are made after the announcement is visible.
    #[inline(always)]
    pub(super) fn exchange(self, what: u64, fault: &mut usize) {
        // SAFETY: as above.
        unsafe { u64::swap(self.address, what, fault) };
    }

    /// Records that the slot is empty. The record must be valid.
    #[inline(always)]
    pub(super) fn put_back(self) {
        // Lanes lie on multiples of their size, of eight slots.
        let index = self.address.addr() >> 3 & 7;
        self.cache.ready[index].store(self.address, Ordering::Relaxed);
    }

    /// Returns the lane and the offset of the slot.
    #[inline(always)]
    pub(crate) fn announced(self) -> Announced {
        let start = self.cache.address.load(Ordering::Relaxed);
        let offset = (self.address.addr() - start.addr()) as u64;
        let slot = self.cache.offset.load(Ordering::Relaxed) + offset;
        Announced { lane: self.named().wrapping_sub(1), slot }
    }

    /// Returns `true` if the record alone tells that the lane is this process's, and that the process may
    /// release locks by plain stores.
    #[inline(always)]
    pub(crate) fn releases_plainly(self) -> bool {
        self.cache.valid.load(Ordering::Relaxed) == PLAIN
    }

    /// Returns the lane's number plus one, as lock words name it.
    #[inline(always)]
    pub(crate) fn named(self) -> u32 {
        self.cache.named.load(Ordering::Relaxed)
    }
}

/// The records of all lanes of an object. Records that were never written take no memory.
#[derive(Debug)]
pub(super) struct LaneCacheTable {
    /// The record of lane 0, in `memory`. Those of the other lanes follow.
    first: *const LaneCache,
    count: u32,
    /// The lanes that this process or an ancestor has ever claimed, or tried to claim, are below this one.
    tried_below: AtomicU32,
    memory: Arc<fork::WipeOnFork>,
}

// SAFETY: the address is the memory's, which may be used by any thread, as atomics.
unsafe impl Send for LaneCacheTable {}
// SAFETY: as above.
unsafe impl Sync for LaneCacheTable {}

impl LaneCacheTable {
    /// Returns the bytes that the records of `lanes` lanes take.
    pub(super) fn len(lanes: u32) -> usize {
        lanes as usize * size_of::<LaneCache>()
    }

    /// Creates the records of `count` lanes in zeroed `memory`, from byte `first` on, a multiple of 64. The
    /// memory must have room for them.
    pub(super) fn new(memory: Arc<fork::WipeOnFork>, first: usize, count: u32) -> Self {
        let first = memory.base().wrapping_add(first).cast();
        Self { first, count, tried_below: AtomicU32::new(0), memory }
    }

    /// Records that a thread is about to claim `lane`.
    pub(super) fn note_claim(&self, lane: u32) {
        self.tried_below.fetch_max(lane + 1, Ordering::Relaxed);
    }

    /// Returns the number of the first lane that is certainly none of this process's, as are all after it.
    pub(super) fn tried_below(&self) -> u32 {
        self.tried_below.load(Ordering::Relaxed).min(self.count)
    }

    /// Returns the record of `lane` to the thread that has claimed the lane, and may write to the record from now
    /// on. `None` if the number is out of range.
    pub(super) fn claimed(&self, lane: u32) -> Option<&LaneCache> {
        let cache = self.of(lane)?;
        let end = ptr::from_ref(cache).addr() + size_of::<LaneCache>();
        self.memory.note_written(end - self.memory.base().addr());
        Some(cache)
    }

    /// Returns the record of `lane`, or `None` if the number is out of range.
    #[inline(always)]
    pub(super) fn of(&self, lane: u32) -> Option<&LaneCache> {
        // SAFETY: there is a record for each lane, of atomics, of which all zeros are a value; the
        // memory is private and lives as long as this value.
        (lane < self.count).then(|| unsafe { &*self.first.add(lane as usize) })
    }

    /// Empties the records that a fork has copied from the parent, where the system does not wipe them.
    ///
    /// Called by a process before it attaches, when it has no lane of its own.
    pub(super) fn wipe(&self) {
        if fork::wipes() {
            return;
        }
        for cache in (0..self.count).filter_map(|lane| self.of(lane)) {
            cache.thread.store(0, Ordering::Relaxed);
        }
    }
}
