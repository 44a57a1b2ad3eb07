//! The signal handler that recovers guarded accesses, and how it lives with other handlers.
//!
//! Other signals wait while it runs, so that their handlers, too, may touch memory that faults. It
//! takes over the previous handler's wish for the alternate stack, and its mask when it hands on:
//! what is handed on runs as it would have without it. It runs on as little as 700 bytes of stack,
//! in unoptimised builds too: hence the few calls and plain loops.

#![allow(unsafe_code, reason = "signal handlers")]

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicUsize, Ordering};

use crate::sys::arch;
use crate::sys::os::fault as os;
use crate::sys::posix::code;
use crate::sys::{Recovery, os::map::page_size};

const SIGNALS: [c_int; 2] = [libc::SIGBUS, libc::SIGSEGV];

/// Who had the signals before: address of the handler (or `SIG_DFL`, `SIG_IGN`), its flags, and the
/// signals that are blocked while it runs, its own included, in two halves.
/// Written before the handler is installed, and by the handler when a previous one puts itself back.
static PREVIOUS: [Previous; 2] = [const { Previous::new() }; 2];

struct Previous {
    handler: AtomicUsize,
    flags: AtomicI32,
    mask: [AtomicU32; 2],
    /// The last handler that [`check`] found to pass our faults on, and the last one that it found
    /// to keep them. Both were installed after ours.
    passes_on: AtomicUsize,
    keeps: AtomicUsize,
}

impl Previous {
    const fn new() -> Self {
        Self {
            handler: AtomicUsize::new(libc::SIG_DFL),
            flags: AtomicI32::new(0),
            mask: [const { AtomicU32::new(0) }; 2],
            passes_on: AtomicUsize::new(libc::SIG_DFL),
            keeps: AtomicUsize::new(libc::SIG_DFL),
        }
    }

    fn set(&self, signal: c_int, action: &os::Action) {
        let mut mask = action.mask();
        if action.flags() & libc::SA_NODEFER == 0 {
            mask |= os::bit(signal);
        }
        self.mask[0].store(mask as u32, Ordering::Relaxed);
        self.mask[1].store((mask >> 32) as u32, Ordering::Relaxed);
        self.flags.store(action.flags(), Ordering::Relaxed);
        self.handler.store(action.handler(), Ordering::Release);
    }

    fn mask(&self) -> u64 {
        let half = |index: usize| u64::from(self.mask[index].load(Ordering::Relaxed));
        half(0) | half(1) << 32
    }
}

/// What waits while our handler runs: everything but what an instruction of its own could raise.
const WHILE_OURS_RUNS: u64 = !(os::bit(libc::SIGILL)
    | os::bit(libc::SIGTRAP)
    | os::bit(libc::SIGFPE)
    | os::bit(libc::SIGSYS));

/// The part of it by which the handler knows that it was called with its own mask.
const KNOWN_BY: u64 =
    WHILE_OURS_RUNS & 0x3fff_ffff & !os::bit(libc::SIGKILL) & !os::bit(libc::SIGSTOP);

/// A page, readable and writable, that redirected accesses may do with as they please.
static SCRATCH: AtomicUsize = AtomicUsize::new(0);

/// What new mappings get: the self-test's result, or that of the last check.
static VERDICT: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const IN_PLACE: u8 = 1;
const SYSCALL: u8 = 2;

/// Whether the self-test at installation succeeded.
static ABLE: AtomicBool = AtomicBool::new(false);

/// The pages that a self-test under way touches: a fault there that is not recovered is handed on
/// to nobody.
static PROBED: AtomicUsize = AtomicUsize::new(0);
pub(crate) const PROBED_PAGES: usize = 3;

/// Where a self-test runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Child {
    /// In a child that borrows this process's memory: fast; runs no code but ours.
    SharingMemory,
    /// In a child with a copy of the memory: whatever a handler of somebody else's does there (it
    /// may jump, never return, or write a report) stays there.
    WithACopy,
}

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
        let able = arch::AVAILABLE && map_scratch() && {
            os::pin_module(handler as *const () as *const c_void);
            os::permanent_code(handler_address(), code::note);
            // SAFETY: the handler recovers what is its own and hands on everything else.
            SIGNALS.iter().all(|&signal| unsafe { install_for(signal) })
                // Where no child can be had, recovery is taken to work.
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

/// Stores the answer for new mappings.
fn settle(reached: bool) -> Recovery {
    let verdict = if reached { IN_PLACE } else { SYSCALL };
    if VERDICT.load(Ordering::Relaxed) != verdict {
        VERDICT.store(verdict, Ordering::Release);
    }
    if reached { Recovery::InPlace } else { Recovery::Syscall }
}

/// Returns `true` if a fault at a guarded access reaches our handler, or one that recovers it like
/// ours; `None` if the installed handler has not been tried.
fn known_to_reach_us(signal: c_int) -> Option<bool> {
    let front = os::Action::of(signal).handler();
    if is_ours(front) {
        return Some(true);
    }
    if front == libc::SIG_DFL || front == libc::SIG_IGN {
        return Some(false);
    }
    let slot = slot(signal);
    if slot.passes_on.load(Ordering::Relaxed) == front {
        return Some(true);
    }
    (slot.keeps.load(Ordering::Relaxed) == front).then_some(false)
}

/// Returns the answer of [`known_to_reach_us`], but tries an unknown handler once, in a child
/// process.
fn reaches_us(signal: c_int) -> bool {
    if let Some(known) = known_to_reach_us(signal) {
        return known;
    }
    let front = os::Action::of(signal).handler();
    let passes_on = os::try_out(Child::WithACopy, &[signal]).unwrap_or(false);
    let slot = slot(signal);
    let known = if passes_on { &slot.passes_on } else { &slot.keeps };
    known.store(front, Ordering::Relaxed);
    passes_on
}

/// Returns `true` if the handlers of `signals` are ours, so that a self-test runs no other code.
pub(crate) fn are_ours(signals: &[c_int]) -> bool {
    signals.iter().all(|&signal| is_ours(os::Action::of(signal).handler()))
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

/// Puts the handler in front of whatever is there, also if that changes meanwhile.
///
/// # Safety
/// `signal` is SIGBUS or SIGSEGV, and the scratch page exists.
unsafe fn install_for(signal: c_int) -> bool {
    let previous = os::Action::of(signal);
    if is_ours(previous.handler()) {
        return true;
    }
    slot(signal).set(signal, &previous);
    let flags = flags_in_front_of(&previous);
    let ours = os::Action::new(handler_address(), flags, WHILE_OURS_RUNS);
    // SAFETY: the handler is async-signal-safe.
    match unsafe { ours.install(signal) } {
        Some(replaced)
            if replaced.handler() != previous.handler() && !is_ours(replaced.handler()) =>
        {
            slot(signal).set(signal, &replaced);
            true
        }
        replaced => replaced.is_some(),
    }
}

/// What goes with a previous action: its stack and its restarts.
fn flags_in_front_of(previous: &os::Action) -> c_int {
    let flags = match previous.handler() {
        libc::SIG_DFL => libc::SA_ONSTACK,
        // An ignored signal interrupts nothing.
        libc::SIG_IGN => libc::SA_ONSTACK | libc::SA_RESTART,
        _ => previous.flags() & (libc::SA_ONSTACK | libc::SA_RESTART),
    };
    libc::SA_SIGINFO | flags
}

#[inline(always)]
fn slot(signal: c_int) -> &'static Previous {
    if signal == libc::SIGBUS { &PREVIOUS[0] } else { &PREVIOUS[1] }
}

/// # Safety
/// Called by the kernel, or by a later handler that passes on what it was given.
unsafe extern "C-unwind" fn handler(
    signal: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) {
    // SAFETY: `info` and `context` are the kernel's.
    unsafe {
        if !(os::claims(signal, (*info).si_code) && recover(info, context)) {
            hand_on(signal, info, context);
        }
    }
}

/// Whether the fault was one at a site, and the site can go on now.
///
/// # Safety
/// `info` and `context` are the kernel's, of a fault.
#[inline(never)]
unsafe fn recover(info: *mut libc::siginfo_t, context: *mut c_void) -> bool {
    // SAFETY: the kernel's. The program counter may be the very address that faulted, or in code
    // that can be executed only, so unknown code needs a query. For known code no system call is
    // made, because a sandbox may kill for it.
    unsafe {
        let registers = os::Registers::of(context);
        let at = *registers.program_counter as usize;
        if !code::is_readable(at) {
            return false;
        }
        let address = os::address(info) as usize;
        match (arch::site_kind(at, code::is_readable), registers.copy) {
            (Some(0), _) => *registers.address = SCRATCH.load(Ordering::Relaxed) as _,
            (Some(kind), Some([source, destination, count]))
                if arch::is_guarded_side(
                    kind,
                    address,
                    *source as usize,
                    *destination as usize,
                    *count as usize,
                ) =>
            {
                *count = 0;
            }
            _ => return false,
        }
        if *registers.flag == 0 {
            *registers.flag = if address == 0 { 1 } else { address as _ };
        }
        true
    }
}

/// Gives the signal to whoever had it before.
#[cold]
#[inline(never)]
unsafe fn hand_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let previous = slot(signal);
    let mut handler = previous.handler.load(Ordering::Acquire);
    let flags = previous.flags.load(Ordering::Relaxed);
    if flags & libc::SA_RESETHAND != 0 && handler != libc::SIG_IGN {
        handler = previous.handler.swap(libc::SIG_DFL, Ordering::AcqRel);
    }
    // SAFETY: `handler` is what was registered for this signal, with the form its flags say; it gets
    // the stack and the mask that it asked for.
    unsafe {
        let raised = !os::is_synchronous(signal, (*info).si_code);
        if !raised && is_probed(os::address(info) as usize) {
            libc::_exit(1);
        }
        if handler == libc::SIG_IGN && raised {
            return;
        }
        if handler == libc::SIG_DFL || handler == libc::SIG_IGN {
            os::set_default(signal);
            // A fault happens again on return; a signal that was sent has to be sent again.
            if raised {
                os::send(signal);
            }
            return;
        }
        let now = os::Action::of(signal);
        let mask = os::mask();
        // Somebody else's mask, who called us, is his affair.
        let is_full = mask & KNOWN_BY == KNOWN_BY;
        if is_full {
            os::set_mask(os::interrupted_mask(context) | previous.mask());
        }
        if flags & libc::SA_SIGINFO != 0 {
            let handler: extern "C-unwind" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
                std::mem::transmute(handler);
            handler(signal, info, context);
        } else {
            let handler: extern "C-unwind" fn(c_int) = std::mem::transmute(handler);
            handler(signal);
        }
        if is_full {
            os::set_mask(mask);
        }
        // Where we were not in front, we were called by the one who is, and stay behind.
        if is_ours(now.handler()) {
            stay_in_front(signal, &now);
        }
    }
}

/// A previous handler may have put something else in our place (typically the default action, to
/// let the fault happen again): that is then what we hand on to.
#[inline(never)]
fn stay_in_front(signal: c_int, ours: &os::Action) {
    let now = os::Action::of(signal);
    if !is_ours(now.handler()) {
        slot(signal).set(signal, &now);
        // SAFETY: our own action, as it was.
        unsafe { ours.put_back(signal, flags_in_front_of(&now)) };
    }
}

fn is_probed(address: usize) -> bool {
    let pages = PROBED.load(Ordering::Relaxed);
    pages != 0 && address.wrapping_sub(pages) < PROBED_PAGES * page_size()
}

/// The body of the self-test, in a child process: whether a guarded load of `page`, which raises
/// `signal`, comes back with the fault's address.
///
/// # Safety
/// `page` is a page of our own.
pub(crate) unsafe fn probe(signal: c_int, page: *const u8) -> bool {
    os::unblock(signal);
    let mut fault = 0;
    // SAFETY: memory of our own without references to it.
    unsafe { arch::load_64(page, &mut fault) };
    fault == page as usize
}

/// Says which pages the self-test touches; none are 0.
pub(crate) fn set_probed(pages: usize) {
    PROBED.store(pages, Ordering::Relaxed);
}
