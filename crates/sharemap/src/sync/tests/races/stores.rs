//! The race itself: each process stores a word and loads the other's.

use std::time::Instant;

use super::{
    DONE, Fence, MANY, REGISTERED, SHORT, STORED, Scratch, await_other, is_long, is_skipped, next,
    open, pass, write_lines,
};
use crate::peer::Machine;
use crate::sync::tests::object::has_atomics;
use crate::testing::child::{Second, role};

/// The releasing process: stores plainly, then loads whether a waiter has registered. After the round, it
/// publishes what it saw.
#[test]
fn releases() {
    let Some(path) = role("sync::tests::races::stores::releases") else { return };
    let session = open(&path);
    let at = session.payload().0;
    let mut random = 0x9e37_79b9_7f4a_7c15;
    for round in 1.. {
        pass(next(&mut random) % 50);
        write_lines(&session, round);
        session.store_32(at + STORED, round).unwrap();
        let saw = session.load_32(at + REGISTERED).unwrap() == round;
        session.store_32(at + DONE[0], round << 1 | u32::from(saw)).unwrap();
        await_other(&session, at + DONE[1], round);
    }
}

/// The waiting process: registers, fences, and loads the word. Returns how often neither process saw the
/// other's store, in `rounds` rounds or until the first time. Returns `None` if the test is skipped.
fn misses(test: &str, fence: Fence, rounds: u32) -> Option<u32> {
    let file = Scratch::new(test);
    let session = file.create();
    if is_skipped(&session) {
        return None;
    }
    let at = session.payload().0;
    let _other = Second::start("sync::tests::races::stores::releases", file.0.to_str().unwrap());
    let (mut random, mut missed) = (88_172_645_463_325_252, 0);
    let end = Instant::now() + SHORT;
    for round in 1..=rounds {
        if rounds < MANY && Instant::now() >= end {
            eprintln!("stopped after {round} rounds: the time limit was reached");
            break;
        }
        pass(next(&mut random) % 50);
        let before = session.load_32(at + REGISTERED).unwrap();
        assert_eq!(session.compare_exchange_32(at + REGISTERED, before, round).unwrap(), before);
        if fence == Fence::Whole {
            assert!(session.fence_all());
        }
        let saw = session.load_32(at + STORED).unwrap() == round;
        let mut done = session.load_32(at + DONE[0]).unwrap();
        while done >> 1 != round {
            std::thread::yield_now();
            done = session.load_32(at + DONE[0]).unwrap();
        }
        missed += u32::from(!saw && done & 1 == 0);
        write_lines(&session, round);
        session.store_32(at + DONE[1], round).unwrap();
        if missed > 0 {
            break;
        }
    }
    Some(missed)
}

#[test]
fn with_the_fence_one_sees_the_other() {
    if !has_atomics() {
        return;
    }
    let rounds = if is_long() { MANY } else { 100_000 };
    assert!(misses("seen", Fence::Whole, rounds).is_none_or(|missed| missed == 0));
}

#[test]
fn without_the_fence_neither_may_see_the_other() {
    if !has_atomics() {
        return;
    }
    assert!(misses("unseen", Fence::LeftOut, MANY).is_none_or(|missed| missed > 0));
}
