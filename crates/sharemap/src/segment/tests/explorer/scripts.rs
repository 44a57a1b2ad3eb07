//! Scripts of operations on a map, which one or two writers run while a reader looks up a key.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::{announce, recover, recover_last, recovers};
use crate::error::Result;
use crate::peer::{Machine, Simulated, Window};
use crate::segment::heap::malformed;
use crate::segment::map::{self, Form, Map, Source};
use crate::segment::tests::prefix::Prefix;
use crate::segment::tests::small::{
    self, Handle, KEYS, Operation, ROOT, Way, area, check, is_in_area, space,
};
use crate::testing::explorer::search::{caught, complete, long};
use crate::testing::explorer::sim::Sim;
use crate::testing::explorer::state::{Carry, State};
use crate::testing::explorer::{Fault, Order, Program, Setup};

/// The lane of an operation, and the operation.
pub(super) type Step = (u32, Operation);

/// What is done with a map. The two writers change different keys.
pub(super) trait Script: 'static {
    const FORM: Form;

    /// What has been done before.
    fn before() -> Vec<Step>;

    /// What a writer does.
    fn during(writer: usize) -> Vec<Step>;

    /// The key that a reader looks up.
    fn key() -> u64;
}

/// Returns the key number `n` of those in a page of the first directory, which has two.
pub(super) fn key(page: u64, n: usize) -> u64 {
    let shape = Handle::new(Form::Words).shape;
    let mut keys = (0..KEYS).filter(|&key| shape.word_key(key).hash >> 63 == page);
    keys.nth(n).expect("so many keys are in a page")
}

/// Returns a value. Its bytes have the same two halves, and no more.
pub(super) fn value(n: u64) -> u64 {
    let value = 11 * n * ((1 << 32) + 1);
    assert_eq!(Handle::bytes(value).len(), 8);
    value
}

pub(super) fn insert(page: u64, n: usize, number: u64) -> Step {
    (0, Operation::Insert(key(page, n), value(number)))
}

pub(super) fn remove(page: u64, n: usize) -> Step {
    (0, Operation::Remove(key(page, n)))
}

/// Returns the step, made in lane 1.
pub(super) fn in_lane_1((_, operation): Step) -> Step {
    (1, operation)
}

/// Returns a page's operations that leave it without room: three keys are removed, and four are left.
pub(super) fn full_page(page: u64) -> Vec<Step> {
    let inserts = (0..7).map(|n| insert(page, n, 100 * (page + 1) + n as u64));
    inserts.chain((0..3).map(|n| remove(page, n))).collect()
}

pub(super) fn handle<S: Script>(lane: u32) -> Handle {
    Handle { lane, ..Handle::new(S::FORM) }
}

/// Returns the memory at the beginning of a script.
pub(super) fn image<S: Script>() -> Rc<[u8]> {
    let machine = Prefix::of(&small::empty());
    for lane in 0..3 {
        // Each has its body, and blocks for pages and values in its stacks.
        handle::<S>(lane)
            .with(&machine, |_, allocator| {
                for len in [16, 24, 48, 128] {
                    allocator.take_two(len)?;
                }
                Ok(())
            })
            .unwrap();
        assert!(is_in_area(lane, area(&machine, lane).body));
    }
    for (lane, operation) in S::before() {
        operation.run(&handle::<S>(lane), &machine).unwrap();
    }
    machine.image().into()
}

/// Returns the contents after the first operations of each writer.
fn model<S: Script>(done: [u64; 2]) -> BTreeMap<u64, u64> {
    let mut model = BTreeMap::new();
    let during =
        (0..2).flat_map(|writer| S::during(writer).into_iter().take(done[writer] as usize));
    for (_, operation) in S::before().into_iter().chain(during) {
        operation.model(&mut model);
    }
    model
}

/// Returns what each of some contents may be, if each writer has made at least and at most so many operations.
fn models<S: Script>(least: [u64; 2], most: [u64; 2]) -> Vec<BTreeMap<u64, u64>> {
    let first = least[0]..=most[0];
    first
        .flat_map(|first| (least[1]..=most[1]).map(move |second| model::<S>([first, second])))
        .collect()
}

/// Counters of the ghost: for each writer, the operations begun and completed.
const BEGUN: [usize; 2] = [0, 2];
const COMPLETED: [usize; 2] = [1, 3];

/// Returns a handle of writer number `writer`: the first writer makes its changes by straight code where it can, from
/// the directory that the map had in the beginning, and the second by general changes only.
fn writing_handle<S: Script>(sim: &Sim<'_>, lane: u32, writer: usize) -> Handle {
    match writer {
        0 => Handle { directory: first_directory(sim), ..handle::<S>(lane) },
        _ => Handle { way: Way::General, ..handle::<S>(lane) },
    }
}

/// Returns what a process saw last of the directory, if that was in the beginning.
fn first_directory(sim: &Sim<'_>) -> AtomicU64 {
    let image = sim.setup.image.as_ref().expect("scripts begin with an image");
    u64::from_le_bytes(*image[ROOT as usize..].first_chunk().unwrap()).into()
}

/// Runs the operations of a writer.
pub(super) fn writes<S: Script, const WRITER: usize>(
    sim: &Sim<'_>,
    step: u32,
    _: &mut Carry,
) -> bool {
    let during = S::during(WRITER);
    if step == 0 {
        // One writer may act for two lanes.
        for lane in (0..2).filter(|lane| during.iter().any(|step| step.0 == *lane)) {
            announce(sim, lane);
        }
        return true;
    }
    let Some(&(lane, operation)) = during.get(step as usize - 1) else {
        // May die as long as stores are not in memory.
        sim.nap(Duration::ZERO);
        return false;
    };
    sim.ghost(|ghost| {
        ghost.count[BEGUN[WRITER]] += 1;
        Ok(())
    });
    sim.expect(operation.run(&writing_handle::<S>(sim, lane, WRITER), sim));
    let is_busy = sim.expect(area(sim, lane).is_busy(sim));
    sim.ghost(|ghost| {
        ghost.count[COMPLETED[WRITER]] += 1;
        if is_busy { Err(format!("the area of lane {lane} stays busy")) } else { Ok(()) }
    });
    true
}

/// How a reader looks up a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// From the root on.
    FromRoot,
    /// By straight code first, from the directory that the map had in the beginning.
    AtOnce,
}

/// Looks up the script's key.
pub(super) fn look_up<S: Script>(sim: &Sim<'_>, how: How) -> Result<Option<u64>> {
    let (mut handle, space) = (handle::<S>(0), space());
    if how == How::AtOnce {
        handle.directory = first_directory(sim);
    }
    let map =
        Map { machine: sim, space: &space, shape: &handle.shape, directory: &handle.directory };
    let read = |found: map::Value| -> Result<u64> {
        match (S::FORM, found.len) {
            (Form::Words, _) => Ok(found.word),
            (_, 8) => {
                let mut bytes = [0; 8];
                sim.read(found.at, &mut bytes)?;
                Ok(u64::from_le_bytes(bytes))
            }
            _ => Err(malformed(found.at)),
        }
    };
    handle.with_key(S::key(), |key| {
        if how == How::AtOnce {
            let memory = &Simulated(sim);
            let root = Window::at(memory, ROOT).expect("the root lies in the memory");
            let source = Source { memory, root, places: map.places() };
            let found = match S::FORM {
                Form::Words => map.word_at_once(source, 0, key, Some),
                // By a copy, as long values are read: it is less ordered than loads of words.
                form => map.block_at_once(source, form, 0, key, |glimpse| read(glimpse.value).ok()),
            };
            if let Some(value) = found {
                return Ok(value);
            }
        }
        map.get(key, read)
    })
}

/// Looks up the script's key. The result must be one of a moment during the lookup.
fn reads<S: Script>(sim: &Sim<'_>, step: u32, carry: &mut Carry, how: How) -> bool {
    if step == 0 {
        // The lookup begins at any moment.
        sim.nap(Duration::ZERO);
        let is_ordered = sim.setup.order == Order::Total && sim.setup.buffer == 0;
        sim.ghost(|ghost| {
            for writer in 0..2 {
                // What an operation stored may be seen later, unless it is in memory.
                let completed = ghost.count[COMPLETED[writer]];
                carry[writer] = if is_ordered { completed.into() } else { 0 };
            }
            Ok(())
        });
        return true;
    }
    let value = sim.expect(look_up::<S>(sim, how));
    let least = [carry[0], carry[1]];
    sim.ghost(|ghost| {
        let most = BEGUN.map(|counter| ghost.count[counter].into());
        let models = models::<S>(least, most);
        match models.iter().any(|model| model.get(&S::key()).copied() == value) {
            true => Ok(()),
            false => Err(format!("found {value:x?}, after {least:?} to {most:?} operations")),
        }
    });
    false
}

pub(super) fn reads_from_root<S: Script>(sim: &Sim<'_>, step: u32, carry: &mut Carry) -> bool {
    reads::<S>(sim, step, carry, How::FromRoot)
}

pub(super) fn reads_at_once<S: Script>(sim: &Sim<'_>, step: u32, carry: &mut Carry) -> bool {
    reads::<S>(sim, step, carry, How::AtOnce)
}

/// Checks a final state, after the changes of dead processes are completed.
fn last<S: Script>(state: &State) -> std::result::Result<(), String> {
    let machine = Prefix::of(&state.memory.image());
    recover_last(state, &machine).map_err(|error| error.to_string())?;
    let values = check(&handle::<S>(2), &machine)?.values;
    let count = state.ghost.count.map(u64::from);
    let most = BEGUN.map(|counter| count[counter]);
    let least = [0, 1].map(|writer| {
        // What the last operation stored may have died with the process, in its buffer.
        let is_lost = state.most_buffered > 0
            && state.processes.get(writer).is_some_and(|process| !process.alive);
        count[COMPLETED[writer]].saturating_sub(u64::from(is_lost))
    });
    match models::<S>(least, most).contains(&values) {
        true => Ok(()),
        false => Err(format!("{values:x?}, after {least:?} to {most:?} operations")),
    }
}

/// The processes of a script with one writer.
pub(super) const WRITER: usize = 0;
pub(super) const READER: usize = 1;
const READER_OF_TWO: usize = 2;

fn setup<S: Script>(programs: &[Program]) -> Setup {
    Setup { image: Some(image::<S>()), recover, last: last::<S>, ..Setup::new(programs) }
}

/// One writer beside a reader. The writer and its recoverer may die, if there is one.
pub(super) fn alone<S: Script>(reader: Program, deaths: u8) -> Setup {
    let programs: &[Program] = &[writes::<S, 0>, reader, recovers];
    Setup {
        buffer: 0,
        // All that they load only they themselves store.
        private: |process, _| process != READER,
        kills: deaths,
        killable: [true, false, true],
        ..setup::<S>(&programs[..if deaths == 0 { 2 } else { 3 }])
    }
}

/// Two writers beside a reader. So many of the writers may die.
pub(super) fn two_writers<S: Script>(deaths: u8) -> Setup {
    Setup {
        private: |process, at| process != READER_OF_TWO && is_in_area(process as u32, at),
        preemptions: Some(if long() && deaths == 0 { 2 } else { 1 }),
        stalls: 20,
        kills: deaths,
        killable: [true, true, false],
        ..setup::<S>(&[writes::<S, 0>, writes::<S, 1>, reads_from_root::<S>])
    }
}

/// Searches a script with one writer beside a reader of each kind, without deaths and with two.
pub(super) fn beside_a_reader<S: Script>(name: &str) {
    complete(&format!("{name}, from the root"), &alone::<S>(reads_from_root::<S>, 0));
    complete(&format!("{name}, at once, with deaths"), &alone::<S>(reads_at_once::<S>, 2));
    if long() {
        complete(&format!("{name}, at once"), &alone::<S>(reads_at_once::<S>, 0));
        complete(
            &format!("{name}, from the root, with deaths"),
            &alone::<S>(reads_from_root::<S>, 2),
        );
    }
}

/// Plants a fault beside a reader of each kind, and of one writer.
pub(super) fn caught_beside_readers<S: Script>(name: &str, fault: Fault) {
    for (reader, how) in readers::<S>() {
        caught(&format!("{name}, {how}"), &Setup { fault, ..alone::<S>(reader, 0) });
    }
}

fn readers<S: Script>() -> [(Program, &'static str); 2] {
    [(reads_from_root::<S>, "from the root"), (reads_at_once::<S>, "at once")]
}

/// One writer beside a reader, with copies in another order than that of the program.
pub(super) fn weakly_ordered<S: Script>(reader: Program) -> Setup {
    Setup { order: Order::Weak, buffer: 12, ..alone::<S>(reader, 0) }
}

/// Searches a script with weakly ordered copies, and then without a fence, which must be found.
pub(super) fn fenced<S: Script>(name: &str) {
    for (reader, how) in readers::<S>() {
        let name = format!("{name}, weakly ordered, {how}");
        complete(&name, &weakly_ordered::<S>(reader));
        for fault in [Fault::NoLoadFence, Fault::NoStoreFence] {
            caught(&format!("{name}, {fault:?}"), &Setup { fault, ..weakly_ordered::<S>(reader) });
        }
    }
}

/// Returns the word of 8 bytes at an offset when a script begins.
pub(super) fn first_word<S: Script>(at: u64) -> u64 {
    Prefix::of(&image::<S>()).load_64(at).unwrap()
}

/// Returns the offset of the directory's word for the script's key when the script begins.
pub(super) fn directory_word<S: Script>() -> u64 {
    let (directory, depth) = small::directory_of(first_word::<S>(ROOT));
    let hash = handle::<S>(0).with_key(S::key(), |key| key.hash);
    directory + 16 + 8 * (hash >> (64 - depth))
}

/// Returns the offsets of the tags and of the value in the entry of the script's key when the script begins.
pub(super) fn entry<S: Script>() -> (u64, u64) {
    let page = first_word::<S>(directory_word::<S>()) >> 28 << 4;
    let word = handle::<S>(0).with_key(S::key(), |key| key.word);
    let mut places = (0..7).map(|index| page + 16 + 16 * index);
    let tags = first_word::<S>(page + 8).to_le_bytes();
    let place =
        places.find(|at| first_word::<S>(*at) == word && tags[((at - page) / 16 - 1) as usize] > 1);
    (page + 8, place.expect("the key has an entry") + 8)
}
