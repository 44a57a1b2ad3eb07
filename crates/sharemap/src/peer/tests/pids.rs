//! Liveness is decided by the kernel's locks alone: reused process ids, a process that executes another
//! program, clones that the C library does not know, recoverers that are stopped.

use super::{DIED, Scratch, is_free, need_atomics, need_wipes, open, release, shape};
use crate::error::Result;
use crate::peer::header::FIRST;
use crate::peer::machine::{Liveness, Machine};
use crate::peer::session::Session;
use crate::peer::{OpenOptions, create};
use crate::shm::Location;
use crate::sys::process;
use crate::sys::testing::{self, Forked, fork};
use crate::testing::child::{Second, Stray, listen, role, tell};

/// Acquires the word `distance` bytes into the payload. Returns the lane.
fn lock(session: &Session, distance: u64) -> u32 {
    let at = session.payload().0 + distance;
    let held = session.announce(at).unwrap();
    assert_eq!(session.compare_exchange_32(at, 0, held.lane + 1).unwrap(), 0);
    held.lane
}

/// Probes `lane` until its participant has been recovered.
fn probe_once(session: &Session, lane: u32) {
    while session.probe_liveness(lane).unwrap() == Liveness::Alive {
        std::thread::yield_now();
    }
}

/// The role of a process that holds a word and does what the test tells it to.
#[test]
fn holder() {
    let Some(argument) = role("peer::tests::pids::holder") else { return };
    let (distance, path) = argument.split_once(' ').unwrap();
    let session = open(path);
    tell(&lock(&session, distance.parse().unwrap()).to_string());
    loop {
        let done = match listen().as_str() {
            EXECUTE => testing::execute("executed").map(|never| match never {}),
            CLONE => testing::clone_alone().map(|child| child.to_string()),
            SHARE => testing::share_memory().map(|()| "the other ended".to_owned()),
            _ => return,
        };
        tell(&done.unwrap_or_else(|why| format!("{CANNOT}{why}")));
    }
}

const EXECUTE: &str = "execute";
const CLONE: &str = "clone";
const SHARE: &str = "share";
const CANNOT: &str = "cannot: ";

/// Starts a holder of the word at `distance`. Returns it and its lane once it holds the word.
fn held(file: &Scratch, distance: u64) -> (Second, u32) {
    let argument = format!("{distance} {}", file.name());
    let mut second = Second::start("peer::tests::pids::holder", &argument);
    let lane = second.hear().parse().unwrap();
    (second, lane)
}

/// Tells a holder to do `what`. Returns its answer, or prints the reason and returns `None` if the
/// system cannot do it.
fn done(second: &mut Second, what: &str) -> Option<String> {
    second.say(what);
    let told = second.hear();
    match told.strip_prefix(CANNOT) {
        None => Some(told),
        Some(why) => {
            eprintln!("skipped: {why}");
            None
        }
    }
}

/// The process keeps its id and start time, but its address space is gone.
#[test]
fn a_process_that_executes_another_program_is_dead() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let (mut second, lane) = held(&file, 0);
    let Some(told) = done(&mut second, EXECUTE) else { return };
    assert_eq!(told, "executed");
    probe_once(&session, lane);
    assert_eq!(session.load_32(session.payload().0).unwrap(), DIED);
    assert_eq!(session.participants().unwrap().len(), 1);
}

#[test]
fn a_clone_does_not_keep_its_parent_alive() {
    need_atomics!();
    need_wipes!();
    let file = Scratch::new();
    let session = file.create();
    let (mut second, lane) = held(&file, 0);
    let Some(clone) = done(&mut second, CLONE) else { return };
    let _clone = Stray::new(clone.parse().unwrap());
    assert_eq!(session.probe_liveness(lane).unwrap(), Liveness::Alive);
    second.kill();
    probe_once(&session, lane);
    assert_eq!(session.load_32(session.payload().0).unwrap(), DIED);
}

#[test]
fn the_death_of_a_clone_in_the_same_address_space_is_no_death() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let (mut second, lane) = held(&file, 0);
    let Some(told) = done(&mut second, SHARE) else { return };
    assert_eq!(told, "the other ended");
    for _ in 0..100 {
        assert_eq!(session.probe_liveness(lane).unwrap(), Liveness::Alive);
    }
    assert_eq!(session.load_32(session.payload().0).unwrap(), lane + 1);
    second.kill();
    probe_once(&session, lane);
}

/// The dead process's id belongs to another process when it is probed. That process neither counts as
/// the dead one nor is taken for dead.
#[test]
fn a_reused_id_is_another_process() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let outer = fork(|| {
        if let Err(why) = testing::leave_ids() {
            eprintln!("skipped: {why}");
            return;
        }
        assert!(fork(|| use_an_id_again(&session)).unwrap().passed());
    });
    match outer {
        Some(outer) => assert!(outer.passed()),
        None => eprintln!("skipped: this system has no fork"),
    }
}

/// Runs in the first process of a pid namespace, where ids can be chosen.
fn use_an_id_again(session: &Session) {
    // Forks a child that acquires the word at `distance` and sleeps.
    let start = |distance| {
        let child = fork(|| {
            lock(session, distance);
            loop {
                std::thread::park();
            }
        })
        .unwrap();
        let at = session.payload().0 + distance;
        while session.load_32(at).unwrap() == 0 {
            std::thread::yield_now();
        }
        (child, session.load_32(at).unwrap() - 1)
    };
    let (first, lane) = start(0);
    let id = first.id();
    first.kill();
    if let Err(why) = testing::choose_id(id) {
        eprintln!("skipped: {why}");
        return;
    }
    let (second, others) = start(16);
    assert_eq!(second.id(), id, "the id was not reused");
    assert_ne!(others, lane, "a dead participant's lane is not free before recovery");
    // One process is dead and the other alive, although their ids are equal.
    probe_once(session, lane);
    assert_eq!(session.load_32(session.payload().0).unwrap(), DIED);
    assert_eq!(session.probe_liveness(others).unwrap(), Liveness::Alive);
    assert_eq!(session.load_32(session.payload().0 + 16).unwrap(), others + 1);
    second.kill();
    probe_once(session, others);
    assert_eq!(session.load_32(session.payload().0 + 16).unwrap(), DIED);
}

/// The first process of a pid namespace has a child that is the first of another: with the same id, and
/// a copy of its memory.
#[test]
fn a_child_of_the_same_id_is_another_process() {
    need_atomics!();
    need_wipes!();
    let file = Scratch::new();
    let session = file.create();
    let outer = fork(|| {
        if let Err(why) = testing::leave_ids() {
            eprintln!("skipped: {why}");
            return;
        }
        assert!(fork(|| have_a_child_of_the_same_id(&session)).unwrap().passed());
    });
    assert!(outer.is_none_or(Forked::passed));
}

fn have_a_child_of_the_same_id(session: &Session) {
    let lane = lock(session, 0);
    let (id, parent) = (std::process::id(), session.own.participant().unwrap());
    testing::leave_ids().unwrap();
    let child = fork(|| {
        assert_eq!(std::process::id(), id);
        assert_eq!(session.own.participant(), None);
        assert_ne!(lock(session, 16), lane);
        assert!(session.inherited.avoids(lane), "a copied guard names this lane");
        let own = session.own.participant().unwrap();
        let there = session.participants().unwrap();
        let [parent, own] =
            [parent, own].map(|number| there.iter().find(|one| one.number == number).unwrap());
        assert_eq!((parent.process, own.process), (id, id));
        assert_ne!(parent.id_space, own.id_space);
        assert_eq!(own.id_space, process::id_space());
        assert!(own.start_time >= parent.start_time);
    });
    assert!(child.unwrap().passed());
}

/// The role of a process that recovers a dead participant, and waits in the middle of it.
#[test]
fn recoverer() {
    fn wait_half_way(session: &Session, slot: u64, what: u64, lane: u32) -> Result<()> {
        tell("half-way");
        listen();
        release(session, slot, what, lane)
    }
    let Some(path) = role("peer::tests::pids::recoverer") else { return };
    let (location, terms) = (Location::file(path), OpenOptions::separate());
    let session = create::open(&location, &shape(), &terms, wait_half_way).unwrap();
    tell("attached");
    listen();
    while session.recover_dead().unwrap() == 0 {
        std::thread::yield_now();
    }
    tell("done");
    listen();
}

/// Kills two holders, the first of which is being recovered by a process that is stopped midway.
/// Returns the recoverer and the lanes of the two.
fn stopped_in_the_middle(file: &Scratch, session: &Session) -> Option<(Second, u32, u32)> {
    let (mut first, one) = held(file, 0);
    let mut recoverer = Second::start("peer::tests::pids::recoverer", file.name());
    recoverer.expect("attached");
    let (mut other, two) = held(file, 16);
    first.kill();
    recoverer.say("recover");
    recoverer.expect("half-way");
    if !recoverer.stop() {
        eprintln!("skipped: this system cannot stop processes");
        return None;
    }
    other.kill();
    // The second holder is recovered. The first is left to its recoverer.
    probe_once(session, two);
    assert_eq!(session.load_32(session.payload().0 + 16).unwrap(), DIED);
    for _ in 0..100 {
        assert_eq!(session.probe_liveness(one).unwrap(), Liveness::Alive);
    }
    assert_eq!(session.load_32(session.payload().0).unwrap(), one + 1);
    // Other processes attach and acquire what is free.
    let (mut third, three) = held(file, 32);
    third.kill();
    probe_once(session, three);
    Some((recoverer, one, two))
}

#[test]
fn a_stopped_recoverer_delays_only_what_its_dead_peer_held() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let Some((mut recoverer, one, _)) = stopped_in_the_middle(&file, &session) else { return };
    recoverer.go_on();
    recoverer.say("go on");
    recoverer.expect("done");
    assert_eq!(session.probe_liveness(one).unwrap(), Liveness::Recovered);
    assert_eq!(session.load_32(session.payload().0).unwrap(), DIED);
    recoverer.say("end");
    assert!(recoverer.finish().success());
}

#[test]
fn a_recoverer_that_is_killed_midway_is_replaced() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let Some((mut recoverer, one, _)) = stopped_in_the_middle(&file, &session) else { return };
    recoverer.kill();
    probe_once(&session, one);
    assert_eq!(session.load_32(session.payload().0).unwrap(), DIED);
    while session.recover_dead().unwrap() + session.participants().unwrap().len() as u32 != 1 {
        std::thread::yield_now();
    }
    for participant in 1..session.header().participants {
        assert!(is_free(&session, FIRST + u64::from(participant)));
    }
}
