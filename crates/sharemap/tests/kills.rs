//! Kills an operation on shared bytes at every instruction, and every recovery from that at every
//! instruction, until no new state of the object appears.
//!
//! A child runs the operation under ptrace (`kills/stores.rs`). Every state that a kill could leave in
//! the object is kept, and a survivor must make progress from each (`kills/closure.rs`). Operations
//! that wait, or that a waiter depends on, run beside a living process (`kills/beside.rs`), which must
//! also make progress when the operation is really killed. Planted mistakes (`kills/plant.rs`), stores
//! that are dropped or reordered, must all be found.
//!
//! Each lock and channel has a file in `kills/locks`, with a line for each operation. The short form continues from
//! the states that the fewest kills lead to. The long form continues from all, up to a few thousand per
//! operation, and takes about ten minutes:
//!
//! ```text
//! SHAREMAP_LONG=1 cargo test --release -p sharemap --test kills -- --nocapture
//! ```

#![cfg(all(target_os = "linux", target_arch = "x86_64", not(sharemap_syscall_fallback)))]

#[path = "kills/beside.rs"]
mod beside;
#[allow(dead_code, reason = "not every test needs all of it")]
#[path = "kills/closure.rs"]
mod closure;
mod common;
#[path = "kills/header.rs"]
mod header;
#[path = "kills/image.rs"]
mod image;
#[path = "kills/locks/mod.rs"]
mod locks;
#[allow(dead_code, reason = "not every test needs all of it")]
#[path = "kills/open.rs"]
mod open;
#[path = "kills/plant.rs"]
mod plant;
#[allow(dead_code, reason = "not every test needs all of it")]
#[path = "hostile/random.rs"]
mod random;
#[path = "kills/register.rs"]
mod register;
#[path = "kills/stores.rs"]
mod stores;
#[path = "kills/tracee.rs"]
mod tracee;

use std::time::Instant;

use closure::{Closure, Kills, Scenario, traced_or_skip};
use locks::{Operation, Planted};
use open::Order;
use register::Bug;

fn close_register(bug: Bug) -> Closure {
    Scenario {
        prepare: &register::prepare,
        beside: None,
        operate: &|path| register::operate(path, bug),
        survive: &|path| register::survive(path, bug),
        mask: |_| {},
        plant: None,
        at_most: usize::MAX,
        order: Order::Oldest,
    }
    .close()
}

/// An update of a value with a spare copy survives every kill.
#[test]
fn an_update_with_a_spare_copy_is_survived() {
    traced_or_skip!();
    let closure = close_register(Bug::None);
    eprintln!("{} states, {} stops", closure.images, closure.stops);
    assert!(closure.failure.is_none(), "{closure:?}");
    // Three updates of three stores each. Kills leave different spare copies.
    assert!(closure.images >= 10, "{closure:?}");
}

/// The search finds each planted mistake in the update of a value with a spare copy.
#[test]
fn planted_mistakes_are_found() {
    traced_or_skip!();
    for bug in [Bug::SelectedEarly, Bug::InPlace, Bug::HalfWritten] {
        let closure = close_register(bug);
        let reason = closure.failure.as_ref().unwrap_or_else(|| panic!("{bug:?}: {closure:?}"));
        assert!(reason.contains("panicked"), "{reason}");
    }
}

fn long() -> bool {
    std::env::var_os("SHAREMAP_LONG").is_some()
}

/// The number of states from which the short form continues, those of the fewest kills first.
const AT_MOST: usize = 40;

/// The number of states within which a planted mistake must be found.
const FOUND_WITHIN: usize = 200;

fn at_most() -> usize {
    if long() { usize::MAX } else { AT_MOST }
}

fn kills() -> Kills {
    if long() { Kills::Every } else { Kills::NewStates }
}

/// Kills the operation and all recoveries from it. Nothing may be lost, and every survivor must
/// make progress, including a process that lives beside the operation.
fn close(operation: &Operation) {
    let (name, since) = (operation.name, Instant::now());
    operation.scenario(None, at_most(), |scenario| scenario.close()).say(name, since, at_most());
    if operation.beside.is_some() {
        let since = Instant::now();
        let killed = operation.scenario(None, 0, |scenario| scenario.kill(kills(), |_| ()));
        let seconds = since.elapsed().as_secs_f64();
        match killed {
            Ok(kills) => eprintln!("{name}: {kills} kills beside a living process; {seconds:.2} s"),
            Err(reason) => panic!("{name}: {reason}"),
        }
    }
}

fn find(planted: &Planted) {
    let Planted { name, operation, plant } = planted;
    let closure = operation.scenario(Some(*plant), FOUND_WITHIN, |scenario| scenario.close());
    match closure.failure {
        Some(reason) => eprintln!("{name}: after {} states: {reason}", closure.images),
        None => panic!("{}, {name}: not found in {} states", operation.name, closure.images),
    }
}

macro_rules! locks {
    ($($lock:ident),* $(,)?) => { $(
        mod $lock {
            use super::*;

            /// Survivors make progress after a kill at any instruction of an operation.
            #[test]
            fn every_kill_is_survived() {
                traced_or_skip!();
                locks::$lock::OPERATIONS.iter().for_each(close);
            }

            /// The search finds each mistake planted in an operation.
            #[test]
            fn planted_mistakes_are_found() {
                traced_or_skip!();
                locks::$lock::PLANTED.iter().for_each(find);
            }
        }
    )* };
}

locks!(barrier, condvar, event, mutex, once, permits, rwlock, signal, slices, spsc);

/// A forked child that is killed while it locks does not impede its parent.
#[test]
fn a_forked_child_is_survived() {
    traced_or_skip!();
    let since = Instant::now();
    locks::fork::close(at_most()).say("a forked child locks", since, at_most());
    match locks::fork::kill(kills()) {
        Ok(kills) => eprintln!("a forked child locks: {kills} kills, and its parent goes on"),
        Err(reason) => panic!("a forked child locks: {reason}"),
    }
}
