//! A forked child has copies of its parent's ends, which are not its own.

#![allow(unsafe_code, reason = "forks")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use sharemap::channel::{SpscBorrow, SpscLoan};

use super::*;
use crate::common::{check, child, passes, role};

const ROLE: &str = "forks::forks_with_ends";

/// Runs `action` in a forked child of this process, which has one thread. Returns the child.
fn fork(action: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the process has one thread. The child exits here, at the latest when the alarm kills it.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        // SAFETY: takes only numbers.
        unsafe { libc::alarm(30) };
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(action));
        // SAFETY: ends the child without running any code of the test program.
        unsafe { libc::_exit(ended.is_err().into()) };
    }
    child
}

fn ends_well(child: libc::pid_t) -> bool {
    let mut status = 0;
    // SAFETY: the child belongs to this process.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    status == 0
}

fn is_refused<T: Debug>(result: Result<T>, name: &Unique) {
    let words = ["the handle belongs to the process that this one was forked from"];
    check(result.unwrap_err(), ErrorKind::Unsupported, Path::new(&name.text), &words);
}

/// Asserts that copies of ends do nothing.
fn are_refused(sender: &mut SpscSender<u64>, receiver: &mut SpscReceiver<u64>, name: &Unique) {
    is_refused(sender.try_send(&9), name);
    is_refused(sender.send(&9), name);
    is_refused(sender.send_timeout(&9, SHORT), name);
    is_refused(sender.try_send_many(&[9]), name);
    is_refused(sender.send_many(&[9]), name);
    is_refused(sender.reserve(1), name);
    is_refused(sender.try_reserve(1), name);
    is_refused(receiver.try_recv(), name);
    is_refused(receiver.recv(), name);
    is_refused(receiver.recv_timeout(SHORT), name);
    is_refused(receiver.try_recv_many(&mut [0]), name);
    is_refused(receiver.recv_many(&mut [0]), name);
    is_refused(receiver.borrow(1), name);
    is_refused(receiver.try_borrow(1), name);
    is_refused(receiver.iter().next().unwrap(), name);
}

/// Child role, in which the process has one thread.
#[test]
fn forks_with_ends() {
    if role(ROLE).is_none() {
        return;
    }
    copies_do_nothing();
    a_child_claims_ends_of_its_own();
    copies_of_loans_do_nothing();
    a_dead_child_leaves_its_ends();
}

fn copies_do_nothing() {
    let name = Unique::new("copies");
    let channel = Spsc::<u64>::create_new(&name, 4).unwrap();
    let (mut sender, mut receiver) = (channel.sender().unwrap(), channel.receiver().unwrap());
    sender.send(&1).unwrap();
    let mut copies = Some((sender, receiver));
    let before = channel.stats().unwrap();
    let child = fork(|| {
        let Some((mut sender, mut receiver)) = copies.take() else { return };
        are_refused(&mut sender, &mut receiver, &name);
        fails(ErrorKind::Busy, channel.sender());
        fails(ErrorKind::Busy, channel.receiver());
        drop((sender, receiver));
        let stats = channel.stats().unwrap();
        assert_eq!((stats.senders, stats.receivers), (1, 1));
        fails(ErrorKind::Busy, channel.sender());
    });
    assert!(ends_well(child), "the child failed");
    assert_eq!(channel.stats().unwrap(), before);
    (sender, receiver) = copies.take().unwrap();
    sender.send(&2).unwrap();
    assert_eq!((receiver.recv().unwrap(), receiver.recv().unwrap()), (1, 2));
}

/// Copies stay refused while the child has ends of its own, and dropping the copies does not release those.
fn a_child_claims_ends_of_its_own() {
    let name = Unique::new("child");
    let channel = Spsc::<u64>::create_new(&name, 4).unwrap();
    let (mut sender, receiver) = (channel.sender().unwrap(), channel.receiver().unwrap());
    sender.send(&1).unwrap();
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let mut copies = Some((sender, receiver));
    let child = fork(|| {
        let (mut sender, mut receiver) = copies.take().unwrap();
        theirs.read_exact(&mut [0]).unwrap();
        // The parent's ends are gone now.
        let (mut own_sender, mut own_receiver) =
            (channel.sender().unwrap(), channel.receiver().unwrap());
        assert_eq!(own_receiver.recv().unwrap(), 1);
        own_sender.send(&2).unwrap();
        are_refused(&mut sender, &mut receiver, &name);
        drop((sender, receiver));
        assert_eq!(own_receiver.recv().unwrap(), 2);
        own_sender.send(&3).unwrap();
        theirs.write_all(&[1]).unwrap();
        theirs.read_exact(&mut [0]).unwrap();
        drop((own_sender, own_receiver));
    });
    drop(copies);
    ours.write_all(&[1]).unwrap();
    ours.read_exact(&mut [0]).unwrap();
    let stats = channel.stats().unwrap();
    assert_eq!((stats.senders, stats.receivers), (1, 1));
    fails(ErrorKind::Busy, channel.sender());
    fails(ErrorKind::Busy, channel.receiver());
    ours.write_all(&[1]).unwrap();
    assert!(ends_well(child), "the child failed");
    assert_eq!(channel.receiver().unwrap().recv().unwrap(), 3);
    channel.sender().unwrap().send(&4).unwrap();
}

/// Copies of slots that are lent publish and release nothing.
fn copies_of_loans_do_nothing() {
    let name = Unique::new("loans");
    let channel = Spsc::<u64>::create_new(&name, 8).unwrap();
    let (mut sender, mut receiver) = (channel.sender().unwrap(), channel.receiver().unwrap());
    sender.send_many(&[1, 2]).unwrap();
    let loan: SpscLoan<'_, u64> = sender.reserve(2).unwrap();
    loan.view().write_at(0, &[3, 4]).unwrap();
    let borrow: SpscBorrow<'_, u64> = receiver.borrow(2).unwrap();
    let before = channel.stats().unwrap();
    let mut copies = Some((loan, borrow));
    let child = fork(|| {
        let (loan, borrow) = copies.take().unwrap();
        is_refused(loan.publish(), &name);
        is_refused(borrow.release(), &name);
        assert_eq!(channel.stats().unwrap(), before);
    });
    assert!(ends_well(child), "the child failed");
    let (loan, borrow) = copies.take().unwrap();
    assert_eq!(borrow.view().to_vec().unwrap(), [1, 2]);
    borrow.release().unwrap();
    loan.publish().unwrap();
    assert_eq!((receiver.recv().unwrap(), receiver.recv().unwrap()), (3, 4));
}

/// The ends of a forked child that dies are free, and its parent goes on with what it sent.
fn a_dead_child_leaves_its_ends() {
    let name = Unique::new("dead-child");
    let channel = Spsc::<u64>::create_new(&name, 4).unwrap();
    let mut receiver = channel.receiver().unwrap();
    for number in 0..5 {
        let child = fork(|| {
            channel.sender().unwrap().send(&number).unwrap();
            let mut sender = channel.sender().unwrap();
            sender.send(&(number + 100)).unwrap();
            // SAFETY: kills this process.
            unsafe { libc::raise(libc::SIGKILL) };
        });
        assert!(!ends_well(child), "the child was killed");
        assert_eq!((receiver.recv().unwrap(), receiver.recv().unwrap()), (number, number + 100));
        fails(ErrorKind::Closed, receiver.recv());
    }
    drop(channel.sender().unwrap());
}

#[test]
fn forked_children_have_no_part_in_their_parents_ends() {
    need_atomics!();
    passes(child(ROLE, ""));
}
