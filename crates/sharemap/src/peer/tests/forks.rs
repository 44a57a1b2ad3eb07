//! Forked children: they inherit no participant and no lanes, and attach by themselves.

#![allow(unsafe_code, reason = "drops a child's copies of its parent's values")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{DIED, Scratch, need_atomics, need_wipes, open};
use crate::peer::header::FIRST;
use crate::peer::machine::{Liveness, Machine};
use crate::peer::session::Session;
use crate::sys::testing::fork;
use crate::testing::child::{Second, listen, role, tell};

/// Forks a child that runs the body, or skips the test where no process can be forked.
macro_rules! fork_or_skip {
    ($body:expr) => {
        match fork($body) {
            Some(child) => child,
            None => {
                eprintln!("skipped: this system has no fork");
                return;
            }
        }
    };
}

#[test]
fn a_child_inherits_no_lanes() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let held = session.announce(16).unwrap();
    let child = fork_or_skip!(|| {
        assert!(!session.is_own(held.lane));
        assert_eq!(session.announced(16).unwrap(), None);
        session.withdraw(held).unwrap();
        assert_eq!(
            session.load_64(held.slot).unwrap(),
            16,
            "a child must not withdraw its parent's announcement"
        );
        assert_eq!(session.own.participant(), None);

        let own = session.announce(32).unwrap();
        assert_ne!(own.lane, held.lane);
        assert!(session.is_own(own.lane) && !session.is_own(held.lane));
        assert_eq!(session.own.participant(), Some(1));
        assert_eq!(session.probe_liveness(held.lane).unwrap(), Liveness::Alive);
        session.withdraw(held).unwrap();
        assert_eq!(session.load_64(held.slot).unwrap(), 16, "nor after it has attached");

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
    // Child and grandchild ended without detaching.
    let mut left = 0;
    while left < 2 {
        left += session.recover_dead().unwrap();
    }
    assert_eq!(session.participants().unwrap().len(), 1);
    assert_eq!(session.load_64(held.slot).unwrap(), 16);
    session.withdraw(held).unwrap();
}

#[test]
fn a_child_that_drops_its_copy_of_a_session_does_not_detach_its_parent() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let held = session.announce(16).unwrap();
    let mut copy = Some(Arc::clone(&session));
    let child = fork_or_skip!(|| {
        // Drops all references that the fork has copied, so that the session ends in this process.
        let mut last = copy.take().unwrap();
        while Arc::strong_count(&last) > 1 {
            // SAFETY: the other references were copied with the parent's memory and are never used here.
            unsafe { Arc::decrement_strong_count(Arc::as_ptr(&last)) };
        }
        assert!(Arc::get_mut(&mut last).is_none(), "threads keep weak references");
        drop(last);
    });
    assert!(child.passed());
    assert_eq!(session.participants().unwrap().len(), 1);
    assert!(session.participants().unwrap()[0].is_alive);
    session.withdraw(held).unwrap();
}

/// A child finds the state of every session of its parent empty, however many there are, and has a participant and
/// lanes of its own in each.
#[test]
fn a_child_inherits_nothing_from_any_session() {
    need_atomics!();
    const SESSIONS: usize = 70;
    let files: Vec<_> = (0..SESSIONS).map(|_| Scratch::new()).collect();
    let sessions: Vec<_> = files.iter().map(Scratch::create).collect();
    let held: Vec<_> = sessions.iter().map(|session| session.announce(16).unwrap()).collect();
    let child = fork_or_skip!(|| {
        for (session, held) in sessions.iter().zip(&held) {
            assert_eq!(session.own.participant(), None);
            assert!(!session.is_own(held.lane));
        }
        for (session, held) in sessions.iter().zip(&held) {
            let own = session.announce(32).unwrap();
            assert_ne!(own.lane, held.lane);
            assert_eq!(session.own.participant(), Some(1));
            assert_eq!(session.load_64(held.slot).unwrap(), 16);
        }
    });
    assert!(child.passed());
    for (session, held) in sessions.iter().zip(held) {
        assert_eq!(session.own.participant(), Some(0));
        assert!(session.is_own(held.lane));
        session.withdraw(held).unwrap();
    }
}

/// A session may get the memory of an earlier one, and finds no lane of that one there.
#[test]
fn a_session_inherits_nothing_from_an_earlier_one() {
    need_atomics!();
    let file = Scratch::new();
    drop(file.create());
    for _ in 0..100 {
        let session = file.open();
        assert!((0..session.lanes()).all(|lane| !session.is_own(lane)));
        assert_eq!(session.own.participant(), Some(0));
        // More than one lane has slots.
        let held: Vec<_> = (1..=20).map(|what| session.announce(what * 16).unwrap()).collect();
        assert!(held.iter().all(|held| session.is_own(held.lane)));
        for held in held {
            session.withdraw(held).unwrap();
        }
    }
    let look = file.open();
    assert!((0..look.lanes()).all(|lane| look.load_32(look.slots(lane) - 8).unwrap() == 0));
}

/// The parent holds a word and forks. When it is killed, its child recovers it.
#[test]
fn a_child_outlives_its_parent() {
    const ROLE: &str = "peer::tests::forks::a_child_outlives_its_parent";
    if let Some(path) = role(ROLE) {
        let session = open(&path);
        let at = session.payload().0;
        let held = session.announce(at).unwrap();
        session.store_32(at, held.lane + 1).unwrap();
        let child = fork(|| survive(&session, held.lane));
        tell(if child.is_some() { "forked" } else { "unsupported" });
        while !listen().is_empty() {}
        return;
    }
    need_atomics!();
    need_wipes!();
    let file = Scratch::new();
    let session = file.create();
    let mut second = Second::start(ROLE, file.name());
    if second.hear() != "forked" {
        eprintln!("skipped: this system has no fork");
        return;
    }
    second.kill();
    let at = session.payload().0;
    while session.load_32(at + 8).unwrap() == 0 {
        std::thread::yield_now();
    }
    assert_eq!(session.load_32(at).unwrap(), DIED);
    assert_eq!(session.load_32(at + 8).unwrap(), 1, "the child must not claim its parent's lane");
}

/// Runs in the child: recovers the parent when it is dead, and announces in another lane.
fn survive(session: &Session, parents: u32) {
    while session.probe_liveness(parents).unwrap() == Liveness::Alive {
        std::thread::yield_now();
    }
    let own = session.announce(64).unwrap();
    session.withdraw(own).unwrap();
    let good = own.lane != parents && !session.is_own(parents);
    session.store_32(session.payload().0 + 8, if good { 1 } else { 2 }).unwrap();
}

/// One thread attaches and detaches while another forks children, which stay alive.
#[test]
fn children_never_inherit_a_liveness_lock() {
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
    assert_eq!(held, [], "liveness locks that {} children hold", children.len());
}
