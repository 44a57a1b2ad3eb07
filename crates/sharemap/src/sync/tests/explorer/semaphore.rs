//! The semaphore: there are never more holders than permits, and no death loses a permit.

use crate::peer::Machine;
use crate::sync::algorithms::semaphore::RawSemaphore;
use crate::testing::explorer::search::{caught, sound, walked};
use crate::testing::explorer::sim::Sim;
use crate::testing::explorer::state::{Carry, LOCK, State, record};
use crate::testing::explorer::{Fault, Lanes, Program, Setup};

const COUNT: u64 = LOCK;
const GATE: u64 = LOCK + 8;

fn semaphore() -> RawSemaphore {
    RawSemaphore::new(LOCK)
}

/// Acquires and releases a permit `TIMES` times, and then recovers the dead.
fn acquires<const TIMES: u32, const PERMITS: usize>(
    sim: &Sim<'_>,
    step: u32,
    _: &mut Carry,
) -> bool {
    let me = sim.me;
    if step < TIMES {
        let permit = sim.expect(semaphore().acquire(sim, None));
        sim.ghost(|ghost| {
            ghost.inside[me] = 1;
            let holders = ghost.inside.iter().filter(|&&inside| inside == 1).count();
            if holders > PERMITS { Err(format!("{holders} hold a permit")) } else { Ok(()) }
        });
        // An operation at which the process can be killed or preempted.
        sim.expect(sim.load_64(COUNT));
        sim.ghost(|ghost| {
            ghost.inside[me] = 0;
            Ok(())
        });
        sim.expect(semaphore().release(sim, permit));
        return true;
    }
    // Recovers the dead, so that the final number of permits can be checked.
    for lane in 0..sim.lanes() {
        if lane as usize != me {
            sim.expect(sim.probe_liveness(lane));
        }
    }
    false
}

/// Holds two permits at the same time, if it can.
fn acquires_both(sim: &Sim<'_>, step: u32, carry: &mut Carry) -> bool {
    if step > 0 {
        return acquires::<0, 2>(sim, step, carry);
    }
    let one = sim.expect(semaphore().acquire(sim, None));
    if let Some(other) = sim.expect(semaphore().try_acquire(sim)) {
        sim.expect(semaphore().release(sim, other));
    }
    sim.expect(semaphore().release(sim, one));
    true
}

/// Acquires and releases in a new thread, which claims a lane and releases it.
fn threads(sim: &Sim<'_>, step: u32, carry: &mut Carry) -> bool {
    acquires::<2, 1>(sim, step, carry) && {
        sim.expect(sim.release_lane());
        true
    }
}

/// Checks that all permits are free, unless a dead process has not been recovered.
fn all_free<const PERMITS: u32>(state: &State) -> Result<(), String> {
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
    setup.last = all_free::<1>;
    setup
}

const ONCE: Program = acquires::<1, 1>;
const TWICE: Program = acquires::<2, 1>;

#[test]
fn without_deaths() {
    sound("two", &setup(&[TWICE, ONCE]));
    let mut two = setup(&[acquires::<1, 2>, acquires::<1, 2>, acquires::<1, 2>]);
    (two.words, two.last) = (vec![(COUNT, 2)], all_free::<2>);
    sound("two permits for three", &two);
    let starving = Setup { pace: 100, ..setup(&[TWICE, ONCE]) };
    sound("two, starving", &starving);
    walked("two permits for three", &Setup { preemptions: None, ..two }, 100);
    walked("three", &Setup { preemptions: None, ..setup(&[TWICE, TWICE, ONCE]) }, 100);
}

#[test]
fn with_deaths() {
    sound("two, one killed", &Setup { kills: 1, ..setup(&[ONCE, ONCE]) });
    let replaced = Setup { kills: 2, newcomers: 2, ..setup(&[ONCE, ONCE]) };
    sound("two, two killed and replaced", &replaced);
    let killed =
        Setup { kills: 2, newcomers: 2, preemptions: None, ..setup(&[TWICE, TWICE, ONCE]) };
    walked("three, two killed and replaced", &killed, 500);
}

#[test]
fn two_at_once() {
    let mut two = Setup { kills: 1, ..setup(&[acquires_both, acquires::<1, 2>]) };
    (two.words, two.last) = (vec![(COUNT, 2)], all_free::<2>);
    sound("one acquires two, one killed", &two);
    walked(
        "one acquires two, two killed",
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
fn without_fences() {
    let swaps = Setup { registered: [false; 3], fences: [false; 3], ..setup(&[TWICE, ONCE]) };
    sound("no process registered or able to fence", &swaps);
}

#[test]
fn planted_faults_are_found() {
    let with = |fault| Setup { fault, ..setup(&[TWICE, ONCE]) };
    caught("no wake", &with(Fault::NoWake(GATE)));
    caught("waiters do not set bit 0", &with(Fault::NoRegistration(GATE)));
    caught("the count is changed by a load and a store", &with(Fault::Torn(COUNT)));
    let killed = |fault| Setup { fault, kills: 1, ..setup(&[ONCE, ONCE]) };
    caught("no recovery", &killed(Fault::NoRecovery));
    caught("changes are not witnessed", &killed(Fault::NoWitness));
}
