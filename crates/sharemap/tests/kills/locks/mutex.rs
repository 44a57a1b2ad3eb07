use std::path::Path;

use sharemap::{ErrorKind, LockError, Mutex, MutexHandle, Shared};

use super::{FIRST, Lock, Operation, PAYLOAD, Planted, TABLE, announces, die, had, long, make};
use super::{mask, more, open};
use crate::plant::{drop_if, swap_if};
use crate::tracee::mark;

const WORD: usize = PAYLOAD;
const GATE: usize = 4;
const SELECTOR: usize = PAYLOAD + 8;
const COPIES: usize = PAYLOAD + 16;

pub(super) const MUTEX: Lock = Lock { prepare, survive, mask: |object| mask(object, &[GATE]) };

pub const OPERATIONS: &[Operation] = &[
    MUTEX.alone("lock and unlock", lock),
    MUTEX.beside("lock beside a living owner", has, lock),
    MUTEX.beside("unlock while another waits", waits, unlock),
    MUTEX.after(dies).alone("lock after the death of the owner", mark_consistent),
    MUTEX.after(dies).alone("poison", poison),
    MUTEX.after(poisoned).alone("repair", repair),
    MUTEX.after(|_| {}).alone("create", |path| {
        mark();
        drop(make(path, first));
    }),
    MUTEX.alone("attach and lock", |path| {
        mark();
        add(&open::<Mutex<Value>>(path));
    }),
    MUTEX.alone("detach, the last", detach),
    MUTEX.beside("detach", attached, detach),
];

pub const PLANTED: &[Planted] = &[
    Planted {
        name: "the selector is not written",
        operation: OPERATIONS[0],
        plant: |store| drop_if(store.word(SELECTOR).is_some()),
    },
    Planted {
        name: "the copy is not written",
        operation: OPERATIONS[0],
        plant: |store| drop_if(store.at >= COPIES),
    },
    Planted {
        name: "the selector before the copy",
        operation: OPERATIONS[0],
        plant: |store| swap_if(store.at >= COPIES),
    },
    Planted {
        name: "not released",
        operation: OPERATIONS[0],
        plant: |store| drop_if(store.word(WORD).is_some_and(|(_, after)| after == 0)),
    },
    Planted {
        name: "not announced",
        operation: OPERATIONS[0],
        plant: |store| drop_if(announces(store, 1)),
    },
    Planted {
        name: "taken before it is announced",
        operation: OPERATIONS[0],
        plant: |store| swap_if(announces(store, 1)),
    },
    Planted {
        name: "a death without a notification",
        operation: OPERATIONS[4],
        plant: |store| drop_if(store.word(WORD).is_some_and(|(_, after)| after & 1 << 18 != 0)),
    },
    Planted {
        name: "a participant without a record",
        operation: OPERATIONS[7],
        plant: |store| drop_if(store.word(super::RECORDS).is_some_and(|(_, after)| after == 1)),
    },
    Planted {
        name: "a lane without a thread",
        operation: OPERATIONS[7],
        plant: |store| drop_if(store.word(TABLE).is_some_and(|(before, _)| before == 0)),
    },
];

/// Two equal numbers. Writing them takes more than one instruction, so the mutex keeps two copies.
pub type Value = [u64; 2];

pub fn first() -> Mutex<Value> {
    Mutex::new([FIRST; 2])
}

fn increase(value: &mut Value) {
    *value = value.map(|number| number + 1);
}

pub fn prepare(path: &Path) {
    drop(make(path, first));
}

/// Increments the value and asserts that the change is visible afterwards.
pub fn add(mutex: &MutexHandle<Value>) {
    let mut guard = match mutex.lock_timeout(long()) {
        Err(LockError::Failed(error)) if error.kind() == ErrorKind::Poisoned => {
            mutex.lock_poisoned().unwrap().mark_consistent()
        }
        result => had!(result),
    };
    let [value, same] = *guard;
    assert_eq!(value, same, "half a value");
    let value = [more(value); 2];
    *guard = value;
    guard.unlock().unwrap();
    assert_eq!(*mutex.try_lock().expect("it is free, and in order"), value);
}

pub fn survive(path: &Path) {
    add(&make(path, first));
}

fn lock(path: &Path) {
    let shared = open::<Mutex<Value>>(path);
    mark();
    increase(&mut shared.lock_timeout(long()).unwrap());
    mark();
}

fn unlock(path: &Path) {
    let shared = open::<Mutex<Value>>(path);
    let mut guard = shared.lock().unwrap();
    mark();
    increase(&mut guard);
    guard.unlock().unwrap();
    mark();
}

fn has(path: &Path) {
    let shared = open::<Mutex<Value>>(path);
    let guard = shared.lock().unwrap();
    mark();
    drop(guard);
    mark();
    drop(shared);
    survive(path);
}

fn waits(path: &Path) {
    let shared = open::<Mutex<Value>>(path);
    add(&shared);
    drop(shared);
    survive(path);
}

fn attached(path: &Path) {
    let shared = open::<Mutex<Value>>(path);
    mark();
    add(&shared);
}

fn dies(path: &Path) {
    prepare(path);
    die(|| std::mem::forget(open::<Mutex<Value>>(path).lock()));
}

fn found(
    shared: &Shared<Mutex<Value>>,
) -> sharemap::OwnerDiedGuard<sharemap::MutexGuard<'_, Value>> {
    match shared.lock_timeout(long()) {
        Err(LockError::OwnerDied(dead)) => dead,
        _ => panic!("its owner died"),
    }
}

fn mark_consistent(path: &Path) {
    let shared = open::<Mutex<Value>>(path);
    mark();
    increase(&mut found(&shared).mark_consistent());
    mark();
}

fn poison(path: &Path) {
    let shared = open::<Mutex<Value>>(path);
    mark();
    found(&shared).poison().unwrap();
    mark();
}

fn poisoned(path: &Path) {
    dies(path);
    found(&open(path)).poison().unwrap();
}

fn repair(path: &Path) {
    let shared = open::<Mutex<Value>>(path);
    mark();
    increase(&mut shared.lock_poisoned().unwrap().mark_consistent());
    mark();
}

fn detach(path: &Path) {
    let shared = open::<Mutex<Value>>(path);
    add(&shared);
    mark();
    drop(shared);
}
