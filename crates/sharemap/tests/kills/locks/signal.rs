use std::path::Path;

use sharemap::{CountingSemaphore, Shared};

use super::{Lock, Operation, PAYLOAD, Planted, long, make, mask, open};
use crate::plant::drop_if;
use crate::tracee::mark;

const GATE: usize = 4;

const SIGNAL: Lock = Lock { prepare, survive, mask: |object| mask(object, &[GATE]) };

pub const OPERATIONS: &[Operation] = &[
    SIGNAL.alone("post", post),
    SIGNAL.beside("post while another waits", waits, post),
    SIGNAL.beside("wait and decrement", posts, wait),
    SIGNAL.after(posted).alone("decrement", wait),
];

pub const PLANTED: &[Planted] = &[
    Planted {
        name: "nothing posted",
        operation: OPERATIONS[0],
        plant: |store| drop_if(store.word(PAYLOAD).is_some_and(|(old, new)| new > old)),
    },
    Planted {
        name: "taken, and still there",
        operation: OPERATIONS[3],
        plant: |store| drop_if(store.word(PAYLOAD).is_some_and(|(old, new)| new < old)),
    },
];

fn first() -> CountingSemaphore {
    CountingSemaphore::new(0)
}

fn prepare(path: &Path) {
    drop(make(path, first));
}

fn posted(path: &Path) {
    make(path, first).post().unwrap();
}

/// Asserts that at most one count was posted by the operation and at most one by a killed survivor,
/// and that a further post and wait leave none.
fn survive(path: &Path) {
    let shared = make(path, first);
    let found = shared.count().unwrap();
    assert!(found <= 2, "{found}");
    for _ in 0..found {
        assert!(shared.try_wait().is_ok(), "there were {found}");
    }
    shared.post().unwrap();
    assert_eq!(shared.count().unwrap(), 1);
    shared.wait_timeout(long()).unwrap();
    assert_eq!(shared.count().unwrap(), 0);
}

fn post(path: &Path) {
    let shared = open::<CountingSemaphore>(path);
    mark();
    shared.post().unwrap();
    mark();
}

fn wait(path: &Path) {
    let shared = open::<CountingSemaphore>(path);
    mark();
    shared.wait_timeout(long()).unwrap();
    mark();
}

fn goes_on(shared: Shared<CountingSemaphore>, path: &Path) {
    drop(shared);
    survive(path);
}

fn posts(path: &Path) {
    let shared = open::<CountingSemaphore>(path);
    mark();
    shared.post().unwrap();
    mark();
    goes_on(shared, path);
}

/// Waits with a timeout, because the process that posts is killed.
fn waits(path: &Path) {
    let shared = open::<CountingSemaphore>(path);
    let _ = shared.wait_timeout(super::MOMENT * 20);
    goes_on(shared, path);
}
