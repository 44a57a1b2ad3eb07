//! The event: setting it releases all waiters, or one.

use crate::sync::algorithms::event::{RawEvent, Reset};
use crate::testing::explorer::search::{caught, sound, walked};
use crate::testing::explorer::sim::Sim;
use crate::testing::explorer::state::{Carry, LOCK};
use crate::testing::explorer::{Fault, Program, Setup};

const STATE: u64 = LOCK;
const GATE: u64 = LOCK + 4;

fn manual() -> RawEvent {
    RawEvent::new(LOCK, Reset::Manual)
}

fn auto() -> RawEvent {
    RawEvent::new(LOCK, Reset::Auto)
}

fn waits(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    if step == 1 {
        return false;
    }
    sim.expect(manual().wait(sim, None));
    sim.ghost(|ghost| match ghost.count[0] {
        0 => Err("released before it was set".to_owned()),
        _ => Ok(()),
    });
    true
}

fn sets(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    if step == 1 {
        return false;
    }
    sim.ghost(|ghost| {
        ghost.count[0] += 1;
        Ok(())
    });
    sim.expect(manual().set(sim));
    true
}

fn takes(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    if step == 1 {
        return false;
    }
    sim.expect(auto().wait(sim, None));
    sim.ghost(|ghost| {
        ghost.count[1] += 1;
        match ghost.count[1] > ghost.count[0] {
            true => Err(format!("{} released, set {} times", ghost.count[1], ghost.count[0])),
            false => Ok(()),
        }
    });
    true
}

/// Sets the event `TIMES` times, each time after it has been reset.
fn sets_auto<const TIMES: u32>(sim: &Sim<'_>, step: u32, carry: &mut Carry) -> bool {
    if carry[0] == u64::from(TIMES) {
        return false;
    }
    if !sim.expect(auto().is_set(sim)) {
        sim.ghost(|ghost| {
            ghost.count[0] += 1;
            Ok(())
        });
        sim.expect(auto().set(sim));
        carry[0] += 1;
    }
    let _ = step;
    true
}

fn some(programs: &[Program]) -> Setup {
    Setup { preemptions: Some(2), ..Setup::new(programs) }
}

#[test]
fn all_waiters_are_released() {
    sound("manual, one waits", &some(&[waits, sets]));
    sound("manual, two wait", &some(&[waits, waits, sets]));
    sound("auto, one waits", &some(&[takes, sets_auto::<1>]));
    walked("auto, two wait", &Setup::new(&[takes, takes, sets_auto::<2>]), 150);
}

#[test]
fn with_deaths() {
    let killable = [true, true, false];
    let setup = Setup { kills: 1, killable, ..some(&[waits, waits, sets]) };
    sound("manual, a waiter is killed", &setup);
}

#[test]
fn without_fences() {
    let swaps = Setup { registered: [false; 3], fences: [false; 3], ..some(&[waits, waits, sets]) };
    sound("no process registered or able to fence", &swaps);
}

#[test]
fn planted_faults_are_found() {
    let with = |fault| Setup { fault, ..some(&[waits, waits, sets]) };
    caught("no wake", &with(Fault::NoWake(GATE)));
    caught("one waiter is woken instead of all", &with(Fault::WakeOne));
    caught("waiters do not set bit 0", &with(Fault::NoRegistration(GATE)));
    caught("the set is lost", &with(Fault::Lost(STATE)));
    let auto = |fault| Setup { fault, ..some(&[takes, takes, sets_auto::<1>]) };
    caught("reset twice", &auto(Fault::Torn(STATE)));
}
