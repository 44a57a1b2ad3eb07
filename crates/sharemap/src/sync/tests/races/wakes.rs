//! The race as it occurs in locks: one process releases a lock while the other is about to sleep for it.

use std::time::{Duration, Instant};

use super::sleepy::Sleepy;
use super::{
    DONE, Fence, MANY, MUTEX, RWLOCK, SHORT, Scratch, await_other, is_long, is_skipped, next, open,
    pass, write_lines,
};
use crate::peer::Machine;
use crate::sync::algorithms::exclusive::{Exclusive, ReleaseState};
use crate::sync::algorithms::mutex::RawMutex;
use crate::sync::algorithms::rwlock::RawRwLock;
use crate::sync::core::gate::SLEEPER;
use crate::sync::tests::object::has_atomics;
use crate::testing::child::{Second, role};

/// The holding process: acquires a mutex, or a reader-writer lock as a reader or writer, and releases it, in
/// each round.
#[test]
fn holds() {
    let Some(path) = role("sync::tests::races::wakes::holds") else { return };
    let session = open(&path);
    let at = session.payload().0;
    let (mutex, rwlock) = (RawMutex::new(at + MUTEX, 8), RawRwLock::new(at + RWLOCK, 8));
    let machine = &*session;
    let mut random = 0x2545_f491_4f6c_dd1d;
    for round in 1.. {
        await_other(machine, at + DONE[1], round - 1);
        let holds_long = next(&mut random) % 2 == 0;
        // Holds the lock until the other process registers and a little longer, so that it is about to sleep,
        // or only for a moment.
        let mut hold = |gate: u64| {
            machine.store_32(at + DONE[0], round).unwrap();
            let start = Instant::now();
            while holds_long
                && machine.load_32(at + gate).unwrap() & SLEEPER == 0
                && start.elapsed() < Duration::from_millis(5)
            {
                std::thread::yield_now();
            }
            pass(next(&mut random) % if holds_long { 400 } else { 60 });
            write_lines(machine, round);
        };
        match round % 4 {
            0 => {
                let held = rwlock.lock(machine, None).unwrap();
                hold(RWLOCK + 8);
                rwlock.unlock(machine, held, ReleaseState::Sound).unwrap();
            }
            1 => {
                let announced = rwlock.announce_read(machine).unwrap();
                let reading = rwlock.read_announced(machine, announced, None).unwrap();
                hold(RWLOCK + 12);
                rwlock.unlock_read(machine, reading).unwrap();
            }
            _ => {
                let held = mutex.lock(machine, None).unwrap();
                hold(MUTEX + 4);
                mutex.unlock(machine, held, ReleaseState::Sound).unwrap();
            }
        }
    }
}

/// The waiting process: acquires each lock while the other process holds it. Returns how many wake-ups were
/// missed, in `rounds` rounds or until the first time. Returns `None` if the test is skipped.
fn missed_wakes(test: &str, fence: Fence, rounds: u32) -> Option<u32> {
    let file = Scratch::new(test);
    let session = file.create();
    if is_skipped(&session) {
        return None;
    }
    let _other = Second::start("sync::tests::races::wakes::holds", file.0.to_str().unwrap());
    let machine = &Sleepy::new(&session, fence);
    let at = session.payload().0;
    let (mutex, rwlock) = (RawMutex::new(at + MUTEX, 8), RawRwLock::new(at + RWLOCK, 8));
    let mut random = 88_172_645_463_325_252;
    let end = Instant::now() + SHORT;
    for round in 1..=rounds {
        if rounds < MANY && Instant::now() >= end {
            eprintln!("stopped after {round} rounds: the time limit was reached");
            break;
        }
        await_other(&session, at + DONE[0], round);
        pass(next(&mut random) % 30);
        match round % 8 {
            // Reads while the other process writes; writes while it writes, and while it reads.
            0 => {
                let announced = rwlock.announce_read(machine).unwrap();
                let reading = rwlock.read_announced(machine, announced, None).unwrap();
                rwlock.unlock_read(machine, reading).unwrap();
            }
            1 | 4 | 5 => {
                let held = rwlock.lock(machine, None).unwrap();
                rwlock.unlock(machine, held, ReleaseState::Sound).unwrap();
            }
            _ => {
                let held = mutex.lock(machine, None).unwrap();
                mutex.unlock(machine, held, ReleaseState::Sound).unwrap();
            }
        }
        if machine.missed.get() > 0 {
            eprintln!("a wake-up was missed in round {round}");
            break;
        }
        write_lines(&session, round);
        session.store_32(at + DONE[1], round).unwrap();
    }
    eprintln!("slept {} times", machine.slept.get());
    Some(machine.missed.get())
}

#[test]
fn no_wake_is_missed() {
    if !has_atomics() {
        return;
    }
    let rounds = if is_long() { MANY } else { 100_000 };
    assert!(missed_wakes("woken", Fence::Whole, rounds).is_none_or(|missed| missed == 0));
}

#[test]
fn without_the_fence_wakes_are_missed() {
    if !has_atomics() {
        return;
    }
    if !is_long() {
        eprintln!("skipped: takes 100,000 rounds and more; set SHAREMAP_LONG=1 for it");
        return;
    }
    assert!(missed_wakes("unwoken", Fence::LeftOut, MANY).is_none_or(|missed| missed > 0));
}
