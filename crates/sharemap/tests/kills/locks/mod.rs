//! Locks, each in an object of its own, from the first step of an operation to its last; and what a
//! survivor has to find.

use std::path::Path;
use std::time::Duration;

use sharemap::{Anchored, Location, LockError, Mutex, RwLock, Shared, SharedOptions};

use crate::tracee::mark;

/// A survivor that waits longer is stuck.
const LONG: Duration = Duration::from_secs(5);

/// Values that survivors add to; above the last they leave it, so that there is an end to it.
const FIRST: u64 = 10;
const LAST: u64 = 11;

/// Small, as every state of it is compared.
fn options() -> SharedOptions {
    SharedOptions::new().participants(2).lanes(2)
}

fn open<T: Anchored>(path: &Path) -> Shared<T> {
    options().open(Location::file(path)).unwrap()
}

fn make<T: Anchored>(path: &Path, first: impl FnOnce() -> T) -> Shared<T> {
    options().open_or_create(Location::file(path), first).unwrap()
}

/// A lock that was had, after a death or not.
macro_rules! had {
    ($result:expr) => {
        match $result {
            Ok(guard) => guard,
            Err(LockError::OwnerDied(dead)) => dead.accept(),
            Err(LockError::Failed(error)) => panic!("{error}"),
        }
    };
}

/// The value is whole; adds one, if it is not enough.
fn add(value: &mut u64) {
    assert!((FIRST..=LAST).contains(value), "{value}");
    if *value < LAST {
        *value += 1;
    }
}

pub mod mutex {
    use super::*;

    fn first() -> Mutex<u64> {
        Mutex::new(FIRST)
    }

    pub fn prepare(path: &Path) {
        drop(make(path, first));
    }

    pub fn lock(path: &Path) {
        let shared = open::<Mutex<u64>>(path);
        mark();
        *shared.lock().unwrap() += 1;
        mark();
    }

    pub fn attach(path: &Path) {
        mark();
        *open::<Mutex<u64>>(path).lock().unwrap() += 1;
    }

    pub fn create(path: &Path) {
        mark();
        drop(make(path, first));
    }

    pub fn survive(path: &Path) {
        let shared = make(path, first);
        let mut guard = had!(shared.lock_timeout(LONG));
        add(&mut guard);
        guard.unlock().unwrap();
        drop(shared.try_lock().expect("it is free, and in order"));
    }
}

pub mod rwlock {
    use super::*;

    fn first() -> RwLock<u64> {
        RwLock::new(FIRST)
    }

    pub fn prepare(path: &Path) {
        drop(make(path, first));
    }

    pub fn read(path: &Path) {
        let shared = open::<RwLock<u64>>(path);
        mark();
        assert_eq!(*shared.read().unwrap(), FIRST);
        mark();
    }

    pub fn write(path: &Path) {
        let shared = open::<RwLock<u64>>(path);
        mark();
        *shared.write().unwrap() += 1;
        mark();
    }

    pub fn upgrade(path: &Path) {
        let shared = open::<RwLock<u64>>(path);
        mark();
        let guard = shared.upgradable().unwrap();
        let Ok(mut guard) = guard.upgrade() else { panic!("nobody else is there") };
        *guard += 1;
        drop(guard);
        mark();
    }

    /// A reader may have been let in, and a writer after it.
    pub fn survive(path: &Path) {
        let shared = make(path, first);
        let seen = *had!(shared.read_timeout(LONG));
        let mut guard = had!(shared.write_timeout(LONG));
        assert_eq!(*guard, seen);
        add(&mut guard);
        guard.unlock().unwrap();
        drop(shared.try_read().expect("nobody writes, and it is in order"));
        drop(shared.try_write().expect("nobody reads"));
    }
}

/// Identities, times, and counts that only grow.
fn mask(object: &mut [u8], gates: &[usize]) {
    let word = |at: usize| {
        let bytes = object.get(at..at + 8).map_or([0; 8], |bytes| bytes.try_into().unwrap());
        u64::from_le_bytes(bytes) as usize
    };
    let (participants, payload, count) = (word(88), word(104), word(64) & 0xffff_ffff);
    let (lanes, lane_count) = (word(96), word(68) & 0xffff_ffff);
    let mut forget = |from: usize, len: usize| {
        if let Some(bytes) = object.get_mut(from..from.saturating_add(len)) {
            bytes.fill(0);
        }
    };
    forget(16, 16); // the id
    forget(120, 8); // the checksum
    forget(136, 24); // attachments, and the boot
    forget(168, 16); // the companion
    for participant in 0..count {
        forget(participants + participant * 64 + 4, 60);
    }
    for lane in 0..lane_count {
        forget(lanes + lane * 64 + 4, 4);
    }
    // The low bit of a gate, which tells that somebody sleeps, stays.
    for gate in gates {
        forget(payload + gate + 1, 3);
    }
    for gate in gates {
        if let Some(low) = object.get_mut(payload + gate) {
            *low &= 1;
        }
    }
}

pub fn mask_mutex(object: &mut [u8]) {
    mask(object, &[4]);
}

pub fn mask_rwlock(object: &mut [u8]) {
    mask(object, &[8, 12]);
}
