//! The table of the module's documentation, without deaths: an end that is not there yet, or was dropped.

use super::*;

/// Calls for messages, none of which is there.
fn receive_fails(kind: ErrorKind, receiver: &mut SpscReceiver<u64>) {
    fails(kind, receiver.recv_timeout(SHORT));
    if kind == ErrorKind::Closed {
        fails(kind, receiver.recv());
        fails(kind, receiver.try_recv());
        fails(kind, receiver.recv_many(&mut [0; 3]));
        fails(kind, receiver.try_recv_many(&mut [0; 3]));
        fails(kind, receiver.borrow(3).map(drop));
        fails(kind, receiver.try_borrow(3).map(drop));
        // The iterator ends, and stays ended.
        let mut iter = receiver.iter();
        assert!(iter.next().is_none() && iter.next().is_none());
    } else {
        assert_eq!(receiver.try_recv().unwrap(), None);
        assert_eq!(receiver.try_recv_many(&mut [0; 3]).unwrap(), 0);
        assert!(receiver.try_borrow(3).unwrap().is_none());
    }
    assert_eq!(receiver.is_closed().unwrap(), kind == ErrorKind::Closed);
    // None is wanted, so that it need not wait.
    assert_eq!(receiver.recv_many(&mut []).unwrap(), 0);
    assert_eq!(receiver.try_recv_many(&mut []).unwrap(), 0);
}

/// Calls that send, of which none has room.
fn send_fails(kind: ErrorKind, sender: &mut SpscSender<u64>) {
    fails(kind, sender.send_timeout(&9, SHORT));
    if kind == ErrorKind::Closed {
        fails(kind, sender.send(&9));
        fails(kind, sender.try_send(&9));
        fails(kind, sender.try_send_many(&[9, 9]));
        fails(kind, sender.reserve(2).map(drop));
        fails(kind, sender.try_reserve(2).map(drop));
        let error = sender.send_many(&[9, 9]).unwrap_err();
        assert_eq!((error.kind(), error.completed()), (kind, Some(0)), "{error}");
    } else {
        assert!(!sender.try_send(&9).unwrap());
        assert_eq!(sender.try_send_many(&[9, 9]).unwrap(), 0);
        assert!(sender.try_reserve(2).unwrap().is_none());
    }
    sender.send_many(&[]).unwrap();
    assert_eq!(sender.try_send_many(&[]).unwrap(), 0);
}

#[test]
fn the_first_sender_is_waited_for() {
    need_atomics!();
    let channel = Spsc::create_new(Location::anonymous(), 4).unwrap();
    let mut receiver = channel.receiver().unwrap();
    receive_fails(ErrorKind::Timeout, &mut receiver);
    let before = channel.stats().unwrap().receive_waits;
    thread::scope(|scope| {
        let waiting = scope.spawn(|| receiver.recv());
        until("a receiver that sleeps", || channel.stats().unwrap().receive_waits > before);
        channel.sender().unwrap().send(&1).unwrap();
        assert_eq!(waiting.join().unwrap().unwrap(), 1);
    });
    receive_fails(ErrorKind::Closed, &mut receiver);
}

#[test]
fn the_first_receiver_is_waited_for() {
    need_atomics!();
    let channel = Spsc::create_new(Location::anonymous(), 2).unwrap();
    let mut sender = channel.sender().unwrap();
    sender.send_many(&[1, 2]).unwrap();
    assert!(!sender.is_closed().unwrap());
    send_fails(ErrorKind::Timeout, &mut sender);
    let before = channel.stats().unwrap().send_waits;
    thread::scope(|scope| {
        let waiting = scope.spawn(|| sender.send(&3));
        until("a sender that sleeps", || channel.stats().unwrap().send_waits > before);
        assert_eq!(channel.receiver().unwrap().recv().unwrap(), 1);
        waiting.join().unwrap().unwrap();
    });
    send_fails(ErrorKind::Closed, &mut sender);
}

/// What a dropped sender has sent is received, then the channel is closed, until there is another sender.
#[test]
fn a_dropped_sender_closes_the_channel() {
    need_atomics!();
    let (channel, mut sender, mut receiver) = anonymous(4);
    for round in 0..3 {
        sender.send_many(&[round, round + 1, round + 2]).unwrap();
        drop(sender);
        assert!(!receiver.is_closed().unwrap(), "there are messages");
        assert_eq!(receiver.recv().unwrap(), round);
        assert_eq!(receiver.try_recv().unwrap(), Some(round + 1));
        assert_eq!(receiver.recv_timeout(SHORT).unwrap(), round + 2);
        receive_fails(ErrorKind::Closed, &mut receiver);
        sender = channel.sender().unwrap();
        receive_fails(ErrorKind::Timeout, &mut receiver);
    }
    // An iterator waits for the sender, and ends when that is dropped.
    sender.send_many(&[1, 2, 3]).unwrap();
    let before = channel.stats().unwrap().receive_waits;
    thread::scope(|scope| {
        let waiting = scope.spawn(|| receiver.iter().collect::<Result<Vec<u64>>>());
        until("a receiver that sleeps", || channel.stats().unwrap().receive_waits > before);
        sender.send(&4).unwrap();
        drop(sender);
        assert_eq!(waiting.join().unwrap().unwrap(), [1, 2, 3, 4]);
    });
}

/// A sender fills the channel after its receiver was dropped, and then the channel is closed, until there is another
/// receiver.
#[test]
fn a_dropped_receiver_closes_the_channel() {
    need_atomics!();
    let (channel, mut sender, mut receiver) = anonymous(4);
    for round in 0..3 {
        drop(receiver);
        assert!(sender.is_closed().unwrap());
        sender.send(&round).unwrap();
        assert!(sender.try_send(&(round + 1)).unwrap());
        let error = sender.send_many(&[round + 2, round + 3, 9]).unwrap_err();
        assert_eq!((error.kind(), error.completed()), (ErrorKind::Closed, Some(2)), "{error}");
        send_fails(ErrorKind::Closed, &mut sender);
        receiver = channel.receiver().unwrap();
        assert!(!sender.is_closed().unwrap());
        send_fails(ErrorKind::Timeout, &mut sender);
        let mut into = [0; 5];
        assert_eq!(receiver.recv_many(&mut into).unwrap(), 4);
        assert_eq!(into, [round, round + 1, round + 2, round + 3, 0]);
    }
}

/// A blocked call ends when the other end is dropped.
#[test]
fn blocked_calls_end_with_the_other_end() {
    need_atomics!();
    let (channel, sender, mut receiver) = anonymous(1);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| receiver.recv());
        until("a receiver that sleeps", || channel.stats().unwrap().receive_waits > 0);
        drop(sender);
        fails(ErrorKind::Closed, waiting.join().unwrap());
    });
    let mut sender = channel.sender().unwrap();
    sender.send(&1).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| sender.send(&2));
        until("a sender that sleeps", || channel.stats().unwrap().send_waits > 0);
        drop(receiver);
        fails(ErrorKind::Closed, waiting.join().unwrap());
    });
    assert_eq!(channel.receiver().unwrap().recv().unwrap(), 1, "the second was not sent");
}

/// Of each end there is one at a time, and it can be claimed as soon as the last one is dropped.
#[test]
fn each_end_has_one_owner() {
    need_atomics!();
    let (channel, sender, receiver) = anonymous(1);
    let start = Instant::now();
    fails(ErrorKind::Busy, channel.sender());
    assert!(start.elapsed() >= Duration::from_millis(90), "the end was waited for");
    fails(ErrorKind::Busy, channel.receiver());
    assert!(start.elapsed() < STUCK);
    drop((sender, receiver));
    let stats = channel.stats().unwrap();
    assert_eq!((stats.senders, stats.receivers), (0, 0));
    for _ in 0..200 {
        let ends = (channel.sender().unwrap(), channel.receiver().unwrap());
        let stats = channel.stats().unwrap();
        assert_eq!((stats.senders, stats.receivers), (1, 1));
        drop(ends);
    }
    // A claim that waits gets the end that is dropped meanwhile.
    let sender = channel.sender().unwrap();
    thread::scope(|scope| {
        let claiming = scope.spawn(|| {
            loop {
                match channel.sender() {
                    Err(error) if error.kind() == ErrorKind::Busy => {}
                    result => return result.map(drop),
                }
            }
        });
        drop(sender);
        claiming.join().unwrap().unwrap();
    });
}

/// Messages stay in a channel that has no ends, and in a file, without any handle.
#[test]
fn messages_outlive_the_ends() {
    need_atomics!();
    let directory = crate::common::TempDir::new();
    let path = directory.join("channel");
    for round in 0..5_u64 {
        let channel = Spsc::open_or_create(Location::file(&path), 4).unwrap();
        channel.sender().unwrap().send_many(&[round, 10 * round]).unwrap();
        drop(channel);
        let channel = Spsc::<u64>::open(Location::file(&path)).unwrap();
        let mut receiver = channel.receiver().unwrap();
        assert_eq!(receiver.iter().collect::<Result<Vec<_>>>().unwrap(), [round, 10 * round]);
    }
    let stats = Spsc::<u64>::open_read_only(Location::file(&path)).unwrap().stats().unwrap();
    assert_eq!((stats.sent, stats.received, stats.depth), (10, 10, 0));
}
