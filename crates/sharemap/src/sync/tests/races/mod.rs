//! The store of a release against the look of whoever goes to sleep, between two real processes: no
//! wake-up is missed where those who wait fence, and some are where they do not.
//!
//! 100,000 rounds of the race itself and of locks, or as many as fit into some seconds where
//! others want the processors; with `SHAREMAP_LONG=1`, 10 million of each.

mod sleepy;
mod stores;
mod wakes;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::guard::{Recovery, recovery};
use crate::peer::{self, ExpectedLayout, Machine, OpenOptions, Session};
use crate::shm::Location;

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

const SHAPE: ExpectedLayout =
    ExpectedLayout { kind: 78, fingerprint: [0; 16], payload: PAYLOAD, participants: 4, lanes: 8 };

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
        let (terms, release) = (OpenOptions::separate(), crate::sync::recover);
        let opening = peer::create_new(&location, &SHAPE, &terms, release, fill);
        Arc::clone(opening.unwrap().session())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn open(path: &str) -> Arc<Session> {
    let (terms, release) = (OpenOptions::separate(), crate::sync::recover);
    let opening = peer::open(&Location::file(path), &SHAPE, &terms, release);
    Arc::clone(opening.unwrap().session())
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
