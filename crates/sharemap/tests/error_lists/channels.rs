//! Errors of channels.

use std::time::Duration;

use sharemap::channel::Spsc;
use sharemap::{Location, Mutex, Shared};

use super::Given;
use crate::common::TempDir;

pub fn of_channels(dir: &TempDir) -> Vec<Given> {
    let path = Location::file(dir.join("channel"));
    let locks = Location::file(dir.join("locks-of-channels"));
    let _locks = Shared::create_new(&locks, || Mutex::new(0_u32)).unwrap();
    let channel = Spsc::<bool>::create_new(&path, 2).unwrap();
    let read_only = Spsc::<bool>::open_read_only(&path).unwrap();
    let (mut sender, mut receiver) = (channel.sender().unwrap(), channel.receiver().unwrap());
    let brief = Duration::from_millis(1);
    let mut given: Vec<Given> = vec![
        ("Spsc::create_new", Spsc::<bool>::create_new(&path, 2).unwrap_err()),
        ("Spsc::create_new", Spsc::<bool>::create_new(&path, 0).unwrap_err()),
        ("Spsc::create_new", Spsc::<[u8; 64]>::create_new(&path, usize::MAX).unwrap_err()),
        ("Spsc::open", Spsc::<u8>::open(&path).unwrap_err()),
        ("Spsc::open", Spsc::<bool>::open(&locks).unwrap_err()),
        ("Spsc::open_or_create", Spsc::<u8>::open_or_create(&path, 2).unwrap_err()),
        ("Spsc::sender", channel.sender().unwrap_err()),
        ("Spsc::sender", read_only.sender().unwrap_err()),
        ("Spsc::receiver", channel.receiver().unwrap_err()),
        ("SpscSender::reserve", sender.reserve(0).map(drop).unwrap_err()),
        ("SpscSender::try_reserve", sender.try_reserve(0).map(drop).unwrap_err()),
        ("SpscReceiver::borrow", receiver.borrow(0).map(drop).unwrap_err()),
        ("SpscReceiver::try_borrow", receiver.try_borrow(0).map(drop).unwrap_err()),
        ("SpscReceiver::recv_timeout", receiver.recv_timeout(brief).unwrap_err()),
    ];
    channel.cancel();
    given.push(("SpscReceiver::recv", receiver.recv().unwrap_err()));
    sender.send_many(&[true; 2]).unwrap();
    given.push(("SpscSender::send", sender.send(&true).unwrap_err()));
    channel.uncancel();
    given.push(("SpscSender::send_timeout", sender.send_timeout(&true, brief).unwrap_err()));
    drop(receiver);
    given.extend([
        ("SpscSender::send", sender.send(&true).unwrap_err()),
        ("SpscSender::try_send", sender.try_send(&true).unwrap_err()),
        ("SpscSender::send_many", sender.send_many(&[true]).unwrap_err()),
        ("SpscSender::try_send_many", sender.try_send_many(&[true]).unwrap_err()),
        ("SpscSender::try_reserve", sender.try_reserve(1).map(drop).unwrap_err()),
    ]);
    drop(sender);
    let mut receiver = channel.receiver().unwrap();
    while receiver.try_borrow(2).is_ok_and(|messages| messages.unwrap().release().is_ok()) {}
    given.extend([
        ("SpscReceiver::recv", receiver.recv().unwrap_err()),
        ("SpscReceiver::try_recv", receiver.try_recv().unwrap_err()),
        ("SpscReceiver::try_borrow", receiver.try_borrow(1).map(drop).unwrap_err()),
    ]);
    given
}
