//! SIGKILL at every instruction of an operation on shared bytes, and at every instruction of every
//! recovery from that, until no new state appears.
//!
//! A child runs the operation under ptrace (`kills/stores.rs`), every state of the object that a
//! kill could leave is kept, and from each a survivor has to go on (`kills/closure.rs`). Each kind of
//! mistake is planted first, and has to be found.
//!
//! Of locks, the short form goes on from the states that the fewest kills lead to. The long form goes
//! on from all, in some minutes for each operation:
//!
//! ```text
//! SHAREMAP_LONG=1 cargo test --release -p sharemap --test kills -- --nocapture
//! ```

#![cfg(all(target_os = "linux", target_arch = "x86_64", not(sharemap_syscall_fallback)))]

#[path = "kills/closure.rs"]
mod closure;
mod common;
#[path = "kills/locks.rs"]
mod locks;
#[path = "kills/register.rs"]
mod register;
#[path = "kills/stores.rs"]
mod stores;
#[path = "kills/tracee.rs"]
mod tracee;

use std::path::Path;

use closure::{Closure, Scenario};
use locks::{mask_mutex, mask_rwlock, mutex, rwlock};
use register::Bug;

fn close_register(bug: Bug) -> Closure {
    // In this process, so that children have it: what the first mapping installs.
    let _ = sharemap::guard::recovery();
    Scenario {
        prepare: &register::prepare,
        operate: &|path| register::operate(path, bug),
        survive: &|path| register::survive(path, bug),
        mask: |_| {},
        at_most: usize::MAX,
    }
    .close()
}

/// Whether there is anything to be seen here.
macro_rules! traced_or_skip {
    () => {
        if !tracee::Tracee::is_allowed() {
            common::skip!("this process may not trace its children");
        }
    };
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

/// Kills in the operation, and in all recoveries: nothing is lost, and everybody gets on.
fn close_lock(what: &str, scenario: &Scenario<'_>) {
    let _ = sharemap::guard::recovery();
    let Closure { images, stops, closed, failure } = scenario.close();
    let all = if closed { "all of them" } else { "and there are more" };
    eprintln!("{what}: {images} states, {all}; {stops} stops");
    if let Some((_, reason)) = failure {
        panic!("{what}: after {images} states: {reason}");
    }
    assert!(closed || images == AT_MOST, "{what}: {images}");
}

/// States that the short form goes on from, those first that the fewest kills lead to.
const AT_MOST: usize = 100;

fn at_most() -> usize {
    if std::env::var_os("SHAREMAP_LONG").is_some() { usize::MAX } else { AT_MOST }
}

fn close_mutex(what: &str, prepare: fn(&Path), operate: fn(&Path)) {
    let (survive, mask, at_most) = (&mutex::survive, mask_mutex, at_most());
    close_lock(what, &Scenario { prepare: &prepare, operate: &operate, survive, mask, at_most });
}

fn close_rwlock(what: &str, operate: fn(&Path)) {
    let (prepare, survive) = (&rwlock::prepare, &rwlock::survive);
    let (mask, at_most) = (mask_rwlock, at_most());
    close_lock(what, &Scenario { prepare, operate: &operate, survive, mask, at_most });
}

#[test]
fn a_mutex() {
    traced_or_skip!();
    close_mutex("lock", mutex::prepare, mutex::lock);
    close_mutex("attach and lock", mutex::prepare, mutex::attach);
    close_mutex("create", |_| {}, mutex::create);
}

#[test]
fn a_lock_for_readers_and_writers() {
    traced_or_skip!();
    close_rwlock("read", rwlock::read);
    close_rwlock("write", rwlock::write);
    close_rwlock("upgrade", rwlock::upgrade);
}
