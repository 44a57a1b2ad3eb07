use std::path::Path;
use std::time::Duration;

use sharemap::{Condvar, Mutex, Shared};

use super::{LAST, Lock, MOMENT, Operation, PAYLOAD, Planted, had, long, make, mask, more};
use super::{mutex, open};
use crate::plant::drop_if;
use crate::tracee::mark;

type Both = (Mutex<mutex::Value>, Condvar);

/// The gates of the mutex, and of the condition variable after it and its value's two copies.
const GATES: [usize; 2] = [4, 16 + 2 * size_of::<mutex::Value>()];

/// Longer than one sleep, in case a notification is lost.
const PATIENCE: Duration = Duration::from_millis(20);

const CONDVAR: Lock = Lock { prepare, survive, mask: |object| mask(object, &GATES) };

pub const OPERATIONS: &[Operation] = &[
    CONDVAR.alone("wait until the timeout", wait_in_vain),
    CONDVAR.beside("wait until notified", tells, wait),
    CONDVAR.alone("notify without waiters", tell_one),
    CONDVAR.beside("notify one", waits, tell_one),
    CONDVAR.beside("notify all", waits, tell_all),
];

pub const PLANTED: &[Planted] = &[
    Planted {
        name: "the mutex is not released",
        operation: OPERATIONS[0],
        plant: |store| drop_if(store.word(PAYLOAD).is_some_and(|(_, after)| after == 0)),
    },
    Planted {
        name: "what was changed before the wait is lost",
        operation: OPERATIONS[0],
        plant: |store| drop_if(store.word(PAYLOAD + 8).is_some()),
    },
];

fn first() -> Both {
    (mutex::first(), Condvar::new())
}

fn prepare(path: &Path) {
    drop(make(path, first));
}

fn survive(path: &Path) {
    let shared = make(path, first);
    let (mutex, condvar) = &*shared;
    mutex::add(mutex);
    let guard = had!(mutex.lock_timeout(long()));
    let waited = condvar.wait_timeout_while(guard, MOMENT, |_| true);
    let guard = had!(waited.map(|(guard, _)| guard));
    assert_eq!(guard[0], more(guard[0]));
    drop(guard);
    condvar.notify_one().unwrap();
    condvar.notify_all().unwrap();
    mutex::add(mutex);
}

fn wait_in_vain(path: &Path) {
    let shared = open::<Both>(path);
    mark();
    let mut guard = shared.0.lock().unwrap();
    *guard = [LAST; 2];
    let (guard, result) = shared.1.wait_timeout_while(guard, MOMENT, |_| true).unwrap();
    assert!(result.timed_out());
    assert_eq!(*guard, [LAST; 2]);
    drop(guard);
    mark();
}

fn wait(path: &Path) {
    let shared = open::<Both>(path);
    mark();
    let guard = shared.0.lock().unwrap();
    drop(shared.1.wait_while(guard, |value| value[0] < LAST).unwrap());
    mark();
}

fn tell_one(path: &Path) {
    let shared = open::<Both>(path);
    mark();
    *shared.0.lock().unwrap() = [LAST; 2];
    shared.1.notify_one().unwrap();
    mark();
}

fn tell_all(path: &Path) {
    let shared = open::<Both>(path);
    mark();
    *shared.0.lock().unwrap() = [LAST; 2];
    shared.1.notify_all().unwrap();
    mark();
}

fn goes_on(shared: Shared<Both>, path: &Path) {
    drop(shared);
    survive(path);
}

fn tells(path: &Path) {
    let shared = open::<Both>(path);
    mark();
    *had!(shared.0.lock_timeout(long())) = [LAST; 2];
    shared.1.notify_all().unwrap();
    mark();
    goes_on(shared, path);
}

/// Waits with a timeout, because the notifier is killed.
fn waits(path: &Path) {
    let shared = open::<Both>(path);
    let guard = had!(shared.0.lock_timeout(long()));
    let waited = shared.1.wait_timeout_while(guard, PATIENCE, |value| value[0] < LAST);
    drop(had!(waited.map(|(guard, _)| guard)));
    goes_on(shared, path);
}
