//! Lanes: what a thread holds and asks for, where others can see it.
//!
//! A thread claims a lane with its first announcement, keeps it, and gives it back when it ends if
//! nothing is announced there. What the thread itself remembers of a lane, its *seat*, lies in
//! memory that a forked child finds empty, so that one look at the seat's address tells both.

#![allow(unsafe_code, reason = "fields in memory that a child finds empty")]

use std::cell::{Cell, RefCell};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::peer::header::{LANE, WAITS_SINCE};
use crate::peer::session::Session;
use crate::peer::world::{Announced, SLOTS};
use crate::sys::fork;

/// Bit 0 stands for the word that names the owner, the others for the announcements.
const EMPTY: u32 = 1;
const FULL: u32 = (1 << (SLOTS + 1)) - 1;

/// What a thread remembers of a lane: a cache line of its own.
#[repr(C, align(64))]
struct Seat {
    /// Where the lane is mapped; null: this process does not have it, or cannot tell by this alone
    /// ([`fork::wipes`]).
    fast: AtomicPtr<u8>,
    /// Announcements in use, by bit.
    used: AtomicU32,
    lane: AtomicU32,
    /// The thread's number; 0: nobody's.
    thread: AtomicU64,
    /// The lane's offset in the object, and where it is mapped.
    offset: AtomicU64,
    address: AtomicPtr<u8>,
}

/// The seats of all lanes of an object; untouched ones take no memory.
#[derive(Debug)]
pub(super) struct Seats {
    /// One for each lane, in `_memory`.
    first: *const Seat,
    count: u32,
    _memory: Arc<fork::Wiped>,
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
    pub(super) fn new(memory: Arc<fork::Wiped>, first: usize, count: u32) -> Self {
        let first = memory.base().wrapping_add(first).cast();
        Self { first, count, _memory: memory }
    }

    #[inline(always)]
    fn seat(&self, lane: u32) -> Option<&Seat> {
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

/// Sessions whose last used seat a thread finds at once.
const CACHED: usize = 16;

thread_local! {
    /// Session keys, and seats that are this thread's and have had room.
    static CACHE: [Cell<(u64, *const Seat)>; CACHED] =
        const { [const { Cell::new((0, ptr::null())) }; CACHED] };
    static NUMBER: Cell<u64> = const { Cell::new(0) };
    static OWNED: RefCell<Owned> = const { RefCell::new(Owned { thread: 0, lanes: Vec::new() }) };
}

/// The lanes of a thread, given back when it ends.
struct Owned {
    /// Its number, which may be gone by then.
    thread: u64,
    /// With the sessions' keys.
    lanes: Vec<(u64, Weak<Session>, u32)>,
}

impl Drop for Owned {
    fn drop(&mut self) {
        for (_, session, lane) in self.lanes.drain(..) {
            if let Some(session) = session.upgrade() {
                // What cannot be given back goes with the process.
                let _ = session.give_back(lane, self.thread);
            }
        }
    }
}

/// Never used by another thread.
fn thread_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NUMBER.with(|number| {
        if number.get() == 0 {
            number.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        number.get()
    })
}

/// How an announcement is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Plain,
    /// What is loaded afterwards is loaded after it is visible.
    Exchange,
}

impl Session {
    /// Announces in a free slot of this thread's, by a way to store.
    #[inline(always)]
    pub(super) fn announce_by(&self, what: u64, way: Way) -> Result<Announced> {
        let (key, seat) = CACHE.with(|cache| cache[self.key as usize % CACHED].get());
        if key == self.key {
            // SAFETY: a seat of this session, which has not ended, as it is here.
            let seat = unsafe { &*seat };
            let (lane, used) =
                (seat.fast.load(Ordering::Relaxed), seat.used.load(Ordering::Relaxed));
            if !lane.is_null() && used != FULL {
                return self.announce_in(seat, lane, used, what, way);
            }
        }
        self.announce_slowly(what, way)
    }

    /// In the lane in which this thread announced last: for what it waits for.
    pub(super) fn note_wait_in_lane(&self, since: u32) {
        let (key, seat) = CACHE.with(|cache| cache[self.key as usize % CACHED].get());
        if key != self.key {
            return;
        }
        // SAFETY: a seat of this session, which has not ended, as it is here.
        let seat = unsafe { &*seat };
        if self.is_own_lane(seat.lane.load(Ordering::Relaxed)) {
            // If the memory is gone, whoever waits finds out.
            let _ = self.memory.store(seat.offset.load(Ordering::Relaxed) + WAITS_SINCE, since);
        }
    }

    #[inline(always)]
    fn announce_in(
        &self,
        seat: &Seat,
        lane: *mut u8,
        used: u32,
        what: u64,
        way: Way,
    ) -> Result<Announced> {
        let index = used.trailing_ones();
        let address = lane.wrapping_add(index as usize * 8);
        // SAFETY: a seat has the address of its lane in this session's memory, and the index is that
        // of an announcement, as not all are used.
        unsafe {
            match way {
                Way::Plain => self.memory.store_at(address, what)?,
                Way::Exchange => self.memory.swap_at(address, what)?,
            }
        }
        seat.used.store(used | 1 << index, Ordering::Relaxed);
        let slot = seat.offset.load(Ordering::Relaxed) + u64::from(index) * 8;
        Ok(Announced { lane: seat.lane.load(Ordering::Relaxed), slot })
    }

    #[cold]
    #[inline(never)]
    fn announce_slowly(&self, what: u64, way: Way) -> Result<Announced> {
        let participant = self.participant()?;
        let lane = match self.own_lane(|used| used != FULL) {
            Some(lane) => lane,
            None => self.claim_lane(participant)?,
        };
        let Some(seat) = self.seats.seat(lane) else { return Err(self.no_lane()) };
        CACHE.with(|cache| cache[self.key as usize % CACHED].set((self.key, seat)));
        let (lane, used) =
            (seat.address.load(Ordering::Relaxed), seat.used.load(Ordering::Relaxed));
        self.announce_in(seat, lane, used, what, way)
    }

    /// A lane of this thread's of whose announcements this is true.
    fn own_lane(&self, wanted: impl Fn(u32) -> bool) -> Option<u32> {
        OWNED
            .try_with(|owned| {
                let mut owned = owned.borrow_mut();
                owned.lanes.retain(|(_, session, _)| session.strong_count() > 0);
                owned.lanes.iter().find_map(|&(key, _, lane)| {
                    let seat = self.seats.seat(lane)?;
                    let suits = key == self.key
                        && self.is_own_lane(lane)
                        && wanted(seat.used.load(Ordering::Relaxed));
                    suits.then_some(lane)
                })
            })
            .ok()
            .flatten()
    }

    #[inline]
    pub(super) fn is_own_lane(&self, lane: u32) -> bool {
        self.is_lane_of(lane, NUMBER.get())
    }

    #[inline]
    fn is_lane_of(&self, lane: u32, thread: u64) -> bool {
        let Some(seat) = self.seats.seat(lane) else { return false };
        let owner = seat.thread.load(Ordering::Relaxed);
        owner != 0
            && owner == thread
            && (!seat.fast.load(Ordering::Relaxed).is_null() || self.own.participant().is_some())
    }

    /// Claims the lowest lane that nobody has.
    fn claim_lane(&self, participant: u32) -> Result<u32> {
        const PATIENCE: Duration = Duration::from_millis(100);
        const NAP: Duration = Duration::from_millis(1);
        let mut waited = Duration::ZERO;
        loop {
            for lane in 0..self.header.lanes {
                if !self.inherited.avoids(lane) && self.try_claim_lane(lane, participant)? {
                    return self.sit_down(lane);
                }
            }
            if waited >= PATIENCE {
                return Err(self.no_lane());
            }
            // Those of the dead become free.
            if self.sweep()? == 0 {
                std::thread::sleep(NAP);
                waited += NAP;
            }
        }
    }

    fn try_claim_lane(&self, lane: u32, participant: u32) -> Result<bool> {
        let record = self.header.lane(lane);
        if self.memory.load::<u32>(record)? != 0
            || self.memory.compare_exchange(record, 0, participant + 1)? != 0
        {
            return Ok(false);
        }
        for slot in 1..=SLOTS {
            // Only a scribbler leaves something in a lane that nobody has.
            if self.memory.load::<u64>(record + slot * 8)? != 0 {
                self.memory.store(record, 0u32)?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn sit_down(&self, lane: u32) -> Result<u32> {
        let record = self.header.lane(lane);
        let address = self.memory.at(record, LANE)?;
        let (thread, entry) = (thread_number(), (self.key, Weak::clone(&self.me), lane));
        let Some(seat) = self.seats.seat(lane) else { return Err(self.no_lane()) };
        let noted = OWNED.try_with(|owned| {
            let mut owned = owned.borrow_mut();
            owned.thread = thread;
            owned.lanes.push(entry);
        });
        if noted.is_err() {
            self.memory.store(record, 0u32)?;
            return Err(self
                .named(Error::new(ErrorKind::NoLane, "claim a lane in"))
                .with_detail("the thread is ending, and its destructors have run already"));
        }
        self.inherited.note(lane);
        seat.used.store(EMPTY, Ordering::Relaxed);
        seat.lane.store(lane, Ordering::Relaxed);
        seat.offset.store(record, Ordering::Relaxed);
        seat.address.store(address, Ordering::Relaxed);
        seat.thread.store(thread, Ordering::Relaxed);
        if fork::wipes() {
            seat.fast.store(address, Ordering::Relaxed);
        }
        Ok(lane)
    }

    #[cold]
    fn no_lane(&self) -> Error {
        self.named(Error::new(ErrorKind::NoLane, "claim a lane in"))
            .with_length(self.header.lanes.into())
            .with_detail(format!(
                "its {} lanes are taken, one for every thread that uses it and for every {SLOTS} \
                 locks that a thread holds at once: end threads, or make the object anew with more",
                self.header.lanes
            ))
    }

    /// Empties a slot of this thread's. In a child, and of a lane that is another's, nothing happens.
    #[inline(always)]
    pub(super) fn withdraw_at(&self, announced: Announced) -> Result<()> {
        let Some(seat) = self.seats.seat(announced.lane) else { return Ok(()) };
        let lane = seat.fast.load(Ordering::Relaxed);
        if lane.is_null() {
            return self.withdraw_slowly(seat, announced);
        }
        self.withdraw_in(seat, lane, announced)
    }

    #[inline(always)]
    fn withdraw_in(&self, seat: &Seat, lane: *mut u8, announced: Announced) -> Result<()> {
        let index = (announced.slot >> 3) & 7;
        // SAFETY: a seat has the address of its lane in this session's memory.
        unsafe { self.memory.store_at(lane.wrapping_add(index as usize * 8), 0) }?;
        let used = seat.used.load(Ordering::Relaxed);
        seat.used.store(used & !(1 << index) | EMPTY, Ordering::Relaxed);
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn withdraw_slowly(&self, seat: &Seat, announced: Announced) -> Result<()> {
        if !self.is_own_lane(announced.lane) {
            return Ok(());
        }
        self.withdraw_in(seat, seat.address.load(Ordering::Relaxed), announced)
    }

    pub(super) fn find_announced(&self, what: u64) -> Result<Option<Announced>> {
        let lanes: Vec<u32> = OWNED
            .try_with(|owned| {
                let owned = owned.borrow();
                owned
                    .lanes
                    .iter()
                    .filter(|(key, ..)| *key == self.key)
                    .map(|&(.., lane)| lane)
                    .collect()
            })
            .unwrap_or_default();
        for lane in lanes.into_iter().filter(|&lane| self.is_own_lane(lane)) {
            for index in 1..=SLOTS {
                let slot = self.header.lane(lane) + index * 8;
                if self.memory.load::<u64>(slot)? == what {
                    return Ok(Some(Announced { lane, slot }));
                }
            }
        }
        Ok(None)
    }

    /// Gives a lane of a thread's back that is ending, if nothing is announced there.
    fn give_back(&self, lane: u32, thread: u64) -> Result<()> {
        let Some(seat) = self.seats.seat(lane) else { return Ok(()) };
        if !self.is_lane_of(lane, thread) || seat.used.load(Ordering::Relaxed) != EMPTY {
            return Ok(());
        }
        seat.fast.store(ptr::null_mut(), Ordering::Relaxed);
        seat.thread.store(0, Ordering::Relaxed);
        self.inherited.forget(lane);
        self.memory.store(self.header.lane(lane), 0u32)
    }

    /// Gives all empty lanes of this participant back; whether all were empty.
    pub(super) fn leave_lanes(&self, participant: u32) -> Result<bool> {
        let mut empty = true;
        for lane in 0..self.header.lanes {
            let record = self.header.lane(lane);
            if self.memory.load::<u32>(record)? != participant + 1 {
                continue;
            }
            let mut announces = false;
            for slot in 1..=SLOTS {
                announces |= self.memory.load::<u64>(record + slot * 8)? != 0;
            }
            empty &= !announces;
            if !announces {
                self.memory.store(record, 0u32)?;
            }
        }
        Ok(empty)
    }
}
