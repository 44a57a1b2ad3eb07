//! Processes that are told apart by nothing but the kernel's word: ids that are used again, programs
//! that take over a process, children made behind the C library's back, recoverers that stop.

use super::{DIED, Scratch, need_atomics, need_wipes, open, release, shape};
use crate::error::Result;
use crate::peer::machine::{Liveness, Machine};
use crate::peer::session::{FIRST, Session};
use crate::peer::{OpenOptions, create};
use crate::shm::Location;
use crate::sys::process;
use crate::testing::child::{Forked, Second, fork, listen, role, tell};
use crate::testing::process_tricks::{self, Stray};

/// Locks the word at this distance into the payload; gives the lane.
fn lock(session: &Session, distance: u64) -> u32 {
    let at = session.payload_at() + distance;
    let held = session.announce(at).unwrap();
    assert_eq!(session.compare_exchange_32(at, 0, held.lane + 1).unwrap(), 0);
    held.lane
}

fn probe_once(session: &Session, lane: u32) {
    while session.probe_liveness(lane).unwrap() == Liveness::Alive {
        std::thread::yield_now();
    }
}

/// Has a word, and does what it is told.
#[test]
fn holder() {
    let Some(argument) = role("peer::tests::pids::holder") else { return };
    let (distance, path) = argument.split_once(' ').unwrap();
    let session = open(path);
    tell(&lock(&session, distance.parse().unwrap()).to_string());
    loop {
        let done = match listen().as_str() {
            EXECUTE => process_tricks::execute("executed").map(|never| match never {}),
            CLONE => process_tricks::clone_alone().map(|child| child.to_string()),
            SHARE => process_tricks::share_memory().map(|()| "the other ended".to_owned()),
            _ => return,
        };
        tell(&done.unwrap_or_else(|why| format!("{CANNOT}{why}")));
    }
}

const EXECUTE: &str = "execute";
const CLONE: &str = "clone";
const SHARE: &str = "share";
const CANNOT: &str = "cannot: ";

fn held(file: &Scratch, distance: u64) -> (Second, u32) {
    let argument = format!("{distance} {}", file.name());
    let mut second = Second::start("peer::tests::pids::holder", &argument);
    let lane = second.hear().parse().unwrap();
    (second, lane)
}

/// Has it do that; what it tells then. `None`, and a reason printed, where that cannot be done.
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

/// The same process with the same start, and another program in it: its memory is gone.
#[test]
fn a_process_that_executes_another_program_is_dead() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let (mut second, lane) = held(&file, 0);
    let Some(told) = done(&mut second, EXECUTE) else { return };
    assert_eq!(told, "executed");
    probe_once(&session, lane);
    assert_eq!(session.load_32(session.payload_at()).unwrap(), DIED);
    assert_eq!(session.participants().unwrap().len(), 1);
}

#[test]
fn a_clone_keeps_nobody_alive() {
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
    assert_eq!(session.load_32(session.payload_at()).unwrap(), DIED);
}

#[test]
fn a_clone_in_the_same_memory_takes_nobody_along() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let (mut second, lane) = held(&file, 0);
    let Some(told) = done(&mut second, SHARE) else { return };
    assert_eq!(told, "the other ended");
    for _ in 0..100 {
        assert_eq!(session.probe_liveness(lane).unwrap(), Liveness::Alive);
    }
    assert_eq!(session.load_32(session.payload_at()).unwrap(), lane + 1);
    second.kill();
    probe_once(&session, lane);
}

/// Its number is another process's when it is asked about: that one neither counts as it, nor is
/// taken for dead.
#[test]
fn an_id_that_is_used_again_is_another_process() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let outer = fork(|| {
        if let Err(why) = process_tricks::leave_ids() {
            eprintln!("skipped: {why}");
            return;
        }
        assert!(fork(|| use_an_id_again(&session)).unwrap().passed());
    });
    match outer {
        Some(outer) => assert!(outer.passed()),
        None => eprintln!("skipped: nothing forks here"),
    }
}

/// In the first process of a namespace, where ids can be chosen.
fn use_an_id_again(session: &Session) {
    // A child that has the word and sleeps.
    let start = |distance| {
        let child = fork(|| {
            lock(session, distance);
            loop {
                std::thread::park();
            }
        })
        .unwrap();
        let at = session.payload_at() + distance;
        while session.load_32(at).unwrap() == 0 {
            std::thread::yield_now();
        }
        (child, session.load_32(at).unwrap() - 1)
    };
    let (first, lane) = start(0);
    let id = first.id();
    first.kill();
    if let Err(why) = process_tricks::choose_id(id) {
        eprintln!("skipped: {why}");
        return;
    }
    let (second, others) = start(16);
    assert_eq!(second.id(), id, "the id was to be used again");
    assert_ne!(others, lane, "the dead one's lane is not free before it is recovered");
    // One is dead and the other lives, whatever their number.
    probe_once(session, lane);
    assert_eq!(session.load_32(session.payload_at()).unwrap(), DIED);
    assert_eq!(session.probe_liveness(others).unwrap(), Liveness::Alive);
    assert_eq!(session.load_32(session.payload_at() + 16).unwrap(), others + 1);
    second.kill();
    probe_once(session, others);
    assert_eq!(session.load_32(session.payload_at() + 16).unwrap(), DIED);
}

/// The first process of a namespace has a child that is the first of another: of the same id, and with
/// a copy of its memory.
#[test]
fn a_child_of_the_same_id_is_another_process() {
    need_atomics!();
    need_wipes!();
    let file = Scratch::new();
    let session = file.create();
    let outer = fork(|| {
        if let Err(why) = process_tricks::leave_ids() {
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
    process_tricks::leave_ids().unwrap();
    let child = fork(|| {
        assert_eq!(std::process::id(), id);
        assert_eq!(session.own.participant(), None);
        assert_ne!(lock(session, 16), lane);
        assert!(session.inherited.avoids(lane), "a guard that was copied would have it");
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

/// Recovers somebody, and waits in the middle of it.
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

/// Two that are dead; the first is being recovered by one who is stopped in the middle of it.
fn stopped_in_the_middle(file: &Scratch, session: &Session) -> Option<(Second, u32, u32)> {
    let (mut first, one) = held(file, 0);
    let mut recoverer = Second::start("peer::tests::pids::recoverer", file.name());
    recoverer.expect("attached");
    let (mut other, two) = held(file, 16);
    first.kill();
    recoverer.say("recover");
    recoverer.expect("half-way");
    if !recoverer.stop() {
        eprintln!("skipped: nothing stops processes here");
        return None;
    }
    other.kill();
    // The dead one that nobody is at is recovered; the other waits for whoever is at it.
    probe_once(session, two);
    assert_eq!(session.load_32(session.payload_at() + 16).unwrap(), DIED);
    for _ in 0..100 {
        assert_eq!(session.probe_liveness(one).unwrap(), Liveness::Alive);
    }
    assert_eq!(session.load_32(session.payload_at()).unwrap(), one + 1);
    // Others come, and have what is free.
    let (mut third, three) = held(file, 32);
    third.kill();
    probe_once(session, three);
    Some((recoverer, one, two))
}

#[test]
fn a_stopped_recoverer_holds_up_what_its_dead_peer_had_and_nothing_else() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let Some((mut recoverer, one, _)) = stopped_in_the_middle(&file, &session) else { return };
    recoverer.go_on();
    recoverer.say("go on");
    recoverer.expect("done");
    assert_eq!(session.probe_liveness(one).unwrap(), Liveness::Recovered);
    assert_eq!(session.load_32(session.payload_at()).unwrap(), DIED);
    recoverer.say("end");
    assert!(recoverer.finish().success());
}

#[test]
fn a_recoverer_that_is_killed_where_it_is_stopped_is_replaced() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let Some((mut recoverer, one, _)) = stopped_in_the_middle(&file, &session) else { return };
    recoverer.kill();
    probe_once(&session, one);
    assert_eq!(session.load_32(session.payload_at()).unwrap(), DIED);
    while session.recover_dead().unwrap() + session.participants().unwrap().len() as u32 != 1 {
        std::thread::yield_now();
    }
    for participant in 1..session.header().participants {
        assert!(session.slots.is_free(FIRST + u64::from(participant)).unwrap());
    }
}
