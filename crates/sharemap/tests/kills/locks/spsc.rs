use std::path::Path;

use sharemap::channel::{Spsc, SpscReceiver, SpscSender};
use sharemap::{ErrorKind, Location};

use super::{Lock, MOMENT, Operation, PAYLOAD, Planted, announces, die, long, mask, options};
use crate::plant::{drop_if, swap_if};
use crate::tracee::mark;

/// The offsets of the words in the payload, which begins at a multiple of 128.
const SENDER: usize = 16;
const RECEIVER: usize = 32;
const RETRIES: usize = 48;
const TAIL: usize = 128;
const SEND_WAITS: usize = 136;
const HEAD: usize = 256;
const RECEIVE_WAITS: usize = 264;
const GATES: [usize; 2] = [384, 512];
const SLOTS: usize = PAYLOAD + 1024;

/// The kind of announcement of an end.
const END: u64 = 15;

const CAPACITY: usize = 2;
/// The number of messages of the initial state, and that up to which survivors send. The limit bounds the search.
const FIRST: u64 = 1;
const LAST: u64 = 4;

const CHANNEL: Lock = Lock { prepare, survive, mask: mask_channel };

pub const OPERATIONS: &[Operation] = &[
    CHANNEL.alone("send", send),
    CHANNEL.alone("receive", receive),
    CHANNEL.alone("publish a loan", publish),
    CHANNEL.alone("borrow and release", release),
    CHANNEL.alone("claim the sender", |path| {
        mark();
        sends(&mut open(path).sender().unwrap());
    }),
    CHANNEL.alone("claim the receiver", |path| {
        mark();
        receives(&mut open(path).receiver().unwrap());
    }),
    CHANNEL.alone("drop the sender", |path| {
        let channel = open(path);
        let sender = channel.sender().unwrap();
        mark();
        drop(sender);
        sends(&mut channel.sender().unwrap());
        mark();
    }),
    CHANNEL.alone("drop the receiver", |path| {
        let channel = open(path);
        let receiver = channel.receiver().unwrap();
        mark();
        drop(receiver);
        receives(&mut channel.receiver().unwrap());
        mark();
    }),
    CHANNEL.after(sender_dies).alone("claim the sender of the dead", |path| {
        mark();
        sends(&mut open(path).sender().unwrap());
    }),
    CHANNEL.after(receiver_dies).alone("claim the receiver of the dead", |path| {
        mark();
        receives(&mut open(path).receiver().unwrap());
    }),
    CHANNEL.beside("claim the sender beside a receiver", has_the_receiver, |path| {
        mark();
        sends(&mut open(path).sender().unwrap());
    }),
    CHANNEL.beside("claim the receiver beside a sender", has_the_sender, |path| {
        mark();
        receives(&mut open(path).receiver().unwrap());
    }),
    CHANNEL.after(is_empty).beside("send while the receiver waits", waits_for_a_message, send),
    CHANNEL.after(is_full).beside("receive while the sender waits", waits_for_room, receive),
    CHANNEL.after(is_full).beside("release while the sender waits", waits_for_room, release),
    CHANNEL.after(is_empty).beside(
        "drop the sender while the receiver waits",
        waits_for_a_message,
        leave,
    ),
    CHANNEL.after(is_empty).beside("wait for a message", sends_beside, wait),
];

pub const PLANTED: &[Planted] = &[
    Planted {
        name: "the tail is not stored",
        operation: OPERATIONS[0],
        plant: |store| drop_if(store.long(PAYLOAD + TAIL).is_some()),
    },
    Planted {
        name: "the message is not stored",
        operation: OPERATIONS[0],
        plant: |store| drop_if(store.at >= SLOTS),
    },
    Planted {
        name: "the tail before the message",
        operation: OPERATIONS[0],
        plant: |store| swap_if(store.at >= SLOTS),
    },
    Planted {
        name: "the head is not stored",
        operation: OPERATIONS[1],
        plant: |store| drop_if(store.long(PAYLOAD + HEAD).is_some()),
    },
    Planted {
        name: "the head is not stored by a release",
        operation: OPERATIONS[3],
        plant: |store| drop_if(store.long(PAYLOAD + HEAD).is_some()),
    },
    Planted {
        name: "the sender is not announced",
        operation: OPERATIONS[4],
        plant: |store| drop_if(announces(store, END)),
    },
    Planted {
        name: "the receiver is claimed before it is announced",
        operation: OPERATIONS[5],
        plant: |store| swap_if(announces(store, END)),
    },
    Planted {
        name: "the sender is not released",
        operation: OPERATIONS[6],
        plant: |store| drop_if(releases(store, SENDER)),
    },
    Planted {
        name: "the receiver of the dead is not released",
        operation: OPERATIONS[9],
        plant: |store| drop_if(releases(store, RECEIVER)),
    },
];

/// Returns `true` if the store takes the owner out of a role.
fn releases(store: crate::plant::Store, role: usize) -> bool {
    store
        .long(PAYLOAD + role)
        .is_some_and(|(before, after)| before & 0xffff != 0 && after & 0xffff == 0)
}

/// Blanks the counts of waits and failed deliveries. Of the claims of a role, it keeps whether there was one.
fn mask_channel(object: &mut [u8]) {
    mask(object, &GATES);
    for word in [RETRIES, SEND_WAITS, RECEIVE_WAITS] {
        if let Some(bytes) = object.get_mut(PAYLOAD + word..PAYLOAD + word + 8) {
            bytes.fill(0);
        }
    }
    for role in [SENDER, RECEIVER] {
        let Some(bytes) = object.get_mut(PAYLOAD + role..PAYLOAD + role + 8) else { continue };
        let word = u64::from_le_bytes(bytes.try_into().unwrap());
        let claims = u64::from(word >> 17 != 0) << 17;
        bytes.copy_from_slice(&(word & 0x1_ffff | claims).to_le_bytes());
    }
}

fn open(path: &Path) -> Spsc<u64> {
    options().open_channel(Location::file(path)).unwrap()
}

fn make(path: &Path) -> Spsc<u64> {
    options().open_or_create_channel(Location::file(path), CAPACITY).unwrap()
}

/// Returns the message of a position.
fn message(position: u64) -> u64 {
    position + 100
}

/// Sends messages until `count` were sent to the channel.
fn fill(path: &Path, count: u64) {
    let channel = make(path);
    let mut sender = channel.sender().unwrap();
    (0..count).for_each(|position| sender.send(&message(position)).unwrap());
}

fn prepare(path: &Path) {
    fill(path, FIRST);
}

fn is_empty(path: &Path) {
    fill(path, FIRST);
    assert_eq!(open(path).receiver().unwrap().recv().unwrap(), message(0));
}

fn is_full(path: &Path) {
    fill(path, CAPACITY as u64);
}

fn sender_dies(path: &Path) {
    prepare(path);
    die(|| std::mem::forget(open(path).sender().unwrap()));
}

fn receiver_dies(path: &Path) {
    prepare(path);
    die(|| std::mem::forget(open(path).receiver().unwrap()));
}

/// Claims both ends, receives every message that was sent and not released, in order, and sends one more.
fn survive(path: &Path) {
    let (one, two) = (make(path), make(path));
    let (mut sender, mut receiver) = (one.sender().unwrap(), two.receiver().unwrap());
    let stats = one.stats().unwrap();
    assert!((FIRST..=LAST).contains(&stats.sent), "{stats:?}");
    assert!(stats.received <= stats.sent && stats.depth <= CAPACITY as u64, "{stats:?}");
    for position in stats.received..stats.sent {
        assert_eq!(receiver.try_recv().unwrap(), Some(message(position)), "{stats:?}");
    }
    assert_eq!(receiver.try_recv().unwrap(), None, "{stats:?}");
    if stats.sent < LAST {
        sender.send_timeout(&message(stats.sent), long()).unwrap();
        assert_eq!(receiver.recv_timeout(long()).unwrap(), message(stats.sent));
    }
    let stats = two.stats().unwrap();
    assert_eq!((stats.received, stats.depth), (stats.sent, 0), "{stats:?}");
    drop(sender);
    assert_eq!(receiver.recv_timeout(long()).unwrap_err().kind(), ErrorKind::Closed);
}

/// Sends the second message.
fn sends(sender: &mut SpscSender<u64>) {
    sender.send_timeout(&message(FIRST), long()).unwrap();
}

/// Receives the first message.
fn receives(receiver: &mut SpscReceiver<u64>) {
    assert_eq!(receiver.recv_timeout(long()).unwrap(), message(0));
}

fn send(path: &Path) {
    let channel = open(path);
    let mut sender = channel.sender().unwrap();
    mark();
    sends(&mut sender);
    assert_eq!(channel.stats().unwrap().sent, FIRST + 1);
    mark();
}

fn receive(path: &Path) {
    let channel = open(path);
    let mut receiver = channel.receiver().unwrap();
    mark();
    receives(&mut receiver);
    assert_eq!(channel.stats().unwrap().received, 1);
    mark();
}

fn publish(path: &Path) {
    let channel = open(path);
    let mut sender = channel.sender().unwrap();
    mark();
    let loan = sender.reserve(1).unwrap();
    loan.view().set(0, message(FIRST)).unwrap();
    loan.publish().unwrap();
    assert_eq!(channel.stats().unwrap().sent, FIRST + 1);
    mark();
}

fn release(path: &Path) {
    let channel = open(path);
    let mut receiver = channel.receiver().unwrap();
    mark();
    let borrow = receiver.borrow(1).unwrap();
    assert_eq!(borrow.view().get(0).unwrap(), message(0));
    assert_eq!(channel.stats().unwrap().received, 0, "only borrowed");
    borrow.release().unwrap();
    assert_eq!(channel.stats().unwrap().received, 1);
    mark();
}

fn leave(path: &Path) {
    let sender = open(path).sender().unwrap();
    mark();
    drop(sender);
    mark();
}

fn wait(path: &Path) {
    let channel = open(path);
    let mut receiver = channel.receiver().unwrap();
    mark();
    assert_eq!(receiver.recv_timeout(long()).unwrap(), message(FIRST));
    mark();
}

/// Receives what there is, once the process that is killed has claimed the other end, or has died.
fn has_the_receiver(path: &Path) {
    let channel = open(path);
    let mut receiver = channel.receiver().unwrap();
    mark();
    for (position, found) in (0..).zip(receiver.iter()) {
        assert_eq!(found.unwrap(), message(position));
    }
    drop((receiver, channel));
    survive(path);
}

/// Sends one more, once the process that is killed has claimed the other end, or has died.
fn has_the_sender(path: &Path) {
    let channel = open(path);
    let mut sender = channel.sender().unwrap();
    mark();
    sends(&mut sender);
    drop((sender, channel));
    survive(path);
}

/// Waits for a message of the process that is killed. The message comes, or the channel is closed.
fn waits_for_a_message(path: &Path) {
    let channel = open(path);
    match channel.receiver().unwrap().recv_timeout(long()) {
        Ok(found) => assert_eq!(found, message(FIRST)),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Closed, "{error}"),
    }
    drop(channel);
    survive(path);
}

/// Waits for room, with a timeout, because the receiver is killed.
fn waits_for_room(path: &Path) {
    let channel = open(path);
    let mut sender = channel.sender().unwrap();
    match sender.send_timeout(&message(CAPACITY as u64), 20 * MOMENT) {
        Ok(()) => assert_eq!(channel.stats().unwrap().sent, CAPACITY as u64 + 1),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Timeout, "{error}"),
    }
    drop((sender, channel));
    survive(path);
}

/// Sends once the process that is killed waits, or has died.
fn sends_beside(path: &Path) {
    let channel = open(path);
    let mut sender = channel.sender().unwrap();
    mark();
    sends(&mut sender);
    mark();
    drop((sender, channel));
    survive(path);
}
