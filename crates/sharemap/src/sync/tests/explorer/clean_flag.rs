//! The clean mark, which tells whether an object was left consistent, while its users attach, detach or
//! die.
//!
//! The disk may contain the memory of any moment since the last flush.

use crate::error::Result;
use crate::peer::{IN_ORDER, Mark, Others, PowerCuts};
use crate::testing::explorer::search::{caught, sound, walked};
use crate::testing::explorer::sim::Sim;
use crate::testing::explorer::state::{Carry, LOCK, MAX_PROCESSES, State};
use crate::testing::explorer::{Fault, Program, Setup};

const MARK: u64 = LOCK;

/// Returns the offset of a process's record, which is 1 while the process is attached.
fn record(process: usize) -> u64 {
    LOCK + 8 + 4 * process as u64
}

/// The counter that is 1 if no mark on the disk can be clean.
const KNOWN: usize = 0;
/// The counter that is 1 if a change may not have reached the disk.
const UNWRITTEN: usize = 1;
/// The processes that use the object, or used it when they died, as bits.
const USERS: usize = 2;

/// Returns whether another process is attached.
fn others(sim: &Sim<'_>) -> Result<Others> {
    for process in (0..MAX_PROCESSES).filter(|&process| process != sim.me) {
        if sim.load(record(process), 4) != 0 {
            return Ok(Others::Somebody);
        }
    }
    Ok(Others::Nobody)
}

/// Waits for the disk, which first gets the contents, then the mark.
fn flush(sim: &Sim<'_>) -> Result<()> {
    sim.load(record(sim.me), 4);
    sim.ghost(|ghost| {
        ghost.count[UNWRITTEN] = 0;
        Ok(())
    });
    let mark = sim.load(MARK, 4);
    sim.ghost(|ghost| {
        ghost.count[KNOWN] = u32::from(mark != u64::from(IN_ORDER));
        Ok(())
    });
    Ok(())
}

/// Attaches, changes something, and detaches.
fn attaches_and_detaches<const DETECTED: bool>(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    let me = sim.me;
    let power_cuts = if DETECTED { PowerCuts::Told } else { PowerCuts::Overlooked };
    let mark = Mark { at: MARK, power_cuts, flush: || flush(sim) };
    sim.swap(record(me), 4, 1);
    sim.expect(mark.attach(sim));
    sim.ghost(|ghost| {
        ghost.count[USERS] |= 1 << me;
        match ghost.count[KNOWN] {
            0 if DETECTED => Err("the mark on the disk may be clean".to_owned()),
            _ => Ok(()),
        }
    });
    let found = sim.load(MARK, 4);
    sim.ghost(|ghost| {
        ghost.count[UNWRITTEN] = 1;
        match ghost.count[KNOWN] {
            _ if found == u64::from(IN_ORDER) => {
                Err("the mark is clean while the object is in use".to_owned())
            }
            0 if DETECTED => {
                Err("the mark on the disk may be clean while the object is in use".to_owned())
            }
            _ => Ok(()),
        }
    });
    sim.swap(record(me), 4, 0);
    sim.ghost(|ghost| {
        ghost.count[USERS] &= !(1 << me);
        Ok(())
    });
    let in_order = sim.expect(mark.leave(sim, me as u32, || others(sim)));
    sim.ghost(|ghost| {
        match in_order {
            true if ghost.count[USERS] != 0 => {
                return Err("marked as clean while it is in use".to_owned());
            }
            true if DETECTED && ghost.count[UNWRITTEN] != 0 => {
                return Err("marked as clean before the contents were written".to_owned());
            }
            true => ghost.count[KNOWN] = 0,
            false => {}
        }
        Ok(())
    });
    step == 0
}

const DETECTED: Program = attaches_and_detaches::<true>;
const OVERLOOKED: Program = attaches_and_detaches::<false>;

fn last(state: &State) -> std::result::Result<(), String> {
    let in_order = state.peek_32(MARK) == IN_ORDER;
    match state.ghost.count[USERS] {
        0 if state.deaths == 0 && !in_order => {
            Err("all detached, and the mark is not clean".to_owned())
        }
        users if users != 0 && in_order => Err("a user died, and the mark is clean".to_owned()),
        _ => Ok(()),
    }
}

fn setup(programs: &[Program], kills: u8) -> Setup {
    let words = vec![(MARK, IN_ORDER)];
    Setup { kills, preemptions: Some(2), words, last, ..Setup::new(programs) }
}

#[test]
fn users_attach_and_detach() {
    sound("two", &setup(&[OVERLOOKED, OVERLOOKED], 0));
    sound("two, one killed", &setup(&[OVERLOOKED, OVERLOOKED], 1));
    sound("three, one killed", &setup(&[OVERLOOKED, OVERLOOKED, OVERLOOKED], 1));
    walked("three, two killed", &setup(&[OVERLOOKED, OVERLOOKED, OVERLOOKED], 2).free(), 300);
}

#[test]
fn power_cuts_are_detected() {
    sound("two", &setup(&[DETECTED, DETECTED], 0));
    sound("two, one killed", &setup(&[DETECTED, DETECTED], 1));
    sound("two of three, one killed", &setup(&[DETECTED, DETECTED, OVERLOOKED], 1));
    walked("three, two killed", &setup(&[DETECTED, DETECTED, DETECTED], 2).free(), 300);
}

#[test]
fn planted_faults_are_found() {
    let three = |fault| Setup { fault, ..setup(&[DETECTED, DETECTED, DETECTED], 0) };
    caught("a detaching process does not compare the mark", &three(Fault::Torn(MARK)));
    caught("an attaching process stores the mark late", &three(Fault::PlainSwap(MARK)));
    caught("a record becomes visible late", &three(Fault::PlainSwap(record(0))));
    caught("the clean mark is not stored", &three(Fault::Lost(MARK)));
}
