//! What is done once: by one at a time, and by nobody when it is done.

use super::search::{caught, sound, walked};
use super::sim::Sim;
use super::state::{Carry, LOCK};
use super::{Fault, Program, Setup};
use crate::sync::algorithms::once::{RawOnce, Turn};

const WORD: u64 = LOCK;
const GATE: u64 = LOCK + 4;

fn once() -> RawOnce {
    RawOnce::new(LOCK)
}

/// Does it; fails the first time if `FAILS`.
fn does<const FAILS: bool>(sim: &Sim<'_>, step: u32, carry: &mut Carry) -> bool {
    let me = sim.me;
    let Turn::Mine(held) = sim.expect(once().begin(sim, None)) else {
        sim.ghost(|ghost| match ghost.count[0] {
            0 => Err("said to be done, and was not".to_owned()),
            _ => Ok(()),
        });
        return false;
    };
    let (died, deaths) = (held.died(), sim.deaths());
    sim.ghost(|ghost| {
        // Of who dies there, nobody knows whether it said that it was done.
        if ghost.inside.iter().any(|&inside| inside != 0) || (ghost.count[0] != 0 && deaths == 0) {
            return Err("two at it".to_owned());
        }
        if died != ghost.owed {
            return Err(format!("told of a death: {died}, due: {}", ghost.owed));
        }
        ghost.inside[me] = 1;
        Ok(())
    });
    sim.expect(once().is_done(sim));
    let fails = FAILS && step == 0;
    sim.ghost(|ghost| {
        ghost.inside[me] = 0;
        ghost.count[0] += u32::from(!fails);
        Ok(())
    });
    sim.expect(if fails { once().abandon(sim, held) } else { once().finish(sim, held) });
    carry[0] += 1;
    fails
}

fn setup(programs: &[Program]) -> Setup {
    let mut setup = Setup { preemptions: Some(2), ..Setup::new(programs) };
    setup.watch.word = Some(WORD);
    setup.last = |state| match state.ghost.count[0] {
        times if times != 1 && state.deaths == 0 => Err(format!("done {times} times")),
        _ => Ok(()),
    };
    setup
}

const DOES: Program = does::<false>;
const FAILS: Program = does::<true>;

#[test]
fn nobody_dies() {
    sound("two", &setup(&[DOES, DOES]));
    sound("three", &setup(&[DOES, DOES, DOES]));
    sound("one fails", &setup(&[FAILS, DOES]));
    walked("three, two fail", &Setup { preemptions: None, ..setup(&[FAILS, DOES, FAILS]) }, 100);
}

#[test]
fn some_die() {
    sound("two, one killed", &Setup { kills: 1, ..setup(&[DOES, FAILS]) });
    let replaced = Setup { kills: 2, newcomers: 2, ..setup(&[DOES, DOES]) };
    sound("two, two killed and replaced", &replaced);
    let three = Setup { kills: 2, newcomers: 2, preemptions: None, ..setup(&[FAILS, DOES, DOES]) };
    walked("three, two killed and replaced", &three, 150);
}

#[test]
fn without_the_fence() {
    let swaps = Setup { registered: [false; 3], fences: [false; 3], ..setup(&[FAILS, DOES]) };
    sound("nobody registered, nobody can fence", &swaps);
}

#[test]
fn planted_bugs_are_found() {
    let with = |fault| Setup { fault, ..setup(&[DOES, DOES]) };
    caught("no fence", &with(Fault::NoFence));
    caught("no wake", &with(Fault::NoWake(GATE)));
    caught("never finished", &with(Fault::DropStore(WORD)));
    caught("taken by a load and a store", &with(Fault::Torn(WORD)));
    caught("no recovery", &Setup { kills: 1, ..with(Fault::NoRecovery) });
}
