//! Trying out, in a child process, whether faults at guarded accesses are recovered.
//!
//! The child reports through a page that it shares with its parent, so that neither a handler that
//! exits with status 0 nor somebody who waits for all children can falsify the answer. It has no
//! exit signal, so that nobody gets a SIGCHLD for it.

#![allow(unsafe_code, reason = "raw processes and mappings")]

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::sys::os::map::page_size;
use crate::sys::posix::fault::{Child, PROBED_PAGES, are_ours, probe, set_probed};

/// After so long, a handler that was tried counts as one that does not pass on.
const PATIENCE_SECONDS: libc::time_t = 1;

const RECOVERED: u32 = 0x5ac7;
const NOT_OURS: u32 = 0x5ac8;

/// Tests whether faults that raise `signals` are recovered. `None` if the test was impossible: no
/// child could be created, or a child that shares the memory found a foreign handler.
pub(crate) fn try_out(child: Child, signals: &[c_int]) -> Option<bool> {
    let pages = Pages::map()?;
    let test = Test { pages: &pages, signals };
    set_probed(pages.base as usize);
    // No handler but those of the faults may run in the child: it inherits the full mask.
    let mask = Mask::block_all();
    let start = |exit_signal| match child {
        Child::SharingMemory => test.borrow_memory(exit_signal),
        Child::WithACopy => test.copy_memory(exit_signal),
    };
    let mut pid = start(0);
    if pid < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) {
        // qemu knows no child without one.
        pid = start(libc::SIGCHLD);
    }
    drop(mask);
    if pid > 0 {
        wait(pid);
    }
    set_probed(0);
    let report = pages.report().load(Ordering::Acquire);
    (pid > 0 && report != NOT_OURS).then_some(report == RECOVERED)
}

fn wait(pid: libc::pid_t) {
    let mut status = 0;
    // SAFETY: a plain wait. Whatever else goes wrong, somebody has waited for it.
    unsafe {
        while libc::waitpid(pid, &mut status, libc::__WALL) < 0
            && *libc::__errno_location() == libc::EINTR
        {}
    }
}

struct Test<'a> {
    pages: &'a Pages,
    signals: &'a [c_int],
}

impl Test<'_> {
    /// This thread waits until the child has ended.
    fn borrow_memory(&self, exit_signal: c_int) -> libc::pid_t {
        const STACK: usize = 64 << 10;
        extern "C" fn start(test: *mut c_void) -> c_int {
            // SAFETY: the parent's test, which outlives the child. Its alternate stack may be in
            // use by a handler that is waiting for us.
            unsafe {
                let mut none: libc::stack_t = MaybeUninit::zeroed().assume_init();
                none.ss_flags = libc::SS_DISABLE;
                libc::sigaltstack(&none, ptr::null_mut());
                let test = &*test.cast::<Test<'_>>();
                // Another thread may just have installed a handler, which must not run in this
                // memory. From here on, the child has its own table of signal actions.
                if !are_ours(test.signals) {
                    test.pages.report().store(NOT_OURS, Ordering::Release);
                    libc::_exit(0);
                }
                test.run()
            }
        }
        let mut stack = Vec::<u128>::with_capacity(STACK / 16);
        // The form of posix_spawn, which is the only one that valgrind knows.
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | exit_signal;
        // SAFETY: the stack and the test outlive the child.
        unsafe {
            let top = stack.as_mut_ptr().add(STACK / 16);
            libc::clone(start, top.cast(), flags, ptr::from_ref(self).cast_mut().cast())
        }
    }

    /// Takes time in proportion to the process's private memory.
    fn copy_memory(&self, exit_signal: c_int) -> libc::pid_t {
        // SAFETY: as a fork, after which the child makes async-signal-safe calls only. It leaves no
        // core, has no open files, leaves its parent's process group, and is killed after the time
        // limit.
        unsafe {
            let flags = exit_signal as usize;
            let pid = libc::syscall(libc::SYS_clone, flags, 0usize, 0usize, 0usize, 0usize)
                as libc::pid_t;
            if pid == 0 {
                libc::setrlimit(libc::RLIMIT_CORE, &libc::rlimit { rlim_cur: 1, rlim_max: 1 });
                libc::setsid();
                kill_later();
                libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
                self.run();
            }
            pid
        }
    }

    fn run(&self) -> ! {
        // SAFETY: pages of our own; nothing of the parent's is left to be run at exit.
        unsafe {
            if self.signals.iter().all(|&signal| probe(signal, self.pages.raising(signal))) {
                self.pages.report().store(RECOVERED, Ordering::Release);
            }
            libc::_exit(0)
        }
    }
}

/// SIGKILL by timer: it can be neither blocked nor handled.
unsafe fn kill_later() {
    // SAFETY: plain structures, all zero but for what is set.
    unsafe {
        let mut event: libc::sigevent = MaybeUninit::zeroed().assume_init();
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = libc::SIGKILL;
        let mut when: libc::itimerspec = MaybeUninit::zeroed().assume_init();
        when.it_value.tv_sec = PATIENCE_SECONDS;
        let mut timer: c_int = 0;
        libc::syscall(
            libc::SYS_timer_create,
            libc::CLOCK_MONOTONIC,
            &raw mut event,
            &raw mut timer,
        );
        libc::syscall(libc::SYS_timer_settime, timer, 0, &raw const when, 0);
    }
}

/// One page for the report, one behind the end of the memory object, and one protected.
struct Pages {
    base: *mut u8,
}

impl Pages {
    fn map() -> Option<Self> {
        let page = page_size();
        // SAFETY: new memory; growing a shared mapping does not grow the object behind it.
        unsafe {
            let base = libc::mmap(
                ptr::null_mut(),
                page,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            if base == libc::MAP_FAILED {
                return None;
            }
            let grown = libc::mremap(base, page, PROBED_PAGES * page, libc::MREMAP_MAYMOVE);
            if grown == libc::MAP_FAILED {
                libc::munmap(base, page);
                return None;
            }
            let pages = Self { base: grown.cast() };
            libc::mprotect(pages.raising(libc::SIGSEGV).cast(), page, libc::PROT_NONE);
            Some(pages)
        }
    }

    fn report(&self) -> &AtomicU32 {
        // SAFETY: the first page is there, for this purpose only.
        unsafe { AtomicU32::from_ptr(self.base.cast()) }
    }

    fn raising(&self, signal: c_int) -> *mut u8 {
        let index = if signal == libc::SIGBUS { 1 } else { 2 };
        self.base.wrapping_add(index * page_size())
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: ours, and no longer used.
        unsafe { libc::munmap(self.base.cast(), PROBED_PAGES * page_size()) };
    }
}

/// The thread's signal mask, while all signals are blocked.
struct Mask(libc::sigset_t);

impl Mask {
    fn block_all() -> Self {
        // SAFETY: both sets are initialised before they are read.
        unsafe {
            let mut all = MaybeUninit::uninit();
            let mut before = MaybeUninit::zeroed();
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), before.as_mut_ptr());
            Self(before.assume_init())
        }
    }
}

impl Drop for Mask {
    fn drop(&mut self) {
        // SAFETY: the set as it was.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, ptr::null_mut()) };
    }
}
