//! The allocator, killed after every store: blocks are attached to roots and freed again, and each block is free or
//! attached, once.

use std::cell::Cell;
use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::catch_unwind;

use super::prefix::Prefix;
use super::small::{self, Way};
use crate::error::{ErrorKind, Result};
use crate::peer::{Faulty, Machine, Simulated};
use crate::segment::allocator::Allocator;
use crate::segment::at_once::AtOnce;
use crate::segment::attach::Attachable;
use crate::segment::census;
use crate::segment::change::{Change, change};
use crate::segment::completion::complete;
use crate::segment::heap::{HEAD, Heap};
use crate::segment::lane_area::{self, LaneArea, Space};
use crate::segment::lock_table::{LockTable, LockWord, STRIDE};
use crate::segment::size_class::{CLASSES, Layout};
use crate::testing::leaves_out_searches;

const LOCKS: u32 = CLASSES + 2;
const ROOTS: u64 = STRIDE * (1 + LOCKS as u64);
const ROOT_COUNT: u64 = 4;
/// The head of the lane's area.
const AREA: u64 = ROOTS + 64;
const SPAN: u64 = 2048;
const HEAP: Heap = Heap {
    head: (AREA + lane_area::HEAD).next_multiple_of(64),
    at: (AREA + lane_area::HEAD + HEAD + 64).next_multiple_of(SPAN),
    end: (AREA + lane_area::HEAD + HEAD + 64).next_multiple_of(SPAN) + (5 + BODY) * SPAN,
    span_shift: 11,
    layouts: &Layout::table(11),
    most_kept: 2,
    chunk_shift: 6,
};
/// The number of spans of a body.
const BODY: u64 = lane_area::BODY_LEN.div_ceil(SPAN);
/// The segment has a header, a body, and four spans, of which it grows by the last two.
const LEN: u64 = HEAP.end;

fn space() -> Space {
    Space { locks: LockTable { at: STRIDE, count: LOCKS }, changeable: ROOTS..LEN }
}

fn empty() -> Vec<u8> {
    // Nothing relies on zeros in the heap.
    let mut image = vec![0; LEN as usize];
    image[HEAP.at as usize..].fill(0xa5);
    let machine = Prefix::of(&image);
    machine.store_64(HEAP.len(), LEN - 2 * SPAN).unwrap();
    machine.image()
}

fn root(index: u64) -> u64 {
    ROOTS + 8 * index
}

fn attachable(index: u64) -> Attachable {
    Attachable { at: root(index), lock: 0, none: 0 }
}

/// Returns the area of lane 0.
fn area(machine: &Prefix) -> LaneArea {
    LaneArea::load(machine, &space(), AREA, 0).unwrap()
}

/// Calls `use_it` with the allocator of lane 0.
fn with<R>(machine: &Prefix, use_it: impl FnOnce(&mut Allocator<'_, Prefix>) -> R) -> R {
    let (space, area) = (&space(), area(machine));
    use_it(&mut Allocator { machine, space, heap: &HEAP, area, first_lock: 1, until: None })
}

/// Attaches a block of `len` bytes to the first free root, in one step.
fn attach(machine: &Prefix, len: u64, way: Way) -> Result<()> {
    with(machine, |allocator| {
        let free = (0..ROOT_COUNT).find(|&index| machine.load_64(root(index)).unwrap() == 0);
        let Some(index) = free else { return Ok(()) };
        allocator.prepare()?;
        small::attach(allocator, attachable(index), len, way).map(drop)
    })
}

/// Frees the block of a root, in one step.
fn detach(machine: &Prefix, index: u64, way: Way) -> Result<()> {
    with(machine, |allocator| small::detach(allocator, attachable(index), way).map(drop))
}

/// Attaches a run to the first free root.
fn attach_run(machine: &Prefix) -> Result<()> {
    with(machine, |allocator| {
        let free = (0..ROOT_COUNT).find(|&index| machine.load_64(root(index)).unwrap() == 0);
        let Some(index) = free else { return Ok(()) };
        allocator.change(|change| {
            change.lock(0..1)?;
            let at = match allocator.take_run(change, 2) {
                Err(error) if error.kind() == ErrorKind::NoSpace => return Ok(()),
                taken => taken?,
            };
            change.record(root(index), at);
            change.commit(&[])
        })
    })
}

fn detach_run(machine: &Prefix, index: u64) -> Result<()> {
    with(machine, |allocator| {
        let at = machine.load_64(root(index))?;
        if at == 0 {
            return Ok(());
        }
        allocator.change(|change| {
            change.lock(0..1)?;
            allocator.give_run(change, at)?;
            change.record(root(index), 0);
            change.commit(&[])
        })
    })
}

/// Checks that exactly the blocks of the roots are allocated.
fn check(machine: &Prefix) -> std::result::Result<(), String> {
    for index in 0..LOCKS {
        if LockWord(machine.load_64(space().locks.word(index)).unwrap()).owner().is_some() {
            return Err(format!("lock {index} is owned"));
        }
    }
    if area(machine).is_busy(machine).unwrap() {
        return Err("the area is busy".to_owned());
    }
    let census =
        census::take(machine, HEAP, &[area(machine)]).map_err(|error| error.to_string())?;
    let roots = (0..ROOT_COUNT).map(|index| machine.load_64(root(index)).unwrap());
    let roots: BTreeSet<u64> = roots.filter(|&at| at != 0).collect();
    match census.allocated == roots {
        true => Ok(()),
        false => Err(format!("allocated {:x?}, roots {roots:x?}", census.allocated)),
    }
}

type Operation = fn(&Prefix) -> Result<()>;

/// Returns a hash of what counts in an image: no sequences, no entries of records that are not committed, no ranges
/// that are not listed, no places above a stack's top, no contents of blocks.
fn fingerprint(machine: &Prefix) -> u64 {
    let mut image = machine.image();
    let load =
        |image: &[u8], at: u64| u64::from_le_bytes(*image[at as usize..].first_chunk().unwrap());
    for index in 0..LOCKS {
        let at = space().locks.word(index) as usize;
        image[at + 2..at + 8].fill(0);
    }
    let area = area(machine);
    let (commit, listed) = (load(&image, AREA), load(&image, AREA + 8));
    let count = commit & 0xffff;
    let mut blank = |from: u64, to: u64| image[from as usize..to as usize].fill(0);
    blank(AREA + 16 + 8 * listed, AREA + 80);
    blank(AREA + 256 + if count <= 8 { 16 * count } else { 0 }, AREA + lane_area::HEAD);
    if area.body != 0 {
        blank(area.body + if count > 8 { 16 * count } else { 0 }, area.place(0, 0));
        // A committed record sets a top, and what is below it counts then.
        for class in (0..CLASSES).filter(|_| commit == 0) {
            let blocks = area.blocks(machine, class).unwrap();
            let end = match class + 1 {
                CLASSES => area.body + lane_area::BODY_LEN,
                next => area.place(next, 0),
            };
            blank(area.place(class, blocks), end);
        }
    }
    let mut hasher = DefaultHasher::new();
    image.hash(&mut hasher);
    hasher.finish()
}

/// What a search of images found.
#[derive(Debug, Default)]
struct Closure {
    images: usize,
    /// The most stores of an operation into records, stacks and the heap.
    stores: u64,
    /// No new image was left at the end.
    is_closed: bool,
}

/// Kills each operation after each store, and each completion, from all images that come to be. Leaves out the store
/// of this number of each operation. Panics if something is wrong.
fn close(operations: &[Operation], omitted: Option<u64>) -> Closure {
    const MOST: usize = 20_000;
    let (mut known, mut closure) = (HashSet::new(), Closure::default());
    let mut queue = vec![empty()];
    let mut add = |queue: &mut Vec<Vec<u8>>, machine: Prefix| {
        if known.insert(fingerprint(&machine)) {
            queue.push(machine.image());
        }
    };
    while let Some(image) = queue.pop() {
        closure.images += 1;
        if closure.images == MOST {
            return closure;
        }
        let mut left = 0;
        let whole = loop {
            let machine = Prefix::new(&image, left, None);
            if machine.run(|machine| complete(machine, &space(), area(machine))) {
                break machine;
            }
            add(&mut queue, machine);
            left += 1;
        };
        check(&whole).unwrap();
        let whole = whole.image();
        for operation in operations {
            for left in 0.. {
                let machine = Prefix::new(&whole, left, omitted).numbered_from(AREA + 80);
                let is_whole = machine.run(operation);
                if is_whole {
                    check(&machine).unwrap();
                    closure.stores = closure.stores.max(machine.stores());
                }
                add(&mut queue, machine);
                if is_whole {
                    break;
                }
            }
        }
    }
    Closure { is_closed: true, ..closure }
}

/// Searches all images, and then with each store left out, which must be found. The stores of locks and of their list
/// are left out by the tests of changes: here no other process would notice.
fn try_all(operations: &[Operation]) {
    let whole = close(operations, None);
    println!("{whole:?}");
    assert!(whole.is_closed && whole.images > 100, "{whole:?}");
    for store in 0..whole.stores {
        let operations = operations.to_vec();
        let found = catch_unwind(move || close(&operations, Some(store)));
        assert!(found.is_err(), "store {store} left out was not found: {found:?}");
    }
}

#[test]
fn blocks_with_a_bitmap_in_the_entry() {
    if leaves_out_searches() {
        return;
    }
    try_all(&[|it| attach(it, 700, Way::AtOnce), |it| detach(it, 0, Way::AtOnce)]);
}

#[test]
fn blocks_with_a_bitmap_in_the_span() {
    if leaves_out_searches() {
        return;
    }
    try_all(&[|it| attach(it, 16, Way::General), |it| detach(it, 0, Way::General)]);
}

#[test]
fn runs() {
    if leaves_out_searches() {
        return;
    }
    try_all(&[attach_run, |it| detach_run(it, 0), |it| detach_run(it, 1)]);
}

/// The change that allocates a body has the most entries where it also adds a chunk and grows the segment. There is no
/// body for them yet.
#[test]
fn a_body_is_the_first_run_of_a_chunk() {
    if leaves_out_searches() {
        return;
    }
    let heap = Heap { end: HEAP.at + 160 * SPAN, ..HEAP };
    let area = LaneArea { at: heap.end, lane: 0, body: 0 };
    let space = &Space { changeable: ROOTS..heap.end + lane_area::HEAD, ..space() };
    let machine = &Prefix::of(&vec![0; (heap.end + lane_area::HEAD) as usize]);
    machine.store_64(heap.len(), heap.at + heap.chunk_spans() * SPAN).unwrap();
    let mut allocator = Allocator { machine, space, heap: &heap, area, first_lock: 1, until: None };
    let all = |change: &mut Change<'_, Prefix>| {
        allocator.take_run(change, heap.chunk_spans() - 1)?;
        change.commit(&[])
    };
    change(machine, space, area, None, all).unwrap();
    allocator.prepare().unwrap();
    assert_eq!(allocator.area.body, heap.chunk(1) + SPAN);
    assert_eq!(machine.load_64(heap.chunks()).unwrap(), 2);
    assert!(machine.load_64(heap.len()).unwrap() >= allocator.area.body + BODY * SPAN);
    assert!(!area.is_busy(machine).unwrap());
}

#[test]
fn a_change_with_a_fault_is_made_or_given_up() {
    let attach_first = |machine: &Prefix| attach(machine, 16, Way::General);
    let machine = Prefix::of(&empty());
    for index in 0..3 {
        attach_first(&machine).unwrap();
        // The stack keeps a block, and has room for another.
        detach(&machine, index, Way::General).unwrap();
        attach_first(&machine).unwrap();
    }
    detach(&machine, 2, Way::General).unwrap();
    let image = machine.image();
    type AtOnceOf = fn(&Prefix, &Faulty<'_, Simulated<'_, Prefix>>) -> bool;
    let changes: [(AtOnceOf, u64); 2] = [
        (
            |machine, memory| {
                with(machine, |allocator| {
                    let access = AtOnce::unannounced(memory, allocator.area).unwrap();
                    let content: (u64, &[u8]) = (16, &[]);
                    let made = allocator.attach_at_once(access, attachable(3), content, |at| at);
                    made.map(Result::unwrap).is_some()
                })
            },
            3,
        ),
        (
            |machine, memory| {
                with(machine, |allocator| {
                    let access = AtOnce::unannounced(memory, allocator.area).unwrap();
                    let made = allocator.detach_at_once(access, attachable(1), Some);
                    made.map(Result::unwrap).is_some()
                })
            },
            1,
        ),
    ];
    for (change, index) in changes {
        let run = |before: u64, value| {
            let machine = Prefix::of(&image);
            let before_it = Cell::new(before);
            let memory = Faulty { of: &Simulated(&machine), len: LEN, before: before_it, value };
            let is_made = change(&machine, &memory);
            check(&machine).unwrap();
            let word = |machine: &Prefix| machine.load_64(root(index)).unwrap();
            let is_changed = word(&machine) != word(&Prefix::of(&image));
            assert_eq!(is_made, is_changed, "access {before}");
            (is_made, before.wrapping_sub(memory.before.get()))
        };
        let (is_made, accesses) = run(1 << 20, 0);
        assert!(is_made && accesses > 10);
        let mut given_up = 0;
        for before in 0..accesses {
            for value in [0, 1, 2, 1 << 40, u64::MAX] {
                given_up += u32::from(!run(before, value).0);
            }
        }
        println!("{accesses} accesses, {given_up} of {} given up", 5 * accesses);
        assert!(given_up > 10);
    }
}
