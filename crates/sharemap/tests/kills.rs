//! SIGKILL at every instruction of an operation on shared bytes, and at every instruction of every
//! recovery from that, until no new state appears.
//!
//! A child runs the operation under ptrace (`kills/stores.rs`), every state of the object that a
//! kill could leave is kept, and from each a survivor has to go on (`kills/closure.rs`). Each kind of
//! mistake is planted first, and has to be found.

#![cfg(all(target_os = "linux", target_arch = "x86_64", not(sharemap_syscall_fallback)))]

#[path = "kills/closure.rs"]
mod closure;
mod common;
#[path = "kills/register.rs"]
mod register;
#[path = "kills/stores.rs"]
mod stores;
#[path = "kills/tracee.rs"]
mod tracee;

use closure::{Closure, Scenario};
use register::Bug;

fn close_register(bug: Bug) -> Closure {
    // In this process, so that children have it: what the first mapping installs.
    let _ = sharemap::guard::recovery();
    Scenario {
        prepare: &register::prepare,
        operate: &|path| register::operate(path, bug),
        survive: &|path| register::survive(path, bug),
        mask: |_| {},
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
