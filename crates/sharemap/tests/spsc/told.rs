//! A second process that has ends of a channel, and does with them what it is told.

use super::*;
use crate::common::role;
use crate::peer::{Peer, listen, tell};

const ROLE: &str = "told::does_what_it_is_told";

/// Starts a process that has opened the channel at a location: a name, or an absolute path.
pub fn start(location: &str) -> Peer {
    let mut peer = Peer::start(ROLE, location);
    assert_eq!(peer.hear(), "open");
    peer
}

/// Returns the location that an argument names.
pub fn location(argument: &str) -> Location {
    match std::path::Path::new(argument).is_absolute() {
        true => Location::file(argument),
        false => Location::name(argument),
    }
}

/// Returns what is told of a result.
pub fn told<T: Debug>(result: Result<T>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{:?}", error.kind()),
    }
}

/// Child role: does what each line says, and tells what came of it.
#[test]
fn does_what_it_is_told() {
    let Some(argument) = role(ROLE) else { return };
    let channel = Spsc::<u64>::open(location(argument.to_str().unwrap())).unwrap();
    let (mut sender, mut receiver) = (None, None);
    tell("open");
    while let Some(line) = listen() {
        let words: Vec<&str> = line.split(' ').collect();
        let numbers: Vec<u64> = words[1..].iter().map(|word| word.parse().unwrap()).collect();
        let answer = match words[0] {
            "sender" => told(channel.sender().map(|end| drop(sender.replace(end)))),
            "receiver" => told(channel.receiver().map(|end| drop(receiver.replace(end)))),
            "leave" => {
                drop((sender.take(), receiver.take()));
                told(Ok(()))
            }
            "send" => told(end(&mut sender).send_many(&numbers)),
            "recv" => told(end(&mut receiver).recv()),
            "failed" => told(end(&mut receiver).failed_deliveries()),
            // Keeps the messages until this process dies, or is told something else.
            "borrow" => {
                let borrow = end(&mut receiver).borrow(numbers[0] as usize).unwrap();
                tell(&told(borrow.view().to_vec()));
                match listen().as_deref() {
                    Some("release") => told(borrow.release()),
                    _ => return,
                }
            }
            // Writes to slots, without publishing them.
            "reserve" => {
                let loan = end(&mut sender).reserve(numbers.len()).unwrap();
                told(loan.view().write_at(0, &numbers[..loan.len()]))
            }
            _ => panic!("{line}"),
        };
        tell(&answer);
    }
}

fn end<T>(end: &mut Option<T>) -> &mut T {
    end.as_mut().expect("the end was claimed")
}
