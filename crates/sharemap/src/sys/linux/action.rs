//! Signal actions in the kernel's own layout, which is a fifth of the size of the C library's. The handler
//! can therefore query an action and pass a signal on from the smallest stacks.
//!
//! Machines with another layout have no sites, so no handler is installed there.

#![allow(unsafe_code, reason = "raw system calls")]

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;

/// A signal action (the kernel's `struct sigaction`).
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Action {
    handler: usize,
    flags: libc::c_ulong,
    restorer: usize,
    mask: u64,
}

impl Action {
    const NONE: Self = Self { handler: libc::SIG_DFL, flags: 0, restorer: 0, mask: 0 };

    /// Returns the current action of `signal`.
    #[inline(never)]
    pub(crate) fn of(signal: c_int) -> Self {
        let mut action = Self::NONE;
        // SAFETY: the call only writes `action`, which has the kernel's layout.
        unsafe {
            let none = ptr::null::<Self>();
            libc::syscall(libc::SYS_rt_sigaction, signal, none, &raw mut action, size_of::<u64>());
        }
        action
    }

    /// Returns the address of the handler, or `SIG_DFL` or `SIG_IGN`.
    pub(crate) fn handler(&self) -> usize {
        self.handler
    }

    pub(crate) fn flags(&self) -> c_int {
        self.flags as c_int
    }

    /// Returns the signals that the kernel blocks while the handler runs, besides the handler's own.
    pub(crate) fn mask(&self) -> u64 {
        self.mask
    }

    pub(crate) fn new(handler: usize, flags: c_int, mask: u64) -> Self {
        Self { handler, flags: flags as libc::c_ulong, restorer: 0, mask }
    }

    /// Installs the action and returns the previous one. `None` if the call failed.
    ///
    /// The C library makes the call, because it adds the code that returns from handlers (the restorer).
    ///
    /// # Safety
    /// The handler has the signature that the flags tell, and is async-signal-safe.
    #[inline(never)]
    pub(crate) unsafe fn install(&self, signal: c_int) -> Option<Self> {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: the caller's promise. The C library's set of signals begins with the kernel's.
        unsafe {
            let new = action.as_mut_ptr();
            (*new).sa_sigaction = self.handler;
            (*new).sa_flags = self.flags as c_int;
            (&raw mut (*new).sa_mask).cast::<u64>().write_unaligned(self.mask);
            if libc::sigaction(signal, new, new) != 0 {
                return None;
            }
            Some(Self {
                handler: (*new).sa_sigaction,
                flags: (*new).sa_flags as libc::c_ulong,
                restorer: 0,
                mask: (&raw const (*new).sa_mask).cast::<u64>().read_unaligned(),
            })
        }
    }

    /// Installs the action again, with other flags, by the system call alone.
    ///
    /// # Safety
    /// [`of`](Self::of) returned the action, so its restorer is valid.
    #[inline(never)]
    pub(crate) unsafe fn put_back(&self, signal: c_int, flags: c_int) {
        const SA_RESTORER: libc::c_ulong = 0x0400_0000;
        let flags = flags as libc::c_ulong | self.flags & SA_RESTORER;
        let action = Self { flags, ..*self };
        // SAFETY: the caller's promise: the kernel itself returned the handler and the restorer.
        unsafe {
            let none = ptr::null_mut::<Self>();
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                &raw const action,
                none,
                size_of::<u64>(),
            );
        }
    }
}

/// Installs the default action of `signal`.
#[inline(never)]
pub(crate) fn set_default(signal: c_int) {
    // SAFETY: the default action runs no handler, so it needs no restorer.
    unsafe {
        let (action, none) = (Action::NONE, ptr::null_mut::<Action>());
        libc::syscall(libc::SYS_rt_sigaction, signal, &raw const action, none, size_of::<u64>());
    }
}

/// Sends a signal to this thread.
#[inline(never)]
pub(crate) fn send(signal: c_int) {
    // SAFETY: the calls take numbers only.
    unsafe {
        let thread = libc::syscall(libc::SYS_gettid);
        libc::syscall(libc::SYS_tgkill, libc::getpid(), thread as c_int, signal);
    }
}

/// Unblocks `signal` in this thread.
#[inline(never)]
pub(crate) fn unblock(signal: c_int) {
    let set = bit(signal);
    // SAFETY: changes this thread's mask only.
    unsafe {
        let none = ptr::null_mut::<u64>();
        let how = libc::SIG_UNBLOCK;
        libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const set, none, size_of::<u64>());
    }
}

/// Returns this thread's signal mask.
#[inline(never)]
pub(crate) fn mask() -> u64 {
    let mut mask = 0u64;
    // SAFETY: the call only writes `mask`.
    unsafe {
        let none = ptr::null::<u64>();
        let how = libc::SIG_BLOCK;
        libc::syscall(libc::SYS_rt_sigprocmask, how, none, &raw mut mask, size_of::<u64>());
    }
    mask
}

/// Sets this thread's signal mask.
#[inline(never)]
pub(crate) fn set_mask(mask: u64) {
    // SAFETY: changes this thread's mask only.
    unsafe {
        let none = ptr::null_mut::<u64>();
        let how = libc::SIG_SETMASK;
        libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const mask, none, size_of::<u64>());
    }
}

/// Returns the signal mask that the interrupted code had.
///
/// # Safety
/// `context` is the third argument that the kernel passed to a signal handler.
pub(crate) unsafe fn interrupted_mask(context: *mut c_void) -> u64 {
    let context: *const libc::ucontext_t = context.cast();
    // SAFETY: the context is the kernel's. The C library's set of signals begins with the kernel's.
    unsafe { (&raw const (*context).uc_sigmask).cast::<u64>().read_unaligned() }
}

/// Returns the bit of `signal` in a mask.
pub(crate) const fn bit(signal: c_int) -> u64 {
    1 << (signal - 1)
}
