//! The once: one thread at a time runs the action, and none after it is done.

use crate::sync::algorithms::once::{RawOnce, Turn};
use crate::testing::explorer::search::{caught, sound, walked};
use crate::testing::explorer::sim::Sim;
use crate::testing::explorer::state::{Carry, LOCK};
use crate::testing::explorer::{Fault, Program, Setup};

const WORD: u64 = LOCK;
const GATE: u64 = LOCK + 4;

fn once() -> RawOnce {
    RawOnce::new(LOCK)
}

/// Runs the action, which fails the first time if `FAILS`.
fn runs<const FAILS: bool>(sim: &Sim<'_>, step: u32, carry: &mut Carry) -> bool {
    let me = sim.me;
    let Turn::Mine(held) = sim.expect(once().begin(sim, None)) else {
        sim.ghost(|ghost| match ghost.count[0] {
            0 => Err("reported as done before it was".to_owned()),
            _ => Ok(()),
        });
        return false;
    };
    let (died, deaths) = (held.died(), sim.deaths());
    sim.ghost(|ghost| {
        // A process that died after this check may or may not have stored that the action is done.
        if ghost.inside.iter().any(|&inside| inside != 0) || (ghost.count[0] != 0 && deaths == 0) {
            return Err("two run the action".to_owned());
        }
        if died != ghost.owed {
            return Err(format!("a death was reported: {died}, expected: {}", ghost.owed));
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
        times if times != 1 && state.deaths == 0 => Err(format!("the action ran {times} times")),
        _ => Ok(()),
    };
    setup
}

const RUNS: Program = runs::<false>;
const FAILS: Program = runs::<true>;

#[test]
fn without_deaths() {
    sound("two", &setup(&[RUNS, RUNS]));
    sound("three", &setup(&[RUNS, RUNS, RUNS]));
    sound("one fails", &setup(&[FAILS, RUNS]));
    walked("three, two fail", &Setup { preemptions: None, ..setup(&[FAILS, RUNS, FAILS]) }, 100);
}

#[test]
fn with_deaths() {
    sound("two, one killed", &Setup { kills: 1, ..setup(&[RUNS, FAILS]) });
    let replaced = Setup { kills: 2, newcomers: 2, ..setup(&[RUNS, RUNS]) };
    sound("two, two killed and replaced", &replaced);
    let three = Setup { kills: 2, newcomers: 2, preemptions: None, ..setup(&[FAILS, RUNS, RUNS]) };
    walked("three, two killed and replaced", &three, 150);
}

#[test]
fn without_fences() {
    let swaps = Setup { registered: [false; 3], fences: [false; 3], ..setup(&[FAILS, RUNS]) };
    sound("no process registered or able to fence", &swaps);
}

#[test]
fn planted_faults_are_found() {
    let with = |fault| Setup { fault, ..setup(&[RUNS, RUNS]) };
    caught("no fence", &with(Fault::NoFence));
    caught("no wake", &with(Fault::NoWake(GATE)));
    caught("never finished", &with(Fault::DropStore(WORD)));
    caught("acquired by a load and a store", &with(Fault::Torn(WORD)));
    caught("no recovery", &Setup { kills: 1, ..with(Fault::NoRecovery) });
}
