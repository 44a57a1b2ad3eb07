//! Kills an operation of a segment at its stores and system calls, and the recoveries from that at
//! theirs, until no new state of the segment appears, or for a sample of the states.
//!
//! A child runs the operation under ptrace, as in `kills`. In a copy of each state, a survivor opens
//! the segment and repairs it, and is killed at each stop of that as well. Then it checks that the
//! segment is whole, that nothing is leaked, and that it contains what it did before the operation or
//! after it. It completes the operation, and makes one of each kind. Each operation is also really
//! killed beside a living process, which goes on with the segment that it has open. Planted mistakes
//! must be found.
//!
//! The short form continues from a sample of the states, from the seed `SHAREMAP_SEED`. The long form
//! continues from all, up to a few thousand per operation, and takes about 15 minutes:
//!
//! ```text
//! SHAREMAP_LONG=1 cargo test --release -p sharemap --test segment_kills -- --nocapture
//! ```

#![cfg(all(target_os = "linux", target_arch = "x86_64", not(sharemap_syscall_fallback)))]

#[path = "kills/beside.rs"]
mod beside;
#[allow(dead_code, reason = "not every test needs all of it")]
#[path = "kills/closure.rs"]
mod closure;
mod common;
#[path = "segment_kills/contents.rs"]
mod contents;
#[path = "segment_kills/exercise.rs"]
mod exercise;
#[path = "kills/header.rs"]
mod header;
#[path = "kills/image.rs"]
mod image;
#[allow(dead_code, reason = "not every test needs all of it")]
#[path = "kills/open.rs"]
mod open;
#[path = "segment_kills/operation.rs"]
mod operation;
#[path = "segment_kills/operations/mod.rs"]
mod operations;
#[allow(dead_code, reason = "not every test needs all of it")]
#[path = "kills/plant.rs"]
mod plant;
#[allow(dead_code, reason = "not every test needs all of it")]
#[path = "hostile/random.rs"]
mod random;
#[path = "segment_kills/small.rs"]
mod small;
#[path = "kills/stores.rs"]
mod stores;
#[path = "kills/tracee.rs"]
mod tracee;

use std::time::Instant;

use closure::{Kills, traced_or_skip};
use open::Order;
use operation::Operation;
use operations::Planted;

/// The number of states from which a search continues.
fn states() -> usize {
    common::repeated(1300, 12) as usize
}

/// The number of kills beside a living process.
fn kills() -> usize {
    common::repeated(100, 2) as usize
}

/// The number of states within which a planted mistake must be found.
const FOUND_WITHIN: usize = 300;

fn order() -> Order {
    let seed = std::env::var("SHAREMAP_SEED").ok().and_then(|seed| seed.parse().ok());
    Order::Spread(seed.unwrap_or(1))
}

/// Kills the operation and the recoveries from it, alone and beside a living process.
fn close(operation: &Operation) {
    let (name, since) = (operation.name, Instant::now());
    let prepared = operation.prepared();
    let closure = prepared.alone(None, (states(), order()), |scenario| scenario.close());
    closure.say(name, since, states());
    assert!(closure.of_operation >= operation.states, "{name}: {closure:?}");
    let since = Instant::now();
    let sample = Kills::Sample(kills(), order());
    let killed = prepared.beside(None, |scenario| scenario.kill(sample, |_| ()));
    let seconds = since.elapsed().as_secs_f64();
    match killed {
        Ok(kills) => eprintln!("{name}: {kills} kills beside a living process; {seconds:.2} s"),
        Err(reason) => panic!("{name}: {reason}"),
    }
}

fn find(planted: &Planted) {
    let Planted { name, operation, plant } = planted;
    let (prepared, search) = (operation.prepared(), (FOUND_WITHIN, order()));
    let closure = prepared.alone(Some(*plant), search, |scenario| scenario.close());
    match closure.failure {
        Some(reason) => eprintln!("{name}: after {} states: {reason}", closure.images),
        None => panic!("{}, {name}: not found in {} states", operation.name, closure.images),
    }
}

fn print_seed() {
    let Order::Spread(seed) = order() else { return };
    println!("SHAREMAP_SEED={seed}");
}

macro_rules! operations {
    ($($group:ident),* $(,)?) => { $(
        mod $group {
            use super::*;

            /// Survivors find the old contents or the new after a kill at any stop.
            #[test]
            fn kills_are_survived() {
                traced_or_skip!();
                print_seed();
                operations::$group::OPERATIONS.iter().for_each(close);
            }

            /// The search finds each mistake planted in an operation.
            #[test]
            fn planted_mistakes_are_found() {
                traced_or_skip!();
                print_seed();
                operations::$group::PLANTED.iter().for_each(find);
            }
        }
    )* };
}

operations!(heap, lanes, maps, names, pages, whole);

/// A creation that is killed leaves no segment, or a whole one.
#[test]
fn killed_creations_are_survived() {
    traced_or_skip!();
    print_seed();
    let since = Instant::now();
    operations::whole::create_killed((states(), order())).say("create", since, states());
}

/// A living process finds mistakes that survivors of the state alone cannot notice.
#[test]
fn planted_mistakes_are_found_beside_a_living_process() {
    traced_or_skip!();
    for Planted { name, operation, plant } in operations::PLANTED_BESIDE {
        let prepared = operation.prepared();
        let killed = prepared.beside(Some(*plant), |scenario| scenario.kill(Kills::Every, |_| ()));
        match killed {
            Ok(kills) => panic!("{}, {name}: not found by {kills} kills", operation.name),
            Err(reason) => eprintln!("{name}: {reason}"),
        }
    }
}

/// Mistakes that are explained in the source are survived.
#[test]
fn harmless_mistakes_are_survived() {
    traced_or_skip!();
    print_seed();
    for Planted { name, operation, plant } in operations::HARMLESS {
        let (since, prepared) = (Instant::now(), operation.prepared());
        let closure =
            prepared.alone(Some(*plant), (states(), order()), |scenario| scenario.close());
        closure.say(name, since, states());
    }
}
