//! The map, killed after every store of each operation of a script, and after every store of the completion: it has
//! its old contents or its new ones, and nothing is leaked.

mod omissions;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use super::prefix::{Hole, Prefix};
use crate::error::Result;
use crate::peer::Machine;
use crate::segment::allocator::Allocator;
use crate::segment::census;
use crate::segment::completion::complete;
use crate::segment::heap::{HEAD, Heap, Span, SpanKind};
use crate::segment::lane_area::{self, LaneArea, Space};
use crate::segment::lock_table::{LockTable, LockWord, STRIDE};
use crate::segment::map::{self, Existing, Form, Inserted, Key, Map, Shape};
use crate::segment::size_class::{CLASSES, Layout};
use crate::testing::leaves_out_searches;

/// The map has two locks.
const MAP_LOCKS: u32 = 2;
const LOCKS: u32 = MAP_LOCKS + CLASSES + 1;
const AREA: u64 = STRIDE * (1 + LOCKS as u64);
/// The offset behind the commit word and the list of locks in the area.
const LISTS_END: u64 = AREA + 80;
const ROOT: u64 = AREA + lane_area::HEAD;
const SPAN: u64 = 2048;
const BODY: u64 = lane_area::BODY_LEN.div_ceil(SPAN);
const HEAP_AT: u64 = (ROOT + 64 + HEAD).next_multiple_of(SPAN);
const HEAP: Heap = Heap {
    head: ROOT + 64,
    at: HEAP_AT,
    end: HEAP_AT + (1 + BODY + 40) * SPAN,
    span_shift: 11,
    layouts: &Layout::table(11),
    most_kept: 4,
    chunk_spans: 64,
};

fn space() -> Space {
    Space { locks: LockTable { at: STRIDE, count: LOCKS }, changeable: AREA..HEAP.end }
}

fn area(machine: &Prefix) -> LaneArea {
    LaneArea::load(machine, &space(), AREA, 0).unwrap()
}

/// A handle of the map, of a process.
struct Handle {
    shape: Shape,
    /// The directory that the process saw last.
    directory: AtomicU64,
}

impl Handle {
    fn new(form: Form) -> Self {
        let (root, locks) = (ROOT, 0..MAP_LOCKS);
        let shape = Shape { root, generation: 0, seed: 7, locks, buckets: 1, form };
        Self { shape, directory: AtomicU64::new(0) }
    }

    /// Returns a handle that saw the same directory last.
    fn copy(&self) -> Self {
        let directory = AtomicU64::new(self.directory.load(Ordering::Relaxed));
        Self { shape: self.shape.clone(), directory }
    }

    /// Calls `use_it` with the map.
    fn with<R>(
        &self,
        machine: &Prefix,
        use_it: impl FnOnce(&Map<'_, Prefix>, &Allocator<'_, Prefix>) -> Result<R>,
    ) -> Result<R> {
        let (space, area) = (&space(), area(machine));
        let first_lock = MAP_LOCKS;
        let mut allocator = Allocator { machine, space, heap: &HEAP, area, first_lock };
        allocator.prepare()?;
        let map = Map { machine, space, shape: &self.shape, directory: &self.directory };
        use_it(&map, &allocator)
    }

    /// Calls `use_it` with a key, which lies in a block if the map has keys there.
    fn with_key<R>(&self, key: u64, use_it: impl FnOnce(&Key<'_>) -> R) -> R {
        match self.shape.form {
            Form::Words | Form::Values => use_it(&self.shape.word_key(key)),
            Form::Keys => use_it(&self.shape.long_key(format!("key number {key}").as_bytes())),
        }
    }

    /// Returns the bytes of a value, of different lengths.
    fn bytes(value: u64) -> Vec<u8> {
        let mut bytes = value.to_le_bytes().to_vec();
        bytes.resize(8 + 9 * (value % 11) as usize, value as u8);
        bytes
    }

    /// Returns the value that was found in an entry, which must be whole.
    fn value(&self, machine: &Prefix, found: map::Value) -> Result<u64> {
        if self.shape.form == Form::Words {
            return Ok(found.word);
        }
        let mut bytes = vec![0; found.len as usize];
        machine.read(found.at, &mut bytes)?;
        let value = u64::from_le_bytes(*bytes.first_chunk().unwrap());
        assert_eq!(bytes, Self::bytes(value));
        Ok(value)
    }
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Insert(u64, u64),
    Remove(u64),
}

impl Operation {
    fn run(self, handle: &Handle, machine: &Prefix) -> Result<Option<u64>> {
        let read = |value| handle.value(machine, value);
        handle.with(machine, |map, allocator| match self {
            Self::Insert(key, value) => {
                let existing = Existing::Replaced;
                let inserted = handle.with_key(key, |key| match map.shape.form {
                    Form::Words => map.insert_word(allocator, key, value, existing, read),
                    Form::Values | Form::Keys => {
                        let bytes = Handle::bytes(value);
                        map.insert_block(allocator, key, &bytes, existing, None, read)
                    }
                });
                Ok(match inserted? {
                    Inserted::Replaced(previous) => Some(previous),
                    Inserted::New | Inserted::Kept => None,
                })
            }
            Self::Remove(key) => handle.with_key(key, |key| match map.shape.form {
                Form::Words => map.remove_word(allocator, key, read),
                Form::Values | Form::Keys => map.remove_block(allocator, key, None, read),
            }),
        })
    }

    fn model(self, model: &mut BTreeMap<u64, u64>) -> Option<u64> {
        match self {
            Self::Insert(key, value) => model.insert(key, value),
            Self::Remove(key) => model.remove(&key),
        }
    }
}

const KEYS: u64 = 40;

/// Returns the offset and the depth of the directory that a root or a later directory refers to.
fn directory_of(word: u64) -> (u64, u64) {
    (word & ((1 << 56) - 1), word >> 56)
}

/// What was found in a map: the values, and the words of their entries.
struct Contents {
    values: BTreeMap<u64, u64>,
    words: BTreeMap<u64, u64>,
}

/// Returns the contents of the map, after a check of everything else. Each key is looked up by a reader that saw no
/// later directory than `handle` did.
fn check(handle: &Handle, machine: &Prefix) -> std::result::Result<Contents, String> {
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
    handle
        .with(machine, |map, _| {
            let (mut values, mut words) = (BTreeMap::new(), BTreeMap::new());
            for key in 0..KEYS {
                let late = handle.copy();
                let map = Map { directory: &late.directory, ..*map };
                let read = |found: map::Value| Ok((found.word, late.value(machine, found)?));
                if let Some((word, value)) = late.with_key(key, |key| map.get(key, read))? {
                    values.insert(key, value);
                    words.insert(key, word);
                }
            }
            if map.len()? != values.len() as u64 {
                return Ok(Err(format!("{} keys in {values:?}", map.len()?)));
            }
            // A reader that is late must be led to the present directory by all others.
            let mut place = directory_of(machine.load_64(ROOT)?).0;
            while place != 0 && machine.load_64(place)? != 0 {
                let (old, depth) = directory_of(machine.load_64(place)?);
                for index in 0..1 << depth {
                    if machine.load_64(old + 16 + 8 * index)? != 0 {
                        return Ok(Err(format!("the old directory at {old:x} has a page")));
                    }
                }
                place = old;
            }
            let mut memory = BTreeSet::new();
            map.memory(&mut |at| {
                memory.insert(at);
                Ok(())
            })?;
            Ok(match memory == census.allocated {
                true => Ok(Contents { values, words }),
                false => Err(format!("allocated {:x?}, of the map {memory:x?}", census.allocated)),
            })
        })
        .map_err(|error| error.to_string())?
}

/// Returns operations that insert, update and remove, so that pages are rebuilt and split, and the directory doubles.
fn script() -> Vec<Operation> {
    let mut operations: Vec<Operation> =
        (0..20).map(|key| Operation::Insert(key, 100 + key)).collect();
    operations.extend((0..20).step_by(3).map(|key| Operation::Insert(key, 200 + key)));
    operations.extend((0..12).map(Operation::Remove));
    for round in 0..8 {
        operations.push(Operation::Insert(30, 300 + round));
        operations.push(Operation::Remove(30));
    }
    operations.extend((20..KEYS).map(|key| Operation::Insert(key, 400 + key)));
    operations.push(Operation::Remove(99));
    // Each page is rebuilt.
    for key in 0..KEYS {
        operations.extend([Operation::Remove(key), Operation::Insert(key, 500 + key)]);
    }
    // Pages that have few keys are merged.
    operations.extend((0..KEYS).map(Operation::Remove));
    operations.extend((10..20).map(|key| Operation::Insert(key, 600 + key)));
    operations
}

/// Returns the memory, with all free blocks overwritten: what they had must not matter.
fn without_free(machine: &Prefix) -> Vec<u8> {
    let allocated = census::take(machine, HEAP, &[area(machine)]).unwrap().allocated;
    let mut image = machine.image();
    let spans = machine.load_64(HEAP.chunks()).unwrap() * HEAP.chunk_spans;
    let end = machine.load_64(HEAP.len()).unwrap();
    for span in (0..spans).map(Span).filter(|&span| HEAP.span(span) < end) {
        let SpanKind::Class(entry) = HEAP.kind(machine, span).unwrap() else { continue };
        let blocks = HEAP.blocks(span, entry.class);
        for at in (0..blocks.count).map(|index| blocks.at + index * blocks.size) {
            if !allocated.contains(&at) {
                image[at as usize..][..blocks.size as usize].fill(0xa5);
            }
        }
    }
    image
}

/// A moment of the script: the memory, and what the map must have.
struct Moment {
    image: Vec<u8>,
    /// The handle of a reader that saw the directory before the present one last.
    handle: Handle,
    model: BTreeMap<u64, u64>,
    /// The value of each key and word that its entry had, in a map of blocks.
    words: BTreeMap<(u64, u64), u64>,
}

impl Moment {
    /// Returns the moment of an empty map in a heap that nothing was allocated in.
    fn first(form: Form) -> Self {
        // Nothing relies on zeros in the heap.
        let mut image = vec![0; HEAP.end as usize];
        image[HEAP.at as usize..].fill(0xa5);
        let machine = Prefix::of(&image);
        machine.store_64(HEAP.len(), HEAP.end).unwrap();
        let handle = Handle::new(form);
        handle.with(&machine, |_, _| Ok(())).unwrap();
        Self { image: machine.image(), handle, model: BTreeMap::new(), words: BTreeMap::new() }
    }

    /// Runs an operation with one store left out. Returns the moment after it, the number of its stores, and where the
    /// store was left out. Fails with what is wrong.
    fn run(
        &self,
        operation: Operation,
        omitted: Option<u64>,
    ) -> std::result::Result<(Self, u64, Option<Hole>), String> {
        let mut model = self.model.clone();
        let result = operation.model(&mut model);
        let machine = Prefix::new(&self.image, u64::MAX, omitted).numbered_from(LISTS_END);
        let found =
            operation.run(&self.handle.copy(), &machine).map_err(|error| error.to_string())?;
        if found != result {
            return Err(format!("{operation:?} returned {found:?}, not {result:?}"));
        }
        let (stores, hole) = (machine.stores(), machine.hole());
        let Contents { values, words } = check(&self.handle.copy(), &machine)?;
        if values != model {
            return Err(format!("{values:?} after {operation:?}, not {model:?}"));
        }
        let mut all = self.words.clone();
        for (key, word) in words.into_iter().filter(|_| self.handle.shape.form != Form::Words) {
            let value = model[&key];
            // A reader that is late would take the one for the other.
            if let Some(other) = all.insert((key, word), value).filter(|it| *it != value) {
                return Err(format!("{word:x} of {key} was {other}, and is {value}"));
            }
        }
        let handle = self.handle.copy();
        let (directory, _) = directory_of(machine.load_64(ROOT).unwrap());
        if directory != 0 {
            handle.directory.store(machine.load_64(directory).unwrap(), Ordering::Relaxed);
        }
        Ok((Self { image: without_free(&machine), handle, model, words: all }, stores, hole))
    }

    /// Runs operations one after the other.
    fn run_all(self, operations: &[Operation]) -> std::result::Result<(), String> {
        let last = operations.iter().try_fold(self, |moment, &operation| {
            moment.run(operation, None).map(|(after, ..)| after)
        });
        last.map(drop)
    }

    /// Kills an operation after each store, and its completion after each store. Returns the number of kills.
    fn kill(
        &self,
        operation: Operation,
        omitted: Option<u64>,
    ) -> std::result::Result<usize, String> {
        let mut model = self.model.clone();
        operation.model(&mut model);
        let (mut seen, mut kills) = (HashSet::new(), 0);
        for left in 0.. {
            let machine = Prefix::new(&self.image, left, omitted).numbered_from(LISTS_END);
            if machine.run(|machine| operation.run(&self.handle.copy(), machine).map(drop)) {
                break;
            }
            let killed = machine.image();
            if !seen.insert(killed.clone()) {
                continue;
            }
            for left in 0.. {
                kills += 1;
                let machine = Prefix::new(&killed, left, None);
                let is_whole = machine.run(|machine| complete(machine, &space(), area(machine)));
                // The next recoverer begins again.
                let machine = Prefix::of(&machine.image());
                complete(&machine, &space(), area(&machine)).map_err(|error| error.to_string())?;
                let Contents { values, .. } = check(&self.handle.copy(), &machine)?;
                if values != model && values != self.model {
                    return Err(format!("{values:?} after a kill in {operation:?}"));
                }
                if is_whole {
                    break;
                }
            }
        }
        Ok(kills)
    }
}

const FORMS: [Form; 3] = [Form::Words, Form::Values, Form::Keys];

#[test]
fn killed_after_every_store() {
    if leaves_out_searches() {
        return;
    }
    for form in FORMS {
        let (mut moment, mut most, mut kills) = (Moment::first(form), 0, 0);
        for operation in script() {
            kills += moment.kill(operation, None).unwrap();
            let (after, stores, _) = moment.run(operation, None).unwrap();
            (moment, most) = (after, most.max(stores));
        }
        println!("{form:?}: {kills} kills, up to {most} stores in an operation");
        assert!(kills > 1000);
    }
}
