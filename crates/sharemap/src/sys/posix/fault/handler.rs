//! The signal handler that recovers guarded accesses, and its cooperation with other handlers.
//!
//! Nearly all signals are blocked while the handler runs. `SIGBUS` and `SIGSEGV` are blocked then, so a
//! foreign handler that interrupted this one could touch no memory that faults.
//!
//! Signals that are not ours go to the previous handler, which runs as it would without this one: ours
//! is installed with the previous handler's flags for the alternate stack and for restarts, and sets
//! the previous handler's mask before calling it.
//!
//! The handler works on as little as 700 bytes of stack beyond the signal's frame (1,000 for a guarded
//! slice), in unoptimized builds, too. It therefore makes few calls and uses plain loops.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering};

use super::is_probed;
use crate::sys::arch;
use crate::sys::os::fault as os;
use crate::sys::posix::{code, slice};

/// The actions that `SIGBUS` and `SIGSEGV` had before ours, in this order.
///
/// Stored when the handler is installed, and by the handler when a previous handler replaces it.
static PREVIOUS: [Previous; 2] = [const { Previous::new() }; 2];

pub(super) struct Previous {
    /// The address of the handler, or `SIG_DFL` or `SIG_IGN`.
    handler: AtomicUsize,
    flags: AtomicI32,
    /// The signals that are blocked while the handler runs, as the lower and the upper half of the mask.
    /// Includes the handler's own signal, unless the handler has `SA_NODEFER`.
    mask: [AtomicU32; 2],
    /// The last handler, installed after ours, that [`check`](super::check) found to pass our faults on.
    pub(super) passes_on: AtomicUsize,
    /// The last handler, installed after ours, that [`check`](super::check) found to keep our faults.
    pub(super) keeps: AtomicUsize,
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

/// Returns the previous action of `signal`.
#[inline(always)]
pub(super) fn previous_of(signal: c_int) -> &'static Previous {
    if signal == libc::SIGBUS { &PREVIOUS[0] } else { &PREVIOUS[1] }
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

/// The middle of a readable and writable area to which faulting accesses are redirected. It extends
/// [`arch::REACH`] bytes to both sides. Its contents have no meaning.
static SCRATCH: AtomicUsize = AtomicUsize::new(0);

/// Maps the scratch area. Returns `false` if there is no memory for it.
pub(super) fn map_scratch() -> bool {
    // SAFETY: maps new private memory.
    let area = unsafe {
        libc::mmap(
            ptr::null_mut(),
            2 * arch::REACH,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANON,
            -1,
            0,
        )
    };
    SCRATCH.store((area as usize).wrapping_add(arch::REACH), Ordering::Release);
    area != libc::MAP_FAILED
}

pub(super) fn is_ours(handler: usize) -> bool {
    handler == handler_address()
}

pub(super) fn handler_address() -> usize {
    handler as *const () as usize
}

/// Installs our handler in front of the current action, and records that action as the previous one.
///
/// Returns `true` if our handler is installed.
///
/// # Safety
/// `signal` is `SIGBUS` or `SIGSEGV`, and the scratch area exists.
pub(super) unsafe fn install_for(signal: c_int) -> bool {
    let previous = os::Action::of(signal);
    if is_ours(previous.handler()) {
        return true;
    }
    // Recorded before the installation: another thread may receive the signal right after it, and our
    // handler then needs an action to pass it to.
    previous_of(signal).set(signal, &previous);
    let flags = flags_in_front_of(&previous);
    let ours = os::Action::new(handler_address(), flags, WHILE_OURS_RUNS);
    // SAFETY: the handler is async-signal-safe.
    match unsafe { ours.install(signal) } {
        Some(replaced)
            if replaced.handler() != previous.handler() && !is_ours(replaced.handler()) =>
        {
            // Another thread installed this handler after the query above.
            previous_of(signal).set(signal, &replaced);
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

/// Handles `SIGBUS` and `SIGSEGV`: recovers a fault at a guarded access, replaces the lost pages of a
/// guarded slice, and passes every other signal to the previous action.
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
        let code = (*info).si_code;
        let claimed = os::claims(signal, code)
            && (recover(info, context)
                || signal == libc::SIGBUS && slice::replace(code, os::address(info) as usize));
        if !claimed {
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
        let scratch = SCRATCH.load(Ordering::Relaxed);
        match (arch::site_kind(at, code::is_readable), registers.copy) {
            // A load, store or atomic access: it is executed again, on the scratch area. A site that
            // faults there reaches too far, and would fault for ever.
            (Some(0), _) if *registers.address as usize != scratch => {
                *registers.address = scratch as _;
            }
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
    let previous = previous_of(signal);
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
        previous_of(signal).set(signal, &now);
        // SAFETY: our own action, as it was.
        unsafe { ours.put_back(signal, flags_in_front_of(&now)) };
    }
}
