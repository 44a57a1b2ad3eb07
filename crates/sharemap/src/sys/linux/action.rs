//! What signals do, in the kernel's own form: a fifth of the C library's, so that the handler can
//! look and hand on from the smallest stacks.
//!
//! Where the kernel's form is another than this, there are no sites, and no handler.

#![allow(unsafe_code, reason = "raw system calls")]

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;

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

    /// The action now.
    #[inline(never)]
    pub(crate) fn of(signal: c_int) -> Self {
        let mut action = Self::NONE;
        // SAFETY: asks only; the structure is the kernel's.
        unsafe {
            let none = ptr::null::<Self>();
            libc::syscall(libc::SYS_rt_sigaction, signal, none, &raw mut action, size_of::<u64>());
        }
        action
    }

    pub(crate) fn handler(&self) -> usize {
        self.handler
    }

    pub(crate) fn flags(&self) -> c_int {
        self.flags as c_int
    }

    /// The signals that the kernel blocks while the handler runs.
    pub(crate) fn mask(&self) -> u64 {
        self.mask
    }

    pub(crate) fn new(handler: usize, flags: c_int, mask: u64) -> Self {
        Self { handler, flags: flags as libc::c_ulong, restorer: 0, mask }
    }

    /// Gives the action before. Goes through the C library, which adds the way back from handlers.
    ///
    /// # Safety
    /// The handler has the form that the flags say, and is async-signal-safe.
    #[inline(never)]
    pub(crate) unsafe fn install(&self, signal: c_int) -> Option<Self> {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: as the caller says. A set of signals begins with the kernel's.
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

    /// Makes this the action again, with other flags.
    ///
    /// # Safety
    /// It was the action before.
    #[inline(never)]
    pub(crate) unsafe fn put_back(&self, signal: c_int, flags: c_int) {
        const SA_RESTORER: libc::c_ulong = 0x0400_0000;
        let flags = flags as libc::c_ulong | self.flags & SA_RESTORER;
        let action = Self { flags, ..*self };
        // SAFETY: as the caller says.
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

#[inline(never)]
pub(crate) fn set_default(signal: c_int) {
    // SAFETY: the default action needs no way back.
    unsafe {
        let (action, none) = (Action::NONE, ptr::null_mut::<Action>());
        libc::syscall(libc::SYS_rt_sigaction, signal, &raw const action, none, size_of::<u64>());
    }
}

/// Sends a signal to this thread.
#[inline(never)]
pub(crate) fn send(signal: c_int) {
    // SAFETY: plain calls.
    unsafe {
        let thread = libc::syscall(libc::SYS_gettid);
        libc::syscall(libc::SYS_tgkill, libc::getpid(), thread as c_int, signal);
    }
}

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

/// This thread's mask.
#[inline(never)]
pub(crate) fn mask() -> u64 {
    let mut mask = 0u64;
    // SAFETY: asks only.
    unsafe {
        let none = ptr::null::<u64>();
        let how = libc::SIG_BLOCK;
        libc::syscall(libc::SYS_rt_sigprocmask, how, none, &raw mut mask, size_of::<u64>());
    }
    mask
}

#[inline(never)]
pub(crate) fn set_mask(mask: u64) {
    // SAFETY: changes this thread's mask only.
    unsafe {
        let none = ptr::null_mut::<u64>();
        let how = libc::SIG_SETMASK;
        libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const mask, none, size_of::<u64>());
    }
}

/// The mask of the code that a signal interrupted.
///
/// # Safety
/// `context` is what the kernel gave to a signal handler.
pub(crate) unsafe fn interrupted_mask(context: *mut c_void) -> u64 {
    let context: *const libc::ucontext_t = context.cast();
    // SAFETY: the kernel's; a set of signals begins with the kernel's.
    unsafe { (&raw const (*context).uc_sigmask).cast::<u64>().read_unaligned() }
}

pub(crate) const fn bit(signal: c_int) -> u64 {
    1 << (signal - 1)
}
