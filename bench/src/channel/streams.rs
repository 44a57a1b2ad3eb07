//! Messages one way between two processes on a processor each.

use super::pair::{Pair, Processors};
use super::{Message, Named, kernel_stream, receives, ring_stream, sends};
use crate::figure::{Figure, Setup};
use crate::measure::Contest;
use crate::peers::stream::Streams;
use crate::reason::{Reason, why};
use crate::report::{Goal, Row, Unit};

const SHORT: &str = "one way, 8 bytes, 256 deep";
const DEEP: &str = "one way, 8 bytes, 4096 deep";
const KIBIBYTE: &str = "one way, 1 KiB, 256 deep";
const MEBIBYTE: &str = "one way, 1 MiB, 4 deep";

pub const FIGURES: &[Figure] = &[
    Figure { name: SHORT, run: short },
    Figure { name: DEEP, run: deep },
    Figure { name: KIBIBYTE, run: kibibyte },
    Figure { name: MEBIBYTE, run: mebibyte },
];

/// The pauses of the two bare rings between two looks: one, and as many as a receiver of this library makes that has
/// noticed a stream.
const PAUSES: [u32; 2] = [1, 16];

/// Starts a pair that sends through a channel.
fn channel_stream<T: Message>(setup: &Setup, channel: &Named<T>) -> Result<Pair, Reason> {
    let near = || {
        let mut sender = channel.sender()?;
        Ok(sends::<T>(move |message| sender.send(message).map_err(why)))
    };
    let far = || {
        let mut receiver = channel.receiver()?;
        Ok(receives::<T>(move |message| {
            *message = receiver.recv().map_err(why)?;
            Ok(())
        }))
    };
    Pair::start(&setup.cpus, Processors::Different, &near, &far)
}

/// Compares streams of short messages.
fn of_depth(setup: &Setup, figure: &str, depth: usize) -> Result<Vec<Row>, Reason> {
    let channel = Named::<u64>::new(depth)?;
    let ours = channel_stream(setup, &channel)?;
    let [once, often] = PAUSES;
    let rings = [ring_stream::<u64>(setup, depth, once)?, ring_stream::<u64>(setup, depth, often)?];
    let pipe = kernel_stream::<u64>(setup, Streams::pipes()?)?;
    const FEWER: u64 = 32;
    let outcome = Contest::new()
        .timed_side("Spsc", |count| ours.run(count))
        .timed_side("bare ring, 1 pause", |count| rings[0].run(count))
        .timed_side("bare ring, 16 pauses", |count| rings[1].run(count))
        .timed_side("pipe", |count| pipe.run(count / FEWER + 1).map(|took| took * FEWER as u32))
        .run(setup.effort)?;
    let row = |peer, goal| {
        outcome.row(&format!("{figure}: {peer}"), Unit::Millions(1), "Spsc", peer, goal)
    };
    Ok(vec![
        row("bare ring, 1 pause", None),
        row("bare ring, 16 pauses", Some(Goal::at_least(0.9))),
        row("pipe", None),
    ])
}

fn short(setup: &Setup) -> Result<Vec<Row>, Reason> {
    of_depth(setup, SHORT, 256)
}

fn deep(setup: &Setup) -> Result<Vec<Row>, Reason> {
    of_depth(setup, DEEP, 4096)
}

fn kibibyte(setup: &Setup) -> Result<Vec<Row>, Reason> {
    type Kibibyte = [u64; 128];
    const DEPTH: usize = 256;
    let channel = Named::<Kibibyte>::new(DEPTH)?;
    let near = || {
        let mut sender = channel.sender()?;
        Ok(sends::<Kibibyte>(move |message| sender.send(message).map_err(why)))
    };
    let far = || {
        let mut receiver = channel.receiver()?;
        // Without the copies of a value that is returned.
        Ok(receives::<Kibibyte>(move |message| {
            receiver.recv_many(std::slice::from_mut(message)).map_err(why).map(drop)
        }))
    };
    let ours = Pair::start(&setup.cpus, Processors::Different, &near, &far)?;
    let [once, often] = PAUSES;
    let rings = [
        ring_stream::<Kibibyte>(setup, DEPTH, once)?,
        ring_stream::<Kibibyte>(setup, DEPTH, often)?,
    ];
    let outcome = Contest::new()
        .timed_side("Spsc", |count| ours.run(count))
        .timed_side("bare ring, 1 pause", |count| rings[0].run(count))
        .timed_side("bare ring, 16 pauses", |count| rings[1].run(count))
        .run(setup.effort)?;
    let row = |peer, goal| {
        outcome.row(&format!("{KIBIBYTE}: {peer}"), Unit::Millions(1), "Spsc", peer, goal)
    };
    Ok(vec![
        row("bare ring, 1 pause", None),
        row("bare ring, 16 pauses", Some(Goal::at_least(0.9))),
    ])
}

/// Long messages: a stream of bytes, copied in and out; and slots that are filled and read in place.
fn mebibyte(setup: &Setup) -> Result<Vec<Row>, Reason> {
    const WORDS: usize = 1 << 17;
    const DEPTH: usize = 4;
    type Mebibyte = [u64; WORDS];
    let (words, slots) = (Named::<u64>::new(DEPTH * WORDS)?, Named::<Mebibyte>::new(DEPTH)?);
    let copied = {
        let near = || {
            let mut sender = words.sender()?;
            Ok(sends::<Mebibyte>(move |message| sender.send_many(message).map_err(why)))
        };
        let far = || {
            let mut receiver = words.receiver()?;
            Ok(receives::<Mebibyte>(move |message| {
                let mut done = 0;
                while done < WORDS {
                    done += receiver.recv_many(&mut message[done..]).map_err(why)?;
                }
                Ok(())
            }))
        };
        Pair::start(&setup.cpus, Processors::Different, &near, &far)?
    };
    let lent = {
        let near = || {
            let mut sender = slots.sender()?;
            Ok(sends::<Mebibyte>(move |message| {
                let slot = sender.reserve(1).map_err(why)?;
                slot.view()
                    .cast::<u64>()
                    .and_then(|words| words.write_at(0, message))
                    .map_err(why)?;
                slot.publish().map_err(why)
            }))
        };
        let far = || {
            let mut receiver = slots.receiver()?;
            Ok(receives::<Mebibyte>(move |message| {
                let slot = receiver.borrow(1).map_err(why)?;
                let words = slot.view().cast::<u64>().map_err(why)?;
                message[0] = words.get(0).map_err(why)?;
                slot.release().map_err(why)
            }))
        };
        Pair::start(&setup.cpus, Processors::Different, &near, &far)?
    };
    let ring = ring_stream::<Mebibyte>(setup, DEPTH, PAUSES[0])?;
    let pipe = kernel_stream::<Mebibyte>(setup, Streams::pipes()?)?;
    let outcome = Contest::new()
        .timed_side("Spsc, copied", |count| copied.run(count))
        .timed_side("Spsc, read in place", |count| lent.run(count))
        .timed_side("bare ring, copied", |count| ring.run(count))
        .timed_side("pipe", |count| pipe.run(count))
        .run(setup.effort)?;
    let row = |ours, peer, goal| {
        let unit = Unit::rate(size_of::<Mebibyte>());
        outcome.row(&format!("{MEBIBYTE}, {ours}: {peer}"), unit, ours, peer, goal)
    };
    Ok(vec![
        row("Spsc, copied", "bare ring, copied", Some(Goal::at_least(0.97))),
        row("Spsc, copied", "pipe", None),
        row("Spsc, read in place", "bare ring, copied", Some(Goal::at_least(1.0))),
    ])
}
