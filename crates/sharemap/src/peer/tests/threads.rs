//! Lanes: claiming, announcing, releasing.

use std::sync::mpsc;

use super::{Scratch, create_with, need_atomics, open, shape};
use crate::error::ErrorKind;
use crate::peer::ExpectedLayout;
use crate::peer::machine::{Liveness, Machine, SLOTS};

/// Returns the first word of `lane`: its participant plus one, or 0.
fn owner(session: &super::Session, lane: u32) -> u32 {
    session.load_32(session.header().lane(lane)).unwrap()
}

#[test]
fn other_sessions_see_announcements_until_they_are_withdrawn() {
    need_atomics!();
    let file = Scratch::new();
    let (session, other) = (file.create(), file.open());
    let announced = session.announce(0x1230).unwrap();
    assert_eq!(announced.lane, 0);
    assert_eq!(announced.slot, session.slots(0));
    assert_eq!(other.load_64(announced.slot).unwrap(), 0x1230);
    assert!(session.is_own(0) && !other.is_own(0) && !session.is_own(1) && !session.is_own(9999));
    assert_eq!(session.announced(0x1230).unwrap(), Some(announced));
    assert_eq!(session.announced(0x1240).unwrap(), None);
    assert_eq!(other.announced(0x1230).unwrap(), None);
    let second = session.announce_seq_cst(0x4560).unwrap();
    assert_eq!(second.slot, announced.slot + 8);
    session.withdraw(announced).unwrap();
    let third = session.announce(0x7890).unwrap();
    assert_eq!(third, announced, "the lowest free slot");
    session.withdraw(second).unwrap();
    session.withdraw(third).unwrap();
    for slot in 0..SLOTS {
        assert_eq!(other.load_64(session.slots(0) + slot * 8).unwrap(), 0);
    }
    assert_eq!(other.probe_liveness(0).unwrap(), Liveness::Alive);
    assert_eq!(other.probe_liveness(5).unwrap(), Liveness::Recovered, "a free lane");
    assert_eq!(other.probe_liveness(u32::MAX).unwrap(), Liveness::Recovered);
}

#[test]
fn an_eighth_announcement_claims_a_second_lane() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let held: Vec<_> = (1..=17).map(|what| session.announce(what * 16).unwrap()).collect();
    let lanes: Vec<u32> = held.iter().map(|announced| announced.lane).collect();
    assert_eq!(lanes, [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2]);
    assert!((0..3).all(|lane| session.is_own(lane)) && !session.is_own(3));
    session.withdraw(held[3]).unwrap();
    session.withdraw(held[10]).unwrap();
    session.withdraw(held[15]).unwrap();
    session.withdraw(held[16]).unwrap();
    let again: Vec<_> = (1..=3).map(|what| session.announce(what * 512).unwrap()).collect();
    assert!(again.iter().all(|announced| announced.lane < 3));
    for at in (0..17).filter(|at| ![3, 10, 15, 16].contains(at)) {
        session.withdraw(held[at]).unwrap();
    }
    again.into_iter().for_each(|announced| session.withdraw(announced).unwrap());
}

#[test]
fn a_thread_has_its_own_lane_and_releases_it_when_it_ends() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let mine = session.announce(16).unwrap();
    std::thread::scope(|scope| {
        let (to_main, from_thread) = mpsc::channel();
        let (to_thread, from_main) = mpsc::channel::<()>();
        let session = &session;
        let thread = scope.spawn(move || {
            let announced = session.announce(32).unwrap();
            assert!(session.is_own(announced.lane) && !session.is_own(mine.lane));
            to_main.send(announced.lane).unwrap();
            from_main.recv().unwrap();
            session.withdraw(announced).unwrap();
        });
        assert_eq!(from_thread.recv().unwrap(), 1);
        assert!(!session.is_own(1));
        assert_ne!(owner(session, 1), 0);
        to_thread.send(()).unwrap();
        thread.join().unwrap();
    });
    assert_eq!(owner(&session, 1), 0, "released when the thread ended");
    std::thread::scope(|scope| {
        let kept = scope.spawn(|| session.announce(48).unwrap()).join().unwrap();
        assert_eq!(kept.lane, 1, "the lowest free lane");
        assert_ne!(owner(&session, 1), 0, "kept, because it still announces something");
    });
    session.withdraw(mine).unwrap();
}

#[test]
fn an_announcement_fails_if_no_lane_becomes_free() {
    need_atomics!();
    let file = Scratch::new();
    let session = create_with(file.name(), &ExpectedLayout { lanes: 2, ..shape() });
    let held: Vec<_> = (1..=14).map(|what| session.announce(what * 16).unwrap()).collect();
    let error = session.announce(16).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooManyThreads, "{error}");
    assert_eq!(error.path(), Some(file.0.as_path()));
    session.withdraw(held[0]).unwrap();
    session.announce(16).unwrap();
}

#[test]
fn announcements_outlive_their_session() {
    need_atomics!();
    let file = Scratch::new();
    let one = file.create();
    let announced = one.announce(16).unwrap();
    drop(one);
    let two = file.open();
    assert_eq!(
        two.own.participant(),
        Some(1),
        "participant 0 stays attached until this process ends"
    );
    assert_eq!(two.probe_liveness(announced.lane).unwrap(), Liveness::Alive);
    assert_eq!(two.load_64(announced.slot).unwrap(), 16);
    assert_eq!(two.announce(32).unwrap().lane, 1);
}

#[test]
fn a_thread_can_use_more_sessions_than_its_cache_holds() {
    need_atomics!();
    let file = Scratch::new();
    let first = file.create();
    let sessions: Vec<_> = (0..40).map(|_| open(file.name())).collect();
    for round in 1..4 {
        for (number, session) in sessions.iter().enumerate() {
            let announced = session.announce(round * 16).unwrap();
            assert_eq!(announced.lane, number as u32);
            assert_eq!(first.load_64(announced.slot).unwrap(), round * 16);
            session.withdraw(announced).unwrap();
        }
    }
    drop(sessions);
    assert!((0..40).all(|lane| owner(&first, lane) == 0));
    assert_eq!(first.participants().unwrap().len(), 1);
}

#[test]
fn accesses_to_a_truncated_file_are_faults() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let announced = session.announce(16).unwrap();
    let cut = std::fs::OpenOptions::new().write(true).open(&file.0).unwrap().set_len(0);
    if let Err(error) = cut {
        eprintln!("skipped: this system does not truncate mapped files: {error}");
        session.withdraw(announced).unwrap();
        return;
    }
    let faults = [
        session.load_32(session.payload().0).map(drop),
        session.store_64(session.payload().0, 1),
        session.compare_exchange_32(session.payload().0, 0, 1).map(drop),
        session.withdraw(announced),
        session.announce(32).map(drop),
        session.announced(16).map(drop),
        session.probe_liveness(0).map(drop),
        session.read(session.payload().0, &mut [0; 100]),
        session.wait(session.payload().0, 0, std::time::Duration::from_secs(60)),
        session.recover_dead().map(drop),
        session.participants().map(drop),
    ];
    for (number, result) in faults.into_iter().enumerate() {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fault, "{number}: {error}");
        assert_eq!(error.path(), Some(file.0.as_path()), "{number}: {error}");
    }
}
