//! The fault handler beside other handlers, on small stacks, in threads and children, and faults
//! and signals that are none of its business.
//!
//! What a scenario does to its process (handlers, masks, stacks, death) it does in a child: this
//! program again, which is told by an environment variable to run one scenario (`child.rs`).
//! Everything here is part of the fast suite.

#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "signals, raw memory")]

mod blocked;
mod child;
mod exact;
mod foreign;
mod lives;
mod previous;
mod raw;
mod stack;

/// The scenario, where this process is a child; otherwise there is nothing to do.
#[test]
fn child() {
    child::run(|name, words| match name {
        "previous" => previous::scenario(words),
        "later" => previous::later(words),
        "foreign" => foreign::scenario(words),
        "sent" => foreign::sent(words),
        "blocked" => blocked::scenario(words),
        "lives" => lives::scenario(words),
        "stack" => stack::scenario(words),
        _ => panic!("no scenario {name}"),
    });
}
