//! A map that is removed beside a reader, and taken apart. The memory of its directory then belongs to an object with
//! any bytes.

use std::ops::Range;
use std::time::Duration;

use super::scripts::{How, READER, Script, Step, full_page, handle, image, key, look_up};
use super::{announce, recover, recover_last, recovers};
use crate::error::{ErrorKind, Result};
use crate::peer::Machine;
use crate::segment::census;
use crate::segment::lane_area::LaneArea;
use crate::segment::map::{Form, remove_next};
use crate::segment::size_class::CLASSES;
use crate::segment::tests::prefix::Prefix;
use crate::segment::tests::small::{HEAP, MAP_LOCKS, ROOT, area};
use crate::testing::explorer::search::{caught, complete};
use crate::testing::explorer::sim::Sim;
use crate::testing::explorer::state::{Carry, State};
use crate::testing::explorer::{Fault, Program, Setup};

struct Removed;

impl Script for Removed {
    const FORM: Form = Form::Words;
    fn before() -> Vec<Step> {
        full_page(0)
    }
    fn during(_: usize) -> Vec<Step> {
        vec![]
    }
    fn key() -> u64 {
        key(0, 3)
    }
}

/// Offsets in a root.
const GENERATION: u64 = 16;
/// Words behind those that the root has: the lists of removed and of free roots, and what a block is attached to.
const LISTS: (u64, u64) = (ROOT + 40, ROOT + 48);
const OBJECT: u64 = ROOT + 56;
const SEGMENT_LOCK: Range<u32> = MAP_LOCKS + CLASSES..MAP_LOCKS + CLASSES + 1;
/// The length of a directory of two words.
const DIRECTORY_LEN: u64 = 32;

/// The value of the key in the page that the object leads to.
const FORGED: u64 = 0xbad;

/// Removes the map, as `Segment::remove` does.
fn remove<M: Machine>(machine: &M) -> Result<()> {
    handle::<Removed>(0).with(machine, |map, allocator| {
        allocator.change(|change| {
            change.lock(0..MAP_LOCKS)?;
            change.lock(SEGMENT_LOCK)?;
            change.record(ROOT + GENERATION, map.shape.generation + 1);
            change.record(LISTS.0, ROOT);
            change.commit(&[])
        })
    })
}

fn take_apart<M: Machine>(machine: &M) -> Result<()> {
    let mut handle = handle::<Removed>(0);
    handle.shape.generation = machine.load_64(ROOT + GENERATION)?;
    handle.with(machine, |map, allocator| {
        let mut from = 0;
        while remove_next(map, allocator, LISTS, SEGMENT_LOCK, &mut from)? {}
        Ok(())
    })
}

/// Returns the offset of a page that has the key, in memory that nothing else uses: the entries of long records.
fn forged_page(machine: &Prefix) -> u64 {
    area(machine, 2).body
}

/// Attaches an object in the memory of the directory. It looks like a directory, and leads to the forged page.
fn attach_object<M: Machine>(machine: &M, word: u64) -> Result<()> {
    handle::<Removed>(0).with(machine, |_, allocator| {
        let taken = allocator.take(DIRECTORY_LEN)?;
        machine.fence_stores();
        machine.store_64(taken.at + 16, word)?;
        machine.store_64(taken.at + 24, word)?;
        allocator.change(|change| {
            change.lock(SEGMENT_LOCK)?;
            change.record(OBJECT, taken.at);
            change.commit(&[taken.top])
        })
    })
}

/// Counters of the ghost: the removal begun, and completed.
const BEGUN: usize = 0;
const COMPLETED: usize = 1;

fn removes(sim: &Sim<'_>, step: u32, _: &mut Carry) -> bool {
    let count = |counter: usize| {
        sim.ghost(|ghost| {
            ghost.count[counter] = 1;
            Ok(())
        });
    };
    match step {
        0 => announce(sim, 0),
        1 => {
            count(BEGUN);
            sim.expect(remove(sim));
            count(COMPLETED);
        }
        2 => sim.expect(take_apart(sim)),
        3 => {
            let page = sim.load_64(area(sim, 2).body_word());
            sim.expect(page.and_then(|page| attach_object(sim, page << 24 | 1)));
        }
        _ => {
            sim.nap(Duration::ZERO);
            return false;
        }
    }
    true
}

/// Looks up the key. The map has it, or is removed.
fn reads<const AT_ONCE: bool>(sim: &Sim<'_>, step: u32, carry: &mut Carry) -> bool {
    if step == 0 {
        sim.nap(Duration::ZERO);
        sim.ghost(|ghost| {
            carry[0] = ghost.count[COMPLETED].into();
            Ok(())
        });
        return true;
    }
    let found = look_up::<Removed>(sim, if AT_ONCE { How::AtOnce } else { How::FromRoot });
    let found = found.map_err(|error| error.kind());
    let was_removed = carry[0] == 1;
    sim.ghost(|ghost| match found {
        Ok(Some(value)) if value != FORGED && !was_removed => Ok(()),
        Err(ErrorKind::NotFound) if ghost.count[BEGUN] == 1 => Ok(()),
        _ => Err(format!("found {found:x?}, removed before: {was_removed}")),
    });
    false
}

/// Checks that the map is taken apart, or can be, and that nothing is leaked.
fn last(state: &State) -> std::result::Result<(), String> {
    let machine = Prefix::of(&state.memory.image());
    let check = || -> Result<_> {
        recover_last(state, &machine)?;
        if machine.load_64(LISTS.0)? == 0 && machine.load_64(LISTS.1)? == 0 {
            remove(&machine)?;
        }
        take_apart(&machine)?;
        let areas: [LaneArea; 3] = [0, 1, 2].map(|lane| area(&machine, lane));
        let allocated = census::take(&machine, HEAP, &areas)?.allocated;
        Ok((allocated, machine.load_64(OBJECT)?, machine.load_64(LISTS.1)?))
    };
    let (allocated, object, free) = check().map_err(|error| error.to_string())?;
    let is_sound = allocated.into_iter().eq((object != 0).then_some(object)) && free == ROOT;
    if is_sound { Ok(()) } else { Err(format!("leaked beside {object:x}; free roots {free:x}")) }
}

fn setup(reader: Program, deaths: u8) -> Setup {
    let machine = Prefix::of(&image::<Removed>());
    let (page, shape) = (forged_page(&machine), handle::<Removed>(0).shape);
    let hash = shape.word_key(Removed::key()).hash;
    // The page's only key.
    for (at, word) in [(8, (hash & 0xff).max(2)), (16, Removed::key()), (24, FORGED)] {
        machine.store_64(page + at, word).unwrap();
    }
    let programs: &[Program] = &[removes, reader, recovers];
    Setup {
        image: Some(machine.image().into()),
        recover,
        last,
        buffer: 0,
        private: |process, _| process != READER,
        kills: deaths,
        killable: [true, false, true],
        ..Setup::new(&programs[..if deaths == 0 { 2 } else { 3 }])
    }
}

#[test]
fn removed() {
    complete("a removed map, from the root", &setup(reads::<false>, 0));
    complete("a removed map, at once", &setup(reads::<true>, 0));
    complete("a removed map, from the root, with deaths", &setup(reads::<false>, 2));
    complete("a removed map, at once, with deaths", &setup(reads::<true>, 2));
}

#[test]
fn left_out_checks_are_found() {
    for (reader, how) in [(reads::<false> as Program, "from the root"), (reads::<true>, "at once")]
    {
        let fault = Fault::Constant(READER, ROOT + GENERATION, 0);
        let blind = Setup { fault, ..setup(reader, 0) };
        caught(&format!("the generation of a map is not compared, {how}"), &blind);
    }
}
