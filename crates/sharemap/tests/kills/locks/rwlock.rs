use std::path::Path;

use sharemap::{RwLock, RwLockHandle, Shared};

use super::{FIRST, Lock, Operation, PAYLOAD, Planted, announces, die, had, long, make, mask};
use super::{more, open};
use crate::plant::drop_if;
use crate::tracee::mark;

const WORD: usize = PAYLOAD;
const GATE: usize = 8;
const DRAIN: usize = 12;
const AGAIN: usize = 24;
const VALUE: usize = PAYLOAD + 32;

const RWLOCK: Lock = Lock { prepare, survive, mask: |object| mask(object, &[GATE, DRAIN, AGAIN]) };

pub const OPERATIONS: &[Operation] = &[
    RWLOCK.alone("read", read),
    RWLOCK.alone("write", write),
    RWLOCK.alone("upgrade", upgrade),
    RWLOCK.beside("read while another writes", writes, read),
    RWLOCK.beside("write while another reads", reads, write),
    RWLOCK.beside("upgrade while another reads", reads, upgrade),
    RWLOCK.beside("stop reading while another waits", waits_to_write, stop_reading),
    RWLOCK.beside("read again while another waits to write", waits_to_write, read_again),
    RWLOCK.beside("stop writing while another waits", waits_to_read, stop_writing),
    RWLOCK.after(dies_writing).alone("read after the death of a writer", mark_consistent),
    RWLOCK.after(dies_reading).alone("write after the death of a reader", write),
];

pub const PLANTED: &[Planted] = &[
    Planted {
        name: "the value is not written",
        operation: OPERATIONS[1],
        plant: |store| drop_if(store.at == VALUE),
    },
    Planted {
        name: "not released",
        operation: OPERATIONS[1],
        plant: |store| drop_if(store.word(WORD).is_some_and(|(_, after)| after == 0)),
    },
    Planted {
        name: "a writer is not announced",
        operation: OPERATIONS[1],
        plant: |store| drop_if(announces(store, 2)),
    },
    Planted {
        name: "a reader does not leave",
        operation: OPERATIONS[0],
        plant: |store| {
            drop_if(announces(store, 4) || (store.before & 0xf == 3 && store.after == 0))
        },
    },
    Planted {
        name: "an upgrade is not taken back",
        operation: OPERATIONS[2],
        plant: |store| drop_if(store.word(WORD).is_some_and(|(_, after)| after == 0)),
    },
];

fn first() -> RwLock<u64> {
    RwLock::new(FIRST)
}

fn prepare(path: &Path) {
    drop(make(path, first));
}

/// Reads, then increments the value under the write lock.
fn add(lock: &RwLockHandle<u64>) {
    let seen = *had!(lock.read_timeout(long()));
    let mut guard = had!(lock.write_timeout(long()));
    assert_eq!(*guard, seen);
    let value = more(*guard);
    *guard = value;
    guard.unlock().unwrap();
    assert_eq!(*lock.try_read().expect("there is no writer, and the value is consistent"), value);
    drop(lock.try_write().expect("there is no reader"));
}

fn survive(path: &Path) {
    add(&make(path, first));
}

fn read(path: &Path) {
    let shared = open::<RwLock<u64>>(path);
    mark();
    assert_eq!(*shared.read_timeout(long()).unwrap(), FIRST);
    mark();
}

fn write(path: &Path) {
    let shared = open::<RwLock<u64>>(path);
    mark();
    *shared.write_timeout(long()).unwrap() += 1;
    mark();
}

fn upgrade(path: &Path) {
    let shared = open::<RwLock<u64>>(path);
    mark();
    let guard = shared.upgradable().unwrap();
    let Ok(mut guard) = guard.upgrade() else { panic!("readers leave") };
    *guard += 1;
    drop(guard);
    mark();
}

fn stop_reading(path: &Path) {
    let shared = open::<RwLock<u64>>(path);
    let guard = shared.read().unwrap();
    mark();
    drop(guard);
    mark();
}

/// Reads recursively while a writer waits: the writer does not block the reader, but waits for it.
fn read_again(path: &Path) {
    let shared = open::<RwLock<u64>>(path);
    let (first, second) = (shared.read().unwrap(), shared.read().unwrap());
    drop(first);
    mark();
    let third = shared.read_timeout(long()).unwrap();
    drop(second);
    assert_eq!(*third, FIRST);
    drop(third);
    mark();
}

fn stop_writing(path: &Path) {
    let shared = open::<RwLock<u64>>(path);
    let mut guard = shared.write().unwrap();
    mark();
    *guard += 1;
    guard.unlock().unwrap();
    mark();
}

fn mark_consistent(path: &Path) {
    let shared = open::<RwLock<u64>>(path);
    mark();
    assert_eq!(*had!(shared.read_timeout(long())), FIRST);
    mark();
}

/// Detaches, then continues as a survivor.
fn goes_on(shared: Shared<RwLock<u64>>, path: &Path) {
    drop(shared);
    survive(path);
}

fn writes(path: &Path) {
    let shared = open::<RwLock<u64>>(path);
    let guard = shared.write().unwrap();
    mark();
    drop(guard);
    mark();
    goes_on(shared, path);
}

fn reads(path: &Path) {
    let shared = open::<RwLock<u64>>(path);
    let guard = shared.read().unwrap();
    mark();
    drop(guard);
    mark();
    goes_on(shared, path);
}

fn waits_to_write(path: &Path) {
    let shared = open::<RwLock<u64>>(path);
    drop(had!(shared.write_timeout(long())));
    goes_on(shared, path);
}

fn waits_to_read(path: &Path) {
    let shared = open::<RwLock<u64>>(path);
    drop(had!(shared.read_timeout(long())));
    goes_on(shared, path);
}

fn dies_writing(path: &Path) {
    prepare(path);
    die(|| std::mem::forget(open::<RwLock<u64>>(path).write()));
}

fn dies_reading(path: &Path) {
    prepare(path);
    die(|| std::mem::forget(open::<RwLock<u64>>(path).read()));
}
