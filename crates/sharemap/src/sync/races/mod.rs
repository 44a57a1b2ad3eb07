//! The store of a release against the look of whoever goes to sleep, between two real processes: no
//! wake-up is missed where those who wait fence, and some are where they do not.
//!
//! 100,000 rounds of the race itself and of locks, or as many as fit into some seconds where
//! others want the processors; with `SHAREMAP_LONG=1`, 10 million of each.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::gate::SLEEPER;
use super::mutex::{Leave, RawMutex};
use super::rwlock::{RawRwLock, Reading};
use crate::error::Result;
use crate::guard::{Recovery, recovery};
use crate::peer::{self, Announced, Session, Settled, Shape, Terms, World};
use crate::shm::Location;
use crate::sys::second::{Second, role};

/// Whether those who wait fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fence {
    Whole,
    /// The planted mistake.
    LeftOut,
}

/// The words of the first race, in lines of their own.
const STORED: u64 = 0;
const REGISTERED: u64 = 64;
const DONE: [u64; 2] = [128, 192];
/// The locks of the second, with their gates where FORMAT.md says.
const MUTEX: u64 = 256;
const RWLOCK: u64 = 320;
/// Lines that both write, so that stores to them take long, and those behind them wait.
const LINES: u64 = 512;
const LINE: u64 = 64;
const PAYLOAD: u64 = LINES + 16 * LINE;

const SHAPE: Shape =
    Shape { kind: 78, fingerprint: [0; 16], payload: PAYLOAD, participants: 4, lanes: 8 };

const MANY: u32 = 10_000_000;
const SHORT: Duration = Duration::from_secs(3);

fn is_long() -> bool {
    std::env::var_os("SHAREMAP_LONG").is_some_and(|long| long == "1")
}

/// An object that goes with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let name = format!("sharemap-races-{test}-{}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn create(&self) -> Arc<Session> {
        let fill = &mut |_: &peer::Memory, _: &peer::Header| Ok(());
        let location = Location::file(&self.0);
        peer::create_new(&location, &SHAPE, &Terms::default(), super::recover, fill).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn open(path: &str) -> Arc<Session> {
    peer::open(&Location::file(path), &SHAPE, &Terms::default(), super::recover).unwrap()
}

/// Says why nothing is shown here, if so.
fn is_skipped(session: &Session) -> bool {
    let why = if !session.stores_release() {
        "processes cannot fence each other here, so that releases are exchanges"
    } else if !crate::sys::fork::wipes() {
        "an emulator may order stores as it likes"
    } else if std::thread::available_parallelism().is_ok_and(|count| count.get() < 2) {
        "one processor orders everything"
    } else {
        return false;
    };
    eprintln!("skipped: {why}");
    true
}

fn has_atomics() -> bool {
    let has = recovery() == Recovery::InPlace;
    if !has {
        eprintln!("skipped: faults cannot be recovered in place here");
    }
    has
}

/// Numbers that look random.
fn next(random: &mut u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random >> 20
}

fn pass(turns: u64) {
    (0..turns).for_each(|_| std::hint::spin_loop());
}

/// Takes the lines away from the other.
fn write_lines(session: &Session, round: u32) {
    let at = session.payload_at();
    for line in (LINES..PAYLOAD).step_by(LINE as usize) {
        session.store_32(at + line, round).unwrap();
    }
}

/// Waits until the other has done a round.
fn await_other(session: &Session, word: u64, round: u32) {
    let mut turns = 0;
    while session.load_32(word).unwrap() != round {
        turns += 1;
        if turns % 200 == 0 {
            std::thread::yield_now();
        }
        std::hint::spin_loop();
    }
}

/// One who releases: a plain store, and a look whether anybody has registered. After the round it
/// stores what it saw.
#[test]
fn releases() {
    let Some(path) = role("sync::races::releases") else { return };
    let session = open(&path);
    let at = session.payload_at();
    let mut random = 0x9e37_79b9_7f4a_7c15;
    for round in 1.. {
        pass(next(&mut random) % 50);
        write_lines(&session, round);
        session.store_32(at + STORED, round).unwrap();
        let saw = session.load_32(at + REGISTERED).unwrap() == round;
        session.store_32(at + DONE[0], round << 1 | u32::from(saw)).unwrap();
        await_other(&session, at + DONE[1], round);
    }
}

/// The other: registers, fences, and looks again. How often neither saw the other, in so many rounds
/// or until that happens once.
fn misses(test: &str, fence: Fence, rounds: u32) -> Option<u32> {
    let file = Scratch::new(test);
    let session = file.create();
    if is_skipped(&session) {
        return None;
    }
    let at = session.payload_at();
    let _other = Second::start("sync::races::releases", file.0.to_str().unwrap());
    let (mut random, mut missed) = (88_172_645_463_325_252, 0);
    let end = Instant::now() + SHORT;
    for round in 1..=rounds {
        if rounds < MANY && Instant::now() >= end {
            eprintln!("{round} rounds in the time that this may take");
            break;
        }
        pass(next(&mut random) % 50);
        let before = session.load_32(at + REGISTERED).unwrap();
        assert_eq!(session.compare_exchange_32(at + REGISTERED, before, round).unwrap(), before);
        if fence == Fence::Whole {
            assert!(session.fence_all());
        }
        let saw = session.load_32(at + STORED).unwrap() == round;
        let mut done = session.load_32(at + DONE[0]).unwrap();
        while done >> 1 != round {
            std::thread::yield_now();
            done = session.load_32(at + DONE[0]).unwrap();
        }
        missed += u32::from(!saw && done & 1 == 0);
        write_lines(&session, round);
        session.store_32(at + DONE[1], round).unwrap();
        if missed > 0 {
            break;
        }
    }
    Some(missed)
}

#[test]
fn one_of_both_sees_the_other() {
    if !has_atomics() {
        return;
    }
    let rounds = if is_long() { MANY } else { 100_000 };
    assert!(misses("seen", Fence::Whole, rounds).is_none_or(|missed| missed == 0));
}

#[test]
fn without_the_fence_neither_may_see_the_other() {
    if !has_atomics() {
        return;
    }
    assert!(misses("unseen", Fence::LeftOut, MANY).is_none_or(|missed| missed > 0));
}

/// A session that goes to sleep whenever it has to wait, and sleeps until somebody wakes it, or much
/// longer than that takes.
struct Sleepy<'a> {
    session: &'a Session,
    fence: Fence,
    slept: Cell<u32>,
    missed: Cell<u32>,
}

impl Sleepy<'_> {
    fn bound(&self) -> Duration {
        match self.fence {
            Fence::Whole => Duration::from_secs(10),
            Fence::LeftOut => Duration::from_millis(200),
        }
    }
}

impl World for Sleepy<'_> {
    fn load_32(&self, at: u64) -> Result<u32> {
        self.session.load_32(at)
    }

    fn store_32(&self, at: u64, value: u32) -> Result<()> {
        self.session.store_32(at, value)
    }

    fn swap_32(&self, at: u64, value: u32) -> Result<u32> {
        self.session.swap_32(at, value)
    }

    fn compare_exchange_32(&self, at: u64, current: u32, new: u32) -> Result<u32> {
        self.session.compare_exchange_32(at, current, new)
    }

    fn load_64(&self, at: u64) -> Result<u64> {
        self.session.load_64(at)
    }

    fn store_64(&self, at: u64, value: u64) -> Result<()> {
        self.session.store_64(at, value)
    }

    fn swap_64(&self, at: u64, value: u64) -> Result<u64> {
        self.session.swap_64(at, value)
    }

    fn compare_exchange_64(&self, at: u64, current: u64, new: u64) -> Result<u64> {
        self.session.compare_exchange_64(at, current, new)
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<()> {
        self.session.read(at, into)
    }

    fn write(&self, at: u64, from: &[u8]) -> Result<()> {
        self.session.write(at, from)
    }

    fn lanes(&self) -> u32 {
        self.session.lanes()
    }

    fn slots(&self, lane: u32) -> u64 {
        self.session.slots(lane)
    }

    fn is_own(&self, lane: u32) -> bool {
        self.session.is_own(lane)
    }

    fn announce(&self, what: u64) -> Result<Announced> {
        self.session.announce(what)
    }

    fn announce_first(&self, what: u64) -> Result<Announced> {
        self.session.announce_first(what)
    }

    fn announced(&self, what: u64) -> Result<Option<Announced>> {
        self.session.announced(what)
    }

    fn withdraw(&self, announced: Announced) -> Result<()> {
        self.session.withdraw(announced)
    }

    fn stores_release(&self) -> bool {
        self.session.stores_release()
    }

    fn fence_all(&self) -> bool {
        self.fence == Fence::LeftOut || self.session.fence_all()
    }

    fn wait(&self, at: u64, expected: u32, _: Duration) -> Result<()> {
        let start = Instant::now();
        self.slept.set(self.slept.get() + 1);
        self.session.wait(at, expected, self.bound())?;
        let ran_out = start.elapsed() >= self.bound();
        // If nobody has touched the gate, nobody who released has seen the sleeper.
        if ran_out && expected & SLEEPER != 0 && self.session.load_32(at)? == expected {
            self.missed.set(self.missed.get() + 1);
        }
        Ok(())
    }

    fn wake(&self, at: u64, how_many: u32) -> Result<u32> {
        self.session.wake(at, how_many)
    }

    fn nap(&self, _: Duration) {}

    fn spin(&self, _: u32) -> bool {
        false
    }

    fn settle(&self, lane: u32) -> Result<Settled> {
        self.session.settle(lane)
    }

    fn settle_rarely(&self, lane: u32) -> Result<Settled> {
        self.session.settle_rarely(lane)
    }

    fn now(&self) -> Duration {
        self.session.now()
    }

    fn milliseconds(&self) -> u32 {
        self.session.milliseconds()
    }

    fn note_wait(&self, since: u32) {
        self.session.note_wait(since);
    }

    fn is_cancelled(&self) -> bool {
        self.session.is_cancelled()
    }
}

/// The one who has the lock first, and releases it once in each round: a mutex, or one of the sides
/// of a lock for readers and writers.
#[test]
fn holds() {
    let Some(path) = role("sync::races::holds") else { return };
    let session = open(&path);
    let at = session.payload_at();
    let (mutex, rwlock) = (RawMutex::new(at + MUTEX, 8), RawRwLock::new(at + RWLOCK, 8));
    let world = &*session;
    let mut random = 0x2545_f491_4f6c_dd1d;
    for round in 1.. {
        await_other(world, at + DONE[1], round - 1);
        let in_vain = next(&mut random) % 2 == 0;
        // Until it is asked for and a little longer, so that the other is on its way to sleep, or only
        // for a moment.
        let mut hold = |gate: u64| {
            world.store_32(at + DONE[0], round).unwrap();
            let start = Instant::now();
            while in_vain
                && world.load_32(at + gate).unwrap() & SLEEPER == 0
                && start.elapsed() < Duration::from_millis(5)
            {
                std::thread::yield_now();
            }
            pass(next(&mut random) % if in_vain { 400 } else { 60 });
            write_lines(world, round);
        };
        match round % 4 {
            0 => {
                let held = rwlock.write(world, None).unwrap();
                hold(RWLOCK + 8);
                rwlock.unlock(world, held, Leave::Sound).unwrap();
            }
            1 => {
                let announced = rwlock.announce_read(world).unwrap();
                let packed = rwlock.read_slowly(world, announced, None).unwrap();
                hold(RWLOCK + 12);
                rwlock.unlock_read(world, Reading::unpack(packed)).unwrap();
            }
            _ => {
                let held = mutex.lock(world, None).unwrap();
                hold(MUTEX + 4);
                mutex.unlock(world, held, Leave::Sound).unwrap();
            }
        }
    }
}

/// The other wants it while it is had. How often it was not woken, in so many rounds or until that
/// happens once.
fn missed_wakes(test: &str, fence: Fence, rounds: u32) -> Option<u32> {
    let file = Scratch::new(test);
    let session = file.create();
    if is_skipped(&session) {
        return None;
    }
    let _other = Second::start("sync::races::holds", file.0.to_str().unwrap());
    let world = &Sleepy { session: &session, fence, slept: Cell::new(0), missed: Cell::new(0) };
    let at = session.payload_at();
    let (mutex, rwlock) = (RawMutex::new(at + MUTEX, 8), RawRwLock::new(at + RWLOCK, 8));
    let mut random = 88_172_645_463_325_252;
    let end = Instant::now() + SHORT;
    for round in 1..=rounds {
        if rounds < MANY && Instant::now() >= end {
            eprintln!("{round} rounds in the time that this may take");
            break;
        }
        await_other(&session, at + DONE[0], round);
        pass(next(&mut random) % 30);
        match round % 8 {
            // Reads while the other writes; writes while it writes, and while it reads.
            0 => {
                let announced = rwlock.announce_read(world).unwrap();
                let packed = rwlock.read_slowly(world, announced, None).unwrap();
                rwlock.unlock_read(world, Reading::unpack(packed)).unwrap();
            }
            1 | 4 | 5 => {
                let held = rwlock.write(world, None).unwrap();
                rwlock.unlock(world, held, Leave::Sound).unwrap();
            }
            _ => {
                let held = mutex.lock(world, None).unwrap();
                mutex.unlock(world, held, Leave::Sound).unwrap();
            }
        }
        if world.missed.get() > 0 {
            eprintln!("missed in round {round}");
            break;
        }
        write_lines(&session, round);
        session.store_32(at + DONE[1], round).unwrap();
    }
    eprintln!("slept {} times", world.slept.get());
    Some(world.missed.get())
}

#[test]
fn no_wake_is_missed() {
    if !has_atomics() {
        return;
    }
    let rounds = if is_long() { MANY } else { 100_000 };
    assert!(missed_wakes("woken", Fence::Whole, rounds).is_none_or(|missed| missed == 0));
}

#[test]
fn without_the_fence_wakes_are_missed() {
    if !has_atomics() {
        return;
    }
    if !is_long() {
        eprintln!("skipped: takes 100,000 rounds and more; set SHAREMAP_LONG=1 for it");
        return;
    }
    assert!(missed_wakes("unwoken", Fence::LeftOut, MANY).is_none_or(|missed| missed > 0));
}
