use std::path::Path;

use sharemap::{Once, OnceHandle, Result, Shared};

use super::{Lock, Operation, PAYLOAD, Planted, announces, die, long, make, mask, open};
use crate::plant::{drop_if, swap_if};
use crate::tracee::mark;

const GATE: usize = 4;
const DONE: u32 = 1 << 19;

const ONCE: Lock = Lock { prepare, survive, mask: |object| mask(object, &[GATE]) };

pub const OPERATIONS: &[Operation] = &[
    ONCE.alone("run the action", call),
    ONCE.beside("wait until it is done", is_at_it, call),
    ONCE.beside("finish the action while another waits", waits, finish),
    ONCE.alone("fail in the action", fail),
    ONCE.after(dies).alone("run the action again", call),
];

pub const PLANTED: &[Planted] = &[
    Planted {
        name: "never done",
        operation: OPERATIONS[0],
        plant: |store| drop_if(store.word(PAYLOAD).is_some_and(|(_, after)| after & DONE != 0)),
    },
    Planted {
        name: "not announced",
        operation: OPERATIONS[0],
        plant: |store| drop_if(announces(store, 7)),
    },
    Planted {
        name: "taken before it is announced",
        operation: OPERATIONS[0],
        plant: |store| swap_if(announces(store, 7)),
    },
];

fn first() -> Once {
    Once::new()
}

fn prepare(path: &Path) {
    drop(make(path, first));
}

/// Makes the call and asserts that its closure runs exactly if the once was incomplete.
fn does(once: &OnceHandle) {
    let (before, mut did) = (once.is_done().unwrap(), false);
    let result: Result<()> = once.call_timeout(long(), |_| {
        did = true;
        Ok(())
    });
    result.unwrap();
    assert!(!(did && before), "it was done");
    assert!(once.is_done().unwrap(), "it is done");
}

fn survive(path: &Path) {
    let shared = make(path, first);
    let before = shared.is_done().unwrap();
    does(&shared);
    let again: Result<()> = shared.call(|_| panic!("it is done, and was before: {before}"));
    again.unwrap();
}

fn call(path: &Path) {
    let shared = open::<Once>(path);
    mark();
    does(&shared);
    mark();
}

/// Makes the call, with a mark in the middle of it and one after it.
fn does_marked(path: &Path) -> Shared<Once> {
    let shared = open::<Once>(path);
    let result: Result<()> = shared.call(|_| {
        mark();
        Ok(())
    });
    result.unwrap();
    mark();
    shared
}

fn finish(path: &Path) {
    drop(does_marked(path));
}

fn fail(path: &Path) {
    let shared = open::<Once>(path);
    mark();
    let result = shared.call(|_| Err(std::io::Error::other("on purpose").into()));
    let error: sharemap::Error = result.expect_err("it fails");
    drop(error);
    mark();
}

fn goes_on(shared: Shared<Once>, path: &Path) {
    drop(shared);
    survive(path);
}

fn is_at_it(path: &Path) {
    goes_on(does_marked(path), path);
}

fn waits(path: &Path) {
    let shared = open::<Once>(path);
    does(&shared);
    goes_on(shared, path);
}

fn dies(path: &Path) {
    prepare(path);
    die(|| {
        let _: Result<()> = open::<Once>(path).call(|_| {
            crate::beside::die();
            Ok(())
        });
    });
}
