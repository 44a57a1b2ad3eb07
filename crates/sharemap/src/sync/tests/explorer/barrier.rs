//! The barrier: nobody passes before all have come, and a death is told to all who wait.

use super::search::{caught, sound, walked};
use super::sim::Sim;
use super::state::{Carry, LOCK, slots};
use super::{Fault, Program, Setup};
use crate::error::ErrorKind;
use crate::peer::Announced;
use crate::sync::algorithms::barrier::{Membership, RawBarrier};
use crate::sync::core::announcement::Kind;

const STATE: u64 = LOCK;
const GATE: u64 = LOCK + 4;

fn barrier() -> RawBarrier {
    RawBarrier::new(LOCK)
}

/// A member from the beginning comes as many times.
fn comes<const TIMES: u32, const MEMBERS: u32>(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
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
        _ if broken => Err("broken, and nobody died".to_owned()),
        come if come < MEMBERS => Err(format!("passed when {come} had come")),
        _ => Ok(()),
    });
    if broken {
        return false;
    }
    sim.expect(passed);
    true
}

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
                members => Err(format!("{members} in one place")),
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

const TWICE: Program = comes::<2, 2>;
const THREE: Program = comes::<2, 3>;
const THREE_ONCE: Program = comes::<1, 3>;

#[test]
fn nobody_dies() {
    sound("two, twice", &setup(&[TWICE, TWICE]));
    sound("three", &setup(&[THREE_ONCE, THREE_ONCE, THREE_ONCE]));
    let free = |programs: &[Program]| Setup { preemptions: None, ..setup(programs) };
    walked("three, twice", &free(&[THREE, THREE, THREE]), 100);
    let places = Setup { slots: 0, words: vec![(STATE + 8, 1)], ..setup(&[joins, joins]) };
    sound("two for one place", &places);
    sound("two for one place, one killed", &Setup { kills: 1, newcomers: 1, ..places });
}

#[test]
fn some_die() {
    sound("two, one killed", &Setup { kills: 1, ..setup(&[TWICE, TWICE]) });
    let killed = Setup { kills: 2, preemptions: None, ..setup(&[THREE, THREE, THREE]) };
    walked("three, two killed", &killed, 150);
}

#[test]
fn without_the_fence() {
    let swaps = Setup { registered: [false; 3], fences: [false; 3], ..setup(&[TWICE, TWICE]) };
    sound("nobody registered, nobody can fence", &swaps);
}

#[test]
fn planted_bugs_are_found() {
    let with = |fault| Setup { fault, ..setup(&[TWICE, TWICE]) };
    caught("no wake", &with(Fault::NoWake(GATE)));
    caught("one is woken", &Setup { fault: Fault::WakeOne, ..setup(&[THREE, THREE, THREE]) });
    caught("sleepers do not say so", &with(Fault::NoRegistration(GATE)));
    caught("comes by a plain store", &with(Fault::PlainSwap(slots(0))));
    caught("does not come", &with(Fault::DropStore(slots(0))));
    caught("no recovery", &Setup { kills: 1, ..with(Fault::NoRecovery) });
}
