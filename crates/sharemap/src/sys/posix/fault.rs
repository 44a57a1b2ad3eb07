//! The signal handler that recovers guarded accesses, and its cooperation with other handlers.
//!
//! Nearly all signals are blocked while the handler runs. `SIGBUS` and `SIGSEGV` are blocked then, so a
//! foreign handler that interrupted this one could touch no memory that faults.
//!
//! Signals that are not ours go to the previous handler, which runs as it would without this one: ours
//! is installed with the previous handler's flags for the alternate stack and for restarts, and sets
//! the previous handler's mask before calling it.
//!
//! The handler works on as little as 700 bytes of stack beyond the signal's frame, in unoptimized builds,
//! too. It therefore makes few calls and uses plain loops.

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

/// The actions that `SIGBUS` and `SIGSEGV` had before ours, in the order of [`SIGNALS`].
///
/// Stored when the handler is installed, and by the handler when a previous handler replaces it.
static PREVIOUS: [Previous; 2] = [const { Previous::new() }; 2];

struct Previous {
    /// The address of the handler, or `SIG_DFL` or `SIG_IGN`.
    handler: AtomicUsize,
    flags: AtomicI32,
    /// The signals that are blocked while the handler runs, as the lower and the upper half of the mask.
    /// Includes the handler's own signal, unless the handler has `SA_NODEFER`.
    mask: [AtomicU32; 2],
    /// The last handler, installed after ours, that [`check`] found to pass our faults on.
    passes_on: AtomicUsize,
    /// The last handler, installed after ours, that [`check`] found to keep our faults.
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
        // The handler's address is stored last (Release) and loaded first (Acquire), so that a running
        // handler sees the mask and the flags that belong to it.
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

/// The signals that are blocked while our handler runs: all but `SIGILL`, `SIGTRAP`, `SIGFPE` and `SIGSYS`,
/// which an instruction of the handler itself could raise.
const WHILE_OURS_RUNS: u64 = !(os::bit(libc::SIGILL)
    | os::bit(libc::SIGTRAP)
    | os::bit(libc::SIGFPE)
    | os::bit(libc::SIGSYS));

/// The part of [`WHILE_OURS_RUNS`] by which the handler recognizes that it runs with its own mask.
///
/// Signals above 30 are left out, because the C library reserves some of them, and so are the two that
/// cannot be blocked.
const KNOWN_BY: u64 =
    WHILE_OURS_RUNS & 0x3fff_ffff & !os::bit(libc::SIGKILL) & !os::bit(libc::SIGSTOP);

/// The address of a readable and writable page to which faulting accesses are redirected. Its contents
/// have no meaning.
static SCRATCH: AtomicUsize = AtomicUsize::new(0);

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
        // The handler reads the scratch page and the known code, so both are prepared before it is
        // installed. The module is pinned first: the known code must stay mapped.
        let able = arch::AVAILABLE && map_scratch() && {
            os::pin_module(handler as *const () as *const c_void);
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
    let slot = slot(signal);
    if slot.passes_on.load(Ordering::Relaxed) == front {
        return Some(true);
    }
    (slot.keeps.load(Ordering::Relaxed) == front).then_some(false)
}

/// Returns `true` if a fault at a guarded access reaches our handler. Tries an unknown handler once, in a
/// child process, and remembers the result.
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

/// Returns `true` if this thread blocks neither signal, so that its faults can be recovered.
pub(crate) fn thread_ready() -> bool {
    let mut mask = MaybeUninit::uninit();
    // SAFETY: the call only reads the mask, and initializes `mask` if it succeeds.
    unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), mask.as_mut_ptr()) == 0
            && SIGNALS.iter().all(|&signal| libc::sigismember(mask.as_ptr(), signal) == 0)
    }
}

/// Maps the scratch page. Returns `false` if there is no memory for it.
fn map_scratch() -> bool {
    // SAFETY: maps new private memory.
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

/// Installs our handler in front of the current action, and records that action as the previous one.
///
/// Returns `true` if our handler is installed.
///
/// # Safety
/// `signal` is `SIGBUS` or `SIGSEGV`, and the scratch page exists.
unsafe fn install_for(signal: c_int) -> bool {
    let previous = os::Action::of(signal);
    if is_ours(previous.handler()) {
        return true;
    }
    // Recorded before the installation: another thread may receive the signal right after it, and our
    // handler then needs an action to pass it to.
    slot(signal).set(signal, &previous);
    let flags = flags_in_front_of(&previous);
    let ours = os::Action::new(handler_address(), flags, WHILE_OURS_RUNS);
    // SAFETY: the handler is async-signal-safe.
    match unsafe { ours.install(signal) } {
        Some(replaced)
            if replaced.handler() != previous.handler() && !is_ours(replaced.handler()) =>
        {
            // Another thread installed this handler after the query above.
            slot(signal).set(signal, &replaced);
            true
        }
        replaced => replaced.is_some(),
    }
}

/// Returns the flags of our handler in front of `previous`: those of `previous` for the alternate stack
/// and for the restart of interrupted system calls.
fn flags_in_front_of(previous: &os::Action) -> c_int {
    let flags = match previous.handler() {
        libc::SIG_DFL => libc::SA_ONSTACK,
        // An ignored signal interrupts nothing.
        libc::SIG_IGN => libc::SA_ONSTACK | libc::SA_RESTART,
        _ => previous.flags() & (libc::SA_ONSTACK | libc::SA_RESTART),
    };
    libc::SA_SIGINFO | flags
}

/// Returns the previous action of `signal`.
#[inline(always)]
fn slot(signal: c_int) -> &'static Previous {
    if signal == libc::SIGBUS { &PREVIOUS[0] } else { &PREVIOUS[1] }
}

/// Handles `SIGBUS` and `SIGSEGV`: recovers a fault at a guarded access, and passes every other signal to
/// the previous action.
///
/// # Safety
/// The kernel calls it, or a later handler that passes its own arguments on.
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

/// Recovers a fault at a site, so that the interrupted thread can continue. Returns `false`, and changes
/// nothing, if the fault is not one of a guarded access.
///
/// # Safety
/// `info` and `context` are the kernel's, and belong to a fault.
#[inline(never)]
unsafe fn recover(info: *mut libc::siginfo_t, context: *mut c_void) -> bool {
    // SAFETY: `info` and `context` are the kernel's. The code at the program counter is read only if it
    // is readable: the instruction fetch itself may have faulted, and code may be execute-only. Known
    // code needs no system call, for which a sandbox may kill the thread.
    unsafe {
        let registers = os::Registers::of(context);
        let at = *registers.program_counter as usize;
        if !code::is_readable(at) {
            return false;
        }
        let address = os::address(info) as usize;
        match (arch::site_kind(at, code::is_readable), registers.copy) {
            // A load, store or atomic access: it is executed again, on the scratch page.
            (Some(0), _) => *registers.address = SCRATCH.load(Ordering::Relaxed) as _,
            // A string copy that faulted on its guarded side: with a count of zero, it ends here. A fault on
            // the private side is not ours.
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
        // The flag keeps the address of the first fault. Zero means no fault, so a fault at address 0 is
        // recorded as 1.
        if *registers.flag == 0 {
            *registers.flag = if address == 0 { 1 } else { address as _ };
        }
        true
    }
}

/// Passes the signal to the previous action, which runs with the mask that it requested.
///
/// # Safety
/// `info` and `context` are the kernel's.
#[cold]
#[inline(never)]
unsafe fn hand_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let previous = slot(signal);
    let mut handler = previous.handler.load(Ordering::Acquire);
    let flags = previous.flags.load(Ordering::Relaxed);
    // A handler with `SA_RESETHAND` runs once. The swap makes one of several threads run it.
    if flags & libc::SA_RESETHAND != 0 && handler != libc::SIG_IGN {
        handler = previous.handler.swap(libc::SIG_DFL, Ordering::AcqRel);
    }
    // SAFETY: `handler` was registered for this signal. Its flags tell its signature, and it runs on the
    // stack and with the mask that it requested.
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
            // On return, a faulting instruction raises its signal again, which then ends the process. A
            // signal that a process sent must be sent again.
            if raised {
                os::send(signal);
            }
            return;
        }
        let now = os::Action::of(signal);
        let mask = os::mask();
        // Our own mask means that the kernel called our handler. Otherwise a later handler called it, and
        // the mask is that handler's, which stays as it is.
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
        // If our handler was installed before the call, it must be installed after it. Otherwise a later
        // handler is, and called ours: its place is not ours to take.
        if is_ours(now.handler()) {
            stay_in_front(signal, &now);
        }
    }
}

/// Installs our handler again if the previous handler has replaced it.
///
/// A handler typically installs the default action, so that the fault happens again and ends the process.
/// The replacement becomes the previous action, to which that second fault is passed.
#[inline(never)]
fn stay_in_front(signal: c_int, ours: &os::Action) {
    let now = os::Action::of(signal);
    if !is_ours(now.handler()) {
        slot(signal).set(signal, &now);
        // SAFETY: our own action, as it was.
        unsafe { ours.put_back(signal, flags_in_front_of(&now)) };
    }
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
