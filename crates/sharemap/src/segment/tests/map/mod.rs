//! The map, killed after every store of each operation of a script, and after every store of the completion: it has
//! its old contents or its new ones, and nothing is leaked.

mod faults;
mod omissions;
mod scans;

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering;

use super::prefix::{Hole, Prefix};
use super::small::{
    self, AREA, Contents, HEAP, Handle, KEYS, Operation, ROOT, Way, area, check, space,
};
use crate::peer::Machine;
use crate::segment::census;
use crate::segment::completion::complete;
use crate::segment::heap::{Span, SpanKind};
use crate::segment::map::Form;
use crate::testing::leaves_out_searches;

/// The offset behind the commit word and the list of locks in the area.
const LISTS_END: u64 = AREA + 80;

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
    let allocated = census::take(machine, HEAP, &[area(machine, 0)]).unwrap().allocated;
    let mut image = machine.image();
    let spans = machine.load_64(HEAP.chunks()).unwrap() * HEAP.chunk_spans();
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
        Self::with_handle(Handle::new(form))
    }

    fn with_handle(handle: Handle) -> Self {
        let machine = Prefix::of(&small::empty());
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
        let found = operation.run(&self.writer(), &machine).map_err(|error| error.to_string())?;
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
        let (directory, _) = small::directory_of(machine.load_64(ROOT).unwrap());
        if directory != 0 {
            handle.directory.store(machine.load_64(directory).unwrap(), Ordering::Relaxed);
        }
        Ok((Self { image: without_free(&machine), handle, model, words: all }, stores, hole))
    }

    /// Returns a handle that changes the map: by straight code only if it saw the present directory.
    fn writer(&self) -> Handle {
        let handle = self.handle.copy();
        if handle.way == Way::AtOnce {
            let directory = Prefix::of(&self.image).load_64(ROOT).unwrap();
            handle.directory.store(directory, Ordering::Relaxed);
        }
        handle
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
            if machine.run(|machine| operation.run(&self.writer(), machine).map(drop)) {
                break;
            }
            let killed = machine.image();
            if !seen.insert(killed.clone()) {
                continue;
            }
            for left in 0.. {
                kills += 1;
                let machine = Prefix::new(&killed, left, None);
                let is_whole = machine.run(|machine| complete(machine, &space(), area(machine, 0)));
                // The next recoverer begins again.
                let machine = Prefix::of(&machine.image());
                complete(&machine, &space(), area(&machine, 0))
                    .map_err(|error| error.to_string())?;
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
const WAYS: [Way; 2] = [Way::AtOnce, Way::General];

#[test]
fn killed_after_every_store() {
    if leaves_out_searches() {
        return;
    }
    for (form, way) in FORMS.into_iter().flat_map(|form| WAYS.map(|way| (form, way))) {
        let first = Moment::with_handle(Handle { way, ..Handle::new(form) });
        let (mut moment, mut most, mut kills) = (first, 0, 0);
        for operation in script() {
            kills += moment.kill(operation, None).unwrap();
            let (after, stores, _) = moment.run(operation, None).unwrap();
            (moment, most) = (after, most.max(stores));
        }
        println!("{form:?}, {way:?}: {kills} kills, up to {most} stores in an operation");
        assert!(kills > 1000);
    }
}
