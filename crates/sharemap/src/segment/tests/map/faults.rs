//! Straight code, of which one access faults, whatever it returns: a lookup tells nothing, and a change is made as if
//! nothing had happened, or not at all.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::super::prefix::Prefix;
use super::super::small::{self, HEAP, Handle, Operation, ROOT, check};
use super::FORMS;
use crate::peer::{Faulty, Machine, Readable, Simulated, Window};
use crate::segment::map::{Form, Map, Source};

/// More loads than a lookup makes.
const NEVER: u64 = 1 << 20;
const KEYS: std::ops::Range<u64> = 0..12;

/// A machine's memory of which one load faults.
type OneFault<'a> = Faulty<'a, Simulated<'a, Prefix>>;

/// Calls `look_up` with memory of which the load number `before` faults and returns `value`. Returns the result, and the
/// number of loads.
fn with_fault<R>(
    machine: &Prefix,
    map: &Map<'_, Prefix>,
    (before, value): (u64, u64),
    look_up: impl FnOnce(Source<'_, OneFault<'_>>) -> R,
) -> (R, u64) {
    let memory =
        &Faulty { of: &Simulated(machine), len: HEAP.end, before: Cell::new(before), value };
    let root = Window::at(memory, ROOT).unwrap();
    let result = look_up(Source { memory, root, places: map.places() });
    (result, before.wrapping_sub(memory.before.get()))
}

/// Looks a key up, as a handle of this form does.
fn look_up(
    handle: &Handle,
    machine: &Prefix,
    map: &Map<'_, Prefix>,
    source: Source<'_, impl Readable>,
    key: u64,
) -> Option<Option<u64>> {
    handle.with_key(key, |key| match map.shape.form {
        Form::Words => map.word_at_once(source, 0, key, Some),
        form => map.block_at_once(source, form, 0, key, |mut glimpse| {
            // By a load of its own, as short values are read. The rest of what it returns is not whole after a fault.
            let word = glimpse.word(0)?;
            let _ = machine.load_64(glimpse.value.at);
            Some(word)
        }),
    })
}

#[test]
fn a_lookup_with_a_fault_tells_nothing() {
    for form in [Form::Words, Form::Values, Form::Keys] {
        let machine = &Prefix::of(&small::empty());
        let handle = Handle::new(form);
        for key in KEYS {
            Operation::Insert(key, 100 + key).run(&handle, machine).unwrap();
        }
        let (mut told, mut faults) = (0, 0);
        handle
            .with(machine, |map, _| {
                for key in KEYS.chain(50..60) {
                    let find = |source: Source<'_, OneFault<'_>>| {
                        look_up(&handle, machine, map, source, key)
                    };
                    let (whole, loads) = with_fault(machine, map, (NEVER, 0), find);
                    // A key that is not in its own bucket is looked up by other code.
                    let Some(found) = whole else { continue };
                    assert_eq!(found, KEYS.contains(&key).then_some(100 + key), "{form:?}");
                    told += 1;
                    for before in 0..loads {
                        for value in [0, 1, 0x0101_0101_0101_0101, 1 << 40, u64::MAX, u64::MAX << 4]
                        {
                            let (found, _) = with_fault(machine, map, (before, value), find);
                            assert_eq!(
                                found, None,
                                "{form:?}, key {key}: load {before} of {loads}"
                            );
                            faults += 1;
                        }
                    }
                }
                Ok(())
            })
            .unwrap();
        assert!(told > 10 && faults > 200, "{form:?}: {told} lookups, {faults} faults");
    }
}

#[test]
fn lookups_together_with_a_fault_tell_nothing() {
    let machine = &Prefix::of(&small::empty());
    let handle = Handle::new(Form::Words);
    for key in KEYS {
        Operation::Insert(key, 100 + key).run(&handle, machine).unwrap();
    }
    handle
        .with(machine, |map, _| {
            let keys = KEYS.count() + 3;
            let find = |source: Source<'_, OneFault<'_>>| {
                map.words_at_once(
                    source,
                    keys,
                    |index| map.shape.word_key(index as u64),
                    |_, _| true,
                )
            };
            let (told, loads) = with_fault(machine, map, (NEVER, 0), find);
            assert!(told.count_ones() > 6, "{told:b}");
            for before in 0..loads {
                for value in [0, 1 << 40, u64::MAX] {
                    let (told, _) = with_fault(machine, map, (before, value), find);
                    assert_eq!(told, 0, "load {before} of {loads}");
                }
            }
            Ok(())
        })
        .unwrap();
}

/// Runs an operation by straight code, of which the access number `before` faults and returns `value`. Returns what it
/// returned, and the number of accesses.
fn run_with_fault(
    operation: Operation,
    handle: &Handle,
    machine: &Prefix,
    (before, value): (u64, u64),
) -> (Option<Option<u64>>, u64) {
    let memory =
        &Faulty { of: &Simulated(machine), len: HEAP.end, before: Cell::new(before), value };
    let result = operation.run_at_once(handle, machine, memory).unwrap();
    (result, before.wrapping_sub(memory.before.get()))
}

#[test]
fn a_change_with_a_fault_is_made_or_given_up() {
    for form in FORMS {
        let machine = &Prefix::of(&small::empty());
        let handle = Handle::new(form);
        let mut model = BTreeMap::new();
        for key in KEYS {
            let operation = Operation::Insert(key, 100 + key);
            operation.run(&handle, machine).unwrap();
            operation.model(&mut model);
        }
        let image = machine.image();
        let (mut made, mut given_up) = (0, 0);
        let inserts = (0..20).map(|key| Operation::Insert(key, 200 + key));
        for operation in inserts.chain((0..20).map(Operation::Remove)) {
            let machine = Prefix::of(&image);
            let whole = (NEVER, 0);
            let (result, accesses) = run_with_fault(operation, &handle.copy(), &machine, whole);
            if result.is_none() {
                continue;
            }
            let mut after = model.clone();
            let previous = operation.model(&mut after);
            assert_eq!(result, Some(previous));
            for before in 0..accesses {
                for value in [0, 1, 0x0101_0101_0101_0101, 1 << 40, u64::MAX] {
                    let (machine, handle) = (Prefix::of(&image), handle.copy());
                    let fault = (before, value);
                    let (result, _) = run_with_fault(operation, &handle, &machine, fault);
                    let values = check(&handle.copy(), &machine).unwrap().values;
                    let what = format!("{form:?}, {operation:?}, access {before} of {accesses}");
                    match result {
                        Some(result) => {
                            assert_eq!((result, &values), (previous, &after), "{what}");
                            made += 1;
                        }
                        None => {
                            assert_eq!(values, model, "{what}");
                            operation.run(&handle, &machine).unwrap();
                            assert_eq!(check(&handle, &machine).unwrap().values, after, "{what}");
                            given_up += 1;
                        }
                    }
                }
            }
        }
        println!("{form:?}: {made} made, {given_up} given up");
        assert!(made > 10 && given_up > 100);
    }
}
