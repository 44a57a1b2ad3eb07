//! Changes in the explorer: no change lost, none half, with deaths of writers and recoverers.

use crate::error::Result;
use crate::peer::Machine;
use crate::segment::completion::complete;
use crate::segment::lane_area::LaneArea;
use crate::segment::tests::prefix::Prefix;
use crate::segment::tests::toy::{self, ONES, RUN, Reader, SPACE, TWOS, area, lock};
use crate::testing::explorer::search::{caught, sound, walked};
use crate::testing::explorer::sim::Sim;
use crate::testing::explorer::state::{Carry, State};
use crate::testing::explorer::{Fault, Program, Setup};

/// Counters of the ghost: changes begun and completed, of each kind.
const BEGUN: [usize; 2] = [0, 1];
const COMPLETED: [usize; 2] = [2, 3];

/// Announces the area, and then makes `ROUNDS` changes of the kind `KIND`: 0 by a single store, 1 by a record, 2 by a
/// record with one range of locks.
fn writes<const KIND: usize, const ROUNDS: u32>(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    let lane = sim.me as u32;
    if step == 0 {
        sim.expect(sim.announce(area(lane).announcement()));
        return true;
    }
    if step > ROUNDS {
        return false;
    }
    let counter = KIND.min(1);
    sim.ghost(|ghost| {
        ghost.count[BEGUN[counter]] += 1;
        Ok(())
    });
    sim.expect(match KIND {
        0 => toy::add_one(sim, lane),
        1 => toy::add_all(sim, lane),
        _ => toy::add_all_at_once(sim, lane),
    });
    sim.ghost(|ghost| {
        ghost.count[COMPLETED[counter]] += 1;
        Ok(())
    });
    true
}

/// Reads all words at one moment, without a lock. They must be of one moment, and not of an earlier one than the
/// last completed change.
fn reads<const READER: u8>(sim: &Sim<'_>, step: u32, carry: &mut Carry) -> bool {
    match step {
        0 => {
            // Begins at any moment.
            sim.nap(std::time::Duration::ZERO);
            sim.ghost(|ghost| {
                carry[0] = ghost.count[COMPLETED[0]].into();
                carry[1] = ghost.count[COMPLETED[1]].into();
                Ok(())
            });
            true
        }
        _ => {
            let values = sim.expect(toy::read(sim, READER, 2));
            let before = [carry[0], carry[1]];
            sim.ghost(|_| match values {
                Some([ones, twos, left, right]) if left != twos || right != twos || ones < twos => {
                    Err(format!("read {:?}", [ones, twos, left, right]))
                }
                Some([ones, twos, ..]) if twos < before[1] || ones - twos < before[0] => {
                    Err(format!("read {ones} and {twos}, after {before:?} changes"))
                }
                _ => Ok(()),
            });
            false
        }
    }
}

fn recover(sim: &Sim<'_>, _: u64, what: u64, lane: u32) -> Result<()> {
    match LaneArea::announced(what) {
        Some(at) => complete(sim, &SPACE, LaneArea::load(sim, &SPACE, at, lane)?),
        None => Ok(()),
    }
}

/// Checks a final state, after the changes of dead lanes are completed.
fn last(state: &State) -> std::result::Result<(), String> {
    let machine = Prefix::of(&state.memory.image());
    for (lane, process) in state.processes.iter().enumerate() {
        if !process.alive {
            complete(&machine, &SPACE, area(lane as u32)).map_err(|error| error.to_string())?;
        }
    }
    let [ones, twos] = toy::check(|at| machine.load_64(at).unwrap_or_default())?;
    let count = state.ghost.count.map(u64::from);
    for (kind, found) in [ones - twos, twos].into_iter().enumerate() {
        let (begun, completed) = (count[BEGUN[kind]], count[COMPLETED[kind]]);
        if found < completed || found > begun {
            return Err(format!(
                "{found} changes of kind {kind}, {begun} begun and {completed} completed"
            ));
        }
    }
    Ok(())
}

fn setup(programs: &[Program]) -> Setup {
    Setup {
        memory: toy::LEN,
        recover,
        last,
        preemptions: Some(2),
        stalls: 20,
        ..Setup::new(programs)
    }
}

const READ: Program = reads::<{ Reader::Sound as u8 }>;
const ONE: Program = writes::<0, 1>;
const ALL: Program = writes::<1, 1>;
const RANGE: Program = writes::<2, 1>;

/// Announces the area, of a process whose change is committed and will be completed.
fn announces(sim: &Sim<'_>, _: u32, _: &mut Carry) -> bool {
    sim.ghost(|ghost| {
        ghost.count[BEGUN[1]] += 1;
        ghost.count[COMPLETED[1]] += 1;
        Ok(())
    });
    sim.expect(sim.announce(area(0).announcement()));
    sim.nap(std::time::Duration::ZERO);
    false
}

/// Finds the dead process, and recovers it.
fn probes(sim: &Sim<'_>, _: u32, _: &mut Carry) -> bool {
    sim.expect(sim.probe_liveness(0));
    false
}

/// Returns a setup in which two survivors find a committed change of a dead process.
fn committed(survivors: [Program; 2]) -> Setup {
    let machine = Prefix::new(&[0; toy::LEN], 13, None);
    assert!(!machine.run(|machine| toy::add_all(machine, 0)));
    let image = machine.image();
    let words = image.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap()));
    Setup {
        words: (0..).step_by(4).zip(words).filter(|&(_, word)| word != 0).collect(),
        dead: 1,
        ..setup(&[announces, survivors[0], survivors[1]])
    }
}

#[test]
fn without_deaths() {
    sound("two by record", &setup(&[ALL, ALL]));
    sound("by store, by record", &setup(&[writes::<0, 2>, ALL]));
    sound("by record, by range", &setup(&[ALL, RANGE]));
    sound("by record, and a reader", &setup(&[writes::<1, 2>, READ]));
    sound("by store, by record, and a reader", &setup(&[ONE, ALL, READ]));
}

#[test]
fn with_deaths() {
    sound("two by record, one killed", &Setup { kills: 1, ..setup(&[ALL, ALL]) });
    sound("by store, by record, one killed", &Setup { kills: 1, ..setup(&[ONE, RANGE]) });
    let replaced = Setup { kills: 2, newcomers: 2, ..setup(&[ALL, ONE]) };
    sound("by record, by store, two killed and replaced", &replaced);
    let read = Setup { kills: 1, killable: [true, true, false], ..setup(&[ALL, ONE, READ]) };
    sound("one killed, and a reader", &read);
    sound("a committed change, two survivors", &committed([ALL, ALL]));
    let three = Setup { kills: 2, newcomers: 2, preemptions: None, ..setup(&[ALL, RANGE, ONE]) };
    walked("three, two killed and replaced", &three, 200);
}

/// Offsets in an area.
const COMMIT: u64 = 0;
const LISTED: u64 = 8;
const RANGES: u64 = 16;
const ENTRIES: u64 = 256;

#[test]
fn planted_faults_are_found() {
    let one = area(0).at;
    let with = |fault| Setup { fault, kills: 1, ..setup(&[ALL, writes::<1, 2>]) };
    let drops = [
        ("a range", one + RANGES),
        ("the number of ranges", one + LISTED),
        ("the commit word", one + COMMIT),
        ("an entry's place", one + ENTRIES),
        ("an entry's value", one + ENTRIES + 8),
        ("ones", ONES),
        ("twos", TWOS),
        ("the end of a run", RUN + 8),
        ("a release", lock(0)),
        ("another release", lock(1)),
    ];
    for (name, at) in drops {
        caught(&format!("{name} is not stored"), &with(Fault::DropStore(at)));
    }
    let swaps = [
        ("listed before the range is written", one + RANGES, one + LISTED),
        ("committed before an entry", one + ENTRIES + 8, one + COMMIT),
        ("applied before it is committed", one + COMMIT, ONES),
        ("cleared before it is applied", RUN + 8, one + COMMIT),
        ("released before the record is cleared", one + COMMIT, lock(0)),
        ("released before it is applied", RUN + 8, lock(1)),
        ("the list is emptied before a release", lock(1), one + LISTED),
    ];
    for (name, first, second) in swaps {
        caught(name, &with(Fault::SwapStores(first, second)));
    }
    let read = |fault| Setup { fault, ..setup(&[writes::<1, 2>, READ]) };
    caught("the sequence does not advance", &read(Fault::KeepHigh(lock(0), lock(1))));
    caught("no recovery", &with(Fault::NoRecovery));
    let unlocked = Setup { fault: Fault::RecoversUnlocked, ..committed([probes, ALL]) };
    caught("two recover at the same time", &unlocked);
    let read = |reader| setup(&[writes::<1, 2>, reader]);
    caught("a reader does not look again", &read(reads::<{ Reader::LooksOnce as u8 }>));
    caught("a reader ignores owners", &read(reads::<{ Reader::IgnoresOwners as u8 }>));
}
