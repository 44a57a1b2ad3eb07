//! The mark that tells whether an object was left in order: its users come and go, or die.
//!
//! The disk may have written what is in memory at any moment since it was last waited for.

use super::search::{caught, sound, walked};
use super::sim::Sim;
use super::state::{Carry, LOCK, MAX_PROCESSES, State};
use super::{Fault, Program, Setup};
use crate::error::Result;
use crate::peer::{IN_ORDER, Mark, Others, PowerCuts};

const MARK: u64 = LOCK;

/// Whether a process is attached, as its record says.
fn record(process: usize) -> u64 {
    LOCK + 8 + 4 * process as u64
}

/// What is counted: 1 if no mark on the disk can be that all is in order.
const KNOWN: usize = 0;
/// 1 if something may not have been written to the disk.
const UNWRITTEN: usize = 1;
/// As bits: who uses the object, or did when it died.
const USERS: usize = 2;

fn others(sim: &Sim<'_>) -> Result<Others> {
    for process in (0..MAX_PROCESSES).filter(|&process| process != sim.me) {
        if sim.load(record(process), 4) != 0 {
            return Ok(Others::Somebody);
        }
    }
    Ok(Others::Nobody)
}

/// Waits for the disk: first it has the contents, then the mark.
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

/// Attaches, changes something, and leaves.
fn comes_and_goes<const TOLD: bool>(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    let me = sim.me;
    let power_cuts = if TOLD { PowerCuts::Told } else { PowerCuts::Overlooked };
    let mark = Mark { at: MARK, power_cuts, flush: || flush(sim) };
    sim.swap(record(me), 4, 1);
    sim.expect(mark.attach(sim));
    sim.ghost(|ghost| {
        ghost.count[USERS] |= 1 << me;
        match ghost.count[KNOWN] {
            0 if TOLD => Err("the disk may say that all is in order".to_owned()),
            _ => Ok(()),
        }
    });
    let found = sim.load(MARK, 4);
    sim.ghost(|ghost| {
        ghost.count[UNWRITTEN] = 1;
        match ghost.count[KNOWN] {
            _ if found == u64::from(IN_ORDER) => Err("in order, it says, and is in use".to_owned()),
            0 if TOLD => Err("the disk may say so".to_owned()),
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
            true if ghost.count[USERS] != 0 => return Err("said while it is in use".to_owned()),
            true if TOLD && ghost.count[UNWRITTEN] != 0 => {
                return Err("said before it was written".to_owned());
            }
            true => ghost.count[KNOWN] = 0,
            false => {}
        }
        Ok(())
    });
    step == 0
}

const TOLD: Program = comes_and_goes::<true>;
const OVERLOOKED: Program = comes_and_goes::<false>;

fn last(state: &State) -> std::result::Result<(), String> {
    let in_order = state.peek_32(MARK) == IN_ORDER;
    match state.ghost.count[USERS] {
        0 if state.deaths == 0 && !in_order => Err("all left, and nobody said so".to_owned()),
        users if users != 0 && in_order => Err("one who used it died, and nobody knows".to_owned()),
        _ => Ok(()),
    }
}

fn setup(programs: &[Program], kills: u8) -> Setup {
    let words = vec![(MARK, IN_ORDER)];
    Setup { kills, preemptions: Some(2), words, last, ..Setup::new(programs) }
}

#[test]
fn whoever_comes_and_goes() {
    sound("two", &setup(&[OVERLOOKED, OVERLOOKED], 0));
    sound("two, one killed", &setup(&[OVERLOOKED, OVERLOOKED], 1));
    sound("three, one killed", &setup(&[OVERLOOKED, OVERLOOKED, OVERLOOKED], 1));
    walked("three, two killed", &setup(&[OVERLOOKED, OVERLOOKED, OVERLOOKED], 2).free(), 300);
}

#[test]
fn power_cuts_are_told() {
    sound("two", &setup(&[TOLD, TOLD], 0));
    sound("two, one killed", &setup(&[TOLD, TOLD], 1));
    sound("two of three, one killed", &setup(&[TOLD, TOLD, OVERLOOKED], 1));
    walked("three, two killed", &setup(&[TOLD, TOLD, TOLD], 2).free(), 300);
}

#[test]
fn planted_bugs_are_found() {
    let three = |fault| Setup { fault, ..setup(&[TOLD, TOLD, TOLD], 0) };
    caught("whoever leaves says so whatever the mark is", &three(Fault::Torn(MARK)));
    caught("whoever attaches says it later", &three(Fault::PlainSwap(MARK)));
    caught("a record is seen late", &three(Fault::PlainSwap(record(0))));
    caught("nobody says so", &three(Fault::Lost(MARK)));
}
