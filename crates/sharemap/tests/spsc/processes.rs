//! Channels between two and three processes: by a name, in a file, by a descriptor.

use std::process::Stdio;

use sharemap::inspect::Inspection;

use super::*;
use crate::common::{TempDir, child, passes, role};
use crate::told::{location, start, told};

const SENDS: &str = "processes::sends";
const RECEIVES: &str = "processes::receives_from_its_input";
const COUNT: u64 = 20_000;

/// Sends all numbers, in several ways.
fn send_all(mut sender: SpscSender<u64>) -> Result<()> {
    let mut next = 0;
    while next < COUNT {
        let values: Vec<u64> = (next..COUNT.min(next + 50)).collect();
        next += match next % 3 {
            0 => sender.send(&next).map(|()| 1)?,
            1 => sender.send_many(&values).map(|()| values.len() as u64)?,
            _ => {
                let loan = sender.reserve(values.len())?;
                let count = loan.len();
                loan.view().write_at(0, &values[..count])?;
                loan.publish()?;
                count as u64
            }
        };
    }
    Ok(())
}

/// Receives all numbers.
fn receive_all(mut receiver: SpscReceiver<u64>) {
    let (mut next, mut into) = (0, [0; 20]);
    while next < COUNT {
        let count = match next % 3 {
            0 => {
                into[0] = receiver.recv().unwrap();
                1
            }
            1 => receiver.recv_many(&mut into).unwrap(),
            _ => {
                let borrow = receiver.borrow(into.len()).unwrap();
                let count = borrow.len();
                borrow.view().read_at(0, &mut into[..count]).unwrap();
                borrow.release().unwrap();
                count
            }
        };
        assert!(into[..count].iter().copied().eq(next..next + count as u64));
        next += count as u64;
    }
    fails(ErrorKind::Closed, receiver.recv());
}

/// Child role: sends all numbers to a channel.
#[test]
fn sends() {
    let Some(argument) = role(SENDS) else { return };
    let channel = Spsc::<u64>::open(location(argument.to_str().unwrap())).unwrap();
    send_all(channel.sender().unwrap()).unwrap();
}

/// Child role: receives all numbers from a channel whose descriptor is its standard input.
#[test]
fn receives_from_its_input() {
    if role(RECEIVES).is_none() {
        return;
    }
    let channel = Spsc::<u64>::from_descriptor(std::io::stdin()).unwrap();
    receive_all(channel.receiver().unwrap());
}

/// A message with its answer, through two channels between two processes.
#[test]
fn two_processes_answer_each_other() {
    need_atomics!();
    let (name, directory) = (Unique::new("answers"), TempDir::new());
    let path = directory.join("channel");
    for (location, argument) in [
        (Location::from(&name), name.text.clone()),
        (Location::file(&path), path.to_str().unwrap().to_owned()),
    ] {
        let channel = Spsc::create_new(&location, 4).unwrap();
        let mut peer = start(&argument);
        let mut sender = channel.sender().unwrap();
        assert_eq!(peer.ask("receiver"), "()");
        assert_eq!(peer.ask("sender"), "Busy");
        for number in 0..50_u64 {
            // Received before or after it is waited for.
            if number % 2 == 0 {
                peer.say("recv");
            }
            sender.send(&number).unwrap();
            if number % 2 == 1 {
                peer.say("recv");
            }
            assert_eq!(peer.hear(), number.to_string());
        }
        drop(sender);
        assert_eq!(peer.ask("recv"), "Closed");
        assert_eq!(peer.ask("leave"), "()");
        // The other way round.
        let mut receiver = channel.receiver().unwrap();
        assert_eq!(peer.ask("sender"), "()");
        for number in 0..50_u64 {
            peer.say(&format!("send {number} {}", number + 1));
            assert_eq!([receiver.recv().unwrap(), receiver.recv().unwrap()], [number, number + 1]);
            assert_eq!(peer.hear(), "()");
        }
        assert_eq!(peer.ask("leave"), "()");
        assert_eq!(told(receiver.recv()), "Closed");
    }
}

#[test]
fn a_stream_of_messages_comes_from_another_process() {
    need_atomics!();
    let (name, directory) = (Unique::new("stream"), TempDir::new());
    let path = directory.join("channel");
    for (location, argument) in [
        (Location::from(&name), name.text.clone()),
        (Location::file(&path), path.to_str().unwrap().to_owned()),
    ] {
        let channel = Spsc::create_new(&location, 32).unwrap();
        let receiver = channel.receiver().unwrap();
        thread::scope(|scope| {
            let sends = scope.spawn(|| passes(child(SENDS, &argument)));
            receive_all(receiver);
            sends.join().unwrap();
        });
        let stats = channel.stats().unwrap();
        assert_eq!((stats.sent, stats.received), (COUNT, COUNT));
    }
}

/// A channel without a name is passed on by its descriptor.
#[test]
fn a_descriptor_is_passed_to_another_process() {
    need_atomics!();
    let channel = Spsc::create_new(Location::anonymous(), 16).unwrap();
    let Some(file) = channel.file() else {
        crate::common::skip!("this system has no file for an unnamed object");
    };
    let mut command = child(RECEIVES, "");
    command.stdin(Stdio::from(file.try_clone().unwrap()));
    let sender = channel.sender().unwrap();
    thread::scope(|scope| {
        let sends = scope.spawn(|| send_all(sender));
        passes(command);
        sends.join().unwrap().unwrap();
    });
    let stats = channel.stats().unwrap();
    assert_eq!((stats.sent, stats.received, stats.receivers), (COUNT, COUNT, 0));
}

/// Inspection shows the processes and the lanes of ends, and changes nothing.
#[test]
fn a_channel_is_inspected() {
    need_atomics!();
    let name = Unique::new("inspected");
    let channel = Spsc::<u64>::create_new(&name, 8).unwrap();
    let (mut peer, mut receiver) = (start(&name.text), channel.receiver().unwrap());
    assert_eq!(peer.ask("sender"), "()");
    assert_eq!(peer.ask("send 1"), "()");
    let inspection = Inspection::open(&name).unwrap();
    let mut processes: Vec<u32> =
        inspection.participants().unwrap().iter().map(|one| one.process).collect();
    processes.sort_unstable();
    let mut expected = [std::process::id(), peer.id()];
    expected.sort_unstable();
    assert_eq!(processes, expected);
    assert_eq!(inspection.lanes().unwrap(), 2);
    assert!(inspection.locks().unwrap().is_empty(), "ends are no locks");
    assert_eq!(receiver.recv().unwrap(), 1);
    peer.kill();
    fails(ErrorKind::Closed, receiver.recv());
    assert_eq!(inspection.participants().unwrap().len(), 1);
}

/// One process creates the channel, the second sends, and the third receives.
#[test]
fn three_processes_share_a_channel() {
    need_atomics!();
    let name = Unique::new("three");
    let channel = Spsc::<u64>::create_new(&name, 8).unwrap();
    let (mut sending, mut receiving) = (start(&name.text), start(&name.text));
    assert_eq!(sending.ask("sender"), "()");
    assert_eq!(receiving.ask("receiver"), "()");
    assert_eq!(told(channel.sender().map(drop)), "Busy");
    assert_eq!(told(channel.receiver().map(drop)), "Busy");
    for number in 0..100 {
        sending.say(&format!("send {number}"));
        assert_eq!(receiving.ask("recv"), number.to_string());
        assert_eq!(sending.hear(), "()");
    }
    // They go on without the first, and without the name.
    drop(channel);
    Spsc::<u64>::unlink(&name).unwrap();
    receiving.say("recv");
    assert_eq!(sending.ask("send 7 8 9"), "()");
    assert_eq!(receiving.hear(), "7");
    sending.kill();
    assert_eq!(receiving.ask("borrow 5"), "[8, 9]");
    assert_eq!(receiving.ask("release"), "()");
    assert_eq!(receiving.ask("recv"), "Closed");
}
