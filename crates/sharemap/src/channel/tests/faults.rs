//! Accesses that fault once: what a call reports as failed is not done, and what it reports as done is not lost.

use std::cell::Cell;

use super::super::spsc::ring::{self, CONTROL, Cursor, Ring};
use super::super::{Spsc, object};
use crate::guard::{self, Recovery};
use crate::page_size;
use crate::peer::{Copied, END, Faults, Faulty, Machine, Session, Simulated, Slots, Window};
use crate::shm::Location;
use crate::sys::{self, Protection};

const SLOTS: u64 = 4;
/// No access has this number.
const NEVER: u64 = 1 << 20;

type Memory<'a> = Faulty<'a, Simulated<'a, Session>>;

/// Calls `use_it` with the ring in a memory of which the access number `before` faults and returns `value`. Returns the
/// result, and the number of accesses.
fn with_fault<R>(
    session: &Session,
    (before, value): (u64, u64),
    use_it: impl FnOnce(Ring<'_, u64, Memory<'_>>, &mut Faults) -> R,
) -> (R, u64) {
    let of = &Simulated(session);
    let memory = &Faulty { of, len: NEVER, before: Cell::new(before), value };
    let at = object::words_at(session.header());
    let control = Window::at(memory, at).unwrap();
    let ring = Ring { control, slots: Slots::simulated(memory, at + CONTROL, SLOTS) };
    let result = use_it(ring, &mut Faults::default());
    (result, before.wrapping_sub(memory.before.get()))
}

/// Makes a call with a fault at each of its accesses, and then without one. Returns what the call returned that did
/// something.
fn with_each_fault<R>(
    session: &Session,
    cursor: &mut Cursor,
    mut call: impl FnMut(Ring<'_, u64, Memory<'_>>, &mut Cursor, &mut Faults) -> Option<R>,
) -> R {
    for before in 0.. {
        // Among what a load may return are positions that would make sense.
        let own = cursor.own;
        let positions = [1, 3, SLOTS].into_iter().flat_map(|it| [own + it, own.wrapping_sub(it)]);
        for value in positions.chain([0, own, 1 << 40, u64::MAX]) {
            let (result, accesses) = with_fault(session, (before, value), |ring, faults| {
                call(ring, &mut *cursor, faults)
            });
            match result {
                Some(result) => {
                    assert!(accesses <= before, "done, although access {before} has failed");
                    return result;
                }
                None => assert!(accesses > before, "access {before} does not fault"),
            }
        }
    }
    unreachable!()
}

#[test]
fn faults_neither_lose_nor_invent_messages() {
    if guard::recovery() != Recovery::InPlace {
        eprintln!("skipped: no channels where accesses are system calls");
        return;
    }
    let channel = Spsc::<u64>::create_new(Location::anonymous(), SLOTS as usize).unwrap();
    let session: &Session = channel.session();
    let (mut tail, mut head) = (Cursor { own: 0, other: 0 }, Cursor { own: 0, other: 0 });
    let (mut next, mut expected) = (0_u64, 0_u64);
    for round in 0..40 {
        // From nearly empty to full, and back.
        for _ in 0..1 + round % 5 {
            let sent = with_each_fault(session, &mut tail, |ring, cursor, faults| {
                ring.try_send(cursor, &(1000 + next), faults)
            });
            assert_eq!(sent, next - expected < SLOTS);
            next += u64::from(sent);
        }
        let run = [next + 1000, next + 1001, next + 1002];
        let count = with_each_fault(session, &mut tail, |ring, cursor, faults| {
            ring.send_run(cursor, &run, faults)
        });
        next += count as u64;
        for _ in 0..1 + round % 3 {
            let mut message = Copied::none();
            let received = with_each_fault(session, &mut head, |ring, cursor, faults| {
                ring.try_receive(cursor, &mut message, faults)
            });
            assert_eq!(received, expected < next);
            if received {
                assert_eq!(message.value(), Some(&(1000 + expected)));
                expected += 1;
            }
        }
        let mut into = [0; 2];
        let count = with_each_fault(session, &mut head, |ring, cursor, faults| {
            ring.receive_run(cursor, &mut into, faults)
        });
        assert!(into[..count].iter().copied().eq((0..count as u64).map(|it| 1000 + expected + it)));
        expected += count as u64;
        let stats = channel.stats().unwrap();
        assert_eq!((stats.sent, stats.received), (next, expected));
    }
}

/// A role whose word cannot be released stays announced, so that a recoverer finds it.
#[test]
#[allow(unsafe_code, reason = "protects a page of the object")]
fn a_role_that_is_not_released_stays_announced() {
    if guard::recovery() != Recovery::InPlace {
        eprintln!("skipped: no channels where accesses are system calls");
        return;
    }
    let channel = Spsc::<u64>::create_new(Location::anonymous(), SLOTS as usize).unwrap();
    let session: &Session = channel.session();
    let role = ring::sender(object::words_at(session.header()));
    let sender = channel.sender().unwrap();
    let lane = role.load(session).unwrap().owner().unwrap();
    let page = page_size();
    let start = session.memory().at(role.at - role.at % page as u64, 8).unwrap();
    let protect = |protection| {
        // SAFETY: a page of the object's mapping, of which only guarded accesses are made.
        unsafe { sys::map::protect(start, page, protection) }.unwrap();
    };
    protect(Protection::Read);
    drop(sender);
    protect(Protection::ReadWrite);
    assert_eq!(role.load(session).unwrap().owner(), Some(lane));
    assert_eq!(session.load_64(session.slots(lane)).unwrap(), role.at | END);
}
