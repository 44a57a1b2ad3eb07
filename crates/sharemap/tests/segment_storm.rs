//! Processes that are killed while they change a segment: nothing that was acknowledged is lost, nothing is leaked, and
//! the segment stays usable.
//!
//! Three processes of two threads change maps, named values and attached objects, of few keys that lie in the same
//! pages. Each key belongs to one thread, which writes to a ledger what it is about to do and what was acknowledged.
//! One process is killed at a time while the others go on, and often another one a moment later, which may be
//! recovering the first. Then the keys of the dead have the acknowledged value, or the one that was about to be stored.
//! A check of the whole segment follows now and then, alone, beside the writers, and after a new opening.
//!
//! The short form kills about 100 processes in shared memory and 100 on a file, the long form (`SHAREMAP_LONG=1`)
//! 10,000 each. That a storm of this form finds wrong rules is shown by the crate's internal tests.

mod common;
#[path = "segment_storm/ledger.rs"]
mod ledger;
#[path = "segment/peer.rs"]
mod peer;
#[allow(dead_code, reason = "not every test needs all of it")]
#[path = "hostile/random.rs"]
mod random;
#[path = "segment_storm/subject.rs"]
mod subject;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{TempDir, need_atomics, repeated, role};
use ledger::{Ledger, WRITERS};
use peer::{Peer, tell};
use random::Random;
use sharemap::inspect::Inspection;
use sharemap::{Location, Segment, SharedMemory, UnlinkOnDrop};
use subject::{KINDS, OWN, Subject};

const ROLE: &str = "changes_everything";
const THREADS: u64 = 2;
const PROCESSES: u64 = WRITERS / THREADS;
/// The time after which a storm without progress counts as stuck.
const STUCK: Duration = Duration::from_secs(60);

/// Returns where the segment is that an argument names.
fn location(name: &str) -> Location {
    match Path::new(name).is_absolute() {
        true => Location::file(name),
        false => Location::name(name),
    }
}

/// Child role: two threads that change keys of their own without end.
#[test]
fn changes_everything() {
    let Some(argument) = role(ROLE) else { return };
    let mut words = argument.to_str().unwrap().split(' ');
    let mut next = || words.next().unwrap();
    let (name, ledger, process) = (next(), Ledger::open(next()), next().parse::<u64>().unwrap());
    let segment = Segment::open(location(name)).unwrap();
    let ready = Barrier::new(THREADS as usize + 1);
    thread::scope(|scope| {
        for writer in THREADS * process..THREADS * (process + 1) {
            let (segment, ledger, ready) = (&segment, &ledger, &ready);
            scope.spawn(move || {
                let ended = catch_unwind(AssertUnwindSafe(|| {
                    let subject = Subject::open(segment);
                    ready.wait();
                    work(&subject, ledger, writer);
                }));
                ledger.fail();
                eprintln!("writer {writer} ended: {}", ended.is_ok());
                std::process::exit(9);
            });
        }
        ready.wait();
        tell("works");
    });
}

/// Changes keys of a writer without end.
fn work(subject: &Subject, ledger: &Ledger, writer: u64) {
    let mut random = Random::new(writer + 1000 * u64::from(std::process::id()));
    loop {
        if random.below(2_000) == 0 {
            subject.crowd(writer);
        }
        let key = subject::key(random.below(KINDS), writer, random.below(OWN));
        let acknowledged = ledger.value(key);
        // Removed as often as set.
        let value = match acknowledged != 0 && random.below(2) == 0 {
            true => 0,
            false => ledger.count(writer) + 1,
        };
        ledger.begin(writer, key, value);
        subject.change(key, acknowledged, value, &mut random);
        ledger.end(writer, key, value);
    }
}

/// Looks up random keys beside the writers, and compares them with the ledger, until `done`.
fn read(subject: &Subject, ledger: &Ledger, done: &AtomicBool) {
    let mut random = Random::new(99);
    while !done.load(Ordering::Relaxed) {
        let writer = random.below(WRITERS);
        let key = subject::key(random.below(KINDS), writer, random.below(OWN));
        let (begun, acknowledged) = (ledger.begun(writer), ledger.value(key));
        if begun.key == Some(key) {
            thread::yield_now();
            continue;
        }
        let found = subject.get(key);
        if ledger.value(key) == acknowledged && ledger.begun(writer) == begun {
            assert_eq!(found, acknowledged, "key {key} of writer {writer}, read");
            ledger.count_read();
        }
    }
}

/// What a storm did.
#[derive(Debug, Default)]
struct Storm {
    kills: u64,
    /// Deaths in the middle of an operation.
    in_operation: u64,
    operations: u64,
    /// Lookups that were compared.
    reads: u64,
    /// Checks of the whole segment, alone and beside writers.
    checks: u64,
}

/// Runs a storm of so many rounds on a new segment.
fn storm(name: &str, rounds: u64) -> Storm {
    let seed = std::env::var("SHAREMAP_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("SHAREMAP_SEED={seed}");
    let mut random = Random::new(seed);
    let ledger_name = format!("segment-ledger-{}-{}", std::process::id(), rounds);
    let _ = SharedMemory::unlink(&ledger_name);
    let _unlinked = UnlinkOnDrop::new(&ledger_name);
    let ledger = Ledger::create(&ledger_name);
    let segment = Segment::create_new(location(name), 1 << 20, 1 << 26).unwrap();
    Subject::create(&segment);
    let mut storm = Storm::default();
    let start = |process: u64| {
        let mut peer = Peer::start(ROLE, &format!("{name} {ledger_name} {process}"));
        assert_eq!(peer.hear(), "works");
        peer
    };
    let mut peers: Vec<Peer> = (0..PROCESSES).map(start).collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let subject = Subject::open(&segment);
        scope.spawn(|| {
            if catch_unwind(AssertUnwindSafe(|| read(&Subject::open(&segment), &ledger, &done)))
                .is_err()
            {
                ledger.fail();
            }
        });
        let ended = catch_unwind(AssertUnwindSafe(|| {
            for round in 0..rounds {
                let dead = kill(&ledger, &mut peers, &mut random);
                let ids: Vec<u32> =
                    dead.iter().map(|&process| peers[process as usize].id()).collect();
                thread::sleep(Duration::from_micros(random.below(1500)));
                recover(&segment, name, &ids);
                storm.kills += dead.len() as u64;
                for &process in &dead {
                    storm.in_operation += compare(&subject, &ledger, process);
                    (THREADS * process..THREADS * (process + 1))
                        .for_each(|it| subject.disperse(it));
                }
                if round % 16 == 0 {
                    check(&segment, None);
                    storm.checks += 1;
                }
                for process in dead {
                    peers[process as usize] = start(process);
                }
                if round % 32 == 31 {
                    peers.iter_mut().for_each(Peer::kill);
                    let ids: Vec<u32> = peers.iter().map(Peer::id).collect();
                    recover(&segment, name, &ids);
                    for process in 0..PROCESSES {
                        compare(&subject, &ledger, process);
                    }
                    (0..WRITERS).for_each(|writer| subject.disperse(writer));
                    subject.assert_few();
                    check(&segment, Some(subject.attached()));
                    storm.checks += 1;
                    peers = (0..PROCESSES).map(start).collect();
                }
            }
        }));
        done.store(true, Ordering::Relaxed);
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    assert!(!ledger.has_failed(), "a process found something wrong, and said what");
    // All die together, and the segment is opened again.
    peers.iter_mut().for_each(Peer::kill);
    drop((peers, segment));
    let segment = Segment::open(location(name)).unwrap();
    let subject = Subject::open(&segment);
    for process in 0..PROCESSES {
        compare(&subject, &ledger, process);
    }
    check(&segment, Some(subject.attached()));
    // It has room still, and everything can be removed from it.
    subject.remove_all();
    check(&segment, Some(0));
    storm.operations = (0..WRITERS).map(|writer| ledger.count(writer)).sum();
    storm.reads = ledger.reads();
    storm
}

/// Kills a process, and often another one a moment later. Returns which.
fn kill(ledger: &Ledger, peers: &mut [Peer], random: &mut Random) -> Vec<u64> {
    let counts = || (0..WRITERS).map(|writer| ledger.count(writer)).sum::<u64>();
    let (before, start) = (counts(), Instant::now());
    thread::sleep(Duration::from_micros(random.below(2000)));
    while counts() < before + 50 {
        assert!(!ledger.has_failed(), "a process found something wrong, and said what");
        assert!(start.elapsed() < STUCK, "no process goes on");
        thread::yield_now();
    }
    let victim = random.below(PROCESSES);
    peers[victim as usize].kill();
    let mut dead = vec![victim];
    if random.below(2) == 0 {
        let also = (victim + 1 + random.below(PROCESSES - 1)) % PROCESSES;
        thread::sleep(Duration::from_micros(random.below(1500)));
        peers[also as usize].kill();
        dead.push(also);
    }
    dead
}

/// Waits until the dead processes are recovered, by the others or by this one.
fn recover(segment: &Segment, name: &str, dead: &[u32]) {
    let start = Instant::now();
    loop {
        segment.repair().unwrap();
        let inspection = Inspection::open(location(name)).unwrap();
        let attached = inspection.participants().unwrap();
        if !attached.iter().any(|one| dead.contains(&one.process)) {
            return;
        }
        assert!(start.elapsed() < STUCK, "the dead are not recovered: {attached:?}");
    }
}

/// Compares the keys of a dead process with the ledger. Returns how many of its threads died in an operation.
fn compare(subject: &Subject, ledger: &Ledger, process: u64) -> u64 {
    let mut in_operation = 0;
    for writer in THREADS * process..THREADS * (process + 1) {
        let begun = ledger.begun(writer);
        in_operation += u64::from(begun.key.is_some());
        for kind in 0..KINDS {
            for key in (0..OWN).map(|index| subject::key(kind, writer, index)) {
                let (found, acknowledged) = (subject.get(key), ledger.value(key));
                let is_new = begun.key == Some(key) && found == begun.value;
                assert!(
                    found == acknowledged || is_new,
                    "key {key} of kind {kind} of writer {writer} is {found}, was acknowledged as {acknowledged}, {begun:?}"
                );
            }
        }
        if let Some(key) = begun.key {
            ledger.end(writer, key, subject.get(key));
        }
    }
    in_operation
}

/// Checks the segment. If no process writes, `unattached` is the number of objects that only places refer to.
fn check(segment: &Segment, unattached: Option<u64>) {
    let report = segment.check().unwrap();
    assert!(report.is_healthy(), "{report:?}");
    if let Some(expected) = unattached {
        assert_eq!(report.unattached, expected, "leaked: {report:?}");
    }
}

fn rounds() -> u64 {
    repeated(6_700, 64)
}

#[test]
fn nothing_is_lost_in_shared_memory() {
    need_atomics!();
    let name = format!("segment-storm-{}", std::process::id());
    let _ = Segment::unlink(&name);
    let _unlinked = UnlinkOnDrop::new(&name);
    let storm = storm(&name, rounds());
    println!("{storm:?}");
    assert!(storm.in_operation > 0, "{storm:?}");
}

#[test]
fn nothing_is_lost_in_a_file() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.join("segment");
    let storm = storm(path.to_str().unwrap(), rounds() + 1);
    println!("{storm:?}");
    assert!(storm.in_operation > 0, "{storm:?}");
}
