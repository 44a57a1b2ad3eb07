//! Nobody is kept from a lock by one who releases it only to take it again: by the time the other has
//! woken up, it is taken. It is counted how often that happens, not how long it takes.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::need_atomics;
use sharemap::{
    Location, Mutex, MutexHandle, RwLock, RwLockHandle, Semaphore, SemaphoreHandle, Shared,
};

type Handles = (MutexHandle<u64>, RwLockHandle<u64>, SemaphoreHandle);

/// How often the other comes.
const TIMES: u32 = 10;
/// How often the first may have it in between, on average: a few times more than happens in the ten
/// milliseconds after which it is to give way.
const AT_MOST: u32 = 30;

/// Has it for a millisecond.
fn have_it() {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1) {
        std::hint::spin_loop();
    }
}

fn share(first: impl Fn(&Handles) + Sync, other: impl Fn(&Handles)) {
    let locks = || (Mutex::new(0), RwLock::new(0), Semaphore::new(1));
    let shared = Shared::create_new(Location::anonymous(), locks).unwrap();
    let (done, times) = (AtomicBool::new(false), AtomicU32::new(0));
    let until_it_has_it = || {
        let before = times.load(Ordering::Relaxed);
        while times.load(Ordering::Relaxed) == before {
            thread::yield_now();
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                first(&shared);
                times.fetch_add(1, Ordering::Relaxed);
            }
        });
        until_it_has_it();
        let before = times.load(Ordering::Relaxed);
        for _ in 0..TIMES {
            other(&shared);
            until_it_has_it();
        }
        let times = times.load(Ordering::Relaxed) - before;
        done.store(true, Ordering::Relaxed);
        println!("{times} times to {TIMES}");
        assert!(times <= AT_MOST * TIMES, "one had it {times} times, the other {TIMES}");
    });
}

fn lock((mutex, ..): &Handles) {
    let mut guard = mutex.lock().unwrap();
    have_it();
    *guard += 1;
}

fn write((_, lock, _): &Handles) {
    let mut guard = lock.write().unwrap();
    have_it();
    *guard += 1;
}

fn upgrade((_, lock, _): &Handles) {
    let guard = lock.upgradable().unwrap();
    let mut guard = guard.upgrade().unwrap();
    have_it();
    *guard += 1;
}

#[test]
fn a_mutex_goes_round() {
    need_atomics!();
    share(lock, lock);
}

#[test]
fn a_permit_goes_round() {
    need_atomics!();
    let take = |(.., permits): &Handles| {
        let _permit = permits.acquire().unwrap();
        have_it();
    };
    share(take, take);
}

#[test]
fn readers_come_between_writes() {
    need_atomics!();
    share(write, |(_, lock, _)| drop(lock.read().unwrap()));
    share(upgrade, |(_, lock, _)| drop(lock.read().unwrap()));
}

#[test]
fn writers_come_between_writes() {
    need_atomics!();
    share(write, write);
    share(upgrade, write);
}
