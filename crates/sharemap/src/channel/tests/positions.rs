//! Positions of real channels that wrap at 2^64, and positions that no side has stored.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::spsc::ring::{HEAD, RETRIES, TAIL};
use super::super::{Spsc, object};
use crate::error::ErrorKind;
use crate::guard::{self, Recovery};
use crate::peer::{Machine, Session};
use crate::shm::Location;

/// Creates a channel with 4 slots whose next message has this position; `None` where there are no channels.
fn starting_at(position: u64) -> Option<Spsc<u64>> {
    if guard::recovery() != Recovery::InPlace {
        eprintln!("skipped: no channels where accesses are system calls");
        return None;
    }
    let channel = Spsc::create_new(Location::anonymous(), 4).unwrap();
    set(&channel, TAIL, position);
    set(&channel, HEAD, position);
    Some(channel)
}

fn set(channel: &Spsc<u64>, word: u64, value: u64) {
    let session: &Session = channel.session();
    let at = object::words_at(session.header()) + word;
    session.store_64(at, value).unwrap();
}

#[test]
fn positions_wrap() {
    let Some(channel) = starting_at(0_u64.wrapping_sub(100)) else { return };
    let (mut sender, mut receiver) = (channel.sender().unwrap(), channel.receiver().unwrap());
    let mut model = VecDeque::new();
    for number in 0..1000_u64 {
        if number % 7 == 6 {
            // Each side continues where it stopped.
            drop((sender, receiver));
            (sender, receiver) = (channel.sender().unwrap(), channel.receiver().unwrap());
        }
        let count = sender.try_send_many(&[number; 3][..1 + (number % 3) as usize]).unwrap();
        model.extend(std::iter::repeat_n(number, count));
        assert_eq!(channel.stats().unwrap().depth, model.len() as u64);
        for _ in 0..1 + number % 4 {
            assert_eq!(receiver.try_recv().unwrap(), model.pop_front());
        }
    }
    let stats = channel.stats().unwrap();
    assert!(stats.sent < 2000 && stats.sent >= stats.received, "{stats:?}");
}

#[test]
fn impossible_positions_count_as_full_and_as_empty() {
    let Some(channel) = starting_at(10) else { return };
    let (mut sender, mut receiver) = (channel.sender().unwrap(), channel.receiver().unwrap());
    let brief = Duration::from_millis(1);
    for distance in [5, 1 << 40, 1 << 63, u64::MAX] {
        set(&channel, TAIL, 10_u64.wrapping_add(distance));
        assert_eq!(receiver.try_recv().unwrap(), None);
        assert_eq!(receiver.recv_timeout(brief).unwrap_err().kind(), ErrorKind::Timeout);
        let mut into = [0; 8];
        assert_eq!(receiver.try_recv_many(&mut into).unwrap(), 0);
    }
    set(&channel, TAIL, 10);
    sender.send_many(&[1; 4]).unwrap();
    for head in [15, 1 << 40, u64::MAX] {
        set(&channel, HEAD, head);
        assert!(!sender.try_send(&1).unwrap());
        assert_eq!(sender.send_timeout(&1, brief).unwrap_err().kind(), ErrorKind::Timeout);
    }
    drop((sender, receiver));
    for end in [channel.sender().map(drop), channel.receiver().map(drop)] {
        assert_eq!(end.unwrap_err().kind(), ErrorKind::Malformed);
    }
    // What failed has not kept its role.
    set(&channel, HEAD, 10);
    assert_eq!(channel.receiver().unwrap().recv().unwrap(), 1);
    channel.sender().unwrap().send(&2).unwrap();
}

/// The count of receivers that died with a message belongs to that message's position only.
#[test]
fn failed_deliveries_are_counted_by_position() {
    let Some(channel) = starting_at((1 << 48) - 1) else { return };
    channel.sender().unwrap().send_many(&[1, 2]).unwrap();
    let mut receiver = channel.receiver().unwrap();
    for (word, count) in [(0, 0), (3 << 48 | ((1 << 48) - 1), 3), (u64::MAX, 0xfffe)] {
        set(&channel, RETRIES, word);
        assert_eq!(receiver.failed_deliveries().unwrap(), count);
    }
    receiver.recv().unwrap();
    assert_eq!(receiver.failed_deliveries().unwrap(), 0, "the position is 0 in 48 bits");
}
