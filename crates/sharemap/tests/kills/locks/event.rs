use std::path::Path;

use sharemap::{ErrorKind, Event, Shared};

use super::{Lock, Operation, PAYLOAD, Planted, long, make, mask, open};
use crate::plant::drop_if;
use crate::tracee::mark;

/// A manual-reset event and an auto-reset event.
type Both = (Event, Event);

/// The states of the events, which resemble gates: a bit, and a count above it.
const STATES: [usize; 2] = [0, 16];
const GATES: [usize; 2] = [4, 20];

const EVENT: Lock = Lock {
    prepare,
    survive,
    mask: |object| {
        mask(object, &STATES);
        mask(object, &GATES);
    },
};

pub const OPERATIONS: &[Operation] = &[
    EVENT.alone("set", set),
    EVENT.beside("set while another waits", waits, set),
    EVENT.beside("wait until the event is set", sets, wait),
    EVENT.beside("wait until the auto-reset event is set", sets, wait_auto),
    EVENT.after(is_set).alone("wait for an event that is set", wait_auto),
    EVENT.after(is_set).alone("reset", reset),
];

pub const PLANTED: &[Planted] = &[
    Planted {
        name: "not set",
        operation: OPERATIONS[0],
        plant: |store| drop_if(store.word(PAYLOAD).is_some_and(|(_, after)| after & 1 == 1)),
    },
    Planted {
        name: "not reset",
        operation: OPERATIONS[4],
        plant: |store| drop_if(store.word(PAYLOAD + 16).is_some_and(|(_, after)| after & 1 == 0)),
    },
];

fn first() -> Both {
    (Event::manual_reset(), Event::auto_reset())
}

fn prepare(path: &Path) {
    drop(make(path, first));
}

fn survive(path: &Path) {
    let shared = make(path, first);
    let (manual, auto) = &*shared;
    manual.set().unwrap();
    manual.wait_timeout(long()).unwrap();
    assert!(manual.is_set().unwrap(), "until it is reset");
    manual.reset().unwrap();
    assert_eq!(manual.try_wait().unwrap_err().kind(), ErrorKind::WouldBlock, "it was reset");
    auto.set().unwrap();
    auto.wait_timeout(long()).unwrap();
    assert_eq!(auto.try_wait().unwrap_err().kind(), ErrorKind::WouldBlock, "it let one through");
}

fn set(path: &Path) {
    let shared = open::<Both>(path);
    mark();
    shared.0.set().unwrap();
    shared.1.set().unwrap();
    mark();
}

fn is_set(path: &Path) {
    let shared = make(path, first);
    shared.0.set().unwrap();
    shared.1.set().unwrap();
}

fn wait(path: &Path) {
    let shared = open::<Both>(path);
    mark();
    shared.0.wait_timeout(long()).unwrap();
    mark();
}

fn wait_auto(path: &Path) {
    let shared = open::<Both>(path);
    mark();
    shared.1.wait_timeout(long()).unwrap();
    mark();
}

fn reset(path: &Path) {
    let shared = open::<Both>(path);
    mark();
    shared.0.reset().unwrap();
    shared.1.reset().unwrap();
    mark();
}

fn goes_on(shared: Shared<Both>, path: &Path) {
    drop(shared);
    survive(path);
}

fn sets(path: &Path) {
    let shared = open::<Both>(path);
    mark();
    shared.0.set().unwrap();
    shared.1.set().unwrap();
    mark();
    goes_on(shared, path);
}

/// Waits with a timeout, because the process that sets the event is killed.
fn waits(path: &Path) {
    let shared = open::<Both>(path);
    let _ = shared.1.wait_timeout(super::MOMENT * 20);
    goes_on(shared, path);
}
