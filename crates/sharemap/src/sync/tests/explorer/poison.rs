//! Poison: a lock that an owner declared unusable is had by nobody until it is repaired, and stays so
//! whoever dies.

use super::search::{caught, sound, walked};
use super::sim::Sim;
use super::state::{Carry, LOCK};
use super::{Fault, Program, Setup};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::algorithms::mutex::{Acquisition, Poison, RawMutex, ReleaseState};
use crate::sync::algorithms::rwlock::{RawRwLock, Reading};

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

/// Says that the process is inside, of a lock that is sound, or may be poisoned if it asked for that.
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
            return Err("had what is poisoned".to_owned());
        }
        match died == ghost.owed {
            true => Ok(()),
            false => Err(format!("told of a death: {died}, due: {}", ghost.owed)),
        }
    });
}

fn leave(sim: &Sim<'_>, poisons: bool) {
    let me = sim.me;
    sim.ghost(|ghost| {
        ghost.inside[me] = 0;
        ghost.count[0] += u32::from(poisons);
        Ok(())
    });
}

/// It was refused because it is poisoned, and that is so, or was.
fn refused(sim: &Sim<'_>, error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Poisoned);
    sim.ghost(|ghost| match ghost.count[0] {
        0 => Err("refused, and nobody poisoned it".to_owned()),
        _ => Ok(()),
    });
}

/// Goes inside, if it was not refused.
fn had(sim: &Sim<'_>, result: Result<Acquisition>, asked: Poison) -> Option<Acquisition> {
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
    let Some(held) = had(sim, result, asked) else { return false };
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

/// Locks; repairs it if it is poisoned, and leaves it as `SOUND` says.
fn locks<const SOUND: bool>(sim: &Sim<'_>, step: u32, carry: &mut Carry) -> bool {
    match step {
        0 => {
            let had = lock_and(sim, mutex().lock(sim, None), ReleaseState::Sound, Poison::Refuse);
            carry[0] = u64::from(had);
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
    let Some(held) = had(sim, result, asked) else { return false };
    leave(sim, how == ReleaseState::Poisoned);
    sim.expect(rwlock().unlock(sim, held, how));
    true
}

fn write_poisons(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    step == 0 && {
        written(sim, rwlock().write(sim, None), ReleaseState::Poisoned, Poison::Refuse);
        true
    }
}

fn write_repairs(sim: &Sim<'_>, step: u32, carry: &mut Carry) -> bool {
    match step {
        0 => {
            let had = written(sim, rwlock().write(sim, None), ReleaseState::Sound, Poison::Refuse);
            carry[0] = u64::from(had);
        }
        1 if carry[0] == 0 => {
            written(sim, rwlock().write_poisoned(sim, None), ReleaseState::Sound, Poison::Accept);
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
        false => rwlock().read_slowly(sim, announced, None).map(Reading::unpack),
    };
    match reading {
        Ok(reading) => {
            enter(sim, READS, reading.died(), Poison::Refuse);
            sim.expect(rwlock().value().read(sim, &mut [0; 4]));
            leave(sim, false);
            sim.expect(rwlock().unlock_read(sim, reading));
        }
        Err(error) => refused(sim, &error),
    }
    true
}

/// Reads this many times, whether the lock is poisoned or not.
fn reads_poisoned<const TIMES: u32>(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    step < TIMES && {
        let reading = sim.expect(rwlock().read_poisoned(sim, None));
        enter(sim, READS, reading.died(), Poison::Accept);
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
    sound("poisoned for one who tries", &setup(&[poisons, tries]));
    let killed = |programs: &[Program]| Setup { kills: 1, ..setup(programs) };
    sound("poisoned, one killed", &killed(&[poisons, REPAIRS]));
    let free = Setup { kills: 2, newcomers: 2, preemptions: None, ..setup(&[poisons, REPAIRS]) };
    walked("poisoned, two killed and replaced", &free, 150);
    let three = Setup { programs: vec![poisons, REPAIRS, GIVES_UP], ..free };
    walked("three, two killed and replaced", &three, 150);
}

#[test]
fn a_lock_for_readers_and_writers() {
    sound("poisoned for a reader", &setup(&[write_poisons, reads]));
    sound("poisoned and repaired", &setup(&[write_poisons, write_repairs]));
    sound("poisoned, and read all the same", &setup(&[write_poisons, reads_poisoned::<1>]));
    sound(
        "read while it is repaired",
        &setup(&[write_poisons, write_repairs, reads_poisoned::<1>]),
    );
    let killed = |programs: &[Program]| Setup { kills: 1, ..setup(programs) };
    sound("poisoned for a reader, one killed", &killed(&[write_poisons, reads]));
    sound("repaired, one killed", &killed(&[write_poisons, write_repairs]));
    sound("read all the same, one killed", &killed(&[write_poisons, reads_poisoned::<1>]));
    let three = Setup {
        kills: 2,
        newcomers: 2,
        preemptions: None,
        ..setup(&[write_poisons, write_repairs, reads])
    };
    walked("three, two killed and replaced", &three, 150);
}

#[test]
fn without_the_fence() {
    let swaps = Setup { registered: [false; 3], fences: [false; 3], ..setup(&[poisons, REPAIRS]) };
    sound("nobody registered, nobody can fence", &swaps);
    let both = Setup { programs: vec![write_poisons, reads], ..swaps };
    sound("the same, reading", &both);
}

#[test]
fn planted_bugs_are_found() {
    let with = |fault| Setup { fault, kills: 1, newcomers: 1, ..setup(&[poisons, REPAIRS]) };
    caught("a repairer's death makes it sound", &with(Fault::ForgetsPoison(WORD)));
    caught("no wake", &with(Fault::NoWake(MUTEX_GATE)));
    caught("no release", &Setup { kills: 0, newcomers: 0, ..with(Fault::DropStore(WORD)) });
    let with =
        |fault| Setup { fault, kills: 1, newcomers: 1, ..setup(&[write_poisons, write_repairs]) };
    caught("a repairing writer's death makes it sound", &with(Fault::ForgetsPoison(WORD)));
    caught("writers do not wake", &with(Fault::NoWake(GATE)));
    let with = |fault| Setup { fault, ..setup(&[write_repairs, reads_poisoned::<2>]) };
    caught("a reader of a poisoned lock is not seen", &with(Fault::NoAnnouncement));
    caught("the same, announced too late", &with(Fault::PlainAnnouncement));
}
