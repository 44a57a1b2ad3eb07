//! Poison: a poisoned lock is refused until an owner repairs the value, and no death changes that.

use crate::error::{Error, ErrorKind, Result};
use crate::sync::algorithms::exclusive::{Acquisition, Exclusive, Poison, ReleaseState};
use crate::sync::algorithms::mutex::RawMutex;
use crate::sync::algorithms::rwlock::{RawRwLock, Reading};
use crate::testing::explorer::search::{caught, sound, walked};
use crate::testing::explorer::sim::Sim;
use crate::testing::explorer::state::{Carry, LOCK};
use crate::testing::explorer::{Fault, Program, Setup};

const WORD: u64 = LOCK;
const MUTEX_GATE: u64 = LOCK + 4;
const GATE: u64 = LOCK + 8;

const READS: u8 = 1;
const OWNS: u8 = 2;

fn mutex() -> RawMutex {
    RawMutex::new(LOCK, 4)
}

fn rwlock() -> RawRwLock {
    RawRwLock::new(LOCK, 4)
}

/// Notes that the process holds the lock, which may be poisoned only if `asked` accepts that.
fn enter(sim: &Sim<'_>, way: u8, died: bool, asked: Poison) {
    let me = sim.me;
    sim.ghost(|ghost| {
        for (other, &inside) in ghost.inside.iter().enumerate() {
            if other != me && inside != 0 && (inside, way) != (READS, READS) {
                return Err(format!("processes {me} and {other} are inside"));
            }
        }
        ghost.inside[me] = way;
        if ghost.poisoned && asked == Poison::Refuse {
            return Err("a poisoned lock was acquired".to_owned());
        }
        match died == ghost.owed {
            true => Ok(()),
            false => Err(format!("a death was reported: {died}, expected: {}", ghost.owed)),
        }
    });
}

/// Notes that the process is about to release the lock.
fn leave(sim: &Sim<'_>, poisons: bool) {
    let me = sim.me;
    sim.ghost(|ghost| {
        ghost.inside[me] = 0;
        ghost.count[0] += u32::from(poisons);
        Ok(())
    });
}

/// Checks that the lock was refused as poisoned, after it had been poisoned.
fn refused(sim: &Sim<'_>, error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Poisoned);
    sim.ghost(|ghost| match ghost.count[0] {
        0 => Err("refused, and no owner poisoned it".to_owned()),
        _ => Ok(()),
    });
}

/// Notes that the process holds the lock, unless it was refused.
fn acquired(sim: &Sim<'_>, result: Result<Acquisition>, asked: Poison) -> Option<Acquisition> {
    match result {
        Ok(held) => {
            enter(sim, OWNS, held.died(), asked);
            Some(held)
        }
        Err(error) => {
            refused(sim, &error);
            None
        }
    }
}

fn lock_and(sim: &Sim<'_>, result: Result<Acquisition>, how: ReleaseState, asked: Poison) -> bool {
    let Some(held) = acquired(sim, result, asked) else { return false };
    sim.expect(mutex().value().read(sim, &mut [0; 4]));
    leave(sim, how == ReleaseState::Poisoned);
    sim.expect(mutex().unlock(sim, held, how));
    true
}

fn poisons(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    step == 0 && {
        lock_and(sim, mutex().lock(sim, None), ReleaseState::Poisoned, Poison::Refuse);
        true
    }
}

/// Locks the mutex. If it is poisoned, locks it with `lock_poisoned`, and repairs it if `SOUND`.
fn locks<const SOUND: bool>(sim: &Sim<'_>, step: u32, carry: &mut Carry) -> bool {
    match step {
        0 => {
            let locked =
                lock_and(sim, mutex().lock(sim, None), ReleaseState::Sound, Poison::Refuse);
            carry[0] = u64::from(locked);
        }
        1 if carry[0] == 0 => {
            let how = if SOUND { ReleaseState::Sound } else { ReleaseState::Poisoned };
            lock_and(sim, mutex().lock_poisoned(sim, None), how, Poison::Accept);
        }
        _ => return false,
    }
    true
}

fn tries(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    step == 0 && {
        match mutex().try_lock(sim) {
            Ok(None) => {}
            Ok(Some(held)) => {
                lock_and(sim, Ok(held), ReleaseState::Sound, Poison::Refuse);
            }
            Err(error) => refused(sim, &error),
        }
        true
    }
}

const REPAIRS: Program = locks::<true>;
const GIVES_UP: Program = locks::<false>;

fn written(sim: &Sim<'_>, result: Result<Acquisition>, how: ReleaseState, asked: Poison) -> bool {
    let Some(held) = acquired(sim, result, asked) else { return false };
    leave(sim, how == ReleaseState::Poisoned);
    sim.expect(rwlock().unlock(sim, held, how));
    true
}

fn write_poisons(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    step == 0 && {
        written(sim, rwlock().lock(sim, None), ReleaseState::Poisoned, Poison::Refuse);
        true
    }
}

fn write_repairs(sim: &Sim<'_>, step: u32, carry: &mut Carry) -> bool {
    match step {
        0 => {
            let locked =
                written(sim, rwlock().lock(sim, None), ReleaseState::Sound, Poison::Refuse);
            carry[0] = u64::from(locked);
        }
        1 if carry[0] == 0 => {
            written(sim, rwlock().lock_poisoned(sim, None), ReleaseState::Sound, Poison::Accept);
        }
        _ => return false,
    }
    true
}

fn reads(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    if step == 1 {
        return false;
    }
    let announced = sim.expect(rwlock().announce_read(sim));
    let reading = match rwlock().read_at_once(sim, announced) {
        true => Ok(Reading::at_once(announced)),
        false => rwlock().read_announced(sim, announced, None),
    };
    match reading {
        Ok(reading) => {
            enter(sim, READS, reading.0.died(), Poison::Refuse);
            sim.expect(rwlock().value().read(sim, &mut [0; 4]));
            leave(sim, false);
            sim.expect(rwlock().unlock_read(sim, reading));
        }
        Err(error) => refused(sim, &error),
    }
    true
}

/// Reads `TIMES` times, even if the lock is poisoned.
fn reads_poisoned<const TIMES: u32>(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    step < TIMES && {
        let reading = sim.expect(rwlock().read_poisoned(sim, None));
        enter(sim, READS, reading.0.died(), Poison::Accept);
        sim.expect(rwlock().value().read(sim, &mut [0; 4]));
        leave(sim, false);
        sim.expect(rwlock().unlock_read(sim, reading));
        true
    }
}

fn setup(programs: &[Program]) -> Setup {
    let mut setup = Setup { preemptions: Some(2), ..Setup::new(programs) };
    setup.watch.word = Some(WORD);
    setup
}

#[test]
fn a_mutex() {
    sound("poisoned and repaired", &setup(&[poisons, REPAIRS]));
    sound("poisoned for two", &setup(&[poisons, REPAIRS, REPAIRS]));
    sound("not repaired", &setup(&[poisons, GIVES_UP]));
    sound("poisoned for `try_lock`", &setup(&[poisons, tries]));
    let killed = |programs: &[Program]| Setup { kills: 1, ..setup(programs) };
    sound("poisoned, one killed", &killed(&[poisons, REPAIRS]));
    let free = Setup { kills: 2, newcomers: 2, preemptions: None, ..setup(&[poisons, REPAIRS]) };
    walked("poisoned, two killed and replaced", &free, 150);
    let three = Setup { programs: vec![poisons, REPAIRS, GIVES_UP], ..free };
    walked("three, two killed and replaced", &three, 150);
}

#[test]
fn a_reader_writer_lock() {
    sound("poisoned for a reader", &setup(&[write_poisons, reads]));
    sound("poisoned and repaired", &setup(&[write_poisons, write_repairs]));
    sound("poisoned, and read by `read_poisoned`", &setup(&[write_poisons, reads_poisoned::<1>]));
    sound(
        "read while it is repaired",
        &setup(&[write_poisons, write_repairs, reads_poisoned::<1>]),
    );
    let killed = |programs: &[Program]| Setup { kills: 1, ..setup(programs) };
    sound("poisoned for a reader, one killed", &killed(&[write_poisons, reads]));
    sound("repaired, one killed", &killed(&[write_poisons, write_repairs]));
    sound("read by `read_poisoned`, one killed", &killed(&[write_poisons, reads_poisoned::<1>]));
    let three = Setup {
        kills: 2,
        newcomers: 2,
        preemptions: None,
        ..setup(&[write_poisons, write_repairs, reads])
    };
    walked("three, two killed and replaced", &three, 150);
}

#[test]
fn without_fences() {
    let swaps = Setup { registered: [false; 3], fences: [false; 3], ..setup(&[poisons, REPAIRS]) };
    sound("no process registered or able to fence", &swaps);
    let both = Setup { programs: vec![write_poisons, reads], ..swaps };
    sound("no process registered or able to fence, reading", &both);
}

#[test]
fn planted_faults_are_found() {
    let with = |fault| Setup { fault, kills: 1, newcomers: 1, ..setup(&[poisons, REPAIRS]) };
    caught("the death of a repairing owner clears the poison", &with(Fault::ForgetsPoison(WORD)));
    caught("no wake", &with(Fault::NoWake(MUTEX_GATE)));
    caught("no release", &Setup { kills: 0, newcomers: 0, ..with(Fault::DropStore(WORD)) });
    let with =
        |fault| Setup { fault, kills: 1, newcomers: 1, ..setup(&[write_poisons, write_repairs]) };
    caught("the death of a repairing writer clears the poison", &with(Fault::ForgetsPoison(WORD)));
    caught("writers do not wake", &with(Fault::NoWake(GATE)));
    let with = |fault| Setup { fault, ..setup(&[write_repairs, reads_poisoned::<2>]) };
    caught("a reader of a poisoned lock does not announce itself", &with(Fault::NoAnnouncement));
    caught("a reader of a poisoned lock announces itself late", &with(Fault::PlainAnnouncement));
}
