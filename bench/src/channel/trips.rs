//! Round trips between two processes on a processor each, by polling: neither ever sleeps.

use std::sync::atomic::{AtomicU64, Ordering};

use super::pair::{Pair, Processors};
use super::{Message, Named, answers, asks, kernel_trips, ring_trips};
use crate::figure::{Figure, Setup};
use crate::measure::Contest;
use crate::peers::shared::Shared;
use crate::peers::stream::Streams;
use crate::reason::{Reason, why};
use crate::report::{Goal, Row, Unit};

const SHORT: &str = "there and back by polling, 8 bytes, 256 deep";
const LONG: &str = "there and back by polling, 1 KiB, 256 deep";

pub const FIGURES: &[Figure] =
    &[Figure { name: SHORT, run: short }, Figure { name: LONG, run: long }];

const DEPTH: usize = 256;
/// The pauses of the bare ring between two looks.
const PAUSES: u32 = 1;

/// Two words, on lines of their own, that two processes store in turn.
#[repr(C, align(128))]
struct Lines {
    there: AtomicU64,
    _apart: [u8; 120],
    back: AtomicU64,
}

/// Starts the pair of fewest steps: each side stores a number that the other waits for.
fn lines(setup: &Setup) -> Result<Pair, Reason> {
    let lines = std::rc::Rc::new(Shared::<Lines>::new()?);
    let wait = |word: &AtomicU64, number: u64| {
        while word.load(Ordering::Acquire) != number {
            std::hint::spin_loop();
        }
    };
    let near = || {
        let (lines, mut number) = (std::rc::Rc::clone(&lines), 0);
        let work = move |count: u64| {
            for _ in 0..count {
                number += 1;
                lines.get().there.store(number, Ordering::Release);
                wait(&lines.get().back, number);
            }
            Ok(())
        };
        Ok(Box::new(work) as _)
    };
    let far = || {
        let (lines, mut number) = (std::rc::Rc::clone(&lines), 0);
        let work = move |count: u64| {
            for _ in 0..count {
                number += 1;
                wait(&lines.get().there, number);
                lines.get().back.store(number, Ordering::Release);
            }
            Ok(())
        };
        Ok(Box::new(work) as _)
    };
    Pair::start(&setup.cpus, Processors::Different, &near, &far)
}

/// Starts a pair that polls two channels.
fn polled<T: Message>(setup: &Setup, there: &Named<T>, back: &Named<T>) -> Result<Pair, Reason> {
    let near = || {
        let (mut sender, mut receiver) = (there.sender()?, back.receiver()?);
        Ok(asks::<T>(
            move |message| {
                while !sender.try_send(message).map_err(why)? {
                    std::hint::spin_loop();
                }
                Ok(())
            },
            move |message| loop {
                if let Some(received) = receiver.try_recv().map_err(why)? {
                    *message = received;
                    return Ok(());
                }
                std::hint::spin_loop();
            },
        ))
    };
    let far = || {
        let (mut sender, mut receiver) = (back.sender()?, there.receiver()?);
        Ok(answers::<T>(
            move |message| loop {
                if let Some(received) = receiver.try_recv().map_err(why)? {
                    *message = received;
                    return Ok(());
                }
                std::hint::spin_loop();
            },
            move |message| {
                while !sender.try_send(message).map_err(why)? {
                    std::hint::spin_loop();
                }
                Ok(())
            },
        ))
    };
    Pair::start(&setup.cpus, Processors::Different, &near, &far)
}

fn short(setup: &Setup) -> Result<Vec<Row>, Reason> {
    let channels = [Named::<u64>::new(DEPTH)?, Named::new(DEPTH)?];
    let ours = polled(setup, &channels[0], &channels[1])?;
    let limit = lines(setup)?;
    let ring = ring_trips::<u64>(setup, DEPTH, PAUSES)?;
    let pipe = kernel_trips::<u64>(setup, Processors::Different, Streams::pipes()?)?;
    let socket = kernel_trips::<u64>(setup, Processors::Different, Streams::sockets()?)?;
    let outcome = Contest::new()
        .timed_side("Spsc", |count| ours.run(count))
        .timed_side("cache line", |count| limit.run(count))
        .timed_side("bare ring", |count| ring.run(count))
        .timed_side("pipe", |count| pipe.run(count / 16 + 1).map(|took| took * 16))
        .timed_side("Unix socket", |count| socket.run(count / 16 + 1).map(|took| took * 16))
        .run(setup.effort)?;
    let row = |peer, goal| {
        outcome.row(&format!("{SHORT}: {peer}"), Unit::Nanoseconds, "Spsc", peer, goal)
    };
    Ok(vec![
        row("cache line", Some(Goal::at_most(1.15))),
        row("bare ring", None),
        row("pipe", None),
        row("Unix socket", None),
    ])
}

fn long(setup: &Setup) -> Result<Vec<Row>, Reason> {
    type Kibibyte = [u64; 128];
    let channels = [Named::<Kibibyte>::new(DEPTH)?, Named::new(DEPTH)?];
    let ours = polled(setup, &channels[0], &channels[1])?;
    let ring = ring_trips::<Kibibyte>(setup, DEPTH, PAUSES)?;
    let outcome = Contest::new()
        .timed_side("Spsc", |count| ours.run(count))
        .timed_side("bare ring", |count| ring.run(count))
        .run(setup.effort)?;
    let goal = Some(Goal::at_most(1.05));
    Ok(vec![outcome.row(
        &format!("{LONG}: bare ring"),
        Unit::Nanoseconds,
        "Spsc",
        "bare ring",
        goal,
    )])
}
