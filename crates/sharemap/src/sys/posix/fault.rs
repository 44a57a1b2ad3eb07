//! The signal handler that recovers guarded accesses, and how it lives with other handlers.
//!
//! The handler takes over the previous handler's signal mask and its wish for the alternate stack,
//! so that what it hands on runs as it would have without it, on the same stack. It runs on as
//! little as 700 bytes of stack, in unoptimised builds too: hence the few calls and plain loops.

#![allow(unsafe_code, reason = "signal handlers")]

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicUsize, Ordering};

use crate::sys::arch;
use crate::sys::os::fault as os;
use crate::sys::{Recovery, os::map::page_size};

const SIGNALS: [c_int; 2] = [libc::SIGBUS, libc::SIGSEGV];

/// Who had the signals before: address of the handler (or `SIG_DFL`, `SIG_IGN`) and its flags.
/// Written before the handler is installed, and by the handler when a previous one puts itself back.
static PREVIOUS: [Previous; 2] = [const { Previous::new() }; 2];

struct Previous {
    handler: AtomicUsize,
    flags: AtomicI32,
}

impl Previous {
    const fn new() -> Self {
        Self { handler: AtomicUsize::new(libc::SIG_DFL), flags: AtomicI32::new(0) }
    }

    fn set(&self, action: &libc::sigaction) {
        self.flags.store(action.sa_flags, Ordering::Relaxed);
        self.handler.store(action.sa_sigaction, Ordering::Release);
    }
}

/// A page, readable and writable, that redirected accesses may do with as they please.
static SCRATCH: AtomicUsize = AtomicUsize::new(0);

static VERDICT: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const IN_PLACE: u8 = 1;
const SYSCALL: u8 = 2;

/// The foreign handler that was found in front of ours, and whether faults were recovered all the
/// same: asking costs a child process.
static FOREIGN: AtomicUsize = AtomicUsize::new(0);
static FOREIGN_PASSES_ON: AtomicU8 = AtomicU8::new(UNKNOWN);

pub(crate) fn recovery() -> Recovery {
    match VERDICT.load(Ordering::Acquire) {
        IN_PLACE => Recovery::InPlace,
        SYSCALL => Recovery::Syscall,
        _ => install(),
    }
}

#[cold]
fn install() -> Recovery {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let recovers = arch::AVAILABLE && map_scratch() && {
            os::pin_module(handler as *const () as *const c_void);
            // SAFETY: the handler recovers what is its own and hands on everything else.
            SIGNALS.iter().all(|&signal| unsafe { install_for(signal) }) && os::recovers()
        };
        VERDICT.store(if recovers { IN_PLACE } else { SYSCALL }, Ordering::Release);
    });
    recovery()
}

pub(crate) fn check() -> Recovery {
    if recovery() == Recovery::Syscall {
        return Recovery::Syscall;
    }
    let Some(foreign) = SIGNALS.iter().map(|&signal| current(signal).sa_sigaction).find(|&h| !is_ours(h))
    else {
        return Recovery::InPlace;
    };
    if FOREIGN.swap(foreign, Ordering::AcqRel) != foreign
        || FOREIGN_PASSES_ON.load(Ordering::Acquire) == UNKNOWN
    {
        let verdict = if os::recovers() { IN_PLACE } else { SYSCALL };
        FOREIGN_PASSES_ON.store(verdict, Ordering::Release);
    }
    match FOREIGN_PASSES_ON.load(Ordering::Acquire) {
        IN_PLACE => Recovery::InPlace,
        _ => Recovery::Syscall,
    }
}

pub(crate) fn thread_ready() -> bool {
    let mut mask = MaybeUninit::uninit();
    // SAFETY: asks for the mask, which is then initialised.
    unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), mask.as_mut_ptr()) == 0
            && SIGNALS.iter().all(|&signal| libc::sigismember(mask.as_ptr(), signal) == 0)
    }
}

fn map_scratch() -> bool {
    // SAFETY: new private memory.
    let page = unsafe {
        libc::mmap(
            ptr::null_mut(),
            page_size().max(2 * arch::REACH),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANON,
            -1,
            0,
        )
    };
    SCRATCH.store(page as usize, Ordering::Release);
    page != libc::MAP_FAILED
}

fn is_ours(handler: usize) -> bool {
    handler == handler_address()
}

fn handler_address() -> usize {
    handler as *const () as usize
}

fn current(signal: c_int) -> libc::sigaction {
    let mut action = MaybeUninit::zeroed();
    // SAFETY: asks only; an all-zero action is a valid one.
    unsafe {
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr());
        action.assume_init()
    }
}

/// # Safety
/// `signal` is SIGBUS or SIGSEGV, and the scratch page exists.
unsafe fn install_for(signal: c_int) -> bool {
    let previous = current(signal);
    slot(signal).set(&previous);
    let mut ours = previous;
    ours.sa_sigaction = handler_address();
    let had_handler = previous.sa_sigaction != libc::SIG_DFL && previous.sa_sigaction != libc::SIG_IGN;
    let stack = if had_handler { previous.sa_flags & libc::SA_ONSTACK } else { libc::SA_ONSTACK };
    ours.sa_flags = libc::SA_SIGINFO | stack | previous.sa_flags & libc::SA_RESTART;
    // SAFETY: the handler is async-signal-safe.
    unsafe { libc::sigaction(signal, &ours, ptr::null_mut()) == 0 }
}

#[inline(always)]
fn slot(signal: c_int) -> &'static Previous {
    if signal == libc::SIGBUS { &PREVIOUS[0] } else { &PREVIOUS[1] }
}

/// # Safety
/// Called by the kernel, or by a later handler that passes on what it was given.
unsafe extern "C" fn handler(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: `info` and `context` are the kernel's; the program counter was being executed.
    unsafe {
        if os::claims(signal, (*info).si_code) {
            let registers = os::Registers::of(context);
            if let Some(0) = arch::site_kind(*registers.program_counter as usize, os::readable) {
                if *registers.flag == 0 {
                    let address = os::address(info) as usize;
                    *registers.flag = if address == 0 { 1 } else { address as _ };
                }
                *registers.address = SCRATCH.load(Ordering::Relaxed) as _;
                return;
            }
        }
        hand_on(signal, info, context);
    }
}

/// Gives the signal to whoever had it before.
#[cold]
#[inline(never)]
unsafe fn hand_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let previous = slot(signal);
    let handler = previous.handler.load(Ordering::Acquire);
    let flags = previous.flags.load(Ordering::Relaxed);
    // SAFETY: `handler` is what was registered for this signal, with the form its flags say; we run
    // on the stack and with the mask that it asked for.
    unsafe {
        let raised = !os::is_synchronous(signal, (*info).si_code);
        if handler == libc::SIG_IGN && raised {
            return;
        }
        if handler == libc::SIG_DFL || handler == libc::SIG_IGN {
            set_default(signal);
            // A fault happens again on return; a signal that was sent has to be sent again.
            if raised {
                libc::raise(signal);
            }
            return;
        }
        if flags & libc::SA_NODEFER != 0 {
            unblock(signal);
        }
        if flags & libc::SA_RESETHAND != 0 {
            previous.handler.store(libc::SIG_DFL, Ordering::Release);
        }
        if flags & libc::SA_SIGINFO != 0 {
            let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
                std::mem::transmute(handler);
            handler(signal, info, context);
        } else {
            let handler: extern "C" fn(c_int) = std::mem::transmute(handler);
            handler(signal);
        }
        stay_in_front(signal);
    }
}

/// A previous handler may have put something else in our place (typically the default action, to
/// let the fault happen again): that is then what we hand on to.
#[inline(never)]
fn stay_in_front(signal: c_int) {
    let now = current(signal);
    if !is_ours(now.sa_sigaction) {
        slot(signal).set(&now);
        let mut ours = now;
        ours.sa_sigaction = handler_address();
        ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: the handler is async-signal-safe, and so is the call.
        unsafe { libc::sigaction(signal, &ours, ptr::null_mut()) };
    }
}

#[inline(never)]
fn set_default(signal: c_int) {
    // SAFETY: an all-zero action is the default one; async-signal-safe.
    unsafe {
        let action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        libc::sigaction(signal, &action, ptr::null_mut());
    }
}

#[inline(never)]
fn unblock(signal: c_int) {
    // SAFETY: an initialised set; async-signal-safe.
    unsafe {
        let mut set = MaybeUninit::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), ptr::null_mut());
    }
}

/// The body of the self-test, in a child process: whether a guarded load of `page`, which is not
/// accessible, comes back with the fault's address.
///
/// # Safety
/// `page` is a page of our own.
pub(crate) unsafe fn probe(page: *const u8) -> bool {
    for signal in SIGNALS {
        unblock(signal);
    }
    let mut fault = 0;
    // SAFETY: memory of our own without references to it.
    unsafe { arch::load_64(page, &mut fault) };
    fault == page as usize
}
