use std::path::Path;

use sharemap::{ErrorKind, Semaphore, Shared};

use super::open;
use super::{Lock, Operation, PAYLOAD, Planted, announces, die, long, make, mask, mask_numbers};
use crate::plant::drop_if;
use crate::tracee::mark;

const PERMITS: u32 = 2;
const GATE: usize = 8;

const LOCK: Lock = Lock { prepare, survive, mask: mask_permits };

pub const OPERATIONS: &[Operation] = &[
    LOCK.alone("acquire a permit", take),
    LOCK.beside("acquire beside a holder", has_one, take),
    LOCK.beside("acquire a permit while others hold all", has_all, take),
    LOCK.alone("release a permit", give_back),
    LOCK.beside("release a permit while another waits", waits, give_all_back),
    LOCK.after(dies).alone("acquire the permits of a dead holder", take_all),
];

pub const PLANTED: &[Planted] = &[
    Planted {
        name: "not said before the count is changed",
        operation: OPERATIONS[0],
        plant: |store| drop_if(announces(store, 9)),
    },
    Planted {
        name: "not counted",
        operation: OPERATIONS[0],
        plant: |store| {
            drop_if(store.long(PAYLOAD).is_some_and(|(old, new)| (new as u32) < old as u32))
        },
    },
    Planted {
        name: "given back without saying so before",
        operation: OPERATIONS[3],
        plant: |store| drop_if(announces(store, 11)),
    },
    Planted {
        name: "the dead keep theirs",
        operation: OPERATIONS[5],
        plant: |store| {
            drop_if(store.long(PAYLOAD).is_some_and(|(old, new)| (new as u32) > old as u32))
        },
    },
];

fn mask_permits(object: &mut [u8]) {
    mask(object, &[GATE]);
    let Some(number) = object.get_mut(PAYLOAD + 6..PAYLOAD + 8) else { return };
    let current = u16::from_le_bytes([number[0], number[1]]);
    number.fill(0);
    mask_numbers(object, &[9, 11], current);
}

fn first() -> Semaphore {
    Semaphore::new(PERMITS)
}

fn prepare(path: &Path) {
    drop(make(path, first));
}

/// Asserts that exactly all permits are available, after those of dead holders were recovered.
fn survive(path: &Path) {
    let (one, two) = (make(path, first), make(path, first));
    let permit = one.acquire_timeout(long()).unwrap();
    let other = two.acquire_timeout(long()).unwrap();
    match two.try_acquire() {
        Ok(_) => panic!("there are not so many"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
    }
    drop(permit);
    let again = two.try_acquire().expect("it was given back");
    drop((again, other));
    assert_eq!(one.available().unwrap(), PERMITS);
}

fn take(path: &Path) {
    let shared = open::<Semaphore>(path);
    mark();
    let permit = shared.acquire_timeout(long()).unwrap();
    mark();
    drop(permit);
}

fn take_all(path: &Path) {
    let shared = open::<Semaphore>(path);
    mark();
    let permits = [(); 2].map(|()| shared.acquire_timeout(long()).unwrap());
    mark();
    drop(permits);
}

fn give_back(path: &Path) {
    let shared = open::<Semaphore>(path);
    let permit = shared.acquire().unwrap();
    mark();
    drop(permit);
    mark();
}

fn give_all_back(path: &Path) {
    let shared = open::<Semaphore>(path);
    let permits = [(); 2].map(|()| shared.acquire().unwrap());
    mark();
    drop(permits);
    mark();
}

fn goes_on(shared: Shared<Semaphore>, path: &Path) {
    drop(shared);
    survive(path);
}

fn has_one(path: &Path) {
    let shared = open::<Semaphore>(path);
    let permit = shared.acquire().unwrap();
    mark();
    drop(permit);
    goes_on(shared, path);
}

fn has_all(path: &Path) {
    let shared = open::<Semaphore>(path);
    let permits = [(); 2].map(|()| shared.acquire().unwrap());
    mark();
    drop(permits);
    mark();
    goes_on(shared, path);
}

fn waits(path: &Path) {
    let shared = open::<Semaphore>(path);
    drop(shared.acquire_timeout(long()).unwrap());
    goes_on(shared, path);
}

fn dies(path: &Path) {
    prepare(path);
    die(|| {
        let shared = open::<Semaphore>(path);
        std::mem::forget([(); 2].map(|()| shared.acquire().unwrap()));
    });
}
