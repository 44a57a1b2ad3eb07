//! The barrier: no member passes before all have arrived, and a death is reported to all waiters.

use crate::error::ErrorKind;
use crate::peer::Announced;
use crate::sync::algorithms::barrier::{Membership, RawBarrier};
use crate::sync::core::announcement::Kind;
use crate::testing::explorer::search::{caught, sound, walked};
use crate::testing::explorer::sim::Sim;
use crate::testing::explorer::state::{Carry, LOCK, slots};
use crate::testing::explorer::{Fault, Program, Setup};

const STATE: u64 = LOCK;
const GATE: u64 = LOCK + 4;

fn barrier() -> RawBarrier {
    RawBarrier::new(LOCK)
}

/// Arrives `TIMES` times, as a member from the beginning.
fn arrives<const TIMES: u32, const MEMBERS: u32>(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    if step == TIMES {
        return false;
    }
    let announced = Announced { lane: sim.me as u32, slot: slots(sim.me) };
    sim.ghost(|ghost| {
        ghost.count[step as usize] += 1;
        Ok(())
    });
    let passed = barrier().wait(sim, &Membership { announced }, None);
    let died = sim.deaths() > 0;
    let broken = matches!(&passed, Err(error) if error.kind() == ErrorKind::Broken);
    sim.ghost(|ghost| match ghost.count[step as usize] {
        _ if broken && died => Ok(()),
        _ if broken => Err("broken without a death".to_owned()),
        arrived if arrived < MEMBERS => Err(format!("passed when {arrived} had arrived")),
        _ => Ok(()),
    });
    if broken {
        return false;
    }
    sim.expect(passed);
    true
}

/// Joins a barrier of one member, and leaves.
fn joins(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    if step == 1 {
        return false;
    }
    let me = sim.me;
    if let Some(membership) = sim.expect(barrier().join(sim)) {
        sim.ghost(|ghost| {
            ghost.inside[me] = 1;
            match ghost.inside.iter().sum() {
                1_u8 => Ok(()),
                members => Err(format!("{members} members of one place")),
            }
        });
        sim.ghost(|ghost| {
            ghost.inside[me] = 0;
            Ok(())
        });
        sim.expect(barrier().leave(sim, membership));
    }
    true
}

fn setup(programs: &[Program]) -> Setup {
    let mut setup = Setup { preemptions: Some(2), slots: 1, ..Setup::new(programs) };
    setup.words = vec![(STATE + RawBarrier::MEMBERS_AT, programs.len() as u32)];
    let member = Kind::Member.of(LOCK) as u32;
    setup.words.extend((0..programs.len()).map(|index| (slots(index), member)));
    setup
}

const TWICE: Program = arrives::<2, 2>;
const THREE: Program = arrives::<2, 3>;
const THREE_ONCE: Program = arrives::<1, 3>;

#[test]
fn without_deaths() {
    sound("two, twice", &setup(&[TWICE, TWICE]));
    sound("three", &setup(&[THREE_ONCE, THREE_ONCE, THREE_ONCE]));
    let free = |programs: &[Program]| Setup { preemptions: None, ..setup(programs) };
    walked("three, twice", &free(&[THREE, THREE, THREE]), 100);
    let places = Setup { slots: 0, words: vec![(STATE + 8, 1)], ..setup(&[joins, joins]) };
    sound("two for one place", &places);
    sound("two for one place, one killed", &Setup { kills: 1, newcomers: 1, ..places });
}

#[test]
fn with_deaths() {
    sound("two, one killed", &Setup { kills: 1, ..setup(&[TWICE, TWICE]) });
    let killed = Setup { kills: 2, preemptions: None, ..setup(&[THREE, THREE, THREE]) };
    walked("three, two killed", &killed, 150);
}

#[test]
fn without_fences() {
    let swaps = Setup { registered: [false; 3], fences: [false; 3], ..setup(&[TWICE, TWICE]) };
    sound("no process registered or able to fence", &swaps);
}

#[test]
fn planted_faults_are_found() {
    let with = |fault| Setup { fault, ..setup(&[TWICE, TWICE]) };
    caught("no wake", &with(Fault::NoWake(GATE)));
    caught(
        "one waiter is woken instead of all",
        &Setup { fault: Fault::WakeOne, ..setup(&[THREE, THREE, THREE]) },
    );
    caught("waiters do not set bit 0", &with(Fault::NoRegistration(GATE)));
    caught("arrives by a plain store", &with(Fault::PlainSwap(slots(0))));
    caught("an arrival is lost", &with(Fault::DropStore(slots(0))));
    caught("no recovery", &Setup { kills: 1, ..with(Fault::NoRecovery) });
}
