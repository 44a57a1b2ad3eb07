//! The fault handler beside other handlers, on small stacks, in threads and children, and faults
//! and signals that are none of its business.
//!
//! What a scenario does to its process (handlers, masks, stacks, death) it does in a child: this
//! program again, which is told by an environment variable to run one scenario (`child.rs`).
//! Everything here is part of the fast suite.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#![allow(unsafe_code, reason = "signals, raw memory")]

#[path = "../common/mod.rs"]
mod common;

mod blocked;
mod child;
#[cfg(target_arch = "x86_64")]
mod code;
mod escape;
mod exact;
mod foreign;
mod later;
mod lives;
mod ours;
mod previous;
mod raw;
mod sandbox;
mod sites;
mod stack;

/// The scenario, where this process is a child; otherwise there is nothing to do.
#[test]
fn child() {
    child::run(|name, words| match name {
        "previous" => previous::scenario(words),
        "later" => later::scenario(words),
        "foreign" => foreign::scenario(words),
        "sent" => foreign::sent(words),
        "blocked" => blocked::scenario(words),
        "lives" => lives::scenario(words),
        #[cfg(target_arch = "x86_64")]
        "code" => code::scenario(words),
        "sandbox" => sandbox::scenario(words),
        "stack" => stack::scenario(words),
        _ => panic!("no scenario {name}"),
    });
}
