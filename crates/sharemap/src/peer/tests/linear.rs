//! The work of each operation is linear in participants plus lanes, even in the largest tables, full
//! of dead participants.

use std::sync::Arc;
use std::time::Instant;

use super::{Scratch, memory_of, need_atomics};
use crate::error::Result;
use crate::guard::AtomicWord;
use crate::peer::header::{Header, LANE, MOST, PARTICIPANT};
use crate::peer::machine::{Liveness, Machine};
use crate::peer::memory::Memory;
use crate::peer::record::IN_USE;
use crate::peer::recovery::counts::{ASKED, PASSES};
use crate::peer::session::Session;
use crate::peer::{ExpectedLayout, OpenOptions, Opening, create};

/// The passes over the lanes, and the queries about liveness locks, that an operation may make with
/// 65,535 participants: the locks are acquired 1,024 or 16 at a time.
const FEW: u32 = MOST / 16 + 64;

fn shape() -> ExpectedLayout {
    ExpectedLayout { participants: MOST, lanes: MOST, ..super::shape() }
}

/// Releases what a dead reader announces, as the layer above does.
fn release(session: &Session, slot: u64, what: u64, _: u32) -> Result<()> {
    session.swap_64(slot, what + 1)?;
    session.wake(what, u32::MAX).map(drop)
}

fn open(file: &Scratch) -> Arc<Opening> {
    create::open(&file.location(), &shape(), &OpenOptions::separate(), release).unwrap()
}

fn store<W: AtomicWord>(memory: &Memory, at: u64, value: W) {
    memory.store(at, value).unwrap();
}

/// Makes all participants dead, except the first `living`. Each has the lane of its number, which
/// announces `what` in each slot.
fn kill_all(memory: &Memory, header: &Header, living: u32, what: u64) {
    for participant in living..header.participants {
        store(memory, header.participants_at + u64::from(participant) * PARTICIPANT, IN_USE);
        let lane = header.lanes_at + u64::from(participant) * LANE;
        store(memory, lane, participant + 1);
        for slot in 1..8 {
            store(memory, lane + slot * 8, what);
        }
    }
}

/// Returns the number of lanes that are not free.
fn lanes_taken(session: &Session) -> usize {
    (0..MOST).filter(|&lane| session.load_32(session.header().lane(lane)).unwrap() != 0).count()
}

/// Runs `operation` and checks that its work is linear.
#[track_caller]
fn linear<T>(what: &str, operation: impl FnOnce() -> T) -> T {
    PASSES.set(0);
    ASKED.set(0);
    let start = Instant::now();
    let result = operation();
    let (took, passes, asked) = (start.elapsed(), PASSES.get(), ASKED.get());
    eprintln!(
        "{what}: {took:?}, {passes} passes over the lanes, {asked} queries about liveness locks"
    );
    // The time is only printed: it depends on what else the machine does.
    assert!(passes <= FEW && asked <= FEW, "{what}: {passes} passes, {asked} queries");
    result
}

#[test]
fn the_largest_tables_are_walked_a_few_times() {
    need_atomics!();
    let file = Scratch::new();
    let terms = OpenOptions::separate();
    let fill = &mut |_: &Memory, _: &Header| Ok(());
    let made = create::create_new(&file.location(), &shape(), &terms, release, fill).unwrap();
    let (memory, header) = (memory_of(&file.0), *made.header());
    let what = made.payload().0;

    kill_all(&memory, &header, 1, what);
    assert_eq!(linear("a recovery of all", || made.recover_dead().unwrap()), MOST - 1);
    assert_eq!(lanes_taken(&made), 0);

    kill_all(&memory, &header, 1, what);
    let second = linear("an opening", || open(&file));
    linear("the end of the first", || drop(made));

    // A waiter finds one dead owner after the other.
    kill_all(&memory, &header, 2, what);
    linear("a walk over the lanes", || {
        for lane in 2..MOST {
            assert_eq!(second.probe_liveness(lane).unwrap(), Liveness::Recovered);
        }
    });
    assert_eq!(lanes_taken(&second), 0);

    kill_all(&memory, &header, 2, what);
    for lane in 0..2 {
        store(&memory, header.lane(lane), MOST);
    }
    let announced = linear("a lane", || second.announce(what).unwrap());
    linear("another announcement", || second.withdraw(announced).unwrap());

    kill_all(&memory, &header, 2, what);
    let lanes: Vec<u32> = (0..=MOST).collect();
    let dead = linear("a count of the dead", || second.count_dead(&lanes).unwrap());
    assert_eq!(dead, MOST - 2, "all but this participant's lanes, and no number out of range");
    linear("the end of the last", || drop(second));
    assert_eq!(memory.load::<u32>(crate::peer::header::CLEAN).unwrap(), 1, "marked clean");
}
