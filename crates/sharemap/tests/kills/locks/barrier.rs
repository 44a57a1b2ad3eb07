use std::path::Path;

use sharemap::{Barrier, BarrierMember, ErrorKind, Shared};

use super::{Lock, MOMENT, Operation, PAYLOAD, Planted, announces, die, long, make, mask};
use super::{mask_numbers, open};
use crate::plant::drop_if;
use crate::tracee::mark;

const GATE: usize = 4;

const BARRIER: Lock = Lock { prepare, survive, mask: mask_barrier };

pub const OPERATIONS: &[Operation] = &[
    BARRIER.alone("join", join),
    BARRIER.beside("join beside a member", is_member, join),
    BARRIER.beside("arrive first", comes_second, wait),
    BARRIER.beside("arrive last", comes_first, wait),
    BARRIER.alone("leave", leave),
    BARRIER.beside("leave while another waits", comes_in_vain, leave),
    BARRIER.after(breaks).alone("restart", restart),
];

pub const PLANTED: &[Planted] = &[
    Planted {
        name: "comes, and does not say so",
        operation: OPERATIONS[3],
        plant: |store| drop_if(announces(store, 13)),
    },
    Planted {
        name: "no next round",
        operation: OPERATIONS[3],
        plant: |store| drop_if(store.word(PAYLOAD).is_some_and(|(old, new)| old / 4 != new / 4)),
    },
    Planted {
        name: "stays broken",
        operation: OPERATIONS[6],
        plant: |store| {
            drop_if(store.word(PAYLOAD).is_some_and(|(old, new)| old & 1 == 1 && new & 1 == 0))
        },
    },
];

fn mask_barrier(object: &mut [u8]) {
    mask(object, &[GATE]);
    let Some(state) = object.get_mut(PAYLOAD..PAYLOAD + 4) else { return };
    let number = u32::from_le_bytes([state[0], state[1], state[2], state[3]]);
    state.copy_from_slice(&(number & 3).to_le_bytes());
    mask_numbers(object, &[13], (number / 4) as u16);
}

fn first() -> Barrier {
    Barrier::new(2)
}

fn prepare(path: &Path) {
    drop(make(path, first));
}

/// Asserts that no dead member remains: two new members can join and pass once.
fn survive(path: &Path) {
    let shared = make(path, first);
    // Joining recovers a dead member when the barrier is full.
    let (one, two) = (shared.join().unwrap(), shared.join().unwrap());
    shared.restart().unwrap();
    let vain = |result: sharemap::Result<bool>| {
        let error = result.expect_err("the other has not come");
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    };
    vain(one.wait_timeout(MOMENT));
    assert!(two.wait_timeout(long()).unwrap(), "it came last");
    vain(two.wait_timeout(MOMENT));
}

fn join(path: &Path) {
    let shared = open::<Barrier>(path);
    mark();
    let member = shared.join().unwrap();
    mark();
    drop(member);
}

fn leave(path: &Path) {
    let shared = open::<Barrier>(path);
    let member = shared.join().unwrap();
    mark();
    drop(member);
    mark();
}

fn wait(path: &Path) {
    let shared = open::<Barrier>(path);
    let member = shared.join().unwrap();
    mark();
    member.wait_timeout(long()).unwrap();
    mark();
}

fn restart(path: &Path) {
    let shared = open::<Barrier>(path);
    mark();
    shared.restart().unwrap();
    mark();
}

fn goes_on(shared: Shared<Barrier>, path: &Path) {
    drop(shared);
    survive(path);
}

fn is_member(path: &Path) {
    let shared = open::<Barrier>(path);
    let member = shared.join().unwrap();
    mark();
    drop(member);
    goes_on(shared, path);
}

/// Passes the barrier, or finds it broken by the death of the other member.
fn comes(member: &BarrierMember<'_>) {
    if let Err(error) = member.wait_timeout(long()) {
        assert_eq!(error.kind(), ErrorKind::Broken, "{error}");
    }
}

fn comes_first(path: &Path) {
    let shared = open::<Barrier>(path);
    let member = shared.join().unwrap();
    comes(&member);
    drop(member);
    mark();
    goes_on(shared, path);
}

fn comes_second(path: &Path) {
    let shared = open::<Barrier>(path);
    let member = shared.join().unwrap();
    mark();
    comes(&member);
    drop(member);
    mark();
    goes_on(shared, path);
}

/// Arrives with a timeout, because the other member leaves.
fn comes_in_vain(path: &Path) {
    let shared = open::<Barrier>(path);
    let member = shared.join().unwrap();
    if let Err(error) = member.wait_timeout(20 * MOMENT) {
        assert!(matches!(error.kind(), ErrorKind::Broken | ErrorKind::Timeout), "{error}");
    }
    drop(member);
    mark();
    goes_on(shared, path);
}

fn breaks(path: &Path) {
    prepare(path);
    die(|| {
        let shared = open::<Barrier>(path);
        std::mem::forget(shared.join().unwrap());
    });
    drop(open::<Barrier>(path));
}
