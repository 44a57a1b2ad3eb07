//! Wakes one process from another, on the same processor and on another one: half a round trip.

use sharemap::{CountingSemaphore, Location, Shared};

use crate::figure::{Figure, Setup};
use crate::measure::Contest;
use crate::peers::futex::{Forked, Turns};
use crate::peers::pthread::Semaphore;
use crate::reason::{Reason, why};
use crate::report::{Goal, Row, Unit};

const NAME: &str = "there and back, asleep on one processor";

/// The round trips of a sample between two processors. Both processes sleep when it begins.
const TRIPS: u64 = 2000;
const APART: &str = "there and back, pinned to two processors";

pub const FIGURES: &[Figure] =
    &[Figure { name: NAME, run: rows }, Figure { name: APART, run: apart }];

fn rows(setup: &Setup) -> Result<Vec<Row>, Reason> {
    let (turns, bounded) = (Turns::shared()?, Turns::shared()?);
    let (there, back) = (Semaphore::new(0)?, Semaphore::new(0)?);
    let both = || (CountingSemaphore::new(0), CountingSemaphore::new(0));
    let signals = Shared::create_new(Location::anonymous(), both).map_err(why)?;
    let (post, wait) = &*signals;
    let _children = [
        Forked::new(|| {
            turns.there.take();
            turns.back.give();
        })?,
        Forked::new(|| {
            bounded.there.take_by_bounded_sleeps();
            bounded.back.give();
        })?,
        Forked::new(|| {
            there.wait();
            back.post();
        })?,
        Forked::new(|| {
            if post.wait().and_then(|()| wait.post()).is_err() {
                std::process::exit(1);
            }
        })?,
    ];
    let outcome = Contest::new()
        .side("Signal", || {
            post.post().map_err(why)?;
            wait.wait().map_err(why)
        })
        .side("futex", || {
            turns.there.give();
            turns.back.take();
            Ok(())
        })
        .side("futex, bounded sleeps", || {
            bounded.there.give();
            bounded.back.take_by_bounded_sleeps();
            Ok(())
        })
        .side("sem_t", || {
            there.post();
            back.wait();
            Ok(())
        })
        .run(setup.effort)?;
    let row = |peer, goal| {
        outcome.row(&format!("{NAME}: {peer}"), Unit::Microseconds, "Signal", peer, goal)
    };
    Ok(vec![
        row("futex", Some(Goal::at_most(1.1))),
        row("futex, bounded sleeps", None),
        row("sem_t", None),
    ])
}

/// The processes are pinned to a processor each, so neither may run where the other one does. A waiter
/// that asked only which processors it may use would take the machine for one with a single processor,
/// and sleep.
fn apart(setup: &Setup) -> Result<Vec<Row>, Reason> {
    let (turns, spinning) = (Turns::shared()?, Turns::shared()?);
    let both = || (CountingSemaphore::new(0), CountingSemaphore::new(0));
    let signals = Shared::create_new(Location::anonymous(), both).map_err(why)?;
    let (post, wait) = &*signals;
    setup.cpus.pin_to_other().map_err(why)?;
    let children = [
        Forked::new(|| {
            turns.there.take();
            turns.back.give();
        })?,
        Forked::new(|| {
            spinning.there.take_after_spinning();
            spinning.back.give_to_spinner();
        })?,
        Forked::new(|| {
            if post.wait().and_then(|()| wait.post()).is_err() {
                std::process::exit(1);
            }
        })?,
    ];
    setup.cpus.pin().map_err(why)?;
    let outcome = Contest::new()
        .repeats(TRIPS)
        .side("futex", || {
            turns.there.give();
            turns.back.take();
            Ok(())
        })
        .side("Signal", || {
            post.post().map_err(why)?;
            wait.wait().map_err(why)
        })
        .side("futex, after spinning", || {
            spinning.there.give_to_spinner();
            spinning.back.take_after_spinning();
            Ok(())
        })
        .run(setup.effort)?;
    drop(children);
    let row = |peer, goal| {
        outcome.row(&format!("{APART}: {peer}"), Unit::Microseconds, "Signal", peer, goal)
    };
    Ok(vec![row("futex", Some(Goal::at_most(0.1))), row("futex, after spinning", None)])
}
