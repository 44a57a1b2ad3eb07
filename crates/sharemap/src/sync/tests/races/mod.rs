//! The race between the plain store of a release and a waiter that goes to sleep, in two real processes. No
//! wake-up is missed if waiters fence, and some are missed if they do not.
//!
//! `stores` is the race itself, and `wakes` the race as it occurs in locks. Each runs for 100,000 rounds, or
//! for a few seconds on a busy machine; with `SHAREMAP_LONG=1`, for 10 million rounds.

mod sleepy;
mod stores;
mod wakes;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::peer::{self, ExpectedLayout, Machine, OpenOptions, Session};
use crate::shm::Location;
use crate::sync::tests::object;

/// Whether waiters fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fence {
    Whole,
    /// The planted mistake.
    LeftOut,
}

/// The offsets of the words of the first race, each in its own cache line.
const STORED: u64 = 0;
const REGISTERED: u64 = 64;
const DONE: [u64; 2] = [128, 192];
/// The offsets of the locks of the second race. Their gates are where FORMAT.md says.
const MUTEX: u64 = 256;
const RWLOCK: u64 = 320;
/// The offset of cache lines that both processes write. Stores to them are slow, and delay the stores that
/// follow.
const LINES: u64 = 512;
const LINE: u64 = 64;
const PAYLOAD: u64 = LINES + 16 * LINE;

const SHAPE: ExpectedLayout = ExpectedLayout {
    kind: 78,
    fingerprint: [0; 16],
    payload: PAYLOAD,
    growable_to: 0,
    participants: 4,
    lanes: 8,
};

const MANY: u32 = 10_000_000;
const SHORT: Duration = Duration::from_secs(3);

/// Returns `true` if the environment asks for the long form: `SHAREMAP_LONG=1`.
fn is_long() -> bool {
    std::env::var_os("SHAREMAP_LONG").is_some_and(|long| long == "1")
}

/// The file of an object, removed when the value is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let name = format!("sharemap-races-{test}-{}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn create(&self) -> Arc<Session> {
        object::create(&Location::file(&self.0), &SHAPE)
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

/// Returns `true`, and prints the reason, if this system cannot show the race.
fn is_skipped(session: &Session) -> bool {
    let why = if !session.stores_release() {
        "processes cannot fence each other here, so that releases are exchanges"
    } else if !crate::sys::fork::wipes() {
        "an emulator may order stores differently"
    } else if std::thread::available_parallelism().is_ok_and(|count| count.get() < 2) {
        "one processor orders everything"
    } else {
        return false;
    };
    eprintln!("skipped: {why}");
    true
}

/// Returns the next pseudo-random number (xorshift).
fn next(random: &mut u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random >> 20
}

/// Spins for a number of turns.
fn pass(turns: u64) {
    (0..turns).for_each(|_| std::hint::spin_loop());
}

/// Writes the shared lines, which takes them from the other process's cache.
fn write_lines(session: &Session, round: u32) {
    let at = session.payload().0;
    for line in (LINES..PAYLOAD).step_by(LINE as usize) {
        session.store_32(at + line, round).unwrap();
    }
}

/// Waits until the other process has completed a round.
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
