//! Lanes: records in the object in which threads announce what they hold or intend.
//!
//! A thread claims a lane with its first announcement and keeps it. A thread that makes more than
//! seven announcements at once claims further lanes. When the thread ends, it releases its lanes,
//! except those that still announce something (FORMAT.md, "Lane").
//!
//! A lane is free while its first word is 0, and a free lane announces nothing. All changes keep
//! this order: a claim sets the first word before it stores an announcement; a release and a
//! recovery clear the first word after all announcements. A thread may therefore be killed at any
//! instruction: the lane still names its participant, and the recoverer finds the lane with all
//! that it announces.
//!
//! A lane's [`LaneCache`] is this process's private record of the lane, in memory that a forked child
//! finds empty.

#![allow(unsafe_code, reason = "fields in memory that a child finds empty")]

use std::cell::{Cell, RefCell};
use std::iter;
use std::ptr::NonNull;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::guard::AtomicWord;
use crate::peer::header::{LANE, WAITS_SINCE};
use crate::peer::lane_cache::{AnnouncementRef, LaneCache};
use crate::peer::machine::{AnnounceOrdering, Announced, KEPT, KIND_MASK, SLOTS};
use crate::peer::polling::{BRIEFLY, Polling};
use crate::peer::session::{KEY_STEP, Session};

/// The number of sessions for which a thread finds its lane at once.
const CACHED: usize = 16;

thread_local! {
    /// The lanes that this thread finds at once, each at index `key / KEY_STEP % CACHED`.
    static CACHE: [CachedLane; CACHED] = const {
        [const { CachedLane { key: Cell::new(0), lane: Cell::new(NonNull::dangling()) } }; CACHED]
    };
    /// This thread's number; 0: not assigned yet.
    static NUMBER: Cell<u64> = const { Cell::new(0) };
    /// The lanes that this thread releases when it ends.
    static OWNED: RefCell<Owned> = const { RefCell::new(Owned { thread: 0, lanes: Vec::new() }) };
}

/// A session's key, and the record of the lane that the thread claimed last in it.
#[repr(align(16))]
struct CachedLane {
    key: Cell<u64>,
    lane: Cell<NonNull<LaneCache>>,
}

/// Returns the index in the cache of a session with this key.
#[inline(always)]
fn index_of(key: u64) -> usize {
    (key / KEY_STEP) as usize % CACHED
}

/// The lanes that a thread has claimed. Dropping the value, when the thread ends, releases them.
struct Owned {
    /// The thread's number, kept here because `NUMBER` may be destroyed before this value.
    thread: u64,
    /// For each lane: its session's key, its session and its number. Oldest first.
    lanes: Vec<(u64, Weak<Session>, u32)>,
}

impl Drop for Owned {
    fn drop(&mut self) {
        // Before the first release: another thread may claim a released lane, while this thread's
        // remaining destructors may still lock and would find the lane's record here.
        CACHE.with(|cache| cache.iter().for_each(|cached| cached.key.set(0)));
        for (_, session, lane) in self.lanes.drain(..) {
            if let Some(session) = session.upgrade() {
                // If this fails, the lane still names this participant. It is released with the
                // session, or by the recoverer of this process.
                let _ = session.release_lane(lane, self.thread);
            }
        }
    }
}

/// Returns the record of the lane that this thread claimed last in the session of this key. The record may not be
/// valid: a forked child inherits the cache, and finds the record empty.
///
/// `_session` has this key, or no session has it.
#[inline(always)]
pub(super) fn cached_lane(key: u64, _session: &Session) -> Option<&LaneCache> {
    CACHE.with(|cache| {
        let cached = &cache[index_of(key)];
        // SAFETY: keys are never reused, so the record is one of the session of this key, which owns its memory
        // and is alive.
        (cached.key.get() == key).then(|| unsafe { cached.lane.get().as_ref() })
    })
}

/// Returns this thread's number, which no other thread of this process ever gets.
fn thread_number() -> u64 {
    NUMBER.with(|number| {
        if number.get() == 0 {
            number.set(next_number());
        }
        number.get()
    })
}

/// Returns a number for a thread or a handle, which nothing else in this process ever gets.
fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Session {
    /// Stores `announcement` in an empty slot of this thread's lanes, claiming a lane if all are
    /// full.
    ///
    /// A misbehaving peer that overwrites a slot can only erase announcements or take the slot out
    /// of use.
    #[inline(always)]
    pub(super) fn announce_by(
        &self,
        announcement: u64,
        ordering: AnnounceOrdering,
    ) -> Result<AnnouncementRef<'_>> {
        match cached_lane(self.key, self).and_then(LaneCache::take_any) {
            Some(slot) => self.fill(slot, announcement, ordering),
            None => self.announce_slow(announcement, ordering),
        }
    }

    /// Stores `since` in the lane that this thread claimed last, as the time since when it sleeps
    /// (FORMAT.md, "Lane"). For inspection only: without a lane the call does nothing.
    pub(super) fn note_wait_in_lane(&self, since: u32) {
        let Some(cache) = cached_lane(self.key, self) else { return };
        if self.is_lane_of(cache, NUMBER.get()) {
            // The wait itself reports a fault.
            let _ = self.memory.store(cache.offset.load(Ordering::Relaxed) + WAITS_SINCE, since);
        }
    }

    /// Stores `announcement` in a `slot` of this thread that is empty.
    #[inline(always)]
    fn fill<'a>(
        &self,
        slot: AnnouncementRef<'a>,
        announcement: u64,
        ordering: AnnounceOrdering,
    ) -> Result<AnnouncementRef<'a>> {
        self.memory.access(slot.address(), |_, fault| match ordering {
            AnnounceOrdering::Plain => slot.put(announcement, fault),
            AnnounceOrdering::Exchange => slot.exchange(announcement, fault),
        })?;
        Ok(slot)
    }

    /// Stores `announcement` in any empty slot of this thread's lanes, or in a lane that it claims if
    /// all are full, as [`claim_lane`](Self::claim_lane) does. Attaches first if this process is a
    /// forked child that has no participant yet.
    #[cold]
    #[inline(never)]
    fn announce_slow(
        &self,
        announcement: u64,
        ordering: AnnounceOrdering,
    ) -> Result<AnnouncementRef<'_>> {
        let participant = self.participant()?;
        let last = cached_lane(self.key, self).filter(|cache| cache.is_valid());
        let others = || self.own_lanes().into_iter().filter_map(|lane| self.lane_caches.of(lane));
        for cache in last.into_iter().chain(iter::once_with(others).flatten()) {
            if let Some(slot) = self.empty_slot(cache)? {
                if cache.is_valid() {
                    self.cache_lane(cache);
                }
                return self.fill(slot, announcement, ordering);
            }
        }
        let lane = self.claim_lane(participant)?;
        self.register_lane(lane)?;
        let Some(cache) = self.lane_caches.of(lane) else { return Err(self.no_lane()) };
        self.cache_lane(cache);
        // Empty, as `try_claim_lane` has checked.
        let slot = self.empty_slot(cache)?.ok_or_else(|| self.no_lane())?;
        self.fill(slot, announcement, ordering)
    }

    /// Makes this thread find the lane at once. The entry replaces that of another session with the same index, and
    /// the next acquisition there searches for the lane.
    fn cache_lane(&self, lane: &LaneCache) {
        CACHE.with(|cache| {
            let cached = &cache[index_of(self.key)];
            cached.key.set(self.key);
            cached.lane.set(NonNull::from(lane));
        });
    }

    /// Returns an empty slot of a lane of this thread, and records it as in use.
    ///
    /// Looks at the slots themselves, as the record of a lane may not tell. A load here and a store later need
    /// not be one atomic operation: while this process lives, only this thread fills an empty slot of its
    /// lanes.
    fn empty_slot<'a>(&self, cache: &'a LaneCache) -> Result<Option<AnnouncementRef<'a>>> {
        for index in 1..=SLOTS as usize {
            let slot = cache.slot(index);
            // SAFETY: a claimed lane's record has the lane's address in this session's memory, and the
            // slot is a word of the lane.
            let load = |address: *mut u8, fault: &mut usize| unsafe { u64::load(address, fault) };
            if self.memory.access(slot.address(), load)? == 0 {
                cache.note_use(index);
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    /// Returns this thread's lanes, oldest first.
    ///
    /// Returns none when the thread is ending and has released its lanes.
    fn own_lanes(&self) -> Vec<u32> {
        let lanes = OWNED.try_with(|owned| {
            let mut owned = owned.borrow_mut();
            owned.lanes.retain(|(_, session, _)| session.strong_count() > 0);
            let here = owned.lanes.iter().filter(|(key, ..)| *key == self.key);
            here.map(|&(.., lane)| lane).filter(|&lane| self.is_own_lane(lane)).collect()
        });
        lanes.unwrap_or_default()
    }

    /// Returns `true` if `lane` is one of this thread's.
    #[inline]
    pub(super) fn is_own_lane(&self, lane: u32) -> bool {
        self.lane_caches.of(lane).is_some_and(|cache| self.is_lane_of(cache, NUMBER.get()))
    }

    /// Returns `true` if the lane of `cache` belongs to this process's thread of number `thread`.
    ///
    /// Where a forked child inherits the records (`fork::wipes` is `false`), the child's thread has the
    /// parent's number. The child's participant then decides: a child has none until it attaches,
    /// and attaching empties the inherited records.
    #[inline]
    fn is_lane_of(&self, cache: &LaneCache, thread: u64) -> bool {
        let owner = cache.thread.load(Ordering::Relaxed);
        owner != 0 && owner == thread && (cache.is_valid() || self.own.participant().is_some())
    }

    /// Claims the lowest free lane, recovering dead participants while none is free. The caller records it.
    ///
    /// Fails with `TooManyThreads` after about 100 ms.
    fn claim_lane(&self, participant: u32) -> Result<u32> {
        let mut polling = Polling::new(BRIEFLY);
        loop {
            // Determined before the search, so that the last search begins after the deadline,
            // however long this thread was suspended.
            let is_last = polling.is_over();
            for lane in 0..self.header.lanes {
                // Guards of ancestor processes, copied by a fork, name the avoided lanes.
                if !self.inherited.avoids(lane) && self.try_claim_lane(lane, participant)? {
                    return Ok(lane);
                }
            }
            if is_last {
                return Err(self.no_lane());
            }
            // Recovery frees the lanes of dead participants: search again at once.
            if self.recover_dead()? == 0 {
                polling.nap();
            }
        }
    }

    /// Claims `lane` for `participant` if it is free. Returns `true` if that succeeded.
    fn try_claim_lane(&self, lane: u32, participant: u32) -> Result<bool> {
        let record = self.header.lane(lane);
        // The load spares lanes in use an atomic instruction. A death after the exchange leaves an
        // empty lane that names this participant; its recoverer frees the lane.
        if self.memory.load::<u32>(record)? != 0 {
            return Ok(false);
        }
        // Before the exchange, so that the end of the session visits the lane whatever fails from here on.
        self.lane_caches.note_claim(lane);
        if self.memory.compare_exchange(record, 0, participant + 1)? != 0 {
            return Ok(false);
        }
        // Lanes are freed empty, so a misbehaving peer wrote this one. It stays unused.
        if self.announces(lane)? {
            self.memory.store(record, 0u32)?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Records a lane that this thread has just claimed, in the thread's list and in the lane's record.
    fn register_lane(&self, lane: u32) -> Result<()> {
        let (thread, entry) = (thread_number(), (self.key, Weak::clone(&self.me), lane));
        // First the list, because only its destructor releases the lane. If the destructor has run
        // already, the lane is released here and now.
        let noted = OWNED.try_with(|owned| {
            let mut owned = owned.borrow_mut();
            owned.thread = thread;
            owned.lanes.push(entry);
        });
        if noted.is_err() {
            self.memory.store(self.header.lane(lane), 0u32)?;
            return Err(self
                .with_object_path(Error::new(ErrorKind::TooManyThreads, "claim a lane").inside())
                .with_detail(
                    "this thread is ending, and its thread-local storage is destroyed; use the object \
                     before that",
                ));
        }
        self.record_lane(lane, thread)
    }

    /// Records a lane that was just claimed for the thread or the handle of this number.
    fn record_lane(&self, lane: u32, owner: u64) -> Result<()> {
        let record = self.header.lane(lane);
        let address = self.memory.at(record, LANE)?;
        let Some(cache) = self.lane_caches.claimed(lane) else { return Err(self.no_lane()) };
        // Before the lane announces anything: from then on, a child forked from this process may
        // have copies of guards that name the lane, and must not claim it.
        self.inherited.note(lane);
        cache.named.store(lane + 1, Ordering::Relaxed);
        cache.group.store(1 << (lane % 32), Ordering::Relaxed);
        cache.offset.store(record, Ordering::Relaxed);
        cache.address.store(address, Ordering::Relaxed);
        cache.thread.store(owner, Ordering::Relaxed);
        // Last: a valid record is used without looking at its other fields.
        cache.set_valid();
        Ok(())
    }

    /// Claims a lane for a handle, which may move between threads. Returns the lane, and the handle's number, which
    /// no thread and no other handle of this process has. The lane announces nothing yet.
    ///
    /// Fails as [`claim_lane`](Self::claim_lane) does.
    pub(super) fn claim_owned_lane(&self) -> Result<(u32, u64)> {
        let lane = self.claim_lane(self.participant()?)?;
        let owner = next_number();
        self.record_lane(lane, owner)?;
        Ok((lane, owner))
    }

    /// Returns `true` if a lane belongs to the handle of this number, in this process and not only in the process that
    /// it was forked from.
    #[inline(always)]
    pub(super) fn is_owned_lane(&self, lane: u32, owner: u64) -> bool {
        // Records that are wiped in a child tell by themselves: the handle of a valid one has not released its lane.
        let is_valid = self.lane_caches.of(lane).is_some_and(LaneCache::is_valid);
        is_valid || self.is_owned_lane_slow(lane, owner)
    }

    #[cold]
    #[inline(never)]
    fn is_owned_lane_slow(&self, lane: u32, owner: u64) -> bool {
        self.lane_caches.of(lane).is_some_and(|cache| self.is_lane_of(cache, owner))
    }

    /// The error of a thread that found no lane to claim.
    #[cold]
    fn no_lane(&self) -> Error {
        self.with_object_path(Error::new(ErrorKind::TooManyThreads, "claim a lane").inside())
            .with_detail(format!(
                "all {} lanes are in use, one for every {SLOTS} locks of each thread and one for each end of a \
                 channel; end a thread, release locks, drop ends, or re-create the object with more lanes",
                self.header.lanes
            ))
    }

    /// Withdraws an announcement that this thread has made, by a plain release store.
    ///
    /// Does nothing in a child that was forked since, where the announcement is the parent's.
    #[inline(always)]
    pub(super) fn withdraw_at(&self, announced: Announced) -> Result<()> {
        match self.slot_of(announced) {
            Some(slot) if self.is_mine(slot) => self.withdraw_from(slot),
            _ => Ok(()),
        }
    }

    /// Returns the mapped slot of `announced`. `None` if no lane of this process can have it.
    #[inline(always)]
    pub(crate) fn slot_of(&self, announced: Announced) -> Option<AnnouncementRef<'_>> {
        let index = (announced.slot >> 3) as usize & 7;
        let cache = self.lane_caches.of(announced.lane)?;
        let is_one = index != 0 && !cache.address.load(Ordering::Relaxed).is_null();
        is_one.then(|| cache.slot(index))
    }

    /// Returns `true` unless this process was forked after the announcement was made.
    ///
    /// `slot` must be an announcement that the calling thread has made. The thread is compared only
    /// where the record alone does not tell processes apart.
    #[inline(always)]
    pub(crate) fn is_mine(&self, slot: AnnouncementRef<'_>) -> bool {
        slot.cache.is_valid() || self.is_owned_slow(slot)
    }

    /// Decides [`is_mine`](Self::is_mine) by the thread's number and the process's participant.
    #[cold]
    #[inline(never)]
    fn is_owned_slow(&self, slot: AnnouncementRef<'_>) -> bool {
        self.is_lane_of(slot.cache, NUMBER.get())
    }

    /// Empties a slot, which [`is_mine`](Self::is_mine) has confirmed.
    #[inline(always)]
    pub(super) fn withdraw_from(&self, slot: AnnouncementRef<'_>) -> Result<()> {
        self.memory.access(slot.address(), |_, fault| slot.clear(fault))?;
        if slot.cache.is_valid() {
            slot.put_back();
        }
        Ok(())
    }

    /// Returns the first slot of this thread that announces exactly `announcement`: the same offset, kind
    /// and number. `None` if no slot does.
    pub(super) fn find_announcement(&self, announcement: u64) -> Result<Option<Announced>> {
        for lane in self.own_lanes() {
            for index in 1..=SLOTS {
                let slot = self.header.lane(lane) + index * 8;
                if self.memory.load::<u64>(slot)? == announcement {
                    return Ok(Some(Announced { lane, slot }));
                }
            }
        }
        Ok(None)
    }

    /// Returns the announcement that this thread keeps.
    pub(crate) fn kept(&self) -> Result<Option<Announced>> {
        for lane in self.own_lanes() {
            for slot in (1..=SLOTS).map(|index| self.header.lane(lane) + index * 8) {
                if self.memory.load::<u64>(slot)? & KIND_MASK == KEPT {
                    return Ok(Some(Announced { lane, slot }));
                }
            }
        }
        Ok(None)
    }

    /// Releases `lane` of the ending `thread`, or of a handle with this number, unless the lane announces something.
    ///
    /// A lane that is kept is released when the session ends or, while it still announces something
    /// then, by the recoverer of this process.
    pub(super) fn release_lane(&self, lane: u32, thread: u64) -> Result<()> {
        let Some(cache) = self.lane_caches.of(lane) else { return Ok(()) };
        if !self.is_lane_of(cache, thread) {
            return Ok(());
        }
        self.withdraw_kept(lane)?;
        if self.announces(lane)? {
            return Ok(());
        }
        // The lane's first word comes last, by a release store: once it is 0, another thread of this
        // process may claim the lane and fill the same record. A death before the store leaves an
        // empty lane that names this participant; its recoverer frees the lane.
        cache.clear_valid();
        cache.thread.store(0, Ordering::Relaxed);
        self.inherited.forget(lane);
        self.memory.store(self.header.lane(lane), 0u32)
    }

    /// Claims `lane` for this thread if it is free. Returns `true` if that succeeded.
    pub(super) fn claim_free_lane(&self, lane: u32) -> Result<bool> {
        let participant = self.participant()?;
        if self.inherited.avoids(lane) || !self.try_claim_lane(lane, participant)? {
            return Ok(false);
        }
        self.register_lane(lane)?;
        if let Some(cache) = self.lane_caches.of(lane) {
            // The caller fills it.
            cache.note_use(1);
        }
        Ok(true)
    }

    /// Releases a lane that [`claim_free_lane`](Self::claim_free_lane) has claimed.
    pub(super) fn return_lane(&self, lane: u32) -> Result<()> {
        let thread = NUMBER.get();
        // The thread's destructor, which is ending, releases the lane if the list is gone.
        let _ = OWNED.try_with(|owned| {
            owned.borrow_mut().lanes.retain(|(key, _, other)| (*key, *other) != (self.key, lane));
        });
        self.release_lane(lane, thread)
    }

    /// Completes and withdraws the announcements that a thread keeps, in a lane of this process whose thread makes no
    /// changes any more.
    fn withdraw_kept(&self, lane: u32) -> Result<()> {
        let record = self.header.lane(lane);
        for at in (1..=SLOTS).map(|slot| record + slot * 8) {
            let what = self.memory.load::<u64>(at)?;
            if what & KIND_MASK == KEPT {
                (self.release)(self, at, what, lane)?;
                self.memory.store(at, 0u64)?;
            }
        }
        Ok(())
    }

    /// Returns `true` if a slot of `lane` is in use.
    fn announces(&self, lane: u32) -> Result<bool> {
        let record = self.header.lane(lane);
        for slot in 1..=SLOTS {
            if self.memory.load::<u64>(record + slot * 8)? != 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Releases the empty lanes of `participant`. Returns `true` if all its lanes were empty.
    ///
    /// Called at the end of a session, when no thread of this process uses its lanes any more. The
    /// caller holds the participant's liveness lock, so no recoverer changes them.
    pub(super) fn release_empty_lanes(&self, participant: u32) -> Result<bool> {
        let mut empty = true;
        // Most processes claim few of the lanes, which are the lowest that were free.
        for lane in 0..self.lane_caches.tried_below() {
            let record = self.header.lane(lane);
            if self.memory.load::<u32>(record)? != participant + 1 {
                continue;
            }
            self.withdraw_kept(lane)?;
            let announces = self.announces(lane)?;
            empty &= !announces;
            if !announces {
                self.memory.store(record, 0u32)?;
            }
        }
        Ok(empty)
    }
}
