//! Provokes errors of channels and their ends.

use std::fs::File;
use std::time::Duration;

use sharemap::channel::Spsc;
use sharemap::{Location, MappingMut, Mutex, Shared};

use super::Given;
use crate::common::TempDir;

pub fn of_channels(dir: &TempDir) -> Vec<Given> {
    let path = dir.join("channel");
    let at = Location::file(&path);
    let timeout = Duration::from_millis(1);
    let channel = Spsc::create_new(&at, 2).unwrap();
    let (mut sender, mut receiver) = (channel.sender().unwrap(), channel.receiver().unwrap());
    let observed = Spsc::<bool>::open_read_only(&at).unwrap();
    let missing = Location::file(dir.join("no-channel"));
    let mutex = Location::file(dir.join("no-channel-but-a-mutex"));
    drop(Shared::create_new(&mutex, || Mutex::new(1_u8)).unwrap());
    let mut given = vec![
        ("Spsc::create_new", Spsc::<u8>::create_new(&missing, 0).unwrap_err()),
        ("Spsc::create_new", Spsc::<u64>::create_new(&missing, usize::MAX).unwrap_err()),
        ("Spsc::create_new", Spsc::<bool>::create_new(&at, 2).unwrap_err()),
        ("Spsc::open", Spsc::<u8>::open(&at).unwrap_err()),
        ("Spsc::open", Spsc::<u8>::open(&missing).unwrap_err()),
        ("Spsc::open", Spsc::<u8>::open(&mutex).unwrap_err()),
        ("Spsc::open_read_only", Spsc::<u8>::open_read_only(&mutex).unwrap_err()),
        ("Spsc::open_or_create", Spsc::<u8>::open_or_create(&at, 2).unwrap_err()),
        ("Spsc::open_or_create", Spsc::<u8>::open_or_create(&missing, 0).unwrap_err()),
        ("Spsc::from_descriptor", {
            Spsc::<u8>::from_descriptor(File::open("/dev/null").unwrap()).unwrap_err()
        }),
        ("Spsc::unlink", Spsc::<u8>::unlink(&missing).unwrap_err()),
        ("Spsc::sender", channel.sender().unwrap_err()),
        ("Spsc::sender", observed.sender().unwrap_err()),
        ("Spsc::receiver", channel.receiver().unwrap_err()),
        ("Spsc::receiver", observed.receiver().unwrap_err()),
        ("SpscSender::reserve", sender.reserve(0).unwrap_err()),
        ("SpscSender::try_reserve", sender.try_reserve(0).unwrap_err()),
        ("SpscReceiver::borrow", receiver.borrow(0).unwrap_err()),
        ("SpscReceiver::try_borrow", receiver.try_borrow(0).unwrap_err()),
        ("SpscReceiver::recv_timeout", receiver.recv_timeout(timeout).unwrap_err()),
    ];
    sender.send_many(&[true, true]).unwrap();
    given.push(("SpscSender::send_timeout", sender.send_timeout(&true, timeout).unwrap_err()));
    let map = MappingMut::open(&path).unwrap();
    let payload = map.view_at::<u64>(104, 1).unwrap().get(0).unwrap();
    let words = payload.next_multiple_of(128) as usize;
    map.bytes().write_at(words + 1024, &[7, 7]).unwrap();
    given.push(("SpscReceiver::recv", receiver.recv().unwrap_err()));
    given.push(("SpscReceiver::try_recv", receiver.try_recv().unwrap_err()));
    channel.cancel();
    given.push(("SpscReceiver::recv", receiver.recv().unwrap_err()));
    sender.send_many(&[true, true]).unwrap();
    given.push(("SpscSender::send", sender.send(&true).unwrap_err()));
    drop(receiver);
    given.extend([
        ("SpscSender::try_send", sender.try_send(&true).unwrap_err()),
        ("SpscSender::send_many", sender.send_many(&[true]).unwrap_err()),
        ("SpscSender::try_send_many", sender.try_send_many(&[true]).unwrap_err()),
        ("SpscSender::reserve", sender.reserve(1).unwrap_err()),
    ]);
    let mut receiver = channel.receiver().unwrap();
    receiver.borrow(2).unwrap().release().unwrap();
    drop(sender);
    given.extend([
        ("SpscReceiver::recv", receiver.recv().unwrap_err()),
        ("SpscReceiver::try_recv", receiver.try_recv().unwrap_err()),
        ("SpscReceiver::borrow", receiver.borrow(1).unwrap_err()),
    ]);
    drop(receiver);
    map.bytes().write_at(words + 128, &[9]).unwrap();
    given.push(("Spsc::sender", channel.sender().unwrap_err()));
    map.bytes().write_at(words, &[3]).unwrap();
    // Listed for the objects that `open` refers to.
    given.push(("Spsc::open", Spsc::<bool>::open(&at).unwrap_err()));
    drop(map);
    File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    given.push(("Spsc::stats", channel.stats().unwrap_err()));
    given.push(("Spsc::sender", channel.sender().unwrap_err()));
    given
}
