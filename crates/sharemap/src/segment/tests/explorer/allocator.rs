//! The allocator: two lanes take blocks and free them, fill their stacks and put blocks back, with deaths. Each block
//! is in one place.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use super::faults::{each_store_of, keeps_first_record};
use super::{announce, recover, recover_last};
use crate::error::{ErrorKind, Result};
use crate::peer::Machine;
use crate::segment::allocator::Allocator;
use crate::segment::attach::Attachable;
use crate::segment::census;
use crate::segment::heap::Heap;
use crate::segment::lock_table::LockWord;
use crate::segment::size_class::class_of;
use crate::segment::tests::prefix::Prefix;
use crate::segment::tests::small::{
    self, HEAP, LOCKS, MAP_LOCKS, ROOT, Way, area, is_in_area, space,
};
use crate::testing::explorer::search::{caught, complete, long};
use crate::testing::explorer::sim::Sim;
use crate::testing::explorer::state::{Carry, State};
use crate::testing::explorer::{Fault, Program, Setup};

/// Words that blocks are attached to, under a lock.
const ROOTS: u64 = 4;
const ROOT_LOCK: u32 = 0;

fn root(index: u64) -> u64 {
    assert!(index < ROOTS);
    ROOT + 8 * index
}

fn attachable(index: u64) -> Attachable {
    Attachable { at: root(index), lock: ROOT_LOCK, none: 0 }
}

/// A lane that keeps two blocks of a class fills its stack with one, and puts one back.
const KEEPS_TWO: Heap = Heap { most_kept: 2, ..HEAP };
/// A span has two blocks of this length.
const LEN: u64 = 700;
/// A block of this length begins where a block of the other does.
const OTHER_LEN: u64 = 1000;

fn with<M: Machine, R>(
    machine: &M,
    lane: u32,
    use_it: impl FnOnce(&Allocator<'_, M>) -> Result<R>,
) -> Result<R> {
    let (space, area) = (&space(), area(machine, lane));
    let first_lock = MAP_LOCKS;
    let mut allocator =
        Allocator { machine, space, heap: &KEEPS_TWO, area, first_lock, until: None };
    allocator.prepare()?;
    use_it(&allocator)
}

/// Attaches a block to a root that has none.
fn attach<M: Machine>(machine: &M, lane: u32, index: u64, len: u64) -> Result<()> {
    with(machine, lane, |allocator| {
        match small::attach(allocator, attachable(index), len, Way::AtOnce) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            attached => attached.map(drop),
        }
    })
}

/// Frees the block of a root, if it has one.
fn detach<M: Machine>(machine: &M, lane: u32, index: u64) -> Result<()> {
    with(machine, lane, |allocator| {
        small::detach(allocator, attachable(index), Way::AtOnce).map(drop)
    })
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Attach(u64, u64),
    Detach(u64),
    PutAllBack,
}
use Operation::{Attach, Detach, PutAllBack};

impl Operation {
    fn run<M: Machine>(self, machine: &M, lane: u32) -> Result<()> {
        match self {
            Attach(index, len) => attach(machine, lane, index, len),
            Detach(index) => detach(machine, lane, index),
            PutAllBack => with(machine, lane, |allocator| allocator.spill_all().map(drop)),
        }
    }
}

/// All that the operations of the tests are taken from.
const SCRIPTS: [&[Operation]; 6] = [
    // 0: fills the stack, and takes a block
    &[Attach(0, LEN)],
    // 1: puts a block back, as the stack is full, and frees one
    &[Detach(1)],
    // 2: all of it, by one lane
    &[
        Attach(0, LEN),
        Attach(1, LEN),
        Attach(2, LEN),
        Detach(0),
        Detach(1),
        Detach(2),
        PutAllBack,
        Attach(3, OTHER_LEN),
    ],
    // 3: frees a block, whose span then gets another class, and whose place gets another block
    &[Detach(0), PutAllBack, Attach(0, OTHER_LEN)],
    // 4: frees the same block
    &[Detach(0)],
    // 5: frees and takes
    &[Detach(2), Attach(0, LEN)],
];

/// Runs the script of a process.
fn runs<const SCRIPT: usize>(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    let lane = sim.me as u32;
    if step == 0 {
        announce(sim, lane);
        return true;
    }
    let Some(operation) = SCRIPTS[SCRIPT].get(step as usize - 1) else {
        sim.nap(Duration::ZERO);
        return false;
    };
    sim.expect(operation.run(sim, lane));
    let is_busy = sim.expect(area(sim, lane).is_busy(sim));
    sim.ghost(|_| match is_busy {
        true => Err(format!("the area of lane {lane} stays busy")),
        false => Ok(()),
    });
    true
}

/// Returns the memory after some operations.
fn image(before: &[(u32, Operation)]) -> Rc<[u8]> {
    let machine = Prefix::of(&small::empty());
    for lane in 0..3 {
        with(&machine, lane, |_| Ok(())).unwrap();
        assert!(is_in_area(lane, area(&machine, lane).body));
    }
    for (lane, operation) in before {
        operation.run(&machine, *lane).unwrap();
    }
    machine.image().into()
}

/// Checks that exactly the blocks of the roots are allocated, after dead processes are recovered.
fn last(state: &State) -> std::result::Result<(), String> {
    let machine = Prefix::of(&state.memory.image());
    recover_last(state, &machine).map_err(|error| error.to_string())?;
    for index in 0..LOCKS {
        if LockWord(machine.load_64(space().locks.word(index)).unwrap()).owner().is_some() {
            return Err(format!("lock {index} is owned"));
        }
    }
    let areas = [0, 1, 2].map(|lane| area(&machine, lane));
    if areas.iter().any(|area| area.is_busy(&machine).unwrap()) {
        return Err("an area is busy".to_owned());
    }
    let census = census::take(&machine, KEEPS_TWO, &areas).map_err(|error| error.to_string())?;
    let roots: Vec<u64> = (0..ROOTS).map(|index| machine.load_64(root(index)).unwrap()).collect();
    let attached: BTreeSet<u64> = roots.iter().copied().filter(|&at| at != 0).collect();
    let is_once = attached.len() == roots.iter().filter(|&&at| at != 0).count();
    match is_once && census.allocated == attached {
        true => Ok(()),
        false => Err(format!("allocated {:x?}, roots {roots:x?}", census.allocated)),
    }
}

fn setup(before: &[(u32, Operation)], programs: &[Program]) -> Setup {
    Setup {
        image: Some(image(before)),
        recover,
        last,
        private: |process, at| is_in_area(process as u32, at),
        preemptions: Some(if long() { 3 } else { 2 }),
        stalls: 20,
        ..Setup::new(programs)
    }
}

/// Lane 1 has a full stack, and its spans have an attached block more.
const FULL: [(u32, Operation); 5] =
    [(1, Attach(1, LEN)), (1, Attach(2, LEN)), (1, Attach(3, LEN)), (1, Detach(2)), (1, Detach(3))];

/// Both blocks of a span are in no stack, and one is attached. Another span of the class has free blocks.
const ALONE: [(u32, Operation); 5] = [
    (1, Attach(0, LEN)),
    (1, Attach(1, LEN)),
    (1, Attach(2, LEN)),
    (1, Detach(1)),
    (1, PutAllBack),
];

#[test]
fn two_lanes() {
    complete("one fills, one puts back", &setup(&FULL, &[runs::<0>, runs::<1>]));
    complete("two fill", &setup(&FULL[..1], &[runs::<0>, runs::<5>]));
    complete("two free the same block", &setup(&ALONE, &[runs::<4>, runs::<3>]));
}

#[test]
fn two_lanes_with_deaths() {
    let dying = |setup| Setup { kills: 2, ..setup };
    complete("one fills, one puts back", &dying(setup(&FULL, &[runs::<0>, runs::<1>])));
    complete("two fill", &dying(setup(&FULL[..1], &[runs::<0>, runs::<5>])));
    complete("two free the same block", &dying(setup(&ALONE, &[runs::<4>, runs::<3>])));
    // With more preemptions, the search of three lanes takes hours and all of the memory.
    let three = setup(&FULL, &[runs::<0>, runs::<1>, runs::<5>]);
    complete("three", &dying(Setup { preemptions: Some(1), ..three }));
}

#[test]
fn planted_faults_are_found() {
    let alone =
        Setup { buffer: 0, private: |_, _| true, preemptions: None, ..setup(&[], &[runs::<2>]) };
    each_store_of("one lane", &alone);
    let beside = Setup { buffer: 0, ..setup(&FULL, &[runs::<0>, runs::<1>]) };
    let fault = keeps_first_record(&beside);
    // The lane's next change overwrites the record, unless it dies in the middle.
    let dying = Setup { kills: 1, fault, ..beside };
    caught("a record is not cleared, beside another lane", &dying);
    let [of_roots, of_class] = [ROOT_LOCK, MAP_LOCKS + class_of(LEN).expect("a class")]
        .map(|lock| space().locks.word(lock));
    let fault = Fault::Torn(of_class);
    let torn = Setup { fault, ..setup(&FULL, &[runs::<0>, runs::<1>]) };
    caught("the class's lock is acquired by a load and a store", &torn);
    let fault = Fault::Torn(of_roots);
    let torn = Setup { fault, ..setup(&ALONE, &[runs::<4>, runs::<3>]) };
    caught("the lock of a root is acquired by a load and a store", &torn);
    let dying =
        Setup { kills: 1, fault: Fault::NoRecovery, ..setup(&FULL, &[runs::<0>, runs::<1>]) };
    caught("no recovery", &dying);
}
