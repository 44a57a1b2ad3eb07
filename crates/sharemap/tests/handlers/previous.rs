//! Handlers that were installed before the library's: every kind, on every stack.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::child;
use crate::escape::{escapable, escape};
use crate::ours::{Ours, check_slice};
use crate::raw::{self, SIGNALS};

/// The page that faults for the previous handler.
static BAD: AtomicUsize = AtomicUsize::new(0);
static CALLS: AtomicUsize = AtomicUsize::new(0);

/// What the handler must observe, where that differs from the plain handler.
static NOT_DEFERRED: AtomicBool = AtomicBool::new(false);
static MASKED: AtomicBool = AtomicBool::new(false);
static ALTERNATE: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
static ASKED_FOR_ALTERNATE: AtomicBool = AtomicBool::new(false);

const KINDS: [&str; 10] = [
    "std",
    "default",
    "ignored",
    "plain",
    "info",
    "nodefer",
    "resethand",
    "masked",
    "escaping",
    "exiting",
];

/// Returns `true` for the kinds of handler that let their own fault kill the process by the signal.
fn dies(kind: &str) -> bool {
    matches!(kind, "std" | "default" | "ignored" | "resethand")
}

extern "C" fn plain(signal: c_int) {
    seen(signal);
}

extern "C" fn info(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes valid pointers to such a handler.
    unsafe {
        assert_eq!((*info).si_signo, signal);
        assert!((*info).si_code > 0);
        assert_eq!((*info).si_addr() as usize, BAD.load(Ordering::Relaxed));
    }
    assert!(!context.is_null());
    seen(signal);
}

extern "C" fn escaping(signal: c_int) {
    seen(signal);
    raw::mask(libc::SIG_UNBLOCK, &[signal]);
    escape();
}

extern "C" fn exiting(_: c_int) {
    // SAFETY: ends the process.
    unsafe { libc::_exit(7) }
}

/// Checks the state that every handler must observe, and repairs its own fault.
fn seen(signal: c_int) {
    let here = 0u8;
    let here = (&raw const here) as usize;
    let alternate = ALTERNATE[0].load(Ordering::Relaxed)..ALTERNATE[1].load(Ordering::Relaxed);
    let asked = ASKED_FOR_ALTERNATE.load(Ordering::Relaxed);
    assert_eq!(alternate.contains(&here), asked && !alternate.is_empty(), "the wrong stack");
    if !asked {
        hungry();
    }
    assert_eq!(raw::blocks(signal), !NOT_DEFERRED.load(Ordering::Relaxed), "the signal itself");
    assert_eq!(raw::blocks(libc::SIGUSR1), MASKED.load(Ordering::Relaxed), "its own mask");
    assert!(!raw::blocks(libc::SIGUSR2), "the mask of another handler");
    CALLS.fetch_add(1, Ordering::Relaxed);
    raw::mend(BAD.load(Ordering::Relaxed) as *mut u8);
}

/// Uses more stack than the small alternate stacks have.
#[inline(never)]
fn hungry() {
    std::hint::black_box(&mut [1u8; 100 << 10]);
}

/// Causes the previous handler's own fault.
extern "C" fn foreign_fault() {
    raw::touch(BAD.load(Ordering::Relaxed) as *const u8);
}

pub fn scenario(words: &[&str]) {
    let &[kind, signal, stack, size] = words else { panic!("{words:?}") };
    let signal = raw::signal_of(signal);
    let asked = stack == "asked";
    ASKED_FOR_ALTERNATE.store(asked, Ordering::Relaxed);
    let alternate = raw::alternate_stack(size.parse().unwrap());
    ALTERNATE[0].store(alternate.start, Ordering::Relaxed);
    ALTERNATE[1].store(alternate.end, Ordering::Relaxed);

    let stack = if asked { libc::SA_ONSTACK } else { 0 };
    let install = |handler: usize, flags: c_int, mask: &[c_int]| {
        raw::install(signal, handler, flags | stack, mask);
    };
    match kind {
        "std" => {}
        "default" => install(libc::SIG_DFL, 0, &[]),
        "ignored" => install(libc::SIG_IGN, 0, &[]),
        "plain" => install(plain as *const () as usize, 0, &[]),
        "info" => install(info as *const () as usize, libc::SA_SIGINFO, &[]),
        "nodefer" => {
            NOT_DEFERRED.store(true, Ordering::Relaxed);
            install(plain as *const () as usize, libc::SA_NODEFER, &[]);
        }
        "resethand" => install(plain as *const () as usize, libc::SA_RESETHAND, &[]),
        "masked" => {
            MASKED.store(true, Ordering::Relaxed);
            let flags = libc::SA_SIGINFO | libc::SA_RESTART;
            install(info as *const () as usize, flags, &[libc::SIGUSR1]);
        }
        "escaping" => install(escaping as *const () as usize, 0, &[]),
        "exiting" => install(exiting as *const () as usize, 0, &[]),
        _ => panic!("no kind {kind}"),
    }

    let ours = Ours::new();
    ours.check();
    ours.check_large();
    assert_eq!(CALLS.load(Ordering::Relaxed), 0, "the library's faults are not forwarded");
    for calls in 1..=2 {
        BAD.store(raw::bad_page(signal) as usize, Ordering::Relaxed);
        let escaped = escapable(foreign_fault);
        assert_eq!(escaped, kind == "escaping");
        assert_eq!(CALLS.load(Ordering::Relaxed), calls);
        ours.check();
        ours.check_large();
        check_slice();
    }
    assert!(!dies(kind), "the fault was to end this process");
}

/// A previous handler receives its own faults unchanged, and none of the library's.
#[test]
fn previous_handlers_receive_their_own_faults() {
    let mut scenarios = Vec::new();
    for kind in KINDS {
        for signal in SIGNALS.map(raw::name_of) {
            for stack in ["asked", "unasked"] {
                for size in [0, 8 << 10, 1 << 20] {
                    scenarios.push(format!("previous {kind} {signal} {stack} {size}"));
                }
            }
            if raw::signal_frame() + 700 <= 4096 {
                scenarios.push(format!("previous {kind} {signal} unasked 4096"));
                scenarios.push(format!("previous {kind} {signal} asked 4096"));
            } else {
                println!("skipped: 4 KiB alternate stacks: this processor's frames are too large");
            }
        }
    }
    child::all(&scenarios, |outcome| {
        let mut words = outcome.words();
        let (kind, signal) = (words.nth(1).unwrap(), words.next().unwrap());
        match kind {
            "exiting" => outcome.ended_with(7),
            kind if dies(kind) => outcome.died_of(raw::signal_of(signal)),
            _ => outcome.ended_well(),
        };
    });
}
