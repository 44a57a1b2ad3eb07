//! Seats: this process's private records of the lanes that its threads have claimed.
//!
//! A seat lies in memory that a forked child finds empty, where the system can wipe memory on fork.
//! There, one load of a seat tells that the lane belongs to this process and not to its parent.

#![allow(unsafe_code, reason = "fields in memory that a child finds empty, and a word of a lane")]

use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};

use crate::guard::AtomicWord;
use crate::peer::machine::Announced;
use crate::sys::{fence, fork};

/// The private record of one lane, on a cache line of its own. All zeros: no thread of this process
/// has the lane.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Seat {
    /// [`SURE`] or [`PLAIN`] if the lane is this process's, which needs no further check. 0 if it is
    /// not, or if a forked child may have a copy of the seat ([`fork::wipes`] is `false`): then the
    /// thread's number and the process's participant decide.
    sure: AtomicU8,
    /// The lane's number plus one, as lock words have it.
    pub(super) named: AtomicU32,
    /// The number of the thread that has the lane; 0: none.
    pub(super) thread: AtomicU64,
    /// The lane's offset in the object.
    pub(super) offset: AtomicU64,
    /// The address at which the lane is mapped.
    pub(super) address: AtomicPtr<u8>,
}

/// The lane is this process's.
const SURE: u8 = 1;
/// The lane is this process's, and the process may release locks by plain stores.
const PLAIN: u8 = 2;

impl Seat {
    /// Returns `true` if the seat alone tells that the lane is this process's. A result of `false`
    /// decides nothing where a forked child may have a copy of the seat.
    #[inline(always)]
    pub(super) fn is_sure(&self) -> bool {
        self.sure.load(Ordering::Relaxed) != 0
    }

    /// Makes the seat valid, where no forked child can have a copy of it. All other fields must be set.
    pub(super) fn set_sure(&self) {
        let sure = if fence::is_registered() { PLAIN } else { SURE };
        self.sure.store(if fork::wipes() { sure } else { 0 }, Ordering::Relaxed);
    }

    /// Makes the seat invalid, before its lane is released.
    pub(super) fn clear_sure(&self) {
        self.sure.store(0, Ordering::Relaxed);
    }

    /// Returns slot `index` of the lane, without a mark.
    ///
    /// The index must be 1 to 7 and the seat's address set. Neither is checked here.
    #[inline(always)]
    pub(super) fn spot(&self, index: usize) -> Spot<'_> {
        Spot { seat: self, marked_address: self.slot(index) }
    }

    /// Returns the address of slot `index`, 1 to 7.
    #[inline(always)]
    pub(super) fn slot(&self, index: usize) -> *mut u8 {
        self.address.load(Ordering::Relaxed).wrapping_add(index * 8)
    }
}

/// A mapped slot of a lane, with one bit, the mark, for the guard that keeps it.
///
/// The guard of a mutex sets the mark if its thread was already panicking when it acquired the mutex:
/// that panic does not count as a failure of the owner.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot<'a> {
    pub(super) seat: &'a Seat,
    /// The address of the slot, which is a multiple of 8. Bit 0 is the mark.
    marked_address: *mut u8,
}

impl Spot<'_> {
    /// Returns the slot with the mark set.
    #[inline(always)]
    pub(crate) fn marked(self) -> Self {
        Self { marked_address: self.marked_address.map_addr(|address| address | 1), ..self }
    }

    /// Returns `true` if the mark is set.
    #[inline(always)]
    pub(crate) fn is_marked(self) -> bool {
        self.marked_address.addr() & 1 != 0
    }

    /// Returns the address of the slot.
    #[inline(always)]
    pub(super) fn address(self) -> *mut u8 {
        self.marked_address.map_addr(|address| address & !1)
    }

    /// Empties the slot by a plain release store: earlier stores, of the lock's word above all, are
    /// visible before the announcement is gone.
    #[inline(always)]
    pub(super) fn clear(self, fault: &mut usize) {
        // SAFETY: the address is that of a word of a lane, mapped as long as the seat is there.
        unsafe { u64::store(self.address(), 0, Ordering::Release, fault) };
    }

    /// Returns the lane and the offset of the slot.
    #[inline(always)]
    pub(crate) fn announced(self) -> Announced {
        let start = self.seat.address.load(Ordering::Relaxed);
        let offset = (self.address().addr() - start.addr()) as u64;
        let slot = self.seat.offset.load(Ordering::Relaxed) + offset;
        Announced { lane: self.seat.named.load(Ordering::Relaxed).wrapping_sub(1), slot }
    }

    /// Returns `true` if the seat alone tells that the lane is this process's, and that the process
    /// may release locks by plain stores.
    #[inline(always)]
    pub(crate) fn is_surely_plain(self) -> bool {
        self.seat.sure.load(Ordering::Relaxed) == PLAIN
    }

    /// Returns the lane's number plus one, as lock words name it.
    #[inline(always)]
    pub(crate) fn named(self) -> u32 {
        self.seat.named.load(Ordering::Relaxed)
    }
}

/// The seats of all lanes of an object. Seats that were never written take no memory.
#[derive(Debug)]
pub(super) struct Seats {
    /// The seat of lane 0, in `_memory`. Those of the other lanes follow.
    first: *const Seat,
    count: u32,
    _memory: Arc<fork::WipeOnFork>,
}

// SAFETY: the address is the memory's, which may be used by any thread, as atomics.
unsafe impl Send for Seats {}
// SAFETY: as above.
unsafe impl Sync for Seats {}

impl Seats {
    /// Returns the bytes that the seats of `lanes` lanes take.
    pub(super) fn len(lanes: u32) -> usize {
        lanes as usize * size_of::<Seat>()
    }

    /// Creates the seats of `count` lanes in zeroed `memory`, from byte `first` on, a multiple of a
    /// seat's size. The memory must have room for them.
    pub(super) fn new(memory: Arc<fork::WipeOnFork>, first: usize, count: u32) -> Self {
        let first = memory.base().wrapping_add(first).cast();
        Self { first, count, _memory: memory }
    }

    /// Returns the seat of `lane`, or `None` if the number is out of range.
    #[inline(always)]
    pub(super) fn seat(&self, lane: u32) -> Option<&Seat> {
        // SAFETY: there is a seat for each lane, of atomics, of which all zeros are a value; the
        // memory is private and lives as long as this value.
        (lane < self.count).then(|| unsafe { &*self.first.add(lane as usize) })
    }

    /// Empties the seats that a fork has copied from the parent, where the system does not wipe them.
    ///
    /// Called by a process before it attaches, when it has no lane of its own.
    pub(super) fn wipe(&self) {
        if fork::wipes() {
            return;
        }
        for seat in (0..self.count).filter_map(|lane| self.seat(lane)) {
            seat.thread.store(0, Ordering::Relaxed);
        }
    }
}
