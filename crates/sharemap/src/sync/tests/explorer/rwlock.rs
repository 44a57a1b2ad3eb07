//! The reader-writer lock: exclusion, whole values, reports of deaths, no missed wake-ups.

use crate::error::Result;
use crate::peer::{Machine, Slot};
use crate::sync::algorithms::exclusive::{Acquisition, Exclusive, ReleaseState};
use crate::sync::algorithms::rwlock::{RawRwLock, Reading};
use crate::sync::core::unlock::Waiting;
use crate::testing::explorer::search::{caught, sound, walked};
use crate::testing::explorer::sim::Sim;
use crate::testing::explorer::state::{Carry, LOCK};
use crate::testing::explorer::{Fault, Lanes, Program, Setup};

const WORD: u64 = LOCK;
const SEEN: u64 = LOCK + 4;
const GATE: u64 = LOCK + 8;
const DRAIN: u64 = LOCK + 12;
const AGAIN: u64 = LOCK + 24;
/// The value, which one store writes and makes current.
const VALUE: u64 = LOCK + 32;

// How a process holds the lock.
const READS: u8 = 1;
const MAY_WRITE: u8 = 2;
const WRITES: u8 = 3;

fn lock() -> RawRwLock {
    RawRwLock::new(LOCK, 4)
}

/// Acquires the lock for reading as its handle does: at once, with what the value is read by, or else by the slow
/// path.
fn read_at_once(sim: &Sim<'_>) -> Result<(Reading, Option<u64>)> {
    let slot = sim.empty_slot()?;
    lock().announce_read_in(sim, slot)?;
    match lock().admit_and_load(sim, slot)? {
        (0, true, lead) => Ok((Reading::at_once(slot.0), Some(lead))),
        _ => Ok((lock().read_announced(sim, slot.0, None)?, None)),
    }
}

/// Acquires the lock for reading by separate accesses.
fn read(sim: &Sim<'_>) -> Result<Reading> {
    let announced = lock().announce_read(sim)?;
    if lock().read_at_once(sim, announced) {
        return Ok(Reading::at_once(announced));
    }
    lock().read_announced(sim, announced, None)
}

/// Notes that the process holds the lock, and checks that no excluded process does.
fn enter(sim: &Sim<'_>, way: u8, died: Option<bool>) {
    let me = sim.me;
    sim.ghost(|ghost| {
        for (other, &inside) in ghost.inside.iter().enumerate() {
            let beside = inside == 0 || (way.min(inside) == READS && way.max(inside) != WRITES);
            if other != me && !beside {
                return Err(format!("process {me} holds it as {way}, process {other} as {inside}"));
            }
        }
        ghost.inside[me] = way;
        match died {
            Some(told) if told != ghost.owed => {
                Err(format!("a death was reported: {told}, expected: {}", ghost.owed))
            }
            _ => Ok(()),
        }
    });
}

/// Notes that the process is about to release the lock.
fn leave(sim: &Sim<'_>) {
    let me = sim.me;
    sim.ghost(|ghost| {
        ghost.inside[me] = 0;
        Ok(())
    });
}

/// Returns the value, which must be the number of commits, and its selector.
fn value(sim: &Sim<'_>) -> (u32, u32) {
    value_after(sim, None)
}

/// Returns the value and its selector like [`value`], from what was loaded when the lock was acquired.
fn value_after(sim: &Sim<'_>, lead: Option<u64>) -> (u32, u32) {
    let mut value = [0; 4];
    let selector = sim.expect(match lead {
        Some(lead) => lock().value().read_after(sim, lead, &mut value),
        None => lock().value().read(sim, &mut value),
    });
    let number = u32::from_le_bytes(value);
    sim.ghost(|ghost| match number == ghost.commits {
        true => Ok(()),
        false => Err(format!("the value is {number}, after {} commits", ghost.commits)),
    });
    (number, selector)
}

fn add_and_unlock(sim: &Sim<'_>, held: Acquisition) {
    let (number, selector) = value(sim);
    sim.expect(lock().value().write(sim, selector, &(number + 1).to_le_bytes()));
    unlock(sim, held, number % 2 == 1);
}

fn unlock(sim: &Sim<'_>, held: Acquisition, wake_next: bool) {
    leave(sim);
    let leave = if held.died() && wake_next { ReleaseState::Died } else { ReleaseState::Sound };
    sim.expect(lock().unlock(sim, held, leave));
}

fn reads(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    if step == 1 {
        return false;
    }
    let (reading, lead) = sim.expect(read_at_once(sim));
    // The word decides what is reported. A reader that was admitted at once has made another load since.
    let told = if lead.is_some() { None } else { Some(reading.0.died()) };
    enter(sim, READS, told);
    let missed = lead.is_some() && sim.owed.get();
    sim.ghost(|_| if missed { Err("a death was not reported".to_owned()) } else { Ok(()) });
    value_after(sim, lead);
    leave(sim);
    sim.expect(lock().unlock_read(sim, reading));
    true
}

fn reads_twice(sim: &Sim<'_>, step: u32, carry: &mut Carry) -> bool {
    step < 2 && reads(sim, 0, carry)
}

/// Reads twice, each time in a new thread, which claims a lane and releases it.
fn reads_in_threads(sim: &Sim<'_>, step: u32, carry: &mut Carry) -> bool {
    reads_twice(sim, step, carry) && {
        sim.expect(sim.release_lane());
        true
    }
}

fn writes_in_threads(sim: &Sim<'_>, step: u32, carry: &mut Carry) -> bool {
    writes(sim, step, carry) && {
        sim.expect(sim.release_lane());
        true
    }
}

fn reads_nested(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    if step == 1 {
        return false;
    }
    let outer = sim.expect(read(sim));
    enter(sim, READS, Some(outer.0.died()));
    let inner = sim.expect(read(sim));
    value(sim);
    sim.expect(lock().unlock_read(sim, outer));
    value(sim);
    leave(sim);
    sim.expect(lock().unlock_read(sim, inner));
    true
}

/// The last read is announced in a slot that a writer may have scanned already.
fn reads_overlapping(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    if step == 1 {
        return false;
    }
    let first = sim.expect(read(sim));
    enter(sim, READS, Some(first.0.died()));
    let second = sim.expect(read(sim));
    sim.expect(lock().unlock_read(sim, first));
    let third = sim.expect(read(sim));
    sim.expect(lock().unlock_read(sim, second));
    value(sim);
    leave(sim);
    sim.expect(lock().unlock_read(sim, third));
    true
}

fn writes(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    if step == 1 {
        return false;
    }
    let slot = sim.expect(sim.empty_slot());
    sim.expect(lock().announce_in(sim, slot));
    let (held, lead) = match sim.expect(lock().lock_and_load(sim, slot)) {
        (word, 0, lead) if word.has_acquired() => (Acquisition::of(slot.0, 0), Some(lead)),
        (word, ..) => {
            let held = lock().lock_again(sim, slot.0, word.has_acquired(), None);
            (sim.expect(held), None)
        }
    };
    enter(sim, WRITES, Some(held.died()));
    let (number, selector) = value_after(sim, lead);
    let new = (number + 1).to_le_bytes();
    if held.died() || !sim.stores_release() {
        sim.expect(lock().value().write(sim, selector, &new));
        unlock(sim, held, number % 2 == 1);
        return true;
    }
    // As a guard's drop releases: the store of the value and the release are one operation.
    let last = sim.expect(lock().value().write_before(sim, selector, &new));
    leave(sim);
    match sim.expect(lock().store_and_unlock(sim, last)) {
        Waiting::Nobody => sim.expect(slot.withdraw(sim)),
        Waiting::Somebody => {
            let unlock = lock().unlocking(ReleaseState::Sound);
            sim.expect(unlock.finish_released(sim, slot.0));
        }
    }
    true
}

fn writes_twice(sim: &Sim<'_>, step: u32, carry: &mut Carry) -> bool {
    step < 2 && writes(sim, 0, carry)
}

fn tries(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    match step {
        0 => {
            if let Some(held) = sim.expect(lock().try_lock(sim)) {
                enter(sim, WRITES, Some(held.died()));
                add_and_unlock(sim, held);
            }
        }
        1 => {
            if let Some(reading) = sim.expect(lock().try_read(sim)) {
                enter(sim, READS, Some(reading.0.died()));
                value(sim);
                leave(sim);
                sim.expect(lock().unlock_read(sim, reading));
            }
        }
        _ => return false,
    }
    true
}

fn upgrades(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    if step == 1 {
        return false;
    }
    let held = sim.expect(lock().upgradable(sim, None));
    enter(sim, MAY_WRITE, Some(held.died()));
    value(sim);
    sim.expect(lock().upgrade(sim, held.lane(), None));
    enter(sim, WRITES, None);
    add_and_unlock(sim, held);
    true
}

/// Upgrades with a timeout. Without success, writes nothing.
fn upgrades_impatiently(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    if step == 1 {
        return false;
    }
    let held = sim.expect(lock().upgradable(sim, None));
    enter(sim, MAY_WRITE, Some(held.died()));
    match lock().upgrade(sim, held.lane(), Some(std::time::Duration::from_secs(1))) {
        Ok(()) => {
            enter(sim, WRITES, None);
            add_and_unlock(sim, held);
        }
        Err(_) => {
            value(sim);
            unlock(sim, held, true);
        }
    }
    true
}

fn writes_impatiently(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    if step == 1 {
        return false;
    }
    if let Ok(held) = lock().lock(sim, Some(std::time::Duration::from_secs(1))) {
        enter(sim, WRITES, Some(held.died()));
        add_and_unlock(sim, held);
    }
    true
}

fn setup(programs: &[Program]) -> Setup {
    let mut setup = Setup::new(programs);
    setup.watch.word = Some(WORD);
    setup.watch.selector = Some(VALUE);
    setup
}

fn some(programs: &[Program]) -> Setup {
    Setup { preemptions: Some(2), ..setup(programs) }
}

#[test]
fn without_deaths() {
    sound("reader and writer", &some(&[reads_twice, writes]));
    sound("reader and writers", &some(&[reads, writes_twice]));
    sound("nested reader and writer", &some(&[reads_nested, writes]));
    let bounded = |programs: &[Program]| Setup { long: Some(4), ..some(programs) };
    sound("overlapping reader and writer", &bounded(&[reads_overlapping, writes]));
    sound("overlapping reader and upgrade", &bounded(&[reads_overlapping, upgrades]));
    sound("reader and upgrade", &some(&[reads_twice, upgrades]));
    sound("writer and upgrade", &some(&[writes, upgrades]));
    sound("two readers, writer", &some(&[reads, reads, writes]));
    sound("reader, two writers", &some(&[reads, writes, writes]));
    sound("tries", &some(&[tries, writes]));
    let impatient = Setup { expiries: 1, ..some(&[reads, upgrades_impatiently]) };
    sound("an upgrade is given up", &impatient);
    let impatient = Setup { expiries: 1, ..some(&[reads, writes_impatiently]) };
    sound("a writer gives up", &impatient);
    walked("three", &setup(&[reads_twice, writes_twice, upgrades]), 100);
    let starving = |setup: Setup| Setup { pace: 100, ..setup };
    sound("two writers, starving", &starving(some(&[writes, writes_twice])));
    let three = starving(setup(&[reads_twice, writes_twice, upgrades]));
    walked("three, starving", &three, 100);
    walked("three, nested", &setup(&[reads_nested, writes_twice, reads_nested]), 100);
    let impatient =
        Setup { expiries: 2, ..setup(&[reads_twice, upgrades_impatiently, writes_impatiently]) };
    walked("three, impatient", &impatient, 100);
}

#[test]
fn with_deaths() {
    let killed = |programs: &[Program]| Setup { kills: 1, ..some(programs) };
    sound("reader and writer, one killed", &killed(&[reads, writes]));
    sound("reader and upgrade, one killed", &killed(&[reads, upgrades]));
    sound("writers, one killed", &killed(&[writes, writes_twice]));
    let replaced = |programs: &[Program]| Setup { kills: 2, newcomers: 2, ..setup(programs) };
    walked("three, killed and replaced", &replaced(&[reads_twice, writes_twice, upgrades]), 250);
    walked("nested, killed and replaced", &replaced(&[reads_nested, writes_twice, tries]), 250);
}

#[test]
fn nested_readers_die() {
    let killed = Setup { kills: 1, ..some(&[reads_nested, writes]) };
    sound("nested reader and writer, one killed", &killed);
    let replaced = Setup { newcomers: 1, ..killed.clone() };
    sound("nested reader and writer, one killed and replaced", &replaced);
    let upgrade = Setup { programs: vec![reads_nested, upgrades], ..killed.clone() };
    sound("nested reader and upgrade, one killed", &upgrade);
    let with = |fault| Setup { fault, ..killed.clone() };
    caught("no recovery of nested readers", &with(Fault::NoRecovery));
    caught("nested readers do not wake", &with(Fault::NoWake(DRAIN)));
    let programs = vec![reads_overlapping, writes];
    let overlapping = Setup { programs, long: Some(3), ..killed.clone() };
    sound("overlapping reader and writer, one killed", &overlapping);
    let with = |fault| Setup { fault, kills: 0, ..overlapping.clone() };
    caught("a nested read is not counted", &with(Fault::Lost(AGAIN)));
    caught("a nested reader sets no bit", &with(Fault::NoRegistration(WORD)));
}

#[test]
fn lanes_come_and_go() {
    let pooled = |programs: &[Program]| Setup { lanes: Lanes::Pooled, ..some(programs) };
    sound("reader and writer, in threads", &pooled(&[reads_in_threads, writes_in_threads]));
    let killed = Setup { kills: 1, ..pooled(&[reads_in_threads, writes_in_threads]) };
    sound("reader and writer, in threads, one killed", &killed);
    let three = Setup {
        kills: 2,
        newcomers: 2,
        preemptions: None,
        ..pooled(&[reads_in_threads, writes_in_threads, reads_in_threads])
    };
    walked("three, in threads, two killed and replaced", &three, 150);
    let with = |fault| Setup { fault, kills: 2, newcomers: 2, ..killed.clone() };
    caught("a reader's lane is free too early", &with(Fault::FreesLaneFirst));
    caught("a newcomer does not recover its slot", &with(Fault::TakesOverUnrecovered));
}

#[test]
fn without_fences() {
    let swaps =
        Setup { registered: [false; 3], fences: [false; 3], ..some(&[reads_twice, writes]) };
    sound("no process registered or able to fence", &swaps);
    sound("no process registered or able to fence, one killed", &Setup { kills: 1, ..swaps });
    let deaf = Setup { fences: [true, false, true], stalls: 3, ..some(&[reads_twice, writes]) };
    sound("the writer cannot fence: its short sleep is needed", &deaf);
}

#[test]
fn planted_faults_are_found() {
    let with = |fault, programs: &[Program]| Setup { fault, ..some(programs) };
    caught("no fence", &with(Fault::NoFence, &[reads_twice, writes]));
    caught("a plain announcement", &with(Fault::PlainAnnouncement, &[reads_twice, writes]));
    caught("no announcement", &with(Fault::NoAnnouncement, &[reads_twice, writes]));
    caught("a reader's value is loaded early", &with(Fault::EarlyLoad, &[reads_twice, writes]));
    caught("a writer's loads are early", &with(Fault::EarlyLoad, &[writes, writes]));
    caught(
        "announced late",
        &Setup { kills: 1, ..with(Fault::LateAnnouncement, &[writes, writes]) },
    );
    caught("readers do not set their bit", &with(Fault::NoRegistration(WORD), &[reads, writes]));
    caught("writers do not wake", &with(Fault::NoWake(GATE), &[reads_twice, writes]));
    caught("readers do not wake", &with(Fault::NoWake(DRAIN), &[reads_twice, writes]));
    caught("one waiter is woken instead of all", &with(Fault::WakeOne, &[reads, reads, writes]));
    caught("no release", &with(Fault::DropStore(WORD), &[reads, writes]));
    caught(
        "released before the value",
        &with(Fault::SwapStores(VALUE, WORD), &[writes_twice, writes]),
    );
    caught("no recovery", &Setup { kills: 1, ..with(Fault::NoRecovery, &[reads, writes]) });
    // Harmless: an extra bit makes writers scan an extra lane.
    sound("seen is not cleared", &with(Fault::DropStore(SEEN), &[reads_twice, writes]));
}
