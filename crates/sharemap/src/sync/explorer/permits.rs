//! The permits: never more holders than permits, and none is lost, whoever dies where.

use super::search::{caught, sound, walked};
use super::sim::Sim;
use super::state::{Carry, LOCK, State, taken};
use super::{Fault, Program, Setup};
use crate::peer::World;
use crate::sync::permits::RawPermits;

const COUNT: u64 = LOCK;
const GATE: u64 = LOCK + 8;

fn permits() -> RawPermits {
    RawPermits::new(LOCK)
}

fn takes<const TIMES: u32, const PERMITS: usize>(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    let me = sim.me;
    if step < TIMES {
        let permit = sim.expect(permits().acquire(sim, None));
        sim.ghost(|ghost| {
            ghost.inside[me] = 1;
            let holders = ghost.inside.iter().filter(|&&inside| inside == 1).count();
            if holders > PERMITS { Err(format!("{holders} have a permit")) } else { Ok(()) }
        });
        // Something to be interrupted at.
        sim.expect(permits().available(sim));
        sim.ghost(|ghost| {
            ghost.inside[me] = 0;
            Ok(())
        });
        sim.expect(permits().release(sim, permit));
        return true;
    }
    // What the dead left is looked for, so that the end can be judged.
    for lane in 0..sim.lanes() {
        if lane as usize != me {
            sim.expect(sim.settle(lane));
        }
    }
    false
}

fn all_back<const PERMITS: u32>(state: &State) -> Result<(), String> {
    let unsettled = (0..state.processes.len())
        .any(|lane| !state.processes[lane].alive && state.peek_32(taken(lane)) != 0);
    match state.peek_32(COUNT) {
        free if free == PERMITS || unsettled => Ok(()),
        free => Err(format!("{free} of {PERMITS} are free")),
    }
}

fn setup(programs: &[Program]) -> Setup {
    let mut setup = Setup { preemptions: Some(2), ..Setup::new(programs) };
    setup.words = vec![(COUNT, 1)];
    setup.last = all_back::<1>;
    setup
}

const ONCE: Program = takes::<1, 1>;
const TWICE: Program = takes::<2, 1>;

#[test]
fn nobody_dies() {
    sound("two", &setup(&[TWICE, ONCE]));
    let mut two = setup(&[takes::<1, 2>, takes::<1, 2>, takes::<1, 2>]);
    (two.words, two.last) = (vec![(COUNT, 2)], all_back::<2>);
    sound("two permits for three", &two);
    walked("two permits for three", &Setup { preemptions: None, ..two }, 200);
    walked("three", &Setup { preemptions: None, ..setup(&[TWICE, TWICE, ONCE]) }, 200);
}

#[test]
fn some_die() {
    sound("two, one killed", &Setup { kills: 1, ..setup(&[ONCE, ONCE]) });
    let replaced = Setup { kills: 2, newcomers: 2, ..setup(&[ONCE, ONCE]) };
    sound("two, two killed and replaced", &replaced);
    let killed =
        Setup { kills: 2, newcomers: 2, preemptions: None, ..setup(&[TWICE, TWICE, ONCE]) };
    walked("three, two killed and replaced", &killed, 1_000);
}

#[test]
fn planted_bugs_are_found() {
    let with = |fault| Setup { fault, ..setup(&[TWICE, ONCE]) };
    caught("no wake", &with(Fault::NoWake(GATE)));
    caught("sleepers do not say so", &with(Fault::NoRegistration(GATE)));
    caught("a count that is a load and a store", &with(Fault::Torn(COUNT)));
    let killed = |fault| Setup { fault, kills: 1, ..setup(&[ONCE, ONCE]) };
    caught("no recovery", &killed(Fault::NoRecovery));
    caught("nobody writes down what the last one did", &killed(Fault::NoWitness));
}
