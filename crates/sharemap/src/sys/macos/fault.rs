//! The parts of fault handling that are specific to macOS: signal contexts, the self-test, and copies by Mach
//! calls.

#![allow(unsafe_code, reason = "signal contexts and raw system calls")]

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr;

use super::mach;
use crate::sys::os::map::page_size;
use crate::sys::posix::fault::{Child, PROBED_PAGES, are_ours, probe, set_probed};
pub(crate) use crate::sys::posix::fault::{check, inspect, recovery, thread_ready};

/// The registers that a recovery reads and writes.
pub(crate) struct Registers {
    pub(crate) program_counter: *mut Register,
    pub(crate) address: *mut Register,
    pub(crate) flag: *mut Register,
    /// The source, destination and count of a string copy. `None` if the processor has no string copies.
    pub(crate) copy: Option<[*mut Register; 3]>,
}

pub(crate) type Register = u64;

impl Registers {
    /// Returns the registers of an interrupted context.
    ///
    /// # Safety
    /// `context` must come from the kernel's call of a signal handler.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) unsafe fn of(context: *mut c_void) -> Self {
        let context: *mut libc::ucontext_t = context.cast();
        // SAFETY: the pointers refer to fields of the kernel's context.
        unsafe {
            let state = &raw mut (*(*context).uc_mcontext).__ss;
            Self {
                program_counter: &raw mut (*state).__rip,
                address: &raw mut (*state).__r10,
                flag: &raw mut (*state).__r11,
                copy: Some([
                    &raw mut (*state).__rsi,
                    &raw mut (*state).__rdi,
                    &raw mut (*state).__rcx,
                ]),
            }
        }
    }

    /// Returns the registers of an interrupted context.
    ///
    /// # Safety
    /// `context` must come from the kernel's call of a signal handler.
    #[cfg(target_arch = "aarch64")]
    #[inline(always)]
    pub(crate) unsafe fn of(context: *mut c_void) -> Self {
        let context: *mut libc::ucontext_t = context.cast();
        // SAFETY: the pointers refer to fields of the kernel's context.
        unsafe {
            let state = &raw mut (*(*context).uc_mcontext).__ss;
            let registers: *mut Register = (&raw mut (*state).__x).cast();
            Self {
                program_counter: &raw mut (*state).__pc,
                address: registers.add(10),
                flag: registers.add(9),
                copy: None,
            }
        }
    }
}

/// Returns `true` for signals that a memory access raises: SIGBUS with ADRALN, ADRERR or OBJERR, and SIGSEGV
/// with MAPERR or ACCERR. A signal that a process sent has a much larger code.
#[inline(always)]
pub(crate) fn claims(signal: c_int, code: c_int) -> bool {
    if signal == libc::SIGBUS {
        code == 1 || code == 2 || code == 3
    } else {
        code == 1 || code == 2
    }
}

/// Returns `true` if executing the interrupted instruction again raises the signal again.
pub(crate) fn is_synchronous(signal: c_int, code: c_int) -> bool {
    claims(signal, code)
}

/// Returns the address of the fault.
///
/// # Safety
/// `info` must belong to a SIGBUS or SIGSEGV that the processor raised.
#[inline(always)]
pub(crate) unsafe fn address(info: *mut libc::siginfo_t) -> *mut c_void {
    // SAFETY: the record is the kernel's.
    unsafe { (*info).si_addr }
}

/// Returns `true` if the aligned word at an address can be read. Raises no fault.
///
/// The kernel copies a signal set from the address before it refuses the invalid request. It treats address 0
/// as no set, so address 4 is tested instead.
#[inline(never)]
pub(crate) fn readable(at: usize) -> bool {
    const NO_SUCH_HOW: c_int = 99;
    // SAFETY: the call changes only errno, which is restored.
    unsafe {
        let errno = libc::__error();
        let before = *errno;
        *errno = 0;
        libc::sigprocmask(NO_SUCH_HOW, (at & !3).max(4) as *const libc::sigset_t, ptr::null_mut());
        let readable = *errno != libc::EFAULT;
        *errno = before;
        readable
    }
}

/// The action of a signal.
#[derive(Clone, Copy)]
pub(crate) struct Action(libc::sigaction);

impl Action {
    /// Returns the present action of `signal`.
    pub(crate) fn of(signal: c_int) -> Self {
        let mut action = MaybeUninit::zeroed();
        // SAFETY: the call only queries; an all-zero action is valid.
        unsafe {
            libc::sigaction(signal, ptr::null(), action.as_mut_ptr());
            Self(action.assume_init())
        }
    }

    /// Returns the address of the handler, or `SIG_DFL` or `SIG_IGN`.
    pub(crate) fn handler(&self) -> usize {
        self.0.sa_sigaction
    }

    pub(crate) fn flags(&self) -> c_int {
        self.0.sa_flags
    }

    /// Returns the signals that the kernel blocks while the handler runs.
    pub(crate) fn mask(&self) -> u64 {
        u64::from(self.0.sa_mask)
    }

    pub(crate) fn new(handler: usize, flags: c_int, mask: u64) -> Self {
        Self(libc::sigaction {
            sa_sigaction: handler,
            sa_flags: flags,
            sa_mask: mask as libc::sigset_t,
        })
    }

    /// Installs the action, and returns the previous one. Returns `None` if the system refuses.
    ///
    /// # Safety
    /// The handler must have the signature that the flags require, and must be async-signal-safe.
    pub(crate) unsafe fn install(&self, signal: c_int) -> Option<Self> {
        let mut before = MaybeUninit::zeroed();
        // SAFETY: as promised by the caller; an all-zero action is valid.
        unsafe {
            (libc::sigaction(signal, &self.0, before.as_mut_ptr()) == 0)
                .then(|| Self(before.assume_init()))
        }
    }

    /// Installs the action again, with other flags.
    ///
    /// # Safety
    /// The signal must have had this action before.
    pub(crate) unsafe fn put_back(&self, signal: c_int, flags: c_int) {
        // SAFETY: as promised by the caller.
        unsafe { Self::new(self.handler(), flags, self.mask()).install(signal) };
    }
}

/// Gives a signal its default action.
pub(crate) fn set_default(signal: c_int) {
    // SAFETY: an all-zero action is the default action.
    unsafe {
        let action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        libc::sigaction(signal, &action, ptr::null_mut());
    }
}

/// Sends a signal to this thread.
pub(crate) fn send(signal: c_int) {
    // SAFETY: the call takes a number only.
    unsafe { libc::raise(signal) };
}

/// Unblocks a signal in this thread.
pub(crate) fn unblock(signal: c_int) {
    set_mask(mask() & !bit(signal));
}

/// Returns this thread's signal mask.
pub(crate) fn mask() -> u64 {
    let mut mask: libc::sigset_t = 0;
    // SAFETY: the call only queries.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), &mut mask) };
    u64::from(mask)
}

/// Replaces this thread's signal mask.
pub(crate) fn set_mask(mask: u64) {
    let mask = mask as libc::sigset_t;
    // SAFETY: the call changes only this thread's mask.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &mask, ptr::null_mut()) };
}

/// Returns the signal mask of the code that a signal interrupted.
///
/// # Safety
/// `context` must come from the kernel's call of a signal handler.
pub(crate) unsafe fn interrupted_mask(context: *mut c_void) -> u64 {
    let context: *const libc::ucontext_t = context.cast();
    // SAFETY: the context is the kernel's.
    u64::from(unsafe { (*context).uc_sigmask })
}

/// Returns the bit of a signal in a mask.
pub(crate) const fn bit(signal: c_int) -> u64 {
    1 << (signal - 1)
}

/// Keeps the module that holds the handler from being unloaded.
pub(crate) fn pin_module(handler: *const c_void) {
    // SAFETY: the calls only query the dynamic loader and pin the module; the name is valid as long as the
    // module.
    unsafe {
        let mut found = MaybeUninit::<libc::Dl_info>::zeroed().assume_init();
        if libc::dladdr(handler, &mut found) != 0 && !found.dli_fname.is_null() {
            let flags = libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
            libc::dlopen(found.dli_fname, flags);
        }
    }
}

/// Does nothing: no sandbox of macOS forbids the call in [`readable`], so no code has to be known in advance.
pub(crate) fn permanent_code(_: usize, _: fn(Range<usize>)) {}

/// Confines a child that may run a foreign handler: the child leaves no core, has no files, and
/// leaves its parent's process group.
fn isolate() {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the calls take numbers, and run in a child with one thread.
    unsafe {
        libc::setrlimit(libc::RLIMIT_CORE, &none);
        libc::setsid();
        for descriptor in 0..libc::getdtablesize() {
            libc::close(descriptor);
        }
    }
}

/// Waits for a child for at most [`PATIENCE`] milliseconds, and then kills it. Returns its status,
/// if the system reports one.
fn wait(pid: libc::pid_t) -> Option<c_int> {
    let mut status = 0;
    let nap = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    for round in 0.. {
        let flags = if round < PATIENCE { libc::WNOHANG } else { 0 };
        // SAFETY: the child belongs to this call, and its status has not been collected.
        unsafe {
            if round == PATIENCE {
                libc::kill(pid, libc::SIGKILL);
            }
            match libc::waitpid(pid, &mut status, flags) {
                0 => {
                    libc::nanosleep(&nap, ptr::null_mut());
                }
                -1 if *libc::__error() == libc::EINTR => {}
                waited => return (waited == pid).then_some(status),
            }
        }
    }
    None
}

/// The time limit of a trial in milliseconds. A handler that exceeds it counts as keeping faults.
const PATIENCE: u32 = 1000;

/// Tests whether faults that raise `signals` are recovered. Returns `None` if the test was impossible.
///
/// A forked child accesses a protected page, which raises one of the signals, at the system's choice. With
/// `Child::SharingMemory` no foreign handler may run, so the test is impossible if one is installed.
pub(crate) fn try_out(child: Child, signals: &[c_int]) -> Option<bool> {
    const RECOVERED: c_int = 0x5a;
    const NOT_OURS: c_int = 0x5b;
    // SAFETY: the child only probes and exits; the pages belong to this call.
    unsafe {
        let private = libc::MAP_PRIVATE | libc::MAP_ANON;
        let len = PROBED_PAGES * page_size();
        let pages = libc::mmap(ptr::null_mut(), len, libc::PROT_NONE, private, -1, 0);
        if pages == libc::MAP_FAILED {
            return None;
        }
        set_probed(pages as usize);
        let pid = libc::fork();
        if pid == 0 {
            if child == Child::WithACopy {
                isolate();
            } else if !are_ours(signals) {
                libc::_exit(NOT_OURS);
            }
            let recovered = signals.iter().all(|&signal| probe(signal, pages.cast()));
            libc::_exit(if recovered { RECOVERED } else { 1 });
        }
        set_probed(0);
        let status = if pid > 0 { wait(pid) } else { None };
        libc::munmap(pages, len);
        let code = status.map(|status| libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)));
        code.filter(|&code| code != Some(NOT_OURS)).map(|code| code == Some(RECOVERED))
    }
}

/// Copies `len` bytes that may be inaccessible into private memory. Returns the number of bytes before the
/// first inaccessible page.
///
/// # Safety
/// `to` must have room for `len` bytes.
pub(crate) unsafe fn copy_from_foreign(from: *const u8, to: *mut u8, len: usize) -> usize {
    // SAFETY: each part lies within the caller's bytes.
    page_by_page(from as usize, len, |done, bytes| unsafe {
        mach::read(from as usize + done, to.add(done), bytes)
    })
}

/// Copies `len` private bytes to memory that may be inaccessible. Returns the number of bytes before the
/// first page that cannot be written.
///
/// # Safety
/// `from` must have `len` bytes.
pub(crate) unsafe fn copy_to_foreign(to: *mut u8, from: *const u8, len: usize) -> usize {
    // SAFETY: each part lies within the caller's bytes.
    page_by_page(to as usize, len, |done, bytes| unsafe {
        mach::write(to as usize + done, from.add(done), bytes)
    })
}

/// Copies page by page, up to the first page that fails, and returns the number of bytes copied.
///
/// The kernel makes larger copies by sharing pages, which would later raise the faults in the destination.
fn page_by_page(foreign: usize, len: usize, copy: impl Fn(usize, usize) -> bool) -> usize {
    let page = page_size();
    let mut done = 0;
    while done < len {
        let bytes = (len - done).min(page - (foreign.wrapping_add(done) & (page - 1)));
        if !copy(done, bytes) {
            break;
        }
        done += bytes;
    }
    done
}
