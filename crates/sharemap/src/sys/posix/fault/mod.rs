//! The recovery of guarded accesses by a signal handler: installs and tests the handler, and finds out
//! whether faults reach it in front of or behind handlers of other code.

#![allow(unsafe_code, reason = "signal handlers")]

mod handler;

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use handler::{handler_address, install_for, is_ours, map_scratch, previous_of};

use crate::sys::arch;
use crate::sys::os::fault as os;
use crate::sys::posix::code;
use crate::sys::{Recovery, os::map::page_size};

const SIGNALS: [c_int; 2] = [libc::SIGBUS, libc::SIGSEGV];

/// The recovery that new mappings use: the result of the self-test or of the last check.
static VERDICT: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const IN_PLACE: u8 = 1;
const SYSCALL: u8 = 2;

/// `true` if the self-test at installation succeeded.
static ABLE: AtomicBool = AtomicBool::new(false);

/// The address of the pages that a running self-test touches; 0 if none runs.
///
/// An unrecovered fault there ends the child, and no previous handler sees it.
static PROBED: AtomicUsize = AtomicUsize::new(0);
pub(crate) const PROBED_PAGES: usize = 3;

/// The kind of child process in which a self-test runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Child {
    /// A child that borrows this process's memory: fast, for tests that run only this crate's code.
    SharingMemory,
    /// A child with a copy of the memory, for tests that run a foreign handler. The handler may jump,
    /// never return or write a report; its writes to private memory stay in the child.
    WithACopy,
}

/// Returns the recovery that new mappings use. The first call installs and tests the handler.
pub(crate) fn recovery() -> Recovery {
    match VERDICT.load(Ordering::Acquire) {
        IN_PLACE => Recovery::InPlace,
        SYSCALL => Recovery::Syscall,
        _ => install(),
    }
}

/// Installs the handler for both signals and tests it, once per process.
#[cold]
fn install() -> Recovery {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        // The handler reads the scratch area and the known code, so both are prepared before it is
        // installed. The module is pinned first: the known code must stay mapped.
        let able = arch::AVAILABLE && map_scratch() && {
            os::pin_module(handler_address() as *const c_void);
            os::permanent_code(handler_address(), code::note);
            // SAFETY: the handler recovers faults at sites, and passes all other signals on.
            SIGNALS.iter().all(|&signal| unsafe { install_for(signal) })
                // If no child can be created, recovery counts as working.
                && os::try_out(Child::SharingMemory, &SIGNALS).unwrap_or(true)
        };
        ABLE.store(able, Ordering::Relaxed);
        VERDICT.store(if able { IN_PLACE } else { SYSCALL }, Ordering::Release);
    });
    recovery()
}

/// Tests unknown handlers by running them in a forked child.
pub(crate) fn check() -> Recovery {
    recovery();
    let reached = ABLE.load(Ordering::Relaxed) && SIGNALS.iter().all(|&signal| reaches_us(signal));
    settle(reached)
}

/// Inspects the installed handlers without running them. A handler that [`check`] has not tried
/// counts as keeping faults, for the caller only.
pub(crate) fn inspect() -> Recovery {
    recovery();
    let known = SIGNALS.map(known_to_reach_us);
    if !ABLE.load(Ordering::Relaxed) || known.contains(&Some(false)) {
        settle(false)
    } else if known.contains(&None) {
        Recovery::Syscall
    } else {
        settle(true)
    }
}

/// Stores and returns the recovery for new mappings: in place if faults reach our handler.
fn settle(reached: bool) -> Recovery {
    let verdict = if reached { IN_PLACE } else { SYSCALL };
    if VERDICT.load(Ordering::Relaxed) != verdict {
        VERDICT.store(verdict, Ordering::Release);
    }
    if reached { Recovery::InPlace } else { Recovery::Syscall }
}

/// Returns `true` if a fault at a guarded access reaches our handler, or another that
/// recovers it like ours; `None` if the installed handler has not been tried.
fn known_to_reach_us(signal: c_int) -> Option<bool> {
    let front = os::Action::of(signal).handler();
    if is_ours(front) {
        return Some(true);
    }
    if front == libc::SIG_DFL || front == libc::SIG_IGN {
        return Some(false);
    }
    let previous = previous_of(signal);
    if previous.passes_on.load(Ordering::Relaxed) == front {
        return Some(true);
    }
    (previous.keeps.load(Ordering::Relaxed) == front).then_some(false)
}

/// Returns `true` if a fault at a guarded access reaches our handler. Tries an unknown handler once, in a
/// child process, and remembers the result.
fn reaches_us(signal: c_int) -> bool {
    if let Some(known) = known_to_reach_us(signal) {
        return known;
    }
    let front = os::Action::of(signal).handler();
    let passes_on = os::try_out(Child::WithACopy, &[signal]).unwrap_or(false);
    let previous = previous_of(signal);
    let known = if passes_on { &previous.passes_on } else { &previous.keeps };
    known.store(front, Ordering::Relaxed);
    passes_on
}

/// Returns `true` if the handlers of `signals` are ours, so that a self-test runs no other code.
pub(crate) fn are_ours(signals: &[c_int]) -> bool {
    signals.iter().all(|&signal| is_ours(os::Action::of(signal).handler()))
}

/// Returns `true` if this thread blocks neither signal, so that its faults can be recovered.
pub(crate) fn thread_ready() -> bool {
    blocks_none_of(&SIGNALS)
}

fn blocks_none_of(signals: &[c_int]) -> bool {
    let mut mask = MaybeUninit::uninit();
    // SAFETY: the call only reads the mask, and initializes `mask` if it succeeds.
    unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), mask.as_mut_ptr()) == 0
            && signals.iter().all(|&signal| libc::sigismember(mask.as_ptr(), signal) == 0)
    }
}

/// Returns `true` if a `SIGBUS` reaches our handler; `None` if the installed handler has not been
/// tried.
pub(crate) fn bus_errors_reach_us() -> Option<bool> {
    recovery();
    if ABLE.load(Ordering::Relaxed) { known_to_reach_us(libc::SIGBUS) } else { Some(false) }
}

/// Returns `true` if this thread blocks `SIGBUS`.
pub(crate) fn blocks_bus_errors() -> bool {
    !blocks_none_of(&[libc::SIGBUS])
}

/// Returns `true` if `address` lies in the pages of a running self-test.
fn is_probed(address: usize) -> bool {
    let pages = PROBED.load(Ordering::Relaxed);
    pages != 0 && address.wrapping_sub(pages) < PROBED_PAGES * page_size()
}

/// Performs the self-test, in a child process. Returns `true` if a guarded load of `page`, which raises
/// `signal`, is recovered and reports the fault's address.
///
/// # Safety
/// `page` is a page of the self-test, to which no reference exists.
pub(crate) unsafe fn probe(signal: c_int, page: *const u8) -> bool {
    os::unblock(signal);
    let mut fault = 0;
    // SAFETY: the page is the self-test's own.
    unsafe { arch::load_64(page, &mut fault) };
    fault == page as usize
}

/// Stores the address of the pages that the self-test touches, or 0 after the test.
pub(crate) fn set_probed(pages: usize) {
    PROBED.store(pages, Ordering::Relaxed);
}
