//! Processes that change pages and are killed one at a time, some of them while they recover another.
//!
//! Three processes of two threads share four pages. Each key belongs to one thread, which records in the ledger what
//! it begins and what was acknowledged; the keys of all threads share the pages. After each death the keys of the
//! dead have the acknowledged value, or the value that was about to be stored. A reader compares keys with the ledger
//! all the time, and the sum of two accounts.
//!
//! Before the storm says anything about the rules of a segment, it must find the rules that are wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Random;
use super::ledger::{LEDGER, Ledger, WRITERS};
use super::pages::{self, KEYS, Noisy, Pages, Rule, SUM};
use crate::error::Result;
use crate::guard::{Recovery, recovery};
use crate::peer::Session;
use crate::shm::{Location, unlink};
use crate::testing::child::{Second, role, tell};

const ROLE: &str = "segment::tests::storm::killing::changes_pages";
const THREADS: u64 = 2;
const PROCESSES: u64 = WRITERS / THREADS;
/// The keys of a writer.
const OWN: u64 = KEYS / WRITERS;
/// The time after which a storm without progress counts as stuck.
const STUCK: Duration = Duration::from_secs(30);
/// The time after which a dead process is probably recovered.
const RECOVERED: Duration = Duration::from_millis(3);

fn ledger_of(name: &str) -> String {
    format!("{name}-ledger")
}

/// Returns a key of a writer. The keys of a writer lie in all pages.
fn key_of(writer: u64, index: u64) -> u64 {
    let (page, cell) = (index % 4, writer + WRITERS * (index / 4));
    4 * cell + page
}

/// Child role: changes pages until the process is killed.
#[test]
fn changes_pages() {
    let Some(argument) = role(ROLE) else { return };
    let mut words = argument.split(' ');
    let mut next = || words.next().unwrap();
    let (name, process, rule) = (next(), next().parse::<u64>().unwrap(), next());
    let rule = Rule::of(rule.parse().unwrap());
    let ledger = LEDGER.get_or_init(|| Ledger::open(&ledger_of(name)));
    let opening = pages::open(&Location::name(name)).unwrap();
    let session = opening.session();
    let ready = Barrier::new(THREADS as usize + 1);
    std::thread::scope(|scope| {
        for writer in THREADS * process..THREADS * (process + 1) {
            let ready = &ready;
            scope.spawn(move || {
                let ended = catch_unwind(AssertUnwindSafe(|| {
                    work(session, ledger, rule, writer, ready).unwrap();
                }));
                // It ends only by a panic.
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
fn work(
    session: &Session,
    ledger: &Ledger,
    rule: Rule,
    writer: u64,
    ready: &Barrier,
) -> Result<()> {
    let (announced, area) = pages::announce(session)?;
    ledger.set_lane(writer, announced.lane, pages::owner(session, announced.lane)?);
    ready.wait();
    let plan = pages::plan(session);
    let noisy = Noisy::new(session, writer, 400, &plan, rule == Rule::ReleaseKeepsSequence);
    let pages = Pages { machine: &noisy, plan, area, rule };
    loop {
        if noisy.below(16) == 0 {
            pages.transfer(1 + noisy.below(SUM))?;
        }
        let key = key_of(writer, noisy.below(OWN));
        let acknowledged = ledger.value(key);
        let value = (ledger.count(writer) + 1) << 8 | key;
        ledger.begin(writer, key, value);
        let previous = match noisy.below(2) {
            0 => pages.set(key, value)?,
            _ => pages.replace(key, value)?,
        };
        assert_eq!(previous, acknowledged, "key {key} of writer {writer}");
        ledger.end(writer, key, value);
    }
}

/// Compares keys with the ledger, and the sum of the accounts, until `done`.
fn read(session: &Session, ledger: &Ledger, rule: Rule, done: &AtomicBool) {
    let plan = pages::plan(session);
    let noisy = Noisy::new(session, 99, 400, &plan, false);
    while !done.load(Ordering::Relaxed) {
        for _ in 0..20 {
            let writer = noisy.below(WRITERS);
            let key = key_of(writer, noisy.below(OWN));
            let (begun, acknowledged) = (ledger.begun(writer), ledger.value(key));
            if begun.key == Some(key) {
                continue;
            }
            let found = pages::get(&noisy, &plan, key).unwrap();
            if ledger.value(key) == acknowledged && ledger.begun(writer) == begun {
                assert_eq!(found, acknowledged, "key {key} of writer {writer}, read ({rule:?})");
                ledger.count_get();
            }
        }
        let pause = || {
            if noisy.below(3) == 0 {
                std::thread::sleep(Duration::from_micros(noisy.below(3000)));
            }
        };
        if let Some(sum) = pages::sum(&noisy, &plan, pause).unwrap() {
            assert_eq!(sum, SUM, "the sum of the accounts ({rule:?})");
            ledger.count_sum();
        }
    }
}

/// The names of the objects, which are unlinked when the value is dropped.
struct Names(String);

impl Drop for Names {
    fn drop(&mut self) {
        let _ = unlink(&self.0);
        let _ = unlink(ledger_of(&self.0));
    }
}

/// What a storm did.
#[derive(Debug)]
struct Storm {
    kills: u64,
    /// Deaths in the middle of an operation.
    in_operation: u64,
    /// Recoveries of a lane that have begun, and that were cut short.
    recoveries: u64,
    cut_short: u64,
    operations: u64,
    /// Reads of keys and of sums that were compared.
    reads: [u64; 2],
}

/// Runs a storm of so many rounds, until something is wrong. Fails with what was wrong.
fn storm(rule: Rule, rounds: u64) -> std::result::Result<Storm, String> {
    let names = Names(format!("pages-storm-{}-{}", rule.number(), std::process::id()));
    let name = &names.0;
    let ledger = Ledger::create(&ledger_of(name));
    let opening = pages::create(&Location::name(name)).unwrap();
    let session = opening.session();
    // A process may find that something is wrong as soon as it works.
    let start = |process: u64| {
        let start = || {
            let mut second = Second::start(ROLE, &format!("{name} {process} {}", rule.number()));
            second.expect("works");
            second
        };
        catch_unwind(AssertUnwindSafe(start)).map_err(|_| format!("process {process} failed"))
    };
    let mut processes = (0..PROCESSES).map(start).collect::<std::result::Result<Vec<_>, _>>()?;
    let done = AtomicBool::new(false);
    let mut random = Random(std::process::id().into());
    let mut storm = Storm {
        kills: 0,
        in_operation: 0,
        recoveries: 0,
        cut_short: 0,
        operations: 0,
        reads: [0; 2],
    };
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let ended = catch_unwind(AssertUnwindSafe(|| read(session, &ledger, rule, &done)));
            if ended.is_err() {
                ledger.fail();
            }
        });
        let result: std::result::Result<(), String> = (0..rounds).try_for_each(|round| {
            let mut round = Round { session, ledger: &ledger, random: &mut random, round };
            let dead = round.kill(&mut processes)?;
            storm.kills += dead.len() as u64;
            storm.in_operation += round.check(&dead)?;
            for process in dead {
                processes[process as usize] = start(process)?;
            }
            Ok(())
        });
        done.store(true, Ordering::Relaxed);
        let last_words = processes.iter_mut().map(Second::last_words).collect::<String>();
        reader.join().unwrap();
        if result.is_err() || ledger.has_failed() {
            return Err(format!("{}\n{last_words}", result.err().unwrap_or_default()));
        }
        (storm.recoveries, storm.cut_short) = (ledger.recoveries(), ledger.recovering());
        storm.operations = (0..WRITERS).map(|writer| ledger.count(writer)).sum();
        storm.reads = ledger.reads();
        Ok(storm)
    })
}

/// One round of a storm.
struct Round<'a> {
    session: &'a Session,
    ledger: &'a Ledger,
    random: &'a mut Random,
    round: u64,
}

impl Round<'_> {
    /// Kills a process, and sometimes another one a moment later, which may be recovering the first. Returns which.
    fn kill(&mut self, processes: &mut [Second]) -> std::result::Result<Vec<u64>, String> {
        let counts = || (0..WRITERS).map(|writer| self.ledger.count(writer)).sum::<u64>();
        let (before, start) = (counts(), Instant::now());
        std::thread::sleep(Duration::from_micros(self.random.below(3000)));
        // All go on: the next death hits a busy process.
        while counts() < before + 20 {
            if self.ledger.has_failed() {
                return Err(format!("a process failed before round {}", self.round));
            }
            if start.elapsed() > STUCK {
                return Err(format!("no process goes on before round {}", self.round));
            }
            std::thread::yield_now();
        }
        let victim = self.random.below(PROCESSES);
        let recovering = self.ledger.recovering();
        processes[victim as usize].kill();
        let mut dead = vec![victim];
        if self.random.below(2) == 0 {
            let also = (victim + 1 + self.random.below(PROCESSES - 1)) % PROCESSES;
            // Often in the middle of a recovery.
            let start = Instant::now();
            while self.ledger.recovering() == recovering && start.elapsed() < RECOVERED {
                std::hint::spin_loop();
            }
            (0..self.random.below(20_000)).for_each(|_| std::hint::spin_loop());
            processes[also as usize].kill();
            dead.push(also);
        }
        Ok(dead)
    }

    /// Waits until the dead are recovered, by the others or by this process, and compares their keys with the ledger.
    /// Returns how many of their threads died in an operation.
    fn check(&mut self, dead: &[u64]) -> std::result::Result<u64, String> {
        std::thread::sleep(Duration::from_micros(self.random.below(1500)));
        let writers = || dead.iter().flat_map(|process| THREADS * process..THREADS * (process + 1));
        let start = Instant::now();
        let is_recovered = |writer: u64| {
            let (lane, owner) = self.ledger.lane(writer);
            pages::is_recovered(self.session, lane, owner).unwrap()
        };
        while !writers().all(is_recovered) {
            self.session.recover_dead().unwrap();
            if start.elapsed() > STUCK {
                return Err(format!("round {}: the dead are not recovered", self.round));
            }
        }
        let mut in_operation = 0;
        let plan = pages::plan(self.session);
        for writer in writers() {
            let begun = self.ledger.begun(writer);
            in_operation += u64::from(begun.key.is_some());
            for key in (0..OWN).map(|index| key_of(writer, index)) {
                let found = pages::get(self.session, &plan, key).unwrap();
                let acknowledged = self.ledger.value(key);
                let is_new = begun.key == Some(key) && found == begun.value;
                if found != acknowledged && !is_new {
                    return Err(format!(
                        "round {}: key {key} of writer {writer} is {found:x}, was acknowledged as {acknowledged:x}, {begun:?}",
                        self.round
                    ));
                }
                if begun.key == Some(key) {
                    self.ledger.end(writer, key, found);
                }
            }
        }
        Ok(in_operation)
    }
}

fn is_skipped() -> bool {
    let is_skipped = recovery() != Recovery::InPlace;
    if is_skipped {
        eprintln!("skipped: faults cannot be recovered in place here");
    }
    is_skipped
}

#[test]
fn the_rules_of_a_segment_lose_nothing() {
    if is_skipped() {
        return;
    }
    let rounds = match std::env::var("SHAREMAP_LONG") {
        Ok(long) if long == "1" => 7_000,
        _ => 60,
    };
    let storm = storm(Rule::Sound, rounds).unwrap();
    println!("{storm:?}");
    assert!(storm.in_operation > 0 && storm.recoveries > 0, "{storm:?}");
}

/// Each rule that is wrong loses an acknowledged value, or shows a reader what never was.
fn is_found(rule: Rule) {
    if is_skipped() {
        return;
    }
    let start = Instant::now();
    match storm(rule, 3_000) {
        Ok(storm) => panic!("{rule:?} was not found: {storm:?}"),
        Err(what) => {
            println!("{rule:?} after {:?}: {}", start.elapsed(), what.lines().next().unwrap_or(""));
        }
    }
}

#[test]
fn a_release_that_keeps_the_sequence_is_found() {
    is_found(Rule::ReleaseKeepsSequence);
}

#[test]
fn locks_finer_than_their_page_are_found() {
    is_found(Rule::FineLocks);
}

#[test]
fn locks_inside_pages_are_found() {
    is_found(Rule::LocksInPages);
}
