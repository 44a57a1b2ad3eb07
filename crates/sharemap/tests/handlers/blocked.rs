//! Threads that block the signals of faults.

use std::os::unix::process::CommandExt;

use sharemap::guard::{self, Recovery};

use crate::child;
use crate::common::{emulated, skip};
use crate::ours::Ours;
use crate::raw::{self, SIGNALS};

pub fn scenario(words: &[&str]) {
    let ours = Ours::new();
    if words != ["inherited"] {
        ours.check();
    }
    match words {
        // The first transfer of a thread checks its mask, and so does every large one.
        ["transfers"] => std::thread::scope(|scope| {
            for signals in [&SIGNALS[..], &SIGNALS[..1], &SIGNALS[1..]] {
                scope.spawn(|| {
                    raw::mask(libc::SIG_BLOCK, signals);
                    ours.check_transfer(2000);
                    ours.check_large();
                    ours.check_transfer(2000);
                    assert!(signals.iter().all(|&signal| raw::blocks(signal)));
                    raw::mask(libc::SIG_UNBLOCK, signals);
                    ours.check_large();
                    ours.check_transfer(2000);
                    ours.check();
                    raw::mask(libc::SIG_BLOCK, signals);
                    ours.check_large();
                    ours.check_transfer(2000);
                    assert_eq!(guard::seal_thread(), Recovery::Syscall);
                    ours.check_large();
                    ours.check_transfer(2000);
                });
            }
        }),
        // Single accesses do not check the mask, as documented.
        ["single"] => {
            raw::mask(libc::SIG_BLOCK, &SIGNALS);
            ours.check();
        }
        ["exec"] => {
            raw::mask(libc::SIG_BLOCK, &SIGNALS);
            let program = std::env::current_exe().unwrap();
            let mut again = child::command(&program, "blocked inherited");
            panic!("{}", again.exec());
        }
        // This program starts with the signals blocked.
        ["inherited"] => {
            assert!(SIGNALS.iter().all(|&signal| raw::blocks(signal)));
            ours.check_transfer(2000);
            ours.check_large();
        }
        _ => panic!("{words:?}"),
    }
}

/// The first transfer of a thread, and every large one, detects blocked signals.
#[test]
fn transfers_see_that_the_signals_are_blocked() {
    child::outcome("blocked transfers").ended_well();
}

/// A single access that faults while the signal is blocked kills the process, as documented.
#[test]
fn single_accesses_with_the_signal_blocked_are_not_recovered() {
    if emulated() {
        skip!("the emulator leaves a program with blocked signals in its fault for ever");
    }
    if child::in_place("what a blocked signal does") {
        child::outcome("blocked single").died_of(libc::SIGBUS);
    }
}

/// A program that starts with the signals blocked detects that.
#[test]
fn a_mask_is_inherited_by_the_next_program() {
    if emulated() {
        skip!("the emulator does not hand masks on to the next program");
    }
    child::outcome("blocked exec").ended_well();
}
