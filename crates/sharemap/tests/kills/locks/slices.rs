//! A mutex over elements in place. A dead owner may leave them half-written, which is then reported
//! to the next owner.

use std::path::Path;

use sharemap::{LockError, Mutex, MutexSliceGuard, Shared};

use super::{Lock, Operation, PAYLOAD, Planted, announces, die, long, make, mask, open};
use crate::plant::{drop_if, swap_if};
use crate::tracee::mark;

/// Two elements that are equal unless an owner is changing them.
type Pair = Mutex<[u64]>;

const GATE: usize = 4;
const SECOND: usize = PAYLOAD + 24;

const SLICE: Lock = Lock { prepare, survive, mask: |object| mask(object, &[GATE]) };

pub const OPERATIONS: &[Operation] = &[
    SLICE.alone("write in place", write),
    SLICE.beside("write in place while another waits", waits, write_now),
    SLICE.after(dies).alone("repair half-written elements", write),
];

pub const PLANTED: &[Planted] = &[
    Planted {
        name: "released before all is written",
        operation: OPERATIONS[0],
        plant: |store| swap_if(store.long(SECOND).is_some()),
    },
    Planted {
        name: "not announced",
        operation: OPERATIONS[0],
        plant: |store| drop_if(announces(store, 1)),
    },
];

fn first() -> Pair {
    Mutex::zeroed(2)
}

fn prepare(path: &Path) {
    drop(make(path, first));
}

fn both(guard: &MutexSliceGuard<'_, u64>) -> (u64, u64) {
    let view = guard.view();
    (view.get(0).unwrap(), view.get(1).unwrap())
}

/// Acquires the mutex and asserts that both elements are equal, unless a death is reported.
fn have(shared: &Shared<Pair>) -> MutexSliceGuard<'_, u64> {
    match shared.lock_timeout(long()) {
        Ok(guard) => {
            let (one, other) = both(&guard);
            assert_eq!(one, other, "half-written without `OwnerDied`");
            guard
        }
        Err(LockError::OwnerDied(dead)) => dead.mark_consistent(),
        Err(LockError::Failed(error)) => panic!("{error}"),
    }
}

fn change(guard: MutexSliceGuard<'_, u64>) {
    let new = 1 - both(&guard).0;
    guard.view().set(0, new).unwrap();
    guard.view().set(1, new).unwrap();
    guard.unlock().unwrap();
}

fn survive(path: &Path) {
    let shared = make(path, first);
    change(have(&shared));
    drop(have(&shared));
    drop(shared.try_lock().expect("it is free, and in order"));
}

fn write(path: &Path) {
    let shared = open::<Pair>(path);
    mark();
    change(have(&shared));
    mark();
}

fn write_now(path: &Path) {
    let shared = open::<Pair>(path);
    let guard = have(&shared);
    mark();
    change(guard);
    mark();
}

fn waits(path: &Path) {
    let shared = open::<Pair>(path);
    change(have(&shared));
    drop(shared);
    survive(path);
}

fn dies(path: &Path) {
    prepare(path);
    die(|| {
        let shared = open::<Pair>(path);
        let guard = have(&shared);
        guard.view().set(0, 1).unwrap();
        std::mem::forget(guard);
    });
}
