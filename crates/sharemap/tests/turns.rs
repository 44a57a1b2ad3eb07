//! Starvation avoidance: a thread that releases a lock only to acquire it again must give way,
//! although a woken waiter always finds the lock held. The tests count acquisitions instead of
//! measuring time.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::need_atomics;
use sharemap::{
    Location, Mutex, MutexHandle, RwLock, RwLockHandle, Semaphore, SemaphoreHandle, Shared,
};

type Handles = (MutexHandle<u64>, RwLockHandle<u64>, SemaphoreHandle);

/// The number of acquisitions by the second thread.
const TIMES: u32 = 10;
/// The average number of acquisitions by the first thread between two by the second. It is a few
/// times the number that fits into the ten milliseconds after which the first thread must give way.
const AT_MOST: u32 = 30;

/// Spends a millisecond while holding the lock.
fn hold_the_lock() {
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
    hold_the_lock();
    *guard += 1;
}

fn write((_, lock, _): &Handles) {
    let mut guard = lock.write().unwrap();
    hold_the_lock();
    *guard += 1;
}

fn upgrade((_, lock, _): &Handles) {
    let guard = lock.upgradable().unwrap();
    let mut guard = guard.upgrade().unwrap();
    hold_the_lock();
    *guard += 1;
}

/// Two threads that compete for a mutex both acquire it.
#[test]
fn a_mutex_alternates() {
    need_atomics!();
    share(lock, lock);
}

/// Two threads that compete for a permit both acquire it.
#[test]
fn a_permit_alternates() {
    need_atomics!();
    let take = |(.., permits): &Handles| {
        let _permit = permits.acquire().unwrap();
        hold_the_lock();
    };
    share(take, take);
}

/// A reader acquires the lock between the writes of another thread.
#[test]
fn readers_acquire_between_writes() {
    need_atomics!();
    share(write, |(_, lock, _)| drop(lock.read().unwrap()));
    share(upgrade, |(_, lock, _)| drop(lock.read().unwrap()));
}

/// A writer acquires the lock between the writes of another thread.
#[test]
fn writers_acquire_between_writes() {
    need_atomics!();
    share(write, write);
    share(upgrade, write);
}
