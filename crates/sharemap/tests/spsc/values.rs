//! Values of types for which not all bytes are valid.

use sharemap::MappingMut;

use super::*;
use crate::common::TempDir;

/// Writes a byte of each slot in a list to the file of a channel whose messages have one byte each.
fn plant(path: &std::path::Path, slots: &[u64], byte: u8) {
    let map = MappingMut::open(path).unwrap();
    let payload = map.view_at::<u64>(104, 1).unwrap().get(0).unwrap();
    let at = payload.next_multiple_of(128) + 1024;
    slots.iter().for_each(|slot| map.bytes().set((at + slot) as usize, byte).unwrap());
}

/// An invalid value is an error, of this message only, which is released.
#[test]
fn invalid_values_are_released() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.join("channel");
    let channel = Spsc::create_new(Location::file(&path), 8).unwrap();
    let (mut sender, mut receiver) = (channel.sender().unwrap(), channel.receiver().unwrap());
    sender.send_many(&[true, false, true, true, false, true, true, false]).unwrap();
    plant(&path, &[1, 3, 4, 6], 7);
    assert!(receiver.recv().unwrap());
    let error = receiver.recv().unwrap_err();
    crate::common::check(error, ErrorKind::Invalid, &path, &["receive from the channel"]);
    assert_eq!(receiver.try_recv().unwrap(), Some(true));
    fails(ErrorKind::Invalid, receiver.try_recv());
    fails(ErrorKind::Invalid, receiver.recv_timeout(SHORT));
    assert_eq!(channel.stats().unwrap().received, 5);
    // A borrow shows the other messages, and an iterator goes on.
    let borrow = receiver.borrow(3).unwrap();
    assert!(borrow.view().get(0).unwrap());
    fails(ErrorKind::Invalid, borrow.view().get(1));
    assert!(!borrow.view().get(2).unwrap());
    borrow.release_first(1).unwrap();
    drop(sender);
    let rest: Vec<Option<bool>> = receiver.iter().map(Result::ok).collect();
    assert_eq!(rest, [None, Some(false)]);
}

#[cfg(feature = "derive")]
mod derived {
    use sharemap::Shareable;
    use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

    use super::*;

    #[derive(
        Clone, Copy, Debug, PartialEq, Shareable, TryFromBytes, IntoBytes, Immutable, KnownLayout,
    )]
    #[repr(u8)]
    enum Command {
        Stop = 1,
        Go = 7,
    }

    #[test]
    fn invalid_enums_are_errors() {
        need_atomics!();
        let directory = TempDir::new();
        let path = directory.join("channel");
        let channel = Spsc::create_new(Location::file(&path), 4).unwrap();
        let (mut sender, mut receiver) = (channel.sender().unwrap(), channel.receiver().unwrap());
        sender.send_many(&[Command::Go, Command::Stop, Command::Go]).unwrap();
        plant(&path, &[1], 0);
        assert_eq!(receiver.recv().unwrap(), Command::Go);
        fails(ErrorKind::Invalid, receiver.recv());
        assert_eq!(receiver.recv().unwrap(), Command::Go);
        // The slot is used again.
        sender.send_many(&[Command::Stop; 4]).unwrap();
        assert_eq!(channel.stats().unwrap().depth, 4);
        assert!((0..4).all(|_| receiver.recv().unwrap() == Command::Stop));
        // A file of another type is none of these commands.
        fails(ErrorKind::WrongType, Spsc::<u8>::open(Location::file(&path)));
    }
}

/// Values of any alignment and size pass: of one byte, of more than a page, of floats.
#[test]
fn values_of_other_types_pass() {
    need_atomics!();
    let channel = Spsc::<[u8; 10_000]>::create_new(Location::anonymous(), 2).unwrap();
    let (mut sender, mut receiver) = (channel.sender().unwrap(), channel.receiver().unwrap());
    for round in 0..5 {
        sender.send(&[round; 10_000]).unwrap();
        assert_eq!(receiver.recv().unwrap(), [round; 10_000]);
    }
    let channel = Spsc::<f32>::create_new(Location::anonymous(), 4).unwrap();
    let (mut sender, mut receiver) = (channel.sender().unwrap(), channel.receiver().unwrap());
    sender.send_many(&[0.5, f32::INFINITY, f32::NAN]).unwrap();
    assert_eq!((receiver.recv().unwrap(), receiver.recv().unwrap()), (0.5, f32::INFINITY));
    assert!(receiver.recv().unwrap().is_nan());
    let channel = Spsc::<char>::create_new(Location::anonymous(), 4).unwrap();
    let (mut sender, mut receiver) = (channel.sender().unwrap(), channel.receiver().unwrap());
    let text = "größe 😀";
    let thread = thread::spawn(move || text.chars().try_for_each(|letter| sender.send(&letter)));
    assert_eq!(receiver.iter().collect::<Result<String>>().unwrap(), text);
    thread.join().unwrap().unwrap();
}
