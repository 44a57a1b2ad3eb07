//! The counting semaphore: each post ends exactly one wait.

use crate::sync::algorithms::counting_semaphore::RawCountingSemaphore;
use crate::testing::explorer::search::{caught, sound, walked};
use crate::testing::explorer::sim::Sim;
use crate::testing::explorer::state::{Carry, LOCK};
use crate::testing::explorer::{Fault, Program, Setup};

const COUNT: u64 = LOCK;
const GATE: u64 = LOCK + 4;

fn semaphore() -> RawCountingSemaphore {
    RawCountingSemaphore::new(LOCK)
}

fn waits<const TIMES: u32>(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    if step == TIMES {
        return false;
    }
    sim.expect(semaphore().wait(sim, None));
    sim.ghost(|ghost| {
        ghost.count[1] += 1;
        Ok(())
    });
    true
}

fn gives_up(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    if step == 1 {
        return false;
    }
    let taken = semaphore().wait(sim, Some(std::time::Duration::from_secs(1))).is_ok();
    sim.ghost(|ghost| {
        ghost.count[1] += u32::from(taken);
        Ok(())
    });
    true
}

fn posts<const TIMES: u32, const EACH: u32>(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    if step == TIMES {
        return false;
    }
    sim.ghost(|ghost| {
        ghost.count[0] += EACH;
        Ok(())
    });
    sim.expect(semaphore().post(sim, EACH));
    true
}

fn setup(programs: &[Program]) -> Setup {
    let mut setup = Setup { preemptions: Some(2), ..Setup::new(programs) };
    setup.last = |state| {
        let (posted, taken) = (state.ghost.count[0], state.ghost.count[1]);
        let left = state.peek_32(COUNT);
        match taken + left == posted || (state.deaths > 0 && taken + left < posted) {
            true => Ok(()),
            false => Err(format!("{posted} posted, {taken} taken, {left} left")),
        }
    };
    setup
}

const ONCE: Program = waits::<1>;
const TWICE: Program = waits::<2>;
const TWO: Program = posts::<2, 1>;
const BOTH: Program = posts::<1, 2>;

#[test]
fn no_post_is_lost() {
    sound("one waits twice", &setup(&[TWICE, TWO]));
    sound("two wait", &setup(&[ONCE, ONCE, TWO]));
    sound("two wait for one post of both", &setup(&[ONCE, ONCE, BOTH]));
    sound("one gives up", &Setup { expiries: 1, stalls: 1, ..setup(&[ONCE, gives_up, TWO]) });
    let free = Setup { preemptions: None, ..setup(&[TWICE, ONCE, posts::<3, 1>]) };
    walked("three", &free, 150);
}

#[test]
fn with_deaths() {
    let killable = [true, true, false];
    let setup = Setup { kills: 1, killable, ..setup(&[ONCE, ONCE, TWO]) };
    sound("a waiter is killed", &setup);
    walked("a waiter is killed", &Setup { preemptions: None, ..setup }, 150);
}

#[test]
fn without_fences() {
    let swaps = Setup { registered: [false; 3], fences: [false; 3], ..setup(&[ONCE, ONCE, TWO]) };
    sound("no process registered or able to fence", &swaps);
}

#[test]
fn planted_faults_are_found() {
    let with = |fault| Setup { fault, ..setup(&[ONCE, ONCE, TWO]) };
    caught("no wake", &with(Fault::NoWake(GATE)));
    caught("waiters do not set bit 0", &with(Fault::NoRegistration(GATE)));
    caught("the count is changed by a load and a store", &with(Fault::Torn(COUNT)));
    let both = |fault| Setup { fault, ..setup(&[ONCE, ONCE, BOTH]) };
    caught("posts are lost", &both(Fault::Lost(COUNT)));
}
