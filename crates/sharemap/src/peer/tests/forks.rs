//! Forked children: they have nothing of their parent's, and take part by themselves.

#![allow(unsafe_code, reason = "drops what a child has a copy of")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{DIED, Scratch, need_atomics, need_wipes, open};
use crate::peer::machine::{Liveness, Machine};
use crate::peer::session::{FIRST, Session};
use crate::testing::child::{Second, fork, listen, role, tell};

macro_rules! fork_or_skip {
    ($body:expr) => {
        match fork($body) {
            Some(child) => child,
            None => {
                eprintln!("skipped: nothing forks here");
                return;
            }
        }
    };
}

#[test]
fn a_child_has_none_of_its_parents_lanes() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let held = session.announce(16).unwrap();
    let child = fork_or_skip!(|| {
        assert!(!session.is_own(held.lane));
        assert_eq!(session.announced(16).unwrap(), None);
        session.withdraw(held).unwrap();
        assert_eq!(session.load_64(held.slot).unwrap(), 16, "it is the parent's");
        assert_eq!(session.own.participant(), None);

        let own = session.announce(32).unwrap();
        assert_ne!(own.lane, held.lane);
        assert!(session.is_own(own.lane) && !session.is_own(held.lane));
        assert_eq!(session.own.participant(), Some(1));
        assert_eq!(session.probe_liveness(held.lane).unwrap(), Liveness::Alive);
        session.withdraw(held).unwrap();
        assert_eq!(session.load_64(held.slot).unwrap(), 16, "still");

        let grandchild = fork(|| {
            let third = session.announce(48).unwrap();
            assert!(![held.lane, own.lane].contains(&third.lane));
            assert_eq!(session.participants().unwrap().len(), 3);
        });
        assert!(grandchild.unwrap().passed());
        assert_eq!(session.load_64(own.slot).unwrap(), 32);
    });
    assert!(child.passed());
    assert!(session.is_own(held.lane));
    // Both ended without leaving.
    let mut left = 0;
    while left < 2 {
        left += session.recover_dead().unwrap();
    }
    assert_eq!(session.participants().unwrap().len(), 1);
    assert_eq!(session.load_64(held.slot).unwrap(), 16);
    session.withdraw(held).unwrap();
}

#[test]
fn a_child_that_ends_its_copy_of_a_session_leaves_the_parents_alone() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let held = session.announce(16).unwrap();
    let mut copy = Some(Arc::clone(&session));
    let child = fork_or_skip!(|| {
        // The last references in this process, so that it ends here.
        let mut last = copy.take().unwrap();
        while Arc::strong_count(&last) > 1 {
            // SAFETY: the other reference was copied with the parent's stack, and is never used.
            unsafe { Arc::decrement_strong_count(Arc::as_ptr(&last)) };
        }
        assert!(Arc::get_mut(&mut last).is_none(), "lanes remember it weakly");
        drop(last);
    });
    assert!(child.passed());
    assert_eq!(session.participants().unwrap().len(), 1);
    assert!(session.participants().unwrap()[0].is_alive);
    session.withdraw(held).unwrap();
}

/// Holds a word, forks, and leaves its child behind when it is killed.
#[test]
fn a_child_outlives_its_parent() {
    const ROLE: &str = "peer::tests::forks::a_child_outlives_its_parent";
    if let Some(path) = role(ROLE) {
        let session = open(&path);
        let at = session.payload_at();
        let held = session.announce(at).unwrap();
        session.store_32(at, held.lane + 1).unwrap();
        let child = fork(|| survive(&session, held.lane));
        tell(if child.is_some() { "forked" } else { "nothing forks" });
        while !listen().is_empty() {}
        return;
    }
    need_atomics!();
    need_wipes!();
    let file = Scratch::new();
    let session = file.create();
    let mut second = Second::start(ROLE, file.name());
    if second.hear() != "forked" {
        eprintln!("skipped: nothing forks here");
        return;
    }
    second.kill();
    let at = session.payload_at();
    while session.load_32(at + 8).unwrap() == 0 {
        std::thread::yield_now();
    }
    assert_eq!(session.load_32(at).unwrap(), DIED);
    assert_eq!(session.load_32(at + 8).unwrap(), 1, "the child took the lane of its parent");
}

/// In the orphan: sees its parent die, recovers it, and goes on under another lane.
fn survive(session: &Session, parents: u32) {
    while session.probe_liveness(parents).unwrap() == Liveness::Alive {
        std::thread::yield_now();
    }
    let own = session.announce(64).unwrap();
    session.withdraw(own).unwrap();
    let good = own.lane != parents && !session.is_own(parents);
    session.store_32(session.payload_at() + 8, if good { 1 } else { 2 }).unwrap();
}

/// While one thread attaches and detaches, another forks children that live on.
#[test]
fn children_keep_no_slot_whenever_they_are_forked() {
    need_atomics!();
    need_wipes!();
    let file = Scratch::new();
    let watcher = file.create();
    let done = AtomicBool::new(false);
    let children: Vec<_> = std::thread::scope(|scope| {
        let attaching = scope.spawn(|| {
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) || rounds < 10 {
                drop(file.open());
                rounds += 1;
            }
        });
        let children = (0..40)
            .map_while(|_| {
                std::thread::yield_now();
                fork(|| {
                    loop {
                        std::thread::park();
                    }
                })
            })
            .collect();
        done.store(true, Ordering::Relaxed);
        attaching.join().unwrap();
        children
    });
    let held: Vec<u32> = (1..watcher.header().participants)
        .filter(|&number| !watcher.slots.is_free(FIRST + u64::from(number)).unwrap())
        .collect();
    assert_eq!(held, [], "slots that children of {} keep", children.len());
}
