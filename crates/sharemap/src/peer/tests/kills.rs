//! Kills at every step of creation, attaching, detaching and recovery.

use std::path::Path;
use std::sync::Arc;

use super::{DIED, memory_of, need_atomics, open_or_create, release, shape};
use crate::error::Result;
use crate::peer::header::{self, Header};
use crate::peer::machine::Machine;
use crate::peer::memory::Memory;
use crate::peer::session::{RecoverFn, Session};
use crate::peer::{ExpectedLayout, OpenOptions, create};
use crate::shm::Location;
use crate::sys::testing::{Closure, Scenario, close, fork, mark};

const VALUE: u32 = 7;

/// A small layout, so that states are compared fast.
fn small() -> ExpectedLayout {
    ExpectedLayout { participants: 4, lanes: 4, payload: 64, ..shape() }
}

fn create_at(path: &Path, release: RecoverFn) -> Arc<Session> {
    let fill = &mut |memory: &Memory, header: &Header| memory.store(header.payload_at + 8, VALUE);
    let (location, terms) = (Location::file(path), OpenOptions::separate());
    let opening = open_or_create(&location, &small(), &terms, release, fill);
    Arc::clone(opening.unwrap().session())
}

fn open_at(path: &Path, release: RecoverFn) -> Arc<Session> {
    let opening = create::open(&Location::file(path), &small(), &OpenOptions::separate(), release);
    Arc::clone(opening.unwrap().session())
}

/// Blanks identities, times and counts, which differ between two runs.
fn mask(bytes: &mut [u8]) {
    for range in [16..32, 120..128, 136..144] {
        bytes[range].fill(0);
    }
    let participants = header::LEN as usize + 64 * 4;
    for record in bytes[participants..].chunks_mut(64).take(4) {
        record[4..40].fill(0);
    }
}

/// Acquires and releases the word, which no dead participant may hold.
fn use_it(session: &Session) {
    let at = session.payload().0;
    let held = session.announce(at).unwrap();
    let free = session.load_32(at).unwrap();
    assert!(free == 0 || free == DIED, "held by a dead participant: {free}");
    assert_eq!(session.compare_exchange_32(at, free, held.lane + 1).unwrap(), free);
    session.store_32(at, 0).unwrap();
    session.withdraw(held).unwrap();
}

/// Checks what a survivor relies on, whichever processes died before: the last participant that leaves
/// marks the object clean, and recovery leaves no dead participant and no lane in use.
fn go_on(path: &Path, release: RecoverFn) {
    drop(create_at(path, release));
    assert_eq!(memory_of(path).load::<u32>(header::CLEAN).unwrap(), 1);
    let session = create_at(path, release);
    assert_eq!(session.load_32(session.payload().0 + 8).unwrap(), VALUE);
    session.recover_dead().unwrap();
    let there = session.participants().unwrap();
    assert!(there.len() == 1 && there[0].is_alive, "{there:?}");
    for lane in 0..session.lanes() {
        assert_eq!(session.load_32(session.header().lane(lane)).unwrap(), 0, "lane {lane}");
        for slot in 0..crate::peer::machine::SLOTS {
            assert_eq!(session.load_64(session.slots(lane) + slot * 8).unwrap(), 0);
        }
    }
    use_it(&session);
}

/// Runs a search, which must succeed from every state. Returns the number of states, or `None` where
/// processes cannot be traced.
fn survived(scenario: &Scenario<'_>) -> Option<usize> {
    let Some(closure) = close(scenario) else {
        eprintln!("skipped: this process may not trace its children");
        return None;
    };
    assert!(closure.failure.is_none(), "{closure:?}");
    eprintln!("{} states, {} stops", closure.images, closure.stops);
    Some(closure.images)
}

#[test]
fn a_creator_killed_anywhere_leaves_a_whole_object_or_none() {
    need_atomics!();
    let images = survived(&Scenario {
        prepare: &|_| {},
        operate: &|path| {
            mark();
            drop(create_at(path, release));
        },
        survive: &|path| go_on(path, release),
        mask,
    });
    assert!(images.is_none_or(|images| images > 5));
}

#[test]
fn a_participant_may_be_killed_anywhere() {
    need_atomics!();
    let images = survived(&Scenario {
        prepare: &|path| drop(create_at(path, release)),
        operate: &|path| {
            mark();
            let session = open_at(path, release);
            use_it(&session);
        },
        survive: &|path| go_on(path, release),
        mask,
    });
    assert!(images.is_none_or(|images| images > 10));
}

/// Creates an object with a dead participant that held the word and announced something else.
fn with_a_death(path: &Path) {
    drop(create_at(path, release));
    let child = fork(|| {
        let session = open_at(path, release);
        let at = session.payload().0;
        let held = session.announce(at).unwrap();
        session.announce(at + 16).unwrap();
        session.store_32(at, held.lane + 1).unwrap();
        std::mem::forget(session);
    });
    assert!(child.is_none_or(|child| child.passed()));
}

/// Kills recovery at every step.
fn recover_killed(release: RecoverFn) -> Option<Closure> {
    close(&Scenario {
        prepare: &with_a_death,
        operate: &|path| {
            let session = open_at(path, release);
            mark();
            session.recover_dead().unwrap();
        },
        survive: &|path| go_on(path, release),
        mask,
    })
}

#[test]
fn the_next_recoverer_completes_a_recovery_killed_anywhere() {
    need_atomics!();
    let Some(closure) = recover_killed(release) else {
        eprintln!("skipped: this process may not trace its children");
        return;
    };
    assert!(closure.failure.is_none(), "{closure:?}");
    assert!(closure.images > 10, "{closure:?}");
}

/// The search finds a planted defect: a recovery that empties the slot before it releases the word loses
/// the word if it is killed in between.
#[test]
fn a_recovery_in_the_wrong_order_is_found() {
    fn wrong(session: &Session, slot: u64, what: u64, lane: u32) -> Result<()> {
        session.store_64(slot, 0)?;
        release(session, slot, what, lane)
    }
    need_atomics!();
    let Some(closure) = recover_killed(wrong) else {
        eprintln!("skipped: this process may not trace its children");
        return;
    };
    assert!(closure.failure.is_some(), "{closure:?}");
}
