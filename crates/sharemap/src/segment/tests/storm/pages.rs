//! An object of pages that are replaced whole, by the rules of a segment, or by rules that only seem to hold.
//!
//! ```text
//! locks      80 words, on cache lines of their own
//! heads      of the lanes' areas
//! directory  4 words: {page's offset : 40, generation : 24}
//! accounts   2 words, whose sum stays the same
//! spares     for each lane, the offset of the page that its next replacement fills
//! pages      256 bytes each: a line for a lock, and then the values of 18 keys
//! ```
//!
//! A page that is replaced becomes the spare of the lane that replaced it, by the same record. It is used again at
//! once, so that a thread that still uses the old page does harm soon.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use super::Random;
use crate::error::Result;
use crate::peer::{
    self, Announced, ExpectedLayout, Header, Liveness, Machine, OpenOptions, Opening, Session,
    delegate_world,
};
use crate::segment::change::{Change, change};
use crate::segment::completion::complete;
use crate::segment::lane_area::{self, LaneArea, Space};
use crate::segment::lock_table::{LockTable, LockWord, STRIDE};
use crate::segment::tests::toy::observe;
use crate::shm::Location;

/// The kind of object in a header: none that a program creates.
const KIND: u32 = 99;
const LANES: u32 = 32;
const LOCKS: u64 = 80;
const PAGES: u64 = 4;
const PAGE: u64 = 256;
/// The offset of the values in a page.
const VALUES: u64 = 64;
pub(super) const KEYS: u64 = 72;
/// The locks of the accounts, behind those of the pages.
const ACCOUNT_LOCKS: u32 = PAGES as u32;
/// The locks of the keys, behind those of the accounts: used only by [`Rule::FineLocks`].
const KEY_LOCKS: u32 = ACCOUNT_LOCKS + 2;
pub(super) const SUM: u64 = 1000;

/// A rule by which pages are changed. All but the first are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Sound,
    /// A release does not advance the sequence.
    ReleaseKeepsSequence,
    /// Each key has a lock of its own, and a page is replaced under the lock of one key.
    FineLocks,
    /// A page's lock lies in the page. A thread that has acquired it looks at the directory again.
    LocksInPages,
}

impl Rule {
    const ALL: [Self; 4] =
        [Self::Sound, Self::ReleaseKeepsSequence, Self::FineLocks, Self::LocksInPages];

    pub(super) fn number(self) -> u64 {
        self as u64
    }

    pub(super) fn of(number: u64) -> Self {
        Self::ALL[number as usize]
    }
}

/// Where the parts lie.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) space: Space,
    heads: u64,
    directory: u64,
    accounts: u64,
    spares: u64,
    pages: u64,
}

impl Plan {
    fn at(first: u64) -> Self {
        let heads = first + STRIDE * LOCKS;
        let directory = heads + lane_area::HEAD * u64::from(LANES);
        let accounts = directory + 64;
        let spares = accounts + 64;
        let pages = spares + 8 * u64::from(LANES);
        let end = pages + PAGE * (PAGES + u64::from(LANES));
        // The table reaches to the end, so that a word in a page has a number too.
        let locks = LockTable { at: first, count: ((end - first) / STRIDE) as u32 };
        Self {
            space: Space { locks, changeable: directory..end },
            heads,
            directory,
            accounts,
            spares,
            pages,
        }
    }

    fn of(header: &Header) -> Self {
        Self::at(header.payload_at)
    }

    fn len() -> u64 {
        Self::at(0).space.changeable.end
    }

    fn area(&self, lane: u32) -> u64 {
        self.heads + lane_area::HEAD * u64::from(lane)
    }
}

/// The layout of the object.
fn layout() -> ExpectedLayout {
    ExpectedLayout {
        participants: 16,
        lanes: LANES,
        ..ExpectedLayout::new(KIND, [0; 16], Plan::len())
    }
}

/// Creates the object, with all values 0.
pub(super) fn create(location: &Location) -> Result<Arc<Opening>> {
    let fill = &mut |memory: &peer::Memory, header: &Header| {
        let plan = Plan::of(header);
        for index in 0..PAGES {
            memory.store(plan.directory + 8 * index, (plan.pages + PAGE * index) << 24)?;
        }
        for lane in 0..u64::from(LANES) {
            memory.store(plan.spares + 8 * lane, plan.pages + PAGE * (PAGES + lane))?;
        }
        memory.store(plan.accounts, SUM)
    };
    peer::create_new(location, &layout(), &OpenOptions::separate(), recover, fill)
}

pub(super) fn open(location: &Location) -> Result<Arc<Opening>> {
    peer::open(location, &layout(), &OpenOptions::separate(), recover)
}

/// Completes what a dead lane began, slowly, so that some recoverers die meanwhile.
fn recover(session: &Session, slot: u64, announcement: u64, lane: u32) -> Result<()> {
    super::ledger::count_recovery(|| {
        let plan = Plan::of(session.header());
        let Some(at) = LaneArea::announced(announcement) else { return Ok(()) };
        if at != plan.area(lane) {
            return Ok(());
        }
        let slow = Noisy::new(session, slot, 2, &plan, false);
        complete(&slow, &plan.space, LaneArea::load(session, &plan.space, at, lane)?)
    })
}

/// A session whose thread sleeps at random accesses, so that other threads run in the middle of everything.
pub(super) struct Noisy<'a> {
    session: &'a Session,
    random: Cell<Random>,
    /// The thread sleeps at one in so many accesses.
    rarity: u64,
    /// The lock words of which a release does not advance the sequence.
    frozen: std::ops::Range<u64>,
}

impl<'a> Noisy<'a> {
    pub(super) fn new(
        session: &'a Session,
        seed: u64,
        rarity: u64,
        plan: &Plan,
        keeps: bool,
    ) -> Self {
        let locks = plan.space.locks.at;
        let frozen = if keeps { locks..locks + STRIDE * LOCKS } else { 0..0 };
        let seed = seed ^ u64::from(std::process::id()) << 32;
        Self { session, random: Cell::new(Random(seed)), rarity, frozen }
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        let mut random = self.random.get();
        let number = random.below(bound);
        self.random.set(random);
        number
    }

    fn disturb(&self) {
        if self.below(self.rarity) == 0 {
            match self.below(4) {
                0 => std::thread::sleep(Duration::from_micros(self.below(200))),
                1 => (0..self.below(3000)).for_each(|_| std::hint::spin_loop()),
                _ => std::thread::yield_now(),
            }
        }
    }
}

impl Machine for Noisy<'_> {
    fn load_32(&self, at: u64) -> Result<u32> {
        self.disturb();
        self.session.load_32(at)
    }
    fn store_32(&self, at: u64, value: u32) -> Result<()> {
        self.disturb();
        self.session.store_32(at, value)
    }
    fn swap_32(&self, at: u64, value: u32) -> Result<u32> {
        self.session.swap_32(at, value)
    }
    fn compare_exchange_32(&self, at: u64, current: u32, new: u32) -> Result<u32> {
        self.session.compare_exchange_32(at, current, new)
    }
    fn load_64(&self, at: u64) -> Result<u64> {
        self.disturb();
        self.session.load_64(at)
    }
    fn store_64(&self, at: u64, value: u64) -> Result<()> {
        self.disturb();
        let mut value = value;
        if self.frozen.contains(&at) && LockWord(value).owner().is_none() {
            value = self.session.load_64(at)? & !0xffff;
        }
        self.session.store_64(at, value)
    }
    fn swap_64(&self, at: u64, value: u64) -> Result<u64> {
        self.session.swap_64(at, value)
    }
    fn compare_exchange_64(&self, at: u64, current: u64, new: u64) -> Result<u64> {
        self.disturb();
        self.session.compare_exchange_64(at, current, new)
    }
    fn read(&self, at: u64, into: &mut [u8]) -> Result<()> {
        self.session.read(at, into)
    }
    fn write(&self, at: u64, from: &[u8]) -> Result<()> {
        self.session.write(at, from)
    }
    fn stores_release(&self) -> bool {
        self.session.stores_release()
    }
    delegate_world!(session: lanes waits others notes);
}

/// The object, as one thread uses it.
pub(super) struct Pages<'a, M> {
    pub(super) machine: &'a M,
    pub(super) plan: Plan,
    pub(super) area: LaneArea,
    pub(super) rule: Rule,
}

/// Announces the area of a lane of this thread. Returns where.
pub(super) fn announce(session: &Session) -> Result<(Announced, LaneArea)> {
    let plan = Plan::of(session.header());
    let announced = session.announce(peer::KEPT)?;
    let area = LaneArea::load(session, &plan.space, plan.area(announced.lane), announced.lane)?;
    session.store_64(announced.slot, area.announcement())?;
    Ok((announced, area))
}

pub(super) fn plan(session: &Session) -> Plan {
    Plan::of(session.header())
}

/// Returns the directory's word that leads to a key.
fn word_of(plan: &Plan, key: u64) -> u64 {
    plan.directory + 8 * (key % PAGES)
}

fn value_in(word: u64, key: u64) -> u64 {
    page(word) + VALUES + 8 * (key / PAGES)
}

/// Returns the page's offset in a word of the directory.
fn page(word: u64) -> u64 {
    word >> 24
}

/// Returns the value of a key. Takes no lock.
pub(super) fn get<M: Machine>(machine: &M, plan: &Plan, key: u64) -> Result<u64> {
    let word = word_of(plan, key);
    loop {
        let before = machine.load_64(word)?;
        let value = machine.load_64(value_in(before, key))?;
        if machine.load_64(word)? == before {
            return Ok(value);
        }
    }
}

/// Returns the sum of the accounts at one moment, without a lock, and after `pause` between the two. `None` if a
/// writer disturbed it.
pub(super) fn sum<M: Machine>(
    machine: &M,
    plan: &Plan,
    pause: impl FnOnce(),
) -> Result<Option<u64>> {
    let observed = || -> Result<[Option<LockWord>; 2]> {
        let word = |index| plan.space.locks.word(ACCOUNT_LOCKS + index);
        Ok([observe(machine, word(0))?, observe(machine, word(1))?])
    };
    let before = observed()?;
    if before.contains(&None) {
        return Ok(None);
    }
    let one = machine.load_64(plan.accounts)?;
    pause();
    let other = machine.load_64(plan.accounts + 8)?;
    Ok((observed()? == before).then_some(one + other))
}

impl<M: Machine> Pages<'_, M> {
    /// Calls `make` under the lock of a key, with the word of the directory that leads to it.
    fn changing<R>(
        &self,
        key: u64,
        make: impl Fn(&mut Change<'_, M>, u64) -> Result<R>,
    ) -> Result<R> {
        let (machine, space) = (self.machine, &self.plan.space);
        let word = word_of(&self.plan, key);
        loop {
            let done = change(machine, space, self.area, None, |change| {
                let lock = match self.rule {
                    Rule::FineLocks => KEY_LOCKS + key as u32,
                    Rule::LocksInPages => {
                        let before = machine.load_64(word)?;
                        let lock = ((page(before) - space.locks.at) / STRIDE) as u32;
                        change.lock(lock..lock + 1)?;
                        return match machine.load_64(word)? == before {
                            true => make(change, before).map(Some),
                            false => Ok(None),
                        };
                    }
                    _ => (key % PAGES) as u32,
                };
                change.lock(lock..lock + 1)?;
                make(change, machine.load_64(word)?).map(Some)
            })?;
            if let Some(done) = done {
                return Ok(done);
            }
        }
    }

    /// Replaces the value of a key in its page. Returns the previous value.
    pub(super) fn set(&self, key: u64, value: u64) -> Result<u64> {
        self.changing(key, |change, word| {
            let at = value_in(word, key);
            let previous = self.machine.load_64(at)?;
            change.record(at, value);
            change.commit(&[])?;
            Ok(previous)
        })
    }

    /// Replaces the value of a key, and its page by the lane's spare. Returns the previous value.
    pub(super) fn replace(&self, key: u64, value: u64) -> Result<u64> {
        let machine = self.machine;
        self.changing(key, |change, word| {
            let spare = self.plan.spares + 8 * u64::from(self.area.lane);
            let new = machine.load_64(spare)?;
            let after = new << 24 | (word + 1) & 0xff_ffff;
            for offset in (VALUES..PAGE).step_by(8) {
                machine.store_64(new + offset, machine.load_64(page(word) + offset)?)?;
            }
            let previous = machine.load_64(value_in(word, key))?;
            machine.store_64(value_in(after, key), value)?;
            if self.rule == Rule::LocksInPages {
                // A page is born unlocked.
                machine.store_64(new, 0)?;
            }
            change.record(word_of(&self.plan, key), after);
            change.record(spare, page(word));
            change.commit(&[])?;
            Ok(previous)
        })
    }

    /// Moves something from one account to the other, by a record.
    pub(super) fn transfer(&self, amount: u64) -> Result<()> {
        let (machine, accounts) = (self.machine, self.plan.accounts);
        change(machine, &self.plan.space, self.area, None, |change| {
            change.lock(ACCOUNT_LOCKS..ACCOUNT_LOCKS + 2)?;
            let one = (machine.load_64(accounts)? + amount) % (SUM + 1);
            change.record(accounts, one);
            change.record(accounts + 8, SUM - one);
            change.commit(&[])
        })
    }
}

/// Returns `true` once the lane has been recovered that had this first word.
pub(super) fn is_recovered(session: &Session, lane: u32, owner: u32) -> Result<bool> {
    Ok(session.load_32(session.header().lane(lane))? != owner)
}

/// Returns the first word of a lane of this process.
pub(super) fn owner(session: &Session, lane: u32) -> Result<u32> {
    session.load_32(session.header().lane(lane))
}
