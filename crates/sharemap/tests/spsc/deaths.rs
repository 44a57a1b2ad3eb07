//! Ends whose process is killed.

use super::*;
use crate::told::start;

/// The messages that a dead receiver has not released come to the next one, in order, and the others do not.
#[test]
fn messages_of_a_dead_receiver_come_again() {
    need_atomics!();
    let name = Unique::new("receiver");
    let channel = Spsc::<u64>::create_new(&name, 32).unwrap();
    let mut sender = channel.sender().unwrap();
    let mut first = 0;
    for round in 0..8_u64 {
        let sent: Vec<u64> = (10 * round..10 * round + 10).collect();
        sender.send_many(&sent).unwrap();
        let mut peer = start(&name.text);
        assert_eq!(peer.ask("receiver"), "()");
        // What the last one left.
        for number in first..10 * round + round % 4 {
            assert_eq!(peer.ask("recv"), number.to_string());
        }
        // Some are released together, and some are borrowed at the death.
        let borrowed = peer.ask(&format!("borrow {}", 1 + round % 3));
        let numbers: Vec<u64> =
            borrowed.trim_matches(['[', ']']).split(", ").map(|it| it.parse().unwrap()).collect();
        let next = 10 * round + round % 4;
        assert!(numbers.iter().copied().eq(next..next + numbers.len() as u64), "{borrowed}");
        first = next;
        if round % 2 == 0 {
            assert_eq!(peer.ask("release"), "()");
            first += numbers.len() as u64;
            peer.ask("borrow 2");
        }
        peer.kill();
        let mut receiver = channel.receiver().unwrap();
        assert_eq!(receiver.borrow(1).unwrap().view().get(0).unwrap(), first);
        assert_eq!(channel.stats().unwrap().received, first);
    }
    drop(sender);
    let rest: Vec<u64> = channel.receiver().unwrap().iter().collect::<Result<_>>().unwrap();
    assert!(rest.into_iter().eq(first..80));
}

/// A message that ends each receiver is noticed, and the next one begins at none again.
#[test]
fn failed_deliveries_are_counted() {
    need_atomics!();
    let name = Unique::new("failed");
    let channel = Spsc::<u64>::create_new(&name, 8).unwrap();
    channel.sender().unwrap().send_many(&[1, 2, 3]).unwrap();
    for failed in 0..5_u64 {
        let mut peer = start(&name.text);
        assert_eq!(peer.ask("receiver"), "()");
        assert_eq!(peer.ask("failed"), failed.to_string());
        assert_eq!(peer.ask("borrow 1"), "[1]");
        peer.kill();
    }
    let mut receiver = channel.receiver().unwrap();
    assert_eq!(receiver.failed_deliveries().unwrap(), 5);
    // An end that is dropped has not failed.
    drop(receiver);
    receiver = channel.receiver().unwrap();
    assert_eq!(receiver.failed_deliveries().unwrap(), 5);
    receiver.borrow(1).unwrap().release().unwrap();
    assert_eq!(receiver.failed_deliveries().unwrap(), 0);
    drop(receiver);
    for failed in 0..2_u64 {
        let mut peer = start(&name.text);
        assert_eq!(peer.ask("receiver"), "()");
        assert_eq!(peer.ask("failed"), failed.to_string());
        assert_eq!(peer.ask("borrow 2"), "[2, 3]");
        peer.kill();
    }
    let mut receiver = channel.receiver().unwrap();
    assert_eq!(receiver.failed_deliveries().unwrap(), 2);
    assert_eq!(receiver.recv().unwrap(), 2);
    assert_eq!(receiver.failed_deliveries().unwrap(), 0);
    assert_eq!(receiver.recv().unwrap(), 3);
    drop(receiver);
    // One that dies when no message is left has failed at none.
    let mut peer = start(&name.text);
    assert_eq!(peer.ask("receiver"), "()");
    peer.kill();
    let mut receiver = channel.receiver().unwrap();
    assert_eq!(receiver.failed_deliveries().unwrap(), 0);
    channel.sender().unwrap().send(&4).unwrap();
    assert_eq!((receiver.failed_deliveries().unwrap(), receiver.recv().unwrap()), (0, 4));
}

/// What a dead sender has published is received, and nothing else; then the channel is closed.
#[test]
fn messages_of_a_dead_sender_are_received() {
    need_atomics!();
    let name = Unique::new("sender");
    let channel = Spsc::<u64>::create_new(&name, 8).unwrap();
    let mut receiver = channel.receiver().unwrap();
    for round in 0..5_u64 {
        let mut peer = start(&name.text);
        assert_eq!(peer.ask("sender"), "()");
        assert_eq!(peer.ask(&format!("send {round} 7")), "()");
        assert_eq!(peer.ask("reserve 8 9 9"), "()");
        peer.kill();
        assert_eq!((receiver.recv().unwrap(), receiver.recv().unwrap()), (round, 7));
        fails(ErrorKind::Closed, receiver.recv());
        fails(ErrorKind::Closed, receiver.try_recv());
        assert!(receiver.iter().next().is_none());
        assert!(receiver.is_closed().unwrap());
        assert_eq!(channel.stats().unwrap().senders, 0);
        // A new sender opens the channel again.
        let mut sender = channel.sender().unwrap();
        fails(ErrorKind::Timeout, receiver.recv_timeout(SHORT));
        sender.send(&100).unwrap();
        assert_eq!(receiver.recv().unwrap(), 100);
    }
}

/// A receiver that waits notices the death of the sender by itself.
#[test]
fn a_blocked_receiver_notices_a_death() {
    need_atomics!();
    let name = Unique::new("blocked-receiver");
    let channel = Spsc::<u64>::create_new(&name, 8).unwrap();
    let mut receiver = channel.receiver().unwrap();
    for _ in 0..3 {
        let mut peer = start(&name.text);
        assert_eq!(peer.ask("sender"), "()");
        let before = channel.stats().unwrap().receive_waits;
        thread::scope(|scope| {
            let waiting = scope.spawn(|| receiver.recv());
            until("a receiver that sleeps", || channel.stats().unwrap().receive_waits > before);
            peer.kill();
            fails(ErrorKind::Closed, waiting.join().unwrap());
        });
    }
}

/// A sender that waits for room outlasts the death of its receiver, and goes on with the next one.
#[test]
fn a_blocked_sender_waits_for_the_next_receiver() {
    need_atomics!();
    let name = Unique::new("blocked-sender");
    let channel = Spsc::<u64>::create_new(&name, 2).unwrap();
    let mut sender = channel.sender().unwrap();
    sender.send_many(&[0, 1]).unwrap();
    for round in 0..3_u64 {
        let mut peer = start(&name.text);
        assert_eq!(peer.ask("receiver"), "()");
        assert_eq!(peer.ask("borrow 1"), format!("[{round}]"));
        let before = channel.stats().unwrap().send_waits;
        thread::scope(|scope| {
            let waiting = scope.spawn(|| sender.send(&(round + 2)));
            until("a sender that sleeps", || channel.stats().unwrap().send_waits > before);
            peer.kill();
            // The sender recovers the dead end, and waits on.
            until("no receiver", || channel.stats().unwrap().receivers == 0);
            assert!(!waiting.is_finished(), "a death does not close the channel");
            assert_eq!(channel.receiver().unwrap().recv().unwrap(), round);
            waiting.join().unwrap().unwrap();
        });
    }
    let mut receiver = channel.receiver().unwrap();
    assert_eq!((receiver.recv().unwrap(), receiver.recv().unwrap()), (3, 4));
    // An end that was dropped closes the channel, though one before it has died.
    drop(receiver);
    sender.send_many(&[5, 6]).unwrap();
    fails(ErrorKind::Closed, sender.send(&7));
}

/// If the receiver died, the channel is open: sending fails for lack of room only.
#[test]
fn a_dead_receiver_does_not_close_the_channel() {
    need_atomics!();
    let name = Unique::new("open");
    let channel = Spsc::<u64>::create_new(&name, 2).unwrap();
    let mut sender = channel.sender().unwrap();
    let mut peer = start(&name.text);
    assert_eq!(peer.ask("receiver"), "()");
    peer.kill();
    sender.send_many(&[1, 2]).unwrap();
    assert!(!sender.try_send(&3).unwrap());
    assert_eq!(sender.try_send_many(&[3, 4]).unwrap(), 0);
    assert!(sender.try_reserve(1).unwrap().is_none());
    fails(ErrorKind::Timeout, sender.send_timeout(&3, SHORT));
    assert!(!sender.is_closed().unwrap());
    let both: Vec<u64> = (0..2).map(|_| channel.receiver().unwrap().recv().unwrap()).collect();
    assert_eq!(both, [1, 2]);
}

/// The ends of a process that was killed and waited for can be claimed at once, as those of a living one cannot.
#[test]
fn ends_of_the_dead_are_free() {
    need_atomics!();
    let name = Unique::new("free");
    let channel = Spsc::<u64>::create_new(&name, 2).unwrap();
    for _ in 0..5 {
        let mut peer = start(&name.text);
        assert_eq!(peer.ask("sender"), "()");
        assert_eq!(peer.ask("receiver"), "()");
        let start = Instant::now();
        fails(ErrorKind::Busy, channel.sender());
        fails(ErrorKind::Busy, channel.receiver());
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(180) && took < STUCK, "{took:?} for both");
        peer.kill();
        let (sender, receiver) = (channel.sender().unwrap(), channel.receiver().unwrap());
        drop((sender, receiver));
    }
    // So they can by a process that has never seen the dead one.
    let mut dead = start(&name.text);
    assert_eq!((dead.ask("sender"), dead.ask("receiver")), ("()".to_owned(), "()".to_owned()));
    dead.kill();
    let mut next = start(&name.text);
    assert_eq!((next.ask("sender"), next.ask("receiver")), ("()".to_owned(), "()".to_owned()));
    assert_eq!(next.ask("send 1"), "()");
    assert_eq!(next.ask("recv"), "1");
}

/// A receiver that never waits learns that its sender died.
#[test]
fn a_death_is_noticed_by_polling() {
    need_atomics!();
    type Poll = fn(&mut SpscReceiver<u64>) -> Result<bool>;
    let polls: [Poll; 4] = [
        |receiver| receiver.try_recv().map(|found| found.is_some()),
        |receiver| receiver.try_recv_many(&mut [0; 4]).map(|count| count > 0),
        |receiver| receiver.try_borrow(4).map(|found| found.is_some()),
        |receiver| match receiver.is_closed()? {
            true => receiver.try_recv().map(|found| found.is_some()),
            false => Ok(false),
        },
    ];
    for poll in polls {
        let name = Unique::new("polled");
        let channel = Spsc::<u64>::create_new(&name, 8).unwrap();
        let mut receiver = channel.receiver().unwrap();
        let mut peer = start(&name.text);
        assert_eq!(peer.ask("sender"), "()");
        assert_eq!(peer.ask("send 1"), "()");
        assert_eq!(receiver.recv().unwrap(), 1);
        assert!(!poll(&mut receiver).unwrap());
        peer.kill();
        let begun = Instant::now();
        let error = loop {
            match poll(&mut receiver) {
                Ok(found) => assert!(!found),
                Err(error) => break error,
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "the death is not noticed");
        };
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
}
