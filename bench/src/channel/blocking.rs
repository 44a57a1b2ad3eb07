//! Round trips of processes that block: on one processor, where the other runs only if this one waits, and on two.

use super::pair::{Pair, Processors};
use super::{Named, answers, asks, kernel_trips};
use crate::figure::{Figure, Setup};
use crate::measure::Contest;
use crate::peers::futex::Turns;
use crate::peers::stream::Streams;
use crate::reason::{Reason, why};
use crate::report::{Goal, Row, Unit};

const ONE: &str = "there and back, blocking on one processor, 8 bytes";
const TWO: &str = "there and back, blocking on two processors, 8 bytes";

pub const FIGURES: &[Figure] = &[Figure { name: ONE, run: one }, Figure { name: TWO, run: two }];

/// Starts a pair that hands a bare futex over.
fn futex(setup: &Setup, processors: Processors) -> Result<Pair, Reason> {
    let turns = Turns::shared()?;
    let near = || {
        let work = move |count: u64| {
            for _ in 0..count {
                turns.there.give();
                turns.back.take();
            }
            Ok(())
        };
        Ok(Box::new(work) as _)
    };
    let far = || {
        let work = move |count: u64| {
            for _ in 0..count {
                turns.there.take();
                turns.back.give();
            }
            Ok(())
        };
        Ok(Box::new(work) as _)
    };
    Pair::start(&setup.cpus, processors, &near, &far)
}

/// Starts a pair that blocks on two channels.
fn channels(
    setup: &Setup,
    processors: Processors,
    [there, back]: &[Named<u64>; 2],
) -> Result<Pair, Reason> {
    let near = || {
        let (mut sender, mut receiver) = (there.sender()?, back.receiver()?);
        Ok(asks::<u64>(
            move |message| sender.send(message).map_err(why),
            move |message| {
                *message = receiver.recv().map_err(why)?;
                Ok(())
            },
        ))
    };
    let far = || {
        let (mut sender, mut receiver) = (back.sender()?, there.receiver()?);
        Ok(answers::<u64>(
            move |message| {
                *message = receiver.recv().map_err(why)?;
                Ok(())
            },
            move |message| sender.send(message).map_err(why),
        ))
    };
    Pair::start(&setup.cpus, processors, &near, &far)
}

fn on(
    setup: &Setup,
    figure: &str,
    processors: Processors,
    goal: Option<Goal>,
) -> Result<Vec<Row>, Reason> {
    let named = [Named::<u64>::new(256)?, Named::new(256)?];
    let ours = channels(setup, processors, &named)?;
    let limit = futex(setup, processors)?;
    let pipe = kernel_trips::<u64>(setup, processors, Streams::pipes()?)?;
    let socket = kernel_trips::<u64>(setup, processors, Streams::sockets()?)?;
    let outcome = Contest::new()
        .timed_side("Spsc", |count| ours.run(count))
        .timed_side("futex", |count| limit.run(count))
        .timed_side("pipe", |count| pipe.run(count))
        .timed_side("Unix socket", |count| socket.run(count))
        .run(setup.effort)?;
    let row = |peer, goal| {
        outcome.row(&format!("{figure}: {peer}"), Unit::Microseconds, "Spsc", peer, goal)
    };
    Ok(vec![row("futex", goal), row("pipe", None), row("Unix socket", None)])
}

fn one(setup: &Setup) -> Result<Vec<Row>, Reason> {
    on(setup, ONE, Processors::Same, Some(Goal::at_most(0.8)))
}

fn two(setup: &Setup) -> Result<Vec<Row>, Reason> {
    on(setup, TWO, Processors::Different, None)
}
