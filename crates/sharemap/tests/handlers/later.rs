//! Handlers that are installed after the library's: some pass foreign faults on, others do not.

use std::ffi::{c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering};

use sharemap::guard::{self, Recovery};

use crate::child;
use crate::common::emulated;
use crate::escape::{escapable, escape};
use crate::ours::{Ours, at_best, check_slice, is_lost, slice};
use crate::raw::{self, SIGNALS};

/// The page of the later handler's own fault, and that of the earlier handler's.
static LATER_BAD: AtomicUsize = AtomicUsize::new(0);
static EARLIER_BAD: AtomicUsize = AtomicUsize::new(0);
static LATER_CALLS: AtomicUsize = AtomicUsize::new(0);
static EARLIER_CALLS: AtomicUsize = AtomicUsize::new(0);

/// The handler that the later handler replaced.
static FOUND: AtomicUsize = AtomicUsize::new(0);
static FOREIGN: AtomicI32 = AtomicI32::new(0);
static ESCAPES: AtomicUsize = AtomicUsize::new(0);
static SENT: AtomicUsize = AtomicUsize::new(0);

/// The number of faults that reached the later handler and were not its own, in this process and
/// its children.
static STRANGE: OnceLock<&AtomicU32> = OnceLock::new();

type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

const KINDS: [&str; 10] = [
    "passing",
    "restoring",
    "keeping",
    "signalling",
    "plain",
    "default",
    "ignored",
    "succeeding",
    "escaping",
    "hanging",
];

fn at(info: *mut libc::siginfo_t) -> usize {
    // SAFETY: the kernel passes a valid pointer.
    unsafe { (*info).si_addr() as usize }
}

extern "C" fn earlier(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    assert_eq!(at(info), EARLIER_BAD.load(Ordering::Relaxed));
    EARLIER_CALLS.fetch_add(1, Ordering::Relaxed);
    raw::mend(at(info) as *mut u8);
}

/// Handles the later handler's own fault. Returns `true` if the fault was its own.
fn takes(info: *mut libc::siginfo_t) -> bool {
    let own = at(info) == LATER_BAD.load(Ordering::Relaxed);
    if own {
        LATER_CALLS.fetch_add(1, Ordering::Relaxed);
        raw::mend(at(info) as *mut u8);
    } else {
        note_strange();
    }
    own
}

fn note_strange() {
    STRANGE.get().unwrap().fetch_add(1, Ordering::Relaxed);
}

fn strange() -> u32 {
    STRANGE.get().unwrap().load(Ordering::Relaxed)
}

extern "C" fn passing(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    if !takes(info) {
        // SAFETY: the library's handler has this signature.
        let found: Handler = unsafe { std::mem::transmute(FOUND.load(Ordering::Relaxed)) };
        found(signal, info, context);
    }
}

/// Restores the replaced handler and lets the access fault again.
extern "C" fn restoring(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    if !takes(info) {
        let flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        raw::install(signal, FOUND.load(Ordering::Relaxed), flags, &[]);
    }
}

extern "C" fn keeping(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    if !takes(info) {
        // SAFETY: ends the process.
        unsafe { libc::_exit(7) }
    }
}

/// Sends a signal to its process group, then ends the process.
extern "C" fn signalling(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    if !takes(info) {
        // SAFETY: the scenario leads a process group of its own. Ends the process.
        unsafe {
            libc::kill(0, libc::SIGUSR1);
            libc::_exit(7)
        }
    }
}

extern "C" fn sent(_: c_int) {
    SENT.fetch_add(1, Ordering::Relaxed);
}

extern "C" fn plain(_: c_int) {
    note_strange();
    // SAFETY: ends the process.
    unsafe { libc::_exit(7) }
}

/// Ends the process with a status that a parent takes for success.
extern "C" fn succeeding(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    if !takes(info) {
        // SAFETY: ends the process.
        unsafe { libc::_exit(0) }
    }
}

extern "C" fn escaping(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    if !takes(info) {
        ESCAPES.fetch_add(1, Ordering::Relaxed);
        raw::mask(libc::SIG_UNBLOCK, &[signal]);
        escape();
    }
}

extern "C" fn hanging(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    if !takes(info) {
        loop {
            std::hint::spin_loop();
        }
    }
}

extern "C" fn check_in_vain() {
    assert_eq!(guard::check(), Recovery::Syscall);
}

pub fn scenario(words: &[&str]) {
    let &[kind, signal] = words else { panic!("{words:?}") };
    let signal = raw::signal_of(signal);
    FOREIGN.store(signal, Ordering::Relaxed);
    STRANGE.set(raw::shared_number()).unwrap();
    // SAFETY: takes no arguments. In a new session, no signal of this scenario reaches another
    // process.
    let session = unsafe { libc::setsid() };
    assert_ne!(session, -1, "a session of its own");
    raw::install(libc::SIGUSR1, sent as *const () as usize, 0, &[]);
    let info_form = libc::SA_SIGINFO | libc::SA_ONSTACK;
    raw::install(signal, earlier as *const () as usize, info_form, &[]);
    let ours = Ours::new();
    ours.check();
    assert_eq!(guard::check(), at_best());

    let (handler, flags) = match kind {
        "passing" => (passing as *const () as usize, info_form),
        "restoring" => (restoring as *const () as usize, info_form),
        "keeping" => (keeping as *const () as usize, info_form),
        "signalling" => (signalling as *const () as usize, info_form),
        "plain" => (plain as *const () as usize, 0),
        "default" => (libc::SIG_DFL, 0),
        "ignored" => (libc::SIG_IGN, 0),
        "succeeding" => (succeeding as *const () as usize, info_form),
        "escaping" => (escaping as *const () as usize, info_form),
        "hanging" => (hanging as *const () as usize, info_form),
        _ => panic!("no kind {kind}"),
    };
    let made_before = slice();
    let found = raw::install(signal, handler, flags, &[]);
    FOUND.store(found.sa_sigaction, Ordering::Relaxed);

    let passes_on = matches!(kind, "passing" | "restoring");
    let expected = if passes_on { at_best() } else { Recovery::Syscall };
    // Large transfers check the handler without running unknown code, in a child or otherwise.
    ours.check_large();
    ours.check_large();
    // Only a handler for SIGBUS stands in the way of slices. It is not run, either.
    let is_in_the_way = signal == libc::SIGBUS;
    assert_eq!(slice().is_ok(), !is_in_the_way && at_best() == Recovery::InPlace);
    assert_eq!(strange(), 0, "run unasked");
    if kind == "escaping" {
        // The jump's target would be run by the child that tries the handler out, which must touch
        // nothing.
        assert!(!escapable(check_in_vain), "only a child comes here");
        assert_eq!(ESCAPES.load(Ordering::Relaxed), 0);
    }
    assert_eq!(guard::check(), expected);
    assert_eq!(guard::recovery(), expected, "what new mappings get");
    if passes_on || !is_in_the_way {
        check_slice();
        made_before.iter().for_each(is_lost);
    } else {
        assert!(slice().is_err());
    }
    assert_eq!(SENT.load(Ordering::Relaxed), 0, "the child has a process group of its own");
    let after_trial = strange();
    let is_handler = !matches!(kind, "default" | "ignored") && at_best() == Recovery::InPlace;
    assert_eq!(after_trial > 0, is_handler, "tried on request");
    ours.check_large();
    assert_eq!(guard::check(), expected);
    if !passes_on {
        assert_eq!(strange(), after_trial, "tried once, and used by no transfer");
    } else if kind == "passing" && at_best() == Recovery::InPlace {
        assert!(strange() > after_trial, "accesses are in place again");
    }
    let again = Ours::new();
    again.check();
    again.check_large();
    if passes_on {
        ours.check();
    }

    // The later handler's own fault.
    if !matches!(kind, "plain" | "default" | "ignored") {
        LATER_BAD.store(raw::bad_page(signal) as usize, Ordering::Relaxed);
        raw::install(signal, handler, flags, &[]);
        raw::touch(LATER_BAD.load(Ordering::Relaxed) as *const u8);
        assert_eq!(LATER_CALLS.load(Ordering::Relaxed), 1);
        assert_eq!(raw::action(signal).sa_sigaction, handler);
    }
    // A fault of the earlier handler, twice: no handler may end up calling itself.
    if passes_on {
        for calls in 1..=2 {
            EARLIER_BAD.store(raw::bad_page(signal) as usize, Ordering::Relaxed);
            raw::touch(EARLIER_BAD.load(Ordering::Relaxed) as *const u8);
            assert_eq!(EARLIER_CALLS.load(Ordering::Relaxed), calls);
            ours.check();
            ours.check_large();
            check_slice();
        }
        return;
    }
    assert_eq!(EARLIER_CALLS.load(Ordering::Relaxed), 0);
    // After the library's handler is restored, faults are recovered again.
    raw::install(signal, found.sa_sigaction, found.sa_flags, &[]);
    assert_eq!(guard::check(), at_best());
    ours.check();
    ours.check_large();
    check_slice();
    EARLIER_BAD.store(raw::bad_page(signal) as usize, Ordering::Relaxed);
    raw::touch(EARLIER_BAD.load(Ordering::Relaxed) as *const u8);
    assert_eq!(EARLIER_CALLS.load(Ordering::Relaxed), 1);
    // With the other handler installed again, that handler receives a foreign fault.
    raw::install(signal, handler, flags, &[]);
    assert_eq!(guard::check(), Recovery::Syscall);
    if kind == "escaping" {
        assert!(escapable(foreign_fault));
    } else if kind != "hanging" {
        foreign_fault();
        unreachable!("it was his");
    }
}

/// Causes a fault that belongs to no handler.
extern "C" fn foreign_fault() {
    raw::touch(raw::bad_page(FOREIGN.load(Ordering::Relaxed)));
}

/// A later handler that keeps the library's faults is detected, and accesses use system calls
/// instead.
#[test]
fn later_handlers_are_detected() {
    let mut scenarios = Vec::new();
    for kind in KINDS {
        for signal in SIGNALS.map(raw::name_of) {
            if (kind, signal) == ("ignored", "bus") && emulated() {
                println!("skipped: ignored SIGBUS: the emulator repeats the fault for ever");
                continue;
            }
            scenarios.push(format!("later {kind} {signal}"));
        }
    }
    child::all(&scenarios, |outcome| {
        let mut words = outcome.words();
        let (kind, signal) = (words.nth(1).unwrap(), raw::signal_of(words.next().unwrap()));
        match kind {
            "keeping" | "signalling" | "plain" => outcome.ended_with(7),
            "default" | "ignored" => outcome.died_of(signal),
            _ => outcome.ended_well(),
        };
    });
}
