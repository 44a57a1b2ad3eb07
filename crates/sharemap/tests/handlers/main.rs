//! The fault handler beside other handlers, on small stacks, in threads and children, and with
//! foreign faults and signals.
//!
//! A scenario that changes its process (handlers, masks, stacks, death) runs in a child. The child
//! is this program, and an environment variable names its scenario (`child.rs`). All of these tests
//! are part of the fast suite.

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
mod reach;
mod sandbox;
mod sites;
mod stack;

/// Child role: runs the scenario, if this process is a child.
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
        "reach" => reach::scenario(words),
        "sandbox" => sandbox::scenario(words),
        "stack" => stack::scenario(words),
        _ => panic!("no scenario {name}"),
    });
}
