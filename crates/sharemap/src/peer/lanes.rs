//! Lanes: what a thread holds and asks for, where others can see it.
//!
//! A thread claims a lane with its first announcement, keeps it, and gives it back when it ends if
//! nothing is announced there. What the thread itself remembers of a lane is its *seat*.

#![allow(unsafe_code, reason = "fields in memory that a child finds empty")]

use std::cell::{Cell, RefCell};
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{iter, ptr};

use crate::error::{Error, ErrorKind, Result};
use crate::guard::AtomicWord;
use crate::peer::header::{LANE, WAITS_SINCE};
use crate::peer::machine::{Announced, SLOTS};
use crate::peer::participants::BRIEFLY;
use crate::peer::polling::Polling;
use crate::peer::seat::{Seat, Spot};
use crate::peer::session::Session;

/// Sessions whose last claimed seat a thread finds at once.
const CACHED: usize = 16;

thread_local! {
    /// Session keys, and the seats that this thread claimed last there.
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
        // Another thread may have these lanes next, and this one's last destructors may still lock.
        CACHE.with(|cache| cache.iter().for_each(|seat| seat.set((0, ptr::null()))));
        for (_, session, lane) in self.lanes.drain(..) {
            if let Some(session) = session.upgrade() {
                // What cannot be given back goes with the process.
                let _ = session.release_lane(lane, self.thread);
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
pub(super) enum AnnounceOrdering {
    Plain,
    /// What is loaded afterwards is loaded after it is visible.
    Exchange,
}

impl Session {
    /// Announces in a free slot of this thread's, by a way to store.
    ///
    /// A slot is free if it is empty. Who scribbles there takes announcements away, and does no more
    /// harm by that.
    #[inline(always)]
    pub(super) fn announce_by(&self, what: u64, way: AnnounceOrdering) -> Result<Spot<'_>> {
        if let Some(seat) = self.cached_seat() {
            if let Some(spot) = self.fill(seat, 1, what, way)? {
                return Ok(spot);
            }
        }
        self.announce_slow(what, way)
    }

    /// In the lane that this thread claimed last: for what it waits for.
    pub(super) fn note_wait_in_lane(&self, since: u32) {
        let (key, seat) = CACHE.with(|cache| cache[self.key as usize % CACHED].get());
        if key != self.key {
            return;
        }
        // SAFETY: a seat of this session, which has not ended, as it is here.
        let seat = unsafe { &*seat };
        if self.is_seat_of(seat, NUMBER.get()) {
            // If the memory is gone, whoever waits finds out.
            let _ = self.memory.store(seat.offset.load(Ordering::Relaxed) + WAITS_SINCE, since);
        }
    }

    /// Announces with this number in a lane, if that is free.
    #[inline(always)]
    fn fill<'a>(
        &self,
        seat: &'a Seat,
        index: usize,
        what: u64,
        way: AnnounceOrdering,
    ) -> Result<Option<Spot<'a>>> {
        // SAFETY: a seat has the address of its lane in this session's memory, of which this is a
        // word.
        let free = self.memory.access(seat.slot(index), |address, fault| unsafe {
            let free = u64::load(address, fault) == 0;
            match way {
                _ if !free => {}
                AnnounceOrdering::Plain => u64::store(address, what, Ordering::Release, fault),
                AnnounceOrdering::Exchange => drop(u64::swap(address, what, fault)),
            }
            free
        })?;
        Ok(free.then(|| seat.spot(index)))
    }

    #[cold]
    #[inline(never)]
    fn announce_slow(&self, what: u64, way: AnnounceOrdering) -> Result<Spot<'_>> {
        let participant = self.participant()?;
        let last = self.cached_seat();
        let others = || self.own_lanes().into_iter().filter_map(|lane| self.seats.seat(lane));
        for seat in last.into_iter().chain(iter::once_with(others).flatten()) {
            for index in 1..=SLOTS as usize {
                if let Some(spot) = self.fill(seat, index, what, way)? {
                    return Ok(spot);
                }
            }
        }
        let lane = self.claim_lane(participant)?;
        let Some(seat) = self.seats.seat(lane) else { return Err(self.no_lane()) };
        CACHE.with(|cache| cache[self.key as usize % CACHED].set((self.key, seat)));
        self.fill(seat, 1, what, way)?.ok_or_else(|| self.no_lane())
    }

    /// The seat that this thread claimed last here. None in a child.
    #[inline(always)]
    fn cached_seat(&self) -> Option<&Seat> {
        let (key, seat) = CACHE.with(|cache| cache[self.key as usize % CACHED].get());
        if key != self.key {
            return None;
        }
        // SAFETY: a seat of this session, which has not ended, as it is here.
        let seat = unsafe { &*seat };
        seat.is_sure().then_some(seat)
    }

    /// The lanes of this thread, the first first.
    fn own_lanes(&self) -> Vec<u32> {
        let lanes = OWNED.try_with(|owned| {
            let mut owned = owned.borrow_mut();
            owned.lanes.retain(|(_, session, _)| session.strong_count() > 0);
            let here = owned.lanes.iter().filter(|(key, ..)| *key == self.key);
            here.map(|&(.., lane)| lane).filter(|&lane| self.is_own_lane(lane)).collect()
        });
        lanes.unwrap_or_default()
    }

    #[inline]
    pub(super) fn is_own_lane(&self, lane: u32) -> bool {
        self.seats.seat(lane).is_some_and(|seat| self.is_seat_of(seat, NUMBER.get()))
    }

    /// Whether a thread of this process has it.
    #[inline]
    fn is_seat_of(&self, seat: &Seat, thread: u64) -> bool {
        let owner = seat.thread.load(Ordering::Relaxed);
        owner != 0 && owner == thread && (seat.is_sure() || self.own.participant().is_some())
    }

    /// Claims the lowest lane that nobody has.
    fn claim_lane(&self, participant: u32) -> Result<u32> {
        let mut polling = Polling::new(BRIEFLY);
        loop {
            // Before the last look: a thread that was kept from running has looked once at least.
            let is_last = polling.is_over();
            for lane in 0..self.header.lanes {
                if !self.inherited.avoids(lane) && self.try_claim_lane(lane, participant)? {
                    return self.register_lane(lane);
                }
            }
            if is_last {
                return Err(self.no_lane());
            }
            // Those of the dead become free.
            if self.recover_dead()? == 0 {
                polling.nap();
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
        // Only a scribbler leaves something in a lane that nobody has.
        if self.announces(lane)? {
            self.memory.store(record, 0u32)?;
            return Ok(false);
        }
        Ok(true)
    }

    fn register_lane(&self, lane: u32) -> Result<u32> {
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
                .with_object_path(Error::new(ErrorKind::TooManyThreads, "claim a lane in"))
                .with_detail("the thread is ending, and its destructors have run already"));
        }
        self.inherited.note(lane);
        seat.named.store(lane + 1, Ordering::Relaxed);
        seat.offset.store(record, Ordering::Relaxed);
        seat.address.store(address, Ordering::Relaxed);
        seat.thread.store(thread, Ordering::Relaxed);
        seat.set_sure();
        Ok(lane)
    }

    #[cold]
    fn no_lane(&self) -> Error {
        self.with_object_path(Error::new(ErrorKind::TooManyThreads, "claim a lane in"))
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
        match self.spot(announced) {
            Some(spot) if self.is_mine(spot) => self.withdraw_from(spot),
            _ => Ok(()),
        }
    }

    /// Where something was announced.
    #[inline(always)]
    pub(super) fn spot(&self, announced: Announced) -> Option<Spot<'_>> {
        let index = (announced.slot >> 3) as usize & 7;
        let seat = self.seats.seat(announced.lane)?;
        let is_one = index != 0 && !seat.address.load(Ordering::Relaxed).is_null();
        is_one.then(|| seat.spot(index))
    }

    /// Whether it is this thread's: not so in a child.
    #[inline(always)]
    pub(super) fn is_mine(&self, spot: Spot<'_>) -> bool {
        spot.seat.is_sure() || self.is_owned_slow(spot)
    }

    #[cold]
    #[inline(never)]
    fn is_owned_slow(&self, spot: Spot<'_>) -> bool {
        self.is_seat_of(spot.seat, NUMBER.get())
    }

    /// Empties a spot that is this thread's.
    #[inline(always)]
    pub(super) fn withdraw_from(&self, spot: Spot<'_>) -> Result<()> {
        self.memory.access(spot.address(), |_, fault| spot.clear(fault))
    }

    pub(super) fn find_announcement(&self, what: u64) -> Result<Option<Announced>> {
        for lane in self.own_lanes() {
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
    fn release_lane(&self, lane: u32, thread: u64) -> Result<()> {
        let Some(seat) = self.seats.seat(lane) else { return Ok(()) };
        if !self.is_seat_of(seat, thread) || self.announces(lane)? {
            return Ok(());
        }
        seat.clear_sure();
        seat.thread.store(0, Ordering::Relaxed);
        self.inherited.forget(lane);
        self.memory.store(self.header.lane(lane), 0u32)
    }

    /// Whether anything is announced in the lane.
    fn announces(&self, lane: u32) -> Result<bool> {
        let record = self.header.lane(lane);
        for slot in 1..=SLOTS {
            if self.memory.load::<u64>(record + slot * 8)? != 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Gives all empty lanes of this participant back; whether all were empty.
    pub(super) fn release_empty_lanes(&self, participant: u32) -> Result<bool> {
        let mut empty = true;
        for lane in 0..self.header.lanes {
            let record = self.header.lane(lane);
            if self.memory.load::<u32>(record)? != participant + 1 {
                continue;
            }
            let announces = self.announces(lane)?;
            empty &= !announces;
            if !announces {
                self.memory.store(record, 0u32)?;
            }
        }
        Ok(empty)
    }
}
