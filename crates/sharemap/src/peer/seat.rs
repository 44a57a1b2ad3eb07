//! What a thread itself remembers of its lane, in memory that a forked child finds empty: one look at
//! it tells whose it is.

#![allow(unsafe_code, reason = "fields in memory that a child finds empty, and a word of a lane")]

use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};

use crate::guard::AtomicWord;
use crate::peer::machine::Announced;
use crate::sys::{fence, fork};

/// What a thread remembers of a lane: a cache line of its own.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Seat {
    /// Whether the lane is this process's: [`SURE`], or [`PLAIN`] where it also releases by plain
    /// stores; 0: it is not, or cannot tell by this alone ([`fork::wipes`]).
    sure: AtomicU8,
    /// The lane's number plus one, as lock words have it.
    pub(super) named: AtomicU32,
    /// The thread's number; 0: nobody's.
    pub(super) thread: AtomicU64,
    /// The lane's offset in the object, and where it is mapped.
    pub(super) offset: AtomicU64,
    pub(super) address: AtomicPtr<u8>,
}

const SURE: u8 = 1;
const PLAIN: u8 = 2;

impl Seat {
    /// Whether one look tells that the lane is this process's.
    #[inline(always)]
    pub(super) fn is_sure(&self) -> bool {
        self.sure.load(Ordering::Relaxed) != 0
    }

    /// Says so, from now on, where it can be told.
    pub(super) fn set_sure(&self) {
        let sure = if fence::is_registered() { PLAIN } else { SURE };
        self.sure.store(if fork::wipes() { sure } else { 0 }, Ordering::Relaxed);
    }

    pub(super) fn clear_sure(&self) {
        self.sure.store(0, Ordering::Relaxed);
    }

    /// The announcement with this number, 1 to 7.
    #[inline(always)]
    pub(super) fn spot(&self, index: usize) -> Spot<'_> {
        Spot { seat: self, marked_address: self.slot(index) }
    }

    /// Where it is mapped.
    #[inline(always)]
    pub(super) fn slot(&self, index: usize) -> *mut u8 {
        self.address.load(Ordering::Relaxed).wrapping_add(index * 8)
    }
}

/// One of a seat's announcements, with a mark for whoever keeps it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot<'a> {
    pub(super) seat: &'a Seat,
    /// Where it is mapped: behind the first word of the lane. Bit 0 is the mark.
    marked_address: *mut u8,
}

impl Spot<'_> {
    #[inline(always)]
    pub(crate) fn marked(self) -> Self {
        Self { marked_address: self.marked_address.map_addr(|address| address | 1), ..self }
    }

    #[inline(always)]
    pub(crate) fn is_marked(self) -> bool {
        self.marked_address.addr() & 1 != 0
    }

    #[inline(always)]
    pub(super) fn address(self) -> *mut u8 {
        self.marked_address.map_addr(|address| address & !1)
    }

    /// Empties it, by a plain store.
    #[inline(always)]
    pub(super) fn clear(self, fault: &mut usize) {
        // SAFETY: the address is that of a word of a lane, mapped as long as the seat is there.
        unsafe { u64::store(self.address(), 0, Ordering::Release, fault) };
    }

    /// What others know it by.
    #[inline(always)]
    pub(crate) fn announced(self) -> Announced {
        let start = self.seat.address.load(Ordering::Relaxed);
        let offset = (self.address().addr() - start.addr()) as u64;
        let slot = self.seat.offset.load(Ordering::Relaxed) + offset;
        Announced { lane: self.seat.named.load(Ordering::Relaxed).wrapping_sub(1), slot }
    }

    /// Whether one look tells that it is this process's, and that this one releases by plain stores.
    #[inline(always)]
    pub(crate) fn is_surely_plain(self) -> bool {
        self.seat.sure.load(Ordering::Relaxed) == PLAIN
    }

    /// The lane, as lock words name it.
    #[inline(always)]
    pub(crate) fn named(self) -> u32 {
        self.seat.named.load(Ordering::Relaxed)
    }
}

/// The seats of all lanes of an object; untouched ones take no memory.
#[derive(Debug)]
pub(super) struct Seats {
    /// One for each lane, in `_memory`.
    first: *const Seat,
    count: u32,
    _memory: Arc<fork::WipeOnFork>,
}

// SAFETY: the address is the memory's, which may be used by any thread, as atomics.
unsafe impl Send for Seats {}
// SAFETY: as above.
unsafe impl Sync for Seats {}

impl Seats {
    pub(super) fn len(lanes: u32) -> usize {
        lanes as usize * size_of::<Seat>()
    }

    /// The memory has room for them from byte `first` on, a multiple of their size.
    pub(super) fn new(memory: Arc<fork::WipeOnFork>, first: usize, count: u32) -> Self {
        let first = memory.base().wrapping_add(first).cast();
        Self { first, count, _memory: memory }
    }

    #[inline(always)]
    pub(super) fn seat(&self, lane: u32) -> Option<&Seat> {
        // SAFETY: there is a seat for each lane, of atomics, of which all zeros are a value; the
        // memory is private and lives as long as this value.
        (lane < self.count).then(|| unsafe { &*self.first.add(lane as usize) })
    }

    /// Empties those copied from a parent, where the system does not.
    pub(super) fn wipe(&self) {
        if fork::wipes() {
            return;
        }
        for seat in (0..self.count).filter_map(|lane| self.seat(lane)) {
            seat.thread.store(0, Ordering::Relaxed);
        }
    }
}
