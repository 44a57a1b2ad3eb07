//! The mutex: exclusion, whole values, reports of deaths, no missed wake-ups.

use crate::error::{ErrorKind, Result};
use crate::peer::{Machine, Slot};
use crate::sync::algorithms::exclusive::{Acquisition, Exclusive, ReleaseState};
use crate::sync::algorithms::mutex::RawMutex;
use crate::sync::core::unlock::Waiting;
use crate::testing::explorer::machine::SimSlot;
use crate::testing::explorer::search::{caught, sound, walked};
use crate::testing::explorer::sim::Sim;
use crate::testing::explorer::state::{Carry, LOCK, slots};
use crate::testing::explorer::{Fault, Lanes, Program, Setup};

const WORD: u64 = LOCK;
const GATE: u64 = LOCK + 4;
const SELECTOR: u64 = LOCK + 8;

const VALUE: u64 = LOCK + 16;

fn mutex<const LEN: usize>() -> RawMutex {
    RawMutex::new(LOCK, LEN as u32)
}

/// Returns a value of equal 4-byte parts.
fn parts<const LEN: usize>(number: u32) -> [u8; LEN] {
    let number = number.to_le_bytes();
    std::array::from_fn(|index| number[index % 4])
}

/// Adds one to all parts of the value, which must be equal to each other and to the number of commits.
///
/// `lead` is what was loaded when the mutex was acquired. Without it, the value is read by separate accesses.
fn inside<const LEN: usize>(sim: &Sim<'_>, held: Acquisition, lead: Option<u64>) {
    let died = held.died();
    let me = sim.me;
    sim.ghost(|ghost| {
        if let Some(other) = ghost.inside.iter().position(|&inside| inside != 0) {
            return Err(format!("processes {me} and {other} are inside"));
        }
        ghost.inside[me] = 1;
        if died != ghost.owed {
            return Err(format!("a death was reported: {died}, expected: {}", ghost.owed));
        }
        Ok(())
    });
    let mut value = [0; LEN];
    let copies = mutex::<LEN>().value();
    let selector = sim.expect(match lead {
        Some(lead) => copies.read_after(sim, lead, &mut value),
        None => copies.read(sim, &mut value),
    });
    let number = u32::from_le_bytes(value[..4].try_into().unwrap());
    let half = value != parts(number);
    sim.ghost(|ghost| match half {
        true => Err(format!("a torn value: {value:?}")),
        false if number != ghost.commits => {
            Err(format!("the value is {number}, after {} commits", ghost.commits))
        }
        false => Ok(()),
    });
    let done = || {
        sim.ghost(|ghost| {
            ghost.count[0] += 1;
            ghost.inside[me] = 0;
            Ok(())
        });
    };
    let new = parts::<LEN>(number + 1);
    // An owner that was told of a death marks the value as consistent, or leaves the report to the next.
    let leave = if died && number % 2 == 1 { ReleaseState::Died } else { ReleaseState::Sound };
    if leave == ReleaseState::Sound && sim.stores_release() {
        // As a guard's drop releases: the last store of the value and the release are one operation.
        let last = sim.expect(copies.write_before(sim, selector, &new));
        done();
        let slot = SimSlot(held.announced());
        match sim.expect(mutex::<LEN>().store_and_unlock(sim, last)) {
            Waiting::Nobody => sim.expect(slot.withdraw(sim)),
            Waiting::Somebody => {
                let unlock = mutex::<LEN>().unlocking(leave);
                sim.expect(unlock.finish_released(sim, held.announced()));
            }
        }
        return;
    }
    sim.expect(copies.write(sim, selector, &new));
    done();
    sim.expect(mutex::<LEN>().unlock(sim, held, leave));
}

fn rounds<const LEN: usize, const ROUNDS: u32>(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    if step == ROUNDS {
        return false;
    }
    let (held, lead) = sim.expect(lock::<LEN>(sim));
    inside::<LEN>(sim, held, lead);
    true
}

/// Acquires the mutex as its handle does: at once, with what the value is read by, or else by the slow path.
fn lock<const LEN: usize>(sim: &Sim<'_>) -> Result<(Acquisition, Option<u64>)> {
    let (mutex, slot) = (mutex::<LEN>(), sim.empty_slot()?);
    mutex.announce_in(sim, slot)?;
    match mutex.lock_and_load(sim, slot)? {
        (word, _, lead) if word.has_acquired() => Ok((Acquisition::of(slot.0, 0), Some(lead))),
        _ => Ok((mutex.lock_again(sim, slot.0, false, None)?, None)),
    }
}

/// Runs each round in a new thread, which claims a lane and releases it.
fn threads<const ROUNDS: u32>(sim: &Sim<'_>, step: u32, carry: &mut Carry) -> bool {
    rounds::<12, ROUNDS>(sim, step, carry) && {
        sim.expect(sim.release_lane());
        true
    }
}

/// Locks with a timeout.
fn impatient(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    if step == 1 {
        return false;
    }
    match mutex::<12>().lock(sim, Some(std::time::Duration::from_secs(1))) {
        Ok(held) => inside::<12>(sim, held, None),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Timeout),
    }
    true
}

/// Tries to lock twice.
fn trying(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    if step == 2 {
        return false;
    }
    if let Some(held) = sim.expect(mutex::<12>().try_lock(sim)) {
        inside::<12>(sim, held, None);
    }
    true
}

fn setup(programs: &[Program]) -> Setup {
    let mut setup = Setup::new(programs);
    setup.watch.word = Some(WORD);
    setup.watch.selector = Some(SELECTOR);
    setup.last = |state| match state.ghost {
        ghost if state.deaths == 0 && ghost.count[0] != ghost.commits => {
            Err(format!("{} values written, {} current", ghost.count[0], ghost.commits))
        }
        _ => Ok(()),
    };
    setup
}

const ONCE: Program = rounds::<12, 1>;
const TWICE: Program = rounds::<12, 2>;

fn some(programs: &[Program]) -> Setup {
    Setup { preemptions: Some(2), ..setup(programs) }
}

#[test]
fn without_deaths() {
    sound("two, twice", &some(&[TWICE, TWICE]));
    sound("three", &some(&[ONCE, ONCE, ONCE]));
    sound("three, one impatient", &Setup { expiries: 1, ..some(&[ONCE, ONCE, impatient]) });
    sound("one tries", &some(&[ONCE, trying]));
    sound("two, twice, starving", &Setup { pace: 100, ..some(&[TWICE, TWICE]) });
    let starving = Setup { pace: 100, ..setup(&[TWICE, TWICE, TWICE]) };
    walked("three, twice, starving", &starving, 150);
    walked("three, twice", &setup(&[TWICE, TWICE, TWICE]), 150);
}

#[test]
fn with_deaths() {
    sound("two, one killed", &Setup { kills: 1, ..some(&[ONCE, TWICE]) });
    let newcomer = Setup { kills: 1, newcomers: 1, ..some(&[ONCE, ONCE]) };
    sound("two, one killed and replaced", &newcomer);
    let newcomers = Setup { kills: 2, newcomers: 2, ..some(&[ONCE, ONCE]) };
    sound("two, two killed and replaced", &newcomers);
    sound("one tries, one killed", &Setup { kills: 1, ..some(&[ONCE, trying]) });
    let three = Setup { kills: 2, newcomers: 2, ..setup(&[TWICE, TWICE, TWICE]) };
    walked("three, two killed and replaced", &three, 300);
    walked("three, two killed, starving", &Setup { pace: 100, ..three }, 300);
    let impatient =
        Setup { kills: 2, newcomers: 1, expiries: 1, ..setup(&[ONCE, impatient, TWICE]) };
    walked("three, one impatient", &impatient, 300);
}

/// Returns a setup for a value of 8 bytes, which has one copy and is replaced by one store.
fn word(programs: &[Program]) -> Setup {
    let mut setup = some(programs);
    setup.watch.selector = Some(VALUE);
    setup
}

#[test]
fn a_value_of_one_word() {
    let [once, twice]: [Program; 2] = [rounds::<8, 1>, rounds::<8, 2>];
    sound("a word, two, twice", &word(&[twice, twice]));
    sound("a word, two, one killed", &Setup { kills: 1, ..word(&[once, twice]) });
    let replaced = Setup { kills: 2, newcomers: 2, ..word(&[once, once]) };
    sound("a word, two, two killed and replaced", &replaced);
    let with = |fault| Setup { fault, kills: 1, ..word(&[once, twice]) };
    caught("a word is stored in halves", &with(Fault::SplitStore(VALUE)));
    caught("a word is not stored", &with(Fault::DropStore(VALUE)));
    caught("released before the word is stored", &with(Fault::SwapStores(VALUE, WORD)));
    caught("loaded before the word is acquired", &with(Fault::EarlyLoad));
}

#[test]
fn lanes_come_and_go() {
    let pooled = |programs: &[Program]| Setup { lanes: Lanes::Pooled, ..some(programs) };
    sound("two, in threads", &pooled(&[threads::<2>, threads::<1>]));
    let killed = Setup { kills: 1, ..pooled(&[threads::<1>, threads::<2>]) };
    sound("two, in threads, one killed", &killed);
    let replaced = Setup { kills: 2, newcomers: 2, ..pooled(&[threads::<1>, threads::<1>]) };
    sound("two, in threads, two killed and replaced", &replaced);
    let three = Setup {
        kills: 2,
        newcomers: 2,
        preemptions: None,
        ..pooled(&[threads::<2>, threads::<2>, threads::<2>])
    };
    walked("three, in threads, two killed and replaced", &three, 300);
    let with = |fault| Setup { fault, ..replaced.clone() };
    caught("a lane is free too early", &with(Fault::FreesLaneFirst));
    caught("two recover the same participant", &with(Fault::RecoversUnlocked));
    caught("a newcomer does not recover its slot", &with(Fault::TakesOverUnrecovered));
}

#[test]
fn without_fences() {
    let swaps = Setup { registered: [false; 3], fences: [false; 3], ..some(&[TWICE, ONCE]) };
    sound("no process registered or able to fence", &swaps);
    sound("no process registered or able to fence, one killed", &Setup { kills: 1, ..swaps });
    let mixed = Setup { registered: [false, true, true], ..some(&[TWICE, ONCE]) };
    sound("one not registered", &mixed);
    let deaf = Setup { fences: [false, true, true], stalls: 3, ..some(&[ONCE, TWICE]) };
    sound("one cannot fence: its short sleep is needed", &deaf);
}

#[test]
fn planted_faults_are_found() {
    let two = |fault| Setup { fault, ..some(&[TWICE, TWICE]) };
    caught("no fence", &two(Fault::NoFence));
    caught("no wake", &two(Fault::NoWake(GATE)));
    caught("waiters do not set bit 0", &two(Fault::NoRegistration(GATE)));
    caught("the selector is not flipped", &two(Fault::DropStore(SELECTOR)));
    caught("released before the flip", &two(Fault::SwapStores(SELECTOR, WORD)));
    caught("a third of the value is stored", &two(Fault::DropStore(LOCK + 40)));
    caught("no release", &two(Fault::DropStore(WORD)));
    let killed = |fault| Setup { fault, kills: 1, ..some(&[ONCE, TWICE]) };
    caught("no announcement", &killed(Fault::NoAnnouncement));
    caught("announced after the word is acquired", &killed(Fault::LateAnnouncement));
    let withdrawn = Fault::SwapStores(WORD, slots(0));
    caught("released after the announcement is withdrawn", &killed(withdrawn));
    caught("the selector is loaded before the word is acquired", &two(Fault::EarlyLoad));
    caught("flipped before the copy", &killed(Fault::SwapStores(LOCK + 40, SELECTOR)));
    caught("no recovery", &killed(Fault::NoRecovery));
}
