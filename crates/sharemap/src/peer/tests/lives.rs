//! Dead participants and their recovery, with child processes that are killed or stopped.

use std::sync::atomic::{AtomicU32, Ordering};

use super::{DIED, Scratch, memory_of, need_atomics, open, release, shape};
use crate::error::Result;
use crate::peer::header;
use crate::peer::machine::{Liveness, Machine};
use crate::peer::session::Session;
use crate::peer::{OpenOptions, Unclean, create};
use crate::shm::Location;
use crate::sys::testing::close_all;
use crate::testing::child::{Second, listen, role, tell};

/// The role of a process that acquires a word, by the shortest protocol that recovery supports, and
/// releases it when it is told to end.
#[test]
fn holder() {
    let Some(path) = role("peer::tests::lives::holder") else { return };
    let session = open(&path);
    let at = session.payload().0;
    let announced = session.announce(at).unwrap();
    assert_eq!(session.compare_exchange_32(at, 0, announced.lane + 1).unwrap(), 0);
    tell(&announced.lane.to_string());
    while !listen().is_empty() {}
    session.store_32(at, 0).unwrap();
    session.withdraw(announced).unwrap();
}

/// Starts a holder. Returns it and its lane once it holds the word.
fn held(file: &Scratch) -> (Second, u32) {
    let mut second = Second::start("peer::tests::lives::holder", file.name());
    let lane = second.hear().parse().unwrap();
    (second, lane)
}

/// Probes `lane` until its participant has been recovered.
fn probe_once(session: &Session, lane: u32) {
    // The kernel releases the liveness lock with the address space, which may be shortly after the
    // process can be waited for.
    while session.probe_liveness(lane).unwrap() == Liveness::Alive {
        std::thread::yield_now();
    }
}

#[test]
fn dead_participants_are_recovered_and_their_numbers_reused() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let at = session.payload().0;
    for round in 0..3 {
        let (mut second, lane) = held(&file);
        assert_eq!(lane, 0, "round {round}");
        assert_eq!(session.probe_liveness(lane).unwrap(), Liveness::Alive);
        assert_eq!(session.participants().unwrap().len(), 2);
        second.kill();
        probe_once(&session, lane);
        assert_eq!(session.load_32(at).unwrap(), DIED);
        assert_eq!(session.load_64(session.slots(lane)).unwrap(), 0);
        assert_eq!(session.load_32(session.header().lane(lane)).unwrap(), 0);
        assert_eq!(session.participants().unwrap().len(), 1);
        session.store_32(at, 0).unwrap();
    }
    let (mut second, _) = held(&file);
    assert!(second.finish().success());
    assert_eq!(session.load_32(at).unwrap(), 0, "a process that detaches leaves nothing");
    assert_eq!(session.participants().unwrap().len(), 1);
}

#[test]
fn an_attaching_process_recovers_the_participant_it_replaces() {
    need_atomics!();
    let file = Scratch::new();
    drop(super::create_with(file.name(), &super::ExpectedLayout { participants: 1, ..shape() }));
    let (mut second, lane) = held(&file);
    second.kill();
    // The only record is the dead one's. Its liveness lock may outlive the process for a moment.
    let session = loop {
        match create::open(&file.location(), &shape(), &OpenOptions::separate(), release) {
            Ok(session) => break session,
            Err(error) => assert_eq!(error.kind(), crate::error::ErrorKind::TooManyProcesses),
        }
    };
    assert_eq!(session.load_32(session.payload().0).unwrap(), DIED);
    assert_eq!(session.load_32(session.header().lane(lane)).unwrap(), 0);
}

/// The recoverer dies after it has released the word, and before it has emptied the slot.
#[test]
fn an_interrupted_recovery_is_repeated() {
    const ROLE: &str = "peer::tests::lives::an_interrupted_recovery_is_repeated";
    fn die_half_way(session: &Session, slot: u64, what: u64, lane: u32) -> Result<()> {
        release(session, slot, what, lane)?;
        std::process::abort();
    }
    if let Some(path) = role(ROLE) {
        let location = Location::file(path);
        let session =
            create::open(&location, &shape(), &OpenOptions::separate(), die_half_way).unwrap();
        tell("attached");
        listen();
        session.recover_dead().unwrap();
        unreachable!("there was a dead participant to recover");
    }
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let (mut second, lane) = held(&file);
    let mut third = Second::start(ROLE, file.name());
    third.expect("attached");
    second.kill();
    while !session.slots.is_free(crate::peer::header::FIRST + 1).unwrap() {
        std::thread::yield_now();
    }
    third.say("recover");
    assert!(!third.finish().success());
    assert_eq!(session.load_32(session.payload().0).unwrap(), DIED);
    assert_ne!(
        session.load_64(session.slots(lane)).unwrap(),
        0,
        "the recoverer died before it emptied the slot"
    );
    // The holder and its recoverer are dead now.
    while session.recover_dead().unwrap() + session.participants().unwrap().len() as u32 != 1 {
        std::thread::yield_now();
    }
    assert_eq!(session.load_64(session.slots(lane)).unwrap(), 0);
    assert_eq!(session.participants().unwrap().len(), 1);
}

#[test]
fn exactly_one_of_many_survivors_recovers() {
    static RELEASED: AtomicU32 = AtomicU32::new(0);
    fn count(session: &Session, slot: u64, what: u64, lane: u32) -> Result<()> {
        RELEASED.fetch_add(1, Ordering::Relaxed);
        release(session, slot, what, lane)
    }
    need_atomics!();
    let file = Scratch::new();
    drop(file.create());
    let terms = OpenOptions::separate();
    let sessions: Vec<_> =
        (0..4).map(|_| create::open(&file.location(), &shape(), &terms, count).unwrap()).collect();
    for round in 1..=5 {
        let (mut second, lane) = held(&file);
        second.kill();
        std::thread::scope(|scope| {
            for session in &sessions {
                scope.spawn(|| probe_once(session, lane));
                scope.spawn(|| probe_once(session, lane));
            }
        });
        assert_eq!(RELEASED.load(Ordering::Relaxed), round);
        assert_eq!(sessions[0].swap_32(sessions[0].payload().0, 0).unwrap(), DIED);
    }
}

#[test]
fn a_stopped_owner_is_alive() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let (mut second, lane) = held(&file);
    if !second.stop() {
        eprintln!("skipped: this system cannot stop processes");
        return;
    }
    for _ in 0..100 {
        assert_eq!(session.probe_liveness(lane).unwrap(), Liveness::Alive);
    }
    assert_eq!(session.load_32(session.payload().0).unwrap(), lane + 1);
    second.kill();
    probe_once(&session, lane);
}

#[test]
fn lanes_of_dead_participants_are_reused() {
    need_atomics!();
    let file = Scratch::new();
    let session = super::create_with(file.name(), &super::ExpectedLayout { lanes: 2, ..shape() });
    let mine: Vec<_> = (1..=7).map(|what| session.announce(what * 16).unwrap()).collect();
    let (mut second, lane) = held(&file);
    assert_eq!(lane, 1);
    second.kill();
    // The eighth announcement needs another lane, and the only one is a dead participant's.
    let eighth = session.announce(1024).unwrap();
    assert_eq!(eighth.lane, 1);
    assert_eq!(session.load_32(session.payload().0).unwrap(), DIED);
    mine.into_iter().chain([eighth]).for_each(|one| session.withdraw(one).unwrap());
}

/// The role of a process that attaches and holds nothing.
#[test]
fn bystander() {
    let Some(path) = role("peer::tests::lives::bystander") else { return };
    let _session = open(&path);
    tell("attached");
    while !listen().is_empty() {}
}

/// A dead participant that held nothing blocks no waiter. The last participant that leaves recovers it,
/// and marks the object clean.
#[test]
fn the_death_of_a_bystander_does_not_leave_the_object_unclean() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let mut second = Second::start("peer::tests::lives::bystander", file.name());
    second.expect("attached");
    second.kill();
    while !session.slots.is_free(crate::peer::header::FIRST + 1).unwrap() {
        std::thread::yield_now();
    }
    assert_eq!(session.participants().unwrap().len(), 2);
    drop(session);
    let memory = memory_of(&file.0);
    assert_eq!(memory.load::<u32>(header::CLEAN).unwrap(), 1);
}

/// A participant of an earlier boot still holds a word. An opening that accepts an unclean object
/// recovers it.
#[test]
fn participants_of_an_earlier_boot_are_recovered() {
    need_atomics!();
    if crate::sys::process::boot_id().is_none() {
        eprintln!("skipped: this system does not identify its boots");
        return;
    }
    let file = Scratch::new();
    let session = file.create();
    let header = *session.header();
    drop(session);
    let (memory, last) = (memory_of(&file.0), header.participants - 1);
    memory.write(header::BOOT, &[1; 16]).unwrap();
    memory.store(header::CLEAN, 0u32).unwrap();
    memory.store(header.participant(last), 1u32).unwrap();
    memory.store(header.lane(0), last + 1).unwrap();
    memory.store(header.lane(0) + 8, header.payload_at).unwrap();
    memory.store(header.payload_at, 1u32).unwrap();
    let terms = OpenOptions { unclean: Unclean::Accepted, ..OpenOptions::separate() };
    let refused = create::open(&file.location(), &shape(), &OpenOptions::separate(), release);
    assert_eq!(refused.unwrap_err().kind(), crate::error::ErrorKind::Unclean);
    let session = create::open(&file.location(), &shape(), &terms, release).unwrap();
    assert_eq!(session.participants().unwrap().len(), 1);
    assert_eq!(session.load_32(header.payload_at).unwrap(), DIED);
    drop(session);
    assert_eq!(memory.load::<u32>(header::CLEAN).unwrap(), 1);
}

/// A misbehaving peer may write anything to the header and the tables: no operation panics, accesses
/// memory out of bounds, or runs for ever.
#[test]
fn corrupted_tables_do_no_harm() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let header = *session.header();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for _ in 0..300 {
        let table = header::STATE + next() % (header.payload_at - header::STATE - 8);
        let value = match next() % 4 {
            0 => next(),
            1 => next() % 100,
            2 => u64::MAX,
            _ => 0,
        };
        session.memory.store(table & !7, value).unwrap();
        let _ = session.probe_liveness((next() % 300) as u32);
        let _ = session.announced(16);
        let _ = session.participants();
        let _ = create::open(&file.location(), &shape(), &OpenOptions::separate(), release);
        if let Ok(announced) = session.announce(16) {
            let _ = session.withdraw(announced);
        }
    }
    let _ = session.recover_dead();
}

/// All descriptors of the recoverer, those for liveness queries included, were closed by other code.
#[test]
fn recovery_works_after_all_descriptors_are_closed() {
    const ROLE: &str = "peer::tests::lives::recovery_works_after_all_descriptors_are_closed";
    if let Some(path) = role(ROLE) {
        let session = open(&path);
        // Dropping it would close descriptors that are no longer its own.
        let session = std::mem::ManuallyDrop::new(session);
        tell(if close_all() { "closed" } else { "unsupported" });
        let lane = listen().parse().unwrap();
        // The numbers of the closed descriptors now mean other files.
        let others: Vec<_> =
            (0..20).map(|_| std::fs::File::open(std::env::current_exe().unwrap())).collect();
        assert_eq!(session.probe_liveness(lane).unwrap(), Liveness::Alive);
        tell("alive");
        listen();
        probe_once(&session, lane);
        assert_eq!(session.load_32(session.payload().0).unwrap(), DIED);
        std::mem::forget(others);
        tell("recovered");
        listen();
        return;
    }
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let mut third = Second::start(ROLE, file.name());
    if third.hear() != "closed" {
        eprintln!("skipped: this system has no call that closes all descriptors");
        return;
    }
    let (mut second, lane) = held(&file);
    third.say(&lane.to_string());
    third.expect("alive");
    assert!(session.participants().unwrap().iter().all(|one| one.is_alive));
    second.kill();
    third.say("probe");
    third.expect("recovered");
    third.kill();
    while session.recover_dead().unwrap() == 0 {
        std::thread::yield_now();
    }
    assert_eq!(session.participants().unwrap().len(), 1);
}

/// The role of a process that attaches, locks, unlocks and detaches until it is killed. It checks, by
/// a second word that only an owner changes, that there is one owner at a time.
#[test]
fn storm() {
    let Some(path) = role("peer::tests::lives::storm") else { return };
    // Wine closes the files of a dropped session only when no process has the file open any more, because its
    // locks end with any descriptor of the file; a faster machine would reach the limit of descriptors.
    const OPENINGS: u32 = 200;
    tell("on");
    let mut session = open(&path);
    let mut openings = 1;
    loop {
        let at = session.payload().0;
        for _ in 0..20 {
            let held = session.announce(at).unwrap();
            loop {
                let word = session.load_32(at).unwrap();
                if word == 0 || word == DIED {
                    if session.compare_exchange_32(at, word, held.lane + 1).unwrap() == word {
                        break;
                    }
                } else {
                    session.probe_liveness(word - 1).unwrap();
                    std::thread::yield_now();
                }
            }
            assert_eq!(session.swap_32(at + 8, held.lane + 1).unwrap(), 0, "two owners");
            session.store_32(at + 8, 0).unwrap();
            session.swap_32(at, 0).unwrap();
            session.withdraw(held).unwrap();
        }
        if openings < OPENINGS {
            drop(session);
            session = open(&path);
            openings += 1;
        }
    }
}

#[test]
fn nothing_is_left_after_a_storm_of_kills() {
    const KILLS: usize = 12;
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let start = || {
        let mut second = Second::start("peer::tests::lives::storm", file.name());
        second.expect("on");
        second
    };
    let mut running: Vec<Second> = (0..4).map(|_| start()).collect();
    let mut random = 88_172_645_463_325_252_u64;
    for kill in 0..KILLS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        for _ in 0..random % 200 {
            std::thread::yield_now();
        }
        running[kill % 4] = start();
    }
    running.iter_mut().for_each(Second::kill);
    while session.participants().unwrap().len() > 1 {
        session.recover_dead().unwrap();
    }
    let word = session.load_32(session.payload().0).unwrap();
    assert!(word == 0 || word == DIED, "held by {word}");
    for lane in 0..session.lanes() {
        assert_eq!(session.load_32(session.header().lane(lane)).unwrap(), 0, "lane {lane}");
    }
}
