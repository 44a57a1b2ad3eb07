//! Random sequences of operations, beside a queue as the model.

use std::collections::VecDeque;

use sharemap::{Pod, Shareable};

use super::*;
use crate::random::Random;

/// A type of messages, of which each number has another value.
trait Message: Pod + Shareable + PartialEq + Debug {
    fn of(number: u64) -> Self;
}

impl Message for u8 {
    fn of(number: u64) -> Self {
        (number % 251) as u8
    }
}

impl Message for u64 {
    fn of(number: u64) -> Self {
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl Message for [u8; 24] {
    fn of(number: u64) -> Self {
        std::array::from_fn(|at| number as u8 ^ at as u8)
    }
}

impl Message for [u64; 128] {
    fn of(number: u64) -> Self {
        std::array::from_fn(|at| number << 7 | at as u64)
    }
}

/// An end that exists, or does not exist yet, or was dropped.
enum End<T> {
    NotYet,
    Here(T),
    Dropped,
}

impl<T> End<T> {
    fn was_dropped(&self) -> bool {
        matches!(self, Self::Dropped)
    }

    fn is_here(&self) -> bool {
        matches!(self, Self::Here(_))
    }
}

/// A channel and its model.
struct Both<T> {
    channel: Spsc<T>,
    sender: End<SpscSender<T>>,
    receiver: End<SpscReceiver<T>>,
    /// The numbers of the messages that are in the channel.
    queue: VecDeque<u64>,
    capacity: usize,
    sent: u64,
    received: u64,
}

impl<T: Message> Both<T> {
    fn new(capacity: usize) -> Self {
        let channel = Spsc::create_new(Location::anonymous(), capacity).unwrap();
        let (queue, sender, receiver) = (VecDeque::new(), End::NotYet, End::NotYet);
        Self { channel, sender, receiver, queue, capacity, sent: 0, received: 0 }
    }

    fn room(&self) -> usize {
        self.capacity - self.queue.len()
    }

    /// Returns how many slots there are from that of a position to the last.
    fn until_last_slot(&self, position: u64) -> usize {
        self.capacity - position as usize % self.capacity
    }

    /// Returns the next messages.
    fn next(&self, count: usize) -> Vec<T> {
        (self.sent..self.sent + count as u64).map(T::of).collect()
    }

    /// Returns the oldest messages.
    fn oldest(&self, count: usize) -> Vec<T> {
        self.queue.iter().take(count).map(|&number| T::of(number)).collect()
    }

    fn note_sent(&mut self, count: usize) {
        self.queue.extend(self.sent..self.sent + count as u64);
        self.sent += count as u64;
    }

    fn note_received(&mut self, count: usize) {
        self.queue.drain(..count);
        self.received += count as u64;
    }

    fn send(&mut self, random: &mut Random) {
        let (room, count) = (self.room(), random.below(2 * self.capacity as u64) as usize);
        let (next, fitting) = (self.next(count.max(1)), self.next(count.min(room)));
        let run = room.min(count.max(1)).min(self.until_last_slot(self.sent));
        let is_closed = room == 0 && self.receiver.was_dropped();
        let End::Here(sender) = &mut self.sender else { return };
        assert_eq!(sender.is_closed().unwrap(), self.receiver.was_dropped());
        let sent = match random.below(8) {
            0 | 1 if is_closed => {
                fails(ErrorKind::Closed, sender.try_send(&next[0]));
                fails(ErrorKind::Closed, sender.send_timeout(&next[0], SHORT));
                0
            }
            0 | 1 => {
                assert_eq!(sender.try_send(&next[0]).unwrap(), room > 0);
                room.min(1)
            }
            2 if is_closed => {
                fails(ErrorKind::Closed, sender.try_send_many(&next));
                assert_eq!(sender.try_send_many(&[]).unwrap(), 0);
                0
            }
            2 => {
                let sent = sender.try_send_many(&next[..count]).unwrap();
                assert_eq!(sent, fitting.len(), "of {count} messages, with room for {room}");
                sent
            }
            3 => {
                sender.send_many(&fitting).unwrap();
                fitting.len()
            }
            4 if room > 0 => {
                sender.send(&next[0]).unwrap();
                1
            }
            5 if is_closed => {
                fails(ErrorKind::Closed, sender.try_reserve(1).map(drop));
                fails(ErrorKind::Closed, sender.reserve(1).map(drop));
                0
            }
            _ if is_closed => 0,
            _ => match sender.try_reserve(count.max(1)).unwrap() {
                None => {
                    assert_eq!(room, 0);
                    0
                }
                Some(loan) => {
                    assert_eq!(loan.len(), run, "{count} slots of {room} were reserved");
                    loan.view().write_at(0, &next[..run]).unwrap();
                    let part = random.below(run as u64 + 2) as usize;
                    match random.below(3) {
                        0 => {
                            drop(loan);
                            0
                        }
                        1 => {
                            loan.publish_first(part).unwrap();
                            part.min(run)
                        }
                        _ => {
                            loan.publish().unwrap();
                            run
                        }
                    }
                }
            },
        };
        self.note_sent(sent);
    }

    fn receive(&mut self, random: &mut Random) {
        let (there, count) = (self.queue.len(), random.below(2 * self.capacity as u64) as usize);
        let expected = self.oldest(count.max(1));
        let run = there.min(count.max(1)).min(self.until_last_slot(self.received));
        let is_closed = there == 0 && self.sender.was_dropped();
        let End::Here(receiver) = &mut self.receiver else { return };
        assert_eq!(receiver.is_closed().unwrap(), is_closed);
        assert_eq!(receiver.failed_deliveries().unwrap(), 0);
        let mut into = vec![T::of(u64::MAX); count.max(1)];
        let received = match random.below(8) {
            0 | 1 if is_closed => {
                fails(ErrorKind::Closed, receiver.try_recv());
                fails(ErrorKind::Closed, receiver.recv());
                fails(ErrorKind::Closed, receiver.recv_timeout(SHORT));
                assert!(receiver.iter().next().is_none());
                0
            }
            0 | 1 => {
                let message = receiver.try_recv().unwrap();
                assert_eq!(message, expected.first().copied());
                usize::from(message.is_some())
            }
            2 if is_closed => {
                fails(ErrorKind::Closed, receiver.try_recv_many(&mut into));
                fails(ErrorKind::Closed, receiver.recv_many(&mut into));
                assert_eq!(receiver.try_recv_many(&mut []).unwrap(), 0);
                0
            }
            2 => {
                let received = receiver.try_recv_many(&mut into).unwrap();
                assert_eq!(received, expected.len(), "of {there} messages");
                assert_eq!(into[..received], expected);
                received
            }
            3 if there > 0 => {
                let received = receiver.recv_many(&mut into).unwrap();
                assert_eq!(into[..received], expected);
                received
            }
            4 if there > 0 => {
                assert_eq!(receiver.recv().unwrap(), expected[0]);
                1
            }
            5 if is_closed => {
                fails(ErrorKind::Closed, receiver.try_borrow(1).map(drop));
                fails(ErrorKind::Closed, receiver.borrow(1).map(drop));
                0
            }
            6 if there > 0 => {
                assert_eq!(receiver.iter().next().unwrap().unwrap(), expected[0]);
                1
            }
            _ if is_closed => 0,
            _ => match receiver.try_borrow(count.max(1)).unwrap() {
                None => {
                    assert_eq!(there, 0);
                    0
                }
                Some(borrow) => {
                    assert_eq!(borrow.len(), run, "{count} of {there} messages were borrowed");
                    assert_eq!(borrow.view().to_vec().unwrap(), expected[..run]);
                    let part = random.below(run as u64 + 2) as usize;
                    match random.below(3) {
                        0 => {
                            drop(borrow);
                            0
                        }
                        1 => {
                            borrow.release_first(part).unwrap();
                            part.min(run)
                        }
                        _ => {
                            borrow.release().unwrap();
                            run
                        }
                    }
                }
            },
        };
        self.note_received(received);
    }

    /// Drops an end, or makes a new one.
    fn replace_ends(&mut self, random: &mut Random) {
        if random.one_in(2) {
            self.sender = match &self.sender {
                End::Here(_) => End::Dropped,
                _ => End::Here(self.channel.sender().unwrap()),
            };
        }
        if random.one_in(2) {
            self.receiver = match &self.receiver {
                End::Here(_) => End::Dropped,
                _ => End::Here(self.channel.receiver().unwrap()),
            };
        }
    }

    fn check(&self) {
        let stats = self.channel.stats().unwrap();
        assert_eq!((stats.sent, stats.received), (self.sent, self.received));
        assert_eq!((stats.depth, stats.capacity), (self.queue.len() as u64, self.capacity as u64));
        let ends = (u32::from(self.sender.is_here()), u32::from(self.receiver.is_here()));
        assert_eq!((stats.senders, stats.receivers), ends);
        assert_eq!((stats.send_waits, stats.receive_waits), (0, 0));
    }
}

fn run<T: Message>(steps: u64) {
    let given = std::env::var("SHAREMAP_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
    for capacity in [1, 2, 8, 64] {
        println!("SHAREMAP_SEED={seed}, {capacity} of {}", std::any::type_name::<T>());
        let mut random = Random::new(seed + capacity as u64);
        let mut both = Both::<T>::new(capacity);
        for _ in 0..steps {
            match random.below(16) {
                0 => both.replace_ends(&mut random),
                1..8 => both.send(&mut random),
                _ => both.receive(&mut random),
            }
            both.check();
        }
        assert!(both.received > steps / 100, "{} messages were received", both.received);
    }
}

#[test]
fn bytes_arrive_as_in_a_queue() {
    need_atomics!();
    run::<u8>(4000);
}

#[test]
fn words_arrive_as_in_a_queue() {
    need_atomics!();
    run::<u64>(4000);
}

#[test]
fn arrays_arrive_as_in_a_queue() {
    need_atomics!();
    run::<[u8; 24]>(4000);
}

#[test]
fn large_messages_arrive_as_in_a_queue() {
    need_atomics!();
    run::<[u64; 128]>(2000);
}

/// A capacity that is no power of two is rounded up.
#[test]
fn a_channel_has_at_least_the_capacity_that_was_asked_for() {
    need_atomics!();
    for (wanted, capacity) in [(1, 1), (2, 2), (3, 4), (5, 8), (100, 128), (1000, 1024)] {
        let channel = Spsc::<u16>::create_new(Location::anonymous(), wanted).unwrap();
        assert_eq!(channel.capacity(), capacity);
        let mut sender = channel.sender().unwrap();
        let count = sender.try_send_many(&vec![7; capacity + 1]).unwrap();
        assert_eq!(count, capacity);
        assert_eq!(channel.stats().unwrap().capacity, capacity as u64);
    }
}
