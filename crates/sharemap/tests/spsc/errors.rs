//! Bad input, and damaged objects: each has an error that names the operation and the object.

use std::path::{Path, PathBuf};

use sharemap::{Error, MappingMut, Mutex, Segment, Shared, SharedOptions};

use super::*;
use crate::common::{TempDir, check};

const SEND: &str = "cannot send to the channel ";
const RECEIVE: &str = "cannot receive from the channel ";

/// The words of a channel in a file, by their offsets (FORMAT.md, "Spsc").
struct Words {
    map: MappingMut,
    at: usize,
}

const CAPACITY: usize = 0;
const TAIL: usize = 128;
const HEAD: usize = 256;

impl Words {
    fn of(path: &Path) -> Self {
        let map = MappingMut::open(path).unwrap();
        let payload = map.view_at::<u64>(104, 1).unwrap().get(0).unwrap();
        Self { map, at: payload.next_multiple_of(128) as usize }
    }

    fn set(&self, word: usize, value: u64) {
        self.map.bytes().write_at(self.at + word, &value.to_le_bytes()).unwrap();
    }
}

/// Creates a channel with a few messages in a file.
fn in_a_file(directory: &TempDir) -> (PathBuf, Spsc<u64>) {
    let path = directory.join("channel");
    let channel = Spsc::create_new(Location::file(&path), 8).unwrap();
    channel.sender().unwrap().send_many(&[1, 2, 3]).unwrap();
    (path, channel)
}

#[test]
fn capacities_are_checked() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.join("channel");
    let create = |capacity| Spsc::<[u64; 4]>::create_new(Location::file(&path), capacity);
    let words = ["cannot create ", "a channel has room for at least one message"];
    check(create(0).unwrap_err(), ErrorKind::ZeroLength, &path, &words);
    let either = Spsc::<u8>::open_or_create(Location::file(&path), 0).unwrap_err();
    check(either, ErrorKind::ZeroLength, &path, &words);
    if cfg!(target_pointer_width = "64") {
        let words = ["cannot create ", "messages of 32 bytes"];
        for capacity in [usize::MAX, usize::MAX / 2 + 2, 1 << 63, (1 << 57) + 1, 1 << 58] {
            check(create(capacity).unwrap_err(), ErrorKind::Overflow, &path, &words);
        }
        // No overflow, but more than any file system or address space has.
        let error = create(1 << 57).unwrap_err();
        assert_ne!(error.kind(), ErrorKind::Overflow, "{error}");
    }
    assert!(!path.exists(), "an object was left behind");
    let error = Spsc::<u8>::create_new(Location::anonymous(), 0).unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::ZeroLength, None), "{error}");
}

#[test]
fn other_objects_are_no_channels() {
    need_atomics!();
    let directory = TempDir::new();
    let [mutex, segment, missing] =
        ["mutex", "segment", "missing"].map(|name| directory.join(name));
    drop(Shared::create_new(Location::file(&mutex), || Mutex::new(1_u64)).unwrap());
    drop(Segment::create_new(Location::file(&segment), 1 << 16, 1 << 20).unwrap());
    let noise = directory.file("text", "no object, but a long text. ".repeat(100));
    let open = |path: &Path| Spsc::<u64>::open(Location::file(path)).unwrap_err();
    check(open(&mutex), ErrorKind::WrongKind, &mutex, &["cannot open "]);
    check(open(&segment), ErrorKind::WrongKind, &segment, &["cannot open "]);
    check(open(&noise), ErrorKind::NotAnObject, &noise, &["cannot open "]);
    check(open(&missing), ErrorKind::NotFound, &missing, &["cannot open "]);
    let either = Spsc::<u64>::open_or_create(Location::file(&mutex), 8).unwrap_err();
    check(either, ErrorKind::WrongKind, &mutex, &["cannot open "]);
    let read = Spsc::<u64>::open_read_only(Location::file(&segment)).unwrap_err();
    check(read, ErrorKind::WrongKind, &segment, &["cannot open "]);
    // A channel is none of the others.
    let (path, channel) = in_a_file(&directory);
    let error = Shared::<Mutex<u64>>::open(Location::file(&path)).map(drop).unwrap_err();
    check(error, ErrorKind::WrongKind, &path, &["cannot open "]);
    let error = Segment::open(Location::file(&path)).map(drop).unwrap_err();
    check(error, ErrorKind::WrongKind, &path, &["cannot open "]);
    let again = Spsc::<u64>::create_new(Location::file(&path), 8).unwrap_err();
    check(again, ErrorKind::AlreadyExists, &path, &["cannot create "]);
    assert_eq!(channel.receiver().unwrap().recv().unwrap(), 1);
}

/// Messages of another type are refused, however the channel is opened.
#[test]
fn messages_of_another_type_are_refused() {
    need_atomics!();
    let directory = TempDir::new();
    let (path, channel) = in_a_file(&directory);
    let at = || Location::file(&path);
    let wrong = |error: Error| check(error, ErrorKind::WrongType, &path, &["cannot open "]);
    wrong(Spsc::<i64>::open(at()).unwrap_err());
    wrong(Spsc::<u8>::open(at()).unwrap_err());
    wrong(Spsc::<[u64; 2]>::open(at()).unwrap_err());
    wrong(Spsc::<f64>::open_or_create(at(), 8).unwrap_err());
    wrong(Spsc::<f64>::open_read_only(at()).unwrap_err());
    if let Some(file) = channel.file() {
        let error = Spsc::<f64>::from_descriptor(file).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongType, "{error}");
    }
    // An existing channel keeps its capacity.
    assert_eq!(Spsc::<u64>::open_or_create(at(), 100).unwrap().capacity(), 8);
    assert_eq!(channel.stats().unwrap().depth, 3);
}

#[test]
fn a_read_only_channel_has_counters_and_no_ends() {
    need_atomics!();
    let directory = TempDir::new();
    let (path, channel) = in_a_file(&directory);
    let before = std::fs::read(&path).unwrap();
    let observed = Spsc::<u64>::open_read_only(Location::file(&path)).unwrap();
    for _ in 0..2 {
        check(observed.sender().unwrap_err(), ErrorKind::NotWritable, &path, &["cannot "]);
        check(observed.receiver().unwrap_err(), ErrorKind::NotWritable, &path, &["cannot "]);
    }
    let stats = observed.stats().unwrap();
    assert_eq!((stats.capacity, stats.sent, stats.received, stats.depth), (8, 3, 0, 3));
    assert_eq!((observed.capacity(), stats.senders, stats.receivers), (8, 0, 0));
    observed.cancel();
    let mut receiver = channel.receiver().unwrap();
    assert_eq!(observed.stats().unwrap().receivers, 1);
    assert_eq!(receiver.recv().unwrap(), 1);
    assert_eq!(observed.stats().unwrap().received, 1);
    drop(receiver);
    // The words and the slots: reading has changed nothing.
    drop((observed, channel));
    assert_eq!(before.len(), std::fs::read(&path).unwrap().len());
}

/// Errors of calls name what the call does, the object, and the remedy, if there is one.
#[test]
fn errors_name_the_operation_and_the_object() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.join("channel");
    let channel = Spsc::create_new(Location::file(&path), 2).unwrap();
    let (mut sender, mut receiver) = (channel.sender().unwrap(), channel.receiver().unwrap());
    let busy = "another handle has this end of the channel; drop it, or end its process";
    check(channel.sender().unwrap_err(), ErrorKind::Busy, &path, &[SEND, busy]);
    check(channel.receiver().unwrap_err(), ErrorKind::Busy, &path, &[RECEIVE, busy]);
    let zero = |error: Error, words: &str| check(error, ErrorKind::ZeroLength, &path, &[words]);
    for _ in 0..2 {
        zero(sender.reserve(0).unwrap_err(), SEND);
        zero(sender.try_reserve(0).unwrap_err(), SEND);
        zero(receiver.borrow(0).unwrap_err(), RECEIVE);
        zero(receiver.try_borrow(0).unwrap_err(), RECEIVE);
        // Again when the channel is full.
        sender.try_send_many(&[1_u64, 2]).unwrap();
    }
    check(sender.send_timeout(&3, SHORT).unwrap_err(), ErrorKind::Timeout, &path, &[SEND]);
    channel.cancel();
    check(sender.send(&3).unwrap_err(), ErrorKind::Cancelled, &path, &[SEND]);
    drop(receiver);
    check(sender.send(&3).unwrap_err(), ErrorKind::Closed, &path, &[SEND]);
    check(sender.try_send(&3).unwrap_err(), ErrorKind::Closed, &path, &[SEND]);
    receiver = channel.receiver().unwrap();
    assert_eq!((receiver.recv().unwrap(), receiver.recv().unwrap()), (1, 2));
    check(receiver.recv().unwrap_err(), ErrorKind::Cancelled, &path, &[RECEIVE]);
    channel.uncancel();
    check(receiver.recv_timeout(SHORT).unwrap_err(), ErrorKind::Timeout, &path, &[RECEIVE]);
    drop(sender);
    check(receiver.recv().unwrap_err(), ErrorKind::Closed, &path, &[RECEIVE]);
    check(receiver.try_recv().unwrap_err(), ErrorKind::Closed, &path, &[RECEIVE]);
}

/// Each end has a lane of the object.
#[test]
fn ends_need_lanes() {
    need_atomics!();
    let options = SharedOptions::new().participants(2).lanes(1);
    let directory = TempDir::new();
    let path = directory.join("channel");
    let channel: Spsc<u64> = options.create_new_channel(Location::file(&path), 2).unwrap();
    let sender = channel.sender().unwrap();
    let error = channel.receiver().unwrap_err();
    check(error, ErrorKind::TooManyThreads, &path, &["claim a lane", "more lanes"]);
    drop(sender);
    for _ in 0..10 {
        drop(channel.receiver().unwrap());
        drop(channel.sender().unwrap());
    }
}

#[test]
fn a_damaged_capacity_is_refused() {
    need_atomics!();
    let directory = TempDir::new();
    let (path, channel) = in_a_file(&directory);
    let words = Words::of(&path);
    for capacity in [0, 3, 9, 1 << 40, 1 << 60, 1 << 61, 1 << 63, u64::MAX, u64::MAX - 7] {
        words.set(CAPACITY, capacity);
        let number = format!("(length {capacity})");
        let said = ["cannot open ", &number, "its number of slots is no power of two"];
        let error = Spsc::<u64>::open(Location::file(&path)).unwrap_err();
        check(error, ErrorKind::Malformed, &path, &said);
        let error = Spsc::<u64>::open_read_only(Location::file(&path)).unwrap_err();
        check(error, ErrorKind::Malformed, &path, &said);
        let error = Spsc::<u64>::open_or_create(Location::file(&path), 8).unwrap_err();
        check(error, ErrorKind::Malformed, &path, &said);
    }
    // A handle that was open before keeps what it has read.
    assert_eq!(channel.stats().unwrap().capacity, 8);
    assert_eq!(channel.receiver().unwrap().recv().unwrap(), 1);
    words.set(CAPACITY, 8);
    assert_eq!(Spsc::<u64>::open(Location::file(&path)).unwrap().capacity(), 8);
}

/// Positions that are further apart than the ring is long are refused when an end is made, which is released then.
#[test]
fn damaged_positions_are_refused() {
    need_atomics!();
    let directory = TempDir::new();
    let (path, channel) = in_a_file(&directory);
    let words = Words::of(&path);
    for (tail, head) in [(9, 0), (0, 1), (u64::MAX, 0), (1 << 63, 0), (3, 4), (100, 91)] {
        words.set(TAIL, tail);
        words.set(HEAD, head);
        let remedy = "create it again";
        check(channel.sender().unwrap_err(), ErrorKind::Malformed, &path, &[SEND, remedy]);
        check(channel.receiver().unwrap_err(), ErrorKind::Malformed, &path, &[RECEIVE, remedy]);
        let stats = channel.stats().unwrap();
        assert_eq!((stats.senders, stats.receivers), (0, 0));
        assert!(stats.depth <= 8, "{stats:?}");
    }
    // Positions may lie anywhere, and wrap.
    for start in [1 << 48, (1 << 48) - 2, u64::MAX - 1, 1 << 63] {
        words.set(TAIL, start);
        words.set(HEAD, start);
        let (mut sender, mut receiver) = (channel.sender().unwrap(), channel.receiver().unwrap());
        for number in 0..20_u64 {
            sender.send_many(&[number, 7]).unwrap();
            assert_eq!((receiver.recv().unwrap(), receiver.recv().unwrap()), (number, 7));
        }
        assert_eq!(channel.stats().unwrap().sent, start.wrapping_add(40));
    }
}

/// A file that was truncated under the ends: an error for each call, and no signal.
#[test]
fn a_truncated_channel_is_a_fault() {
    need_atomics!();
    let directory = TempDir::new();
    let (path, channel) = in_a_file(&directory);
    let (mut sender, mut receiver) = (channel.sender().unwrap(), channel.receiver().unwrap());
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let whole = file.metadata().unwrap().len();
    if file.set_len(0).is_err() {
        crate::common::skip!("this system does not truncate a mapped file");
    }
    let remedy = "the file has 0 bytes now; what it shared is lost; create it again";
    let fault = |error: Error, words: &str| check(error, ErrorKind::Fault, &path, &[words, remedy]);
    for _ in 0..2 {
        fault(sender.send(&1).unwrap_err(), SEND);
        fault(sender.try_send(&1).unwrap_err(), SEND);
        fault(sender.send_timeout(&1, SHORT).unwrap_err(), SEND);
        fault(sender.send_many(&[1, 2]).unwrap_err(), SEND);
        fault(sender.try_send_many(&[1, 2]).unwrap_err(), SEND);
        fault(receiver.recv().unwrap_err(), RECEIVE);
        fault(receiver.try_recv().unwrap_err(), RECEIVE);
        fault(receiver.recv_timeout(SHORT).unwrap_err(), RECEIVE);
        fault(receiver.recv_many(&mut [0; 4]).unwrap_err(), RECEIVE);
        fault(receiver.try_recv_many(&mut [0; 4]).unwrap_err(), RECEIVE);
        fault(receiver.borrow(1).and_then(|borrow| borrow.release()).unwrap_err(), RECEIVE);
        fault(sender.is_closed().unwrap_err(), SEND);
        fault(receiver.is_closed().unwrap_err(), RECEIVE);
        fault(receiver.failed_deliveries().unwrap_err(), RECEIVE);
        fault(receiver.iter().next().unwrap().unwrap_err(), RECEIVE);
        fault(channel.stats().unwrap_err(), "cannot ");
        fault(channel.sender().unwrap_err(), "cannot ");
        fault(channel.receiver().unwrap_err(), "cannot ");
    }
    drop((sender, receiver));
    fault(channel.stats().unwrap_err(), "cannot ");
    drop(channel);
    // With its old length, of zeros, the file is no object.
    file.set_len(whole).unwrap();
    let error = Spsc::<u64>::open(Location::file(&path)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotAnObject | ErrorKind::Incomplete), "{error}");
}

#[test]
fn a_short_file_is_refused() {
    need_atomics!();
    let directory = TempDir::new();
    let (path, channel) = in_a_file(&directory);
    drop(channel);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() - 4096).unwrap();
    let error = Spsc::<u64>::open(Location::file(&path)).unwrap_err();
    check(error, ErrorKind::Truncated, &path, &["cannot open "]);
}

/// An end that is taken is busy, also if there is no lane for another.
#[test]
fn a_taken_end_needs_no_lane_to_be_busy() {
    need_atomics!();
    let options = SharedOptions::new().participants(2).lanes(2);
    let channel: Spsc<u64> = options.create_new_channel(Location::anonymous(), 4).unwrap();
    let _ends = (channel.sender().unwrap(), channel.receiver().unwrap());
    fails(ErrorKind::Busy, channel.sender());
    fails(ErrorKind::Busy, channel.receiver());
}
