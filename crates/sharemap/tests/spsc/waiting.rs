//! Calls that block: what ends them, and what they return then.

use sharemap::Error;

use super::*;

/// A duration that is longer than the test.
const LONG: Duration = Duration::from_secs(3600);
/// The permitted delay on a busy machine.
const LATE: Duration = Duration::from_secs(5);

type ReceiveCall = fn(&mut SpscReceiver<u64>) -> Result<u64>;
type SendCall = fn(&mut SpscSender<u64>) -> Result<()>;

/// Waits until a receiver sleeps that had not slept before.
fn until_a_receiver_sleeps(channel: &Spsc<u64>, before: u64) {
    until("a receiver that sleeps", || channel.stats().unwrap().receive_waits > before);
}

fn until_a_sender_sleeps(channel: &Spsc<u64>, before: u64) {
    until("a sender that sleeps", || channel.stats().unwrap().send_waits > before);
}

/// Each call for messages blocks until there is one.
#[test]
fn receiving_blocks_until_a_message_is_sent() {
    need_atomics!();
    let calls: [ReceiveCall; 5] = [
        |receiver| receiver.recv(),
        |receiver| receiver.recv_timeout(LONG),
        |receiver| {
            let mut into = [0; 3];
            receiver.recv_many(&mut into).map(|count| into[count - 1])
        },
        |receiver| {
            let borrow = receiver.borrow(3)?;
            let value = borrow.view().get(0)?;
            borrow.release().map(|()| value)
        },
        |receiver| receiver.iter().next().unwrap(),
    ];
    let (channel, mut sender, mut receiver) = anonymous(4);
    for (number, call) in (0_u64..).zip(calls) {
        let before = channel.stats().unwrap().receive_waits;
        let received = thread::scope(|scope| {
            let waiting = scope.spawn(|| call(&mut receiver));
            until_a_receiver_sleeps(&channel, before);
            sender.send(&number).unwrap();
            waiting.join().unwrap()
        });
        assert_eq!(received.unwrap(), number);
        let stats = channel.stats().unwrap();
        assert_eq!((stats.depth, stats.receive_waits), (0, before + 1));
    }
}

/// Each call that sends blocks until there is room.
#[test]
fn sending_blocks_until_there_is_room() {
    need_atomics!();
    let calls: [SendCall; 4] = [
        |sender| sender.send(&7),
        |sender| sender.send_timeout(&7, LONG),
        |sender| sender.send_many(&[7]),
        |sender| {
            let loan = sender.reserve(1)?;
            loan.view().set(0, 7)?;
            loan.publish()
        },
    ];
    let (channel, mut sender, mut receiver) = anonymous(1);
    sender.send(&7).unwrap();
    for call in calls {
        let before = channel.stats().unwrap().send_waits;
        thread::scope(|scope| {
            let waiting = scope.spawn(|| call(&mut sender));
            until_a_sender_sleeps(&channel, before);
            assert_eq!(receiver.recv().unwrap(), 7);
            waiting.join().unwrap().unwrap();
        });
        let stats = channel.stats().unwrap();
        assert_eq!((stats.depth, stats.send_waits), (1, before + 1));
    }
}

/// A release of borrowed messages, and a published loan, wake the other side as well.
#[test]
fn loans_wake_the_other_side() {
    need_atomics!();
    let (channel, mut sender, mut receiver) = anonymous(2);
    for round in 1..=10 {
        thread::scope(|scope| {
            let before = channel.stats().unwrap().receive_waits;
            let waiting = scope.spawn(|| receiver.borrow(2)?.release());
            until_a_receiver_sleeps(&channel, before);
            let loan = sender.reserve(2).unwrap();
            loan.view().fill(round).unwrap();
            loan.publish().unwrap();
            waiting.join().unwrap().unwrap();
        });
        while receiver.try_recv().unwrap().is_some() {}
        sender.send_many(&[round; 2]).unwrap();
        thread::scope(|scope| {
            let before = channel.stats().unwrap().send_waits;
            let waiting = scope.spawn(|| sender.send(&round));
            until_a_sender_sleeps(&channel, before);
            receiver.borrow(1).unwrap().release().unwrap();
            waiting.join().unwrap().unwrap();
        });
        while receiver.try_recv().unwrap().is_some() {}
    }
}

/// Many messages go through few slots, each way of sending with each way of receiving.
#[test]
fn messages_pass_through_few_slots() {
    need_atomics!();
    const COUNT: u64 = 10_000;
    for capacity in [1, 2, 8, 64] {
        for (ways_to_send, ways_to_receive) in [(0, 0), (0, 1), (1, 0), (1, 2), (2, 1), (2, 2)] {
            let (channel, mut sender, mut receiver) = anonymous(capacity);
            let thread = thread::spawn(move || {
                let mut next = 0;
                while next < COUNT {
                    let values: Vec<u64> = (next..COUNT.min(next + 100)).collect();
                    next += match ways_to_send {
                        0 => sender.send(&next).map(|()| 1),
                        1 => sender.send_many(&values).map(|()| values.len() as u64),
                        _ => sender.reserve(values.len()).and_then(|loan| {
                            let count = loan.len();
                            loan.view().write_at(0, &values[..count])?;
                            loan.publish().map(|()| count as u64)
                        }),
                    }
                    .unwrap();
                }
            });
            let (mut next, mut into) = (0, [0; 30]);
            while next < COUNT {
                let count = match ways_to_receive {
                    0 => {
                        into[0] = receiver.recv().unwrap();
                        1
                    }
                    1 => receiver.recv_many(&mut into).unwrap(),
                    _ => {
                        let borrow = receiver.borrow(30).unwrap();
                        borrow.view().read_at(0, &mut into[..borrow.len()]).unwrap();
                        let count = borrow.len();
                        borrow.release().unwrap();
                        count
                    }
                };
                assert!(into[..count].iter().copied().eq(next..next + count as u64));
                next += count as u64;
            }
            thread.join().unwrap();
            fails(ErrorKind::Closed, receiver.recv());
            assert_eq!(channel.stats().unwrap().received, COUNT);
        }
    }
}

/// Asserts that a wait times out, neither early nor late.
#[track_caller]
fn late(timeout: Duration, wait: impl FnOnce() -> Result<()>) {
    let start = Instant::now();
    fails(ErrorKind::Timeout, wait());
    let took = start.elapsed();
    assert!(took >= timeout && took < timeout + LATE, "{took:?} for {timeout:?}");
}

#[test]
fn timeouts_are_kept() {
    need_atomics!();
    let (channel, mut sender, mut receiver) = anonymous(2);
    for timeout in [Duration::ZERO, Duration::from_micros(10), SHORT, 10 * SHORT] {
        late(timeout, || receiver.recv_timeout(timeout).map(drop));
    }
    sender.send_many(&[1, 2]).unwrap();
    for timeout in [Duration::ZERO, Duration::from_micros(10), SHORT, 10 * SHORT] {
        late(timeout, || sender.send_timeout(&3, timeout));
    }
    // What need not block succeeds without any time, and the longest time is no error.
    assert_eq!(receiver.recv_timeout(Duration::ZERO).unwrap(), 1);
    sender.send_timeout(&3, Duration::ZERO).unwrap();
    assert_eq!(receiver.recv_timeout(Duration::MAX).unwrap(), 2);
    sender.send_timeout(&4, Duration::MAX).unwrap();
    let before = channel.stats().unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| sender.send_timeout(&5, Duration::MAX));
        until_a_sender_sleeps(&channel, before.send_waits);
        assert_eq!(receiver.recv().unwrap(), 3);
        waiting.join().unwrap().unwrap();
    });
    assert_eq!([receiver.recv().unwrap(), receiver.recv().unwrap()], [4, 5]);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| receiver.recv_timeout(Duration::MAX));
        until_a_receiver_sleeps(&channel, before.receive_waits);
        sender.send(&6).unwrap();
        assert_eq!(waiting.join().unwrap().unwrap(), 6);
    });
}

/// `cancel` ends the calls that block, and all later ones that would, of this handle and its clones only.
#[test]
fn blocked_calls_are_cancelled() {
    need_atomics!();
    let name = Unique::new("cancel");
    let channel = Spsc::<u64>::create_new(&name, 2).unwrap();
    let other = Spsc::<u64>::open(&name).unwrap();
    let (mut sender, mut receiver) = (channel.clone().sender().unwrap(), other.receiver().unwrap());
    sender.send_many(&[1, 2]).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| sender.send_many(&[3, 4, 5, 6]));
        until_a_sender_sleeps(&channel, 0);
        assert_eq!(receiver.recv().unwrap(), 1);
        until_a_sender_sleeps(&channel, 1);
        let start = Instant::now();
        channel.cancel();
        let error: Error = waiting.join().unwrap().unwrap_err();
        assert_eq!((error.kind(), error.completed()), (ErrorKind::Cancelled, Some(1)), "{error}");
        assert!(start.elapsed() < LATE);
    });
    fails(ErrorKind::Cancelled, sender.send(&4));
    fails(ErrorKind::Cancelled, sender.send_timeout(&4, LONG));
    fails(ErrorKind::Cancelled, sender.reserve(1).map(drop));
    assert!(!sender.try_send(&4).unwrap());
    // The other handle is another one.
    assert_eq!((receiver.recv().unwrap(), receiver.recv().unwrap()), (2, 3));
    fails(ErrorKind::Timeout, receiver.recv_timeout(SHORT));
    // What need not block goes on.
    sender.send(&4).unwrap();
    assert_eq!(receiver.recv().unwrap(), 4);
    other.cancel();
    fails(ErrorKind::Cancelled, receiver.recv());
    fails(ErrorKind::Cancelled, receiver.recv_many(&mut [0; 4]));
    fails(ErrorKind::Cancelled, receiver.borrow(1).map(drop));
    fails(ErrorKind::Cancelled, receiver.iter().next().unwrap());
    channel.uncancel();
    other.uncancel();
    let before = channel.stats().unwrap().receive_waits;
    thread::scope(|scope| {
        let waiting = scope.spawn(|| receiver.recv());
        until_a_receiver_sleeps(&channel, before);
        sender.send(&5).unwrap();
        assert_eq!(waiting.join().unwrap().unwrap(), 5);
    });
}

/// Ends move between threads, and a thread that claimed one may end before it.
#[test]
fn ends_move_between_threads() {
    need_atomics!();
    let channel = Spsc::<u64>::create_new(Location::anonymous(), 2).unwrap();
    let clone = channel.clone();
    let claimed = move || (clone.sender().unwrap(), clone.receiver().unwrap());
    let (mut sender, mut receiver) = thread::spawn(claimed).join().unwrap();
    for number in 0..20_u64 {
        sender =
            thread::spawn(move || sender.send(&number).map(|()| sender)).join().unwrap().unwrap();
        let received = thread::spawn(move || (receiver.recv().unwrap(), receiver)).join().unwrap();
        assert_eq!(received.0, number);
        receiver = received.1;
    }
    let stats = channel.stats().unwrap();
    assert_eq!((stats.senders, stats.receivers), (1, 1));
    thread::spawn(move || drop((sender, receiver))).join().unwrap();
    let stats = channel.stats().unwrap();
    assert_eq!((stats.senders, stats.receivers), (0, 0));
}
