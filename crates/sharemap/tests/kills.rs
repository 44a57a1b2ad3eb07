//! SIGKILL at every instruction of an operation on shared bytes, and at every instruction of every
//! recovery from that, until no new state appears.
//!
//! A child runs the operation under ptrace (`kills/stores.rs`), every state of the object that a
//! kill could leave is kept, and from each a survivor has to go on (`kills/closure.rs`). Operations
//! that wait, or are waited for, have a living process beside them (`kills/beside.rs`), which has to
//! go on as well when the operation is killed for real. Mistakes are planted first (`kills/plant.rs`):
//! a store that does not happen, or two in the wrong order; each has to be found.
//!
//! A lock is a file in `kills/locks`, with a line for each operation. The short form goes on from the
//! states that the fewest kills lead to; the long form from all, up to a few thousand for each
//! operation, in some ten minutes:
//!
//! ```text
//! SHAREMAP_LONG=1 cargo test --release -p sharemap --test kills -- --nocapture
//! ```

#![cfg(all(target_os = "linux", target_arch = "x86_64", not(sharemap_syscall_fallback)))]

#[path = "kills/beside.rs"]
mod beside;
#[path = "kills/closure.rs"]
mod closure;
mod common;
#[path = "kills/locks/mod.rs"]
mod locks;
#[path = "kills/plant.rs"]
mod plant;
#[path = "kills/register.rs"]
mod register;
#[path = "kills/stores.rs"]
mod stores;
#[path = "kills/tracee.rs"]
mod tracee;

use std::time::Instant;

use closure::{Closure, Kills, Scenario};
use locks::{Operation, Planted};
use register::Bug;

/// Whether there is anything to be seen here.
macro_rules! traced_or_skip {
    () => {
        if !tracee::Tracee::is_allowed() {
            common::skip!("this process may not trace its children");
        }
        // In this process, so that children have it: what the first mapping installs.
        let _ = sharemap::guard::recovery();
    };
}

fn close_register(bug: Bug) -> Closure {
    Scenario {
        prepare: &register::prepare,
        beside: None,
        operate: &|path| register::operate(path, bug),
        survive: &|path| register::survive(path, bug),
        mask: |_| {},
        plant: None,
        at_most: usize::MAX,
    }
    .close()
}

#[test]
fn an_update_with_a_spare_copy() {
    traced_or_skip!();
    let closure = close_register(Bug::None);
    eprintln!("{} states, {} stops", closure.images, closure.stops);
    assert!(closure.failure.is_none(), "{closure:?}");
    // Each update is three stores, and there are three of them; kills leave different spare copies.
    assert!(closure.images >= 10, "{closure:?}");
}

#[test]
fn planted_mistakes_are_found() {
    traced_or_skip!();
    for bug in [Bug::SelectedEarly, Bug::InPlace, Bug::HalfWritten] {
        let closure = close_register(bug);
        let (_, reason) =
            closure.failure.as_ref().unwrap_or_else(|| panic!("{bug:?}: {closure:?}"));
        assert!(reason.contains("panicked"), "{reason}");
    }
}

fn long() -> bool {
    std::env::var_os("SHAREMAP_LONG").is_some()
}

/// States that the short form goes on from, those first that the fewest kills lead to.
const AT_MOST: usize = 40;

/// States within which a planted mistake is found.
const FOUND_WITHIN: usize = 200;

fn at_most() -> usize {
    if long() { usize::MAX } else { AT_MOST }
}

fn kills() -> Kills {
    if long() { Kills::Every } else { Kills::NewStates }
}

fn say(name: &str, since: Instant, closure: &Closure) {
    let Closure { images, stops, closed, failure } = closure;
    let all = if *closed { "all of them" } else { "and there are more" };
    let seconds = since.elapsed().as_secs_f64();
    eprintln!("{name}: {images} states, {all}; {stops} stops; {seconds:.2} s");
    if let Some((_, reason)) = failure {
        panic!("{name}: after {images} states: {reason}");
    }
    assert!(*closed || *images == AT_MOST, "{name}: {images}");
}

/// Kills in the operation, and in all recoveries: nothing is lost, and everybody gets on, also who
/// lives beside it.
fn close(operation: &Operation) {
    let (name, since) = (operation.name, Instant::now());
    say(name, since, &operation.scenario(None, at_most(), |scenario| scenario.close()));
    if operation.beside.is_some() {
        let since = Instant::now();
        let killed = operation.scenario(None, 0, |scenario| scenario.kill(kills(), |_| ()));
        let seconds = since.elapsed().as_secs_f64();
        match killed {
            Ok(kills) => eprintln!("{name}: {kills} kills beside one who lives; {seconds:.2} s"),
            Err(reason) => panic!("{name}: {reason}"),
        }
    }
}

fn find(planted: &Planted) {
    let Planted { name, operation, plant } = planted;
    let closure = operation.scenario(Some(*plant), FOUND_WITHIN, |scenario| scenario.close());
    match closure.failure {
        Some((_, reason)) => eprintln!("{name}: after {} states: {reason}", closure.images),
        None => panic!("{}, {name}: not found in {} states", operation.name, closure.images),
    }
}

macro_rules! locks {
    ($($lock:ident),* $(,)?) => { $(
        mod $lock {
            use super::*;

            #[test]
            fn is_survived() {
                traced_or_skip!();
                locks::$lock::OPERATIONS.iter().for_each(close);
            }

            #[test]
            fn planted_mistakes_are_found() {
                traced_or_skip!();
                locks::$lock::PLANTED.iter().for_each(find);
            }
        }
    )* };
}

locks!(barrier, condvar, event, mutex, once, permits, rwlock, signal, slices);

#[test]
fn a_forked_child() {
    traced_or_skip!();
    let since = Instant::now();
    say("a forked child locks", since, &locks::fork::close(at_most()));
    match locks::fork::kill(kills()) {
        Ok(kills) => eprintln!("a forked child locks: {kills} kills, and its parent goes on"),
        Err(reason) => panic!("a forked child locks: {reason}"),
    }
}
