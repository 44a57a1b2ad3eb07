//! The condition variable: no notification is lost, and the mutex excludes.

use std::time::Duration;

use crate::error::ErrorKind;
use crate::sync::algorithms::condvar::{Limit, RawCondvar};
use crate::sync::algorithms::exclusive::{Acquisition, Exclusive, ReleaseState};
use crate::sync::algorithms::mutex::RawMutex;
use crate::testing::explorer::search::{caught, sound, walked};
use crate::testing::explorer::sim::Sim;
use crate::testing::explorer::state::{Carry, LOCK};
use crate::testing::explorer::{Fault, Program, Setup};

const CONDVAR: u64 = LOCK + 64;

fn mutex() -> RawMutex {
    RawMutex::new(LOCK, 4)
}

fn condvar() -> RawCondvar {
    RawCondvar::new(CONDVAR)
}

/// Returns the number of tokens, the value of the mutex, and its selector.
fn tokens(sim: &Sim<'_>) -> (u32, u32) {
    let mut value = [0; 4];
    let selector = sim.expect(mutex().value().read(sim, &mut value));
    (u32::from_le_bytes(value), selector)
}

/// Writes the number of tokens, and releases the mutex.
fn change(sim: &Sim<'_>, held: Acquisition, selector: u32, tokens: u32) {
    sim.expect(mutex().value().write(sim, selector, &tokens.to_le_bytes()));
    sim.expect(mutex().unlock(sim, held, ReleaseState::Sound));
}

/// Waits for a token and removes it. Gives up after four waits, because the process that adds tokens may be
/// dead.
fn waits(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    if step == 1 {
        return false;
    }
    let mut held = sim.expect(mutex().lock(sim, None));
    for _ in 0..4 {
        let (number, selector) = tokens(sim);
        if number > 0 {
            change(sim, held, selector, number - 1);
            return true;
        }
        held = sim.expect(condvar().wait(sim, mutex(), held, ReleaseState::Sound, None)).held;
    }
    sim.expect(mutex().unlock(sim, held, ReleaseState::Sound));
    true
}

/// Waits for a token within a time limit, and removes it. Without a token, either the time had passed or the
/// mutex could not be acquired again.
fn waits_for_a_time(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    if step == 1 {
        return false;
    }
    let limit = Some(Limit { until: Duration::from_secs(1), relock: Duration::from_secs(1) });
    let mut held = sim.expect(mutex().lock(sim, None));
    let mut timed_out = false;
    for _ in 0..4 {
        let (number, selector) = tokens(sim);
        if number > 0 {
            change(sim, held, selector, number - 1);
            return true;
        }
        if timed_out {
            break;
        }
        match condvar().wait(sim, mutex(), held, ReleaseState::Sound, limit) {
            Ok(woken) => (held, timed_out) = (woken.held, woken.timed_out),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Timeout);
                sim.ghost(|ghost| {
                    ghost.count[0] += 1;
                    Ok(())
                });
                return true;
            }
        }
    }
    sim.ghost(|ghost| {
        ghost.count[0] += u32::from(timed_out);
        Ok(())
    });
    sim.expect(mutex().unlock(sim, held, ReleaseState::Sound));
    true
}

/// Adds tokens one by one with `notify_one`, or all at once with `notify_all`.
fn adds<const ALL: bool, const TOKENS: u32>(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    let each = if ALL { TOKENS } else { 1 };
    if step * each == TOKENS {
        return false;
    }
    let held = sim.expect(mutex().lock(sim, None));
    let (number, selector) = tokens(sim);
    change(sim, held, selector, number + each);
    sim.expect(if ALL { condvar().notify_all(sim) } else { condvar().notify_one(sim) });
    true
}

fn setup(programs: &[Program]) -> Setup {
    let mut setup = Setup { preemptions: Some(2), ..Setup::new(programs) };
    setup.last = |state| match state.peek_32(LOCK + 16) {
        left if left != 0 && state.deaths == 0 && state.ghost.count[0] == 0 => {
            Err(format!("{left} tokens are left"))
        }
        _ => Ok(()),
    };
    setup
}

const ONE: Program = adds::<false, 1>;
const TWO: Program = adds::<false, 2>;
const BOTH: Program = adds::<true, 2>;

#[test]
fn no_notification_is_lost() {
    sound("one waits", &setup(&[waits, ONE]));
    sound("two wait for one each", &setup(&[waits, waits, TWO]));
    sound("two wait for both", &setup(&[waits, waits, BOTH]));
    let timed = |programs: &[Program]| Setup { expiries: 1, ..setup(programs) };
    sound("one waits for a time", &timed(&[waits_for_a_time, ONE]));
    sound("two wait, one for a time", &timed(&[waits, waits_for_a_time, TWO]));
    let free = |programs: &[Program]| Setup { preemptions: None, ..setup(programs) };
    walked("two wait for one each", &free(&[waits, waits, TWO]), 100);
    walked("two wait for both", &free(&[waits, waits, BOTH]), 100);
}

#[test]
fn with_deaths() {
    sound("one waits, one killed", &Setup { kills: 1, stalls: 2, ..setup(&[waits, ONE]) });
    let timed = Setup { kills: 1, stalls: 2, expiries: 1, ..setup(&[waits_for_a_time, ONE]) };
    sound("one waits for a time, one killed", &timed);
    // A newcomer may wait several times for tokens that the dead process would have added.
    let killed = |programs: &[Program]| Setup {
        kills: 2,
        preemptions: None,
        newcomers: 1,
        stalls: 4,
        ..setup(programs)
    };
    walked("two wait, two killed", &killed(&[waits, waits, TWO]), 150);
    walked("two wait for both, two killed", &killed(&[waits, waits, BOTH]), 150);
}

#[test]
fn without_fences() {
    let swaps = Setup { registered: [false; 3], fences: [false; 3], ..setup(&[waits, ONE]) };
    sound("no process registered or able to fence", &swaps);
}

#[test]
fn planted_faults_are_found() {
    let with = |fault| Setup { fault, ..setup(&[waits, waits, TWO]) };
    caught("no wake", &with(Fault::NoWake(CONDVAR)));
    caught("waiters do not set bit 0", &with(Fault::NoRegistration(CONDVAR)));
    caught("the number of tokens is not stored", &with(Fault::DropStore(LOCK + 16)));
    let timed = |fault| Setup { fault, expiries: 1, ..setup(&[waits, waits_for_a_time, TWO]) };
    caught("no wake, with a timed waiter", &timed(Fault::NoWake(CONDVAR)));
    let both = |fault| Setup { fault, ..setup(&[waits, waits, BOTH]) };
    caught("one waiter is woken instead of all", &both(Fault::WakeOne));
}
