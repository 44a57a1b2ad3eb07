//! The permits: never more holders than permits, and none is lost, whoever dies where.

use super::search::{caught, sound, walked};
use super::sim::Sim;
use super::state::{Carry, LOCK, State, record};
use super::{Fault, Lanes, Program, Setup};
use crate::peer::Machine;
use crate::sync::algorithms::semaphore::RawSemaphore;

const COUNT: u64 = LOCK;
const GATE: u64 = LOCK + 8;

fn permits() -> RawSemaphore {
    RawSemaphore::new(LOCK)
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
        sim.expect(sim.load_64(COUNT));
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
            sim.expect(sim.probe_liveness(lane));
        }
    }
    false
}

/// Takes two at once, one after the other.
fn takes_both(sim: &Sim<'_>, step: u32, carry: &mut Carry) -> bool {
    if step > 0 {
        return takes::<0, 2>(sim, step, carry);
    }
    let one = sim.expect(permits().acquire(sim, None));
    if let Some(other) = sim.expect(permits().try_acquire(sim)) {
        sim.expect(permits().release(sim, other));
    }
    sim.expect(permits().release(sim, one));
    true
}

/// By a thread of its own, which takes a lane and gives it back.
fn threads(sim: &Sim<'_>, step: u32, carry: &mut Carry) -> bool {
    takes::<2, 1>(sim, step, carry) && {
        sim.expect(sim.release_lane());
        true
    }
}

fn all_back<const PERMITS: u32>(state: &State) -> Result<(), String> {
    let unsettled = (0..state.processes.len())
        .any(|lane| !state.processes[lane].alive && state.peek_32(record(lane)) != 0);
    match state.peek_32(COUNT) {
        free if free == PERMITS || unsettled => Ok(()),
        free => Err(format!("{free} of {PERMITS} are free")),
    }
}

fn setup(programs: &[Program]) -> Setup {
    let mut setup = Setup { preemptions: Some(2), long: Some(3), ..Setup::new(programs) };
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
    let starving = Setup { pace: 100, ..setup(&[TWICE, ONCE]) };
    sound("two, who have no patience", &starving);
    walked("two permits for three", &Setup { preemptions: None, ..two }, 100);
    walked("three", &Setup { preemptions: None, ..setup(&[TWICE, TWICE, ONCE]) }, 100);
}

#[test]
fn some_die() {
    sound("two, one killed", &Setup { kills: 1, ..setup(&[ONCE, ONCE]) });
    let replaced = Setup { kills: 2, newcomers: 2, ..setup(&[ONCE, ONCE]) };
    sound("two, two killed and replaced", &replaced);
    let killed =
        Setup { kills: 2, newcomers: 2, preemptions: None, ..setup(&[TWICE, TWICE, ONCE]) };
    walked("three, two killed and replaced", &killed, 500);
}

#[test]
fn two_at_once() {
    let mut two = Setup { kills: 1, ..setup(&[takes_both, takes::<1, 2>]) };
    (two.words, two.last) = (vec![(COUNT, 2)], all_back::<2>);
    sound("one takes two, one killed", &two);
    walked(
        "one takes two, two killed",
        &Setup { kills: 2, newcomers: 1, preemptions: None, ..two },
        500,
    );
}

#[test]
fn lanes_come_and_go() {
    let pooled = Setup { lanes: Lanes::Pooled, ..setup(&[threads, threads]) };
    sound("two, in threads", &pooled);
    let killed = Setup { kills: 1, ..pooled };
    sound("two, in threads, one killed", &killed);
    let three = Setup {
        kills: 2,
        newcomers: 2,
        preemptions: None,
        lanes: Lanes::Pooled,
        ..setup(&[threads, threads, threads])
    };
    walked("three, in threads, two killed and replaced", &three, 150);
    let replaced = Setup { kills: 2, newcomers: 2, ..killed };
    caught("a lane is free too early", &Setup { fault: Fault::FreesLaneFirst, ..replaced });
}

#[test]
fn without_the_fence() {
    let swaps = Setup { registered: [false; 3], fences: [false; 3], ..setup(&[TWICE, ONCE]) };
    sound("nobody registered, nobody can fence", &swaps);
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
